"""Two kinds of training samples in one run."""

import math

import numpy as np
import torch
from torch.utils.data import Dataset

from superpoint.data.samples import KeypointSamples


class Mixture(Dataset[dict[str, torch.Tensor]]):
    """Samples of `first` and, with the share `share`, of `second`, evenly interleaved, each kind in its own order."""

    def __init__(self, first: KeypointSamples, second: KeypointSamples, share: float) -> None:
        self.first = first
        self.second = second
        self.share = share

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        samples, own = self.locate(index)
        return samples[own]

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the sample before encoding; see `KeypointSamples.draw`."""
        samples, own = self.locate(index)
        return samples.draw(own)

    def locate(self, index: int) -> tuple[KeypointSamples, int]:
        """Return which kind sample `index` is of, and its index there."""
        before, after = math.floor(index * self.share), math.floor((index + 1) * self.share)
        return (self.second, before) if after > before else (self.first, index - before)
