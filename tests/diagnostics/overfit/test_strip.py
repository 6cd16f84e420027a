from itertools import pairwise

import numpy as np
import pytest

from superpoint.diagnostics.overfit.strip import Frame, heatmap_strip, moments
from superpoint.visualize import ORANGE, SKY

POINTS = np.array([[20.0, 12.0], [45.0, 33.0]])
POSITIVE = np.zeros((6, 8), bool)
POSITIVE[1, 2] = POSITIVE[4, 5] = True


def make_frames(count: int) -> tuple[np.ndarray, list[Frame]]:
    """An image and frames in which one of two points is found more and more surely, the other never."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (48, 64), dtype=np.uint8)
    frames = []
    for number in range(count):
        probability = np.full((48, 64), 0.01, np.float16)
        probability[12, 20] = number / count
        wrong = POSITIVE.copy()
        wrong[1, 2] = number < count / 2
        frames.append(Frame(5 * number, 4.0 / (number + 1), probability, wrong, 48))
    return image, frames


def where(picture: np.ndarray, color: tuple[int, int, int], tolerance: int = 8) -> np.ndarray:
    """Rows and columns of the pixels of that colour, [2, N]."""
    return np.argwhere(np.abs(picture.astype(int) - color).max(axis=2) <= tolerance).T


def test_moments_are_log_spaced_with_first_last_and_the_changes() -> None:
    steps = list(range(0, 405, 5))
    wrong = [10] * 60 + [4] * 11 + [3] * 10
    chosen = moments(steps, wrong)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] == len(steps) - 1
    assert {60, 71} <= set(chosen)
    assert 8 <= len(chosen) <= 12
    spaced = moments(steps, [10] * 81)
    assert all(b - a <= d - c for (a, b), (c, d) in pairwise(list(pairwise(spaced))[1:-1]))


@pytest.mark.parametrize(("steps", "wrong"), [([], []), ([0], [3]), ([0, 5], [3, 0])])
def test_moments_of_few_frames_are_all_of_them(steps: list[int], wrong: list[int]) -> None:
    assert moments(steps, wrong) == list(range(len(steps)))


def test_only_the_last_frame_of_the_strip_is_marked() -> None:
    image, frames = make_frames(4)
    strip = heatmap_strip(image, POINTS, POSITIVE, frames)
    assert strip.dtype == np.uint8
    rows, _ = where(strip, SKY)
    assert where(strip, ORANGE).shape[1] > 100  # one cell, 8 x 7 px a side
    assert len(np.unique(rows)) > 40
    assert rows.min() > strip.shape[0] / 2  # three columns: the fourth frame is in the second row
    plain = heatmap_strip(image, POINTS, POSITIVE, [frames[0], frames[-1]])
    _, columns = where(plain[:300], SKY)
    assert columns.min() > plain.shape[1] / 2


@pytest.mark.parametrize("size", [(16, 16), (100, 61), (480, 640), (640, 200)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.full(size, 100, np.uint8)
    cells = np.zeros((-(-size[0] // 8), -(-size[1] // 8)), bool)
    frame = Frame(0, 4.17, np.zeros(size, np.float32), cells, cells.size)
    strip = heatmap_strip(image, np.empty((0, 2)), cells, [frame])
    assert max(strip.shape) < 700
    assert frame.title == f"step 0: loss 4.17, none of {cells.size} cells wrong"
