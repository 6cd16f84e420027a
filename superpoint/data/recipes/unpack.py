"""Unpacking archives of strangers: nothing lands outside the folder, and the folder is there whole or not at all."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from superpoint.errors import UserError
from superpoint.files import make_folder

BLOCK = 1 << 20  # bytes
SPARE = 64 << 20  # bytes of the disk that are left free
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError)
Progress = Callable[[int, int | None], None]  # bytes written, bytes in all (None for a tar)


class _Member(NamedTuple):
    """A file or folder of an archive, not yet judged. kind: "file", "folder", or what else it is."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    strip: bool = False,
    max_bytes: int = 64 << 30,
    max_files: int = 1_000_000,
    progress: Progress | None = None,
) -> int:
    """Unpack a zip or a tar (.gz, .bz2, .xz) into a new folder, by way of <folder>.unpacking.

    Refused, whatever the archive says of itself: absolute paths, "..", backslashes and drives; links, devices and
    pipes; a name that comes twice; encryption. Owners, permissions and times are not taken over. What macOS adds
    (__MACOSX, ._name, .DS_Store) is passed over. Checksums inside the archive are checked by the way.

    Args:
        folder: must not exist.
        strip: where all lies in one folder, take what is in that.
        max_bytes, max_files: limits against archives that grow beyond reason; bytes are counted as they are written.
        progress: called with the bytes written.

    Returns:
        Number of files unpacked.

    Raises:
        UserError: any of the above, a damaged archive, or no room; nothing stays behind, the archive does.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: exists already, expected a new folder to unpack {archive.name} into")
    temporary = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    make_folder(temporary)
    try:
        count = _write(archive, temporary, max_bytes, max_files, progress)
        if hasattr(os, "sync"):
            os.sync()  # one flush for all files, before the rename declares them whole
        os.replace(_only_folder(temporary) if strip else temporary, folder)
    except DAMAGE as error:
        raise UserError(f"{archive}: damaged or of an unknown kind ({_one_line(error)}); remove it") from error
    except OSError as error:
        place = error.filename or archive
        raise UserError(f"{place}: cannot be unpacked ({error.strerror or _one_line(error)})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write(archive: Path, root: Path, max_bytes: int, max_files: int, progress: Progress | None) -> int:
    files = written = 0
    zipped = zipfile.is_zipfile(archive)
    total = _zip_size(archive) if zipped else None
    with closing(_zip_members(archive) if zipped else _tar_members(archive)) as found:
        for number, member in enumerate(found, start=1):
            if number > max_files:
                raise UserError(f"{archive}: found more than {max_files} files, expected fewer; refused")
            parts = _safe_parts(archive, member)
            if not parts or parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._"):
                continue
            target = root.joinpath(*parts)
            with _once(archive, member):
                (target if member.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
                if member.kind == "folder":
                    continue
                target.touch(exist_ok=False)
            free = shutil.disk_usage(root).free
            if member.size + SPARE > free:
                raise UserError(f"{root}: no room to unpack {archive.name}, {free / 1e9:.2f} GB are free")
            for block in _blocks(archive, member, target):
                written += block
                if written > max_bytes:
                    limit = f"{max_bytes / 1e9:.2f} GB" if max_bytes >= 10**7 else f"{max_bytes} bytes"
                    raise UserError(f"{archive}: unpacks to more than {limit}, expected less; refused")
                if progress is not None:
                    progress(written, total)
            files += 1
    if not files:
        raise UserError(f"{archive}: found no file in it")
    return files


def _blocks(archive: Path, member: _Member, target: Path) -> Iterator[int]:
    """Write a file block by block, after each its number of bytes."""
    source = member.open()
    if source is None:
        raise UserError(f"{archive}: {member.name!r} has no content; refused")
    with source, open(target, "wb") as file:
        while block := source.read(BLOCK):
            file.write(block)
            yield len(block)


def _zip_size(archive: Path) -> int:
    with zipfile.ZipFile(archive) as file:
        return sum(info.file_size for info in file.infolist())


def _zip_members(archive: Path) -> Generator[_Member, None, None]:
    kinds = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "a link"}
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            # The upper half holds the mode of Unix; archives from elsewhere have 0 there.
            kind = kinds.get(stat.S_IFMT(info.external_attr >> 16), "a device")
            kind = "folder" if info.is_dir() and kind == "file" else kind
            yield _Member(info.filename, kind, info.file_size, lambda info=info: file.open(info))


def _tar_members(archive: Path) -> Generator[_Member, None, None]:
    with tarfile.open(archive, "r|*") as file:  # as a stream: no second pass, whatever its compression
        for info in file:
            kind = "folder" if info.isdir() else "file" if info.isfile() else "a link"
            kind = kind if info.isdir() or info.isfile() or info.issym() or info.islnk() else "a device"
            yield _Member(info.name, kind, info.size, lambda info=info: file.extractfile(info))


def _safe_parts(archive: Path, member: _Member) -> list[str]:
    """The parts of a path that stays inside. Links are refused, so no folder of it can lead elsewhere either."""
    if member.kind not in ("file", "folder"):
        raise UserError(f"{archive}: {member.name!r} is {member.kind}, expected only files and folders; refused")
    parts = member.name.split("/")
    outside = member.name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", member.name)
    if outside or "\\" in member.name or not member.name.isprintable():
        raise UserError(f"{archive}: {member.name!r} leads out of the folder or is no proper path; refused")
    return [part for part in parts if part not in ("", ".")]


@contextmanager
def _once(archive: Path, member: _Member) -> Iterator[None]:
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{archive}: {member.name!r} is in it twice, or as a file and a folder; refused") from error


def _only_folder(root: Path) -> Path:
    entries = list(root.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else root


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
