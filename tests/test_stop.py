"""Ctrl-C in every phase: one last line, and the command that it names goes on."""

import pkgutil
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.classification.data.drawings import write_folder
from tests.conftest import TINY_NETWORK, TINY_SIZE, TINY_TRAINING, CommandLine, write_photographs
from tests.training.pipeline_program import SETTINGS as PIPELINE
from tests.training.test_finetune import SETTINGS as FINETUNE
from tests.training.test_finetune import weights

TRAIN = " ".join(["train-magicpoint run=run", *TINY_TRAINING, "train.steps=3", "train.probe_every=0"])
OVERFIT = " ".join(["overfit --steps 2", *TINY_SIZE, *TINY_NETWORK])
CHAIN = f"pipeline images=photos run=run {' '.join(PIPELINE)}"
DETECTIONS = "export-detections photos --out l.h5 --model net.safetensors adaptation=none"
slow = pytest.mark.slow


@pytest.fixture(autouse=True)
def _heed_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt also where a shell started the tests in its background, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("command", "phase"),
    [
        (TRAIN, "training.magicpoint.build_model"),
        (TRAIN, "training.detector_validation.DetectorValidation.__call__"),
        pytest.param(TRAIN, "evaluation.evaluate_synthetic.summary_table", marks=slow),
        pytest.param(TRAIN, "diagnostics.report.write.render_page", marks=slow),
        (DETECTIONS, "labelling.shards.ShardFolder.merge"),
        ("detect photos --out pictures --model net.safetensors", "inference.detect_images.keypoints_picture"),
        ("match photos/a.png photos/b.png --model net.safetensors", "inference.match_images.match_views"),
        ("evaluate pairs --extractors sift,orb --images photos", "evaluation.evaluate_pairs.fit_pair"),
        ("study mnist data.train=classes epochs=1 data.workers=0 --rates 0.1 --momenta 0",
         "classification.training.ClassValidation.__call__"),
        (f"finetune images=photos weights=net.safetensors {' '.join(FINETUNE)}", "training.finetune.measure_generated"),
        pytest.param(CHAIN, "training.pipeline.evaluate_pairs", marks=slow),
        (OVERFIT, "diagnostics.overfit.watch.Watch.__call__"),
        (OVERFIT, "diagnostics.overfit.attempt.heatmap_strip"),
    ],
)  # fmt: skip
def test_ctrl_c(command: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine) -> None:
    monkeypatch.chdir(tmp_path)
    for path, name in zip(sorted(write_photographs(tmp_path / "photos", 8).iterdir()), "ab", strict=False):
        path.rename(tmp_path / f"photos/{name}.png")
    weights(tmp_path / "net.safetensors", 16)
    write_folder(tmp_path / "classes", count=3)
    reached = []
    module, _, name = f"superpoint.{phase}".rpartition(".")
    with monkeypatch.context() as patch:
        place = pkgutil.resolve_name(module)
        do = getattr(place, name)

        def stop(*given: Any, **options: Any) -> Any:
            reached.append(phase)
            if len(reached) == 1:
                signal.raise_signal(signal.SIGINT)
            return do(*given, **options)

        patch.setattr(place, name, stop)
        code, _, error = cli(*command.split())
    assert reached
    assert code == 130, error
    line = error.splitlines()[-1]
    assert line.startswith("stopped; ")
    assert not list(tmp_path.rglob("*.tmp"))
    words = shlex.split(line.partition(" by: superpoint ")[2])
    assert words[: len(command.split())] == command.split()
    code, _, error = cli(*words)
    assert code == (1 if command == OVERFIT else 0), error  # two steps are too few
