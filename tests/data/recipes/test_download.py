from __future__ import annotations

import hashlib
import json
import os
import resource
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

from superpoint.data.recipes.download import download, read_checksum, verify, write_checksum
from superpoint.errors import UserError
from tests.data.recipes.http_server import Site, serve

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    with serve(Site(CONTENT)) as running:
        yield running


def fetch(site: Site, target: Path, **options: Any) -> Path:
    return download(f"{site.url}/a.zip", target, **{"pause": 0.0, "timeout": 10.0, **options})


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
        assert [headers.get("If-Range") for _, headers in site.requests] == [None, '"one"', '"one"']

    def test_a_later_call_goes_on_too(self, site: Site, tmp_path: Path) -> None:
        site.break_after = [1_000_000]
        with pytest.raises(UserError, match=r"broke 1 times, at last after 1000000 bytes .* run again") as caught:
            fetch(site, tmp_path / "a", retries=0)
        assert "\n" not in str(caught.value)
        assert leftovers(tmp_path) == {"a.part", "a.part.json"}
        assert fetch(site, tmp_path / "a").read_bytes() == CONTENT
        assert site.ranges_asked == [None, "bytes=1000000-"]
        assert leftovers(tmp_path) == {"a"}

    def test_gives_up_after_failures_without_progress(self, site: Site, tmp_path: Path) -> None:
        site.break_after = [1_000_000, *([10] * 20)]
        with pytest.raises(UserError, match="broke 4 times, at last after 1000030 bytes"):
            fetch(site, tmp_path / "a", retries=3)
        assert len(site.requests) == 4

    def test_progress_forgives_failures(self, site: Site, tmp_path: Path) -> None:
        site.content = CONTENT * 2
        site.break_after = [1_100_000] * 5
        fetch(site, tmp_path / "a", retries=1, sha256=hashlib.sha256(CONTENT * 2).hexdigest())
        assert (tmp_path / "a").read_bytes() == CONTENT * 2

    def test_a_server_that_ignores_ranges_starts_anew_and_does_not_go_on_for_ever(
        self, site: Site, tmp_path: Path
    ) -> None:
        site.ranges, site.break_after = False, [2_000_000, 1_500_000]
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert len(site.requests) == 3
        site.break_after = [2_000_000] * 50
        with pytest.raises(UserError, match="broke 3 times"):
            fetch(site, tmp_path / "b", retries=2)

    def test_passing_errors_are_tried_again(self, site: Site, tmp_path: Path) -> None:
        site.statuses = [503, 429]
        fetch(site, tmp_path / "a", sha256=SHA256)
        site.statuses = [503] * 9
        with pytest.raises(UserError, match=r"broke 2 times.*answered 503"):
            fetch(site, tmp_path / "b", retries=1)

    def test_redirections_take_the_range_along(self, site: Site, tmp_path: Path) -> None:
        """As at Hugging Face, whose address leads to a signed one elsewhere that is another every time."""
        site.redirect["/a.zip"] = f"{site.url.replace('127.0.0.1', 'localhost')}/signed?one"
        site.break_after = [1_000_000]
        with pytest.raises(UserError):
            fetch(site, tmp_path / "a", retries=0)
        site.redirect["/a.zip"] = f"{site.url}/signed?two"
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert [path for path, _ in site.requests] == ["/a.zip", "/signed?one", "/a.zip", "/signed?two"]
        assert site.ranges_asked[-1] == "bytes=1000000-"

    def test_killed_process_loses_nothing(self, site: Site, tmp_path: Path) -> None:
        """SIGINT and SIGKILL in the middle of a transfer that stalls: what has arrived stays and is gone on with."""
        program = (  # the first line, because what a shell starts in the background inherits that SIGINT is ignored
            "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "from superpoint.data.recipes.download import download; download(sys.argv[1], sys.argv[2])"
        )
        for turn, number in enumerate((signal.SIGINT, signal.SIGKILL)):
            target = tmp_path / f"{turn}"
            with socket.create_server(("127.0.0.1", 0)) as stalling:
                url = f"http://127.0.0.1:{stalling.getsockname()[1]}/a"
                process = subprocess.Popen(
                    [sys.executable, "-c", program, url, str(target)], env=os.environ, stderr=subprocess.PIPE
                )
                connection, _ = stalling.accept()
                with connection:
                    connection.recv(65536)
                    head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(CONTENT)}\r\nETag: "one"\r\n\r\n'.encode()
                    connection.sendall(head + CONTENT[:1_500_000])
                    part = target.with_name(f"{turn}.part")
                    deadline = time.monotonic() + 30
                    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size >= 1_000_000):
                        time.sleep(0.02)
                    process.send_signal(number)
                    process.communicate(timeout=30)
            arrived = part.stat().st_size
            assert arrived >= 1_000_000
            state = target.with_name(f"{turn}.part.json")
            state.write_text(json.dumps({**json.loads(state.read_text()), "url": f"{site.url}/a.zip"}))
            site.requests.clear()
            fetch(site, target, sha256=SHA256)
            assert site.ranges_asked == [f"bytes={arrived}-"]


