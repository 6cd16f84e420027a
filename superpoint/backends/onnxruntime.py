"""The network in ONNX Runtime, on the CPU, in fp32."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.backends.network import GraphNetwork, example, need, quiet
from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint


def onnxruntime_network(model: SuperPoint) -> GraphNetwork:
    """Record a network for ONNX Runtime, for any batch and size. Raises: UserError if it is not installed."""
    need("onnxruntime", "onnx", "onnxscript")
    frozen, image, metadata = example(model)
    dim = torch.export.Dim
    axes = {0: dim("batch"), 2: CELL * dim("rows"), 3: CELL * dim("columns")}
    return session_network(
        open_session(onnx_model(frozen, image, metadata["outputs"], axes).SerializeToString()), metadata
    )


def session_network(session: Any, metadata: dict[str, Any]) -> GraphNetwork:
    """Return an open session as a network."""
    outputs = metadata["outputs"]
    return GraphNetwork("onnxruntime", "fp32", lambda image: session.run(outputs, {"image": image}), metadata)


def open_session(content: bytes) -> Any:
    """Open the content of an ONNX file on the CPU. Raises: UserError if ONNX Runtime is not installed."""
    onnxruntime = need("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # OMP_NUM_THREADS and torchrun count here, too
    options.log_severity_level = 4  # fatal: errors are raised as well
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


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
