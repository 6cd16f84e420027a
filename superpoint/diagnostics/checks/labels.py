"""Check of the labels: the 65-way target against the points, and the points against the image."""

import contextlib
from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.data.masks import Mask, on_mask, resize_mask
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.diagnostics.case import Case, Sample
from superpoint.diagnostics.checks.corners import CornerEvidence, corner_evidence
from superpoint.diagnostics.checks.observation import sample_count
from superpoint.diagnostics.checks.trend import sentence
from superpoint.diagnostics.finding import Finding, Status
from superpoint.errors import UserError
from superpoint.geometry.cells import CELL, CHANNELS, DUSTBIN
from superpoint.geometry.homography import inside

SAMPLES = 64
PHOTOGRAPHS = 16  # whose labels are compared with their masks
MASKED = 0.02  # share of labels on what masks ignore; 0 if they were made with these masks
AGREE, NAMED = 0.98, 0.9  # of labelled cells; healthy 1, another encoding than the one tested at most 0.3
DENSITY = (0.002, 0.6)  # share of cells with a point; synthetic shapes .05 at 120x160 .. .20 at 48x64
MAX_OUTSIDE = 0.6  # share of points off the image; synthetic shapes .10 .. .15, pushed out by warps
ENOUGH = 40  # labels; with fewer the images say little about them
# Quality of `corner_evidence`: .72 .. .89 with default augmentation, .52 at 48x64 under twice its strength; swapped or
# mirrored -.06 .. .19. A constant shift of 4 px gains .17 or more over the labels, a healthy set's best shift .01.
POOR, DOUBTFUL, GAIN, SHIFT_GAIN = 0.25, 0.4, 0.15, 0.05
# Pixels of label - corner, and at least 4 standard errors of .02 .. .06. A wrong convention moves x and y alike;
# healthy sets have up to .07. Keypoints of photographs lie .1 .. .3 low, perhaps by the light: one axis counts less.
BIASED, SUSPECT, ERRORS, ONE_AXIS = 0.2, 0.12, 4.0, 1 / 3

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]  # see `Labelled.draw`
Labels = NDArray[np.int64]  # [N, 3]: row and column of the cell, channel
Encoder = Callable[[np.ndarray, int, int], Labels]  # (points, height, width) -> labels
_ENCODE = "Encode by superpoint.geometry.cells.encode_points: row y // 8, column x // 8, channel 8 * (y % 8) + x % 8."
_DRAW = "Look at where the labels are made (dataset.draw) and show samples with their labels."
_RESIZE = "A resize by s maps x to (x + 0.5) * s - 0.5; use superpoint.data.images.resize_with_points."


def labels(case: Case) -> Finding:
    """Does the target say what the points say, and do the points lie on corners of the image?"""
    overfit = case.config.data.overfit
    first = 0 if overfit else case.config.data.curriculum
    count = sample_count(case, SAMPLES) if overfit else SAMPLES
    drawn = [case.dataset.draw(first + index) for index in range(count)]
    samples = case.samples(count, first)
    if trouble := _format_trouble(samples):
        return Finding("labels", Status.FAIL, trouble, "The target is not in the form of the loss.", _ENCODE)
    parts = [_density(samples), _encoding(samples, [xy for _, xy, _ in drawn]), _frame(drawn), _place(drawn)]
    parts.append(_masked(case, samples))
    text = sentence("; ".join(part.evidence for part in parts if part.evidence))
    worst = next((part for status in (Status.FAIL, Status.WARN) for part in parts if part.status is status), parts[0])
    return Finding("labels", worst.status, text, worst.cause, worst.remedy)


def _part(text: str, status: Status = Status.PASS, cause: str = "", remedy: str = "") -> Finding:
    return Finding("labels", status, text, cause, remedy)


