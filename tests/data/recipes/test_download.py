import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.data.recipes.download import download, verify
from superpoint.errors import UserError
from tests.conftest import files_of_at_most
from tests.data.recipes.http_server import Site, serve

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("superpoint.data.recipes.download.PAUSE", 0.0)
    with serve(Site(CONTENT)) as running:
        yield running


def fetch(site: Site, target: Path, **options: Any) -> Path:
    return download(f"{site.url}/a.zip", target, **options)


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestWhole:
    def test_arrives_alone_in_a_new_folder(self, site: Site, tmp_path: Path) -> None:
        seen: list[tuple[int, int | None]] = []
        target = tmp_path / "new" / "a.zip"
        assert fetch(site, target, size=len(CONTENT), sha256=SHA256, progress=lambda *at: seen.append(at)) == target
        assert target.read_bytes() == CONTENT
        assert leftovers(target.parent) == {"a.zip"}
        assert (len(CONTENT), len(CONTENT)) in seen
        assert len(seen) > 5

    def test_what_is_there_is_not_fetched_again_but_verified(self, site: Site, tmp_path: Path) -> None:
        target = tmp_path / "a.zip"
        target.write_bytes(CONTENT)
        fetch(site, target, sha256=SHA256.upper())
        assert site.requests == []
        target.write_bytes(CONTENT[:-1])
        with pytest.raises(UserError, match=r"a\.zip: found the SHA-256 .*, expected"):
            fetch(site, target, sha256=SHA256)
        assert target.exists()

    def test_without_a_length(self, site: Site, tmp_path: Path) -> None:
        site.length = False
        assert fetch(site, tmp_path / "a", sha256=SHA256).read_bytes() == CONTENT

    def test_empty_file(self, site: Site, tmp_path: Path) -> None:
        site.content = b""
        assert fetch(site, tmp_path / "a").read_bytes() == b""


class TestBrokenConnections:
    def test_goes_on_where_it_was_cut(self, site: Site, tmp_path: Path) -> None:
        site.break_after = [1_000_000, 700_000]
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert site.ranges_asked == [None, "bytes=1000000-", "bytes=1700000-"]

    def test_a_later_call_goes_on_too(self, site: Site, tmp_path: Path) -> None:
        site.break_after = [1_000_000, *([10] * 5)]
        with pytest.raises(UserError, match=r"broke off after 1000050 bytes .* run again to go on") as caught:
            fetch(site, tmp_path / "a", sha256=SHA256)
        assert "\n" not in str(caught.value)
        assert leftovers(tmp_path) == {"a.part"}
        assert fetch(site, tmp_path / "a", sha256=SHA256).read_bytes() == CONTENT
        assert site.ranges_asked[-1] == "bytes=1000050-"
        assert leftovers(tmp_path) == {"a"}

    def test_without_a_checksum_it_begins_anew(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "a.part").write_bytes(b"of another file")
        site.break_after = [1_000_000]
        assert fetch(site, tmp_path / "a").read_bytes() == CONTENT
        assert site.ranges_asked == [None, None]

    def test_a_server_that_ignores_ranges_does_not_go_on_for_ever(self, site: Site, tmp_path: Path) -> None:
        site.ranges, site.break_after = False, [2_000_000, 1_500_000]
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert len(site.requests) == 3
        site.break_after = [2_000_000] * 50
        with pytest.raises(UserError, match="broke off after 2000000 bytes"):
            fetch(site, tmp_path / "b", sha256=SHA256)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_killed_process_loses_nothing(self, site: Site, tmp_path: Path, number: signal.Signals) -> None:
        program = (  # the first line, because what a shell starts in the background inherits that SIGINT is ignored
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from superpoint.data.recipes.download import download\n"
            "download(sys.argv[1], sys.argv[2], sha256=sys.argv[3])"
        )
        target, part = tmp_path / "a", tmp_path / "a.part"
        with socket.create_server(("127.0.0.1", 0)) as stalling:
            url = f"http://127.0.0.1:{stalling.getsockname()[1]}/a"
            process = subprocess.Popen(
                [sys.executable, "-c", program, url, str(target), SHA256], env=os.environ, stderr=subprocess.PIPE
            )
            connection, _ = stalling.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode())
                connection.sendall(CONTENT[:1_500_000])
                deadline = time.monotonic() + 30
                while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= 1_000_000):
                    time.sleep(0.02)
                process.send_signal(number)
                process.communicate(timeout=30)
        arrived = part.stat().st_size
        assert arrived >= 1_000_000
        fetch(site, target, sha256=SHA256)
        assert site.ranges_asked == [f"bytes={arrived}-"]

    @pytest.mark.parametrize("length", [500_000, 3_000_000])
    def test_part_of_another_file_is_removed(self, site: Site, tmp_path: Path, length: int) -> None:
        (tmp_path / "a.part").write_bytes(b"x" * 1_000_000)
        site.content = CONTENT[:length]
        sha256 = hashlib.sha256(site.content).hexdigest()
        with pytest.raises(UserError, match="removed, run again"):
            fetch(site, tmp_path / "a", sha256=sha256)
        assert fetch(site, tmp_path / "a", sha256=sha256).read_bytes() == site.content

    def test_part_that_is_whole_is_not_fetched_again(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "a.part").write_bytes(CONTENT)
        assert fetch(site, tmp_path / "a", sha256=SHA256).read_bytes() == CONTENT
        assert site.ranges_asked == ["bytes=3000000-"]


