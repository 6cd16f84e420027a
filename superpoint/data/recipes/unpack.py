"""Unpack an untrusted archive by the extraction filters of `tarfile` and `zipfile`, whole or not at all."""

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from superpoint.errors import UserError
from superpoint.files import make_folder

SPARE = 64 << 20  # bytes of the disk that are left free
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError, NotImplementedError)
Progress = Callable[[int, int | None], None]  # bytes written, bytes in all


def unpack(
    archive: str | Path,
    folder: str | Path,
    *,
    strip: bool = False,
    max_bytes: int = 64 << 30,
    progress: Progress | None = None,
) -> int:
    """Unpack a zip or a tar (.gz, .bz2, .xz) into a new folder; return the number of files.

    Files that macOS adds are left out. With `strip`, a single folder in the archive becomes `folder` itself.
    Raises: UserError if a limit is exceeded, a tar has members outside the folder, the archive is damaged or encrypted,
        or the disk has no room; only the archive stays.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise UserError(f"{folder}: exists already, expected a new folder to unpack {archive.name} into")
    temporary = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    make_folder(temporary)
    try:
        count = _extract(archive, temporary, max_bytes, progress)
        entries = list(temporary.iterdir())
        os.replace(entries[0] if strip and len(entries) == 1 and entries[0].is_dir() else temporary, folder)
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{archive}: damaged, unsafe or of an unknown kind ({reason}); remove it") from error
    except OSError as error:
        raise UserError(f"{error.filename or archive}: cannot be unpacked ({error.strerror or error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _extract(archive: Path, root: Path, max_bytes: int, progress: Progress | None) -> int:
    with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as source:
        if isinstance(source, zipfile.ZipFile):
            found = [(info, info.filename, info.file_size) for info in source.infolist()]
            extract = source.extract
        elif hasattr(tarfile, "data_filter"):
            found = [(info, info.name, info.size) for info in source]
            extract = partial(source.extract, filter="data")
        else:
            raise UserError(f"{archive}: a tar can be unpacked by Python 3.10.12, 3.11.4 or later only")
        members: list[tuple[Any, int]] = [(info, size) for info, name, size in found if not _added_by_macos(name)]
        total, free = sum(size for _, size in members), shutil.disk_usage(root).free
        if total > max_bytes:
            raise UserError(f"{archive}: unpacks to {total} bytes, expected at most {max_bytes}; refused")
        if total + SPARE > free:
            raise UserError(f"{root}: no room to unpack {archive.name}, {free / 1e9:.2f} GB are free")
        written = 0
        for info, size in members:
            extract(info, root)
            written += size
            if progress is not None:
                progress(written, total)
    count = sum(path.is_file() for path in root.rglob("*"))
    if not count:
        raise UserError(f"{archive}: found no file in it")
    return count


def _added_by_macos(name: str) -> bool:
    *folders, last = name.split("/")
    return "__MACOSX" in folders or last == ".DS_Store" or last.startswith("._")
