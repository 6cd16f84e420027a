"""The small run that the tests of the engine share."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

PROGRAM = Path(__file__).with_name("tiny_run.py")


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """Module tests/engine/tiny_run.py."""
    specification = importlib.util.spec_from_file_location("tiny_run", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["tiny_run"] = module  # where worker processes look for its classes
    specification.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _one_thread():
    """A sum over threads depends on their number; the tests compare bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def start(project: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start tests/engine/tiny_run.py with the arguments given; `torchrun=n` starts n processes of it."""

    def run(*arguments: object, torchrun: int = 0) -> subprocess.Popen[str]:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={torchrun}", "--standalone"] if torchrun else []
        command = [sys.executable, *launcher, str(PROGRAM), *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    return run
