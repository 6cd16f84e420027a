"""Weights of classification networks: read, checked, and taken over by encoders of grey images."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from superpoint.backbones.classifiers import CLASSIFIERS, build_classifier
from superpoint.backbones.encoders import TrunkEncoder
from superpoint.backbones.initialisation import initialise_weights
from superpoint.backbones.network import IMAGENET_MEAN, IMAGENET_STD
from superpoint.backbones.pretrained import load_classifier, load_encoder, read_state
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.models import build_model
from tests.backbones.test_encoders import liven


def colour_checkpoint(path: Path, name: str) -> torch.nn.Module:
    network = build_classifier(name, 7, 3, seed=1).eval()
    liven(network)
    torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize(
    ("name", "layer", "channels"),
    [
        *(("resnet18", "bn1", channels) for channels in (1, 3, 4)),
        *(("vgg11", "features.0", 1), ("vgg11_bn", "features.1", 3), ("vgg11_bn", "features.1", 1)),
    ],
)
def test_first_layer_sees_what_the_colour_network_does(tmp_path: Path, name: str, layer: str, channels: int) -> None:
    """Of RGB the same, else of grey in all channels."""
    path = tmp_path / "colour.pth"
    with torch.device("meta"):
        network = CLASSIFIERS[name]().eval()  # what is not needed, such as VGG's 120 M weights, stays without numbers
    trunk = torch.nn.ModuleList(module for stage in network.stages()[:4] for module in stage.values())
    trunk.to_empty(device="cpu")
    initialise_weights(trunk, "kaiming")
    liven(trunk)
    kept = {key: tensor for key, tensor in network.state_dict().items() if not tensor.is_meta}
    torch.save({key: tensor.zero_() if key.endswith("tracked") else tensor for key, tensor in kept.items()}, path)
    encoder = TrunkEncoder(name, channels=channels).eval()
    load_encoder(encoder, path)
    image = torch.rand(1, 3 if channels == 3 else 1, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, spread = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    outputs: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _given: Any, output: torch.Tensor) -> None:
        outputs.append(output)

    here = next(inside for inside, there in encoder.paths.items() if there == layer)
    for module in (network.get_submodule(layer), encoder.get_submodule(here)):
        module.register_forward_hook(keep)
    with torch.no_grad():
        x = (image.expand(-1, 3, -1, -1) - mean) / spread
        for module in list(trunk)[:3]:
            x = module(x)
        encoder((image.expand(-1, channels, -1, -1) - 0.5) * 4)
    inside = (..., slice(4, -4), slice(4, -4))  # beyond the border are zeros, which stand for other colours
    torch.testing.assert_close(outputs[1][inside], outputs[0][inside], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x0_5", "se_resnet18"])
def test_stages_are_filled_and_the_adapter_is_not(tmp_path: Path, name: str) -> None:
    path = tmp_path / "colour.pth"
    state = colour_checkpoint(path, name).state_dict()
    encoder = TrunkEncoder(name)
    load_encoder(encoder, path)
    compared = 0
    for here, there in encoder.paths.items():
        for key, tensor in encoder.get_submodule(here).state_dict(prefix=f"{there}.").items():
            if "stages.0" not in here:  # the first convolution is another for grey images
                assert torch.equal(tensor, state[key]), key
                compared += 1
    assert compared > 50


def test_grey_checkpoint_is_taken_as_it_is(tmp_path: Path) -> None:
    network = build_classifier("resnet18", 3, 1, seed=2)
    save_file(network.state_dict(), tmp_path / "grey.safetensors")
    encoder = TrunkEncoder("resnet18")
    load_encoder(encoder, tmp_path / "grey.safetensors")
    assert torch.equal(encoder.state_dict()["stages.0.conv1.weight"], network.state_dict()["conv1.weight"])


def test_configuration_loads_and_needs_the_file_once_only(tmp_path: Path) -> None:
    path = tmp_path / "colour.pth"
    state = colour_checkpoint(path, "resnet18").state_dict()
    config = ModelConfig(encoder="resnet18", head_channels=16, encoder_weights=str(path))
    own = build_model(config).state_dict()
    assert torch.equal(own["encoder.stages.3.layer3.1.conv2.weight"], state["layer3.1.conv2.weight"])
    path.unlink()
    build_model(config, pretrained=False)
    with pytest.raises(UserError, match=r"colour\.pth: no such file, expected weights"):
        build_model(config)
    with pytest.raises(UserError, match=r"model\.encoder_weights: found x, expected null with model\.encoder=vgg"):
        ModelConfig(encoder_weights="x")


def test_containers_and_prefixes(tmp_path: Path) -> None:
    tensors = {"module.a": torch.ones(2, dtype=torch.float16)}
    for content in (tensors, {"state_dict": tensors}, {"model": tensors, "epoch": 3}, {"model": {}, "ema": tensors}):
        torch.save(content, tmp_path / "x.pth")
        found = read_state(tmp_path / "x.pth")
        assert set(found) == {"a"}
        assert found["a"].dtype == torch.float32
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match=r"found no weights, expected weights\.safetensors or checkpoints"):
        read_state(run)
    torch.save({"model": tensors, "ema": None}, run / "checkpoints/best.ckpt")
    assert set(read_state(run)) == {"a"}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04K\x01.", b"junk" * 50])
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"x\.{ending}: ") as error:
        read_state(path)
    assert "\n" not in str(error.value)
    assert re.search(r"\((\D.*)\)$", str(error.value))  # a reason, not the number that a KeyError carries


def test_a_list_is_not_a_state(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(UserError, match="found no names with tensors"):
        read_state(tmp_path / "x.pth")


def test_other_architectures_are_named_with_their_first_mismatches(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    colour_checkpoint(path, "se_resnet18")
    encoder = TrunkEncoder("resnet18")
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    with pytest.raises(UserError, match=r"not the weights of resnet18: found 'layer1\.0\.attention\.fc1\.weight'"):
        load_encoder(encoder, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    with pytest.raises(UserError, match=r"found no 'features\.0\.0\.weight', expected .*; and \d+ more$") as error:
        load_encoder(TrunkEncoder("mobilenet_v2"), path)
    assert "\n" not in str(error.value)
    other = {"conv1.weight": torch.zeros(64, 3, 5, 5)}  # the shape expected is that of the colour network
    torch.save(colour_checkpoint(path, "resnet18").state_dict() | other, path)
    with pytest.raises(UserError, match=r"'conv1\.weight' of shape \[64, 3, 5, 5\], expected \[64, 3, 7, 7\]$"):
        load_encoder(encoder, path)
    network = build_classifier("resnet18", 7, 1)
    colour_checkpoint(path, "resnet18")
    with pytest.raises(UserError, match=r"'conv1\.weight' of shape \[64, 3, 7, 7\], expected \[64, 1, 7, 7\]"):
        load_classifier(network, path)


def test_old_checkpoints_without_counters_and_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    trained = colour_checkpoint(path, "shufflenet_v2_x0_5")
    state = {name: t for name, t in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, path)
    same = build_classifier("shufflenet_v2_x0_5", 7).eval()
    assert load_classifier(same, path) == []
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(same(image), trained(image))
    fresh = build_classifier("shufflenet_v2_x0_5", 2)
    head = fresh.state_dict()["fc.weight"].clone()
    assert load_classifier(fresh, path) == ["fc.weight", "fc.bias"]
    assert torch.equal(fresh.state_dict()["fc.weight"], head)
    assert torch.equal(fresh.state_dict()["conv1.0.weight"], state["conv1.0.weight"])
