"""Classification networks as encoders: stride 8, the two plans, what of the network they keep."""

import pytest
import torch
from torch import nn

from superpoint.backbones import ENCODERS
from superpoint.backbones.classifiers import CLASSIFIERS
from superpoint.backbones.encoders import ENCODER_NAMES, STAGES, WIDEST, TrunkEncoder
from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.models import build_model

ONE_OF_EACH = [
    "vgg11", "vgg16_1x1_bn", "resnet18", "resnet50", "resnext50_32x4d", "se_resnet18", "cbam_resnet18",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "shufflenet_v2_x0_5",
]  # fmt: skip
STRIDED = [name for name in ONE_OF_EACH if not name.startswith("vgg")]


def liven(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
            layer.running_mean.normal_(0, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_features_of_stride_8(name: str) -> None:
    encoder = ENCODERS[name]()
    assert len(encoder.get_submodule("stages")._modules) == STAGES
    with torch.no_grad():
        features = encoder.eval()(torch.rand(1, 1, 32, 48))
    assert features.shape == (1, encoder.out_channels, 4, 6)
    assert features.isfinite().all()
    assert features.shape[1] <= WIDEST


def test_all_families_are_encoders() -> None:
    families = ("vgg", "resnet", "resnext", "mobilenet", "shufflenet", "se_resnet", "cbam_resnet")
    for name in CLASSIFIERS:
        assert (name in ENCODERS) == name.startswith(families)
    assert set(ENCODER_NAMES) < set(ENCODERS)


@pytest.mark.parametrize("name", STRIDED)
def test_late_plan_is_the_pretrained_network_sampled_twice_as_densely(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CLASSIFIERS[name](in_channels=1).eval()
    liven(network)
    encoder = TrunkEncoder(name, "late").eval()
    state = network.state_dict()
    own = encoder.state_dict()
    for key in own:
        prefix = ".".join(key.split(".")[:3])
        if prefix in encoder.paths:
            own[key] = state[encoder.paths[prefix] + key[len(prefix) :]]
    encoder.load_state_dict(own)
    image = torch.rand(1, 1, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = image, image
        for stage in network.stages()[:STAGES]:
            for module in stage.values():
                expected = module(expected)
        for stage in encoder.get_submodule("stages").children():
            found = stage(found)
    assert expected.shape[2:] == (4, 6)
    if name.startswith("cbam"):  # its 7x7 attention looks at the features twice as densely, and at means over them
        assert found.shape[2:] == (8, 12)
    elif name.startswith("se_") or name.startswith("mobilenet_v3"):  # means over all places, now of more of them
        torch.testing.assert_close(found[..., ::2, ::2], expected, rtol=0, atol=0.25 * float(expected.abs().max()))
    else:
        torch.testing.assert_close(found[..., ::2, ::2], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_early_plan_sees_twice_the_detail_behind_the_first_stage(name: str) -> None:
    sizes = {}
    for plan in ("early", "late"):
        encoder = TrunkEncoder(name, plan).eval()
        x, sizes[plan] = torch.rand(1, 1, 64, 64), []
        with torch.no_grad():
            for stage in encoder.get_submodule("stages").children():
                x = stage(x)
                sizes[plan].append(64 // x.shape[2])
    assert sizes == {"early": [2, 2, 4, 8], "late": [2, 4, 8, 8]}


def test_plans_share_their_weights() -> None:
    early, late = (TrunkEncoder("resnet18", plan).state_dict() for plan in ("early", "late"))
    assert {name: t.shape for name, t in early.items()} == {name: t.shape for name, t in late.items()}


def test_many_channels_are_adapted() -> None:
    assert TrunkEncoder("vgg11").adapter is not None  # 512
    assert TrunkEncoder("resnet18").adapter is None  # 256
    assert build_model(ModelConfig(encoder="vgg11", head_channels=16)).detector.hidden[0].in_channels == WIDEST


def test_unknown_names_are_one_line() -> None:
    with pytest.raises(UserError, match=r"model\.encoder: found 'resnet181', .*; did you mean 'resnet18'\?$"):
        build_model(ModelConfig(encoder="resnet181"))
    with pytest.raises(UserError, match=r"encoder: found 'small', expected one of vgg11"):
        TrunkEncoder("small")
    with pytest.raises(UserError, match=r"model\.encoder_plan: found 'middle', expected one of early, late"):
        ModelConfig(encoder="resnet18", encoder_plan="middle")
    with pytest.raises(UserError, match=r"model\.encoder_plan: found early, expected null with model\.encoder=lite"):
        ModelConfig(encoder="lite", encoder_plan="early")
