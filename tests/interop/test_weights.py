"""Converted weights against plain functional forwards, written from the paper's table, with random weights."""

import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

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


class Program(NamedTuple):
    """A program of others: names of its convolutions and norms, and whether the norms lie behind the ReLUs."""

    convolutions: list[str]
    norms: list[str]
    encoder_relu_first: bool = False
    head_relu_first: bool = False
    eps: float = 1e-5

    def layers(self) -> list[tuple[nn.Conv2d, nn.Module]]:
        """Random convolutions of the paper's table, each with its norm (or nothing)."""
        shapes = [
            *((a, b, 3) for a, b in pairwise(WIDTHS)),
            (128, HEAD, 3),
            (HEAD, 65, 1),
            (128, HEAD, 3),
            (HEAD, DIM, 1),
        ]
        random = torch.Generator().manual_seed(3)
        found: list[tuple[nn.Conv2d, nn.Module]] = []
        for before, after, size in shapes:
            conv = nn.Conv2d(before, after, size, padding=size // 2)
            norm = nn.BatchNorm2d(after, self.eps).eval() if self.norms else nn.Identity()
            conv.weight.data = torch.randn(conv.weight.shape, generator=random) * (2 / conv.weight[0].numel()) ** 0.5
            conv.bias.data = torch.rand(after, generator=random) - 0.3  # pyright: ignore[reportOptionalMemberAccess]
            for key, value in norm.state_dict().items():
                low = 0.5 if key in ("weight", "running_var") else -0.3
                value.copy_(torch.rand(value.shape, generator=random) + low)
            found.append((conv, norm))
        return found

    def state(self) -> State:
        found: State = {}
        for index, layer in enumerate(self.layers()):
            for names, module in zip((self.convolutions, self.norms), layer, strict=True):
                found |= {f"{names[index]}.{key}": value for key, value in module.state_dict().items()}
        return found

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """DeTone et al. 2018: eight convolutions, three poolings, two heads; ReLU behind all but the last layers."""
        layers = self.layers()

        def step(x: Tensor, index: int, relu_first: bool) -> Tensor:
            conv, norm = layers[index]
            return norm(conv(x).relu()) if relu_first else norm(conv(x)).relu()

        for index in range(8):
            x = step(x, index, self.encoder_relu_first)
            x = F.max_pool2d(x, 2) if index in (1, 3, 5) else x
        outputs = []
        for hidden, (conv, norm) in ((8, layers[9]), (10, layers[11])):
            outputs.append(norm(conv(step(x, hidden, self.head_relu_first))))
        return outputs[0], F.normalize(outputs[1], dim=1)


HEADS = ["Pa", "Pb", "Da", "Db"]
ORIGINAL = ["1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", *HEADS]
PORT = [*(f"backbone.{i // 2}.{i % 2}" for i in range(8)), "detector.0", "detector.1", "descriptor.0", "descriptor.1"]
DOUBLE = ["inc.conv.conv", "down1.mpconv.1.conv", "down2.mpconv.1.conv", "down3.mpconv.1.conv"]
UNET = Program(
    [*(f"{part}.{i}" for part in DOUBLE for i in (0, 3)), *(f"conv{head}" for head in HEADS)],
    [*(f"{part}.{i}" for part in DOUBLE for i in (1, 4)), *(f"bn{head}" for head in HEADS)],
)
PARTS = ["detector_head", "detector_head", "descriptor_head", "descriptor_head"]
BLOCKS = [f"backbone.block{i // 2 + 1}_{i % 2 + 1}" for i in range(8)]
BLOCK_CONVOLUTIONS = [*(f"{name}.0" for name in BLOCKS), *map("{}.conv{}".format, PARTS, HEADS)]
PROGRAMS = {
    "original": Program([f"conv{name}" for name in ORIGINAL], []),
    "original with norms": Program([f"conv{name}" for name in ORIGINAL], [f"bn{name}" for name in ORIGINAL]),
    "port": Program([f"{name}.conv" for name in PORT], [f"{name}.bn" for name in PORT], True, True, 1e-3),
    "unet": UNET,
    "unet-up": UNET._replace(head_relu_first=True),
    "blocks": Program(
        BLOCK_CONVOLUTIONS, [*(f"{name}.2" for name in BLOCKS), *map("{}.bn{}".format, PARTS, HEADS)], True, True
    ),
    "blocks without norms": Program(BLOCK_CONVOLUTIONS, []),
    "transformers": Program(
        [*(f"encoder.conv_blocks.{stage}.conv_{each}" for stage in range(4) for each in "ab"),
         "keypoint_decoder.conv_score_a", "keypoint_decoder.conv_score_b",
         "descriptor_decoder.conv_descriptor_a", "descriptor_decoder.conv_descriptor_b"], [],
    ),
}  # fmt: skip


def original_state() -> State:
    return PROGRAMS["original"].state()


@pytest.mark.parametrize("name", PROGRAMS)
def test_networks_of_others_compute_the_same(name: str, tmp_path: Path, cli: CommandLine) -> None:
    program = PROGRAMS[name]
    path, state = tmp_path / "theirs.pth.tar", program.state()
    if name == "unet-up":  # a decoder that its heads do not use
        state["up1.conv.conv.0.weight"] = torch.zeros(64, 256, 3, 3)
    if name == "transformers":  # a folder of Hugging Face's
        path = tmp_path
        save_file(state, path / "model.safetensors")
        (path / "config.json").write_text("{}")
    else:
        torch.save({"n_iter": 3, "model_state_dict": {f"module.{key}": each for key, each in state.items()}}, path)
    output = cli.succeeds("convert-weights", path, "--out", tmp_path / "ours.safetensors")
    assert f"licence: {path.name} stays under its licence" in output
    assert load_weights(tmp_path / "ours.safetensors")[2]["layout"] == name.split()[0]
    model = load_network(tmp_path / "ours.safetensors")
    image = torch.rand((2, 1, 40, 56), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output, (logits, descriptors) = model(image), program.forward(image)
    # Borders included: zeros that convolutions pad with must mean the same.
    assert float((output["logits"] - logits).abs().max()) < 1e-4 * float(logits.abs().max())
    assert float((output["descriptors"] - descriptors).abs().max()) < 1e-5
    assert logits.std() > 0.1


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
        state = PROGRAMS[layout].state()
        del state[key]
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(UserError, match=f"found no '{key}'"):
            convert_weights(tmp_path / "a.pth")

    def test_other_widths(self, tmp_path: Path) -> None:
        state = original_state()
        state["conv2a.weight"] = torch.zeros(32, 64, 3, 3)
        torch.save(state, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"'conv2a\.weight' of shape \[32, 64, 3, 3\], expected \[64, 64, 3, 3\]"):
            convert_weights(tmp_path / "a.pth")
        torch.save({**original_state(), "convDb.weight": torch.zeros(0, HEAD, 1, 1)}, tmp_path / "a.pth")
        with pytest.raises(UserError, match=r"'convDb\.weight' of shape \[0, 32, 1, 1\], expected \[any, 32, 1, 1\]"):
            convert_weights(tmp_path / "a.pth")
