"""Image sources; images inside HDF5 and tar shards (the WebDataset convention).

A source is divided into independent parts. Any thread may call `load()` of an item.
"""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from superpoint.data.bands import COLOURS, PLANES, array_image, read_image
from superpoint.data.feature_file import READS, limit_cache
from superpoint.data.images import read_orientation
from superpoint.errors import UserError, one_line
from superpoint.files import natural_order

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
READING = threading.Lock()  # HDF5 has one of its own; this one lets the file be reopened in between


class Item(NamedTuple):
    """An image not yet decoded; `load` returns it, upright, as `read_image` does, or raises UserError."""

    name: str  # path below the root, POSIX
    load: Callable[[], NDArray[np.uint8]]
    orientation: Callable[[], int]  # of EXIF, 1..8


class ImageSource(Protocol):
    def describe(self) -> dict[str, Any]:
        """Return JSON of what is to be read, in order: equal descriptions make equal parts."""
        ...

    def parts(self, size: int) -> int:
        """Return the number of parts of `size` images each (tars: of one tar each)."""
        ...

    def read(self, part: int, size: int, skip: int = 0) -> Iterator[Item]:
        """Yield the images of a part after the first `skip`. Raises: UserError if the source breaks."""
        ...

    def close(self) -> None:
        """Let go of open files; they may be read again."""

    def __len__(self) -> int:
        """Return the number of images, 0 if only reading can tell."""
        return 0


