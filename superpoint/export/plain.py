"""The paper's network in the files of other programs: the original .pth, and a folder for Hugging Face's transformers.

Both hold twelve convolutions with biases and nothing else; batch norms are folded into them.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from superpoint.backbones.vgg import VGGEncoder
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically, write_json
from superpoint.geometry.cells import CHANNELS
from superpoint.models.decode import pad_to_multiple
from superpoint.models.heads import DescriptorHead
from superpoint.models.superpoint import SuperPoint

WIDTHS, HEAD, DIM = [64, 64, 128, 128], 256, 256  # which the other programs' classes have built in
# The convolutions in order: encoder, detector, descriptor.
OURS = (
    *(f"encoder.stages.{stage}.{layer}.0" for stage in range(4) for layer in (0, 1)),
    *("detector.hidden.0", "detector.logits", "descriptor.hidden.0", "descriptor.descriptor"),
)
LAYERS = {  # format -> names of the same
    "superpoint-v1": (
        *(f"conv{stage}{layer}" for stage in "1234" for layer in "ab"),
        *("convPa", "convPb", "convDa", "convDb"),
    ),
    "transformers": (
        *(f"encoder.conv_blocks.{stage}.conv_{layer}" for stage in range(4) for layer in "ab"),
        *(f"keypoint_decoder.conv_score_{layer}" for layer in "ab"),
        *(f"descriptor_decoder.conv_descriptor_{layer}" for layer in "ab"),
    ),
}
TENSORS = "model.safetensors"  # in the folder for transformers


def check_plain(model: SuperPoint, form: str) -> None:
    """Raise UserError unless the network is the paper's, without what the formats cannot express."""
    encoder, head = model.encoder, model.detector.logits.in_channels
    dim = 0 if model.descriptor is None else cast(DescriptorHead, model.descriptor).descriptor.out_channels
    reasons = {
        "another encoder": type(encoder) is not VGGEncoder or encoder.widths != WIDTHS,
        f"images of {model.channels} channels": model.channels != 1,
        "a fine branch": model.detector.fine is not None,
        "a centred input": model.centring,
        f"heads of {head} channels": head != HEAD,
        f"descriptors of {dim} dimensions": dim != DIM,
    }
    found = [what for what, applies in reasons.items() if applies]
    if found:
        raise UserError(
            f"--format {form}: found {', '.join(found)}; expected the paper's network: model.encoder=vgg model.fine=0 "
            f"model.centring=false model.head_channels={HEAD} model.descriptor_dim={DIM}"
        )


def write_plain(graph: nn.Module, image: Tensor, path: Path, metadata: dict[str, Any]) -> None:
    """Write the network of a `DenseGraph` as one of LAYERS; metadata: "format", and for transformers "decoder"."""
    form, folded = metadata["format"], graph.get_submodule("model").state_dict()
    state = {
        f"{name}.{kind}": folded[f"{ours}.{kind}"].clone()
        for ours, name in zip(OURS, LAYERS[form], strict=True)
        for kind in ("weight", "bias")
    }
    if form == "superpoint-v1":
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(path, lambda file: file.write(buffer.getbuffer()))
        return
    tensors, decoder = save(state, metadata={"format": "pt"}), metadata["decoder"]
    write_atomically(make_folder(path) / TENSORS, lambda file: file.write(tensors))
    processor = {"image_processor_type": "SuperPointImageProcessor", "do_grayscale": True, "do_rescale": True}
    processor |= {"rescale_factor": 1 / 255, "do_resize": True, "size": {"height": 480, "width": 640}}
    write_json(path / "preprocessor_config.json", processor)
    network = {"model_type": "superpoint", "architectures": ["SuperPointForKeypointDetection"], "dtype": "float32"}
    network |= {"encoder_hidden_sizes": WIDTHS, "decoder_hidden_size": HEAD}
    network |= {"keypoint_decoder_dim": CHANNELS, "descriptor_decoder_dim": DIM}
    network |= {"keypoint_threshold": decoder["threshold"], "max_keypoints": decoder["max_keypoints"]}
    network |= {"nms_radius": decoder["nms_radius"], "border_removal_distance": decoder["border"]}
    write_json(path / "config.json", network)


def open_plain(path: Path, form: str) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the paper's network of a file of `write_plain` in plain operators, for images [B, 1, H, W] of any size."""
    state: Mapping[str, Tensor]
    state = torch.load(path, weights_only=True) if form == "superpoint-v1" else load_file(path / TENSORS)

    def layer(x: Tensor, index: int) -> Tensor:
        weight, bias = (state[f"{LAYERS[form][index]}.{kind}"] for kind in ("weight", "bias"))
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def run(image: Tensor) -> dict[str, Tensor]:
        x = pad_to_multiple(image)
        for index in range(8):
            x = layer(F.max_pool2d(x, 2) if index in (2, 4, 6) else x, index).relu()
        logits, descriptors = (layer(layer(x, index).relu(), index + 1) for index in (8, 10))
        return {"logits": logits, "descriptors": F.normalize(descriptors, dim=1)}

    return run
