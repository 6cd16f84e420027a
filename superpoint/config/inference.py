"""The commands that use a trained network: `detect`, `match`, `track`; and the defaults that every stage shares."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from superpoint.errors import UserError, check_number, check_one_of

Backend = Literal["auto", "torch", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
BACKENDS: tuple[str, ...] = get_args(Backend)
PRECISIONS: tuple[str, ...] = get_args(Precision)
DEVICES: tuple[str, ...] = get_args(Device)
MATCHERS = ("mutual", "ratio", "dual_softmax")  # by descriptors alone

MODEL = "superpoint-lite"  # the pretrained weights that are used and trained on by default
THRESHOLD = 0.015  # min probability of a keypoint
BORDER = 4  # px; keypoints nearer to the image edge are dropped
MAX_KEYPOINTS = 1024  # where their number has to be fixed: exported graphs, kornia, the demo; 0 = all elsewhere
RESIZE = 1024  # px; longest side at which a network sees an image
# The weaker of two peaks this near along both axes is dropped. At the paper's 4, more keypoints lack their counterpart
# in the other view (docs/benchmarks.md).
NMS_RADIUS = 3  # px
MIN_TILE = 256  # px; a quarter of the pixels of a smaller tile would count


@dataclass(frozen=True)
class InferenceConfig:
    """Which network, where it runs, and how its output becomes keypoints. See `inference.FeatureDetector.detect`."""

    model: str = MODEL  # name of pretrained weights, weights file, checkpoint or run folder
    threshold: float = THRESHOLD
    max_keypoints: int = 0  # strongest keypoints kept; 0 = all
    nms_radius: int = NMS_RADIUS
    border: int = BORDER
    grid: str | None = None  # COLUMNSxROWS
    per_cell: int = 0  # strongest keypoints kept in each cell of `grid`
    resize: int = RESIZE  # never enlarged; 0 = as it is
    tile: str = "auto"  # px, side of the tiles that an image goes through the network in; auto | 0 = whole
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps

    def __post_init__(self) -> None:
        check_number("--threshold", self.threshold, 0, 1)
        check_number("--max-keypoints", self.max_keypoints, 0)
        check_number("--nms-radius", self.nms_radius, 0, 1000)
        check_number("--border", self.border, 0)
        check_grid(parse_grid("--grid", self.grid), self.per_cell, "--")
        check_resize("--resize", self.resize)
        check_tile("--tile", self.tile)
        check_runtime(self.backend, self.precision, self.device, prefix="--")


def check_matcher(key: str, value: str) -> None:
    """Raise UserError unless `value` is one of MATCHERS, "lightglue", or "lightglue:" and a run of train-matcher."""
    if not re.fullmatch("lightglue(:.+)?", value):
        check_one_of(key, value, [*MATCHERS, "lightglue", "lightglue:RUN"])


def check_intrinsics(key: str, values: Sequence[float]) -> None:
    """Raise UserError unless `values` are fx, fy, cx, cy in pixels, once or per image."""
    focal = [*values[:2], *values[4:6]]
    if len(values) not in (4, 8) or not all(map(isfinite, values)) or min(focal) <= 0:
        text = ",".join(f"{value:g}" for value in values)
        raise UserError(f"{key}: found '{text}', expected fx,fy,cx,cy in pixels, fx and fy above 0, once or per image")


@dataclass(frozen=True)
class MatchingConfig:
    """Which pairs of many photographs are matched, and how. See `reconstruction.match_features`.

    Pairs that several fields ask for are joined; without any, all of few photographs and the 20 nearest of many.
    """

    pairs: str | None = None  # list, two names per line
    exhaustive: bool = False  # all pairs
    sequential: int = 0  # each with so many that follow
    retrieve: int = 0  # each with so many that are most like it
    matcher: str = "mutual"  # mutual | ratio | dual_softmax | lightglue | lightglue:RUN
    max_distance: float = 0.7  # of the descriptors, by mutual
    ratio: float = 0.8  # of ratio
    verify: bool = False  # keep only what agrees with an epipolar geometry

    def __post_init__(self) -> None:
        check_matcher("--matcher", self.matcher)
        check_number("--sequential", self.sequential, 0)
        check_number("--retrieve", self.retrieve, 0)
        check_number("--max-distance", self.max_distance, 0, 2)
        check_number("--ratio", self.ratio, 0, 1, above=True)


@dataclass(frozen=True)
class ReconstructConfig(MatchingConfig, InferenceConfig):
    """From photographs to a 3D model: features, pairs, and COLMAP's mapper. See `reconstruction.reconstruct`."""

    mapper: Literal["incremental", "global"] = "incremental"
    shared_camera: bool = False  # all photographs are of one camera
    seed: int = 0  # of the verification and the mapper

    def __post_init__(self) -> None:
        InferenceConfig.__post_init__(self)
        MatchingConfig.__post_init__(self)
        check_number("--seed", self.seed, 0, 2**31 - 1)


def check_resize(key: str, value: int) -> None:
    """Raise UserError unless `value` is a longest side in pixels, or 0."""
    check_number(key, value, 0)
    if 0 < value < 8:
        raise UserError(f"{key}: found {value}, expected 0 or at least 8 pixels")


def check_tile(key: str, value: int | str) -> None:
    """Raise UserError unless `value` is the side of tiles in pixels, 0 (whole images) or "auto"."""
    if value != "auto" and not (str(value).isdecimal() and (int(value) == 0 or int(value) >= MIN_TILE)):
        raise UserError(f"{key}: found '{value}', expected auto, 0 or at least {MIN_TILE} pixels")


def parse_grid(key: str, text: str | None) -> list[int]:
    """Return columns and rows of "8x8", [] of None. Raises: UserError for anything else."""
    if text is None:
        return []
    if not re.fullmatch(r"\d+x\d+", text):
        raise UserError(f"{key}: found '{text}', expected COLUMNSxROWS, e.g. 8x8")
    return [int(number) for number in text.split("x")]


def check_grid(grid: Sequence[int], per_cell: int, prefix: str = "") -> None:
    """Raise UserError unless `grid` is columns and rows, and `per_cell` a number for it; or neither is given."""
    if len(grid) not in (0, 2) or not all(1 <= number <= 10_000 for number in grid):
        raise UserError(f"{prefix}grid: found {list(grid)}, expected columns and rows, 1 to 10000 each, e.g. [8, 8]")
    if per_cell < 0 or bool(grid) != bool(per_cell):
        needed = f"1 or more beside {prefix}grid" if grid else f"{prefix}grid beside it"
        name = "--per-cell" if prefix == "--" else f"{prefix}per_cell"
        raise UserError(f"{name}: found {per_cell}, expected {needed}")


def check_runtime(backend: str, precision: str, device: str, prefix: str = "") -> None:
    """Raise UserError unless the names are known; whether this machine has them is for `backends.resolve`."""
    check_one_of(f"{prefix}backend", backend, BACKENDS)
    check_one_of(f"{prefix}precision", precision, PRECISIONS)
    check_one_of(f"{prefix}device", device, DEVICES)
