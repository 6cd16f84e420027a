"""The network as a graph, for other runtimes: any batch, any image whose sides are multiples of 8."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.backends.network import need
from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint


def output_names(model: SuperPoint) -> list[str]:
    """Return the names of the network's outputs, in their order."""
    return ["logits"] if model.descriptor is None else ["logits", "descriptors"]


def example(model: SuperPoint) -> tuple[SuperPoint, Tensor]:
    """Return what a graph is recorded with: a copy of the model in evaluation mode on the CPU, and an image.

    No two of the image's sides are equal and none is 1, which an exporter would take for constants.
    """
    frozen = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return frozen.requires_grad_(False), torch.zeros(2, 1, 5 * CELL, 7 * CELL)


def onnx_bytes(model: SuperPoint) -> bytes:
    """Return the network as the content of an ONNX file: input "image", outputs `output_names`, any batch and size."""
    frozen, image = example(model)
    dim = torch.export.Dim
    axes = {0: dim("batch"), 2: CELL * dim("rows"), 3: CELL * dim("columns")}
    return onnx_model(frozen, image, output_names(model), axes).SerializeToString()


def onnx_model(graph: nn.Module, image: Tensor, outputs: Sequence[str], axes: dict[int, Any]) -> Any:
    """Return a module as an ONNX model with the input "image". Raises: UserError if onnx or onnxscript is missing.

    Args:
        image: an example of what goes in.
        axes: its dimensions of any size, as torch.export takes them.
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
    assert program is not None  # it is, with dynamo=True and no file named
    return program.model_proto


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters' warnings: deprecations among their own parts, packages that they could also use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
