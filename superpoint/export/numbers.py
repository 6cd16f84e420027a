"""Graphs of fewer bits: fp16 in ONNX, int8 in ONNX and OpenVINO; photographs to calibrate with."""

import contextlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from superpoint.backends.network import need
from superpoint.backends.openvino import unreported
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.data.pairs import ViewPair
from superpoint.evaluation.views import find_jobs
from superpoint.geometry.cells import image_tensor

PHOTOGRAPHS = 60  # at most; every HELD_OUT-th is measured on, the others calibrate
HELD_OUT = 3
SIZE = (480, 640)  # (height, width) where a graph takes any


def photograph_pairs(
    folder: str | None, channels: int = 1, size: Sequence[int] | None = None
) -> tuple[list[ViewPair], list[ViewPair]]:
    """Return generated pairs (two kinds per photograph) of photographs to calibrate with, and of others to measure on.

    One photograph alone serves both. Folder None: those of scikit-image.

    Raises: UserError for a photograph that cannot be read, or if there is none.
    """
    config = EvaluatePairsConfig(generated_size=list(size or SIZE), generated_pairs=1, limit=PHOTOGRAPHS)
    pairs = [job.load() for job in find_jobs(config, None, folder, channels=channels)[0]]
    held_out = set(list(dict.fromkeys(pair.sequence for pair in pairs))[::HELD_OUT])
    measured = [pair for pair in pairs if pair.sequence in held_out]
    return [pair for pair in pairs if pair.sequence not in held_out] or pairs, measured


def views(pairs: Sequence[ViewPair]) -> list[Tensor]:
    """Return all views, float32 [1, C, H, W], 0..1."""
    return [image_tensor([image]).float() / 255 for pair in pairs for image in (pair.image_a, pair.image_b)]


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
        # Unsigned activations: signed ones take longer than fp32 on x86. Weights of 7 bits: the sums of two products
        # overflow 16 bits on processors without VNNI otherwise.
        unsigned = QuantType.QUInt8
        quantize_static(source, target, Reader(), per_channel=True, activation_type=unsigned, reduce_range=True)
        return onnx.load(target)


def openvino_int8(model: Any, images: Sequence[NDArray[np.float32]]) -> Any:
    """Return a graph of OpenVINO with convolutions in int8, by NNCF. Raises: UserError if it is not installed."""
    with unreported(), contextlib.redirect_stdout(io.StringIO()):
        nncf = need("nncf", extra="int8")
        mixed = nncf.QuantizationPreset.MIXED  # activations of either sign keep their zero
        return nncf.quantize(model, nncf.Dataset(list(images)), preset=mixed, subset_size=len(images))
