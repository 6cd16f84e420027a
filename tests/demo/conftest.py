from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint.data.images import sample_photographs
from superpoint.visualize import save_image


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A photograph and a warped copy of it, as files."""
    rgb = dict(sample_photographs())["astronaut"][:360, :480]
    folder = tmp_path_factory.mktemp("photographs")
    matrix = np.array([[0.9, -0.15, 40.0], [0.12, 0.92, -10.0], [0.0001, 0.0, 1.0]])
    warped = cv2.warpPerspective(rgb, matrix, (480, 360))
    return save_image(folder / "one.png", rgb), save_image(folder / "two.png", warped)
