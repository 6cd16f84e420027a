"""Converted weights against plain functional forwards, written from the paper's table, with random weights."""

import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

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


class Named(nn.Module):
    """Modules by name; its state has the names of the layout that its builder was written from."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


def conv(before: int, after: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, padding=size // 2)


def heads(*, normed: bool, relu_first: bool) -> tuple[dict[str, nn.Module], Callable[[nn.Module, Tensor, str], Tensor]]:
    """convPa, bnPa, ..., and the function from features to the output of a head."""
    modules: dict[str, nn.Module] = {}
    for letter, out in (("P", 65), ("D", DIM)):
        modules |= {f"conv{letter}a": conv(128, HEAD), f"conv{letter}b": conv(HEAD, out, 1)}
        if normed:
            modules |= {f"bn{letter}a": nn.BatchNorm2d(HEAD), f"bn{letter}b": nn.BatchNorm2d(out)}

    def run(holder: nn.Module, x: Tensor, letter: str) -> Tensor:
        norm = [holder.get_submodule(f"bn{letter}{each}") if normed else nn.Identity() for each in "ab"]
        x = holder.get_submodule(f"conv{letter}a")(x)
        x = norm[0](x.relu()) if relu_first else norm[0](x).relu()
        return norm[1](holder.get_submodule(f"conv{letter}b")(x))

    return modules, run


def unet(*, up: bool) -> tuple[nn.Module, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Convolution, norm, ReLU; with the decoder ("up") the norms of the heads lie behind the ReLUs."""

    def double(before: int, after: int) -> nn.Module:
        layers = [[conv(a, after), nn.BatchNorm2d(after), nn.ReLU()] for a in (before, after)]
        return Named(conv=nn.Sequential(*(each for layer in layers for each in layer)))

    modules, run = heads(normed=True, relu_first=up)
    widths = (1, 64, 64, 128, 128)
    downs = [nn.Sequential(nn.MaxPool2d(2), double(widths[i], widths[i + 1])) for i in (1, 2, 3)]
    net = Named(inc=Named(conv=double(1, 64)), **{f"down{i + 1}": Named(mpconv=downs[i]) for i in range(3)}, **modules)
    if up:
        net.add_module("up1", Named(conv=double(256, 64)))

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        x = net.get_submodule("inc.conv.conv")(x)
        for pool, block in downs:
            x = block.get_submodule("conv")(pool(x))
        return run(net, x, "P"), run(net, x, "D")

    return net, forward


