from __future__ import annotations

import pytest

from superpoint.backends import BACKENDS
from superpoint.config import LabellingConfig
from superpoint.config.inference import check_runtime
from superpoint.errors import UserError


def test_names() -> None:
    for backend in BACKENDS:
        check_runtime(backend, "auto", "cpu")
    with pytest.raises(UserError, match=r"--backend: found 'onnx', expected one of auto, torch, openvino, onnxruntime"):
        check_runtime("onnx", "fp32", "cpu", prefix="--")
    with pytest.raises(UserError, match=r"^precision: found 'fp16', expected one of auto, fp32, bf16"):
        LabellingConfig(precision="fp16")
    with pytest.raises(UserError, match=r"^device: found 'gpu', expected one of auto, cpu, cuda, mps"):
        LabellingConfig(device="gpu")