class TestRefused:
    def test_wrong_bytes(self, site: Site, tmp_path: Path) -> None:
        site.content = CONTENT[::-1]
        with pytest.raises(UserError, match=r"found the SHA-256 .*, expected .*; removed"):
            fetch(site, tmp_path / "a", sha256=SHA256)
        assert leftovers(tmp_path) == set()

    def test_wrong_size_is_seen_before_it_is_fetched(self, site: Site, tmp_path: Path) -> None:
        seen: list[int] = []
        with pytest.raises(UserError, match="offers 3000000 bytes, expected 7"):
            fetch(site, tmp_path / "a", size=7, progress=lambda done, _: seen.append(done))
        assert seen == []
        site.length = False
        with pytest.raises(UserError, match="expected 7; removed"):
            fetch(site, tmp_path / "a", size=7)
        assert leftovers(tmp_path) == set()

    @pytest.mark.parametrize("status", [403, 503])
    def test_status(self, site: Site, tmp_path: Path, status: int) -> None:
        site.statuses = [status]
        with pytest.raises(UserError, match=rf"/a\.zip: the server answered {status} \(.+\), expected a file"):
            fetch(site, tmp_path / "a")
        assert len(site.requests) == 1
        assert leftovers(tmp_path) == set()

    def test_web_page(self, site: Site, tmp_path: Path) -> None:
        site.kind = "text/html; charset=utf-8"
        with pytest.raises(UserError, match="found a web page"):
            fetch(site, tmp_path / "a")

    def test_no_server(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("no_proxy", "*")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with pytest.raises(UserError, match=r"broke off after 0 bytes \(.*refused"):
            download(f"http://127.0.0.1:{port}/a", tmp_path / "a")

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "a.zip"])
    def test_only_http(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(UserError, match="expected an address that begins with http"):
            download(url, tmp_path / "a")

    def test_redirection_out_of_encryption(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Answer(io.BytesIO):
            url = "http://elsewhere/a"

        monkeypatch.setattr("superpoint.data.recipes.download.urllib.request.urlopen", lambda *_, **__: Answer())
        with pytest.raises(UserError, match="leads to http://elsewhere/a, which is not encrypted"):
            download("https://host/a", tmp_path / "a")

    def test_full_disk_keeps_the_part(self, site: Site, tmp_path: Path) -> None:
        message = r"a\.part: cannot be written \(File too large\); what is there stays"
        with files_of_at_most(1_000_000), pytest.raises(UserError, match=message):
            fetch(site, tmp_path / "a", sha256=SHA256)
        arrived = (tmp_path / "a.part").stat().st_size
        assert 0 < arrived <= 1_000_000
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert site.ranges_asked == [None, f"bytes={arrived}-"]


def test_a_missing_file_is_not_verified(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a: cannot be read \(No such file"):
        verify(tmp_path / "a")
