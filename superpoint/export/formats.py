"""Write exported graphs: ONNX, OpenVINO IR, TorchScript, torch.export. Weights for other programs: `plain`."""

import io
import json
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.backends.exported import METADATA
from superpoint.backends.network import need, quiet
from superpoint.backends.onnxruntime import onnx_model
from superpoint.backends.openvino import converted
from superpoint.errors import UserError, check_one_of, one_line
from superpoint.export.graph import DenseGraph, FullGraph, Settings
from superpoint.export.plain import LAYERS, check_plain, write_plain
from superpoint.files import write_atomically
from superpoint.geometry.cells import CELL
from superpoint.models.superpoint import SuperPoint

SUFFIXES = {
    **{"onnx": ".onnx", "onnx-full": ".onnx", "openvino": ".xml", "torchscript": ".pt", "torch-export": ".pt2"},
    **{"superpoint-v1": ".pth", "transformers": ""},  # the latter is a folder of any name
}
FORMATS = tuple(SUFFIXES)


def output_names(model: SuperPoint, form: str) -> list[str]:
    """Return the outputs of the graph, in their order."""
    names = ["keypoints", "scores"] if form == "onnx-full" else ["logits"]
    return names if model.descriptor is None else [*names, "descriptors"]


def write_model(
    model: SuperPoint,
    form: str,
    path: str | Path,
    settings: Settings | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network for any batch and image size in one of `FORMATS`.

    Args:
        path: ends in the format's suffix (`SUFFIXES`); OpenVINO adds a .bin beside its .xml.
        settings: of the decoder in "onnx-full" and "transformers".
        metadata: further JSON values to keep in the file.

    Raises: UserError for an unknown format, another suffix, a missing runtime, a network that the format cannot express
        (`check_plain`), or a place that cannot be written.
    """
    check_one_of("--format", form, FORMATS)
    path, settings = Path(path), settings or Settings()
    if SUFFIXES[form] and path.suffix != SUFFIXES[form]:
        raise UserError(f"{path}: found the suffix '{path.suffix}', expected {SUFFIXES[form]} for --format {form}")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder")
    if form in LAYERS:
        check_plain(model, form)
    content: dict[str, Any] = {"format": form, "outputs": output_names(model, form), "channels": model.channels}
    content |= metadata or {}
    if form in ("onnx-full", "transformers"):
        content["decoder"] = asdict(settings)
    graph = (FullGraph(model, settings) if form == "onnx-full" else DenseGraph(model)).eval()
    # Sizes differ and are no multiples of 8: an exporter may take equal ones for a constant.
    image = torch.zeros(2, model.channels, 45, 59)
    with quiet(), torch.no_grad():
        WRITERS[form](graph, image, path, content)
    return path


def _onnx(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    proto = onnx_model(graph, image, metadata["outputs"], _any_size())
    proto.producer_name = "superpoint"
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(metadata)
    write_atomically(path, lambda file: file.write(proto.SerializeToString()))


def _openvino(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    model = converted(graph, image)
    for output, name in zip(model.outputs, metadata["outputs"], strict=True):
        output.get_tensor().set_names({name})
    model.inputs[0].get_tensor().set_names({"image"})
    model.set_rt_info(json.dumps(metadata), METADATA)
    # Weights first: a reader never finds a graph without its weights.
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp.xml")
    weights = temporary.with_suffix(".bin")
    try:
        need("openvino").save_model(model, temporary, compress_to_fp16=False)
        os.replace(weights, path.with_suffix(".bin"))
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be written ({one_line(error)}; disk full?)") from error
    finally:
        for left in (temporary, weights):
            left.unlink(missing_ok=True)


def _torchscript(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its newer format, which other programs cannot read
        traced = torch.jit.freeze(torch.jit.trace(graph, image, check_trace=False))
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={METADATA: json.dumps(metadata)})
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def _torch_export(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    program = torch.export.export(graph, (image,), dynamic_shapes=(_any_size(),), strict=False)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: json.dumps(metadata)})
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def _any_size() -> dict[int, torch.export.Dim]:
    """Return axes of at least two cells: torch.export treats one as a special case."""
    dim = torch.export.Dim
    return {0: dim("batch"), 2: dim("height", min=CELL + 1), 3: dim("width", min=CELL + 1)}


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path, dict[str, Any]], None]] = {
    "onnx": _onnx,
    "onnx-full": _onnx,
    "openvino": _openvino,
    "torchscript": _torchscript,
    "torch-export": _torch_export,
    "superpoint-v1": write_plain,
    "transformers": write_plain,
}
