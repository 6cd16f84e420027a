"""Downloading a large file over HTTP: what arrives is the whole file and the right one, and nothing comes twice.

    <target>.part         what has arrived so far
    <target>.part.json    of which file: address, length, and the validator by which its server tells versions apart
    <target>.sha256       checksum as `sha256sum` writes it, of files whose publisher states none

A broken connection, Ctrl-C or kill leaves the part, and the next call asks for the rest (RFC 9110, sections 13 and 14):
`Range` with `If-Range`, so that a file that has changed on the server is not glued to the beginning of the old one.
One process at a time may download to a target.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically

BLOCK = 1 << 18  # bytes between two calls of `progress`
ADVANCE = 1 << 20  # bytes an attempt has to bring for the count of failures to begin anew
PASSING = (408, 425, 429, 500, 502, 503, 504)  # status codes worth another attempt
LONGEST_PAUSE = 60.0  # seconds
Progress = Callable[[int, int | None], None]  # bytes done, bytes in all (None if the server does not say)


class _Version(NamedTuple):
    """What the part belongs to. validator: a strong ETag or else Last-Modified, None if the server sends neither."""

    url: str
    length: int | None
    validator: str | None


class _Broken(Exception):
    """The attempt failed, another one may not."""


def download(
    url: str,
    target: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    retries: int = 5,
    pause: float = 2.0,
    timeout: float = 60.0,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `target`, going on where an earlier call was broken off. A target that exists is only verified.

    Args:
        url: http or https; redirections are followed, but none from https to http.
        target: appears under its name when it is whole and verified, not before; its folder is made.
        size, sha256: expected, in bytes and as 64 hexadecimal digits. Without them a server that sends no length can
            cut the file short unnoticed.
        retries: attempts in a row that may fail without bringing 1 MiB further.
        pause: seconds before the second attempt, doubled before each later one, at most a minute.
        timeout: seconds without a byte after which a connection counts as broken.

    Returns:
        `target`.

    Raises:
        UserError: the server cannot be reached, refuses, or sends a web page; too many broken connections, or no room
            on the disk (the part stays); size or checksum differ (the part is removed, the target is not).
    """
    target = Path(target)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: expected an address that begins with http:// or https://")
    transfer = _Transfer(url, target, size, sha256, timeout, progress)
    if target.exists():
        transfer.state.unlink(missing_ok=True)
        verify(target, size=size, sha256=sha256, progress=progress)
        return target
    make_folder(target.parent)
    failures, furthest = 0, 0
    while True:
        try:
            transfer.attempt()
            break
        except _Broken as error:
            advanced = transfer.done >= furthest + ADVANCE
            failures, furthest = 1 if advanced else failures + 1, max(furthest, transfer.done)
            if failures > retries:
                raise UserError(
                    f"{url}: the connection broke {failures} times, at last after {transfer.done} bytes ({error}); "
                    f"they are kept in {transfer.part}: run again to go on"
                ) from error
            time.sleep(min(pause * 2 ** (failures - 1), LONGEST_PAUSE))
    try:
        verify(transfer.part, size=size, sha256=sha256, progress=progress)
    except UserError as error:
        transfer.drop()
        raise UserError(f"{error}; removed, run again or take another address than {url}") from error
    os.replace(transfer.part, target)
    transfer.state.unlink(missing_ok=True)
    return target


def verify(
    path: str | Path, *, size: int | None = None, sha256: str | None = None, progress: Progress | None = None
) -> str:
    """SHA-256 of a file as 64 hexadecimal digits. Raises: UserError if it is missing, or differs from what is given."""
    path = Path(path)
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            raise UserError(f"{path}: found {found} bytes, expected {size}")
        digest, done = hashlib.sha256(), 0
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                done += len(block)
                if progress is not None:
                    progress(done, found)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if sha256 is not None and digest.hexdigest() != sha256.lower():
        raise UserError(f"{path}: found the SHA-256 {digest.hexdigest()}, expected {sha256.lower()}")
    return digest.hexdigest()


