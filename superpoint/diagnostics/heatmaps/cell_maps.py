"""Measure the 65 logits of each 8x8 cell, and which cells are wrong."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.models.decode import logits_to_probability

Cells = NDArray[np.generic] | torch.Tensor  # [Hc, Wc]


class Verdict(IntEnum):
    """The largest of a cell's 65 logits against its label.

    RIGHT: the label's channel, the dustbin included. MISSED: the dustbin where there is a label. FALSE: a pixel where
    there is none. MISPLACED: another pixel of the cell than the label's.
    """

    RIGHT = 0
    MISSED = 1
    FALSE = 2
    MISPLACED = 3


@dataclass(frozen=True)
class CellMaps:
    """The output for one image, cell by cell; all arrays [Hc, Wc] unless stated.

    Attributes:
        logits: float32 [65, Hc, Wc].
        probability: float32 [H, W], 0..1, cropped to the image.
        dustbin: probability of "no interest point", 0..1.
        logsumexp: of the 65 logits; beyond 88 exp() overflows in fp32.
        argmax: int64 in 0..64.
        valid: bool, the cells that count.
        target: int64 in 0..64; this and the rest None without labels.
        verdict: `Verdict` as int64, RIGHT where not valid.
    """

    logits: NDArray[np.float32]
    probability: NDArray[np.float32]
    dustbin: NDArray[np.float32]
    logsumexp: NDArray[np.float32]
    argmax: NDArray[np.int64]
    valid: NDArray[np.bool_]
    target: NDArray[np.int64] | None = None
    verdict: NDArray[np.int64] | None = None

    def count(self, verdict: Verdict) -> int:
        return len(self.where(verdict))

    def where(self, verdict: Verdict) -> NDArray[np.int64]:
        """Return (row, column) [N, 2] of the valid cells with this verdict; of RIGHT only cells with a label."""
        if self.verdict is None or self.target is None:
            return np.zeros((0, 2), np.int64)
        chosen = (self.verdict == verdict) & self.valid
        if verdict == Verdict.RIGHT:
            chosen &= self.target != DUSTBIN
        return np.argwhere(chosen)

    def misplacement(self) -> float:
        """Return the mean distance in pixels of misplaced cells from their labels; NaN without any."""
        rows, columns = self.where(Verdict.MISPLACED).T
        if not len(rows) or self.target is None:
            return float("nan")
        found, wanted = self.argmax[rows, columns], self.target[rows, columns]
        return float(np.hypot(found % CELL - wanted % CELL, found // CELL - wanted // CELL).mean())


def measure_cells(
    logits: torch.Tensor,
    size: tuple[int, int],
    target: Cells | None = None,
    valid: Cells | None = None,
) -> CellMaps:
    """Compute the maps of one image.

    Args:
        logits: [65, Hc, Wc], any floating type.
        size: height and width of the image, with Hc = ceil(H / 8), Wc = ceil(W / 8).
        target: [Hc, Wc] in 0..64, see `geometry.cells`.
        valid: [Hc, Wc]; None = all cells.

    Raises:
        UserError: logits that are not finite.
    """
    height, width = size
    values = logits.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise UserError("model output: found NaN or infinity, expected finite logits; the weights are broken")
    logarithms = values.log_softmax(dim=0)
    probability = logits_to_probability(values[None])[0, :height, :width]
    counted = np.ones(tuple(logits.shape[1:]), bool) if valid is None else np.asarray(valid).astype(bool)
    argmax = values.argmax(dim=0).numpy()
    labels, verdict = None, None
    if target is not None:
        labels = np.asarray(target).astype(np.int64)
        verdict = judge_cells(argmax, labels, counted)
    return CellMaps(
        logits=values.numpy(),
        probability=probability.numpy(),
        dustbin=logarithms[DUSTBIN].exp().numpy(),
        logsumexp=values.logsumexp(dim=0).numpy(),
        argmax=argmax,
        valid=counted,
        target=labels,
        verdict=verdict,
    )


def judge_cells(argmax: NDArray[np.int64], target: NDArray[np.int64], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the `Verdict` of each cell [..., Hc, Wc], RIGHT where not valid."""
    verdict = np.full(target.shape, int(Verdict.RIGHT), np.int64)
    wrong = (argmax != target) & valid
    verdict[wrong & (argmax == DUSTBIN)] = Verdict.MISSED
    verdict[wrong & (target == DUSTBIN)] = Verdict.FALSE
    verdict[wrong & (argmax != DUSTBIN) & (target != DUSTBIN)] = Verdict.MISPLACED
    return verdict
