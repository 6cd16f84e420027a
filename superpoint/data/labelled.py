"""Training samples from images with labels; labels of one image read from a file."""

import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from superpoint.config import DataConfig
from superpoint.data.images import resize_with_points
from superpoint.data.masks import Mask, resize_mask
from superpoint.data.samples import KeypointSamples, Scene
from superpoint.errors import UserError, one_line
from superpoint.files import read_text
from superpoint.geometry.homography import inside

CROP_STREAM = 7003  # of random numbers, apart from those of the augmentation (7001) and of the encoding (7002)
ORDER_STREAM = 7004
ARRAY_NAMES = ("points", "keypoints")  # in an .npz file that holds several arrays


class LabelSource(Protocol):
    """Images uint8 [H, W] of any size, each with its points [N, 2] (x, y) and its mask, bool [H, W] or None.

    NaN and points outside are ignored.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], NDArray[np.floating], Mask | None]: ...


class LabelledImages(KeypointSamples):
    """The images of a source as samples without end, see `KeypointSamples`; each epoch shows all in a new order.

    An image is resized and cropped by `cover`, at a place drawn from (seed, index).
    Raises: UserError if the source is empty or, with `config.overfit` = n, has fewer than n images with a label.
    """

    def __init__(self, source: LabelSource, config: DataConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.source = source
        if len(source) == 0:
            raise UserError("labelled images: found none, expected at least one")
        self.repeated = self.first_labelled(range(len(source)))
        if len(self.repeated) < config.overfit:
            raise UserError(
                f"data.overfit: found {len(self.repeated)} labelled images of {len(source)}, expected {config.overfit}"
            )

    def number(self, index: int) -> int:
        """Return which image of the source sample `index` shows."""
        if self.repeated:
            return self.repeated[index % len(self.repeated)]
        return epoch_order(self.seed, index, len(self.source))

    def scene(self, index: int) -> Scene:
        image, points, mask = self.source[self.number(index)]
        rng = np.random.Generator(np.random.SFC64([self.seed, index, CROP_STREAM]))
        return cover(image, points, (self.config.height, self.config.width), rng, mask)

    def still(self, number: int) -> Scene:
        image, points, mask = self.source[number]
        return cover(image, points, (self.config.height, self.config.width), mask=mask)


def epoch_order(seed: int, index: int, count: int) -> int:
    """Return which of `count` images sample `index` shows."""
    epoch, position = divmod(index, count)
    return int(_permutation(seed, epoch, count)[position])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.Generator(np.random.SFC64([seed, epoch, ORDER_STREAM])).permutation(count)


def cover(
    image: NDArray[np.uint8],
    points: NDArray[np.floating],
    size: tuple[int, int],
    rng: np.random.Generator | None = None,
    mask: Mask | None = None,
) -> Scene:
    """Resize an image, its points [N, 2] and its mask to cover `size` (height, width), proportions kept; crop the rest.

    `rng` draws where the crop lies (None: in the middle). Points outside it are left out.
    """
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    resized = max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale))
    image, xy = resize_with_points(image, np.asarray(points).reshape(-1, 2), resized)
    spare = np.array([resized[1] - width, resized[0] - height])
    left, top = (spare // 2 if rng is None else rng.integers(0, spare + 1)).tolist()
    xy = xy - np.array([left, top], np.float32)
    crop = slice(top, top + height), slice(left, left + width)
    mask = None if mask is None else resize_mask(mask, resized)[crop]
    return np.ascontiguousarray(image[crop]), xy[inside(xy, height, width)], mask


def read_points(path: str | Path, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Read the points of one image, float32 [N, 2] (x, y), N >= 1; scores are ignored.

    Text: a point per line, `x y` or `x y score`, separated by blanks, commas, semicolons or tabs; # begins a comment; a
    first line of names (`x,y,score`, also behind a #) says which columns hold x and y. Arrays: .npy or .npz, [N, 2] or
    [N, 3]; of several arrays in an .npz the one named "points" or "keypoints".

    `size`: (height, width) of the image; None = not checked.
    Raises: UserError if it is missing, unreadable, empty, or has other columns, NaN or points outside the image.
    """
    file = Path(path)
    try:
        points = _read_array(file) if file.suffix.lower() in (".npy", ".npz") else _read_text(file)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file, expected point labels") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    if not len(points):
        raise UserError(f"{file}: found no points, expected at least one")
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(broken):
        x, y = points[broken[0]]
        raise UserError(f"{file}: point {broken[0] + 1} is ({x:g}, {y:g}), expected finite numbers")
    outside = np.flatnonzero(~inside(points, *size)) if size is not None else []
    if size is not None and len(outside):
        x, y = points[outside[0]]
        hint = "; x and y swapped?" if inside(points[:, ::-1], *size).all() else ""
        raise UserError(
            f"{file}: point {outside[0] + 1} of {len(points)} is (x={x:g}, y={y:g}), expected points on the image of "
            f"{size[1]}x{size[0]} pixels{hint}"
        )
    return points.astype(np.float32)


def _read_array(file: Path) -> NDArray[np.float64]:
    with open(file, "rb") as stream:  # by name, NumPy would leave a damaged file open
        try:
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.ndarray):
                names = list(content)
                name = names[0] if len(names) == 1 else next((name for name in ARRAY_NAMES if name in names), None)
                if name is None:
                    found, wanted = ", ".join(names) or "nothing", " or ".join(ARRAY_NAMES)
                    raise UserError(f"{file}: found {found}, expected one array, or one named {wanted}")
                content = content[name]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{file}: not a readable NumPy file ({one_line(error)})") from error
    if content.ndim != 2 or content.shape[1] not in (2, 3) or content.dtype.kind not in "iuf":
        raise UserError(
            f"{file}: found {content.dtype} {list(content.shape)}, expected numbers [N, 2] (x, y) or [N, 3]"
        )
    return content[:, :2].astype(np.float64)


def _read_text(file: Path) -> NDArray[np.float64]:
    try:
        lines = read_text(file).splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: found bytes that are no text, expected lines of x y") from error
    points: list[list[float]] = []
    columns: list[int] | None = None  # of x and y
    count = 0  # of columns
    for number, line in enumerate(lines, start=1):
        comment = line.lstrip().startswith("#")
        fields = _fields(line.strip("# \t") if comment else line)
        names = [field.strip("\"'").lower() for field in fields]
        if not points and columns is None and {"x", "y"} <= set(names) and (len(names) <= 3 or not comment):
            columns, count = [names.index("x"), names.index("y")], len(fields)
            continue
        if comment or not fields:
            continue
        if columns is None and len(fields) not in (2, 3):
            raise UserError(f"{file}: line {number} has {len(fields)} columns, expected x y or x y score")
        columns, count = columns or [0, 1], count or len(fields)
        if len(fields) != count:
            raise UserError(f"{file}: line {number} has {len(fields)} columns, expected {count} as before it")
        try:
            points.append([float(fields[column]) for column in columns])
        except ValueError as error:
            raise UserError(f"{file}: line {number} is '{line.strip()[:60]}', expected numbers x y") from error
    return np.array(points, np.float64).reshape(-1, 2)


def _fields(line: str) -> list[str]:
    for separator in (",", ";"):
        if separator in line:
            return [field.strip() for field in line.split(separator)]
    return line.split()
