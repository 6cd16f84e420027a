"""What a training may take of the minutes of a command."""

from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from superpoint.budget import Budget
from superpoint.config import MagicPointConfig, TrainConfig, dump_config
from superpoint.engine import make_fabric
from superpoint.errors import UserError
from superpoint.training import fit
from superpoint.training.fit import training_minutes


def test_what_follows_a_training_is_kept_of_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = MagicPointConfig(run=str(tmp_path), train=TrainConfig(device="cpu"))
    now, fabric, network = [0.0], make_fabric(config.train), nn.Linear(1, 1)
    monkeypatch.setattr(fit.time, "monotonic", lambda: now[0])

    def validate(model: nn.Module) -> dict[str, float]:
        assert not model.training
        now[0] += 10.0
        return {}

    def minutes(total: float, *, resume: bool = False) -> float:
        found = training_minutes(config, fabric, network, validate, Budget(total), resume=resume)
        assert found is not None
        return found

    seconds = 10 + 10 * fit.AFTER  # the timed validation, and what follows
    assert minutes(10) == pytest.approx(10 - seconds / 60)
    assert "1 train, about" in capsys.readouterr().err
    assert minutes(1) == pytest.approx((1 - 10 / 60) / 2)  # half of what is left, if too little is
    with pytest.raises(UserError, match=r"--minutes: nothing is left for the training in .*; give more, and --resume"):
        minutes(0.1)
    # A run that goes on keeps its minutes.
    (tmp_path / "config.yaml").write_text(dump_config(replace(config, train=TrainConfig(minutes=3.5))))
    assert minutes(10, resume=True) == 3.5