def read_checksum(target: str | Path) -> str | None:
    """The SHA-256 that `write_checksum` noted for `target`, None if it did not. Raises: UserError for another text."""
    path = _checksum_file(Path(target))
    if not path.exists():
        return None
    found = re.match(r"[0-9a-fA-F]{64}(?=\s|$)", path.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        raise UserError(f"{path}: expected 64 hexadecimal digits, as sha256sum writes them; mend or remove it")
    return found[0].lower()


def write_checksum(target: str | Path, sha256: str) -> Path:
    """Note the SHA-256 of `target` in <target>.sha256, for `sha256sum --check` and for the next download."""
    path = _checksum_file(Path(target))
    write_atomically(path, lambda file: file.write(f"{sha256}  {Path(target).name}\n".encode()))
    return path


class _Transfer:
    """The part on the disk and the requests that lengthen it. `done`: bytes in it."""

    def __init__(
        self, url: str, target: Path, size: int | None, sha256: str | None, timeout: float, progress: Progress | None
    ) -> None:
        self.url, self.target = url, target
        self.size, self.sha256 = size, sha256
        self.timeout, self.progress = timeout, progress
        self.part, self.state = (target.with_name(target.name + ending) for ending in (".part", ".part.json"))
        self.done = 0
        self._reached = False  # the server has answered before: from then on silence is a broken connection

    def drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)
        self.done = 0

    def attempt(self) -> None:
        """One request; returns when the part is complete, else raises _Broken or UserError."""
        version = self._read_state()
        if version is None:
            self.drop()
        elif self.done == version.length:
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": "superpoint (data set recipe)"}
        if version is not None and self.done:
            headers["Range"] = f"bytes={self.done}-"
            if version.validator is not None:
                headers["If-Range"] = version.validator
        response = self._open(urllib.request.Request(self.url, headers=headers))
        if response is None:  # what is there is all there is, or too much
            return
        with response:
            length = self._begin(response, version)
            self._receive(response, length)

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse | None:
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and self.done:
                total = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", ""))
                if total is not None and int(total[1]) == self.done:
                    return None
                self.drop()
                raise _Broken("the server has no more of it, so it is another file by now") from error
            if error.code in PASSING:
                self._reached = True
                raise _Broken(f"the server answered {error.code} ({error.reason})") from error
            answer = f"{error.code} ({error.reason})"
            raise UserError(f"{self.url}: the server answered {answer}, expected a file") from error
        except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            text = " ".join(str(reason).split()) or type(reason).__name__
            if self._reached and not isinstance(reason, ssl.SSLCertVerificationError):
                raise _Broken(text) from error
            raise UserError(f"{self.url}: the server cannot be reached ({text})") from error
        if self.url.startswith("https:") and not response.url.startswith("https:"):
            response.close()
            raise UserError(f"{self.url}: leads to {response.url}, which is not encrypted; refused")
        self._reached = True
        return response

    def _begin(self, response: http.client.HTTPResponse, version: _Version | None) -> int | None:
        """Decide where the answer goes; returns the length of the whole file, None if it is not known."""
        validator = _validator(response)
        if response.status == 206 and version is not None:
            place = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
            length = None if place is None or place[2] == "*" else int(place[2])
            differs = _differ(validator, version.validator) or _differ(length, version.length)
            if place is None or int(place[1]) != self.done or differs:
                self.drop()
                raise _Broken("the file has changed on the server")
            return version.length if version.length is not None else length
        if response.status != 200:
            raise UserError(f"{self.url}: the server answered {response.status} ({response.reason}), expected 200 (OK)")
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{self.url}: found a web page, expected a file; it may have moved, or want a login")
        self.drop()  # the server ignores ranges, or If-Range has told it that the file has changed
        text = response.headers.get("Content-Length", "")
        length = int(text) if text.isdigit() else None
        if _differ(length, self.size):
            raise UserError(f"{self.url}: the server offers {length} bytes, expected {self.size}")
        state = json.dumps(_Version(self.url, length, validator)._asdict())
        write_atomically(self.state, lambda file: file.write(state.encode()))
        return length

    def _receive(self, response: http.client.HTTPResponse, length: int | None) -> None:
        total = length if length is not None else self.size
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - self.done > free:
            raise UserError(
                f"{self.target}: needs {(total - self.done) / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free there"
            )
        try:
            with open(self.part, "ab") as file:
                while block := self._read(response):
                    file.write(block)
                    self.done += len(block)
                    if total is not None and self.done > total:
                        break
                    if self.progress is not None:
                        self.progress(self.done, total)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{self.part}: cannot be written ({reason}); what is there stays") from error
        if length is not None and self.done < length:
            raise _Broken(f"it ended after {self.done} of {length} bytes")

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Broken(" ".join(str(error).split()) or type(error).__name__) from error

    def _read_state(self) -> _Version | None:
        """What the part belongs to, None if that is not known or it cannot be gone on with."""
        try:
            version = _Version(**json.loads(self.state.read_text(encoding="utf-8")))
            self.done = self.part.stat().st_size
        except (OSError, ValueError, TypeError):
            return None
        # Without a validator only a checksum would tell that two halves do not belong together.
        safe = version.validator is not None or self.sha256 is not None
        fits = version.length is None or self.done <= version.length
        return version if safe and fits and version.url == self.url else None


def _validator(response: http.client.HTTPResponse) -> str | None:
    """A weak ETag (W/) may stay the same while bytes change, so If-Range must not use it."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _differ(one: object, other: object) -> bool:
    """Whether both are known and not the same."""
    return one is not None and other is not None and one != other


def _checksum_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")
