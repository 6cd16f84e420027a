"""A small scene whose right and wrong cells are known, for the tests of the heatmap figures."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from superpoint.geometry.cells import DUSTBIN

HEIGHT, WIDTH = 48, 64  # 6 x 8 cells
MISSED, FALSE, MISPLACED, RIGHT = [(0, 1), (3, 3)], [(2, 5), (4, 0), (5, 7)], [(1, 2)], [(4, 4)]


def image() -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def target() -> NDArray[np.int64]:
    cells = np.full((HEIGHT // 8, WIDTH // 8), DUSTBIN, np.int64)
    for row, column in MISSED + MISPLACED + RIGHT:
        cells[row, column] = 20
    return cells


def logits() -> torch.Tensor:
    said = target()
    for row, column in MISSED:
        said[row, column] = DUSTBIN
    for row, column in FALSE + MISPLACED:
        said[row, column] = 41
    noise = torch.randn(65, *said.shape, generator=torch.Generator().manual_seed(3))
    return noise + 10 * torch.nn.functional.one_hot(torch.from_numpy(said), 65).permute(2, 0, 1)


def axes_of(figure: Figure) -> dict[str, Axes]:
    named = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    found = {str(axes.get_label()): axes for axes in named}
    assert len(found) == len(named)
    return found


def texts_of(figure: Figure) -> list[str]:
    parts = figure.findobj(lambda part: isinstance(part, FigureBase))
    return [text.get_text() for part in parts for text in part.texts]  # type: ignore[attr-defined]


def markers(axes: Axes, label: str) -> list[tuple[float, float]]:
    """(x, y) of the markers whose legend begins with `label`."""
    (collection,) = [one for one in axes.collections if str(one.get_label()).startswith(label)]
    return [(float(x), float(y)) for x, y in np.asarray(collection.get_offsets())]
