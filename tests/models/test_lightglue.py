"""The matcher with free slots computes what kornia's LightGlue does without them."""

import pytest
import torch
from kornia.feature import LightGlue
from torch.nn.functional import normalize

from superpoint.errors import UserError
from superpoint.models.lightglue import build_matcher, load_matcher_network


def test_free_slots_change_nothing() -> None:
    matcher = build_matcher(8, 16, 2, 2, seed=3).eval()
    rng = torch.Generator().manual_seed(0)
    for each in matcher.parameters():  # untrained layers add nothing
        torch.nn.init.normal_(each, std=0.3, generator=rng)
    data, pair = {}, {}
    for i, (count, slots) in enumerate(((5, 9), (7, 9))):
        points = torch.rand(1, slots, 2, generator=rng) * 60
        descriptors = torch.randn(1, slots, 8, generator=rng)
        size = torch.tensor([[64.0, 62.0]])
        data |= {f"keypoints{i}": points, f"descriptors{i}": descriptors, f"size{i}": size}
        data[f"filled{i}"] = (torch.arange(slots) < count)[None]
        pair[f"image{i}"] = {
            "keypoints": points[:, :count], "descriptors": descriptors[:, :count], "image_size": size,
        }  # fmt: skip
    matcher.conf.depth_confidence = matcher.conf.width_confidence = -1
    with torch.no_grad():
        ours, kornias = matcher(data), LightGlue.forward(matcher, pair)["log_assignment"]
    assert len(ours["assignment"]) == 2
    assert [each.shape for each in ours["confidence"]] == [(1, 18)]
    found = ours["assignment"][-1]
    torch.testing.assert_close(found[:, :5, :7], kornias[:, :5, :7], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[:, :5, -1], kornias[:, :5, -1], atol=1e-4, rtol=1e-4)
    sum(each.sum() for each in matcher(data)["assignment"]).backward()  # type: ignore[union-attr]
    assert all(each.grad is None or each.grad.isfinite().all() for each in matcher.parameters())


@pytest.mark.parametrize("channels", [8, 16])
def test_untrained_it_is_the_dual_softmax(channels: int) -> None:
    matcher, rng = build_matcher(8, channels, 2, 2), torch.Generator().manual_seed(0)
    data = {"filled0": torch.arange(6)[None] < 5, "filled1": torch.arange(8)[None] < 7}
    for i, slots in ((0, 6), (1, 8)):
        data |= {f"keypoints{i}": torch.rand(1, slots, 2, generator=rng) * 60, f"size{i}": torch.tensor([[64.0, 62.0]])}
        data[f"descriptors{i}"] = normalize(torch.randn(1, slots, 8, generator=rng), dim=2)
    similarity = 20 * data["descriptors0"][0, :5] @ data["descriptors1"][0, :7].T
    expected = similarity.log_softmax(0) + similarity.log_softmax(1)
    for found in matcher(data)["assignment"]:
        difference = found[0, :5, :7] - expected  # a number per row and per column, of matchability
        rows, columns = difference.mean(1, keepdim=True), difference.mean(0, keepdim=True)
        torch.testing.assert_close(difference, rows + columns - difference.mean(), atol=1e-4, rtol=0)


def test_the_seed_draws_the_weights() -> None:
    one, other = (build_matcher(8, 16, 2, 2, seed=seed).state_dict()["posenc.Wr.weight"] for seed in (1, 2))
    assert not torch.equal(one, other)


def test_weights_of_another_kind() -> None:
    with pytest.raises(UserError, match="superpoint-lite: found no weights of LightGlue"):
        load_matcher_network("superpoint-lite")
