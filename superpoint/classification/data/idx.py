"""IDX files, the format of MNIST: a magic number, the sizes, then the values; plain or compressed by gzip.

The magic number is two zero bytes, the type and the number of axes; integers are big-endian
(yann.lecun.com/exdb/mnist, "the IDX file format").
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
AXES = {"values": range(1, 9), "images": (3, 4), "labels": (1,)}  # what a file holds: how many axes it may have
GZIP = b"\x1f\x8b"
MAX_VALUES = 1 << 33  # values; a header that says more is damaged


def is_idx(path: str | Path) -> bool:
    """Return whether the name is that of an IDX file: ...-idx3-ubyte, .idx, each also with .gz."""
    name = Path(path).name.lower().removesuffix(".gz")
    return name.endswith((".idx", "-ubyte", ".idx3", ".idx1")) or "-idx" in name or ".idx" in name


def read_idx(path: str | Path, content: str = "values") -> NDArray[np.generic]:
    """Read the array of an IDX file in native byte order; `content` is a key of AXES.

    Raises: UserError, missing, not IDX, truncated, or longer than its header says.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}), expected an IDX file") from error
    if data[:2] == GZIP:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged or truncated gzip file ({error})") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or data[3] not in AXES[content]:
        found = data[:4].hex(" ") or "an empty file"
        number = "their number" if content == "values" else " or ".join(f"{count:02d}" for count in AXES[content])
        raise UserError(
            f"{path}: found magic number {found}, expected IDX {content}: 00 00, type (such as 08), axes ({number})"
        )
    kind, axes = np.dtype(TYPES[data[2]]), data[3]
    start = 4 + 4 * axes
    if len(data) < start:
        raise UserError(f"{path}: truncated in its header: found {len(data)} bytes, expected at least {start}")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", axes, 4))
    count = math.prod(shape)
    expected = start + count * kind.itemsize
    if count > MAX_VALUES or len(data) != expected:
        state = "truncated" if len(data) < expected else "too long"
        size = " x ".join(map(str, shape))
        raise UserError(f"{path}: {state}: found {len(data)} bytes, expected {expected} for {size} values")
    return np.frombuffer(data, kind, count, start).reshape(shape).astype(kind.newbyteorder("="))


def read_idx_pair(images: str | Path, labels: str | Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images uint8 [N, H, W] or [N, H, W, 3] and their labels int64 [N].

    labels: None = the file beside `images` with labels-idx1 for images-idx3 in its name.

    Raises: UserError, as `read_idx`; wrong axes or types; no labels; another number of labels than images.
    """
    images = Path(images)
    found = labels_beside(images) if labels is None else Path(labels)
    pixels, targets = read_idx(images, "images"), read_idx(found, "labels")
    colour = pixels.ndim == 4 and pixels.shape[3] == 3
    if pixels.dtype != np.uint8 or not (pixels.ndim == 3 or colour):
        raise UserError(
            f"{images}: found {pixels.dtype} {list(pixels.shape)}, expected images: uint8 [N, H, W] or [N, H, W, 3]"
        )
    if not np.issubdtype(targets.dtype, np.integer):
        raise UserError(f"{found}: found {targets.dtype} {list(targets.shape)}, expected labels: integers [N]")
    if len(pixels) != len(targets):
        raise UserError(f"{found}: found {len(targets)} labels, expected one for each of the {len(pixels)} images")
    if not pixels.size:
        raise UserError(f"{images}: found {list(pixels.shape)}, expected at least one image")
    return pixels.astype(np.uint8), targets.astype(np.int64)


def labels_beside(images: Path) -> Path:
    """Return the file of labels for a file of images. Raises: UserError if the name does not tell."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == images.name:
        raise UserError(f"{images}: its name does not tell where the labels are; say so by data.train_labels=FILE")
    return images.with_name(name)
