"""Is a feature file whole, and can its content be true?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import h5py
import numpy as np

from superpoint.data.feature_file import FORMAT, FeatureFile
from superpoint.data.feature_writer import checksum
from superpoint.geometry.homography import inside

OUTSIDE = 0.01  # share of the image side by which a point may lie outside: half a pixel of a small working size


class Problem(NamedTuple):
    name: str  # of the image; "" for the file as a whole
    text: str


def check_labels(labels: FeatureFile) -> Iterator[Problem]:
    """What is wrong in a file, image by image: damage (checksums), shapes that do not fit, values that cannot be.

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
    points = arrays["keypoints"]
    if points.ndim != 2 or points.shape[1] != 2:
        yield f"found keypoints of shape {list(points.shape)}, expected [N, 2]"
        return
    count = len(points)
    if not np.isfinite(points).all():
        yield "found keypoints that are not finite"
    elif "image_size" in arrays:
        width, height = (int(side) for side in arrays["image_size"].reshape(-1)[:2])
        out = int((~inside(points, height, width, -OUTSIDE * max(width, height))).sum())
        if out:
            yield f"{out} of {count} keypoints lie outside the image of {width} x {height}"
    scores = arrays.get("scores")
    if scores is not None:
        if scores.shape != (count,):
            yield f"found scores of shape {list(scores.shape)}, expected [{count}]"
        elif not np.isfinite(scores).all():
            yield "found scores that are not finite"
    descriptors = arrays.get("descriptors")
    if descriptors is not None:
        if descriptors.ndim != 2 or descriptors.shape[1] != count:
            yield f"found descriptors of shape {list(descriptors.shape)}, expected [D, {count}]"
        elif not np.isfinite(descriptors).all():
            yield "found descriptors that are not finite"
