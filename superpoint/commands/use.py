"""Commands that use a trained network: keypoints of images, matches of two, tracks in a video, a page to try it on."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from superpoint.commands.command import EVALUATE, USE, Outcome, command
from superpoint.commands.options import (
    RUNTIME,
    MaskFolder,
    Matcher,
    Overwrite,
    Resume,
    Root,
    check_inputs,
    check_path,
    check_source,
    ends_in,
    floats,
)
from superpoint.config.inference import InferenceConfig, MatchingConfig, ReconstructConfig, check_intrinsics
from superpoint.errors import check_number


@command("detect", USE, options=InferenceConfig)
def detect_command(
    config: InferenceConfig,
    images: Annotated[list[str], Argument(help="folders, globs, lists (.txt), images, HDF5, tar shards"), check_inputs],
    out: Annotated[Path, Option(help="Folder for pictures, or feature file (.h5).")],
    masks: MaskFolder = None,
    root: Root = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    frame: Annotated[
        Literal["stored", "upright", "turned-back"],
        Option(help="Feature file: pixels as stored; turned by EXIF; seen so, but keypoints of the stored pixels."),
    ] = "stored",
) -> Outcome:
    """Find keypoints in images: drawn (--out FOLDER), or with their descriptors in a file (--out features.h5).

    superpoint detect photos --out pictures
    superpoint detect photos --out features.h5 --max-keypoints 2048
    """
    from superpoint.inference.detect_images import detect_images

    options = {"masks": masks, "root": root, "resume": resume, "overwrite": overwrite, "frame": frame}
    return Outcome(signal=detect_images(images, out, config, **options))


@command("match", USE, options=InferenceConfig, as_json=True)
def match_command(
    config: InferenceConfig,
    first: Annotated[Path, Argument(help="an image"), check_path],
    second: Annotated[Path, Argument(help="another one"), check_path],
    out: Annotated[
        Path,
        Option(help="Picture (.png, .jpg), or matches as hloc has them (.h5); the numbers go beside it as .json."),
        ends_in(".png", ".jpg", ".json", ".h5"),
    ] = Path("matches.png"),
    views: Annotated[
        Literal["auto", "none", "rotations", "all"],
        Option(help="Try turned and resized copies: where few matches agree, never, turned ones only, or in any case."),
    ] = "auto",
    model_kind: Annotated[
        Literal["auto", "homography", "fundamental", "essential"],
        Option(help="Geometry between the images; auto = what random matches would agree with least."),
    ] = "auto",
    intrinsics: Annotated[
        str | None,
        Option(metavar="FX,FY,CX,CY", help="Camera in pixels, once or per image; essential takes EXIF without it."),
    ] = None,
    matcher: Matcher = "mutual",
    estimator: Annotated[
        Literal["gcransac", "ransac", "magsac"],
        Option(help="Estimator of the geometry; only ransac takes mirrored images."),
    ] = "gcransac",
    inlier_threshold: Annotated[
        float | None,
        Option(help="Max error of an inlier, px at --resize; default 2 (gcransac), 3 (ransac), 1 (magsac)."),
    ] = None,
) -> Outcome:
    """Match two images, turned or of other scale too; estimate the geometry between them, and draw both side by side.

    superpoint match one.jpg two.jpg --out matches.png
    superpoint match one.jpg two.jpg --model-kind essential --intrinsics 1200,1200,640,480
    """
    check_number("--inlier-threshold", inlier_threshold, 0, above=True)
    camera = None if intrinsics is None else floats("--intrinsics", intrinsics)
    if camera is not None:
        check_intrinsics("--intrinsics", camera)
    from superpoint.inference.match_images import match_images

    options = {"matcher": matcher, "estimator": estimator, "threshold": inlier_threshold, "views": views}
    return Outcome(match_images(first, second, out, config, model_kind=model_kind, intrinsics=camera, **options))


@command("match-features", USE, options=MatchingConfig)
def match_features_command(
    config: MatchingConfig,
    features: Annotated[Path, Argument(help="feature file, ours or hloc's, or folder of them"), check_path],
    out: Annotated[Path, Option(help="The matches file to write (.h5)."), ends_in(".h5", ".hdf5")],
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> Outcome:
    """Match the images of a feature file, in the layout of hloc; a kill costs a few pairs, torchrun shares the work.

    superpoint match-features features.h5 --retrieve 20 --out matches.h5
    """
    from superpoint.reconstruction.match_features import match_features

    return Outcome(signal=match_features(features, out, config, resume=resume, overwrite=overwrite))


@command(
    "reconstruct",
    USE,
    options=ReconstructConfig,
    only=[each.name for each in fields(ReconstructConfig) if each.name != "verify"],  # COLMAP does
    as_json=True,
    continues=True,
)
def reconstruct_command(
    config: ReconstructConfig,
    images: Annotated[list[str], Argument(help="folders, globs, lists (.txt), images"), check_inputs],
    out: Annotated[Path, Option(help="Folder for the model, its page and all that leads to them.")],
    overwrite: Overwrite = False,
) -> Outcome:
    """Make a 3D model of photographs by COLMAP: cameras, points, and a page to turn them; needs superpoint[sfm].

    Given again after a stop, it goes on where it was.

    superpoint reconstruct photos --out model
    """
    from superpoint.reconstruction.mapping import check_pycolmap

    check_pycolmap()
    from superpoint.inference.detect_images import labelling_config
    from superpoint.reconstruction.recipe import reconstruct

    result = reconstruct(images, out, config, labelling_config(config), overwrite=overwrite)
    return Outcome(signal=result) if isinstance(result, int) else Outcome(result)


@command("track", USE, options=InferenceConfig, as_json=True)
def track_command(
    config: InferenceConfig,
    source: Annotated[str, Argument(help="video, folder of images, or index of a camera"), check_source],
    out: Annotated[Path, Option(help="Video (.mp4, .avi), or folder for PNGs."), ends_in(".mp4", ".avi", "")],
    frames: Annotated[int, Option(min=0, help="Stop after this many; 0 = at the end, or at Ctrl-C.")] = 0,
    max_distance: Annotated[float, Option(min=0, max=2, help="Max distance of the descriptors of a track.")] = 0.7,
    keep: Annotated[int, Option(min=2, help="Latest positions of a track that are drawn.")] = 5,
    codec: Annotated[str | None, Option(help="Four characters; by default mp4v, or MJPG for .avi.")] = None,
) -> Outcome:
    """Follow keypoints through a video by their descriptors, and write the frames with the tracks drawn.

    superpoint track street.mp4 --out tracks.mp4 --resize 640
    superpoint track 0 --out tracks --frames 300
    """
    from superpoint.inference.track_video import track_keypoints

    found = track_keypoints(source, out, config, max_distance=max_distance, keep=keep, frames=frames, codec=codec)
    return Outcome(asdict(found), signal=None if found.frames else found.signal)


@command("demo", USE, options=InferenceConfig, only=("model", *RUNTIME))
def demo_command(
    config: InferenceConfig,
    host: Annotated[str, Option(help="Address to listen at; 0.0.0.0 lets the network in.")] = "127.0.0.1",
    port: Annotated[int | None, Option(min=1, max=65535, help="Default: the first free one from 7860.")] = None,
    matcher: Matcher = "mutual",
) -> None:
    """Show a page in the browser: two images in, keypoints, matches and heatmaps out, beside SIFT's.

    superpoint demo --model superpoint-lite
    """
    from superpoint.demo.page import run_demo

    run_demo(config, host=host, port=port, matcher=matcher)


@command(
    "detect-samples",
    EVALUATE,
    options=InferenceConfig,
    only=("model", "threshold", "max_keypoints", "nms_radius", "border", "resize", *RUNTIME),
)
def detect_samples_command(
    config: InferenceConfig,
    out: Annotated[Path | None, Option(help="Folder for the pictures; default <run>/detections.")] = None,
) -> None:
    """Draw detections and heatmaps on the photographs that scikit-image ships.

    superpoint detect-samples --model runs/lite --threshold 0.05
    """
    from superpoint.inference.detect_samples import detect_samples

    detect_samples(config, out)


@command("predict-classes", USE)
def predict_classes_command(
    folder: Annotated[Path, Argument(help="with the images"), check_path],
    model: Annotated[str, Option(help="Run folder or weights of train-classifier.")],
    out: Annotated[Path, Option(help="The CSV to write: id,label.")] = Path("submission.csv"),
    label: Annotated[Literal["name", "number", "probability"], Option(help="What stands for the class.")] = "name",
    of_class: Annotated[
        str | None, Option("--class", help="The class of --label probability; default the last one.")
    ] = None,
) -> None:
    """Classify the images of a folder; one line per image, in natural order of the files (1, 2, 10).

    superpoint predict-classes photos --model runs/classifier --out submission.csv
    """
    from superpoint.classification.prediction import predict_classes

    predict_classes(model, folder, out, label=label, of_class=of_class)
