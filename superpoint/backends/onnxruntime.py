"""The network in ONNX Runtime, on the CPU, in fp32."""

from __future__ import annotations

import torch
from torch import Tensor

from superpoint.backends.graph import onnx_bytes, output_names
from superpoint.backends.network import Network, missing
from superpoint.models.superpoint import SuperPoint


class OnnxRuntimeNetwork(Network):
    backend = "onnxruntime"

    def __init__(self, model: SuperPoint) -> None:
        for package in ("onnxruntime", "onnx", "onnxscript"):
            try:
                __import__(package)
            except ImportError as error:
                raise missing(package) from error
        import onnxruntime

        self.precision, self.device = "fp32", torch.device("cpu")
        self._names = output_names(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # so that OMP_NUM_THREADS and torchrun count here too
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(onnx_bytes(model), options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        results = self._session.run(self._names, {"image": image.contiguous().numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(self._names, results, strict=True)}
