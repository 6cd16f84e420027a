"""Outputs with weights by a formula are those of torchvision's own model files; see formula.py."""

import json
from pathlib import Path

import pytest
import torch

from superpoint.backbones.classifiers import CLASSIFIERS
from tests.backbones.formula import fill, image

FIXTURES = Path(__file__).parent / "fixtures"
OUTPUTS = json.loads((FIXTURES / "outputs.json").read_text())
FAST = {
    "resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x1_0",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in OUTPUTS]
)
def test_logits_are_torchvisions(name: str) -> None:
    order = [line.split()[0] for line in (FIXTURES / f"{name}.txt").read_text().splitlines()]
    with torch.device("meta"):
        network = CLASSIFIERS[name]()
    network = network.to_empty(device="cpu").eval()
    for buffer, values in network.named_buffers():
        if buffer.endswith("num_batches_tracked"):
            values.zero_()
    fill(network, order)
    with torch.no_grad():
        logits = network(image())
    expected = torch.tensor(OUTPUTS[name])
    torch.testing.assert_close(logits[:, :4], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
