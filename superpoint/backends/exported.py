"""Reader of exported files, dense and full graphs."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.backends.choice import resolve
from superpoint.backends.network import GraphNetwork, need
from superpoint.backends.onnxruntime import open_session, session_network
from superpoint.backends.openvino import graph_network, shared_core, unreported
from superpoint.config.inference import PRECISIONS
from superpoint.errors import UserError, check_one_of, one_line

METADATA = "superpoint"  # key of the metadata in a file, JSON
DENSE = (".onnx", ".xml", ".pt")


def open_exported(path: str | Path, precision: str = "auto") -> GraphNetwork:
    """Open an exported network on the CPU: .onnx in ONNX Runtime, .xml in OpenVINO, .pt in TorchScript.

    Args:
        precision: "auto" is bf16 in OpenVINO where the CPU multiplies it natively, fp32 elsewhere.

    Raises: UserError for a missing, damaged or foreign file, or a missing runtime.
    """
    path = Path(path)
    check_one_of("precision", precision, PRECISIONS)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected an exported network ({', '.join(DENSE)})")
    if path.suffix not in DENSE:
        raise UserError(f"{path}: found the suffix '{path.suffix}', expected one of {', '.join(DENSE)}")
    if precision == "bf16" and path.suffix != ".xml":
        raise UserError(f"precision: found 'bf16', but {path.suffix} files compute in fp32; use 'fp32' or 'auto'")
    return {".onnx": _open_onnx, ".xml": _open_openvino, ".pt": _open_torchscript}[path.suffix](path, precision)


def _open_onnx(path: Path, precision: str) -> GraphNetwork:
    try:
        session = open_session(path.read_bytes())
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except UserError:
        raise
    except Exception as error:  # all of its own exceptions are direct subclasses
        raise _damaged(path, "ONNX model", error) from error
    return session_network(session, _metadata(path, text, [output.name for output in session.get_outputs()]))


def _open_openvino(path: Path, precision: str) -> GraphNetwork:
    with unreported():
        need("openvino")
    if not path.with_suffix(".bin").is_file():
        raise UserError(f"{path}: found no '{path.with_suffix('.bin').name}' beside it, expected its weights")
    precision = resolve("openvino", precision, "cpu")[1]
    try:
        model = shared_core().read_model(path)
        text = model.get_rt_info(METADATA).astype(str) if model.has_rt_info(METADATA) else None
        names = [output.any_name for output in model.outputs]
    except Exception as error:
        raise _damaged(path, "OpenVINO model", error) from error
    return graph_network(model, precision, _metadata(path, text, names), names)


def _open_torchscript(path: Path, precision: str) -> GraphNetwork:
    extra = {METADATA: ""}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch recommends its newer format
            module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(path, "TorchScript file", error) from error
    text: Any = extra[METADATA]
    metadata = _metadata(path, text.decode(errors="replace") if isinstance(text, bytes) else text)

    def run(image: NDArray[np.float32]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            output = module(torch.from_numpy(image))
            return [output[name].numpy() for name in metadata["outputs"]]

    return GraphNetwork("torch", "fp32", run, metadata)


def _metadata(path: Path, text: str | None, found: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the metadata of `write_model`. Raises: UserError without it, or for other outputs than it names."""
    try:
        content = json.loads(text or "")
        outputs = content["outputs"]
        if not outputs or not all(isinstance(name, str) for name in outputs):
            raise ValueError("no outputs")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: found no metadata of superpoint, expected a file of 'export-model'") from error
    if found is not None and not set(outputs) <= set(found):
        raise UserError(f"{path}: found the outputs {', '.join(found)}, expected {', '.join(outputs)}")
    return content


def _damaged(path: Path, kind: str, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable {kind} ({one_line(error)[-160:] or type(error).__name__})")
