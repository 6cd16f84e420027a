"""A server on 127.0.0.1 that misbehaves as told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server does. `requests`: (path, headers) of each that came."""

    content: bytes = b""
    ranges: bool = True  # honours Range
    length: bool = True  # sends Content-Length
    kind: str = "application/octet-stream"
    break_after: list[int] = field(default_factory=list)  # bytes of the body sent before the connection is cut, by turn
    statuses: list[int] = field(default_factory=list)  # answered instead, by turn
    redirect: dict[str, str] = field(default_factory=dict)  # path -> address
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append((self.path, dict(self.headers.items())))
            if self.path in site.redirect:
                self.send_response(302)
                self.send_header("Location", site.redirect[self.path])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            status = site.statuses.pop(0) if site.statuses else 200
            if status != 200:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start, asked = 0, self.headers.get("Range")
            if asked and site.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(site.content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(site.content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", site.kind)
            if site.length:
                self.send_header("Content-Length", str(len(site.content) - start))
            self.end_headers()
            stop = start + site.break_after.pop(0) if site.break_after else len(site.content)
            self.wfile.write(site.content[start:stop])
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
