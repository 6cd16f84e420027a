"""What every runtime offers, a network to call, and what it is recorded with."""

import contextlib
import copy
import importlib
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from superpoint.errors import UserError
from superpoint.geometry.cells import CELL
from superpoint.models.decode import logits_to_probability
from superpoint.models.superpoint import SuperPoint


class Network(ABC):
    """A trained network, ready for use; call it like a `SuperPoint` in evaluation mode.

    Attributes:
        backend: "torch", "openvino" or "onnxruntime".
        precision: "fp32" or "bf16", of the convolutions. What goes in and comes out is float32.
        device: where images go in and results come out.
    """

    backend: str
    precision: str
    device: torch.device

    @abstractmethod
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Args: image float32 [B, 1, H, W], 0..1, sides multiples of 8; any batch and any size, call by call.

        Returns: float32 "logits" [B, 65, H / 8, W / 8] and, if the model has them, "descriptors" [B, D, H / 8, W / 8].
        """

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """As a call, with what is made of the logits: float32 "probability" [B, H, W] (`models.decode`).

        A runtime may compute it itself, and may use the memory of the results again at the next call.
        """
        output = dict(self(image))
        output["probability"] = logits_to_probability(output.pop("logits"))
        return output

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


def need(*packages: str) -> Any:
    """Import optional packages and return the first. Raises: UserError that says how to install a missing one."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            how = "pip install 'superpoint[export]'"
            raise UserError(f"backend: the Python package '{package}' is not installed: {how}") from error
    return sys.modules[packages[0]]


def output_names(model: SuperPoint) -> list[str]:
    """Return the names of the network's outputs, in their order."""
    return ["logits"] if model.descriptor is None else ["logits", "descriptors"]


def example(model: SuperPoint) -> tuple[SuperPoint, Tensor]:
    """Return what a graph is recorded with: a copy of the model in evaluation mode on the CPU, and an image.

    No two of the image's sides are equal and none is 1, which an exporter would take for constants.
    """
    frozen = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return frozen.requires_grad_(False), torch.zeros(2, 1, 5 * CELL, 7 * CELL)


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
