from __future__ import annotations

import pytest
import torch

from superpoint.config import TrainConfig
from superpoint.engine import precision
from superpoint.errors import UserError


@pytest.mark.parametrize(("name", "expected"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_explicit_precision_is_taken(name: str, expected: str) -> None:
    assert precision.choose_precision(name, "cpu") == (expected, "as configured")


def test_auto_follows_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "native_bf16_instructions", lambda: ["avx512_bf16"])
    assert precision.choose_precision("auto", "cpu") == ("bf16-mixed", "the CPU has native bf16: avx512_bf16")
    monkeypatch.setattr(precision, "native_bf16_instructions", lambda: [])
    assert precision.choose_precision("auto", "cpu")[0] == "32-true"
    assert precision.choose_precision("auto", "mps")[0] == "32-true"


def test_absent_device_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.choose_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"train.device: found 'cuda', but torch sees no CUDA GPU"):
        precision.choose_device("cuda")


def test_one_plain_process(capsys: pytest.CaptureFixture[str]) -> None:
    fabric = precision.make_fabric(TrainConfig(device="cpu", precision="fp32"))
    assert (fabric.world_size, fabric.device.type) == (1, "cpu")
    assert capsys.readouterr().out.startswith("device cpu x 1, precision 32-true (as configured), freed memory ")
