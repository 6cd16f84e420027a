"""The network in OpenVINO, on the CPU."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.backends.network import GraphNetwork, example, need, quiet
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.models.superpoint import SuperPoint


def openvino_network(model: SuperPoint, precision: str) -> GraphNetwork:
    """Record a network for OpenVINO, for any batch and size. Raises: UserError if it is not installed."""
    frozen, image, metadata = example(model)
    # Traced: 0.7 s, against 6 s by torch.export or ONNX. OpenVINO's own trace with its check takes 0.6 s more.
    with quiet():
        traced = torch.jit.trace(frozen, image, strict=False, check_trace=False)
    graph = converted(traced, image)
    return graph_network(graph, precision, metadata, [next(iter(each.get_names()), "logits") for each in graph.outputs])


def graph_network(graph: Any, precision: str, metadata: dict[str, Any], names: list[str]) -> GraphNetwork:
    """Return a graph with outputs `names` as a network; it is compiled, once more for `maps`, when it is first used."""
    places = [names.index(name) for name in metadata["outputs"]]

    @functools.cache
    def request(index: int | None) -> Any:
        return compiled(graph if index is None else probability_graph(graph, index), precision).create_infer_request()

    def run(image: NDArray[np.float32]) -> list[NDArray[Any]]:
        results = request(None).infer(image, share_inputs=True)
        return [results[place] for place in places]

    def run_maps(image: NDArray[np.float32]) -> list[NDArray[Any]]:
        results = request(names.index("logits")).infer(image, share_inputs=True, share_outputs=True)
        return [results[place] for place in places]

    return GraphNetwork("openvino", precision, run, metadata, run_maps)


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
