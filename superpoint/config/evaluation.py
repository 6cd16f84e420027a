"""Stage `evaluate pairs`: the protocol, and presets of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from superpoint.config.inference import BORDER, NMS_RADIUS, check_matcher, check_runtime
from superpoint.config.loading import load_config
from superpoint.errors import UserError, check_number, check_numbers, check_one_of

REPEATABILITY_NMS = 4  # px; the paper's


@dataclass(frozen=True)
class EvaluatePairsConfig:
    """How image pairs are measured; distances in pixels of the images as the detectors see them. Defaults: `dev`."""

    stage: ClassVar[str] = "evaluate pairs"

    protocol: str = "dev"  # the preset these values started from
    longest: int = 640  # images are shrunk to this longest side, never enlarged; 0 = as they are
    size: list[int] = field(default_factory=list)  # [height, width] exactly, scaled to cover it and cut; [] = longest
    max_keypoints: int = 1000  # strongest kept of an image
    nms_radius: int = NMS_RADIUS  # networks and corner detectors; SIFT and ORB have scales and keep their own
    border: int = BORDER  # networks and corner detectors: keypoints nearer to the image edge are dropped
    threshold: float = 0.0005  # min probability of networks, so low that `max_keypoints` are found nearly everywhere
    # mutual | ratio | dual_softmax | lightglue | lightglue:RUN, or several of them with commas between.
    matcher: str = "mutual"
    ratio: float = 0.8  # of the matcher ratio
    temperature: float = 0.05  # of the matcher dual_softmax ...
    min_probability: float = 0.0  # ... and the min probability of its matches
    eps: float = 3.0  # a match is correct within this distance: NN-mAP and matching score
    ransac: float = 3.0  # inlier threshold of RANSAC
    magsac: float = 1.0  # inlier threshold of MAGSAC
    gcransac: float = 2.0  # inlier threshold of GC-RANSAC
    iterations: int = 5000  # max samples of RANSAC and MAGSAC
    gcransac_iterations: int = 50_000  # of GC-RANSAC, to which a sample costs little
    confidence: float = 0.9999  # of each, to have drawn a sample without outliers before it ends early
    # Orders of the matches, the first by score. Correctness and its area are means over them, the error of a pair is
    # their median, inliers are those of the first.
    orders: int = 1
    repeatability_keypoints: int = 300  # strongest of those visible in both views; 0 = all
    repeatability_nms: int = REPEATABILITY_NMS  # of all extractors: else points in clusters repeat each other; 0 = none
    repeatability_size: list[int] = field(default_factory=list)  # detect again at this size for it; [] = at the above
    generated_size: list[int] = field(default_factory=lambda: [480, 640])  # of pairs made from photographs
    generated_pairs: int = 2  # of each kind (viewpoint, photometric), from every photograph
    limit: int = 50  # max photographs that pairs are made from; 0 = all
    seed: int = 0  # of generated pairs, orders of the matches and intervals
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps

    def __post_init__(self) -> None:
        check_one_of("protocol", self.protocol, list(PROTOCOLS))
        for matcher in self.matchers:
            check_matcher("matcher", matcher)
        check_runtime(self.backend, self.precision, self.device)
        if self.longest:
            check_number("longest", self.longest, 32)
        for key in ("size", "repeatability_size", "generated_size"):
            value = getattr(self, key)
            if (value or key == "generated_size") and (len(value) != 2 or min(value) < 32):
                raise UserError(f"{key}: found {list(value)}, expected [height, width] of at least 32 pixels")
        for key in ("max_keypoints", "iterations", "gcransac_iterations", "orders", "generated_pairs"):
            check_number(key, getattr(self, key), 4 if key == "max_keypoints" else 1, whole=True)
        check_numbers(
            self, nms_radius=(0,), border=(0,), repeatability_keypoints=(0,), repeatability_nms=(0,), limit=(0,),
            seed=(0,), threshold=(0, 1), ratio=(0, 1), min_probability=(0, 1),
        )  # fmt: skip
        for key in ("eps", "ransac", "magsac", "gcransac", "temperature"):
            check_number(key, getattr(self, key), 0, above=True)
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"confidence: found {self.confidence}, expected >= 0.5 and < 1")

    @property
    def matchers(self) -> list[str]:
        """Return the matchers, each once."""
        return listed(self.matcher)

    def describe(self) -> str:
        """Return the protocol's name, and the names and values that differ from the preset."""
        preset = EvaluatePairsConfig(self.protocol, **PROTOCOLS[self.protocol])
        changed = [
            f"{each.name}={getattr(self, each.name)}"
            for each in fields(self)
            if getattr(self, each.name) != getattr(preset, each.name) and each.name not in MACHINE
        ]
        return ", ".join([self.protocol, *changed])


