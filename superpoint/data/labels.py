"""Feature files: the points of images in HDF5, in the layout that hloc reads and writes.

    photos/one.jpg/keypoints      float32 [N, 2], (x, y) in pixels of the original image, strongest first;
                                  attribute "uncertainty": standard deviation in those pixels
                  /scores         float32 [N], probability
                  /descriptors    float16 [D, N], if the network has them
                  /image_size     int64 [2], (width, height)

A group is an image: its path relative to the image root, POSIX. Its attributes: "views" (of homographic adaptation) and
"crc32" of its arrays. File attributes: "format", "version", "images" (number of groups), "model" (hash of the weights),
"config" (YAML) and "skipped" (JSON, name -> reason). No other dataset is in the file: hloc takes the parent of every
dataset for an image. COLMAP, whose pixel centres are at .5, gets its +0.5 from whatever writes to COLMAP.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import read_gray
from superpoint.errors import UserError

FORMAT = "superpoint features"
VERSION = 1
KEYPOINTS = b"/keypoints"
TRIES = 20  # images in a row that cannot be read before training gives up
READS = 1000  # images after which a file is opened anew: HDF5 keeps up to 14 KB of each until the file is closed


class Features(NamedTuple):
    """Of one image.

    keypoints: float32 [N, 2], (x, y) in pixels of the original image. scores: float32 [N], None if the file has none.
    descriptors: [D, N], as stored. image_size: (width, height). uncertainty: pixels. views: of adaptation.
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32] | None = None
    descriptors: NDArray[np.floating] | None = None
    image_size: tuple[int, int] | None = None
    uncertainty: float | None = None
    views: int | None = None


class LabelFile:
    """A feature file, or a folder of them (the finished shards of an export), opened lazily and read on demand.

    May be handed to worker processes, by pickling or by fork: each opens the file for itself. One object must not be
    used by several threads at once.
    """

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
        self.open()

    def names(self) -> list[str]:
        """Image names in natural order: image2 before image10."""
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
        """File attributes (of the first file of a folder)."""
        return dict(self.open().attrs)

    def skipped(self) -> dict[str, str]:
        """Name -> reason of the images that could not be labelled; {} in files that are not ours."""
        reasons: dict[str, str] = {}
        for index in range(len(self.files)):
            reasons |= json.loads(str(self.open(index).attrs.get("skipped", "{}")))
        return reasons

    def read(self, name: str) -> Features:
        """Features of an image; float16 keypoints, which hloc once wrote, become float32.

        Raises: UserError if there is no such image, or its data is damaged or of another layout.
        """
        return self._read(name, descriptors=True)

    def read_points(self, name: str) -> Features:
        """As `read`, but without the descriptors, which are most of the bytes."""
        return self._read(name, descriptors=False)

    def _read(self, name: str, *, descriptors: bool) -> Features:
        group = self.group(name)
        try:
            keypoints = group["keypoints"]
            points = np.asarray(keypoints, np.float32)  # type: ignore[arg-type]
            uncertainty = keypoints.attrs.get("uncertainty")
            scores = np.asarray(group["scores"], np.float32) if "scores" in group else None
            described = np.asarray(group["descriptors"]) if descriptors and "descriptors" in group else None
            size = np.asarray(group["image_size"]).reshape(-1) if "image_size" in group else None
            views = group.attrs.get("views")
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path}: '{name}' cannot be read ({_one_line(error)})") from error
        if points.ndim != 2 or points.shape[1] != 2:
            raise UserError(f"{self.path}: '{name}': found keypoints of shape {list(points.shape)}, expected [N, 2]")
        return Features(
            points,
            scores,
            described,
            None if size is None else (int(size[0]), int(size[1])),
            None if uncertainty is None else float(uncertainty),
            None if views is None else int(views),
        )

    def group(self, name: str) -> h5py.Group:
        """The group of an image, good until the next call. Raises: UserError if there is none."""
        where = self._index().get(name)
        self._reads += 1
        if self._reads % READS == 0:
            self.close()
        if where is None:
            raise UserError(f"{self.path}: holds no features of '{name}', but of {len(self)} other images")
        group = self.open(where)[name]
        assert isinstance(group, h5py.Group)
        return group

    def open(self, index: int = 0) -> h5py.File:
        """The open file `index`; only the last one used stays open, and never one of another process."""
        if self._handle is not None and self._handle[:2] == (os.getpid(), index):
            return self._handle[2]
        # A handle that came by fork is dropped, not closed: its file belongs to the parent.
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[2].close()
        self._handle = None
        path = self.files[index]
        try:
            # Finished files do not change, and some network file systems refuse locks.
            file = h5py.File(path, "r", locking="best-effort")
        except OSError as error:
            raise UserError(f"{path}: not a readable HDF5 file ({_one_line(error)})") from error
        self._handle = (os.getpid(), index, file)
        version = file.attrs.get("version", VERSION) if file.attrs.get("format") == FORMAT else VERSION
        if int(version) > VERSION:
            raise UserError(f"{path}: found version {version} of the format, this program knows up to {VERSION}")
        return file

    def close(self) -> None:
        if self._handle is not None and self._handle[0] == os.getpid():
            self._handle[2].close()
        self._handle = None

    def __enter__(self) -> LabelFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def _index(self) -> dict[str, int]:
        if self._where is None:
            found: dict[str, int] = {}
            for index, path in enumerate(self.files):
                try:
                    for name in _list(self.open(index)):
                        found.setdefault(name, index)
                except (OSError, RuntimeError, KeyError) as error:
                    raise UserError(f"{path}: damaged, its groups cannot be listed ({_one_line(error)})") from error
            self._where = {name: found[name] for name in sorted(found, key=natural_order)}
        return self._where


