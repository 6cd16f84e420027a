"""IDX files of MNIST: a magic number, the sizes, then bytes; plain or compressed by gzip.

The magic number is two zero bytes, the type (08, bytes) and the number of axes; sizes are big-endian
(yann.lecun.com/exdb/mnist, "the IDX file format").
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError

GZIP = b"\x1f\x8b"


def is_idx(path: str | Path) -> bool:
    """Return whether the name is that of an IDX file: ...-idx3-ubyte, .idx, each also with .gz."""
    name = Path(path).name.lower().removesuffix(".gz")
    return name.endswith((".idx", "-ubyte", ".idx3", ".idx1")) or "-idx" in name or ".idx" in name


def read_idx(path: str | Path, axes: int) -> NDArray[np.uint8]:
    """Read the bytes of an IDX file as an array of so many axes: 3 of images, 1 of labels.

    Raises: UserError, missing, not IDX, truncated, or longer than its header says.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == GZIP else data
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected an IDX file") from error
    start = 4 + 4 * axes
    if data[:4] != bytes((0, 0, 8, axes)) or len(data) < start:
        raise UserError(
            f"{path}: begins with {data[:4].hex(' ')}, expected an IDX file, 00 00 08 0{axes} and the sizes"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", axes, 4))
    expected = start + math.prod(shape)
    if len(data) != expected:
        size = " x ".join(map(str, shape))
        raise UserError(f"{path}: found {len(data)} bytes, expected {expected} for {size} values")
    return np.frombuffer(bytearray(data), np.uint8, offset=start).reshape(shape)  # writable, as torch wants it


def read_idx_pair(images: str | Path, labels: str | Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images uint8 [N, H, W] and their labels int64 [N].

    labels: None = the file beside `images` with labels-idx1 for images-idx3 in its name.

    Raises: UserError, as `read_idx`; no labels; another number of labels than images.
    """
    images = Path(images)
    found = labels_beside(images) if labels is None else Path(labels)
    pixels, targets = read_idx(images, 3), read_idx(found, 1)
    if len(pixels) != len(targets):
        raise UserError(f"{found}: found {len(targets)} labels, expected one for each of the {len(pixels)} images")
    if not pixels.size:
        raise UserError(f"{images}: found {list(pixels.shape)}, expected at least one image")
    return pixels, targets.astype(np.int64)


def labels_beside(images: Path) -> Path:
    """Return the file of labels for a file of images. Raises: UserError if the name does not tell."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    if name == images.name:
        raise UserError(f"{images}: its name does not tell where the labels are; say so by data.train_labels=FILE")
    return images.with_name(name)
