"""Which runtime computes the network, where, and in which number format."""

from __future__ import annotations

import importlib.util
import os
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from superpoint.backends.cpu import native_bf16_instructions
from superpoint.config.runtime import check_runtime
from superpoint.errors import UserError
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


def make_network(model: SuperPoint, backend: str = "auto", precision: str = "auto", device: str = "auto") -> Network:
    """The network of `model` in a runtime; the model itself stays as it is and can be deleted.

    Measured on 2 cores with AMX (VGG encoder, views of 240x320, ms a view): plain fp32 contiguous 220; torch bf16
    channels_last 66; openvino bf16 14, fp32 76.

    Args:
        backend: "auto" is OpenVINO on a CPU if it is installed, else torch.
        precision: "auto" is bf16 where the hardware multiplies it natively, else fp32; ONNX Runtime has only fp32.
        device: "auto" is a CUDA GPU if there is one, else the CPU. OpenVINO and ONNX Runtime run on the CPU here.

    Raises:
        UserError: a name not known; a runtime that is not installed, or cannot do what is asked; no such device.
    """
    backend, precision, where = resolve(backend, precision, device)
    if backend == "onnxruntime":
        from superpoint.backends.onnxruntime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(model)
    if backend == "openvino":
        from superpoint.backends.openvino import OpenVinoNetwork

        return OpenVinoNetwork(model, precision)
    from superpoint.backends.pytorch import TorchNetwork

    return TorchNetwork(model, precision, _local_gpu() if where == "cuda" else where)


def resolve(backend: str = "auto", precision: str = "auto", device: str = "auto") -> tuple[str, str, str]:
    """(backend, precision, device) that `make_network` takes here for these, none of them "auto". Raises: as there."""
    check_runtime(backend, precision, device)
    where = _choose_device(device, backend)
    if backend == "auto":
        backend = "openvino" if where == "cpu" and importlib.util.find_spec("openvino") else "torch"
    if backend == "onnxruntime":
        if precision == "bf16":
            raise UserError("precision: found 'bf16', but onnxruntime has no bf16 convolutions; use 'fp32' or 'auto'")
        precision = "fp32"
    if precision == "auto":
        precision = "bf16" if _native_bf16(where) else "fp32"
    return backend, precision, where


def _choose_device(name: str, backend: str) -> str:
    if backend in ("openvino", "onnxruntime"):
        if name not in ("auto", "cpu"):
            raise UserError(f"device: found '{name}', expected 'cpu': the backend {backend} runs on the CPU only")
        return "cpu"
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device: found 'cuda', but torch sees no CUDA GPU; use 'cpu' or 'auto'")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("device: found 'mps', but torch sees no Apple GPU; use 'cpu' or 'auto'")
    return name


def _local_gpu() -> str:
    """The GPU of this process: torchrun numbers the processes of a machine, and each has to take one of its own."""
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(torch.cuda.device_count(), 1)}"


def _native_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and bool(native_bf16_instructions())


def missing(package: str) -> UserError:
    """What to tell a user who asked for a runtime that is not installed."""
    return UserError(f"backend: the Python package '{package}' is not installed: pip install 'superpoint[export]'")