def blocks(*, normed: bool) -> tuple[nn.Module, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Convolution, ReLU, norm."""
    parts: dict[str, nn.Module] = {}
    for i in range(8):
        layers = [conv(WIDTHS[i], WIDTHS[i + 1]), nn.ReLU(), *([nn.BatchNorm2d(WIDTHS[i + 1])] if normed else [])]
        parts[f"block{i // 2 + 1}_{i % 2 + 1}"] = nn.Sequential(*layers, *([nn.MaxPool2d(2)] if i in (1, 3, 5) else []))
    modules, run = heads(normed=normed, relu_first=True)
    split = [Named(**{key: each for key, each in modules.items() if letter in key}) for letter in "PD"]
    net = Named(backbone=Named(**parts), detector_head=split[0], descriptor_head=split[1])

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        for part in parts.values():
            x = part(x)
        return run(split[0], x, "P"), run(split[1], x, "D")

    return net, forward


def plain(names: list[str]) -> tuple[nn.Module, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    """Twelve convolutions by dotted names, and norms "bn..." before the ReLUs beside names "conv..."."""
    net, normed = Named(), names[0] == "conv1a"
    shapes = [*((WIDTHS[i], WIDTHS[i + 1], 3) for i in range(8)), *((128, HEAD, 3), (HEAD, 65, 1), (128, HEAD, 3))]
    chain = [(conv(*shape), nn.BatchNorm2d(shape[1])) for shape in [*shapes, (HEAD, DIM, 1)]]
    for name, (layer, norm) in zip(names, chain, strict=True):
        holder: nn.Module = net
        for part in name.split(".")[:-1]:
            if part not in dict(holder.named_children()):
                holder.add_module(part, Named())
            holder = holder.get_submodule(part)
        holder.add_module(name.split(".")[-1], layer)
        if normed:
            net.add_module(name.replace("conv", "bn"), norm)

    def at(x: Tensor, i: int) -> Tensor:
        return chain[i][1](chain[i][0](x)) if normed else chain[i][0](x)

    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        for i in range(8):
            x = at(x, i).relu()
            x = F.max_pool2d(x, 2) if i in (1, 3, 5) else x
        return at(at(x, 8).relu(), 9), at(at(x, 10).relu(), 11)

    return net, forward


ORIGINAL = [f"conv{name}" for name in ("1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "Pa", "Pb", "Da", "Db")]
TRANSFORMERS = [
    *(f"encoder.conv_blocks.{stage}.conv_{each}" for stage in range(4) for each in "ab"),
    "keypoint_decoder.conv_score_a", "keypoint_decoder.conv_score_b",
    "descriptor_decoder.conv_descriptor_a", "descriptor_decoder.conv_descriptor_b",
]  # fmt: skip
NETWORKS = {
    "unet": lambda: unet(up=False),
    "unet-up": lambda: unet(up=True),
    "blocks": lambda: blocks(normed=True),
    "blocks without norms": lambda: blocks(normed=False),
    "original with norms": lambda: plain(ORIGINAL),
    "transformers": lambda: plain(TRANSFORMERS),
}


def network(name: str) -> tuple[State, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    net, forward = NETWORKS[name]()
    random = torch.Generator().manual_seed(3)
    for key, tensor in net.state_dict().items():
        if tensor.ndim == 4:
            spread = (2 / tensor[0].numel()) ** 0.5
            tensor.copy_(torch.randn(tensor.shape, generator=random) * spread)
        elif tensor.ndim == 1:
            low = 0.5 if key.endswith("running_var") or ("bn" in key and key.endswith("weight")) else -0.3
            tensor.copy_(torch.rand(tensor.shape, generator=random) + low)
    net.eval()
    return {key: tensor.clone() for key, tensor in net.state_dict().items()}, forward


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_others_compute_the_same(name: str, tmp_path: Path) -> None:
    state, forward = network(name)
    if name == "transformers":  # a folder of Hugging Face's
        path = tmp_path
        save_file(state, path / "model.safetensors")
        (path / "config.json").write_text("{}")
    else:
        path = tmp_path / "theirs.pth.tar"
        torch.save({"n_iter": 3, "model_state_dict": {f"module.{key}": each for key, each in state.items()}}, path)
    model, config, layout = convert_weights(path)
    assert layout == name.split()[0]
    assert (config.head_channels, config.descriptor_dim) == (HEAD, DIM)
    image = torch.rand((2, 1, 40, 56), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output, (logits, descriptors) = model(image), forward(image)
    assert float((output["logits"] - logits).abs().max()) < 1e-4 * float(logits.abs().max())
    assert float((output["descriptors"] - F.normalize(descriptors, dim=1)).abs().max()) < 1e-5


WRAPPED: dict[str, Callable[[State], object]] = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "nested": lambda state: {"checkpoint": {"network": {"net": state}}},
    "model": lambda state: {f"model.superpoint.{key}": each for key, each in state.items()},
    "compiled": lambda state: {"model": {f"_orig_mod.module.extractor.{key}": each for key, each in state.items()}},
    "averaged": lambda state: {"model": {key: each + 1 for key, each in state.items()}, "model_ema": {"module": state}},
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_wrappers_of_training_scripts(wrap: str, tmp_path: Path) -> None:
    state = original_state()
    torch.save(WRAPPED[wrap](state), tmp_path / "a.pth")
    model = convert_weights(tmp_path / "a.pth")[0]
    assert torch.equal(model.state_dict()["encoder.stages.0.0.0.weight"], state["conv1a.weight"])


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
        torch.save({"args": SimpleNamespace(), "model": original_state()}, tmp_path / "c.pth")
        with pytest.raises(UserError, match=r"c\.pth: .*it holds types\.SimpleNamespace"):
            convert_weights(tmp_path / "c.pth")

    def test_a_detector_alone(self, tmp_path: Path) -> None:
        state = {key: each for key, each in original_state().items() if "convD" not in key}
        torch.save(state, tmp_path / "a.pth")
        model, config, _ = convert_weights(tmp_path / "a.pth")
        assert config.descriptor_dim == 0
        assert list(model(torch.zeros(1, 1, 16, 16))) == ["logits"]

    def test_another_network(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no such file, expected weights of SuperPoint"):
            convert_weights(tmp_path / "a.pth")
        torch.save({"net": {"features.0.weight": torch.zeros(4, 1)}, "step": 3}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"1 tensors, first: net\.features\.0\.weight \[4, 1\], expected .*conv1a"):
            convert_weights(tmp_path / "a.pth")
        torch.save({"student": original_state(), "teacher": original_state()}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"found several networks, below 'student\.' and 'teacher\.'"):
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
        with pytest.raises(UserError, match=r"found 'conv2a\.bias' of shape \[64\], expected \[32\]"):
            convert_weights(tmp_path / "a.pth")
        torch.save({**state, "conv2a.bias": torch.zeros(32)}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"found a layer of shape \[32, 64, 3, 3\]"):
            convert_weights(tmp_path / "a.pth")

    def test_target(self, tmp_path: Path, cli: CommandLine) -> None:
        (tmp_path / "x.pth").touch()
        message = cli.fails("convert-weights", tmp_path / "x.pth", "--out", tmp_path / "a.pth")
        assert "expected a file name that ends in .safetensors" in message
