"""Classification networks: names and shapes as torchvision's, published sizes, options, initial weights."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from superpoint.backbones.classifiers import CLASSIFIERS, build_classifier
from superpoint.errors import UserError

FIXTURES = Path(__file__).parent / "fixtures"

# name -> millions of parameters, billions of multiply-adds of a 224x224 image, as published. Sources: torchvision's
# tables of models; Woo et al. 2018, table 4 (SE, CBAM); Sandler, Howard, Ma et al.
PUBLISHED = {
    "vgg11": (132.86, 7.61), "vgg13": (133.05, 11.31),
    "vgg16": (138.36, 15.47), "vgg19": (143.67, 19.63), "vgg11_bn": (132.87, 7.61), "vgg13_bn": (133.05, 11.31),
    "vgg16_bn": (138.37, 15.47), "vgg19_bn": (143.68, 19.63), "vgg16_1x1": (133.64, 11.77),
    "resnet18": (11.69, 1.81), "resnet34": (21.80, 3.66), "resnet50": (25.56, 4.09),
    "resnet101": (44.55, 7.80), "resnet152": (60.19, 11.51), "resnext50_32x4d": (25.03, 4.23),
    "resnext101_32x8d": (88.79, 16.41), "wide_resnet50_2": (68.88, 11.40), "wide_resnet101_2": (126.89, 22.75),
    "se_resnet18": (11.78, 1.81), "se_resnet34": (21.96, 3.66), "se_resnet50": (28.09, 4.09),
    "se_resnet101": (49.33, 7.81), "cbam_resnet18": (11.78, 1.82), "cbam_resnet34": (21.96, 3.67),
    "cbam_resnet50": (28.09, 4.10), "cbam_resnet101": (49.33, 7.81), "mobilenet_v2": (3.50, 0.30),
    "mobilenet_v3_large": (5.48, 0.22), "mobilenet_v3_small": (2.54, 0.06), "shufflenet_v2_x0_5": (1.37, 0.04),
    "shufflenet_v2_x1_0": (2.28, 0.15), "shufflenet_v2_x1_5": (3.50, 0.30), "shufflenet_v2_x2_0": (7.39, 0.59),
}  # fmt: skip


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return CLASSIFIERS[name](**options).eval()


def millions(model: nn.Module) -> float:
    return sum(p.numel() for p in model.parameters()) / 1e6


def size(model: nn.Module, side: int = 224, channels: int = 3) -> tuple[float, float]:
    """Millions of parameters, billions of multiply-adds."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, channels, side, side, device="meta"))
    return millions(model), counter.get_total_flops() / 2e9


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.txt")), ids=lambda path: path.stem)
def test_state_is_named_and_shaped_as_torchvisions(path: Path) -> None:
    state = on_meta(path.stem).state_dict()
    found = [f"{name} {'x'.join(map(str, tensor.shape)) or '-'}" for name, tensor in state.items()]
    assert found == path.read_text().splitlines()


QUICK = {
    "vgg16", "resnet18", "resnet34", "resnet50", "resnext50_32x4d", "se_resnet18",
    "cbam_resnet18", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "shufflenet_v2_x1_0",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED]
)
def test_published_parameters_and_operations(name: str) -> None:
    parameters, operations = size(on_meta(name))
    assert parameters == pytest.approx(PUBLISHED[name][0], abs=0.006)
    assert operations == pytest.approx(PUBLISHED[name][1], abs=0.0075)


def test_further_published_sizes() -> None:
    # weights and biases: 784 x 784 + 784 x 10 and 794; 9,064 and 34
    assert millions(on_meta("fully_connected")) * 1e6 == pytest.approx(622_496 + 794)
    assert millions(on_meta("two_convolutions")) * 1e6 == pytest.approx(9_064 + 34)
    # section 4.2 of He et al.; multiply-adds as everybody counts them
    assert size(on_meta("cifar_resnet20"), 32) == pytest.approx((0.27, 0.041), abs=0.001)
    for depth, expected in ((20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.73)):
        for kind in ("resnet", "plain"):
            assert millions(on_meta(f"cifar_{kind}{depth}")) == pytest.approx(expected, abs=0.005)


