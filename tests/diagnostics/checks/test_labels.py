"""The check of the labels names what is wrong with them."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.labels import _frame, encode_cells, labels
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import DUSTBIN, encode_points
from tests.diagnostics import faults
from tests.diagnostics.faults import reshape_target


def lay(found: np.ndarray, height: int, width: int) -> np.ndarray:
    target = np.full((height // 8, width // 8), DUSTBIN)
    target[found[:, 0], found[:, 1]] = found[:, 2]
    return target


def transposed_channel(points: np.ndarray, height: int, width: int) -> np.ndarray:
    target = encode_points(points, height, width)
    return np.where(target == DUSTBIN, DUSTBIN, 8 * (target % 8) + target // 8)


def transposed_cells(points: np.ndarray, height: int, width: int) -> np.ndarray:
    found = encode_cells(points, height, width)[:, [1, 0, 2]]
    return lay(found[(found[:, 0] < height // 8) & (found[:, 1] < width // 8)], height, width)


def reshaped_the_other_way(points: np.ndarray, height: int, width: int) -> np.ndarray:
    pixels = encode_points(points, height, width)
    full = np.zeros((height, width), int)
    rows, columns = np.nonzero(pixels != DUSTBIN)
    full[rows * 8 + pixels[rows, columns] // 8, columns * 8 + pixels[rows, columns] % 8] = 1
    cells = full.reshape(64, height // 8, width // 8)
    return np.where(cells.any(axis=0), cells.argmax(axis=0), DUSTBIN)


@pytest.mark.parametrize(
    ("encode", "named"),
    [
        (reshape_target, "reshaped straight to [H/8, W/8, 64]"),
        (reshaped_the_other_way, "reshaped straight to [64, H/8, W/8]"),
        (lambda xy, h, w: encode_points(xy[:, ::-1], h, w), "x and y are swapped"),
        (transposed_channel, "channel 8 * column + row"),
        (transposed_cells, "cells are transposed"),
        (lambda xy, h, w: encode_points(np.floor(xy), h, w), "cut off"),
        (lambda xy, h, w: encode_points(xy + np.array([3, -1]), h, w), "(+3, -1) px against the points"),
        (lambda xy, h, w: encode_points(xy[::2], h, w), "labels lost"),
        (lambda xy, h, w: np.full((h // 8, w // 8), DUSTBIN), "No label at all"),
        (lambda xy, h, w: (encode_points(xy, h, w) + 1) % 65, "most of them in channel 0"),
        (lambda xy, h, w: np.zeros((h, w), int), "not in the form"),
        (lambda xy, h, w: encode_points(xy, h, w) + 1, "not in the form"),
    ],
)
def test_wrong_encodings_are_named(healthy: Case, encode: Callable[..., Any], named: str) -> None:
    found = labels(faults.with_target(healthy, encode))
    assert found.status is Status.FAIL
    assert named in found.cause, found


@pytest.mark.parametrize(
    ("move", "named"),
    [
        (lambda xy: xy[:, ::-1], "if x and y are swapped"),
        (lambda xy: [127, 0] + xy * [-1, 1], "x is mirrored"),
        (lambda xy: [0, 95] + xy * [1, -1], "y is mirrored"),
        (lambda xy: (xy + 0.5) / 2 - 0.5, "half as large"),
        (lambda xy: (xy + 0.5) / [128, 96], "shares of the image's sides"),
        (lambda xy: (xy + 0.5) * 8 - 0.5, "off the image"),
        (lambda xy: xy + np.array([4, -2]), "off by a constant (+4, -2) px"),
        (lambda xy: xy + 0.44, "part of a pixel"),
        (lambda xy: xy - [0, 0.5], "points resized by s alone"),
        (lambda xy: np.random.default_rng(len(xy)).uniform(0, [127, 95], xy.shape), "nowhere near corners"),
    ],
)
def test_wrong_places_are_named(healthy: Case, move: Callable[..., Any], named: str) -> None:
    found = labels(faults.with_points(healthy, move))
    assert found.status in (Status.FAIL, Status.WARN)
    assert named in found.cause, found


def test_a_healthy_set_is_measured(healthy: Case) -> None:
    found = labels(healthy)
    assert found.status is Status.PASS
    assert "agree in 100.0% of the labelled cells" in found.evidence
    assert re.search(r"label - corner: x [+-]0\.0\d \S+ \S+ y [+-]0\.0\d ", found.evidence)


def test_a_quarter_of_a_pixel_counts_if_both_axes_have_it(healthy: Case) -> None:
    assert labels(faults.with_points(healthy, lambda xy: xy + np.array([0, 0.25]))).status is Status.PASS
    assert labels(faults.with_points(healthy, lambda xy: xy + 0.25)).status is Status.FAIL


def test_a_mask_that_hides_all_is_named(healthy: Case) -> None:
    hidden = faults.Changed(healthy.dataset, sample=lambda sample, _: sample | {"valid": sample["valid"] & False})
    assert "No cell is valid" in labels(replace(healthy, dataset=hidden)).cause


def test_few_labels_are_not_compared_with_images(healthy: Case) -> None:
    found = labels(faults.with_points(healthy, lambda xy: xy[:0] if len(xy) < 25 else xy[:1]))
    assert "too few to compare" in found.evidence


def test_an_odd_number_of_labels_is_a_warning(healthy: Case) -> None:
    few = labels(faults.with_points(healthy, lambda xy: xy[: len(xy) > 30]))
    assert few.status is Status.WARN
    assert "Very few labels" in few.cause
    places = np.stack(np.meshgrid(np.arange(4, 128, 8), np.arange(4, 68, 8)), axis=-1).reshape(-1, 2)
    many = labels(faults.with_points(healthy, lambda xy: places))  # two thirds of the cells
    assert many.status is Status.FAIL  # since they are on no corners, which says more than their number
    assert "nowhere near corners" in many.cause


def test_points_beyond_the_horizon_count_as_outside(healthy: Case) -> None:
    found: Finding = labels(
        faults.with_points(healthy, lambda xy: np.where(np.arange(len(xy))[:, None] % 10, xy, np.nan))
    )
    assert found.status is Status.PASS
    shares = [re.search(r"(\d+)% of \d+ points lie outside", each.evidence) for each in (found, labels(healthy))]
    assert shares[0]
    assert shares[1]
    assert int(shares[0][1]) > int(shares[1][1]) + 5


def test_points_at_the_outline_of_an_image_of_three_channels_are_on_it() -> None:
    points = np.array([[0, 0], [63, 47], [5, 5]], np.float32)
    found = _frame([(np.zeros((48, 64, 3), np.uint8), points, np.ones((48, 64), bool))])
    assert found.evidence.startswith("0% of 3 points")


def test_encode_cells_is_the_encoding_of_the_data_set() -> None:
    points = np.random.default_rng(0).uniform(-3, 70, (40, 2))
    kept = encode_cells(points, 48, 64)
    target = encode_points(points, 48, 64)
    rows, columns = np.nonzero(target != DUSTBIN)
    assert {tuple(label) for label in kept[:, :2].tolist()} == set(zip(rows.tolist(), columns.tolist(), strict=True))
    laid = {tuple(label) for label in kept.tolist()}
    assert all((r, c, int(target[r, c])) in laid for r, c in zip(rows.tolist(), columns.tolist(), strict=True))
    assert torch.from_numpy(target).dtype == torch.int64
