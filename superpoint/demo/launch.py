"""Stage demo: the demonstration page of a model.

superpoint demo --model superpoint-lite
"""

from __future__ import annotations

from superpoint.config.inference import InferenceConfig
from superpoint.demo.page import import_gradio, serve
from superpoint.inference.detector import load_model


def run_demo(config: InferenceConfig, *, host: str = "127.0.0.1", port: int | None = None) -> None:
    """Show the page until Ctrl-C. Raises: UserError if Gradio is not installed, or there is no such model."""
    import_gradio()  # first: it is the likelier one to be missing, and the model takes a second
    serve(load_model(config.model, config.device, config.backend, config.precision), host, port)
