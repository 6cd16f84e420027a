"""Commands that hand networks and features on to other programs, and the demonstration page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import Run, command_group

app = command_group()


@app.command("export-model")
def export_model_command(
    model: Run,
    out: Annotated[Path, typer.Option(help="The file to write: .onnx, .xml, .pt or .pt2.", show_default=False)],
    form: Annotated[
        str, typer.Option("--format", help="onnx | onnx-full (with decoder) | openvino | torchscript | torch-export")
    ] = "onnx",
    points: Annotated[int, typer.Option(help="Points that onnx-full gives for every image.")] = 1024,
    nms_radius: Annotated[int, typer.Option(help="Of the decoder, in pixels.")] = 3,
    threshold: Annotated[float, typer.Option(help="Of the decoder: least probability.")] = 0.015,
    border: Annotated[int, typer.Option(help="Of the decoder, in pixels.")] = 4,
) -> None:
    """Write a network for another runtime, and check that it finds there what it finds in torch."""
    from superpoint.export.formats import Settings
    from superpoint.export.model import export_model

    export_model(model, form, out, Settings(points, nms_radius, threshold, border))


@app.command("convert-weights")
def convert_weights_command(
    file: Annotated[Path, typer.Argument(help="weights of SuperPoint from elsewhere", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.", show_default=False)],
) -> None:
    """Bring weights of SuperPoint in one of the two public layouts into ours."""
    from superpoint.interop.weights import convert_weights_file

    convert_weights_file(file, out)


@app.command("demo")
def demo_command(
    model: Annotated[
        str | None, typer.Option(help="Run folder, weights file or name of pretrained weights.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 lets the network in.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860.", show_default=False)
    ] = None,
    backend: Annotated[str, typer.Option(help="auto | torch | openvino | onnxruntime")] = "auto",
) -> None:
    """Show a page in the browser: two images in, keypoints, matches and heatmaps out, beside SIFT's."""
    from superpoint.demo.launch import run_demo
    from superpoint.inference.detector import DEFAULT_MODEL

    run_demo(model or DEFAULT_MODEL, host=host, port=port, backend=backend)
