"""The choice of a runtime, a device and a number format for a network."""

import importlib.util
import os
from pathlib import Path

import torch

from superpoint.backends.network import Network
from superpoint.backends.onnxruntime import onnxruntime_network
from superpoint.backends.openvino import openvino_network
from superpoint.backends.pytorch import TorchNetwork
from superpoint.config.inference import check_runtime
from superpoint.errors import UserError
from superpoint.models.superpoint import SuperPoint

BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # instruction sets of x86 and, the last, ARM


def make_network(model: SuperPoint, backend: str = "auto", precision: str = "auto", device: str = "auto") -> Network:
    """Copy the network of `model` into a runtime.

    Args:
        backend: "auto" is OpenVINO on a CPU if it is installed, else torch.
        precision: "auto" is bf16 where the hardware multiplies it natively, else fp32; ONNX Runtime has only fp32.
        device: "auto" is a CUDA GPU if there is one, else the CPU; OpenVINO and ONNX Runtime run on the CPU.

    Raises: UserError for an unknown name, a missing runtime or device, or a combination that does not exist.
    """
    backend, precision, where = resolve(backend, precision, device)
    if backend == "onnxruntime":
        return onnxruntime_network(model)
    if backend == "openvino":
        return openvino_network(model, precision)
    return TorchNetwork(model, precision, _local_gpu() if where == "cuda" else where)


def resolve(backend: str = "auto", precision: str = "auto", device: str = "auto") -> tuple[str, str, str]:
    """Return the backend, precision and device that `make_network` takes here. Raises: as there."""
    check_runtime(backend, precision, device)
    if backend in ("openvino", "onnxruntime"):
        if device not in ("auto", "cpu"):
            raise UserError(f"device: found '{device}', expected 'cpu': the backend {backend} runs on the CPU only")
        device = "cpu"
    where = choose_device(device)
    if backend == "auto":
        backend = "openvino" if where == "cpu" and importlib.util.find_spec("openvino") else "torch"
    if backend == "onnxruntime":
        if precision == "bf16":
            raise UserError("precision: found 'bf16', but onnxruntime has no bf16 convolutions; use 'fp32' or 'auto'")
        precision = "fp32"
    if precision == "auto":
        precision = "bf16" if native_bf16(where) else "fp32"
    return backend, precision, where


def choose_device(name: str, key: str = "device") -> str:
    """Return the device for the setting `key`; "auto" is a CUDA GPU if there is one, else the CPU (never MPS)."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{key}: found 'cuda', but torch sees no CUDA GPU; use 'cpu' or 'auto'")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"{key}: found 'mps', but torch sees no Apple GPU; use 'cpu' or 'auto'")
    return name


def _local_gpu() -> str:
    """Return the GPU of this process under torchrun."""
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % max(torch.cuda.device_count(), 1)}"


def native_bf16(device: str) -> str:
    """Return the hardware by which `device` multiplies bfloat16 natively, or "" (oneDNN counts emulation, too)."""
    if device == "cuda":
        return "tensor cores" if torch.cuda.is_bf16_supported(including_emulation=False) else ""
    return ", ".join(native_bf16_instructions()) if device == "cpu" else ""


def native_bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the detected bfloat16 instruction sets of this CPU, by torch >= 2.12 or the flags in `cpuinfo`."""
    if hasattr(torch.cpu, "get_capabilities"):
        flags = {key for key, value in torch.cpu.get_capabilities().items() if value is True}
    else:
        flags = set(cpuinfo.read_text().split() if cpuinfo.is_file() else [])
    return [flag for flag in BF16 if flag in flags]
