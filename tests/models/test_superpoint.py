"""The network: shapes, parameters, initialisation, heads that are there or not."""

import math

import pytest
import torch
from torch import nn

from superpoint.backbones import ENCODERS
from superpoint.backbones.vgg import VGGEncoder
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.losses import detector_loss
from superpoint.models import SuperPoint, build_model
from superpoint.models.heads import DescriptorHead, DetectorHead


def test_shapes_at_120x160() -> None:
    model = build_model(ModelConfig(descriptor_dim=64)).eval()
    with torch.no_grad():
        output = model(torch.rand(2, 1, 120, 160))
    assert output["logits"].shape == (2, 65, 15, 20)
    assert output["descriptors"].shape == (2, 64, 15, 20)
    torch.testing.assert_close(output["descriptors"].norm(dim=1), torch.ones(2, 15, 20))


def test_magicpoint_is_an_absent_head() -> None:
    model = build_model(ModelConfig())
    assert model.descriptor is None
    output = model(torch.rand(2, 1, 16, 16))
    assert set(output) == {"logits"}
    output["logits"].square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_encoder_follows_the_paper() -> None:
    convolutions = [m for m in ENCODERS["vgg"]().modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 64, 64, 128, 128, 128, 128]
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    weights = sum(c.weight.numel() for c in convolutions)
    assert weights == 9 * (64 + 3 * 64 * 64 + 64 * 128 + 3 * 128 * 128)


def test_compact_has_no_map_as_large_as_the_image() -> None:
    encoder, sides = ENCODERS["compact"](), []
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    with torch.no_grad():
        features = encoder.eval()(torch.rand(1, 1, 32, 64))
    assert sides == [32, 32, 16, 16, 8, 8]
    assert features.shape == (1, encoder.out_channels, 4, 8)


def test_modules_are_what_is_passed_in() -> None:
    encoder = VGGEncoder((8, 8, 16, 16))
    model = SuperPoint(encoder, DetectorHead(16, 8), DescriptorHead(16, 8, 4))
    assert model.encoder is encoder
    assert model(torch.rand(2, 1, 8, 8))["descriptors"].shape == (2, 4, 1, 1)


@pytest.mark.parametrize("scheme", ["kaiming", "xavier", "trunc_normal"])
@pytest.mark.parametrize("encoder", ["vgg", "lite", "compact", "resnet18", "mobilenet_v2"])
def test_first_loss_is_ln_65(encoder: str, scheme: str) -> None:
    model = build_model(ModelConfig(encoder=encoder, init=scheme))
    target = torch.randint(0, 65, (4, 6, 8), generator=torch.Generator().manual_seed(0))
    logits = model(torch.rand(4, 1, 48, 64))["logits"]
    loss, _ = detector_loss(logits, target, torch.ones(4, 6, 8, dtype=torch.bool))
    assert loss.item() == pytest.approx(math.log(65), rel=0.05)


def test_initialisation_schemes() -> None:
    def spread(scheme: str) -> float:
        model = build_model(ModelConfig(init=scheme))
        return model.encoder.stages[1][1][0].weight.std().item()  # pyright: ignore

    assert spread("kaiming") == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.05)
    assert spread("xavier") == pytest.approx(math.sqrt(2 / (2 * 64 * 9)), rel=0.05)
    assert spread("trunc_normal") == pytest.approx(0.02, rel=0.05)
    with pytest.raises(UserError, match=r"model\.init"):
        ModelConfig(init="zeros")


def test_initialisation_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_model(ModelConfig(), seed=5).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))  # the global state was left alone
    second = build_model(ModelConfig(), seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(ModelConfig(), seed=6).state_dict()
    assert not torch.equal(first["detector.logits.weight"], other["detector.logits.weight"])


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 1, 20, 16), (16, 16)])
def test_wrong_input_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides multiples of 8"):
        build_model(ModelConfig(encoder="lite"))(torch.rand(shape))


def test_unknown_encoder() -> None:
    with pytest.raises(UserError, match=r"model\.encoder: found 'resnet999', expected one of vgg, lite"):
        build_model(ModelConfig(encoder="resnet999"))
