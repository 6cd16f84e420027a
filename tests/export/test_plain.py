"""The paper's network as files of other programs: their keys, and what they compute, by two other ways."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from superpoint.config import DecodeConfig, ModelConfig
from superpoint.errors import UserError
from superpoint.export import ExportConfig, write_model
from superpoint.export import parity as parity_module
from superpoint.export.parity import measure_parity
from superpoint.interop.weights import convert_weights
from superpoint.models import SuperPoint, build_model
from superpoint.models.weights import save_weights
from superpoint.training.magicpoint import load_start
from tests.conftest import CommandLine

PLAIN: dict[str, Any] = {"encoder": "vgg", "fine": 0, "centring": False, "head_channels": 256, "descriptor_dim": 256}


V1 = ExportConfig("superpoint-v1")


@pytest.fixture(scope="module")
def plain() -> SuperPoint:
    """A detector that finds something, with descriptors of random weights."""
    model = build_model(ModelConfig(**PLAIN))
    load_start(model, "magicpoint")
    return model.eval()


@pytest.fixture(autouse=True)
def _fewer_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_module, "IMAGES", 4)


def test_the_original_file(plain: SuperPoint, tmp_path: Path, cli: CommandLine) -> None:
    save_weights(tmp_path / "plain.safetensors", plain, PLAIN)
    out = tmp_path / "superpoint_v1.pth"
    options = ("--model", tmp_path / "plain.safetensors", "--format", "superpoint-v1", "--out", out)
    assert "of the keypoints within 0.5 px of torch's" in cli.succeeds("export-model", *options)
    parity = json.loads((tmp_path / "superpoint_v1.pth.parity.json").read_text())["parity"][0]
    assert parity["agreement"] == 1
    assert parity["cosine"] > 0.99999
    state = torch.load(out, weights_only=True)
    widths = {"1a": (1, 64), "1b": (64, 64), "2a": (64, 64), "2b": (64, 64), "3a": (64, 128)}
    widths |= {"3b": (128, 128), "4a": (128, 128), "4b": (128, 128)}
    widths |= {"Pa": (128, 256), "Pb": (256, 65), "Da": (128, 256), "Db": (256, 256)}
    expected = {f"conv{name}.bias": [b] for name, (_, b) in widths.items()}
    for name, (a, b) in widths.items():
        expected[f"conv{name}.weight"] = [b, a, *((1, 1) if name in ("Pb", "Db") else (3, 3))]
    assert {name: list(tensor.shape) for name, tensor in state.items()} == expected
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}

    back = convert_weights(out)[0]
    image = torch.rand((1, 1, 40, 56), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        ours, theirs = plain(image), back(image)
    assert torch.allclose(ours["logits"], theirs["logits"], atol=1e-4)
    assert torch.allclose(ours["descriptors"], theirs["descriptors"], atol=1e-5)


def test_the_folder_for_transformers(plain: SuperPoint, tmp_path: Path) -> None:
    config = ExportConfig("transformers", decode=DecodeConfig(3, 0.02, 5, 200))
    folder = write_model(plain, tmp_path / "superpoint-plain-1.0", config)
    (found,) = measure_parity(plain, folder, config)
    assert found.passed
    assert found.agreement == 1
    state = load_file(folder / "model.safetensors")
    assert len(state) == 24
    assert state["encoder.conv_blocks.3.conv_b.weight"].shape == (128, 128, 3, 3)
    assert state["keypoint_decoder.conv_score_b.bias"].shape == (65,)
    assert state["descriptor_decoder.conv_descriptor_a.weight"].shape == (256, 128, 3, 3)
    written = json.loads((folder / "config.json").read_text())
    assert (written["model_type"], written["descriptor_decoder_dim"]) == ("superpoint", 256)
    decoder = ("max_keypoints", "nms_radius", "keypoint_threshold", "border_removal_distance")
    assert [written[key] for key in decoder] == [200, 3, 0.02, 5]
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert processor["image_processor_type"] == "SuperPointImageProcessor"


def test_parity_sees_a_swap(plain: SuperPoint, tmp_path: Path) -> None:
    """Rows and columns of the cell interchanged."""
    out = write_model(plain, tmp_path / "a.pth", V1)
    state = torch.load(out, weights_only=True)
    for kind in ("weight", "bias"):
        cell = state[f"convPb.{kind}"][:64]
        cell.copy_(cell.unflatten(0, (8, 8)).transpose(0, 1).flatten(0, 1).clone())
    torch.save(state, out)
    assert not measure_parity(plain, out, V1)[0].passed


def test_parity_sees_other_descriptors(plain: SuperPoint, tmp_path: Path) -> None:
    out = write_model(plain, tmp_path / "a.pth", V1)
    state = torch.load(out, weights_only=True)
    torch.save({**state, "convDb.weight": state["convDb.weight"].flip(0)}, out)
    (found,) = measure_parity(plain, out, V1)
    assert found.agreement == 1
    assert not found.passed


@pytest.mark.parametrize("form", ["superpoint-v1", "transformers"])
@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ({"encoder": "lite"}, "another encoder"),
        ({"encoder": "vgg-original", "centring": True}, "another encoder, a centred input"),
        ({"fine": 4}, "a fine branch"),
        ({"centring": True}, "a centred input"),
        ({"head_channels": 128}, "heads of 128 channels"),
        ({"descriptor_dim": 64}, "descriptors of 64 dimensions"),
        ({"descriptor_dim": 0}, "descriptors of 0 dimensions"),
        ({"channels": 3}, "images of 3 channels"),
    ],
)
def test_what_cannot_be_expressed(form: str, setting: dict[str, Any], found: str, tmp_path: Path) -> None:
    model = build_model(ModelConfig(**{**PLAIN, **setting})).eval()
    with pytest.raises(UserError, match=f"--format {form}: found {found}; expected the paper's network: model.encoder"):
        write_model(model, tmp_path / "a.pth" if form == "superpoint-v1" else tmp_path / "a", ExportConfig(form))
    assert not list(tmp_path.iterdir())
