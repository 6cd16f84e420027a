"""Non-maximum suppression as it is defined: one pixel at a time."""

import torch
from torch import Tensor


def naive_suppression(probability: Tensor, radius: int, threshold: float) -> Tensor:
    """The rule in words of one pixel at a time: strongest first, ties in raster order."""
    height, width = probability.shape
    kept = torch.zeros(height, width, dtype=torch.bool)
    dropped = torch.zeros(height, width, dtype=torch.bool)
    for flat in probability.flatten().sort(descending=True, stable=True).indices.tolist():
        y, x = divmod(flat, width)
        if probability[y, x] > threshold and not dropped[y, x]:
            kept[y, x] = True
            dropped[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1] = True
    return kept