class NamedImages(ImageSource):
    """Images whose `names` are known before they are read."""

    names: list[str]

    def load(self, name: str) -> NDArray[np.uint8]:
        raise NotImplementedError

    def orientation(self, name: str) -> int:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def parts(self, size: int) -> int:
        return -(-len(self.names) // size)

    def read(self, part: int, size: int, skip: int = 0) -> Iterator[Item]:
        for name in self.names[part * size + skip : (part + 1) * size]:
            yield Item(name, lambda name=name: self.load(name), lambda name=name: self.orientation(name))


def is_tar(text: str) -> bool:
    return text.lower().endswith(TAR_ENDINGS)


class StrictMember(tarfile.TarInfo):
    """A header; only a block of zeros ends a tar, where `tarfile` would also end at a damaged header."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> StrictMember:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            reason = "damaged" if len(buf) == tarfile.BLOCKSIZE else "cut off"
            raise tarfile.ReadError(f"the next header is {reason}") from error


def check_end(tar: tarfile.TarFile) -> None:
    """Raise tarfile.ReadError unless a second block of zeros follows the first, and nothing but zeros that."""
    stream = tar.fileobj
    assert stream is not None
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("cut off within the mark of its end")
    while block:
        if any(block):
            raise tarfile.ReadError("zeros in the middle: data follows the mark of its end")
        block = stream.read(tarfile.RECORDSIZE)


class TarImages(ImageSource):
    """Tar shards, each a part, read as a stream; only members with an image's extension count."""

    def __init__(
        self, urls: Sequence[str], extensions: Sequence[str], *, prefix: bool = False, channels: int = 1
    ) -> None:
        self.urls = list(urls)
        self.extensions = tuple(extensions)
        self.prefix, self.channels = prefix, channels
        for url in urls:
            if not Path(url).is_file():
                raise UserError(f"{url}: no such file, expected a tar of images")

    def describe(self) -> dict[str, Any]:
        return {"kind": "tar", "urls": self.urls, "prefix": self.prefix}

    def parts(self, size: int) -> int:
        return len(self.urls)

    def read(self, part: int, size: int, skip: int = 0) -> Iterator[Item]:
        url = self.urls[part]
        before = f"{Path(url).name.split('.tar')[0].removesuffix('.tgz')}/" if self.prefix else ""
        count = 0
        try:
            with tarfile.open(url, mode="r|*", tarinfo=StrictMember) as tar:
                for member in tar:
                    if not member.isfile() or not member.name.lower().endswith(self.extensions):
                        continue
                    name = before + posixpath.normpath(member.name).lstrip("/")
                    if posixpath.basename(name).startswith("."):
                        continue
                    count += 1
                    if count <= skip:
                        continue
                    file = tar.extractfile(member)
                    content = file.read() if file is not None else b""
                    yield Item(
                        name,
                        lambda content=content, name=name: read_image(name, self.channels, content=content),
                        lambda content=content, name=name: read_orientation(name, content),
                    )
                check_end(tar)
        except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise UserError(f"{url}: breaks off after {count} images ({one_line(error)})") from error


class Hdf5Images(NamedImages):
    """Images in an HDF5 file: one per dataset (named by its path), or stacks (images/0, images/1, ...).

    An image is [H, W], [H, W, C] or [C, H, W] (RGB, RGBA or as many as `channels`) of any numeric type, or its encoded
    bytes, uint8 [L].
    """

    def __init__(self, path: Path, names: Sequence[str] | None = None, channels: int = 1) -> None:
        self.path, self.channels = path, channels
        self._file: h5py.File | None = None
        self._reads = 0
        self.names = list(names) if names is not None else self._list()
        if not self.names:
            raise UserError(f"{path}: found no dataset that is an image, expected [H, W], [H, W, 3] or stacks of them")

    def describe(self) -> dict[str, Any]:
        return {"kind": "hdf5", "names": self.names}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __contains__(self, name: str) -> bool:
        with READING:
            return self._find(name) is not None

    def load(self, name: str, *, upright: bool = True) -> NDArray[np.uint8]:
        """Return image `name` as `read_image` does; may be called by several threads."""
        pixels = self._array(name)
        if pixels.ndim == 1 and pixels.dtype == np.uint8:
            return read_image(name, self.channels, content=pixels.tobytes(), upright=upright)
        return array_image(pixels, name, self.channels)

    def orientation(self, name: str) -> int:
        """Return the EXIF orientation of an image, 1 for one that is not stored as an encoded file."""
        pixels = self._array(name)
        return read_orientation(name, pixels.tobytes()) if pixels.ndim == 1 else 1

    def _array(self, name: str) -> NDArray[np.generic]:
        self._reads += 1
        if self._reads % READS == 0:
            self.close()
        try:
            with READING:
                found = self._find(name)
                pixels = None if found is None else found[0][found[1]]
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            raise UserError(f"{self.path}: '{name}' cannot be read ({one_line(error)})") from error
        if pixels is None:
            raise UserError(f"{self.path}: found no '{name}'")
        return np.asarray(pixels)

    def _find(self, name: str) -> tuple[h5py.Dataset, tuple[()] | int] | None:
        """The dataset of an image, and its place in a stack."""
        file = self._open()
        item = file.get(name)
        if item is not None:
            return (item, ()) if isinstance(item, h5py.Dataset) else None
        place, _, index = name.rpartition("/")
        stack = file.get(place) if place and index.isdecimal() else None
        if not isinstance(stack, h5py.Dataset) or stack.ndim == 0 or int(index) >= len(stack):
            return None
        return stack, int(index)

    def close(self) -> None:
        with READING:
            if self._file is not None:
                self._file.close()
            self._file = None

    def _open(self) -> h5py.File:
        if self._file is None:
            try:
                self._file = h5py.File(self.path, "r", locking="best-effort")
                limit_cache(self._file)
            except OSError as error:
                raise UserError(f"{self.path}: not a readable HDF5 file ({one_line(error)})") from error
        return self._file

    def _list(self) -> list[str]:
        names: list[str] = []

        def visit(name: str, item: object) -> None:
            if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "buif" or 0 in item.shape:
                return
            if _is_stack(item.shape, self.channels):
                names.extend(f"{name}/{index}" for index in range(item.shape[0]))
            elif item.ndim in (2, 3) or (item.ndim == 1 and item.dtype == np.uint8):
                names.append(name)

        self._open().visititems(visit)
        if any(name.endswith("/keypoints") for name in names):
            raise UserError(f"{self.path}: found features, expected images")
        return sorted(names, key=natural_order)


def _is_stack(shape: tuple[int, ...], channels: int) -> bool:
    if len(shape) == 3:
        return shape[2] not in (*COLOURS, channels) and shape[0] not in (*PLANES, channels)
    return len(shape) == 4
