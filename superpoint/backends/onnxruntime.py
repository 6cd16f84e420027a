"""The network in ONNX Runtime, on the CPU, in fp32."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.backends.network import Network, example, need, output_names, quiet
from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint


class OnnxRuntimeNetwork(Network):
    backend = "onnxruntime"

    def __init__(self, model: SuperPoint) -> None:
        need("onnxruntime", "onnx", "onnxscript")
        self.precision, self.device, self.channels = "fp32", torch.device("cpu"), model.channels
        self._names = output_names(model)
        self._session = open_session(onnx_bytes(model))

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        results = self._session.run(self._names, {"image": image.contiguous().numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(self._names, results, strict=True)}


def open_session(content: bytes) -> Any:
    """Open the content of an ONNX file on the CPU. Raises: UserError if ONNX Runtime is not installed."""
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # OMP_NUM_THREADS and torchrun count here, too
    options.log_severity_level = 4  # fatal: errors are raised as well
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def onnx_bytes(model: SuperPoint) -> bytes:
    """Return the network as the content of an ONNX file for any batch and size."""
    frozen, image = example(model)
    dim = torch.export.Dim
    axes = {0: dim("batch"), 2: CELL * dim("rows"), 3: CELL * dim("columns")}
    return onnx_model(frozen, image, output_names(model), axes).SerializeToString()


def onnx_model(graph: nn.Module, image: Tensor, outputs: Sequence[str], axes: dict[int, Any]) -> Any:
    """Return a module as an ONNX model with the input "image", the axes of any size as torch.export takes them.

    Raises: UserError if onnx or onnxscript is missing.
    """
    need("onnx", "onnxscript")
    with quiet():
        program = torch.onnx.export(
            graph,
            (image,),
            input_names=["image"],
            output_names=list(outputs),
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto
