import numpy as np
import pytest
import torch

from superpoint.config import DataConfig
from superpoint.data.mixture import Mixture
from superpoint.data.samples import SyntheticShapes


def shapes(seed: int) -> SyntheticShapes:
    return SyntheticShapes(DataConfig(height=48, width=64), seed)


@pytest.mark.parametrize("share", [0.5, 0.3, 0.9, 1 / 7])
def test_proportion_and_order(share: float) -> None:
    first, second = shapes(0), shapes(1)
    mixture = Mixture(first, second, share)
    located = [mixture.locate(index) for index in range(1000)]
    for kind, expected in ((first, 1 - share), (second, share)):
        own = [index for samples, index in located if samples is kind]
        assert own == list(range(len(own)))  # every sample of a kind once, in its order
        assert len(own) == pytest.approx(1000 * expected, abs=1)
    window = [samples is second for samples, _ in located[100:200]]
    assert np.mean(window) == pytest.approx(share, abs=0.011)
    for index in range(6):
        samples, own = mixture.locate(index)
        assert torch.equal(mixture[index]["image"], samples[own]["image"])
        assert np.array_equal(mixture.draw(index)[1], samples.draw(own)[1])
