"""The network as a graph, for other runtimes: any batch, any image whose sides are multiples of 8."""

from __future__ import annotations

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator

import torch

from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint


def output_names(model: SuperPoint) -> list[str]:
    """What the network returns, in that order."""
    return ["logits"] if model.descriptor is None else ["logits", "descriptors"]


def example(model: SuperPoint) -> tuple[SuperPoint, torch.Tensor]:
    """What a graph is recorded with: a copy of the model in evaluation mode on the CPU, and an image.

    No two of the image's sides are equal and none is 1, which an exporter would take for constants.
    """
    frozen = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return frozen.requires_grad_(False), torch.zeros(2, 1, 5 * CELL, 7 * CELL)


def onnx_bytes(model: SuperPoint) -> bytes:
    """The network as the content of an ONNX file: input "image", outputs `output_names`, any batch and size.

    Needs the packages onnx and onnxscript.
    """
    frozen, image = example(model)
    dim = torch.export.Dim
    axes = {0: dim("batch"), 2: CELL * dim("rows"), 3: CELL * dim("columns")}
    with quiet():
        program = torch.onnx.export(
            frozen,
            (image,),
            input_names=["image"],
            output_names=output_names(model),
            dynamic_shapes=(axes,),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is, with dynamo=True and no file named
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn of what is no user's concern: deprecations among their own parts, packages they could also use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
