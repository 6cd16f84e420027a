import numpy as np
import pytest
import torch
import torch.nn.functional as F

from superpoint.diagnostics.overfit.correspondences import (
    NearestMatches,
    draw_correspondences,
    match_cells,
    match_correspondences,
)
from superpoint.training.objectives import descriptor_statistics
from superpoint.visualize import GREEN, VERMILION


def described(noise: float) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    first = F.normalize(torch.randn((2, 30, 16), generator=generator), dim=2)
    second = F.normalize(first + noise * torch.randn((2, 30, 16), generator=generator), dim=2)
    points_a, points_b = (torch.rand((2, 30, 2), generator=generator) * 90 for _ in range(2))
    valid = torch.rand((2, 30), generator=generator) < 0.8
    return first, second, points_a, points_b, valid


@pytest.mark.parametrize("noise", [0.0, 0.4, 5.0])
def test_accuracy_is_that_of_the_objective(noise: float) -> None:
    given = described(noise)
    forth, back = match_correspondences(*given)
    asked = int(given[4].sum())
    assert int(forth.asked.sum()) == int(back.asked.sum()) == asked
    accuracy = 1 - (forth.wrong + back.wrong) / (2 * asked)
    assert accuracy == pytest.approx(float(descriptor_statistics(*given)["matching_accuracy"]), abs=1e-6)
    assert (accuracy == 1) == (noise == 0)
    assert forth.wrong == int((given[4] & ~forth.right).sum())


def test_cells_find_each_other_through_a_homography() -> None:
    generator = torch.Generator().manual_seed(1)
    map_a = F.normalize(torch.randn((1, 16, 5, 6), generator=generator), dim=1)
    map_b = torch.roll(map_a, (0, 1), dims=(2, 3))  # one cell to the right
    h_a_b = torch.tensor([[[1.0, 0, 8], [0, 1, 0], [0, 0, 1]]])
    valid = torch.ones((1, 5, 6), dtype=torch.bool)
    valid_b = valid.clone()
    valid_b[0, 2, 3] = False
    forth, back = match_cells(map_a, map_b, h_a_b, valid, valid_b, radius=4.0)
    # The last column of a leaves the frame; the cell that comes to lie at (2, 3) has no counterpart either.
    assert int(forth.asked.sum()) == int(back.asked.sum()) == 5 * 5 - 1
    assert forth.wrong == back.wrong == 0
    wrong, _ = match_cells(map_a, map_b, torch.eye(3)[None], valid, valid, radius=4.0)
    assert wrong.wrong >= 24
    # The same cells are right with a radius that reaches the next one.
    near, _ = match_cells(map_a, map_b, torch.eye(3)[None], valid, valid, radius=8.0)
    assert near.wrong < wrong.wrong


def test_lines_are_green_where_right() -> None:
    batch = {f"image_{name}": torch.zeros(1, 1, 40, 50, dtype=torch.uint8) for name in "ab"}
    batch["correspondences_a"] = torch.tensor([[[10.0, 10], [10, 30], [40, 20]]])
    batch["correspondences_b"] = torch.tensor([[[30.0, 10], [30, 30], [5, 5]]])
    asked, right = torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])
    for shown, expected in ((asked, {GREEN, VERMILION}), (asked & right, {GREEN})):
        matches = NearestMatches(shown, torch.tensor([[0, 0, 2]]), right)
        picture = draw_correspondences(batch, matches, 0).astype(int)
        near = {color for color in (GREEN, VERMILION) if np.abs(picture - color).max(axis=2).min() < 20}
        assert near == expected
