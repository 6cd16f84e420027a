"""What the recipes `datasets/<name>/prepare.py` share: options, one archive fetched, verified and unpacked."""

from __future__ import annotations

import argparse
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from superpoint.data.recipes.download import download, verify
from superpoint.data.recipes.unpack import unpack
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically
from superpoint.lock import FolderLock

SHOWN = 10  # problems that are printed


@dataclass(frozen=True)
class Archive:
    """A published archive; its sha256 and size are None where nobody states them."""

    url: str
    size: int | None = None  # bytes
    sha256: str | None = None
    max_bytes: int = 64 << 30  # unpacked

    @property
    def name(self) -> str:
        return Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).name


def recipe_options(description: str | None, root: Path) -> argparse.ArgumentParser:
    """Return the options of every recipe; `root` is the default for the data."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=formatter, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=root, help="data root (default: %(default)s)")
    parser.add_argument("--url", help="another address of the archive; its checksum is then not known, see --sha256")
    parser.add_argument("--archive", type=Path, help="the archive, downloaded by other means")
    parser.add_argument("--sha256", help="checksum that the archive must have")
    parser.add_argument("--keep-archive", action="store_true", help="do not remove the archive once it is unpacked")
    parser.add_argument("--check", action="store_true", help="only check what is there")
    return parser


def obtain(archive: Archive, folder: Path, options: argparse.Namespace) -> None:
    """Download an archive, verify it and unpack it to `folder`, unless that exists. Raises: UserError if that fails."""
    if folder.exists():
        return
    if options.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", options.sha256):
        raise UserError(f"--sha256: found '{options.sha256}', expected 64 hexadecimal digits")
    if options.url is not None or options.sha256 is not None:
        archive = replace(archive, url=options.url or archive.url, size=None, sha256=options.sha256)
    if not archive.name:
        raise UserError(f"--url: found '{archive.url}', expected the address of a file")
    if options.archive is None:
        file = make_folder(options.out) / archive.name
        say(f"{file.name} from {archive.url}")
        with _bar(file.name) as progress:
            download(archive.url, file, size=archive.size, sha256=archive.sha256, progress=progress)
    else:
        file = Path(options.archive)
        verify(file, size=archive.size, sha256=archive.sha256)
    if archive.sha256 is None:
        say(f"no checksum of {file.name} is known; it has --sha256 {verify(file)}")
    else:
        say(f"{file.name}: SHA-256 as expected")
    make_folder(folder.parent)
    with _bar(f"unpacking {file.name}") as progress:
        count = unpack(file, folder, strip=True, max_bytes=archive.max_bytes, progress=progress)
    say(f"{folder}: {count} files")
    if options.archive is None and not options.keep_archive:
        file.unlink()


def write_split(root: Path, name: str, images: list[str]) -> None:
    """Write <root>/splits/<name>.txt: one image per line, relative to <root>/images, POSIX."""
    content = "".join(f"{image}\n" for image in images).encode()
    path = make_folder(root / "splits") / f"{name}.txt"
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, lambda file: file.write(content))


def report(place: Path, content: str, problems: list[str]) -> int:
    """Print what a check has found; return the exit code, 1 if there are problems."""
    if not problems:
        say(f"{place}: complete, {content}")
        return 0
    print(f"{place}: {len(problems)} problem{'s' * (len(problems) > 1)}", file=sys.stderr)
    for problem in problems[:SHOWN]:
        print(f"  {problem}", file=sys.stderr)
    if len(problems) > SHOWN:
        print(f"  and {len(problems) - SHOWN} more", file=sys.stderr)
    print(f"to fetch it anew, remove {place} and run this again", file=sys.stderr)
    return 1


def run(recipe: Callable[[], int]) -> None:
    """Run a recipe as a program: a UserError is one line and exit code 2, Ctrl-C is 130."""
    try:
        code = recipe()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped; run again to go on", file=sys.stderr)
        code = 130
    raise SystemExit(code)


@contextmanager
def claim(root: Path) -> Iterator[None]:
    """Hold a data root for this process. Raises: UserError if another one does."""
    lock = FolderLock(make_folder(root))
    lock.claim("is preparing it")
    try:
        yield
    finally:
        lock.release()


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """A progress bar on a terminal, None elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
