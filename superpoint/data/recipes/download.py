"""Download a large file over HTTP, resumed from <target>.part and verified."""

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from superpoint.errors import UserError
from superpoint.files import make_folder

BLOCK = 1 << 18  # bytes between two calls of `progress`
ATTEMPTS, PAUSE = 6, 2.0  # the seconds before the second attempt, doubled before each later one
TIMEOUT = 60.0  # seconds without a byte after which a connection counts as broken
Progress = Callable[[int, int | None], None]  # bytes done, bytes in all (None if unknown)


def download(
    url: str,
    target: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch `url` to `target` and verify it; a target that exists is only verified.

    A connection that breaks is made again. With `sha256` a download goes on where it stopped, also in a later call.

    Args:
        url: http or https; a redirection from https to http is refused.
        size, sha256: expected, in bytes and as 64 hexadecimal digits.

    Raises: UserError if the server fails or refuses, or the file cannot be written (the part stays); if size or
        checksum differ (the part is removed).
    """
    target = Path(target)
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"{url}: expected an address that begins with http:// or https://")
    if target.exists():
        verify(target, size=size, sha256=sha256, progress=progress)
        return target
    part = make_folder(target.parent) / f"{target.name}.part"
    if sha256 is None:
        part.unlink(missing_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _receive(url, part, size, sha256 is not None, progress)
            break
        except urllib.error.HTTPError as error:
            error.close()
            raise UserError(f"{url}: the server answered {error.code} ({error.reason}), expected a file") from error
        except (OSError, http.client.HTTPException) as error:
            done = _size(part)
            if attempt == ATTEMPTS or not done:
                again = "run again to go on" if sha256 else "run again with --sha256 to go on"
                reason = getattr(error, "reason", error)
                raise UserError(f"{url}: broke off after {done} bytes ({reason}); {again}") from error
            time.sleep(PAUSE * 2 ** (attempt - 1))
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


def _receive(url: str, part: Path, size: int | None, resume: bool, progress: Progress | None) -> None:
    """Append to `part` what is missing. Raises: OSError, HTTPException: another attempt may do better; UserError."""
    done = _size(part) if resume else 0
    request = urllib.request.Request(url, headers={"User-Agent": "superpoint (data set recipe)"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # all of it is there
            return
        raise
    with response:
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise UserError(f"{url}: leads to {response.url}, which is not encrypted; refused")
        if response.headers.get_content_type() == "text/html":
            raise UserError(f"{url}: found a web page, expected a file; it may have moved, or want a login")
        done = done if response.status == 206 else 0
        total = size if response.length is None else done + response.length
        if size is not None and total != size:
            raise UserError(f"{url}: the server offers {total} bytes, expected {size}")
        with open(part, "ab" if done else "wb") as file:
            while block := response.read(BLOCK):
                try:
                    done += file.write(block)
                    file.flush()
                except OSError as error:
                    raise UserError(f"{part}: cannot be written ({error.strerror}); what is there stays") from error
                if progress is not None:
                    progress(done, total)
    if total is not None and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
