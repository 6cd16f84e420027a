"""Graphs of fewer bits: fp16 in ONNX, int8 in ONNX and OpenVINO."""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from superpoint.backends.network import need
from superpoint.backends.openvino import unreported


def onnx_half(proto: Any) -> Any:
    """Return an ONNX model that computes in fp16, with inputs and outputs in fp32."""
    need("onnxruntime", "sympy")
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)


def onnx_int8(proto: Any, images: Sequence[NDArray[np.float32]]) -> Any:
    """Return an ONNX model with convolutions in int8, by ONNX Runtime's quantiser."""
    onnx = need("onnx", "onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        left = iter(images)

        def get_next(self) -> Any:
            image = next(self.left, None)
            return None if image is None else {"image": image}

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(proto.SerializeToString())
        # Unsigned activations: signed ones take longer than fp32 on x86.
        quantize_static(source, target, Reader(), per_channel=True, activation_type=QuantType.QUInt8)
        return onnx.load(target)


def openvino_int8(model: Any, images: Sequence[NDArray[np.float32]]) -> Any:
    """Return a graph of OpenVINO with convolutions in int8, by NNCF. Raises: UserError if it is not installed."""
    with unreported(), contextlib.redirect_stdout(io.StringIO()):
        nncf = need("nncf", extra="int8")
        mixed = nncf.QuantizationPreset.MIXED  # activations of either sign keep their zero
        return nncf.quantize(model, nncf.Dataset(list(images)), preset=mixed, subset_size=len(images))
