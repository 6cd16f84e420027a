import math
from pathlib import Path

import pytest
import torch
from torch import nn

from superpoint.classification.model import build_classifier, classifier_names, last_layer, load_features
from superpoint.errors import UserError


def counts(model: nn.Module) -> tuple[int, int]:
    sizes = [(parameter.ndim > 1, parameter.numel()) for parameter in model.parameters()]
    return sum(size for matrix, size in sizes if matrix), sum(size for matrix, size in sizes if not matrix)


def test_the_networks_of_the_digits_have_the_sizes_they_are_known_by() -> None:
    assert counts(build_classifier("fully_connected", 10, 1, (28, 28))) == (622_496, 794)
    assert counts(build_classifier("two_convolutions", 10, 1, (28, 28))) == (9_064, 34)


@pytest.mark.parametrize("name", ["fully_connected", "two_convolutions", "small", "resnet18", "cifar_plain20"])
@pytest.mark.parametrize("init", ["kaiming", "xavier"])
def test_the_first_loss_is_that_of_even_odds(name: str, init: str) -> None:
    model = build_classifier(name, 7, 3, (32, 32), init=init).train()
    image = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss = nn.functional.cross_entropy(model(image), torch.arange(16) % 7)
    assert abs(float(loss.detach()) - math.log(7)) < 0.1 * math.log(7)


def test_weights_are_drawn_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_classifier("small", 3, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["features.0.0.weight"], other["features.0.0.weight"])


def test_options_reach_the_network() -> None:
    plain = build_classifier("small", 3, options={"batch_norm": False, "dropout": 0.5})
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    assert next(module.p for module in plain.modules() if isinstance(module, nn.Dropout)) == 0.5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "model.name: found 'resnet81', expected one of .*did you mean 'resnet"),
        ("small", {"dropuot": 1}, "found 'dropuot', expected one of batch_norm, dropout; did you mean 'dropout'"),
        ("resnet18", {"foo": 1}, "foo"),
    ],
)
def test_bad_names_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_classifier(name, 3, options=options)
    assert "\n" not in str(caught.value)
    assert {"small", "resnet18"} <= set(classifier_names())


def test_features_are_taken_over_and_the_head_is_not(tmp_path: Path) -> None:
    source, model = build_classifier("small", 5, seed=1), build_classifier("small", 3, seed=2)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    fresh = model.state_dict()["fc.weight"].clone()
    assert load_features(model, tmp_path / "a.pth") == ["fc.weight", "fc.bias"]
    assert torch.equal(model.state_dict()["features.0.0.weight"], source.state_dict()["features.0.0.weight"])
    assert torch.equal(model.state_dict()["fc.weight"], fresh)
    same = build_classifier("small", 5, seed=3)
    assert load_features(same, tmp_path / "a.pth") == []
    assert torch.equal(same.state_dict()["fc.weight"], source.state_dict()["fc.weight"])
    assert last_layer(model)[0] == "fc"


def test_weights_of_another_network_name_the_first_mismatches(tmp_path: Path) -> None:
    model = build_classifier("small", 3)
    state = {**model.state_dict(), "features.0.0.weight": torch.zeros(1, 2)}
    del state["features.1.1.weight"]
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"'features.0.0.weight' of shape \[1, 2\], expected .*; no 'features.1"):
        load_features(model, tmp_path / "a.pth")