def _format_trouble(samples: list[Sample]) -> str:
    for sample in samples:
        target, image = sample["target"], sample["image"]
        cells = [side // CELL for side in image.shape[-2:]]
        if list(target.shape) != cells:
            return f"The target has the shape {list(target.shape)}, expected {cells}: the image's sides over 8."
        low, high = int(target.min()), int(target.max())
        if target.is_floating_point() or low < 0 or high >= CHANNELS:
            return f"The target holds {target.dtype} of {low} .. {high}, expected whole numbers in 0 .. {DUSTBIN}."
    return ""


def _density(samples: list[Sample]) -> Finding:
    valid = sum(int(sample["valid"].sum()) for sample in samples)
    count = sum(int(((sample["target"] != DUSTBIN) & sample["valid"]).sum()) for sample in samples)
    share = count / max(valid, 1)
    text = f"{share:.1%} of {valid} valid cells hold a point (expected {DENSITY[0]:.1%} .. {DENSITY[1]:.0%})"
    if valid == 0:
        return _part(text, Status.FAIL, "No cell is valid: the mask hides every label.", "See sample['valid'].")
    if count == 0:
        cause = "No label at all: the labels are not read, or all lie outside the image or the mask."
        return _part(text, Status.FAIL, cause, _DRAW)
    if share > 0.9:
        common = int(torch.cat([sample["target"].ravel() for sample in samples]).mode().values)
        cause = f"Nearly all cells hold a point, most of them in channel {common}: the dustbin is another class."
        return _part(text, Status.FAIL, cause, "The dustbin is channel 64, the last one.")
    if not DENSITY[0] <= share <= DENSITY[1]:
        word = "few" if share < DENSITY[0] else "many"
        return _part(text, Status.WARN, f"Very {word} labels for a detector of single corners.", _DRAW)
    return _part(text)


def _masked(case: Case, samples: list[Sample]) -> Finding:
    """The labels against the masks, as training reads both; it leaves out those on what a mask ignores."""
    source = case.photographs
    if not isinstance(source, LabelledPhotographs) or source.masks is None:
        return _part("")
    found: list[tuple[Mask, NDArray[np.float32]]] = []
    for index in np.unique(np.linspace(0, len(source) - 1, PHOTOGRAPHS).astype(int)).tolist():
        with contextlib.suppress(UserError):  # training passes over it, too
            gray, features = source.read(index)
            mask = source.mask(index, gray)
            found += [] if mask is None else [(mask, features.keypoints)]
    if not found:
        return _part(f"none of {PHOTOGRAPHS} photographs has a mask that can be used")

    def off(change: Callable[[Mask], Mask]) -> float:
        """Share of the labels that lie on what changed masks ignore."""
        on = np.concatenate([on_mask(xy, change(mask)) for mask, xy in found])
        return float((~on).mean()) if len(on) else 0.0

    share, pixels = off(lambda mask: mask), sum(float(mask.mean()) for mask, _ in found) / len(found)
    cells = float(torch.stack([sample["valid"] for sample in samples]).float().mean())
    text = (
        f"masks keep {pixels:.0%} of the pixels of {len(found)} photographs, {cells:.0%} of the cells of samples are "
        f"valid, {share:.1%} of the labels lie on what is ignored (expected at most {MASKED:.0%})"
    )
    if share <= MASKED:
        return _part(text)
    remedy = (
        "Masks are 0 where a pixel is ignored, of the image's aspect ratio, in its frame: see docs/guides/masks.md."
    )
    for name, change in MASK_MISTAKES.items():
        if off(change) <= MASKED:
            return _part(text, Status.FAIL, f"The masks fit their images if {name}.", remedy)
    if "masks" in source.labels.attributes:
        cause = "The masks are not those that the labels were made with, or in another frame: shifted, not resized."
        return _part(text, Status.FAIL, cause, remedy)
    cause = "The labels were made without the masks: training leaves out those that lie on what is ignored."
    return _part(text, Status.WARN, cause, "Make the labels with masks=..., too.")


MASK_MISTAKES: dict[str, Callable[[Mask], Mask]] = {
    "0 and 1 are exchanged": lambda mask: ~mask,
    "x and y are swapped": lambda mask: resize_mask(mask.T, (mask.shape[0], mask.shape[1])),
    "they are turned by 180 degrees": lambda mask: mask[::-1, ::-1],
}


def _frame(drawn: list[Drawn]) -> Finding:
    total = sum(len(xy) for _, xy, _ in drawn)
    if total == 0:
        return _part("")
    outside = 1 - sum(int(inside(xy, *image.shape[:2]).sum()) for image, xy, _ in drawn) / total
    text = f"{outside:.0%} of {total} points lie outside their image (expected at most {MAX_OUTSIDE:.0%})"
    largest = max(float(np.nanmax(np.abs(xy), initial=0.0)) for _, xy, _ in drawn)
    if largest <= 1:
        cause = "All coordinates are at most 1: they are shares of the image's sides, not pixels."
        remedy = "Multiply x by the width, y by the height."
        return _part(text, Status.FAIL, cause, remedy)
    if outside > MAX_OUTSIDE:
        cause = "Most points are off the image: they are in the frame of another (larger, or not yet warped) image."
        return _part(text, Status.FAIL if outside > 0.9 else Status.WARN, cause, _RESIZE)
    return _part(text)


def _place(drawn: list[Drawn]) -> Finding:
    seen = corner_evidence([(image, xy) for image, xy, _ in drawn])
    if seen.points < ENOUGH or len(drawn) < 2:
        return _part(f"{seen.points} points are too few to compare with the images")
    text = (
        f"a label is more of a corner than {seen.rank:.0%} of its image, {seen.chance:.0%} would be chance "
        f"(quality {seen.quality:.2f}, expected above {DOUBTFUL})"
    )
    if seen.clear >= ENOUGH:
        text += (
            f"; label - corner: x {seen.offset[0]:+.2f} +- {seen.error[0]:.2f}, y {seen.offset[1]:+.2f} +- "
            f"{seen.error[1]:.2f} px (expected 0)"
        )
    return _part(text, *_place_trouble(seen))


def _place_trouble(seen: CornerEvidence) -> tuple[Status, str, str]:
    dx, dy, rank = seen.shift
    if seen.scaled(seen.mistake[1]) > seen.quality + GAIN:
        return (
            Status.FAIL,
            f"The points fit their images if {seen.mistake[0]}.",
            f"{_DRAW} Points are (x, y) in pixels.",
        )
    if max(abs(dx), abs(dy)) >= 2 and seen.scaled(rank) > max(seen.quality + SHIFT_GAIN, 2 * POOR):
        cause = f"The points are off by a constant ({-dx:+d}, {-dy:+d}) px: a padding or crop moved only one of both."
        return Status.FAIL, cause, _DRAW
    if seen.quality < POOR:
        cause = "The points are nowhere near corners: labels of another image, or only one of the two was warped."
        return Status.FAIL, cause, f"{_DRAW} Try data.homography.enable=false."
    x, y = (step if abs(step) > ERRORS * error else 0.0 for step, error in zip(seen.offset, seen.error, strict=True))
    offset = max(min(x, y), min(-x, -y), ONE_AXIS * max(abs(x), abs(y)))
    if seen.clear >= ENOUGH and offset > SUSPECT:
        cause = "All labels are off by part of a pixel: points resized by s alone, or counted from pixel corners."
        return Status.FAIL if offset > BIASED else Status.WARN, cause, _RESIZE
    if seen.quality < DOUBTFUL:
        cause = "Part of the points are not at corners: some samples are wrong, or noise has swallowed the corners."
        return Status.WARN, cause, f"{_DRAW} Try data.homography.enable=false and data.photometric.enable=false."
    return Status.PASS, "", ""


def _encoding(samples: list[Sample], points: list[NDArray[np.floating]]) -> Finding:
    targets: list[Labels] = [sample["target"].numpy() for sample in samples]
    right = _agreement(targets, points, encode_cells)
    text = f"target and points agree in {right:.1%} of the labelled cells (expected {AGREE:.0%} or more)"
    if right >= AGREE:
        return _part(text)
    shares = {name: _agreement(targets, points, encode) for name, encode in ENCODINGS.items()}
    name = max(shares, key=lambda key: shares[key])
    if shares[name] > max(NAMED, right):
        return _part(text, Status.FAIL, f"The target is encoded wrongly: {name}.", _ENCODE)
    offset, share = _common_offset(targets, points)
    if share > NAMED - 0.1 and offset != (0, 0):
        cause = f"The target is off by a constant ({offset[0]:+d}, {offset[1]:+d}) px against the points."
        return _part(text, Status.FAIL, cause, _ENCODE)
    cause = "The target is not what these points encode to: labels lost, invented, or encoded in an unknown order."
    return _part(text, Status.FAIL, cause, _ENCODE)


def _agreement(targets: list[Labels], points: list[NDArray[np.floating]], encode: Encoder) -> float:
    """Return the smaller of: labels of the targets that `encode` explains; cells it labels that hold a label."""
    explained = labelled = hit = expected = 0
    for target, xy in zip(targets, points, strict=True):
        height, width = target.shape[0] * CELL, target.shape[1] * CELL
        possible = set(map(tuple, encode(xy, height, width).tolist()))  # of several in a cell any one is right
        rows, columns = np.nonzero(target != DUSTBIN)
        actual = set(zip(rows.tolist(), columns.tolist(), target[rows, columns].tolist(), strict=True))
        explained += len(actual & possible)
        labelled += len(actual)
        cells = {label[:2] for label in possible}
        hit += len(cells & {label[:2] for label in actual})
        expected += len(cells)
    if labelled == expected == 0:
        return 1.0
    return min(explained / max(labelled, 1), hit / max(expected, 1))


def _common_offset(targets: list[Labels], points: list[NDArray[np.floating]]) -> tuple[tuple[int, int], float]:
    """Return the commonest displacement (x, y) from the nearest point to a label, in whole pixels, and its share."""
    found: Counter[tuple[int, int]] = Counter()
    for target, xy in zip(targets, points, strict=True):
        whole = _whole(xy, target.shape[0] * CELL, target.shape[1] * CELL)
        rows, columns = np.nonzero(target != DUSTBIN)
        channel = target[rows, columns]
        for label in np.stack([columns * CELL + channel % CELL, rows * CELL + channel // CELL], axis=1):
            if len(whole):
                nearest = whole[np.abs(whole - label).sum(axis=1).argmin()]
                found[(int(label[0] - nearest[0]), int(label[1] - nearest[1]))] += 1
    offset, count = found.most_common(1)[0] if found else ((0, 0), 0)
    return offset, count / max(sum(found.values()), 1)


def _whole(xy: NDArray[np.floating], height: int, width: int, half: float = 0.5) -> NDArray[np.int64]:
    """Return the pixels [N, 2] of the points on the image."""
    pixels = np.floor(np.asarray(xy, np.float64).reshape(-1, 2) + half)
    kept = (pixels >= 0).all(axis=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)  # also false for NaN
    return pixels[kept].astype(np.int64)


def encode_cells(xy: NDArray[np.floating], height: int, width: int, half: float = 0.5) -> Labels:
    """Encode without dropping the second point of a cell."""
    x, y = _whole(xy, height, width, half).T
    return np.stack([y // CELL, x // CELL, CELL * (y % CELL) + x % CELL], axis=1)


def _flat(xy: NDArray[np.floating], height: int, width: int, shape: tuple[int, int, int], order: list[int]) -> Labels:
    """Reshape a map [H, W] of points to `shape`; `order` picks row, column and channel from its axes."""
    x, y = _whole(xy, height, width).T
    axes = np.unravel_index(y * width + x, shape)
    return np.stack([axes[axis] for axis in order], axis=1)


def _transposed(found: Labels) -> Labels:
    row, column, k = found.T
    return np.stack([row, column, CELL * (k % CELL) + k // CELL], axis=1)


def _other_cells(found: Labels, height: int, width: int) -> Labels:
    found = found[:, [1, 0, 2]]
    return found[(found[:, 0] < height // CELL) & (found[:, 1] < width // CELL)]


ENCODINGS: dict[str, Encoder] = {
    "the map [H, W] was reshaped straight to [H/8, W/8, 64] (runs of 64 pixels of a row), not space-to-depth": (
        lambda xy, h, w: _flat(xy, h, w, (h // CELL, w // CELL, DUSTBIN), [0, 1, 2])
    ),
    "the map [H, W] was reshaped straight to [64, H/8, W/8], not space-to-depth": (
        lambda xy, h, w: _flat(xy, h, w, (DUSTBIN, h // CELL, w // CELL), [1, 2, 0])
    ),
    "x and y are swapped": lambda xy, h, w: encode_cells(np.asarray(xy)[:, ::-1], h, w),
    "the order inside the cell is transposed (channel 8 * column + row)": (
        lambda xy, h, w: _transposed(encode_cells(xy, h, w))
    ),
    "the cells are transposed (row x // 8, column y // 8)": (
        lambda xy, h, w: _other_cells(encode_cells(xy, h, w), h, w)
    ),
    "positions are cut off to whole pixels, not rounded": lambda xy, h, w: encode_cells(xy, h, w, half=0.0),
}
