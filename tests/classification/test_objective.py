import math

import pytest
import torch
from torch import Tensor, nn

from superpoint.classification.data.dataset import ClassifierInput
from superpoint.classification.objective import ClassifierObjective

SPEC = ClassifierInput(["a", "b", "c"], 4, 4, 3, [0.5, 0.4, 0.3], [0.2, 0.1, 0.3])


def batch(first: int = 0) -> dict[str, Tensor]:
    image = torch.randint(0, 256, (6, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return {"image": image, "label": torch.tensor([0, 1, 2, 0, 1, 2]), "index": torch.arange(first, first + 6)}


class Constant(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        self.seen = image
        return self.logits.expand(len(image), -1)


def test_even_odds_give_ln_3() -> None:
    objective = ClassifierObjective(SPEC)
    found = objective(Constant(torch.zeros(3)), batch())
    assert float(found["loss"]) == pytest.approx(math.log(3)) == objective.initial_loss
    assert float(found["accuracy"]) == pytest.approx(1 / 3)  # the first class is the answer to all


def test_images_are_normalised_by_channel() -> None:
    model = Constant(torch.zeros(3))
    ClassifierObjective(SPEC)(model, batch())
    raw = batch()["image"][:, 1].float() / 255
    assert torch.allclose(model.seen[:, 1], (raw - 0.4) / 0.1, atol=1e-5)


def test_smoothing() -> None:
    sure = torch.tensor([20.0, 0.0, 0.0])
    data = {key: value[:1] for key, value in batch().items()}
    smooth = float(ClassifierObjective(SPEC, 0.3)(Constant(sure), data)["loss"])
    assert smooth == pytest.approx(20 * 0.2, rel=1e-3)  # 0.1 of the target on each of two classes at -20


def test_dropout_depends_on_seed_and_index_alone() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 3)).train()

    def loss(seed: int, first: int) -> float:
        return float(ClassifierObjective(SPEC, seed=seed)(model, batch(first))["loss"].detach())

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = loss(0, 6)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert loss(0, 6) == one != loss(0, 12)
    assert loss(1, 6) != one


def test_the_tally_is_the_mean_since_it_was_taken() -> None:
    objective = ClassifierObjective(SPEC)
    objective(Constant(torch.tensor([9.0, 0.0, 0.0])).train(), batch())
    objective(Constant(torch.zeros(3)).train(), batch(6))
    found = objective.tally.take()
    assert found["train_accuracy"] == pytest.approx(1 / 3)
    assert found["train_loss"] > math.log(3)
    assert objective.tally.last == 6
    assert objective.tally.take() == {}
    objective(Constant(torch.zeros(3)).eval(), batch())  # not training
    assert objective.tally.take() == {}
