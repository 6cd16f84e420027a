"""The check of the input names what is wrong with the images."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from superpoint.config import DataConfig, MagicPointConfig, ModelConfig
from superpoint.data.training_set import training_samples
from superpoint.diagnostics.case import Case, Sample
from superpoint.diagnostics.checks.input import input_
from superpoint.diagnostics.finding import Status
from superpoint.models import build_model
from superpoint.training.magicpoint import load_start
from superpoint.training.objectives import detector_objective
from tests.diagnostics import faults


def with_input(case: Case, change: Callable[[Tensor], Tensor]) -> Case:
    """What the objective gives to the network, changed; the network itself sees a proper image."""

    class Taken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = case.model

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return self.base(self.proper)

    model = Taken().eval()

    def objective(network: nn.Module, batch: Sample) -> dict[str, Tensor]:
        def changed(image: Tensor) -> dict[str, Tensor]:
            model.proper = image
            return network(change(image))

        return case.objective(changed, batch)  # pyright: ignore[reportArgumentType]

    return replace(case, model=model, objective=objective)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: x * 255, "Not normalised"),
        (lambda x: x / 255, "Divided by 255 twice"),
        (lambda x: (x - 0.5) * 4, "by a mean and a deviation"),
        (lambda x: 1 - x, "inverted"),
        (lambda x: x.roll(1, dims=0), "image of the sample"),
        (lambda x: x.transpose(2, 3), "The shape is [16, 1, 128, 96], expected [B, 1, 96, 128]"),
        (lambda x: x.expand(-1, 3, -1, -1), "a channel too many"),
        (lambda x: torch.full_like(x, 0.5), "are constant"),
        (lambda x: x.sqrt().log(), "NaN or infinity"),
    ],
)
def test_wrong_images_are_named(healthy: Case, change: Callable[[Tensor], Tensor], named: str) -> None:
    found = input_(with_input(healthy, change))
    assert found.status is Status.FAIL
    assert named in found.cause, found


def test_one_image_for_all_is_named(healthy: Case) -> None:
    stuck = faults.with_images(healthy, lambda _: healthy.dataset[17]["image"])
    assert "the index is not used" in input_(stuck).cause


def test_images_that_are_lost_are_named(healthy: Case) -> None:
    assert input_(faults.with_images(healthy, lambda image: image // 255 * 3)).status is Status.FAIL


def test_a_second_normalisation_in_the_network_is_seen(healthy: Case) -> None:
    class Again(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return (image - 0.5) * 0.1 - 1

    found = input_(replace(healthy, model=nn.Sequential(Again(), healthy.model).eval()))
    assert found.status is Status.WARN
    assert "normalised twice" in found.cause


def test_a_network_that_does_not_centre_is_not_blamed(healthy: Case) -> None:
    config = replace(healthy.config, model=replace(healthy.config.model, centring=False))
    model = build_model(config.model)
    load_start(model, "magicpoint-lite")
    assert input_(replace(healthy, config=config, model=model.eval())).status is Status.PASS


def test_channels_that_say_nothing_or_the_same() -> None:
    data = DataConfig(height=48, width=64, curriculum=0)
    config = MagicPointConfig(data=data, model=ModelConfig("lite", 16, channels=3))
    model = build_model(config.model).eval()
    case = Case(config, training_samples(data, 0, 3), model, detector_objective(config))
    shapes = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)

    def photographs(images: np.ndarray) -> Any:
        return [(image, np.zeros((0, 2), np.float32), None) for image in images]

    found = input_(replace(case, photographs=photographs(shapes)))
    assert found.status is Status.PASS
    assert "channels are " + f"{shapes[:, :, :, 0].mean() / 255:.2f} +- " in found.evidence
    dead, same = shapes.copy(), shapes.copy()
    dead[:, :, :, 1] = 7
    same[:, :, :, 2] = same[:, :, :, 0]
    found = input_(replace(case, photographs=photographs(dead)))
    assert found.status is Status.FAIL
    assert "Channel 2 of 3 is constant" in found.cause
    found = input_(replace(case, photographs=photographs(same)))
    assert found.status is Status.WARN
    assert "Channels 1 and 3 are the same" in found.cause
