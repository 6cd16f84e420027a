"""Features and matches in COLMAP's database.

COLMAP puts the centre of the upper left pixel at (0.5, 0.5), so 0.5 is added to every keypoint. Descriptors stay
behind: COLMAP's matcher takes only SIFT's 128 bytes.
"""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.matching import Matches
from superpoint.reconstruction.pairs import Pair, check_pairs

OFFSET = np.float32(0.5)
MAX_IMAGE_ID = 2**31 - 1
SIMPLE_RADIAL = 2  # COLMAP's number of the camera model with f, cx, cy, k
FOCAL = 1.2  # first guess, in units of the longer side: COLMAP's default

# Source: colmap.github.io/database.html. Newer versions add further tables on opening.
SCHEMA = """
CREATE TABLE cameras (
    camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (
    image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL,
    CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < 2147483647),
    FOREIGN KEY(camera_id) REFERENCES cameras(camera_id));
CREATE UNIQUE INDEX index_name ON images(name);
CREATE TABLE keypoints (
    image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE descriptors (
    image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE matches (
    pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE two_view_geometries (
    pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB,
    config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB, qvec BLOB, tvec BLOB);
"""


def write_database(
    path: str | Path, features: Mapping[str, Features], matches: Mapping[Pair, Matches], *, shared_camera: bool = False
) -> None:
    """Write a new COLMAP database, atomically: cameras, images, keypoints, matches.

    COLMAP's geometric verification (`colmap matches_importer`, `pycolmap.verify_matches`) comes next.

    Args:
        features: by image name below COLMAP's image path; they are written in the frame of the stored pixels.
        matches: by the names of both images.
        shared_camera: all images are of one camera and size; otherwise each has its own.

    Raises: ValueError as `check_pairs` and `Features.in_frame`, or for several sizes with `shared_camera`; UserError if
        the file exists or cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path}: exists already, expected a new file: COLMAP's results would be lost")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")
    check_pairs(matches, {name: len(found) for name, found in features.items()})
    features = {name: found.in_frame("stored") for name, found in features.items()}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        connection = sqlite3.connect(temporary)
        try:
            with connection:
                connection.executescript(SCHEMA)
                _fill(connection, features, matches, shared_camera)
        finally:
            connection.close()
        os.replace(temporary, path)
    except (sqlite3.Error, OSError) as error:
        raise UserError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def pair_id(image0: int, image1: int) -> int:
    """Return COLMAP's number of a pair of images."""
    return min(image0, image1) * MAX_IMAGE_ID + max(image0, image1)


def _fill(
    connection: sqlite3.Connection,
    features: Mapping[str, Features],
    matches: Mapping[Pair, Matches],
    shared_camera: bool,
) -> None:
    sizes = {found.image_size for found in features.values()}
    if shared_camera and len(sizes) > 1:
        raise ValueError(f"shared_camera: found images of {len(sizes)} sizes, expected one")
    numbers: dict[str, int] = {}
    for number, (name, found) in enumerate(features.items(), 1):
        camera = 1 if shared_camera else number
        if camera == number:
            width, height = found.image_size
            params = np.array([FOCAL * max(width, height), width / 2, height / 2, 0.0])
            row = (camera, SIMPLE_RADIAL, int(width), int(height), params.tobytes(), 0)
            connection.execute("INSERT INTO cameras VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO images VALUES (?, ?, ?)", (number, name, camera))
        points = np.ascontiguousarray(found.keypoints + OFFSET, dtype=np.float32)
        connection.execute("INSERT INTO keypoints VALUES (?, ?, ?, ?)", (number, *points.shape, points.tobytes()))
        numbers[name] = number
    for (name0, name1), pairs in matches.items():
        indices: NDArray[np.uint32] = pairs.indices.astype(np.uint32)
        if numbers[name0] > numbers[name1]:
            indices = indices[:, ::-1]
        row = (pair_id(numbers[name0], numbers[name1]), *indices.shape, np.ascontiguousarray(indices).tobytes())
        connection.execute("INSERT INTO matches VALUES (?, ?, ?, ?)", row)
