from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint.data.images import sample_photographs
from superpoint.visualize import save_image

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
WALLS = {"astronaut": ((-2, -1, 4.2), (0, -1, 5.2)), "coffee": ((0, -1, 5.2), (2, -1, 4.2))}  # upper corners, y down


def corner_view(x: float, turn: float) -> np.ndarray:
    """What a camera at (x, 0, 0), turned about its upright axis, sees of two walls that meet: RGB [HEIGHT, WIDTH]."""
    inside = np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1]])
    rotation = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
    canvas = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    samples = dict(sample_photographs())
    for name, (left, right) in WALLS.items():
        image = cv2.resize(samples[name], (448, 400), interpolation=cv2.INTER_AREA)
        corners = np.array([left, right, np.add(right, (0, 2, 0)), np.add(left, (0, 2, 0))], float)
        seen = (corners - (x, 0, 0)) @ rotation.T @ inside.T
        source = np.array([[0, 0], [447, 0], [447, 399], [0, 399]], np.float32)
        homography = cv2.getPerspectiveTransform(source, (seen[:, :2] / seen[:, 2:]).astype(np.float32))
        wall = cv2.warpPerspective(image, homography, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)
        mask = cv2.warpPerspective(np.full(image.shape[:2], 255, np.uint8), homography, (WIDTH, HEIGHT)) == 255
        canvas[mask] = wall[mask]
    return canvas


@pytest.fixture(scope="session")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five photographs of a corner between two walls, and a truncated one; to be read only."""
    folder = tmp_path_factory.mktemp("corner")
    for index, x in enumerate((-1.2, -0.6, 0.0, 0.6, 1.2)):
        save_image(folder / f"view {index}.png", corner_view(x, -x / 5))
    (folder / "broken.png").write_bytes((folder / "view 0.png").read_bytes()[:4000])
    return folder
