"""OpenVINO beside the signals of other processes."""

import subprocess
import sys

import pytest

PROGRAM = """
import gc, signal, subprocess
import torch
from superpoint.backends import make_network
from superpoint.config import ModelConfig
from superpoint.models import build_model

model = build_model(ModelConfig(encoder="lite", head_channels=8)).eval()
networks = [make_network(model, "openvino", "fp32", "cpu") for _ in range(2)]
for network in networks:  # compiled when they are first asked
    network(torch.zeros(1, 1, 8, 8))
for _ in range(2):  # in the order they were made
    networks.pop(0)
    gc.collect()
signal.signal(signal.SIGCHLD, lambda number, frame: print("signal"))  # as torch's data loader does
subprocess.run(["true"], check=True)
print("alive")
"""


def test_signals_arrive_after_networks_are_gone():
    """On CPUs with AMX they were delivered to a stack that OpenVINO had freed: SIGSEGV."""
    pytest.importorskip("openvino")
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["signal", "alive"]