def test_shortcuts() -> None:
    sizes = {kind: millions(on_meta("resnet34", shortcut=kind)) for kind in "ABC"}
    assert sizes["A"] < sizes["B"] < sizes["C"]
    # B: 1x1 convolutions with norms where the shape changes; C: in the 13 blocks where it does not, too
    assert sizes["B"] - sizes["A"] == pytest.approx((64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)) / 1e6)
    same = 3 * (64**2 + 128) + 3 * (128**2 + 256) + 5 * (256**2 + 512) + 2 * (512**2 + 1024)
    assert sizes["C"] - sizes["B"] == pytest.approx(same / 1e6)


def test_padding_shortcut_passes_the_input_on() -> None:
    image = torch.rand(1, 3, 32, 32)
    results = {}
    for name in ("cifar_resnet20", "cifar_plain20"):
        network = build_classifier(name, 10).eval()
        for key, parameter in network.named_parameters():
            if key.endswith("bn2.weight"):
                nn.init.zeros_(parameter)
        stem = network.get_submodule("relu")(network.get_submodule("bn1")(network.get_submodule("conv1")(image)))
        kept: list[torch.Tensor] = []
        network.get_submodule("layer3").register_forward_hook(lambda module, given, out, kept=kept: kept.append(out))
        network(image)
        results[name] = kept[0]
        if name == "cifar_resnet20":
            torch.testing.assert_close(kept[0][:, :16], stem[:, :, ::4, ::4])
            assert not kept[0][:, 16:].any()
    assert not results["cifar_plain20"].any()


@pytest.mark.parametrize(
    ("name", "init"),
    [
        *(("cifar_plain20", init) for init in ("kaiming", "xavier", "trunc_normal")),
        *((name, init) for name in ("fully_connected", "two_convolutions", "small") for init in ("kaiming", "xavier")),
        *((name, "kaiming") for name in ("cbam_resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5")),
    ],
)
def test_first_loss_is_that_of_guessing(name: str, init: str) -> None:
    classes = 10
    network = build_classifier(name, classes, 3, size=(32, 32), init=init)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 32, 32, generator=generator)
    logits = network(images)
    assert logits.shape == (8, classes)
    loss = F.cross_entropy(logits, torch.arange(8))
    assert loss.item() == pytest.approx(math.log(classes), rel=0.1)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    first = build_classifier("shufflenet_v2_x0_5", 5, seed=3).state_dict()
    assert torch.equal(before, torch.rand(1))  # the global state was left alone
    second = build_classifier("shufflenet_v2_x0_5", 5, seed=3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_classifier("shufflenet_v2_x0_5", 5, seed=4).state_dict()
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_initialisation_of_grouped_convolutions_counts_one_group() -> None:
    network = build_classifier("mobilenet_v2", 2)
    depthwise = network.get_parameter("features.10.conv.1.0.weight")
    assert depthwise.shape[1] == 1
    assert depthwise.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)  # fan-out: 9, not 9 * 384


def test_options_reach_the_network() -> None:
    plain = build_classifier("small", 3, batch_norm=False, dropout=0.5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert next(module.p for module in plain.modules() if isinstance(module, nn.Dropout)) == 0.5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet19", {}, r"model\.name: found 'resnet19', expected one of .*; did you mean 'resnet1"),
        ("resnet18", {"init": "zeros"}, r"init: found 'zeros', expected one of kaiming, xavier, trunc_normal"),
        ("resnet18", {"dropout": 0.5}, r"model\.options of resnet18: found 'dropout', expected one of shortcut, "),
        ("small", {"dropuot": 1}, r"found 'dropuot', expected one of batch_norm, dropout; did you mean 'dropout'"),
        ("shufflenet_v2_x1_0", {"foo": 1}, r"found 'foo', expected one of none"),
        ("resnet18", {"shortcut": "D"}, r"shortcut: found 'D', expected one of A, B, C, none"),
        ("resnet18", {"groups": 32}, r"resnet18: groups: found 32 .* expected blocks with a bottleneck"),
        ("resnet18", {"num_classes": 0}, r"num_classes: found 0"),
    ],
)
def test_mistakes_are_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_classifier(name, **options)
    assert "\n" not in str(error.value)
