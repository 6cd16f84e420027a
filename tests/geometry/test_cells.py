import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint.geometry.cells import DUSTBIN, cells_to_pixels, encode_points, pixels_to_cells, valid_cells


def decode_slowly(target: np.ndarray) -> set[tuple[int, int]]:
    """(x, y) of every labelled cell, by the definition k = 8 * row + col."""
    points = set()
    for row in range(target.shape[0]):
        for column in range(target.shape[1]):
            if target[row, column] != DUSTBIN:
                dy, dx = divmod(int(target[row, column]), 8)
                points.add((8 * column + dx, 8 * row + dy))
    return points


@settings(deadline=None)
@given(st.integers(0, 2**31))
def test_encode_then_pixel_shuffle_gives_the_rounded_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = rng.permutation(6 * 10)[:12]  # one point a cell
    corner = np.stack([cells % 10, cells // 10], axis=1) * 8
    points = corner + rng.uniform(-0.49, 7.49, (12, 2))
    target = encode_points(points, 48, 80)
    expected = {(int(x), int(y)) for x, y in np.floor(points + 0.5)}
    assert decode_slowly(target) == expected

    one_hot = torch.nn.functional.one_hot(torch.from_numpy(target), 65).permute(2, 0, 1)[None].float()
    y, x = np.nonzero(cells_to_pixels(one_hot)[0].numpy())
    assert set(zip(x.tolist(), y.tolist(), strict=True)) == expected


def test_reshape_instead_of_space_to_depth_and_swapped_axes_are_seen() -> None:
    pixels = torch.arange(16 * 24).reshape(1, 16, 24).float()
    right = pixels_to_cells(pixels)
    assert right[0, 8 * 3 + 5, 1, 2] == pixels[0, 8 + 3, 16 + 5]
    reshaped = pixels.reshape(1, 2, 3, 64).permute(0, 3, 1, 2)
    assert (reshaped == right).float().mean() < 0.2
    point = np.array([[10.0, 3.0]])
    assert encode_points(point, 16, 24)[0, 1] == 8 * 3 + 2
    assert decode_slowly(encode_points(point[:, ::-1], 16, 24)) == {(3, 10)}


def test_pixels_to_cells_is_the_inverse() -> None:
    pixels = torch.rand(2, 32, 48)
    torch.testing.assert_close(cells_to_pixels(pixels_to_cells(pixels)), pixels)


def test_points_off_the_image_are_ignored_and_edges_kept() -> None:
    points = np.array([[-0.6, 4], [4, -0.6], [15.6, 4], [4, 15.6], [np.nan, 2], [15.4, 15.4]])
    assert decode_slowly(encode_points(points, 16, 16)) == {(15, 15)}
    assert (encode_points(np.zeros((0, 2)), 24, 32) == DUSTBIN).all()


def test_one_of_several_points_in_a_cell_at_random() -> None:
    points = np.array([[1.0, 1], [2, 2], [3, 3]])
    seen = {int(encode_points(points, 8, 8, np.random.default_rng(seed))[0, 0]) for seed in range(40)}
    assert seen == {9, 18, 27}


def test_sides_must_be_multiples_of_eight() -> None:
    with pytest.raises(ValueError, match="100x160"):
        encode_points(np.zeros((0, 2)), 100, 160)


def test_a_cell_is_valid_if_all_its_pixels_are() -> None:
    mask = np.ones((16, 24), bool)
    mask[9, 17] = False
    assert valid_cells(mask).tolist() == [[True, True, True], [True, True, False]]
