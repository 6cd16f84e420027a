"""Each number on logits whose answer is known by hand, and the pretrained network as the healthy case."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.config import DataConfig
from superpoint.data.images import sample_photographs
from superpoint.data.samples import SyntheticShapes
from superpoint.evaluation.statistics import cell_pattern, input_sensitivity, output_statistics
from superpoint.geometry.cells import CHANNELS, DUSTBIN
from superpoint.models import load_network
from tests.conftest import photograph

KEYS = {
    "dustbin", "finite", "logit_max", "cell_scale", "cell_range", "naive_exp_overflow", "detections", "border", "phase",
    "fullest", "sharpness", "input_sensitivity", "cell_pattern",
}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def empty(images: int = 2, down: int = 4, across: int = 6) -> Tensor:
    """Logits without a point: dustbin certain."""
    logits = torch.zeros(images, CHANNELS, down, across)
    logits[:, DUSTBIN] = 20.0
    return logits


def put(logits: Tensor, image: int, x: int, y: int, value: float = 40.0) -> None:
    """A certain point at the pixel (x, y)."""
    logits[image, 8 * (y % 8) + x % 8, y // 8, x // 8] = value


def test_flat_logits() -> None:
    found = output_statistics(torch.zeros(2, CHANNELS, 3, 4))
    assert set(found) == KEYS
    assert found["dustbin"] == pytest.approx(1 / 65)
    assert found["logit_max"] == found["cell_scale"] == found["cell_range"] == found["naive_exp_overflow"] == 0
    assert found["input_sensitivity"] == pytest.approx(0, abs=1e-9)
    assert found["cell_pattern"] == pytest.approx(0, abs=1e-9)
    assert found["sharpness"] < 0.06  # 1/25, more at the image edge


def test_dustbin_and_recall_look_at_valid_cells_only() -> None:
    logits = empty(1, 1, 4)
    logits[0, DUSTBIN, 0] = torch.tensor([20.0, -20.0, -20.0, 20.0])
    target = torch.tensor([[[DUSTBIN, 3, 5, 7]]])
    everywhere = output_statistics(logits, target)
    assert everywhere["dustbin"] == pytest.approx(0.5, abs=1e-4)
    assert everywhere["recall"] == pytest.approx(2 / 3)
    valid = torch.tensor([[[True, True, False, False]]])
    assert output_statistics(logits, target, valid)["recall"] == 1
    assert output_statistics(logits, target, valid & False)["recall"] == 0


def test_scales_of_cells() -> None:
    logits = torch.zeros(1, CHANNELS, 1, 4)
    logits[..., 1] = 60.0  # every class alike: harmless by itself
    logits[..., 2] = 90.0  # exp(90) = 1.2e39 > 3.4e38
    logits[..., 3] = -110.0  # exp(-110) = 1.7e-48 < 1.4e-45
    logits[:, 0, 0, 0] = -8.0
    found = output_statistics(logits)
    assert found["logit_max"] == 110
    assert found["cell_scale"] == pytest.approx(200)
    assert found["cell_range"] == pytest.approx(2)  # 8 in one of four cells
    assert found["naive_exp_overflow"] == 0.5
    assert found["dustbin"] == pytest.approx(1 / 65, rel=1e-2)  # ours stays finite


def test_points_and_where_they_are() -> None:
    logits = empty(2)  # 32 x 48 pixels
    put(logits, 0, 0, 8)  # at the border
    put(logits, 0, 16, 16)
    put(logits, 1, 24, 24)
    put(logits, 1, 32, 8)
    found = output_statistics(logits)
    assert found["detections"] == 2
    band = 1 - (16 * 32) / (32 * 48)  # share of the area within 8 px of the outline
    assert found["border"] == pytest.approx(2 / 4 / band)  # (0, 8), and (24, 24) with y >= 32 - 8
    assert found["fullest"] == 1  # all in column 0 of their cells ...
    assert found["phase"] == pytest.approx(4)  # ... and in row 0: (64 - 1) * 4 / 63
    assert found["sharpness"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("x", "y"), [(20, 12), (0, 0), (47, 31), (19, 0)])
def test_sharpness_is_the_peaks_share_of_its_window(x: int, y: int) -> None:
    logits = empty(1)
    put(logits, 0, x, y)
    neighbour = (x + 1 if x % 8 < 7 else x - 1, y)
    put(logits, 0, *neighbour, 40 - math.log(3))  # a third of the peak
    assert output_statistics(logits)["sharpness"] == pytest.approx(0.75, abs=1e-3)


def test_no_point_is_no_preference() -> None:
    found = output_statistics(empty(1))
    assert (found["detections"], found["border"], found["phase"], found["fullest"]) == (0, 1, 1, 0.125)
    assert found["sharpness"] == 0
    assert found["dustbin"] == pytest.approx(1)


def test_input_sensitivity_tells_a_map_from_an_answer() -> None:
    fixed = noise(1, CHANNELS, 5, 7).repeat(6, 1, 1, 1)  # varies over cells, not over images
    assert input_sensitivity(fixed.log_softmax(1)) == pytest.approx(0, abs=1e-9)
    alike = noise(6, CHANNELS, 1, 1).repeat(1, 1, 5, 7)  # varies over images, not over cells
    assert input_sensitivity(alike.log_softmax(1)) == pytest.approx(1, abs=1e-4)
    assert input_sensitivity(noise(6, CHANNELS, 20, 30).log_softmax(1)) == pytest.approx(1 - 1 / 6, abs=0.01)
    assert input_sensitivity(noise(1, CHANNELS, 5, 7).log_softmax(1)) == 1  # nothing can be said


def test_input_sensitivity_ignores_offsets_of_cells_and_rounding() -> None:
    fixed = noise(1, CHANNELS, 5, 7).repeat(6, 1, 1, 1)
    shifted = fixed + 5 * noise(6, 1, 5, 7)  # the softmax does not see it
    assert output_statistics(shifted)["input_sensitivity"] < 1e-6
    constant = torch.zeros(4, CHANNELS, 5, 7) + 1e-5 * noise(4, CHANNELS, 5, 7)
    assert output_statistics(constant)["input_sensitivity"] < 1e-3


def test_input_sensitivity_by_hand() -> None:
    """Equal parts of variance by image and by cell, the same for all classes."""
    image, cell = torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0])
    q = (image[:, None] + cell[None])[:, None, None].expand(2, CHANNELS, 1, 2)
    assert input_sensitivity(q) == pytest.approx(0.5, abs=1e-5)


def test_cell_pattern() -> None:
    pattern = 3 * noise(1, CHANNELS, 1, 1)
    assert cell_pattern(pattern.repeat(2, 1, 5, 7)) > 0.98  # every cell looks the same
    offsets = noise(2, 1, 5, 7, seed=1)
    assert cell_pattern(pattern + 10 * offsets) == pytest.approx(cell_pattern(pattern.repeat(2, 1, 5, 7)))
    independent = 3 * noise(2, CHANNELS, 10, 10)
    assert cell_pattern(independent) == pytest.approx(1 / 100, abs=0.003)
    assert cell_pattern(independent + pattern) == pytest.approx(0.5, abs=0.1)
    assert cell_pattern(0.05 * pattern.repeat(2, 1, 5, 7)) < 0.3  # nearly flat: untrained, not patterned


def test_the_pattern_is_that_of_each_image() -> None:
    each_its_own = 3 * noise(4, CHANNELS, 1, 1).repeat(1, 1, 6, 8)
    found = output_statistics(each_its_own)
    assert found["cell_pattern"] > 0.95
    assert found["input_sensitivity"] > 0.99


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_counted_and_survived(value: float) -> None:
    logits = noise(2, CHANNELS, 3, 4)
    logits[0, 0, 0, 0] = value
    found = output_statistics(logits)
    assert found["finite"] == pytest.approx(1 - 1 / logits.numel())
    assert all(math.isfinite(number) for number in found.values())
    assert found["naive_exp_overflow"] == (0 if value == -math.inf else pytest.approx(1 / 24))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_any_scale_and_type_gives_numbers(scale: float, kind: torch.dtype) -> None:
    found = output_statistics((scale * noise(1, CHANNELS, 1, 1)).to(kind), torch.full((1, 1, 1), DUSTBIN))
    assert set(found) == KEYS | {"recall"}
    assert all(isinstance(number, float) and math.isfinite(number) for number in found.values())


@pytest.mark.parametrize("shape", [(2, 64, 3, 4), (0, 65, 3, 4), (65, 3, 4)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits: found shape"):
        output_statistics(torch.zeros(shape))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Tensor]:
    dataset = SyntheticShapes(DataConfig(), seed=5)
    samples = [dataset[10_000 + index] for index in range(6)]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def test_a_pretrained_network_is_healthy(scenes: dict[str, Tensor]) -> None:
    model = load_network("magicpoint-lite")
    pictures = np.stack([photograph(name, 120, 160) for name, _ in sample_photographs()[2:6]])[:, None]
    with torch.no_grad():
        on_scenes = output_statistics(model(scenes["image"].float() / 255)["logits"], scenes["target"], scenes["valid"])
        on_photographs = output_statistics(model(torch.from_numpy(pictures).float() / 255)["logits"])
    assert on_scenes["recall"] > 0.4
    for found in (on_scenes, on_photographs):
        assert 0.8 < found["dustbin"] < 0.99
        assert found["finite"] == 1
        assert found["naive_exp_overflow"] == 0
        assert 3 < found["detections"] < 100
        assert found["border"] < 1.5
        assert found["phase"] < 2.5
        assert found["fullest"] < 0.3
        assert found["sharpness"] > 0.1
        assert found["input_sensitivity"] > 0.6
        assert found["cell_pattern"] < 0.2
