import math

import numpy as np
import pytest
import torch

from superpoint.diagnostics.heatmaps.cell_maps import Verdict, judge_cells, measure_cells
from superpoint.errors import UserError
from superpoint.geometry.cells import DUSTBIN, cells_to_pixels


def certain(target: np.ndarray, height: float = 20.0) -> torch.Tensor:
    """Logits [65, Hc, Wc] that say `target`."""
    return height * torch.nn.functional.one_hot(torch.from_numpy(target), 65).permute(2, 0, 1).float()


def test_figures_of_a_cell_by_hand() -> None:
    logits = torch.zeros(65, 1, 2)
    logits[3, 0, 0], logits[9, 0, 0] = 2.0, -1.0
    logits[:, 0, 1] = 100.0  # the scale alone differs from an untrained cell
    maps = measure_cells(logits, (8, 16))
    total = 63 + math.exp(2) + math.exp(-1)
    np.testing.assert_allclose(maps.logsumexp, [[math.log(total), 100 + math.log(65)]], rtol=1e-6)
    np.testing.assert_allclose(maps.dustbin, [[1 / total, 1 / 65]], rtol=1e-5)
    assert maps.argmax[0, 0] == 3
    assert maps.probability[0, 3] == pytest.approx(math.exp(2) / total, rel=1e-5)  # channel 3 = row 0, column 3
    assert maps.verdict is None
    assert maps.count(Verdict.MISSED) == 0


def test_verdicts() -> None:
    target = np.array([[DUSTBIN, 4, 4, DUSTBIN, 4, 4]])
    argmax = np.array([[DUSTBIN, 4, DUSTBIN, 7, 13, 13]])
    right, missed, false, misplaced = Verdict
    assert judge_cells(argmax, target, np.ones((1, 6), bool)).tolist() == [
        [right, right, missed, false, misplaced, misplaced]
    ]
    valid = np.array([[True, True, False, True, True, False]])
    assert judge_cells(argmax, target, valid).tolist() == [[right, right, right, false, misplaced, right]]


def test_places_of_wrong_cells_and_how_far_they_are_off() -> None:
    target = np.full((3, 4), DUSTBIN)
    target[0, 1], target[1, 2], target[2, 3] = 0, 10, 63
    said = target.copy()
    said[0, 1], said[1, 0], said[1, 2] = DUSTBIN, 5, 10 + 8 * 3 + 4  # 3 rows and 4 columns away: 5 px
    maps = measure_cells(certain(said), (24, 32), target)
    assert maps.where(Verdict.MISSED).tolist() == [[0, 1]]
    assert maps.where(Verdict.FALSE).tolist() == [[1, 0]]
    assert maps.where(Verdict.MISPLACED).tolist() == [[1, 2]]
    assert maps.where(Verdict.RIGHT).tolist() == [[2, 3]]  # only cells with a label
    assert maps.misplacement() == pytest.approx(5.0)
    assert math.isnan(measure_cells(certain(target), (24, 32), target).misplacement())


def test_size_that_is_no_multiple_of_8_is_cropped() -> None:
    logits = torch.randn(65, 2, 3, generator=torch.Generator().manual_seed(2))
    maps = measure_cells(logits, (11, 18))
    whole = cells_to_pixels(logits[None].softmax(dim=1))[0].numpy()
    assert maps.probability.shape == (11, 18)
    np.testing.assert_allclose(maps.probability, whole[:11, :18])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite(bad: float) -> None:
    logits = torch.zeros(65, 2, 2)
    logits[3, 1, 1] = bad
    with pytest.raises(UserError, match="found NaN or infinity"):
        measure_cells(logits, (16, 16))
