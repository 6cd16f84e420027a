"""Features and matches in COLMAP's database.

COLMAP puts the centre of the upper left pixel at (0.5, 0.5), so 0.5 is added to every keypoint. Descriptors stay
behind: COLMAP's matcher takes only SIFT's 128 bytes.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from superpoint.errors import UserError, one_line
from superpoint.features import Features
from superpoint.matching import Matches
from superpoint.reconstruction.mapping import load_pycolmap
from superpoint.reconstruction.pairs import Pair, check_pairs

OFFSET = np.float32(0.5)
FOCAL = 1.2  # first guess, in units of the longer side: COLMAP's default


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
        the file exists or cannot be written, or without pycolmap.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path}: exists already, expected a new file: COLMAP's results would be lost")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")
    check_pairs(matches, {name: len(found) for name, found in features.items()})
    features = {name: found.in_frame("stored") for name, found in features.items()}
    sizes = {found.image_size for found in features.values()}
    if shared_camera and len(sizes) > 1:
        raise ValueError(f"shared_camera: found images of {len(sizes)} sizes, expected one")
    colmap = load_pycolmap()
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with colmap.Database.open(temporary) as database:
            numbers: dict[str, int] = {}
            camera = 0
            for name, found in features.items():
                if not camera or not shared_camera:
                    width, height = found.image_size
                    params = [FOCAL * max(width, height), width / 2, height / 2, 0.0]
                    made = colmap.Camera(model="SIMPLE_RADIAL", width=width, height=height, params=params)
                    camera = database.write_camera(made)
                numbers[name] = database.write_image(colmap.Image(name=name, camera_id=camera))
                database.write_keypoints(numbers[name], found.keypoints + OFFSET)
            for (name0, name1), pairs in matches.items():
                database.write_matches(numbers[name0], numbers[name1], pairs.indices.astype(np.uint32))
        os.replace(temporary, path)
    except (RuntimeError, OSError) as error:
        raise UserError(f"{path}: cannot be written ({one_line(error)})") from error
    finally:
        temporary.unlink(missing_ok=True)
