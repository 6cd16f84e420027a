"""Masks: which pixels of a photograph count. In files 0 = ignore, anything else = keep; in memory bool, True = keep."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import WIDE_MODES, check_size, open_image
from superpoint.data.tiff import page_of
from superpoint.errors import UserError, one_line
from superpoint.geometry.homography import Matrix, inside
from superpoint.geometry.orientation import TURNS, turned_image

Mask = NDArray[np.bool_]

# Pixels of the image as it came, or of the one that the network sees if that is smaller: nothing arises nearer to what
# is ignored. A network of convolutions answers to its edge, a lens circle for instance.
MARGIN = 4
LOSSY = ("JPEG", "WEBP")  # files whose zeros are not exact: more than half of the brightest is kept
_RADIUS = MARGIN + 1  # sub-pixel refinement moves a keypoint by up to 1 px


def read_mask(path: str | Path, name: str = "") -> Mask:
    """Read a picture of any type as a mask [H, W], as it is stored: black and transparent pixels are ignored.

    An alpha channel that hides everything does not count. `name`: in errors, in place of the path.

    Raises: UserError if it is missing, truncated or no image.
    """
    try:
        with warnings.catch_warnings(), open_image(path, None, page_of(path, None)) as image:
            warnings.simplefilter("ignore")
            check_size(Path(name or path), image.height, image.width)
            image.load()
            plain = image.mode in ("1", "L", "RGB", *WIDE_MODES)
            values = np.nan_to_num(np.asarray(image if plain else image.convert("RGBA")))
            colours = values[:, :, :3].max(axis=2) if values.ndim == 3 else values
            shown = np.full(colours.shape, True) if plain else values[:, :, 3] > 0
            least = colours.max() / 2 if image.format in LOSSY else 0
            return (colours > least) & (shown | ~shown.any())
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly anything for damaged files
        reason = getattr(error, "strerror", None) or one_line(error).replace(str(path), Path(path).name)
        raise UserError(f"{name or path}: cannot be read as a mask ({reason})") from error


def as_mask(values: Any, name: str = "mask") -> Mask:
    """Return an array or tensor [H, W], [H, W, 1] or [1, H, W] as a mask. Raises: ValueError for another."""
    array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[:, :, 0]
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "buif":
        raise ValueError(f"{name}: found {array.dtype} {list(array.shape)}, expected bool or uint8 [H, W]")
    return array != 0


def fit_mask(mask: Mask, size: tuple[int, int], orientation: int = 1, name: str = "mask") -> Mask:
    """Return a mask [H, W] in the frame of its image of `size` (height, width), resized.

    `orientation`: EXIF's, if the image was turned upright by it. The mask is turned along, as masks for COLMAP are of
    the stored pixels, unless its shape fits the upright image only. Raises: UserError for another aspect ratio.
    """
    if TURNS[orientation][0] and _alike(mask.shape, size) and not _alike(mask.shape, size[::-1]):
        orientation = 1
    mask = turned_image(mask, orientation)
    if not _alike(mask.shape, size):
        found, expected = (f"{width} x {height}" for height, width in (mask.shape, size))
        raise UserError(f"{name}: found a mask of {found} pixels, expected the aspect ratio of its image, {expected}")
    return resize_mask(mask, size)


def _alike(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two sizes have one aspect ratio, but for a rounding of the sides by up to a pixel."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= sum(other)


def resize_mask(mask: Mask, size: tuple[int, ...]) -> Mask:
    """Return a mask of `size` (height, width, ..). Shrunk, a pixel is kept if all it covers is; else the nearest."""
    size = size[0], size[1]
    if mask.shape == size:
        return mask
    shrinks = size[0] <= mask.shape[0] and size[1] <= mask.shape[1]
    ignored = np.where(mask, 0.0, 1.0).astype(np.float32)
    return cv2.resize(ignored, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST_EXACT) == 0


def inner(mask: Mask) -> Mask:
    """Return the pixels whose keypoints stay MARGIN px away from what a mask [H, W] ignores."""
    return _away(np.where(mask, np.uint8(0), np.uint8(255)))


def warp_inner(mask: Mask, h_a_b: Matrix, size: tuple[int, int]) -> Mask:
    """Return `inner` in frame b (height, width) of a mask of frame a, which is mirrored beyond its outline."""
    ignored = np.where(mask, np.uint8(0), np.uint8(255))
    return _away(cv2.warpPerspective(ignored, h_a_b, size[::-1], borderMode=cv2.BORDER_REFLECT))


def _away(ignored: Any) -> Mask:
    return cv2.dilate(ignored, np.ones((2 * _RADIUS + 1, 2 * _RADIUS + 1), np.uint8)) == 0


def on_mask(points: NDArray[np.floating], mask: Mask) -> Mask:
    """Return which points [N, 2] (x, y) lie on kept pixels of a mask [H, W]; NaN does not."""
    seen = inside(points, *mask.shape)
    x, y = np.floor(np.where(seen[:, None], points, 0) + 0.5).astype(int).T
    return seen & mask[y, x]


class Masks:
    """The masks of a folder, each found by the name of its image: a/name.jpg.png (COLMAP), a/name.png or a/name.jpg."""

    def __init__(self, folder: str | Path) -> None:
        """List the folder. Raises: UserError if it is missing or holds no picture."""
        from superpoint.data.sources.source import open_source  # with HDF5, which detection alone does not need

        if not Path(folder).is_dir():
            raise UserError(f"{folder}: found no folder, expected a folder of masks")
        self.folder = Path(folder)
        self._files = dict.fromkeys(getattr(open_source([str(folder)]), "names", ()))

    def find(self, name: str) -> str | None:
        """Return the mask of an image by its name relative to the root of the images, None if there is none."""
        names = (f"{name}.png", PurePosixPath(name).with_suffix(".png").as_posix(), name)
        return next((each for each in names if each in self._files), None)

    def read(self, name: str, shape: tuple[int, ...], orientation: int = 1) -> Mask | None:
        """Return the mask of an image of `shape`, see `fit_mask`; None if it has none.

        Raises: UserError if it cannot be read or does not fit.
        """
        found = self.find(name)
        if found is None:
            return None
        title = f"mask {found}"  # a feature file shall not name this machine's folders
        return fit_mask(read_mask(self.folder / found, title), (shape[0], shape[1]), orientation, title)

    def check(self, names: Sequence[str], *, root: Path | None = None, refuse: bool = True) -> str:
        """Return how many of the images have no mask, in words, empty for none.

        Raises: UserError for the folder `root` of the images, or if no image has one, unless `refuse` is false.
        """
        if root is not None and root.resolve() == self.folder.resolve():
            raise UserError(f"{self.folder}: found the folder of the images, expected one of their masks")
        count = sum(self.find(name) is None for name in names)
        if refuse and names and count == len(names):
            raise UserError(
                f"{self.folder}: found no mask of the {count} images, expected for instance {names[0]}.png or "
                f"{PurePosixPath(names[0]).with_suffix('.png')} in it"
            )
        return f"{count} of {len(names)} images have no mask and are used whole" if count else ""

    def digest(self) -> str:
        """Return 16 hexadecimal digits of the names and contents of all masks."""
        files = ((name, hashlib.sha256((self.folder / name).read_bytes()).hexdigest()) for name in self._files)
        return hashlib.sha256(repr(list(files)).encode("utf-8", "surrogateescape")).hexdigest()[:16]
