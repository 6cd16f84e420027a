"""The interface of all runtimes, and helpers to record a network for them."""

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
    """A trained network, called like a `SuperPoint` in evaluation mode.

    Attributes:
        backend: "torch", "openvino" or "onnxruntime".
        precision: "fp32" or "bf16", of the convolutions.
        device: of images and results.
        channels: of images.
    """

    channels: int = 1
    backend: str
    precision: str
    device: torch.device

    @abstractmethod
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return float32 "logits" [B, 65, H / 8, W / 8] and, if the model has them, "descriptors" [B, D, H / 8, W / 8].

        Args: image float32 [B, channels, H, W], 0..1, sides multiples of 8.
        """

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """Return float32 "probability" [B, H, W] in place of the logits; the next call may reuse the memory."""
        output = dict(self(image))
        output["probability"] = logits_to_probability(output.pop("logits"))
        return output

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


def need(*packages: str, extra: str = "export") -> Any:
    """Import optional packages and return the first. Raises: UserError if one is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            how = f"pip install 'superpoint[{extra}]'"
            raise UserError(f"backend: the Python package '{package}' is not installed: {how}") from error
    return sys.modules[packages[0]]


def output_names(model: SuperPoint) -> list[str]:
    return ["logits"] if model.descriptor is None else ["logits", "descriptors"]


def example(model: SuperPoint) -> tuple[SuperPoint, Tensor]:
    """Return a copy of the model in evaluation mode on the CPU and an image, to record a graph with.

    The image's sides differ and none is 1: an exporter would take them for constants.
    """
    frozen = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return frozen.requires_grad_(False), torch.zeros(2, model.channels, 5 * CELL, 7 * CELL)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters' warnings about their own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
