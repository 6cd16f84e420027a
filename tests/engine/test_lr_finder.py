import copy
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from superpoint.config import OptimizerConfig, TrainConfig
from superpoint.engine import make_fabric
from superpoint.engine.lr_finder import RangeTest, lr_range_test, steepest_descent
from superpoint.errors import UserError
from tests.engine import tiny_run as tiny


@pytest.fixture
def fabric() -> Fabric:
    return make_fabric(TrainConfig(device="cpu", precision="fp32"))


class Constant(Dataset[dict[str, Tensor]]):
    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": torch.ones(1)}


def test_steepest_descent() -> None:
    rates = 10.0 ** np.arange(-5, 3)
    losses = np.array([4.0, 4.0, 3.9, 3.0, 2.1, 2.0, 2.5, 9.0])
    assert steepest_descent(rates, losses) == pytest.approx(1e-2)  # falls by 0.9 on either side
    assert steepest_descent(rates, np.arange(8.0)) is None
    assert steepest_descent(rates[:0], losses[:0]) is None


def test_parabola_explodes_where_theory_says(fabric: Fabric) -> None:
    """Gradient descent on 0.5 * 10 * w^2 converges for rates below 2 / 10 and diverges above."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    found = lr_range_test(
        fabric=fabric,
        model=model,
        objective=lambda net, batch: {"loss": 5.0 * net(batch["x"]).square().mean()},
        dataset=Constant(),
        optimizer=OptimizerConfig("sgd", momentum=0.0, weight_decay=0.0),
        batch_size=2,
        steps=200,
        low=1e-5,
        high=10.0,
        smoothing=0.0,
    )
    assert 0.2 <= found.rates[-1] < 10.0
    assert float(found.rates[np.argmin(found.losses)]) == pytest.approx(0.2, rel=0.15)
    assert found.suggestion is not None
    assert 1e-3 < found.suggestion < 0.2


def ramp(fabric: Fabric, model: nn.Module, **options: Any) -> RangeTest:
    given = {"objective": tiny.objective, "dataset": tiny.Noise(), "optimizer": OptimizerConfig(), "batch_size": 4}
    return lr_range_test(fabric=fabric, model=model, **given, **options)


def test_leaves_the_model_alone_and_suggests_a_rate_that_works(fabric: Fabric) -> None:
    model = tiny.make_model()
    before = copy.deepcopy(model.state_dict())
    found = ramp(fabric, model, steps=60, high=10.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len(found.rates) == len(found.losses) <= 60
    assert np.all(np.diff(np.log(found.rates)) > 0)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 1.0


def test_no_range(fabric: Fabric) -> None:
    with pytest.raises(UserError, match=r"learning-rate finder: found low=1.0, high=0.1"):
        ramp(fabric, tiny.make_model(), low=1.0, high=0.1)
