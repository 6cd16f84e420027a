"""The objective: weighted gradients, calibrated outputs, an even start."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from superpoint.config import ModelConfig
from superpoint.geometry.cells import DUSTBIN
from superpoint.losses import detector_loss
from superpoint.models import build_model
from superpoint.objectives import DetectorObjective


def make_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 65, (2, 4, 4), generator=generator)
    target[:, ::2] = DUSTBIN
    return {
        "image": torch.randint(0, 256, (2, 1, 32, 32), generator=generator, dtype=torch.uint8),
        "target": target,
        "valid": torch.rand(2, 4, 4, generator=generator) < 0.8,
    }


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0), (1.0, 0.25)])
def test_first_loss_is_ln_65_whatever_the_weights(weights: tuple[float, float]) -> None:
    model = build_model(ModelConfig(encoder="lite", head_channels=16))
    objective = DetectorObjective(*weights)
    objective.initialise(model.detector)
    assert objective(model, make_batch())["loss"].item() == pytest.approx(math.log(65), rel=0.05)


def test_unweighted_objective_is_the_plain_loss() -> None:
    model, batch = build_model(ModelConfig(encoder="lite", head_channels=16)).eval(), make_batch()
    result = DetectorObjective()(model, batch)
    expected, weight = detector_loss(model(batch["image"] / 255)["logits"], batch["target"], batch["valid"])
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["weight"], weight)
    assert 0 <= result["positive_recall"] <= 1
    assert result["dustbin"].item() == pytest.approx(1 / 65, rel=0.3)


class Table(nn.Module):
    """A 'network' that can put out anything: one logit vector for all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(65))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        cells = (image.shape[0], 65, image.shape[2] // 8, image.shape[3] // 8)
        return {"logits": self.logits[None, :, None, None].expand(cells)}


@pytest.mark.parametrize("positive_weight", [1.0, 5.0])
def test_what_is_learnt_are_true_frequencies(positive_weight: float) -> None:
    """Of 16 cells one holds a point: the best constant answer is a dustbin of 15/16, also under a weighted loss."""
    target = torch.full((1, 4, 4), DUSTBIN)
    target[0, 1, 2] = 17
    batch = {
        "image": torch.zeros(1, 1, 32, 32, dtype=torch.uint8),
        "target": target,
        "valid": torch.ones(1, 4, 4, dtype=torch.bool),
    }
    model, objective = Table(), DetectorObjective(positive_weight)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(model, batch)["loss"]
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    probability = model.logits.detach().softmax(0)
    assert probability[DUSTBIN].item() == pytest.approx(15 / 16, abs=2e-3)
    assert probability[17].item() == pytest.approx(1 / 16, abs=2e-3)


def test_weights_are_felt_by_the_gradient() -> None:
    batch = make_batch()
    gradients = []
    for weight in (1.0, 4.0):
        model = Table()
        with torch.no_grad():
            model.logits[DUSTBIN] = math.log(weight)
        DetectorObjective(weight)(model, batch)["loss"].backward()
        assert model.logits.grad is not None
        gradients.append(model.logits.grad)
    assert not torch.allclose(gradients[0], gradients[1])
