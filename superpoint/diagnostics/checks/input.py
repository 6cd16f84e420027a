"""Check of what goes into the network: range, spread, shape, and the order of colour channels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import Observation, observe
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import CELL

LEAST_SPREAD = 0.01  # standard deviation of an image of 0..1; the weakest of 400 healthy ones .019, the median .16
LARGEST_MEAN, SPREADS = 1.5, (0.3, 4.0)  # at the first convolution; healthy batches -.6 .. .2 and .87 .. 1.37
PURE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
LUMA = (76, 150, 29)  # of pure red, green and blue, ITU-R BT.601
TOLERANCE = 3  # grey levels
READERS = {
    (29, 150, 76): "red and blue are swapped: BGR is taken for RGB (or the other way round)",
    (85, 85, 85): "grey is the mean of the channels, not the luma",
    (54, 182, 18): "grey is the luma of ITU-R BT.709, not of BT.601",
    (255, 0, 0): "grey is the first channel alone",
    (0, 255, 0): "grey is the second channel alone",
    (0, 0, 255): "grey is the third channel alone",
}
AS_DELIVERED = "the objective divides uint8 by 255 and the network itself centres: nothing else scales"


def input_(case: Case) -> Finding:
    """Is the input normalised, alive, and grey in the right way?"""
    seen = observe(case)
    image = seen.image.double()
    data = case.config.data
    size = [side + -side % CELL for side in (data.height, data.width)]
    spread = image.flatten(1).std(dim=1) if image.numel() else torch.zeros(1)
    low, high = (float(image.min()), float(image.max())) if image.numel() else (0.0, 0.0)
    grey = _greys(case)
    details = {
        "shape": list(image.shape),
        "range": [low, high],
        "spread": [float(spread.min()), float(spread.median()), float(spread.max())],
        "first_convolution": None if seen.first is None else [float(seen.first.mean()), float(seen.first.std())],
        "read_gray_of_red_green_blue": grey,
    }
    evidence = (
        f"The network gets {_shape(image)} of {_type(seen.image)} in {low:.3g} .. {high:.3g}, standard deviation of an "
        f"image {float(spread.median()):.2g} (expected floats in 0..1, above {LEAST_SPREAD:g})"
    )
    if details["first_convolution"] is not None:
        mean, deviation = details["first_convolution"]
        evidence += f"; the first convolution gets {mean:.2f} +- {deviation:.2f} (expected about 0 +- 1)"
    if grey is None:
        evidence += "; no image files are read, so there are no colours to get wrong."
    else:
        evidence += f"; files: red, green, blue become {_triple(grey)} (expected {_triple(LUMA)})."

    def found(status: Status, cause: str, remedy: str) -> Finding:
        return Finding("input", status, evidence, cause, remedy, details)

    if seen.image.dim() != 4 or seen.image.shape[1] != 1 or list(seen.image.shape[2:]) != size:
        return found(
            Status.FAIL,
            f"The shape is {_shape(image)}, expected [B, 1, {size[0]}, {size[1]}] (data.height and data.width, padded "
            "to multiples of 8): sides swapped, a channel too many, or a resize that was left out.",
            "Look at dataset[0]['image'].shape and at the first line of the objective.",
        )
    if not bool(image.isfinite().all()):
        return found(
            Status.FAIL, "The images hold NaN or infinity.", "Look at dataset[i]['image'] and its augmentation."
        )
    trouble = _range_trouble(seen, low, high) or _spread_trouble(case, seen, spread)
    if trouble:
        return found(Status.FAIL, *trouble)
    if details["first_convolution"] is not None:
        mean, deviation = details["first_convolution"]
        if abs(mean) > LARGEST_MEAN or not SPREADS[0] <= deviation <= SPREADS[1]:
            return found(
                Status.WARN,
                "What reaches the first convolution is not centred with a spread near 1, the range that the "
                "initialisation of the weights assumes: the input is normalised twice, or not at all.",
                "See SuperPoint.forward: (image - 0.5) * 4 of an image in 0..1.",
            )
    if grey is not None and max(abs(a - b) for a, b in zip(grey, LUMA, strict=True)) > TOLERANCE:
        return found(Status.FAIL, *_reader_trouble(grey))
    return Finding("input", Status.PASS, evidence, details=details)


def _range_trouble(seen: Observation, low: float, high: float) -> tuple[str, str] | None:
    """Cause and remedy if the values are not those of the batch over 255."""
    scale, offset, correlation = _relation(seen.batch["image"], seen.image)
    relation = f"it is {scale * 255:.3g} x (grey level / 255) {'-' if offset < 0 else '+'} {abs(offset):.3g}"
    if low < -0.01 or high > 1.01:
        if high > 2 and low >= 0:
            return (
                "Not normalised: grey levels of 0..255 reach the network.",
                f"Divide by 255 in one place; {AS_DELIVERED}.",
            )
        return (
            f"Not in 0..1 ({relation}): normalised by a mean and a deviation before the network, which centres itself.",
            f"Take one of the two normalisations out; {AS_DELIVERED}.",
        )
    if 0 < high < 0.02:
        return "Divided by 255 twice: the images are all but black.", f"Divide by 255 once; {AS_DELIVERED}."
    if correlation is not None and correlation < -0.9:
        return f"The grey levels are inverted ({relation}).", "Look at the objective's first line."
    if correlation is not None and abs(correlation) < 0.5:
        return (
            f"What the network gets is not the image of the sample (correlation {correlation:.2f}): transposed, "
            "shuffled, or overwritten.",
            "Compare dataset[i]['image'] with what the objective passes on.",
        )
    return None


def _spread_trouble(case: Case, seen: Observation, spread: Tensor) -> tuple[str, str] | None:
    """Cause and remedy if images are constant or all the same."""
    flat = int((spread < LEAST_SPREAD).sum())
    if 2 * flat > len(spread):
        return (
            f"{flat} of {len(spread)} images are constant: the image is lost on its way (a division of integers, a "
            "mask, a brightness that clips everything).",
            "Show the samples; then set data.photometric.enable=false to see whether augmentation is the reason.",
        )
    images = seen.image
    if len(images) > 1 and case.config.data.overfit != 1 and bool((images == images[:1]).all()):
        return (
            "All images of the batch are the same: the index is not used, or every worker draws from the same seed.",
            "dataset[i] must be a function of (seed, i).",
        )
    return None


def _reader_trouble(grey: tuple[int, int, int]) -> tuple[str, str]:
    for reader, words in READERS.items():
        if max(abs(a - b) for a, b in zip(grey, reader, strict=True)) <= TOLERANCE:
            return f"Wrong channel order or weights in the image reader: {words}.", _READER_REMEDY
    return "The image reader does not make the luma of colours.", _READER_REMEDY


_READER_REMEDY = (
    "Read by superpoint.data.images.read_gray; with OpenCV, IMREAD_GRAYSCALE or COLOR_BGR2GRAY (imread gives BGR)."
)


def _greys(case: Case) -> tuple[int, int, int] | None:
    """What the data's reader makes of a red, a green and a blue picture: median grey levels; None if it reads none."""
    if case.read_gray is None:
        return None
    values = []
    with tempfile.TemporaryDirectory() as folder:
        for name, colour in PURE.items():
            path = Path(folder) / f"{name}.png"
            Image.new("RGB", (16, 12), colour).save(path)
            values.append(int(np.median(case.read_gray(path))))
    return values[0], values[1], values[2]


def _relation(raw: Tensor, seen: Tensor) -> tuple[float, float, float | None]:
    """Scale and offset of the least-squares line seen = scale * raw + offset, and the correlation, if there is one."""
    if raw.shape != seen.shape:
        return 0.0, 0.0, None
    x, y = raw.double().flatten(), seen.double().flatten()
    x, y_mean = x - x.mean(), y.mean()
    norm = float(x.norm() * (y - y_mean).norm())
    if norm == 0:
        return 0.0, float(y_mean), None
    scale = float(x @ (y - y_mean) / (x @ x))
    return scale, float(y_mean) - scale * float(raw.double().mean()), float(x @ (y - y_mean)) / norm


def _shape(image: Tensor) -> str:
    return f"[{', '.join(map(str, image.shape))}]"


def _type(image: Tensor) -> str:
    return str(image.dtype).removeprefix("torch.")


def _triple(values: tuple[int, int, int]) -> str:
    return " / ".join(map(str, values))
