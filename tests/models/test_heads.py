"""The fine branch of the detector head: where it adds, and that it starts as nothing."""

from dataclasses import replace

import pytest
import torch

from superpoint.config import ModelConfig
from superpoint.errors import UserError
from superpoint.geometry.cells import cells_to_pixels
from superpoint.models import build_model
from superpoint.models.heads import DetectorHead, FineBranch
from tests.conftest import TINY_MODEL

ENCODERS = pytest.mark.parametrize(("encoder", "stride"), [("lite", 1), ("lite", 2), ("compact", 1), ("compact", 4)])


@ENCODERS
def test_network_with_a_fine_branch_starts_as_one_without(encoder: str, stride: int):
    config = replace(TINY_MODEL, encoder=encoder)
    plain, fine = build_model(config).eval(), build_model(replace(config, fine=4, fine_stride=stride)).eval()
    missing, unexpected = fine.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("detector.fine.") for name in missing)
    image = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fine(image)["logits"], plain(image)["logits"], rtol=0, atol=0)


def test_fine_logits_belong_to_their_pixels():
    head = DetectorHead(6, 8, FineBranch(1, 3)).eval()
    state = {name: torch.zeros_like(tensor) for name, tensor in head.state_dict().items()}
    state["fine.hidden.0.weight"][0, 0, 1, 1] = 1  # a branch that hands its input through
    state["fine.logit.weight"][0, 0, 1, 1] = 1
    for norm in ("hidden.1.", "fine.hidden.1."):
        state[norm + "weight"] += 1
        state[norm + "running_var"] += 1 - 1e-5
    head.load_state_dict(state)
    detail = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = head(torch.zeros(1, 6, 2, 3), detail)
    torch.testing.assert_close(cells_to_pixels(logits), detail[:, 0])
    assert not logits[:, 64].any()


@ENCODERS
def test_fine_branch_learns(encoder: str, stride: int):
    model = build_model(replace(TINY_MODEL, encoder=encoder, fine=4, fine_stride=stride))
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    model(image)["logits"][:, 3].sum().backward()
    gradient = model.get_parameter("detector.fine.logit.weight").grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_detail_must_be_given_by_an_encoder_that_has_it():
    with pytest.raises(ValueError, match="detail: found None"):
        DetectorHead(6, 8, FineBranch(1))(torch.zeros(1, 6, 2, 3))
    with pytest.raises(UserError, match=r"model\.fine: found 8, expected 0 with model\.encoder=resnet18"):
        ModelConfig(encoder="resnet18", fine=8)
    with pytest.raises(UserError, match=r"model\.fine"):
        ModelConfig(fine=-1)
    with pytest.raises(UserError, match=r"model\.fine_stride: found 3, expected 1, 2 or 4"):
        ModelConfig(fine_stride=3)


def test_fine_logits_of_half_the_resolution_belong_to_their_pixels():
    """Channel 2 row + column of a place of the detail is the pixel at that row and column of its 2x2."""
    branch = FineBranch(4, 4, stride=2).eval()
    state = {name: torch.zeros_like(tensor) for name, tensor in branch.state_dict().items()}
    for channel in range(4):
        state["hidden.0.weight"][channel, channel, 1, 1] = 1
        state["logit.weight"][channel, channel, 1, 1] = 1
    state["hidden.1.weight"] += 1
    state["hidden.1.running_var"] += 1 - 1e-5
    branch.load_state_dict(state)
    image = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        cells = branch(torch.nn.functional.pixel_unshuffle(image, 2))
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(cells, 8), image)
