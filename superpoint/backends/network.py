"""What every runtime offers: a network to call."""

from __future__ import annotations

import importlib
import sys
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from superpoint.errors import UserError
from superpoint.models.decode import logits_to_probability


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
