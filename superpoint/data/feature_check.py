"""Is a feature file whole, and can its content be true?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import h5py
import numpy as np

from superpoint.data.feature_file import FORMAT, FeatureFile, features_of
from superpoint.data.feature_writer import checksum
from superpoint.geometry.homography import inside

OUTSIDE = 0.01  # share of the image side by which a point may lie outside: half a pixel of a small working size


class Problem(NamedTuple):
    name: str  # of the image; "" for the file as a whole
    text: str


def check_labels(labels: FeatureFile) -> Iterator[Problem]:
    """Find what is wrong in a file, image by image: damage (checksums), shapes that do not fit, values that cannot be.

    Checksums exist in files of ours only; of others the shapes and values are checked.
    """
    attributes = labels.attributes
    expected = attributes.get("images")
    if len(labels.files) == 1 and attributes.get("format") == FORMAT and expected != len(labels):
        yield Problem("", f"holds {len(labels)} images, its header says {expected}")
    for name in labels.names():
        try:
            yield from (Problem(name, text) for text in _check_group(labels.group(name)))
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            yield Problem(name, f"cannot be read ({' '.join(str(error).split())[:120]})")


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
