"""What is drawn of a model: points with colours and cameras as pyramids, upright and centred."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LIMIT = 100_000  # points that are drawn, those that most images see
DEPTH = 0.08  # height of a camera's pyramid, of the scene's radius


class Scene(NamedTuple):
    """x to the right, y up, z towards the viewer, who looks as the cameras do; half of the points within radius 1.

    points: float32 [N, 3]. colors: uint8 [N, 3]. cameras: float32 [C, 5, 3], the centre and the four corners of the
    image. names: of the images.
    """

    points: NDArray[np.float32]
    colors: NDArray[np.uint8]
    cameras: NDArray[np.float32]
    names: list[str]


def scene_of(model: Any) -> Scene:
    """Return the scene of a model of COLMAP (pycolmap.Reconstruction)."""
    points = sorted(model.points3D.values(), key=lambda point: -point.track.length())[:LIMIT]
    places = np.array([point.xyz for point in points]).reshape(-1, 3)
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    rotations = np.array([image.cam_from_world().rotation.matrix() for image in images])  # world -> camera
    centres = np.array([image.projection_center() for image in images])
    turn = _upright(rotations)
    middle = np.median(places, axis=0) if len(places) else centres.mean(axis=0)
    radius = float(np.median(np.linalg.norm(places - middle, axis=1))) if len(places) else 1.0
    pyramids = []
    for image, rotation, centre in zip(images, rotations, centres, strict=True):
        camera = model.cameras[image.camera_id]
        x, y = camera.width / 2 / camera.mean_focal_length(), camera.height / 2 / camera.mean_focal_length()
        corners = np.array([[0, 0, 0], [-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]]) * DEPTH * radius
        pyramids.append(centre + corners @ rotation)

    def place(values: NDArray[np.floating]) -> NDArray[np.float32]:
        return (((values - middle) / max(radius, 1e-12)) @ turn.T).astype(np.float32)

    colors = np.array([point.color for point in points], np.uint8).reshape(-1, 3)
    return Scene(place(places), colors, place(np.array(pyramids)), [image.name for image in images])


def _upright(rotations: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the rotation [3, 3] from the world to the axes of a `Scene`, by the mean camera."""
    up, back = -rotations[:, 1].mean(axis=0), -rotations[:, 2].mean(axis=0)  # COLMAP: y down, z forward
    up = up / max(np.linalg.norm(up), 1e-12) if np.linalg.norm(up) > 1e-6 else np.array([0.0, 1.0, 0.0])
    right = np.cross(up, back)
    if np.linalg.norm(right) < 1e-6:  # cameras all around: any direction will do
        right = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [1.0, 0.0, 0.0])
    right = right / np.linalg.norm(right)
    return np.stack([right, up, np.cross(right, up)])
