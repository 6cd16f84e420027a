"""The network in ONNX Runtime, on the CPU, in fp32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from superpoint.backends.graph import onnx_bytes, output_names
from superpoint.backends.network import Network, need
from superpoint.models.superpoint import SuperPoint


class OnnxRuntimeNetwork(Network):
    backend = "onnxruntime"

    def __init__(self, model: SuperPoint) -> None:
        need("onnxruntime", "onnx", "onnxscript")
        self.precision, self.device = "fp32", torch.device("cpu")
        self._names = output_names(model)
        self._session = open_session(onnx_bytes(model))

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        results = self._session.run(self._names, {"image": image.contiguous().numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(self._names, results, strict=True)}


def open_session(content: bytes) -> Any:
    """Open the content of an ONNX file on the CPU. Raises: UserError if ONNX Runtime is not installed."""
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # so that OMP_NUM_THREADS and torchrun count here too
    options.log_severity_level = 4  # fatal: what goes wrong is raised as well
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
