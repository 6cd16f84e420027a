"""The chain in miniature, which can be killed between its stages; run by test_pipeline.py in processes of its own.

Arguments: run folder, folder of photographs, place of death (or none), overrides. `magicpoint:before` kills at the
beginning of that stage, `magicpoint:after` when all its files are written but it is not yet marked as done,
`magicpoint:within` at its second validation.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from superpoint.config import PipelineConfig, load_config
from superpoint.training import pipeline as stage
from superpoint.training.detector_validation import DetectorValidation
from superpoint.training.pair_validation import PairValidation
from tests.conftest import TINY_DATA, under

TRAINING = [
    *TINY_DATA, "data.curriculum=4", "train.batch_size=2", "train.steps=4", "train.minutes=null", "train.log_every=2",
    "train.validate_every=2", "train.precision=fp32", "train.report=false", "validation.images=4",
    "validation.final_images=9",
]  # fmt: skip
SETTINGS = [
    "model.encoder=compact", "model.head_channels=16", "model.fine=4", "model.descriptor_dim=16", "labels.resize=64",
    "labels.sharpen=true", "labels.corners=20",
    "labels.backend=torch", "labels.precision=fp32", "labels.adaptation.homographies=2",
    "labels.decode.threshold=0.001", "labels.decode.max_keypoints=40", *under("magicpoint", TRAINING),
    *under("superpoint", TRAINING), "superpoint.validation.pairs=2",
    "superpoint.validation.final_pairs=2", "superpoint.validation.height=64", "superpoint.validation.width=80",
    "evaluation.generated_size=[64,80]", "evaluation.generated_pairs=1", "evaluation.max_keypoints=50",
    "evaluation.backend=torch", "evaluation.precision=fp32",
]  # fmt: skip


def die(*_: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def prepare_death(place: str) -> None:
    name, _, moment = place.partition(":")
    if moment == "within":
        kind = DetectorValidation if name == "magicpoint" else PairValidation
        original, calls = kind.__call__, []

        def validate(self: Any, model: torch.nn.Module) -> Any:
            calls.append(1)
            return die() if len(calls) == 2 else original(self, model)

        kind.__call__ = validate  # pyright: ignore[reportAttributeAccessIssue]
        return
    do = stage.DO[name]
    stage.DO[name] = (lambda *given: die(do(*given))) if moment == "after" else die


def main() -> None:
    torch.set_num_threads(1)
    run, images, place, *overrides = sys.argv[1:]
    if place != "none":
        prepare_death(place)
    settings = [*SETTINGS, f"run={run}", f"images={images}", *overrides]
    resume = Path(run).exists()
    sys.exit(stage.pipeline(load_config(PipelineConfig, None, settings), resume=resume) or 0)


if __name__ == "__main__":
    main()