@dataclass(frozen=True)
class EvaluateSyntheticConfig:
    """How a detector is measured on synthetic shapes."""

    stage: ClassVar[str] = "evaluate synthetic"

    scenes: int = 1000  # each clean and noisy

    def __post_init__(self) -> None:
        check_number("scenes", self.scenes, 9)


@dataclass(frozen=True)
class EvaluateRepeatabilityConfig:
    """How repeatability is measured, on pairs made from photographs."""

    stage: ClassVar[str] = "evaluate repeatability"

    limit: int = 100  # max photographs; 0 = all
    pairs: int = 2  # of each kind (viewpoint, photometric), per photograph
    homographies: int = 100  # views of adapted: detectors
    seed: int = 0  # of the pairs

    def __post_init__(self) -> None:
        check_numbers(self, limit=(0,), pairs=(1,), homographies=(2,), seed=(0,))


@dataclass(frozen=True)
class EvaluateSfmConfig:
    """How 3D models are measured; sizes are of the photographs as the extractors see them."""

    stage: ClassVar[str] = "evaluate sfm"

    longest: int = 1024  # photographs are shrunk to this longest side, never enlarged; 0 = as they are
    max_keypoints: int = 4096  # strongest kept of a photograph
    nms_radius: int = NMS_RADIUS  # of networks
    threshold: float = 0.0005  # min probability of networks, so low that `max_keypoints` are found nearly everywhere
    matcher: str = "mutual"  # of networks, as of evaluate pairs; the classical methods have the ratio test
    max_distance: float = 0.7  # of descriptors that match by mutual
    ratio: float = 0.8  # of the ratio test
    shared_camera: bool = False  # all photographs are of one camera
    mapper: str = "incremental"  # incremental | global
    seeds: int = 5  # models per row; the table has medians
    backend: str = "auto"  # auto | torch | openvino | onnxruntime
    precision: str = "auto"  # auto | fp32 | bf16
    device: str = "auto"  # auto | cpu | cuda | mps

    def __post_init__(self) -> None:
        for matcher in self.matchers:
            check_matcher("matcher", matcher)
        check_one_of("mapper", self.mapper, ["incremental", "global"])
        check_number("longest", self.longest, 0)
        check_numbers(self, max_keypoints=(8,), nms_radius=(0,), threshold=(0, 1), max_distance=(0, 2), seeds=(1,))
        check_number("ratio", self.ratio, 0, 1, above=True)
        check_runtime(self.backend, self.precision, self.device)

    @property
    def matchers(self) -> list[str]:
        """Return the matchers, each once."""
        return listed(self.matcher)


def listed(text: str) -> list[str]:
    """Return what stands between commas, each once."""
    return list(dict.fromkeys(text.split(",")))


MACHINE = ("backend", "precision", "device")  # fields about where it runs, not what is measured

# `paper`: DeTone et al. 2018, section 7; images scaled to cover the size and cut about the centre, as the published
# re-implementation does. `dev`: quicker, images seen whole. `fullres`: what a reconstruction would use.
PROTOCOLS: dict[str, dict[str, Any]] = {
    "dev": {},
    "paper": {"size": [480, 640], "nms_radius": 8, "repeatability_size": [240, 320]},
    "fullres": {"longest": 0, "max_keypoints": 2048},
}


def load_pairs_config(file: str | None, overrides: Sequence[str]) -> EvaluatePairsConfig:
    """Load a protocol: the preset that `protocol` names, then the file, then `key=value`, each over the last."""
    name = load_config(EvaluatePairsConfig, file, overrides).protocol
    preset = [f"{key}={value}" for key, value in PROTOCOLS[name].items()]
    return load_config(EvaluatePairsConfig, file, overrides, preset=preset)
