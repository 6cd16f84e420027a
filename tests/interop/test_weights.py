"""Converted weights against plain functional forwards, written from the paper's table, with random weights."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from superpoint.errors import UserError
from superpoint.interop.weights import convert_weights
from superpoint.models import load_network
from superpoint.models.weights import load_weights
from tests.conftest import CommandLine

State = dict[str, Tensor]
WIDTHS = [1, 64, 64, 64, 64, 128, 128, 128, 128]
HEAD, DIM = 32, 24  # narrower than the paper's 256, for speed


def original_state() -> State:
    random = torch.Generator().manual_seed(0)
    names = ["1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b"]
    shapes = {name: (b, a, 3, 3) for name, a, b in zip(names, WIDTHS[:-1], WIDTHS[1:], strict=True)}
    shapes |= {"Pa": (HEAD, 128, 3, 3), "Pb": (65, HEAD, 1, 1), "Da": (HEAD, 128, 3, 3), "Db": (DIM, HEAD, 1, 1)}
    state: State = {}
    for name, shape in shapes.items():
        spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        state[f"conv{name}.weight"] = torch.randn(shape, generator=random) * spread
        state[f"conv{name}.bias"] = torch.randn(shape[0], generator=random) * 0.2
    return state


def original_forward(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    """DeTone et al. 2018: eight convolutions, three poolings, two heads; ReLU behind all but the last layers."""

    def layer(x: Tensor, name: str) -> Tensor:
        weight = state[f"conv{name}.weight"]
        return F.conv2d(x, weight, state[f"conv{name}.bias"], padding=weight.shape[-1] // 2)

    x = image
    for stage in "1234":
        x = layer(layer(x, f"{stage}a").relu(), f"{stage}b").relu()
        x = F.max_pool2d(x, 2) if stage != "4" else x
    descriptors = layer(layer(x, "Da").relu(), "Db")
    return layer(layer(x, "Pa").relu(), "Pb"), descriptors / descriptors.norm(dim=1, keepdim=True)


def port_state() -> State:
    random = torch.Generator().manual_seed(1)
    places = {f"backbone.{i // 2}.{i % 2}": (WIDTHS[i], WIDTHS[i + 1], 3) for i in range(8)}
    places |= {"detector.0": (128, HEAD, 3), "detector.1": (HEAD, 65, 1)}
    places |= {"descriptor.0": (128, HEAD, 3), "descriptor.1": (HEAD, DIM, 1)}
    state: State = {}
    for name, (a, b, size) in places.items():
        state[f"{name}.conv.weight"] = torch.randn((b, a, size, size), generator=random) * (2 / (a * size**2)) ** 0.5
        state[f"{name}.conv.bias"] = torch.randn(b, generator=random) * 0.2
        state[f"{name}.bn.weight"] = torch.rand(b, generator=random) + 0.5
        state[f"{name}.bn.bias"] = torch.randn(b, generator=random) * 0.2
        state[f"{name}.bn.running_mean"] = torch.randn(b, generator=random) * 0.2
        state[f"{name}.bn.running_var"] = torch.rand(b, generator=random) + 0.5
        state[f"{name}.bn.num_batches_tracked"] = torch.tensor(7)
    return state


def port_forward(state: State, image: Tensor) -> tuple[Tensor, Tensor]:
    def layer(x: Tensor, name: str, relu: bool = True) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, state[f"{name}.conv.bias"], padding=weight.shape[-1] // 2)
        norm = [state[f"{name}.bn.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x.relu() if relu else x, norm[0], norm[1], norm[2], norm[3], eps=0.001)

    x = image
    for stage in range(4):
        x = layer(layer(x, f"backbone.{stage}.0"), f"backbone.{stage}.1")
        x = F.max_pool2d(x, 2) if stage < 3 else x
    descriptors = layer(layer(x, "descriptor.0"), "descriptor.1", relu=False)
    logits = layer(layer(x, "detector.0"), "detector.1", relu=False)
    return logits, descriptors / descriptors.norm(dim=1, keepdim=True)


LAYOUTS = {"original": (original_state, original_forward), "port": (port_state, port_forward)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_computes_the_same(layout: str, tmp_path: Path, cli: CommandLine) -> None:
    make: Callable[[], State]
    make, forward = LAYOUTS[layout]
    state = make()
    torch.save({"model": state} if layout == "port" else state, tmp_path / "theirs.pth")
    output = cli.succeeds("convert-weights", tmp_path / "theirs.pth", "--out", tmp_path / "ours.safetensors")
    assert "licence: the converted file stays under the licence of theirs.pth" in output
    model = load_network(tmp_path / "ours.safetensors")
    assert load_weights(tmp_path / "ours.safetensors")[2]["layout"] == layout
    image = torch.rand((2, 1, 40, 56), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = model(image)
        logits, descriptors = forward(state, image)
    # Borders included: zeros that convolutions pad with must mean the same.
    assert float((output["logits"] - logits).abs().max()) < 1e-4 * float(logits.abs().max())
    assert float((output["descriptors"] - descriptors).abs().max()) < 1e-5
    assert logits.std() > 0.1


def test_safetensors(tmp_path: Path) -> None:
    save_file(original_state(), tmp_path / "a.safetensors")
    model, config, layout = convert_weights(tmp_path / "a.safetensors")
    assert (config.encoder, layout) == ("vgg-original", "original")
    assert (config.head_channels, config.descriptor_dim) == (HEAD, DIM)
    assert not model.training


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


class TestErrors:
    def test_pickle_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.pth").write_bytes(pickle.dumps({"conv1a.weight": Exploit()}))
        torch.save({"conv1a.weight": Exploit()}, tmp_path / "b.pth")
        for name in ("a.pth", "b.pth"):
            with pytest.raises(UserError, match=f"{name}: cannot be read as weights"):
                convert_weights(tmp_path / name)

    def test_another_network(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file, expected weights of SuperPoint"):
            convert_weights(tmp_path / "a.pth")
        torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"found keys such as 'features\.0\.weight', expected conv1a"):
            convert_weights(tmp_path / "a.pth")

    @pytest.mark.parametrize(("layout", "key"), [("original", "convDb.bias"), ("port", "detector.1.bn.running_var")])
    def test_without_a_layer(self, layout: str, key: str, tmp_path: Path) -> None:
        state = LAYOUTS[layout][0]()
        del state[key]
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(UserError, match=f"found no '{key}'"):
            convert_weights(tmp_path / "a.pth")

    def test_other_widths(self, tmp_path: Path) -> None:
        state = original_state()
        state["conv2a.weight"] = torch.zeros(32, 64, 3, 3)
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"found a layer of shape \[32, 64, 3, 3\]"):
            convert_weights(tmp_path / "a.pth")

    def test_target(self, tmp_path: Path, cli: CommandLine) -> None:
        (tmp_path / "x.pth").touch()
        message = cli.fails("convert-weights", tmp_path / "x.pth", "--out", tmp_path / "a.pth")
        assert "expected a file name that ends in .safetensors" in message
