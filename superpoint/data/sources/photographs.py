"""Photographs with their labels from a feature file.

Labels may have been made on aligned images of another kind: labels of a/1.jpg serve a/1.png, at any size.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from superpoint.data.bands import read_image
from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import read_orientation
from superpoint.data.masks import Mask, Masks, inner, on_mask
from superpoint.data.sources.archives import Hdf5Images
from superpoint.data.sources.source import HDF5, extensions_of
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.homography import resize_points

TRIES = 20  # images in a row that cannot be read before training gives up


@cache
def tell_once(text: str) -> None:
    """Print a line to standard error; the same one only once per process."""
    print(text, file=sys.stderr, flush=True)


class AlignedFiles:
    """The image files below `root` by the names of labels: the file of that name, else the only one with its stem."""

    def __init__(self, root: Path, channels: int = 1) -> None:
        self.root, self.extensions = root, extensions_of(channels)
        self._folders: dict[PurePosixPath, list[PurePosixPath]] = {}  # the images in each, listed when asked for

    def find(self, name: str) -> str | None:
        """Return the file that labels of `name` are for, relative to the root; None without one, or with several."""
        if (self.root / name).is_file():
            return name
        path = PurePosixPath(name)
        if path.parent not in self._folders:
            files = (path.parent / file.name for file in (self.root / path.parent).glob("*"))
            self._folders[path.parent] = [file for file in files if file.suffix.lower() in self.extensions]
        stem = path.stem if path.suffix.lower() in self.extensions else path.name
        alike = [str(file) for file in self._folders[path.parent] if file.stem == stem]
        return alike[0] if len(alike) == 1 else None


def check_shape(path: Path, labelled: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise UserError unless an image of (width, height) `size` is a resize of `labelled`, rounded to whole pixels."""
    x, y = (math.log(b / a) for a, b in zip(labelled, size, strict=True))
    if abs(x - y) > sum(1 / min(a, b) for a, b in zip(labelled, size, strict=True)):
        found, made = (" x ".join(map(str, each)) for each in (size, labelled))
        raise UserError(f"{path}: found {found} pixels, its labels were made for {made}")


class LabelledPhotographs:
    """Images with their labels, a `LabelSource`; the images are files or lie in an HDF5 file."""

    def __init__(
        self,
        labels: FeatureFile,
        root: str | Path,
        names: Sequence[str] | None = None,
        threshold: float = 0.0,
        masks: str | Path | None = None,
        channels: int = 1,
    ) -> None:
        """Open the images `names` (None: all) in `root`, a folder or HDF5 file, to be read with so many channels.

        threshold: lowest score of a label.

        Raises: UserError if there are no labels, none of the first TRIES images is in `root`, or no image has a mask in
            the folder `masks`.
        """
        self.labels = labels
        self.root = Path(root)
        self.threshold, self.channels = threshold, channels
        self.names = labels.names() if names is None else list(names)
        self.upright = labels.frame == "upright"
        every = labels.names()
        labels.close()  # every worker opens its own
        if not self.names:
            raise UserError(f"{labels.path}: holds no labels")
        self.store = Hdf5Images(self.root, self.names, channels) if self.root.suffix.lower() in HDF5 else None
        self.files = AlignedFiles(self.root, channels)
        self.masks = None if masks is None else Masks(masks)
        if self.masks is not None and (note := self.masks.check(list(map(self._image, every)), root=self.root)):
            tell_once(note)
        found = [name for name in self.names[:TRIES] if self._has(name)]
        if not found:
            raise UserError(
                f"{self.root}: found no '{self.names[0]}' in it, expected the images that were labelled: their folder, "
                "or their HDF5 file; unpack tars"
            )
        if self.store is not None:
            self.store.close()
        elif (file := self._image(found[0])) != found[0]:
            made, used = (PurePosixPath(each).suffix for each in (found[0], file))
            tell_once(f"labels of {made} are used for {used}")
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], Mask | None]:
        """Return image, points and mask, without points on what it ignores; instead of a damaged image, the next.

        Raises: UserError if TRIES images in a row fail.
        """
        failed: list[UserError] = []
        for step in range(min(TRIES, len(self.names))):
            number = (index + step) % len(self.names)
            try:
                image, features = self.read(number)
                mask, chosen = self.mask(number, image), features.scores >= self.threshold
                if mask is not None:
                    chosen &= on_mask(features.keypoints, inner(mask))
                return image, features.keypoints[chosen], mask
            except UserError as error:
                failed.append(error)
                if number not in self._warned:
                    self._warned.add(number)
                    count = f"{len(self._warned)} so far in this process"
                    warnings.warn(f"{error}; the next image is taken instead ({count})", stacklevel=2)
        raise UserError(f"{len(failed)} labelled images in a row cannot be read, the first: {failed[0]}")

    def read(self, index: int) -> tuple[NDArray[np.uint8], Features]:
        """Return the image as `read_image` does and its labels in its pixels, both in the frame of the feature file.

        Raises: UserError if the image is gone, unreadable, or of another shape than its labels say.
        """
        name = self._image(self.names[index])
        if self.store is None:
            image = self.read_image(self.root / name)
        else:
            image = self.store.load(name, upright=self.upright)
        features = self.labels.read(self.names[index])
        size, labelled = (image.shape[1], image.shape[0]), features.image_size
        if labelled in (size, (0, 0)):
            return image, features
        check_shape(self.root / name, labelled, size)
        points = resize_points(features.keypoints, size[0] / labelled[0], size[1] / labelled[1])
        return image, replace(features, keypoints=points, image_size=size)

    def read_image(self, path: Path) -> NDArray[np.uint8]:
        """Read an image file as `read_image` does, in the frame of the feature file."""
        return read_image(path, self.channels, upright=self.upright)

    def mask(self, index: int, image: NDArray[np.uint8]) -> Mask | None:
        """Return the mask of an image that was read. Raises: UserError if it cannot be read or does not fit."""
        name = self._image(self.names[index])
        if self.masks is None or self.masks.find(name) is None:
            return None
        turn = 1
        if self.upright:
            turn = read_orientation(self.root / name) if self.store is None else self.store.orientation(name)
        return self.masks.read(name, image.shape, turn)

    def _has(self, name: str) -> bool:
        return self.files.find(name) is not None if self.store is None else name in self.store

    def _image(self, name: str) -> str:
        """Return the name of the image that the labels of `name` are for."""
        return name if self.store is not None else self.files.find(name) or name
