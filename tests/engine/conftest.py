import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The tests compare bits; a sum over threads depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def start(project: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start tests/engine/tiny_run.py with the options given; `torchrun=n` starts n processes of it."""

    def run(folder: Path, *, torchrun: int = 0, **options: object) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={torchrun}", "--standalone"] if torchrun else []
        program = Path(__file__).with_name("tiny_run.py")
        command = [sys.executable, *launcher, str(program), str(folder), json.dumps(options)]
        environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    return run
