import numpy as np
import pytest
from PIL import Image, ImageOps

from superpoint.geometry.orientation import TURNS, turned_back, turned_image, turned_points, turned_size


@pytest.mark.parametrize("orientation", TURNS)
def test_turns_are_those_of_pillow(orientation: int) -> None:
    stored = np.zeros((5, 8), np.uint8)
    stored[1, 6] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned_image(stored, orientation), upright)
    assert turned_size((8, 5), orientation) == upright.shape[::-1]
    ((row, column),) = np.argwhere(upright)
    assert turned_points(np.array([[6.0, 1.0]]), (8, 5), orientation).tolist() == [[column, row]]
    back = turned_back(orientation)
    assert np.array_equal(turned_image(upright, back), stored)
    assert turned_points(np.array([[column, row]]), upright.shape[::-1], back).tolist() == [[6.0, 1.0]]


@pytest.mark.parametrize("orientation", TURNS)
def test_sub_pixel_points_and_colours_are_turned_too(orientation: int) -> None:
    """The corners of the outline, half a pixel outside, stay the corners."""
    corners = np.array([[-0.5, -0.5], [7.5, 4.5]])
    width, height = turned_size((8, 5), orientation)
    turned = turned_points(corners, (8, 5), orientation)
    assert sorted(turned[:, 0].tolist()) == [-0.5, width - 0.5]
    assert sorted(turned[:, 1].tolist()) == [-0.5, height - 0.5]
    assert turned_image(np.zeros((5, 8, 3), np.uint8), orientation).shape == (height, width, 3)
