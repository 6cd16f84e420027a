"""Commands that write networks as files for other programs, and read those of others."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option

from superpoint.commands.command import CONVERT, command
from superpoint.commands.options import Model, check_path, ends_in
from superpoint.config import DecodeConfig
from superpoint.config.export import ExportConfig
from superpoint.config.inference import MAX_KEYPOINTS, InferenceConfig
from superpoint.errors import UserError

WeightsFile = Annotated[Path, Option(help="The .safetensors file to write."), ends_in(".safetensors")]


@command("export-model", CONVERT, options=InferenceConfig, only=("threshold", "nms_radius", "border"))
def export_model_command(
    config: InferenceConfig,
    model: Model,
    out: Annotated[Path, Option(help="The file to write: .onnx, .xml, .pt or .pth; for transformers a folder.")],
    form: Annotated[
        Literal["onnx", "onnx-full", "openvino", "torchscript", "superpoint-v1", "transformers", "lightglue"],
        Option(
            "--format",
            help="onnx-full has the decoder inside, set by the options below, and transformers the same settings. "
            "superpoint-v1 is the file of the paper's authors; these two take the paper's network alone. "
            "lightglue writes a matcher, as weights (.pth) or graph (.onnx).",
        ),
    ] = "onnx",
    max_keypoints: Annotated[
        int, Option(min=1, help="Keypoints per image of onnx-full; max of transformers.")
    ] = MAX_KEYPOINTS,
    size: Annotated[
        tuple[int, int] | None,
        Option(metavar="HEIGHT WIDTH", help="Of all images, multiples of 8; default any size. OpenCV needs it."),
    ] = None,
    batch: Annotated[int | None, Option(min=1, help="Number of images, with --size; default 1.")] = None,
    half: Annotated[bool, Option("--half", help="Numbers of 16 bits; onnx, openvino.")] = False,
    int8: Annotated[bool, Option("--int8", help="Convolutions in 8 bits; onnx, openvino.")] = False,
    calibrate: Annotated[
        Path | None, Option(help="Folder of photographs that --int8 takes its ranges from."), check_path
    ] = None,
) -> None:
    """Write a network for another runtime, and check that it finds there what it finds in torch.

    superpoint export-model --model superpoint-lite --format onnx --out superpoint-lite.onnx
    superpoint export-model --model superpoint-lite --size 480 640 --out opencv.onnx
    superpoint export-model --model superpoint-lite --format openvino --int8 --calibrate photos --out int8.xml
    """
    if form == "lightglue":
        if size or batch or half or int8 or calibrate:
            raise UserError("--format lightglue: found options of a network's images, expected none beside a matcher")
        from superpoint.export.matcher import export_matcher

        export_matcher(model, out)
        return
    decode = DecodeConfig(config.nms_radius, config.threshold, config.border, max_keypoints)
    wanted = ExportConfig(form, size, batch, half, int8, str(calibrate) if calibrate else None, decode)
    from superpoint.export.model import export_model

    export_model(model, wanted, out)


@command("export-weights", CONVERT)
def export_weights_command(
    model: Model,
    out: WeightsFile,
    half: Annotated[bool, Option("--half", help="Store kernels as float16: half the size.")] = False,
) -> None:
    """Write the best (averaged) weights of a run as one safetensors file to share.

    superpoint export-weights --model runs/lite --out lite.safetensors --half
    """
    from superpoint.models.weights import export_weights

    export_weights(model, out, half=half)


@command("convert-weights", CONVERT)
def convert_weights_command(
    file: Annotated[
        Path,
        Argument(help="weights of SuperPoint from elsewhere: .pth, .pt, .safetensors, or Hugging Face's folder"),
        check_path,
    ],
    out: WeightsFile,
) -> None:
    """Convert weights of SuperPoint from one of the public layouts to ours.

    superpoint convert-weights superpoint_v1.pth --out converted.safetensors
    """
    from superpoint.interop.weights import convert_weights_file

    convert_weights_file(file, out)
