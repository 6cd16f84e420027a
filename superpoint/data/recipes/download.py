"""Download a large file over HTTP, resumed from <target>.part and verified."""

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from superpoint.errors import UserError
from superpoint.files import make_folder

BLOCK = 1 << 18  # bytes between two calls of `progress`
ADVANCE = 1 << 20  # bytes an attempt has to bring for the count of failures to begin anew
PASSING = (408, 425, 429, 500, 502, 503, 504)  # status codes worth another attempt
LONGEST_PAUSE = 60.0  # seconds
Progress = Callable[[int, int | None], None]  # bytes done, bytes in all (None if unknown)


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
    """Fetch `url` to `target` and verify it; a target that exists is only verified.

    With `sha256`, an interrupted download goes on where it stopped.

    Args:
        url: http or https; a redirection from https to http is refused.
        size, sha256: expected, in bytes and as 64 hexadecimal digits.
        retries: attempts in a row that may fail without bringing 1 MiB.
        pause: seconds before the second attempt, doubled before each later one, at most a minute.
        timeout: seconds without a byte after which a connection counts as broken.

    Raises: UserError if the server fails or refuses, or the disk is full (the part stays); if size or checksum differ
        (the part is removed).
    """
    target = Path(target)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: expected an address that begins with http:// or https://")
    if target.exists():
        verify(target, size=size, sha256=sha256, progress=progress)
        return target
    part = make_folder(target.parent) / f"{target.name}.part"
    failures = furthest = 0
    while True:
        if sha256 is None:
            part.unlink(missing_ok=True)
        try:
            _receive(url, part, size, timeout, progress, reached=failures > 0)
            break
        except _Broken as error:
            done = _size(part)
            failures, furthest = 1 if done >= furthest + ADVANCE else failures + 1, max(furthest, done)
            if failures > retries:
                kept = f"they are kept in {part}: run again to go on" if sha256 else "run again with --sha256 to go on"
                found = f"the connection broke {failures} times, at last after {done} bytes ({error})"
                raise UserError(f"{url}: {found}; {kept}") from error
            time.sleep(min(pause * 2 ** (failures - 1), LONGEST_PAUSE))
    try:
        verify(part, size=size, sha256=sha256, progress=progress)
    except UserError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{error}; removed, run again or take another address than {url}") from error
    os.replace(part, target)
    return target


def verify(
    path: str | Path, *, size: int | None = None, sha256: str | None = None, progress: Progress | None = None
) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits. Raises: UserError if the file is missing or differs."""
    path, digest = Path(path), hashlib.sha256()
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            raise UserError(f"{path}: found {found} bytes, expected {size}")
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
                if progress is not None:
                    progress(file.tell(), found)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if sha256 is not None and digest.hexdigest() != sha256.lower():
        raise UserError(f"{path}: found the SHA-256 {digest.hexdigest()}, expected {sha256.lower()}")
    return digest.hexdigest()


def _receive(
    url: str, part: Path, size: int | None, timeout: float, progress: Progress | None, *, reached: bool
) -> None:
    """Append to `part` what is missing. Raises: _Broken if another attempt may do better, else UserError."""
    done = _size(part)
    response = _open(url, done, timeout, reached)
    if response is None:
        return
    with response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise UserError(f"{url}: leads to {response.url}, which is not encrypted; refused")
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{url}: found a web page, expected a file; it may have moved, or want a login")
        done = done if response.status == 206 else 0
        total = size if response.length is None else done + response.length
        if size is not None and total != size:
            raise UserError(f"{url}: the server offers {total} bytes, expected {size}")
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - done > free:
            raise UserError(f"{part}: needs {(total - done) / 1e9:.2f} GB more, {free / 1e9:.2f} GB are free there")
        try:
            with open(part, "ab" if done else "wb") as file:
                while block := _read(response):
                    done += file.write(block)
                    if progress is not None:
                        progress(done, total)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{part}: cannot be written ({reason}); what is there stays") from error
    if total is not None and done < total:
        raise _Broken(f"it ended after {done} of {total} bytes")


def _open(url: str, done: int, timeout: float, reached: bool) -> http.client.HTTPResponse | None:
    """Ask for the bytes from `done` on; None if there are no more."""
    request = urllib.request.Request(url, headers={"User-Agent": "superpoint (data set recipe)"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        return urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:
            return None
        answer = f"the server answered {error.code} ({error.reason})"
        if error.code in PASSING:
            raise _Broken(answer) from error
        raise UserError(f"{url}: {answer}, expected a file") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if reached:
            raise _Broken(str(reason)) from error
        raise UserError(f"{url}: the server cannot be reached ({reason})") from error


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(str(error)) from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
