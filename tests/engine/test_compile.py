import shutil
from pathlib import Path

import pytest
import torch

from superpoint.models.checkpoint import load_checkpoint
from tests.engine import tiny_run as tiny


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("default")  # torch's compiler warns about itself
def test_compiled_run_keeps_names_and_numbers(tmp_path: Path) -> None:
    for name in ("plain", "compiled"):
        for steps in (4, 6):  # without batch norm: a bias before it has only noise as gradient
            model = tiny.make_model(norm=False)
            tiny.run_tiny(tmp_path / name, model=model, compile=name == "compiled", steps=steps, resume=steps > 4)
    plain, compiled = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("plain", "compiled"))
    assert plain["model"].keys() == compiled["model"].keys()
    for name, tensor in plain["ema"].items():
        torch.testing.assert_close(compiled["ema"][name], tensor, rtol=1e-3, atol=1e-5)
