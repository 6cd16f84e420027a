"""Open image sources: folders, globs, list files, HDF5, tar shards."""

import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.data.bands import ARRAY, read_image
from superpoint.data.images import read_orientation
from superpoint.data.sources.archives import Hdf5Images, ImageSource, NamedImages, TarImages, is_tar
from superpoint.errors import UserError
from superpoint.files import natural_order, read_text

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"),
    *(".avif", ".heic", ".heif", ".hif"),  # where a plug-in of Pillow is missing they are skipped with that reason
    *(".pgm", ".ppm", ".pbm", ".pnm", ".hdr", ".exr"),
)
UNSUPPORTED = (  # images all the same: raw ones of cameras, and others that Pillow and OpenCV lack or only partly read
    *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".iiq", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw"),
    *(".dcm", ".ecw", ".fits", ".jxl", ".jxr", ".psd", ".svg", ".tga"),
)
LISTS = (".txt", ".lst")
HDF5 = (".h5", ".hdf5")
SUPPORTED = (
    f"a folder, a glob, a list ({', '.join(LISTS)}), HDF5 ({', '.join(HDF5)}), tar shards "
    f"(.tar, .tar.gz, .tgz) or images ({', '.join(EXTENSIONS)})"
)


class Files(NamedImages):
    """Image files `names` below a root; `sizes` in bytes (None: missing) tell other images of the same names."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        ignored: Mapping[str, int] | None = None,
        sizes: Sequence[int | None] | None = None,
        channels: int = 1,
    ) -> None:
        self.root, self.channels = root, channels
        self.names = list(names)
        self.ignored = dict(ignored or {})  # files of other types beside them, by extension
        self.sizes = list(sizes) if sizes is not None else [_size(root / name) for name in self.names]

    def describe(self) -> dict[str, Any]:
        return {"kind": "files", "names": self.names, "sizes": self.sizes}

    def passed_over(self) -> str:
        """Return which files beside the images are not read, images of other formats by name; empty for none."""
        images = [f"{self.ignored[kind]} {kind}" for kind in UNSUPPORTED if kind in self.ignored]
        others = sum(count for kind, count in self.ignored.items() if kind not in UNSUPPORTED)
        found = [f"{', '.join(images)} (convert them to .png or .tif first)"] if images else []
        found += [f"files that are no images: {others}"] if others else []
        return f"passed over {' and '.join(found)}" if found else ""

    def load(self, name: str) -> NDArray[np.uint8]:
        suffix = os.path.splitext(name)[1].lower()
        if suffix not in extensions_of(self.channels):
            supported = " ".join(extensions_of(self.channels))
            raise UserError(f"{name}: found the extension '{suffix}', supported: {supported}")
        try:
            return read_image(self.root / name, self.channels)
        except UserError as error:  # the feature file shall not name this machine's folders
            raise UserError(str(error).replace(str(self.root / name), name)) from error

    def orientation(self, name: str) -> int:
        return read_orientation(self.root / name)


def extensions_of(channels: int) -> tuple[str, ...]:
    """Return how images end; arrays only where grey is not asked for: beside photographs they are often labels."""
    return EXTENSIONS if channels == 1 else (*EXTENSIONS, ARRAY)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def open_source(
    inputs: Sequence[str], root: str | Path | None = None, *, prefix: bool = False, channels: int = 1
) -> ImageSource:
    """Open the images that command-line arguments name.

    Args:
        inputs: folders (searched recursively, without hidden files), globs (** goes into sub-folders), list files (a
            path per line, relative to `root` or else to the list), images, one HDF5 file, or tar shards:
            `shard-{000..012}.tar`.
        root: image names are relative to it; by default to the folder, the list's folder or the part of a glob before
            its first wildcard; of several inputs to the folder they have in common.
        prefix: names of tar members begin with the name of their tar.
        channels: of the images, see `read_image`.

    Raises: UserError if something is missing, of a type not supported, or holds no image.
    """
    if not inputs:
        raise UserError(f"images: found no input, expected {SUPPORTED}")
    expanded = [text for each in inputs for text in expand_braces(each)]
    tars = [text for text in expanded if is_tar(text)]
    stores = [text for text in expanded if text not in tars and Path(text).suffix.lower() in HDF5]
    if tars or stores:
        if len(tars) < len(expanded) and len(expanded) > 1:
            raise UserError(f"images: found {expanded[0]} beside {expanded[-1]}, expected only tars, or one HDF5 file")
        if root is not None:
            raise UserError("--root: tars and HDF5 files have no root; names are those inside them")
        if stores:
            return Hdf5Images(Path(stores[0]), channels=channels)
        return TarImages(tars, extensions_of(channels), prefix=prefix, channels=channels)
    found = [_find(text, Path(root) if root is not None else None, extensions_of(channels)) for text in expanded]
    return _common(found, root, ", ".join(inputs), channels)


def expand_braces(text: str) -> list[str]:
    """Expand braces as a shell does: a-{000..012}.tar, {train,test}.tar."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}", text)
    if match is None or os.path.exists(text):
        return [text]
    low, high, words = match.groups()
    if words is not None:
        middle = words.split(",")
    else:
        width = len(low) if low.startswith("0") else 0
        step = 1 if int(low) <= int(high) else -1
        middle = [f"{number:0{width}d}" for number in range(int(low), int(high) + step, step)]
    before, after = text[: match.start()], text[match.end() :]
    return [expanded for each in middle for expanded in expand_braces(before + each + after)]


