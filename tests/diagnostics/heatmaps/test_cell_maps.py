import math

import numpy as np
import pytest
import torch

from superpoint.diagnostics.heatmaps.cell_maps import CellMaps, Verdict, judge_cells, measure_cells, worst_cells
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
    assert maps.entropy[0, 1] == pytest.approx(math.log(65), rel=1e-5)
    assert maps.entropy[0, 0] < math.log(65)
    assert maps.argmax[0, 0] == 3
    assert maps.probability[0, 3] == pytest.approx(math.exp(2) / total, rel=1e-5)  # channel 3 = row 0, column 3
    assert maps.verdict is None
    assert maps.loss is None
    assert maps.count(Verdict.MISSED) == 0


def test_loss_is_minus_the_logarithm_of_the_labels_probability() -> None:
    target = np.array([[5, DUSTBIN]])
    logits = torch.randn(65, 1, 2, generator=torch.Generator().manual_seed(1))
    maps = measure_cells(logits, (8, 16), target)
    expected = torch.nn.functional.cross_entropy(logits[None], torch.from_numpy(target)[None], reduction="none")[0]
    assert maps.loss is not None
    np.testing.assert_allclose(maps.loss, expected.numpy(), rtol=1e-5)


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


class TestWorstCells:
    def maps(self, target: np.ndarray | None = None, valid: np.ndarray | None = None) -> CellMaps:
        logits = torch.zeros(65, 2, 3)
        logits[DUSTBIN] = 8.0
        logits[:, 0, 1] = 0.0  # knows nothing
        logits[7, 1, 0] = 30.0
        return measure_cells(logits, (16, 24), target, valid)

    def test_with_labels_by_loss(self) -> None:
        target = np.full((2, 3), DUSTBIN)
        found = worst_cells(self.maps(target), 2)
        assert [(cell.row, cell.column) for cell in found] == [(1, 0), (0, 1)]
        assert found[0].reason == "loss 22.00 nats"
        assert found[1].reason == "loss 4.17 nats"

    def test_without_labels_by_uncertainty(self) -> None:
        found = worst_cells(self.maps(), 1)
        assert [(cell.row, cell.column) for cell in found] == [(0, 1)]
        assert found[0].reason == "entropy 4.17 nats"

    def test_each_valid_cell_at_most_once(self) -> None:
        valid = np.array([[True, True, False], [True, True, True]])
        found = worst_cells(self.maps(valid=valid), 60)
        assert sorted((cell.row, cell.column) for cell in found) == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
        assert worst_cells(self.maps(), 0) == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_not_finite(bad: float) -> None:
    logits = torch.zeros(65, 2, 2)
    logits[3, 1, 1] = bad
    with pytest.raises(UserError, match="found NaN or infinity"):
        measure_cells(logits, (16, 16))
