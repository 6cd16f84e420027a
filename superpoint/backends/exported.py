"""Reader of exported files, dense and full graphs."""

import functools
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.backends.choice import resolve
from superpoint.backends.network import Network, need
from superpoint.backends.onnxruntime import open_session
from superpoint.backends.openvino import compiled, probability_graph, shared_core, unreported
from superpoint.config.inference import PRECISIONS
from superpoint.errors import UserError, check_one_of, one_line

METADATA = "superpoint"  # key of the metadata in a file, JSON
Run = Callable[[NDArray[np.float32]], list[NDArray[Any]]]
DENSE = (".onnx", ".xml", ".pt")


class ExportedNetwork(Network):
    """An exported file, called like a network, for images of any size.

    Attributes:
        metadata: "format", "outputs", "decoder" (of a full graph) and more, from `write_model`.
    """

    def __init__(
        self, backend: str, precision: str, run: Run, metadata: dict[str, Any], run_maps: Run | None = None
    ) -> None:
        self.backend, self.device, self.metadata = backend, torch.device("cpu"), metadata
        self.channels, self.shape = metadata.get("channels", 1), metadata.get("shape")
        numbers = metadata.get("numbers", "fp32")
        self.precision = precision if numbers == "fp32" else numbers
        self._run, self._run_maps = run, run_maps

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the outputs (`export.graph`) of an image float32 [B, channels, H, W], 0..1.

        Raises: UserError for another shape than that of the file, if it has one.
        """
        return self._named(self._run, image, self.metadata["outputs"])

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        if self._run_maps is None:
            return super().maps(image)
        names = [name.replace("logits", "probability") for name in self.metadata["outputs"]]
        return self._named(self._run_maps, image, names)

    def _named(self, run: Run, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        found = [image.shape[0], *image.shape[2:]]
        if self.shape and found != self.shape:
            expected = "{} of {}x{}, which it was exported for".format(*self.shape)
            raise UserError("found {} image(s) of {}x{}, expected ".format(*found) + expected)
        results = zip(names, run(image.contiguous().numpy()), strict=True)
        return {name: torch.from_numpy(np.asarray(values)).float() for name, values in results}


def open_exported(path: str | Path, precision: str = "auto") -> ExportedNetwork:
    """Open an exported network on the CPU: .onnx in ONNX Runtime, .xml in OpenVINO, .pt in TorchScript.

    A .pt2 of torch.export is refused: torch's reader may unpickle it, and so execute a stranger's code.

    Args:
        precision: "auto" is bf16 in OpenVINO where the CPU multiplies it natively, fp32 elsewhere.

    Raises: UserError for a missing, damaged or foreign file, or a missing runtime.
    """
    path = Path(path)
    check_one_of("precision", precision, PRECISIONS)
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected an exported network ({', '.join(DENSE)})")
    if path.suffix not in DENSE:
        hint = "; a .pt2 is read by torch.export.load" if path.suffix == ".pt2" else ""
        raise UserError(f"{path}: found the suffix '{path.suffix}', expected one of {', '.join(DENSE)}{hint}")
    if precision == "bf16" and path.suffix != ".xml":
        raise UserError(f"precision: found 'bf16', but {path.suffix} files compute in fp32; use 'fp32' or 'auto'")
    return {".onnx": _open_onnx, ".xml": _open_openvino, ".pt": _open_torchscript}[path.suffix](path, precision)


def _open_onnx(path: Path, precision: str) -> ExportedNetwork:
    try:
        session = open_session(path.read_bytes())
        text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except UserError:
        raise
    except Exception as error:  # all of its own exceptions are direct subclasses
        raise _damaged(path, "ONNX model", error) from error
    metadata = _metadata(path, text, [output.name for output in session.get_outputs()])
    names = metadata["outputs"]
    return ExportedNetwork("onnxruntime", "fp32", lambda image: session.run(names, {"image": image}), metadata)


def _open_openvino(path: Path, precision: str) -> ExportedNetwork:
    with unreported():
        need("openvino")
    if not path.with_suffix(".bin").is_file():
        raise UserError(f"{path}: found no '{path.with_suffix('.bin').name}' beside it, expected its weights")
    precision = resolve("openvino", precision, "cpu")[1]
    try:
        model = shared_core().read_model(path)
        text = model.get_rt_info(METADATA).astype(str) if model.has_rt_info(METADATA) else None
        network = compiled(model, precision)
    except Exception as error:
        raise _damaged(path, "OpenVINO model", error) from error
    metadata = _metadata(path, text, [output.any_name for output in network.outputs])

    @functools.cache
    def with_maps() -> Any:
        return compiled(probability_graph(model, metadata["outputs"].index("logits")), precision)

    def run(image: NDArray[np.float32]) -> list[NDArray[Any]]:
        return list(network(image).values())

    return ExportedNetwork("openvino", precision, run, metadata, lambda image: list(with_maps()(image).values()))


def _open_torchscript(path: Path, precision: str) -> ExportedNetwork:
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

    return ExportedNetwork("torch", "fp32", run, metadata)


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