class _Found(NamedTuple):
    base: str  # absolute
    paths: list[str]  # absolute
    others: list[str]  # files that are no images


def _find(text: str, root: Path | None, extensions: tuple[str, ...]) -> _Found:
    path = Path(text)
    if path.is_dir():
        return _search_folder(os.path.abspath(path), extensions)
    if glob.has_magic(text) and not path.exists():
        return _search_glob(text, extensions)
    if not path.exists():
        raise UserError(f"{text}: no such file or folder, expected {SUPPORTED}")
    suffix = path.suffix.lower()
    if suffix in LISTS:
        base = os.path.abspath(root if root is not None else path.parent)
        try:
            lines = [line.strip() for line in read_text(path).splitlines()]
            if any("\0" in line for line in lines):
                raise ValueError("it holds a null byte")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a list of paths ({error})") from error
        named = [line for line in lines if line and not line.startswith("#")]
        return _Found(base, [os.path.normpath(os.path.join(base, line)) for line in named], [])
    if suffix in extensions:
        return _Found(os.path.abspath(path.parent), [os.path.abspath(path)], [])
    raise UserError(f"{text}: found the extension '{suffix}', supported: {SUPPORTED}")


def _search_folder(folder: str, extensions: tuple[str, ...]) -> _Found:
    paths, others, seen = [], [], set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link in a circle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in files:
            if not file.startswith("."):  # macOS leaves ._photo.jpg
                kind = paths if os.path.splitext(file)[1].lower() in extensions else others
                kind.append(os.path.join(place, file))
    return _Found(folder, paths, others)


def _search_glob(pattern: str, extensions: tuple[str, ...]) -> _Found:
    literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    base = os.path.abspath(os.path.dirname(literal) or ".")
    files = [os.path.abspath(path) for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
    paths = [path for path in files if os.path.splitext(path)[1].lower() in extensions]
    return _Found(base, paths, [path for path in files if path not in set(paths)])


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be searched ({error.strerror})") from error


def _common(found: Sequence[_Found], root: str | Path | None, inputs: str, channels: int) -> Files:
    paths = list(dict.fromkeys(path for each in found for path in each.paths))
    others = [path for each in found for path in each.others]
    kinds = Counter(os.path.splitext(path)[1].lower() or "none" for path in others)
    if not paths:
        beside = f" ({len(others)} files with other extensions: {', '.join(sorted(kinds)[:5])})" if others else ""
        raise UserError(f"{inputs}: found no image{beside}, supported: {' '.join(extensions_of(channels))}")
    base = os.path.abspath(root) if root is not None else os.path.commonpath([each.base for each in found])
    if os.path.commonpath([base, *paths]) != base:
        if root is not None:
            raise UserError(f"--root {root}: found images outside it, expected a folder that holds them all")
        base = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = sorted((Path(path).relative_to(base).as_posix() for path in paths), key=natural_order)
    return Files(Path(base), names, kinds, channels=channels)
