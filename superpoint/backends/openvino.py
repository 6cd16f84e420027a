"""The network in OpenVINO, on the CPU."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superpoint.backends.network import Network, example, need, output_names, quiet
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.models.superpoint import SuperPoint


class OpenVinoNetwork(Network):
    """One compiled model for all batch and image sizes, another one for `maps`; both compiled at first use."""

    backend = "openvino"

    def __init__(self, model: SuperPoint, precision: str) -> None:
        self.precision, self.device, self.channels = precision, torch.device("cpu"), model.channels
        frozen, image = example(model)
        # Traced: 0.7 s, against 6 s by torch.export or ONNX. OpenVINO's own trace with its check takes 0.6 s more.
        with quiet():
            traced = torch.jit.trace(frozen, image, strict=False, check_trace=False)
        self._graph = converted(traced, image)
        names = [next(iter(output.get_names()), "logits") for output in self._graph.outputs]
        self._outputs = {name: names.index(name) for name in output_names(model)}

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        results = self._request.infer(image.contiguous().numpy(), share_inputs=True)
        return {name: torch.from_numpy(results[index]) for name, index in self._outputs.items()}

    def maps(self, image: Tensor) -> dict[str, Tensor]:
        results = self._maps_request.infer(image.contiguous().numpy(), share_inputs=True, share_outputs=True)
        names = {"logits": "probability"}
        return {names.get(name, name): torch.from_numpy(results[index]) for name, index in self._outputs.items()}

    @functools.cached_property
    def _request(self) -> Any:
        return compiled(self._graph, self.precision).create_infer_request()

    @functools.cached_property
    def _maps_request(self) -> Any:
        return compiled(probability_graph(self._graph, self._outputs["logits"]), self.precision).create_infer_request()


def probability_graph(model: Any, index: int) -> Any:
    """Return a graph whose output `index` is the probability [B, H, W] in place of the logits.

    Softmax (fp32) and depth to space run in the runtime's threads; bf16 convolutions may round the logits.
    """
    import openvino  # of an extra, like everything that is imported in this module's functions
    from openvino import opset13

    openvino_model: Any = openvino.Model  # its stubs know fewer arguments than it takes
    graph = model.clone()
    results = [result.input_value(0) for result in graph.get_results()]

    def constant(value: int) -> Any:
        return opset13.constant(np.array([value], np.int64))

    cells = opset13.slice(opset13.softmax(results[index], 1), constant(0), constant(DUSTBIN), constant(1), constant(1))
    results[index] = opset13.squeeze(opset13.depth_to_space(cells, "blocks_first", CELL), constant(1)).output(0)
    return openvino_model([opset13.result(each) for each in results], graph.get_parameters())


def converted(graph: Any, image: Tensor) -> Any:
    """Return a module as a graph of OpenVINO for images of any size. Raises: UserError if it is not installed."""
    with quiet(), unreported():
        model = need("openvino").convert_model(graph, example_input=image)
    model.reshape([-1, image.shape[1], -1, -1])
    return model


def compiled(graph: Any, precision: str) -> Any:
    """Compile a graph of OpenVINO for the CPU, in "fp32" or "bf16"."""
    settings = {
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),  # OMP_NUM_THREADS and torchrun count here, too
        "PERFORMANCE_HINT": "LATENCY",  # all threads on one call
        "CPU_RUNTIME_CACHE_CAPACITY": 256,  # kernels, about 12 per input shape; unlimited they take 2.5 MB per size
    }
    return shared_core().compile_model(graph, "CPU", settings)


@functools.cache
def shared_core() -> Any:
    """Return the core of this process, which is never freed.

    With AMX, a freed core restores the signal stack of the core before it. If that is gone, the next signal, e.g. from
    a data loader that ends, is a SIGSEGV (OpenVINO 2026.4.1).
    """
    import openvino

    return openvino.Core()


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Hide `openvino_telemetry`, which reports each import and conversion, unless the program has imported it."""
    name = "openvino_telemetry"
    hide = name not in sys.modules
    if hide:
        sys.modules[name] = None  # type: ignore[assignment]  # `import` raises ImportError then
    try:
        yield
    finally:
        if hide:
            del sys.modules[name]
