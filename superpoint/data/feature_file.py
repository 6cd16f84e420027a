"""Read feature files: the keypoints of images in HDF5, in the layout of hloc. `feature_writer` writes them.

    photos/one.jpg/keypoints      float32 [N, 2], (x, y) in pixels of the image in the file's frame, strongest first;
                                  attribute "uncertainty": standard deviation in those pixels
                  /scores         float32 [N], probability
                  /descriptors    float16 [D, N], if the network has them
                  /image_size     int64 [2], (width, height)

A group is an image: its path relative to the image root, POSIX. Its attributes: "views" (of homographic adaptation),
"orientation" (of EXIF, 2..8), "warp" (of a generated view) and "crc32" of its arrays. File attributes: "format",
"version", "frame" ("stored" or "upright", see `geometry.orientation`; files of version 1 are upright, hloc's files
stored), "images" (number of groups), "model" (hash of the weights), "channels" (of the images as they were read),
"config" (YAML) and "skipped" (JSON, name -> reason). hloc takes the parent of every dataset for an image, so the file
holds no other dataset.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import h5py
import numpy as np

from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.files import natural_order
from superpoint.geometry.homography import inside
from superpoint.geometry.orientation import Frame

FORMAT = "superpoint features"
VERSION = 2
DAMAGE = (OSError, RuntimeError, KeyError, TypeError, ValueError)  # what HDF5 raises for a damaged file
KEYPOINTS = b"/keypoints"
CACHE = 1 << 20  # bytes of HDF5's cache of visited objects; the default keeps 7 KB per image
READS = 1000  # images after which a file is reopened: HDF5 keeps up to 14 KB of each until it is closed
OUTSIDE = 0.01  # share of the image side by which a keypoint may lie outside


class FeatureFile:
    """A feature file, or a folder of them (the shards of an export), read on demand.

    Worker processes may share it (pickled or forked); threads may not. `frame`: of keypoints and image sizes.
    """

    frame: Frame

    def __init__(self, path: str | Path) -> None:
        """Raises: UserError if the path is missing or is not a readable HDF5 file."""
        self.path = Path(path)
        if not self.path.exists():
            raise UserError(f"{self.path}: no such file, expected features (.h5) or a folder of them")
        self.files = sorted(self.path.glob("*.h5")) if self.path.is_dir() else [self.path]
        if not self.files:
            raise UserError(f"{self.path}: found no .h5 file in this folder, expected features")
        self._where: dict[str, int] | None = None  # name -> index into files, in natural order
        self._handle: tuple[int, int, h5py.File] | None = None  # process, index into files, file
        self._reads = 0
        attributes = self.attributes
        old = attributes.get("format") == FORMAT and "frame" not in attributes
        frame = str(attributes.get("frame", "upright" if old else "stored"))
        self._untold = 0 if old else 1  # orientation of images without that attribute: unknown, or none
        if frame not in get_args(Frame):
            raise UserError(
                f"{self.path}: found the frame {one_line(frame)!r}, expected {' or '.join(get_args(Frame))}"
            )
        self.frame = cast(Frame, frame)

    def names(self) -> list[str]:
        """Return the image names in natural order: image2 before image10."""
        return list(self._index())

    def __len__(self) -> int:
        return len(self._index())

    def __contains__(self, name: object) -> bool:
        return name in self._index()

    def __iter__(self) -> Iterator[tuple[str, Features]]:
        for name in self.names():
            yield name, self.read(name)

    @property
    def attributes(self) -> dict[str, Any]:
        """Return the file attributes (of the first file of a folder)."""
        with _readable(f"{self.path}: its attributes cannot be read"):
            return dict(self.open().attrs)

    def skipped(self) -> dict[str, str]:
        """Return name -> reason of the images that could not be labelled."""
        reasons: dict[str, str] = {}
        for index, path in enumerate(self.files):
            with _readable(f"{path}: its attribute 'skipped' cannot be read"):
                reasons |= json.loads(str(self.open(index).attrs.get("skipped", "{}")))
        return reasons

    def read(self, name: str, *, descriptors: bool = True) -> Features:
        """Return the features of an image. Raises: UserError if it is missing or damaged."""
        with _readable(f"{self.path}: '{name}' cannot be read"):
            group = self.group(name)
            network = str(group.file.attrs.get("model", ""))
            return features_of(group, self.frame, self._untold, network, descriptors=descriptors)

    def group(self, name: str) -> h5py.Group:
        """Return the group of an image, valid until the next call. Raises: UserError if there is none."""
        where = self._index().get(name)
        self._reads += 1
        if self._reads % READS == 0:
            self.close()
        if where is None:
            raise UserError(f"{self.path}: holds no features of '{name}', but of {len(self)} other images")
        with _readable(f"{self.path}: '{name}' cannot be read"):
            group = self.open(where)[name]
        if not isinstance(group, h5py.Group):
            raise UserError(f"{self.path}: '{name}': found {type(group).__name__}, expected a group with keypoints")
        return group

    def open(self, index: int = 0) -> h5py.File:
        """Return file `index`, open; the one used before is closed."""
        if self._handle is not None and self._handle[:2] == (os.getpid(), index):
            return self._handle[2]
        self.close()
        path = self.files[index]
        with _readable(f"{path}: not a readable HDF5 file"):
            # Finished files do not change, and some network file systems refuse locks.
            file = h5py.File(path, "r", locking="best-effort")
            limit_cache(file)
        self._handle = (os.getpid(), index, file)
        with _readable(f"{path}: damaged, its attributes cannot be read"):
            version = int(file.attrs.get("version", VERSION)) if file.attrs.get("format") == FORMAT else VERSION
        if version > VERSION:
            raise UserError(f"{path}: found version {version} of the format, this program knows up to {VERSION}")
        return file

    def close(self) -> None:
        # A handle that came by fork is dropped, not closed: its file belongs to the parent.
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[2].close()
        self._handle = None

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _index(self) -> dict[str, int]:
        if self._where is None:
            found: dict[str, int] = {}
            for index, path in enumerate(self.files):
                with _readable(f"{path}: damaged, its groups cannot be listed"):
                    for name in _list(self.open(index)):
                        found.setdefault(name, index)
            self._where = {name: found[name] for name in sorted(found, key=natural_order)}
        return self._where


def features_of(
    group: h5py.Group, frame: Frame = "stored", orientation: int = 1, network: str = "", *, descriptors: bool = True
) -> Features:
    """Return the features of the group of an image; `orientation`: of a group that names none; `network`: its hash.

    Raises: ValueError, or an error of HDF5, for damage.
    """
    keypoints = group["keypoints"]
    uncertainty, views = keypoints.attrs.get("uncertainty"), group.attrs.get("views")
    return Features(
        np.asarray(keypoints),
        np.asarray(group["scores"]) if "scores" in group else None,
        np.asarray(group["descriptors"]).T if descriptors and "descriptors" in group else None,
        tuple(np.asarray(group["image_size"]).reshape(-1)) if "image_size" in group else (0, 0),
        None if uncertainty is None else float(uncertainty),
        None if views is None else int(views),
        int(group.attrs.get("orientation", orientation)),
        frame,
        group.attrs.get("warp"),
        network,
    )


class Problem(NamedTuple):
    name: str  # of the image; "" for the file as a whole
    text: str


def check_features(file: FeatureFile, names: Iterable[str] | None = None) -> Iterator[Problem]:
    """Yield what is wrong: bad checksums (where the file has them), shapes that do not fit, impossible values.

    `names`: the images to look at; None = all.
    """
    attributes = file.attributes
    expected = attributes.get("images")
    if len(file.files) == 1 and attributes.get("format") == FORMAT and expected != len(file):
        yield Problem("", f"holds {len(file)} images, its header says {expected}")
    for name in file.names() if names is None else names:
        try:
            yield from (Problem(name, text) for text in _check_group(file.group(name)))
        except DAMAGE as error:
            yield Problem(name, f"cannot be read ({one_line(error)})")


def _check_group(group: h5py.Group) -> Iterator[str]:
    arrays = {key: np.asarray(item) for key, item in group.items() if isinstance(item, h5py.Dataset)}
    wanted = group.attrs.get("crc32")
    if wanted is not None and int(wanted) != int(checksum(arrays)):
        yield "its checksum is not that of its content: the data is damaged or was edited"
    try:
        features = features_of(group)
    except ValueError as error:
        yield str(error)
        return
    width, height = features.image_size
    out = int((~inside(features.keypoints, height, width, -OUTSIDE * max(width, height))).sum())
    if out and features.image_size != (0, 0):
        yield f"{out} of {len(features)} keypoints lie outside the image of {width} x {height}"


def checksum(arrays: Mapping[str, np.ndarray]) -> np.uint32:
    """Return the CRC-32 of the arrays of one image, in the order of their names."""
    value = 0
    for key in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[key]).tobytes(), value)
    return np.uint32(value)


@contextlib.contextmanager
def _readable(what: str) -> Iterator[None]:
    """Turn any error of a damaged file into a UserError that begins with `what`."""
    try:
        yield
    except DAMAGE as error:
        # HDF5's messages go on with addresses of buffers; the first clause says what is wrong.
        raise UserError(f"{what} ({one_line(error).partition(', buf')[0]})") from error


def limit_cache(file: h5py.File) -> None:
    """Limit the cache of visited groups to CACHE bytes: an image is visited once."""
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = CACHE
    config.incr_mode = config.flash_incr_mode = config.decr_mode = 0
    file.id.set_mdc_config(config)


def _list(file: h5py.File) -> Iterator[str]:
    """Names of the groups that hold keypoints. Opening every object would be 20 times slower than its links."""
    names: list[bytes] = []
    folders: set[bytes] = set()  # above a folder that is itself called keypoints: it has links below it

    def visit(path: bytes) -> None:
        if path.endswith(KEYPOINTS):
            names.append(path[: -len(KEYPOINTS)])
        start = 0
        while (start := path.find(KEYPOINTS + b"/", start)) >= 0:
            folders.add(path[:start])
            start += len(KEYPOINTS)

    file.id.links.visit(visit)
    return (name.decode("utf-8", "surrogateescape") for name in names if name not in folders)
