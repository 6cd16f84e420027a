"""Check of the network's input: range, spread, shape, and channels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import Observation, observe
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import CELL

MIN_SPREAD = 0.01  # standard deviation of an image of 0..1; the weakest of 400 healthy ones .019, the median .16
MAX_MEAN, SPREADS = 1.5, (0.3, 4.0)  # at the first convolution; healthy batches -.6 .. .2 and .87 .. 1.37
LOOKED_AT, THINNED = 8, 256  # photographs, and the pixels of their sides, that channels are compared on
AS_DELIVERED = "the objective divides uint8 by 255 and the network itself centres: nothing else scales"


def input_(case: Case) -> Finding:
    """Is the input normalised, and alive in every channel?"""
    seen = observe(case)
    image = seen.image.double()
    data = case.config.data
    size = [side + -side % CELL for side in (data.height, data.width)]
    spread = image.flatten(1).std(dim=1) if image.numel() else torch.zeros(1)
    low, high = (float(image.min()), float(image.max())) if image.numel() else (0.0, 0.0)
    channels = case.config.model.channels
    centre = None  # of what the first convolution gets
    if seen.first is not None and case.config.model.centring:
        centre = float(seen.first.mean()), float(seen.first.std())
    kind = str(seen.image.dtype).removeprefix("torch.")
    evidence = (
        f"The network gets {_shape(image)} of {kind} in {low:.3g} .. {high:.3g}, standard deviation of an image "
        f"{float(spread.median()):.2g} (expected floats in 0..1, above {MIN_SPREAD:g})"
    )
    if centre is not None:
        evidence += f"; the first convolution gets {centre[0]:.2f} +- {centre[1]:.2f} (expected about 0 +- 1)"
    pictures = _pictures(case, seen) if channels > 1 else []
    if pictures:
        levels = np.mean([(each.mean(axis=(0, 1)), each.std(axis=(0, 1))) for each in pictures], axis=0) / 255
        evidence += f"; its channels are {', '.join(f'{mean:.2f} +- {spread:.2f}' for mean, spread in levels.T)}."
    else:
        evidence += "."

    status, cause, remedy = Status.FAIL, "", ""
    if seen.image.dim() != 4 or seen.image.shape[1] != channels or list(seen.image.shape[2:]) != size:
        expected = f"[B, {channels}, {size[0]}, {size[1]}]"
        cause = f"The shape is {_shape(image)}, expected {expected}: swapped, or a channel too many."
        remedy = "Look at dataset[0]['image'].shape and at the first line of the objective."
    elif not bool(image.isfinite().all()):
        cause, remedy = "The images hold NaN or infinity.", "Look at dataset[i]['image'] and its augmentation."
    elif trouble := _range_trouble(seen, low, high) or _spread_trouble(case, seen, spread):
        cause, remedy = trouble
    elif centre is not None and (abs(centre[0]) > MAX_MEAN or not SPREADS[0] <= centre[1] <= SPREADS[1]):
        status = Status.WARN
        cause = "What reaches the first convolution is not 0 +- 1: the input is normalised twice, or not at all."
        remedy = "See SuperPoint.forward: (image - 0.5) * 4 of an image in 0..1."
    elif pictures and (trouble := _channel_trouble(pictures)):
        status, cause, remedy = trouble
    else:
        status = Status.PASS
    return Finding("input", status, evidence, cause, remedy)


def _range_trouble(seen: Observation, low: float, high: float) -> tuple[str, str] | None:
    correlation = _correlation(seen.batch["image"], seen.image)
    if high > 2 and low >= -0.01:
        cause = "Not normalised: grey levels of 0..255 reach the network."
        return cause, f"Divide by 255 in one place; {AS_DELIVERED}."
    if low < -0.01 or high > 1.01:
        cause = "Not in 0..1: normalised by a mean and a deviation before the network, which does so."
        return cause, f"Take one of the two normalisations out; {AS_DELIVERED}."
    if 0 < high < 0.02:
        return "Divided by 255 twice: the images are all but black.", f"Divide by 255 once; {AS_DELIVERED}."
    if correlation is not None and correlation < -0.9:
        return "The grey levels are inverted.", "Look at the objective's first line."
    if correlation is not None and abs(correlation) < 0.5:
        cause = f"Not the image of the sample (correlation {correlation:.2f}): transposed, shuffled, overwritten."
        return cause, "Compare dataset[i]['image'] with what the objective passes on."
    return None


def _spread_trouble(case: Case, seen: Observation, spread: Tensor) -> tuple[str, str] | None:
    flat, images = int((spread < MIN_SPREAD).sum()), seen.image
    if 2 * flat > len(spread):
        cause = f"{flat} of {len(spread)} images are constant: lost on their way (integer division, a mask, clipping)."
        return (
            cause,
            "Show the samples; then set data.photometric.enable=false to see whether augmentation is the reason.",
        )
    if len(images) > 1 and case.config.data.overfit != 1 and bool((images == images[:1]).all()):
        cause = "All images of the batch are the same: the index is not used, or every worker draws from the same seed."
        return cause, "dataset[i] must be a function of (seed, i)."
    return None


def _pictures(case: Case, seen: Observation) -> list[NDArray[np.uint8]]:
    """Return some images [H, W, C] thinned, as they are read: augmentation would hide that a channel is empty."""
    if case.photographs is None:
        return list(seen.batch["image"].permute(0, 2, 3, 1).numpy())
    images = (case.photographs[index][0] for index in range(min(len(case.photographs), LOOKED_AT)))
    return [image[:: -(-len(image) // THINNED), :: -(-image.shape[1] // THINNED)] for image in images]


def _channel_trouble(pictures: list[NDArray[np.uint8]]) -> tuple[Status, str, str] | None:
    values = np.concatenate([image.reshape(-1, image.shape[2]) for image in pictures]).T  # [C, pixels]
    empty = np.median([image.std(axis=(0, 1)) for image in pictures], axis=0) < MIN_SPREAD * 255
    if empty.any():
        cause = f"Channel {empty.argmax() + 1} of {len(empty)} is constant in most of {len(pictures)} images."
        return Status.FAIL, cause, "Look at that band of the files; leave it out, with a smaller model.channels."
    first = [[np.array_equal(one, other) for other in values].index(True) for one in values]
    same = next((channel for channel, other in enumerate(first) if channel != other), 0)
    if same:
        cause = f"Channels {first[same] + 1} and {same + 1} are the same: grey images, or a band stored twice."
        return Status.WARN, cause, "Fewer channels teach the same in less time: see model.channels."
    return None


def _correlation(raw: Tensor, seen: Tensor) -> float | None:
    """Return Pearson's coefficient, None if the shapes differ or one is constant."""
    if raw.shape != seen.shape:
        return None
    x, y = (each.double().flatten() - each.double().mean() for each in (raw, seen))
    norm = float(x.norm() * y.norm())
    return float(x @ y) / norm if norm else None


def _shape(image: Tensor) -> str:
    return f"[{', '.join(map(str, image.shape))}]"
