import platform
import subprocess
import sys

import pytest
import torch

from superpoint.backends import choice
from superpoint.config import TrainConfig
from superpoint.engine.fabric import choose_precision, make_fabric
from superpoint.errors import UserError

PROGRAM = """
import resource, sys, torch
from superpoint.engine.fabric import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    blocks = [torch.ones(12_000_000) for _ in range(2)]  # 48 MB each, above any default threshold
for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("name", "expected"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_explicit_precision_is_taken(name: str, expected: str) -> None:
    assert choose_precision(name, "cpu") == (expected, "as configured")


def test_auto_follows_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "native_bf16_instructions", lambda: ["avx512_bf16"])
    assert choose_precision("auto", "cpu") == ("bf16-mixed", "native bf16: avx512_bf16")
    monkeypatch.setattr(choice, "native_bf16_instructions", lambda: [])
    assert choose_precision("auto", "cpu")[0] == "32-true"
    assert choose_precision("auto", "mps")[0] == "32-true"


def test_absent_device_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"train.device: found 'cuda', but torch sees no CUDA GPU"):
        make_fabric(TrainConfig(device="cuda"))


def test_one_plain_process(capsys: pytest.CaptureFixture[str]) -> None:
    fabric = make_fabric(TrainConfig(device="cpu", precision="fp32"))
    assert (fabric.world_size, fabric.device.type) == (1, "cpu")
    assert capsys.readouterr().out.startswith("device cpu x 1, precision 32-true (as configured), freed memory ")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_fewer_pages_are_faulted_in_again() -> None:
    faults = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", PROGRAM, mode]
        faults[mode] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Where the heap's blocks lie differs from run to run, so that now and then one of the 16 needs new pages; how many
    # pages a fault brings depends on transparent huge pages. So the two are compared, not counted.
    assert faults["default"] > 0
    assert faults["keep"] < 0.5 * faults["default"]
