"""The interface of all runtimes, and helpers to record a network for them."""

import contextlib
import copy
import importlib
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.errors import UserError
from superpoint.geometry.cells import CELL
from superpoint.models.decode import logits_to_probability
from superpoint.models.superpoint import SuperPoint
from superpoint.models.weights import model_hash

Run = Callable[[NDArray[np.float32]], Sequence[NDArray[Any]]]


class Network(ABC):
    """A trained network, called like a `SuperPoint` in evaluation mode.

    Attributes:
        backend: "torch", "openvino" or "onnxruntime".
        precision: "fp32" or "bf16", of the convolutions.
        device: of images and results.
        channels: of images.
        hash: of its weights (`models.weights.model_hash`), computed once; "" if unknown.
    """

    channels: int = 1
    hash: str = ""
    backend: str
    precision: str
    device: torch.device

    @abstractmethod
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return float32 "logits" [B, 65, H / 8, W / 8] and, if the model has them, "descriptors" [B, D, H / 8, W / 8].

        Args: image float32 [B, channels, H, W], 0..1, sides multiples of 8.
        """

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        """Return float32 "probability" [B, H, W] in place of the logits; the next call may reuse the memory."""
        output = dict(self(image))
        output["probability"] = logits_to_probability(output.pop("logits"))
        return output

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


class GraphNetwork(Network):
    """A network as a graph of another runtime on the CPU, recorded here or read from a file of `write_model`.

    Attributes:
        metadata: "outputs", in their order, and of a file "format", "decoder" (of a full graph) and more.
    """

    def __init__(
        self, backend: str, precision: str, run: Run, metadata: dict[str, Any], run_maps: Run | None = None
    ) -> None:
        self.backend, self.device, self.metadata = backend, torch.device("cpu"), metadata
        self.channels, self.shape = metadata.get("channels", 1), metadata.get("shape")
        self.hash = metadata.get("hash", "")
        numbers = metadata.get("numbers", "fp32")
        self.precision = precision if numbers == "fp32" else numbers
        self._run, self._run_maps = run, run_maps

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Return the outputs of an image float32 [B, channels, H, W], 0..1; see `export.graph`.

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


def need(*packages: str, extra: str = "export") -> Any:
    """Import optional packages and return the first. Raises: UserError if one is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            how = f"pip install 'superpoint[{extra}]'"
            raise UserError(f"backend: the Python package '{package}' is not installed: {how}") from error
    return sys.modules[packages[0]]


def example(model: SuperPoint) -> tuple[SuperPoint, Tensor, dict[str, Any]]:
    """Return a copy of the model in evaluation mode on the CPU, an image to record its graph with, and its metadata.

    The image's sides differ and none is 1: an exporter would take them for constants.
    """
    frozen = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    metadata = {"outputs": output_names(model), "channels": model.channels, "hash": model_hash(model)}
    return frozen.requires_grad_(False), torch.zeros(2, model.channels, 5 * CELL, 7 * CELL), metadata


def output_names(model: SuperPoint, form: str = "onnx") -> list[str]:
    """Return the outputs of a graph in their order."""
    names = ["keypoints", "scores"] if form == "onnx-full" else ["logits"]
    return names if model.descriptor is None else [*names, "descriptors"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence exporters' warnings about their own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
