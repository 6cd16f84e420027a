"""The objective: weighted gradients, calibrated outputs, an even start."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import default_collate

from superpoint.config import DescriptorLossConfig, ModelConfig, PairDataConfig, SyntheticConfig
from superpoint.data.synthetic import ShapeGenerator
from superpoint.data.warped_pairs import SyntheticScenes, WarpedPairs
from superpoint.geometry.cells import DUSTBIN
from superpoint.losses import dense_hinge_loss, detector_loss, dual_softmax_loss, position_loss
from superpoint.models import build_model
from superpoint.models.decode import interpolate_descriptors, logits_to_probability, sample_descriptors
from superpoint.training.objectives import DetectorObjective, JointObjective, descriptor_statistics

VIEWS = ("image", "target", "valid", "correspondences")  # what a pair has of each of its views


def make_batch(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 65, (2, 4, 4), generator=generator)
    target[:, ::2] = DUSTBIN
    return {
        "image": torch.randint(0, 256, (2, 1, 32, 32), generator=generator, dtype=torch.uint8),
        "target": target,
        "valid": torch.rand(2, 4, 4, generator=generator) < 0.8,
    }


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0])
def test_first_loss_is_ln_65_whatever_the_weight(weight: float) -> None:
    model = build_model(ModelConfig(encoder="lite", head_channels=16))
    objective = DetectorObjective(weight)
    objective.initialise(model.detector)
    assert objective(model, make_batch())["loss"].item() == pytest.approx(math.log(65), rel=0.05)


def test_unweighted_objective_is_the_plain_loss() -> None:
    model, batch = build_model(ModelConfig(encoder="lite", head_channels=16)).eval(), make_batch()
    result = DetectorObjective()(model, batch)
    expected, weight = detector_loss(model(batch["image"] / 255)["logits"], batch["target"], batch["valid"])
    torch.testing.assert_close(result["loss"], expected)
    torch.testing.assert_close(result["weight"], weight)
    assert 0 <= result["recall"] <= 1
    assert result["dustbin"].item() == pytest.approx(1 / 65, rel=0.3)


class Table(nn.Module):
    """A 'network' that can put out anything: one logit vector for all cells."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(65))

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        cells = (image.shape[0], 65, image.shape[2] // 8, image.shape[3] // 8)
        return {"logits": self.logits[None, :, None, None].expand(cells)}


@pytest.mark.parametrize("positive_weight", [1.0, 5.0])
def test_what_is_learnt_are_true_frequencies(positive_weight: float) -> None:
    """Of 16 cells one holds a point: the best constant answer is a dustbin of 15/16, also under a weighted loss."""
    target = torch.full((1, 4, 4), DUSTBIN)
    target[0, 1, 2] = 17
    batch = {"image": torch.zeros(1, 1, 32, 32, dtype=torch.uint8), "target": target, "valid": target > -1}
    model, objective = Table(), DetectorObjective(positive_weight)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=1, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = objective(model, batch)["loss"]
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    probability = model.logits.detach().softmax(0)
    assert probability[DUSTBIN].item() == pytest.approx(15 / 16, abs=2e-3)
    assert probability[17].item() == pytest.approx(1 / 16, abs=2e-3)


def test_weights_are_felt_by_the_gradient() -> None:
    batch = make_batch()
    gradients = []
    for weight in (1.0, 4.0):
        model = Table()
        with torch.no_grad():
            model.logits[DUSTBIN] = math.log(weight)
        DetectorObjective(weight)(model, batch)["loss"].backward()
        assert model.logits.grad is not None
        gradients.append(model.logits.grad)
    assert not torch.allclose(gradients[0], gradients[1])


def pair_batch(count: int = 3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Pairs of synthetic shapes, 48x64."""
    data = WarpedPairs(
        SyntheticScenes(ShapeGenerator(SyntheticConfig(), 48, 64, seed)),
        PairDataConfig(height=48, width=64, curriculum=0, correspondences=30),
        seed,
    )
    return default_collate([data[index] for index in range(count)])


def swapped(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same pairs with the views exchanged."""
    other = {f"{name}_{to}": batch[f"{name}_{view}"] for name in VIEWS for view, to in ("ab", "ba")}
    return other | {"h_a_b": torch.linalg.inv(batch["h_a_b"]), "matched": batch["matched"]}


def joint_model() -> nn.Module:
    return build_model(ModelConfig(encoder="lite", head_channels=16, descriptor_dim=12))


@pytest.mark.parametrize("name", ["dual_softmax", "dense_hinge"])
def test_joint_loss_is_that_of_both_views_and_of_the_descriptors(name: str) -> None:
    model, batch = joint_model().eval(), pair_batch()
    objective = JointObjective(DetectorObjective(3.0), DescriptorLossConfig(name, weight=0.5))
    result = objective(model, batch)
    both = {key: torch.cat([batch[f"{key}_a"], batch[f"{key}_b"]]) for key in ("image", "target", "valid")}
    alone = objective.detector(model, both)
    torch.testing.assert_close(result["detector_loss"], alone["loss"])
    torch.testing.assert_close(result["weight"], alone["weight"])
    torch.testing.assert_close(result["loss"], alone["loss"] + 0.5 * result["descriptor_loss"])
    maps = [model(batch[f"image_{view}"].float() / 255)["descriptors"] for view in "ab"]
    if name == "dense_hinge":
        expected, _ = dense_hinge_loss(maps[0], maps[1], batch["h_a_b"], batch["valid_a"], batch["valid_b"])
    else:
        first, second = (
            torch.stack(sample_descriptors(values, batch[f"correspondences_{view}"]))
            for values, view in zip(maps, "ab", strict=True)
        )
        keypoints = batch["correspondences_a"], batch["correspondences_b"]
        expected, _ = dual_softmax_loss(first, second, *keypoints, batch["matched"])
    torch.testing.assert_close(result["descriptor_loss"], expected)
    other = objective(model, swapped(batch))
    for key in ("loss", "descriptor_loss", "matching_accuracy", "positive_similarity", "negative_similarity"):
        torch.testing.assert_close(other[key], result[key], rtol=1e-3, atol=1e-4)


def test_the_position_loss_is_added_and_is_the_same_for_exchanged_views() -> None:
    model, batch = joint_model().eval(), pair_batch()
    with torch.no_grad():  # peaks, which a new network has not
        model.get_parameter("detector.logits.weight").mul_(40)
    without, result = JointObjective()(model, batch), JointObjective(position=0.5)(model, batch)
    map_a, map_b = (logits_to_probability(model(batch[f"image_{view}"].float() / 255)["logits"]) for view in "ab")
    mask_a, mask_b = (batch[f"valid_{view}"].repeat_interleave(8, 1).repeat_interleave(8, 2) for view in "ab")
    expected, count = position_loss(map_a, map_b, batch["h_a_b"], mask_a, mask_b)
    assert count > 10
    torch.testing.assert_close(result["position_loss"], expected)
    torch.testing.assert_close(result["loss"], without["loss"] + 0.5 * expected)
    assert "position_loss" not in without
    other = JointObjective(position=0.5)(model, swapped(batch))
    torch.testing.assert_close(other["position_loss"], result["position_loss"], rtol=1e-2, atol=1e-3)


def test_both_views_go_through_the_network_once() -> None:
    model, calls = joint_model(), []
    model.register_forward_hook(lambda module, inputs, output: calls.append(inputs[0].shape))
    JointObjective()(model, pair_batch(2))
    assert calls == [(4, 1, 48, 64)]


def test_every_parameter_gets_a_gradient_also_under_bf16() -> None:
    model = joint_model()
    with torch.autocast("cpu", torch.bfloat16):
        result = JointObjective()(model, pair_batch())
    assert {value.dtype for value in result.values()} == {torch.float32}
    result["loss"].backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in model.parameters())


@pytest.mark.parametrize("scale", [1.0, 250.0])
def test_automatic_balance_makes_both_parts_pull_equally_hard(scale: float) -> None:
    batch = pair_batch()

    def gradient(objective: JointObjective, key: str = "loss") -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model = joint_model().eval()
        result = objective(model, batch)
        return torch.autograd.grad(result[key], model.get_parameter("descriptor.descriptor.weight"))[0], result

    hinge = DescriptorLossConfig("dense_hinge", positive_weight=scale)
    plain, parts = gradient(JointObjective(descriptor=hinge))
    balanced, _ = gradient(JointObjective(descriptor=replace(hinge, balance="auto")))
    torch.testing.assert_close(balanced, plain * parts["detector_loss"] / parts["descriptor_loss"])


def test_statistics_of_perfect_collapsed_and_shuffled_descriptors() -> None:
    points = 20 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).expand(2, -1, -1)
    valid = torch.ones(2, 16, dtype=torch.bool)
    valid[1, 10:] = False
    perfect = torch.eye(32).reshape(2, 16, 32)
    found = descriptor_statistics(perfect, perfect, points, points, valid)
    assert {key: round(float(value), 5) for key, value in found.items()} == {
        **{"positive_similarity": 1.0, "matching_accuracy": 1.0},
        **{"negative_similarity": 0.0, "hardest_negative": 0.0, "collapse": 0.0},
    }
    same = torch.ones(2, 16, 1)
    found = descriptor_statistics(same, same, points, points, valid)
    assert found["collapse"].item() == pytest.approx(1)
    assert found["negative_similarity"].item() == pytest.approx(1)
    assert found["matching_accuracy"] < 0.2
    found = descriptor_statistics(perfect, perfect.roll(1, dims=1), points, points, valid)
    assert found["matching_accuracy"] < 0.05
    assert found["hardest_negative"] > 0.9
    near = descriptor_statistics(perfect, perfect.roll(1, dims=1), points / 20, points / 20, valid)
    assert near["matching_accuracy"] == 1  # all within a cell of each other


def test_descriptors_are_interpolated_alike_for_batches_and_for_lists() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 5, 3, 4, generator=generator)
    points = torch.rand(2, 7, 2, generator=generator) * 30
    batch = interpolate_descriptors(values, points)
    torch.testing.assert_close(batch, torch.stack(sample_descriptors(values, points)))
    torch.testing.assert_close(batch.norm(dim=2), torch.ones(2, 7))
    centre = interpolate_descriptors(values, torch.tensor([[[11.5, 19.5]]]).expand(2, -1, -1))  # of cell (2, 1)
    torch.testing.assert_close(centre[:, 0], torch.nn.functional.normalize(values[:, :, 2, 1], dim=1))
