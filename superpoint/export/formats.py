"""Write exported graphs: ONNX, OpenVINO IR, TorchScript. Weights for other programs: `plain`."""

import io
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from superpoint.backends.exported import METADATA
from superpoint.backends.network import need, output_names, quiet
from superpoint.backends.onnxruntime import onnx_model
from superpoint.backends.openvino import converted
from superpoint.config.export import SUFFIXES, ExportConfig
from superpoint.errors import UserError, one_line
from superpoint.export.graph import DenseGraph, FullGraph
from superpoint.export.numbers import onnx_half, onnx_int8, openvino_int8
from superpoint.export.plain import LAYERS, check_plain, write_plain
from superpoint.files import write_atomically
from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint
from superpoint.models.weights import model_hash

Images = Sequence[NDArray[np.float32]]  # [1, channels, H, W] each, 0..1, for int8


def write_model(
    model: SuperPoint,
    path: str | Path,
    config: ExportConfig,
    metadata: Mapping[str, Any] | None = None,
    images: Images = (),
) -> Path:
    """Write a network in the format, shape and numbers of `config`.

    Args:
        path: ends in the format's suffix (`SUFFIXES`); OpenVINO adds a .bin beside its .xml.
        metadata: further JSON values to keep in the file.
        images: that the ranges of int8 are taken from.

    Raises: UserError for another suffix, a missing runtime, a network that the format cannot express (`check_plain`),
        or a place that cannot be written.
    """
    path, form = Path(path), config.form
    if SUFFIXES[form] and path.suffix != SUFFIXES[form]:
        raise UserError(f"{path}: found the suffix '{path.suffix}', expected {SUFFIXES[form]} for --format {form}")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")
    if form in LAYERS:
        check_plain(model, form)
    content: dict[str, Any] = {"format": form, "outputs": output_names(model, form), "channels": model.channels}
    content |= {"shape": config.shape, "numbers": config.numbers, "hash": model_hash(model), **(metadata or {})}
    if form in ("onnx-full", "transformers"):
        content["decoder"] = config.decoder
    dense = DenseGraph(model, padding=config.shape is None)
    graph = (FullGraph(dense, config.decode) if form == "onnx-full" else dense).eval()
    # Sizes differ and are no multiples of 8: an exporter may take equal ones for a constant.
    batch, height, width = config.shape or (2, 45, 59)
    image = torch.zeros(batch, model.channels, height, width)
    with quiet(), torch.no_grad():
        if config.int8:
            batches = [np.repeat(each, batch, axis=0) for each in images] if config.shape else images
            WRITERS[form](graph, image, path, content, batches)
        else:
            WRITERS[form](graph, image, path, content)
    return path


def _onnx(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any], images: Images = ()) -> None:
    dim = torch.export.Dim  # at least two cells: torch.export treats one as a special case
    axes = {0: dim("batch"), 2: dim("height", min=CELL + 1), 3: dim("width", min=CELL + 1)}
    proto = onnx_model(graph, image, metadata["outputs"], {} if metadata["shape"] else axes)
    if metadata["numbers"] != "fp32":
        proto = onnx_int8(proto, images) if metadata["numbers"] == "int8" else onnx_half(proto)
    proto.producer_name = "superpoint"
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    write_atomically(path, lambda file: file.write(proto.SerializeToString()))


def _openvino(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any], images: Images = ()) -> None:
    model = converted(graph, image)
    if metadata["shape"]:
        model.reshape(list(image.shape))
    if metadata["numbers"] == "int8":
        model = openvino_int8(model, images)
    for output, name in zip(model.outputs, metadata["outputs"], strict=True):
        output.get_tensor().set_names({name})
    model.inputs[0].get_tensor().set_names({"image"})
    model.set_rt_info(json.dumps(metadata), METADATA)
    # Weights first: a reader never finds a graph without its weights.
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp.xml")
    weights = temporary.with_suffix(".bin")
    try:
        need("openvino").save_model(model, temporary, compress_to_fp16=metadata["numbers"] == "fp16")
        os.replace(weights, path.with_suffix(".bin"))
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({one_line(error)}; disk full?)") from error
    finally:
        for left in (temporary, weights):
            left.unlink(missing_ok=True)


class _Named(nn.Module):
    """A graph whose outputs have names."""

    def __init__(self, graph: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.graph, self.names = graph, names

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.names, self.graph(image), strict=True))


def _torchscript(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its newer format, which other programs cannot read
        named = _Named(graph, metadata["outputs"]).eval()
        traced = torch.jit.freeze(torch.jit.trace(named, image, strict=False, check_trace=False))
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={METADATA: json.dumps(metadata)})
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


WRITERS: dict[str, Callable[..., None]] = {
    "onnx": _onnx,
    "onnx-full": _onnx,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "superpoint-v1": write_plain,
    "transformers": write_plain,
}