class TestAnotherFile:
    @pytest.mark.parametrize("if_range", [True, False], ids=["honours If-Range", "ignores If-Range"])
    @pytest.mark.parametrize("dated", [False, True], ids=["ETag", "Last-Modified"])
    def test_changed_between_two_tries(self, site: Site, tmp_path: Path, if_range: bool, dated: bool) -> None:
        site.if_range, site.break_after = if_range, [1_000_000]
        if dated:
            site.etag, site.modified = 'W/"weak"', "Mon, 02 Jan 2017 00:00:00 GMT"
            site.if_range = False  # the server of the tests compares with its ETag
        with pytest.raises(UserError):
            fetch(site, tmp_path / "a", retries=0)
        site.content = CONTENT[::-1]
        if dated:
            site.modified = "Tue, 03 Jan 2017 00:00:00 GMT"
        else:
            site.etag = '"two"'
        assert fetch(site, tmp_path / "a").read_bytes() == CONTENT[::-1]
        assert site.requests[1][1]["If-Range"] == ("Mon, 02 Jan 2017 00:00:00 GMT" if dated else '"one"')

    def test_shorter_than_what_has_arrived(self, site: Site, tmp_path: Path) -> None:
        site.if_range, site.etag, site.break_after = False, None, [1_000_000]
        with pytest.raises(UserError):
            fetch(site, tmp_path / "a", sha256=SHA256, retries=0)
        site.content = CONTENT[:500_000]
        new = hashlib.sha256(site.content).hexdigest()
        assert fetch(site, tmp_path / "a", sha256=new).read_bytes() == site.content
        assert site.ranges_asked == [None, "bytes=1000000-", None]

    def test_without_a_validator_only_a_checksum_lets_it_go_on(self, site: Site, tmp_path: Path) -> None:
        site.etag = None
        for name, sha256, asked in (("a", None, None), ("b", SHA256, "bytes=1000000-")):
            site.break_after, site.requests = [1_000_000], []
            with pytest.raises(UserError):
                fetch(site, tmp_path / name, sha256=sha256, retries=0)
            fetch(site, tmp_path / name, sha256=sha256)
            assert site.ranges_asked == [None, asked]

    def test_part_of_another_address_or_with_damaged_notes_is_dropped(self, site: Site, tmp_path: Path) -> None:
        for notes in (
            {"url": "http://elsewhere/a.zip", "length": 9, "validator": '"one"'},
            {"url": "", "more": 1},
            ["no notes"],
        ):
            (tmp_path / "a.part").write_bytes(b"x" * 5)
            (tmp_path / "a.part.json").write_text(json.dumps(notes))
            assert fetch(site, tmp_path / "a").read_bytes() == CONTENT
            (tmp_path / "a").unlink()
        assert site.ranges_asked == [None] * 3

    def test_part_that_is_whole_is_not_fetched(self, site: Site, tmp_path: Path) -> None:
        notes = {"url": f"{site.url}/a.zip", "length": len(CONTENT), "validator": '"one"'}
        (tmp_path / "a.part").write_bytes(CONTENT)
        (tmp_path / "a.part.json").write_text(json.dumps(notes))
        fetch(site, tmp_path / "a", sha256=SHA256)
        (tmp_path / "b.part").write_bytes(CONTENT)
        (tmp_path / "b.part.json").write_text(json.dumps({**notes, "length": None}))
        assert site.requests == []
        assert fetch(site, tmp_path / "b").read_bytes() == CONTENT  # the server answers 416: there is no more
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

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
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
        with pytest.raises(UserError, match=r"the server cannot be reached \(.*refused"):
            download(f"http://127.0.0.1:{port}/a", tmp_path / "a", pause=0)

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "a.zip"])
    def test_only_http(self, tmp_path: Path, url: str) -> None:
        with pytest.raises(UserError, match="expected an address that begins with http"):
            download(url, tmp_path / "a")

    def test_redirection_out_of_encryption(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Answer:
            url = "http://elsewhere/a"

            def close(self) -> None:
                pass

        monkeypatch.setattr("superpoint.data.recipes.download.urllib.request.urlopen", lambda *_, **__: Answer())
        with pytest.raises(UserError, match="leads to http://elsewhere/a, which is not encrypted"):
            download("https://host/a", tmp_path / "a")

    def test_full_disk_keeps_the_part(self, site: Site, tmp_path: Path) -> None:
        """A limit on the size of files stands in for the disk."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
        try:
            with pytest.raises(UserError, match=r"a\.part: cannot be written \(File too large\); what is there stays"):
                fetch(site, tmp_path / "a")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        arrived = (tmp_path / "a.part").stat().st_size
        assert 0 < arrived <= 1_000_000
        fetch(site, tmp_path / "a", sha256=SHA256)
        assert site.ranges_asked == [None, f"bytes={arrived}-"]

    def test_no_room(self, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full:
            free = 2_900_000

        monkeypatch.setattr("superpoint.data.recipes.download.shutil.disk_usage", lambda _: Full)
        with pytest.raises(UserError, match=r"needs 0\.00 GB more, 0\.00 GB are free"):
            fetch(site, tmp_path / "a")


class TestChecksum:
    def test_noted_as_sha256sum_does(self, tmp_path: Path) -> None:
        file = tmp_path / "a.zip"
        file.write_bytes(CONTENT)
        assert read_checksum(file) is None
        assert write_checksum(file, verify(file)).read_text() == f"{SHA256}  a.zip\n"
        assert read_checksum(file) == SHA256
        (tmp_path / "a.zip.sha256").write_text(SHA256[:-1])
        with pytest.raises(UserError, match="expected 64 hexadecimal digits"):
            read_checksum(file)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"a: cannot be read \(No such file"):
            verify(tmp_path / "a")
