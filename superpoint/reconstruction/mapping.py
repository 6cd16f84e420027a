"""Cameras and points from a database of matches, by COLMAP (pycolmap): geometric verification, then mapping."""

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from superpoint.errors import UserError, one_line

ERRORS_ONLY = 2  # the level of COLMAP's log: warnings of single images and pairs are no news to a user


class Statistics(NamedTuple):
    """What a model holds.

    points: 3D. track_length: mean number of images that see a point. error: mean reprojection error in pixels of the
    original images. models: parts that were found, of which this is the largest.
    """

    images: int
    registered: int
    points: int
    observations: int
    track_length: float
    error: float
    models: int


def load_pycolmap() -> Any:
    """Import pycolmap. Raises: UserError with the way to install it."""
    check_pycolmap()
    import cv2  # noqa: F401 - first: where pycolmap's zlib was loaded before it, OpenCV's writing of a PNG aborts
    import pycolmap

    pycolmap.logging.minloglevel = ERRORS_ONLY
    return pycolmap


def check_pycolmap() -> None:
    """Raise UserError, without an import, if pycolmap is missing."""
    if importlib.util.find_spec("pycolmap") is None:
        raise UserError("the Python package 'pycolmap' is not installed: pip install 'superpoint[sfm]'")


def set_cameras(database: Path, images: Path, *, shared: bool) -> None:
    """Set the focal lengths that the EXIF data of the image files name; `shared`: the first image stands for all."""
    colmap = load_pycolmap()
    with colmap.Database.open(database) as opened:
        for image in sorted(opened.read_all_images(), key=lambda each: each.image_id)[: 1 if shared else None]:
            try:
                camera = colmap.infer_camera_from_image(images / image.name)
            except (RuntimeError, ValueError):  # a format that COLMAP does not read
                continue
            if camera.has_prior_focal_length:
                camera.camera_id = image.camera_id
                opened.update_camera(camera)


def verify(database: Path, *, seed: int = 0, threads: int = -1) -> None:
    """Write the two-view geometry of every pair with matches into the database; `threads`: -1 = one per core.

    Raises: UserError if COLMAP cannot read the database.
    """
    colmap = load_pycolmap()
    settings = colmap.TwoViewGeometryOptions()
    settings.ransac.random_seed = seed
    verifier = colmap.GeometricVerifierOptions()
    verifier.num_threads = threads
    _run(database, lambda: colmap.geometric_verification(database, verifier, two_view_geometry_options=settings))


def verified_pairs(database: Path) -> int:
    """Return the number of pairs with matches that agree with a two-view geometry."""
    with load_pycolmap().Database.open(database) as opened:
        return sum(count > 0 for count in opened.read_two_view_geometry_num_inliers()[1])


def map_images(
    database: Path,
    folder: Path,
    *,
    images: Path | None = None,
    mapper: str = "incremental",
    seed: int = 0,
    threads: int = -1,
    progress: Callable[[int], object] | None = None,
) -> list[Any]:
    """Estimate cameras and points; return the models (pycolmap.Reconstruction), the largest first.

    Args:
        database: verified, see `verify`.
        folder: where COLMAP writes its models.
        images: folder of the image files, for the colours of the points; None = no colours.
        mapper: "incremental" (Schoenberger and Frahm 2016) or "global" (Pan et al. 2024).
        seed: equal seeds with threads=1 make equal models.
        progress: called with the number of images registered so far, by the incremental mapper alone.

    Raises: UserError if COLMAP cannot read the database.
    """
    colmap = load_pycolmap()
    if mapper == "global":
        options = colmap.GlobalPipelineOptions()
        run: Callable[..., dict[int, Any]] = colmap.global_mapping
        extra: dict[str, Any] = {}
    else:
        options = colmap.IncrementalPipelineOptions()
        options.extract_colors = images is not None
        count = itertools.count(3)  # COLMAP reports each image after the first two
        run = colmap.incremental_mapping
        extra = {"next_image_callback": lambda: progress and progress(next(count))}
    options.random_seed, options.num_threads = seed, threads
    found = _run(database, lambda: run(database, images or folder, folder, options, **extra))
    models = sorted(found.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))
    for model in models:
        model.update_point_3d_errors()
    return models


def statistics(models: list[Any], images: int) -> Statistics:
    """Return the statistics of the first of `models` of so many images; zeros for none."""
    if not models:
        return Statistics(images, 0, 0, 0, 0.0, 0.0, 0)
    model = models[0]
    error, length = model.compute_mean_reprojection_error(), model.compute_mean_track_length()
    seen = model.compute_num_observations()
    return Statistics(images, model.num_reg_images(), model.num_points3D(), seen, length, error, len(models))


def _run(database: Path, work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{database}: COLMAP cannot go on with it ({one_line(error)})") from error
