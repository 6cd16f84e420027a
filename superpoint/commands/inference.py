"""Commands that use a trained network: keypoints of images, matches of two, tracks in a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from superpoint.commands.options import command_group

app = command_group()

Model = Annotated[str, typer.Option(help="Name of pretrained weights, weights file, checkpoint or run folder.")]
Threshold = Annotated[float, typer.Option(help="Least probability of a keypoint.")]
MaxKeypoints = Annotated[int, typer.Option(help="Strongest keypoints kept of an image; 0 = all.")]
NmsRadius = Annotated[int, typer.Option(help="Of peaks no farther apart than this the weaker is dropped, px.")]
Border = Annotated[int, typer.Option(help="Keypoints nearer to the edge than this are dropped, px.")]
Resize = Annotated[int, typer.Option(help="Shrink images to this longest side first, px; 0 = as they are.")]
Backend = Annotated[str, typer.Option(help="auto, torch, openvino or onnxruntime.")]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


@app.command("detect")
def detect_command(
    images: Annotated[
        list[str],
        typer.Argument(help="folders, globs, lists (.txt), images, HDF5, tar shards", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures, or feature file (.h5).", show_default=False)],
    model: Model = "superpoint-lite",
    threshold: Threshold = 0.015,
    max_keypoints: MaxKeypoints = 0,
    nms_radius: NmsRadius = 3,
    border: Border = 4,
    resize: Resize = 1024,
    root: Annotated[Path | None, typer.Option(help="Folder that image names are relative to.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a feature file, or start it.")] = False,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Keypoints of images, drawn on them (--out FOLDER) or with their descriptors in a file (--out features.h5)."""
    from superpoint.config.inference import InferenceConfig
    from superpoint.inference.detect_images import detect_images

    config = InferenceConfig(model, threshold, max_keypoints, nms_radius, border, resize, backend, precision, device)
    signal = detect_images(images, out, config, root=root, resume=resume)
    if signal is not None:
        typer.echo("stopped; go on by --resume", err=True)
        raise typer.Exit(128 + signal)


@app.command("match")
def match_command(
    first: Annotated[Path, typer.Argument(help="an image", show_default=False)],
    second: Annotated[Path, typer.Argument(help="another one", show_default=False)],
    out: Annotated[Path, typer.Option(help="The picture to write; the numbers go beside it as .json.")] = Path(
        "matches.png"
    ),
    model: Model = "superpoint-lite",
    method: Annotated[str, typer.Option(help="mutual, ratio or dual_softmax.")] = "mutual",
    estimator: Annotated[str, typer.Option(help="gcransac, ransac (also of mirrored images) or magsac.")] = "gcransac",
    inlier_threshold: Annotated[
        float | None,
        typer.Option(help="Of the estimator, px at the size of --resize; 2 for gcransac, 3 for ransac, 1 for magsac."),
    ] = None,
    threshold: Threshold = 0.005,
    max_keypoints: MaxKeypoints = 1024,
    nms_radius: NmsRadius = 3,
    border: Border = 4,
    resize: Resize = 1024,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Match two images, estimate the homography between them, and draw both side by side."""
    from superpoint.config.inference import InferenceConfig
    from superpoint.inference.match_images import match_images

    config = InferenceConfig(model, threshold, max_keypoints, nms_radius, border, resize, backend, precision, device)
    match_images(
        first, second, out, config, method=method, estimator=estimator, threshold=inlier_threshold, as_json=as_json
    )


@app.command("track")
def track_command(
    source: Annotated[str, typer.Argument(help="video, folder of images, or index of a camera", show_default=False)],
    out: Annotated[Path, typer.Option(help="Video (.mp4, .avi), or folder for PNGs.", show_default=False)],
    model: Model = "superpoint-lite",
    frames: Annotated[int, typer.Option(min=0, help="Stop after this many; 0 = at the end, or at Ctrl-C.")] = 0,
    max_distance: Annotated[float, typer.Option(help="Of the descriptors of a track, 0..2.")] = 0.7,
    keep: Annotated[int, typer.Option(help="Latest positions of a track that are drawn.")] = 5,
    codec: Annotated[str | None, typer.Option(help="Four characters; by default mp4v, or MJPG for .avi.")] = None,
    threshold: Threshold = 0.015,
    max_keypoints: MaxKeypoints = 1024,
    nms_radius: NmsRadius = 3,
    border: Border = 4,
    resize: Resize = 640,
    backend: Backend = "auto",
    precision: Precision = "auto",
    device: Device = "auto",
) -> None:
    """Follow keypoints through a video by their descriptors, and write the frames with the tracks drawn."""
    from superpoint.config.inference import InferenceConfig
    from superpoint.inference.track_video import track_points

    config = InferenceConfig(model, threshold, max_keypoints, nms_radius, border, resize, backend, precision, device)
    result = track_points(source, out, config, max_distance=max_distance, keep=keep, frames=frames, codec=codec)
    if result.signal is not None and not result.frames:
        raise typer.Exit(128 + result.signal)
