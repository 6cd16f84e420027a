"""Where a network is computed, and in which numbers: the names that every stage knows."""

from __future__ import annotations

from superpoint.errors import check_one_of

BACKENDS = ("auto", "torch", "openvino", "onnxruntime")
PRECISIONS = ("auto", "fp32", "bf16")
DEVICES = ("auto", "cpu", "cuda", "mps")


def check_runtime(backend: str, precision: str, device: str, prefix: str = "") -> None:
    """Raise UserError unless the names are known; whether they can be had here is `backends.resolve`'s to say."""
    check_one_of(f"{prefix}backend", backend, BACKENDS)
    check_one_of(f"{prefix}precision", precision, PRECISIONS)
    check_one_of(f"{prefix}device", device, DEVICES)