class LabelledPhotographs:
    """Images with their labels: a source for `superpoint.data.labelled.LabelledImages`.

    The images are files below a folder. Labels that were made from tars or HDF5 can be trained on once the images are
    unpacked, under the names they have there.
    """

    def __init__(
        self, labels: LabelFile, root: str | Path, names: Sequence[str] | None = None, threshold: float = 0.0
    ) -> None:
        """Args: names, the images to use, None = all that have labels; threshold, the least score of a label.

        Raises: UserError if there are no labels, or none of the first TRIES images is below `root`.
        """
        self.labels = labels
        self.root = Path(root)
        self.threshold = threshold
        self.names = labels.names() if names is None else list(names)
        labels.close()  # workers, and whoever reads on, open it for themselves
        if not self.names:
            raise UserError(f"{labels.path}: holds no labels")
        if not any((self.root / name).is_file() for name in self.names[:TRIES]):
            raise UserError(
                f"{self.root}: found no '{self.names[0]}' in it, expected the images that were labelled, "
                "as files (those of tars and HDF5 unpacked)"
            )
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What `read` gives; of an image it cannot give, the next one that it can, with one warning an image.

        So a file that is lost or damaged in the days of a training costs that image and not the training.

        Raises: UserError if TRIES images in a row fail: then it is the disk or the folder, and not an image.
        """
        failed: list[UserError] = []
        for step in range(min(TRIES, len(self.names))):
            number = (index + step) % len(self.names)
            try:
                return self.read(number)
            except UserError as error:
                failed.append(error)
                if number not in self._warned:
                    self._warned.add(number)
                    count = f"{len(self._warned)} so far in this process"
                    warnings.warn(f"{error}; the next image is taken instead ({count})", stacklevel=2)
        raise UserError(f"{len(failed)} labelled images in a row cannot be read, the first: {failed[0]}")

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image uint8 [H, W] as it is on the disk, upright, and its points float32 [N, 2] (x, y).

        Raises: UserError if the image is gone, unreadable, or of another size than the labels were made for.
        """
        name = self.names[index]
        gray = read_gray(self.root / name)
        features = self.labels.read(name)
        size = (gray.shape[1], gray.shape[0])
        if features.image_size is not None and features.image_size != size:
            made = " x ".join(map(str, features.image_size))
            raise UserError(f"{self.root / name}: found {size[0]} x {size[1]} pixels, its labels were made for {made}")
        if features.scores is None:
            return gray, features.keypoints
        return gray, features.keypoints[features.scores >= self.threshold]


def natural_order(name: str) -> list[tuple[int, str]]:
    """Sorting key that takes runs of digits as numbers: image2 before image10; "01" and "1" stay apart."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), part) if index % 2 else (-1, part) for index, part in enumerate(parts)]


def _list(file: h5py.File) -> Iterator[str]:
    """Names of the groups that hold keypoints. Walks over the links alone; to open every object is 20 times slower."""
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


def _one_line(error: BaseException) -> str:
    """HDF5's messages go on with addresses of buffers; the first clause says what is wrong."""
    return " ".join(str(error).split()).partition(", buf")[0][:200] or type(error).__name__
