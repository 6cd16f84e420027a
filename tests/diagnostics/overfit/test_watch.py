import pytest
import torch
from torch import Tensor, nn

from superpoint.config import DescriptorLossConfig, ModelConfig, PairDataConfig
from superpoint.data.training_set import training_pairs
from superpoint.diagnostics.overfit.watch import Watch
from superpoint.geometry.cells import CHANNELS
from superpoint.models import build_model
from superpoint.training.objectives import JointObjective

DATA = PairDataConfig(height=48, width=64, overfit=3, workers=0)


class Perfect(nn.Module):
    """Answers with the targets of the samples it is shown, and with the same descriptors for both views."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.parts, self.calls = watch.parts, 0

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        part = self.parts[self.calls % len(self.parts)]
        self.calls += 1
        assert len(image) == 2 * len(part["image_a"])
        target = torch.cat([part["target_a"], part["target_b"]])
        logits = 20 * nn.functional.one_hot(target, CHANNELS).movedim(-1, 1).float()
        maps = torch.randn((len(image), 8, *target.shape[1:]), generator=torch.Generator().manual_seed(0))
        return {"logits": logits, "descriptors": nn.functional.normalize(maps, dim=1)}


@pytest.mark.parametrize("name", ["dual_softmax", "dense_hinge"])
def test_an_untrained_network_is_not_right(name: str) -> None:
    pairs, objective = training_pairs(DATA, 0), JointObjective(descriptor=DescriptorLossConfig(name))
    model = build_model(ModelConfig("lite", 16, descriptor_dim=8))
    watch = Watch(pairs, 3, objective, every=5, at_once=2)
    watch.start(model)
    assert watch.score is None
    assert len(watch.frames) == 1
    with torch.no_grad():
        found = watch(model)
    assert watch.score is not None
    assert watch.matching is not None
    assert not found["stop"]
    assert found["right_share"] == pytest.approx(min(found["right"] / found["cells"], watch.matching.accuracy))
    assert found["asked"] - found["matched"] == watch.matching.wrong > 0
    with torch.no_grad():  # the same if all pairs go through the network together
        again = Watch(pairs, 3, objective, every=5, at_once=8)(model)
    assert (again["cells"], again["asked"]) == (found["cells"], found["asked"])
    assert found["cells"] == sum(int(part[f"valid_{view}"].sum()) for part in watch.parts for view in "ab")


def test_detector_and_matches_both_have_to_be_right() -> None:
    watch = Watch(training_pairs(DATA, 0), 3, JointObjective(), every=5, at_once=2)
    found = watch(Perfect(watch))
    assert watch.score is not None
    assert watch.score.wrong_count == 0
    assert found["right"] == found["cells"]
    assert not found["stop"]  # the descriptors say nothing about the correspondences
    assert found["right_share"] < 1
