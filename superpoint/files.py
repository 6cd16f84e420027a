"""Write files so that a reader, after any crash, finds the old content or the new one; sort their names."""

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from superpoint.errors import UserError


def make_folder(path: str | Path) -> Path:
    """Make and return a folder. Raises: UserError if that fails."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return folder


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sorting key that takes runs of digits as numbers: image2 before image10."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), part) if index % 2 else (-1, part) for index, part in enumerate(parts)]


def refuse_inputs(target: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise UserError if `target` is one of the files or folders read from."""
    if not os.path.exists(target):
        return
    for path in inputs:
        if os.path.exists(path) and os.path.samefile(target, path):
            raise UserError(f"--out: {target} is what is read from; take another place, which keeps it")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write(file)` on a temporary file beside `path`, flush it to the disk, and rename it to `path`.

    Raises: UserError if the folder is missing or cannot be written, or the disk is full.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary.exists():
            temporary.unlink()


def read_text(path: str | Path) -> str:
    """Return a text without its byte order mark, each line ended by a newline; UTF-8, or UTF-16 by its mark.

    Raises: OSError, UnicodeDecodeError.
    """
    content = Path(path).read_bytes()
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if wide else "utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))


def append(path: Path, content: bytes) -> None:
    """Append `content` to a file, whole or not at all. Raises: UserError as `write_atomically`."""
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON; see `write_atomically`."""
    write_text(path, json.dumps(content, indent=1))


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write `rows`, the headings first; see `write_atomically`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut. Only POSIX systems can open a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
