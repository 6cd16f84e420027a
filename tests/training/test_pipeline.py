"""The whole chain: how its stages are joined and recognised, what is refused; in the slow suite the chain itself."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from superpoint.budget import Budget
from superpoint.config import MagicPointConfig, PipelineConfig, SuperPointConfig, load_config
from superpoint.config.chains import STAGES
from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.training import pipeline as stage
from superpoint.training.pipeline import owner_of, pipeline, write_samples
from tests.conftest import write_photographs
from tests.training.pipeline_program import SETTINGS


def config(run: Path, *overrides: str) -> PipelineConfig:
    return load_config(PipelineConfig, None, [*SETTINGS, f"run={run}", *overrides])


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 4)


class Stages:
    """In place of the four stages: notes what they are given and leaves what the next one looks for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.configs: dict[str, Any] = {}
        self.stop: dict[str, int] = {}
        self.budgets: dict[str, Budget | None] = {}

    def train(self, name: str, given: MagicPointConfig, resume: bool, budget: Budget | None) -> Any:
        assert resume
        self.budgets[name] = budget
        self.calls.append(name)
        self.configs[name] = given
        folder = Path(given.run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        (folder / "weights.safetensors").touch()
        line = {"step": 4, "event": "validate", "selected_by": "AP", "AP": 0.5}
        line |= {"clean/ap@4": 0.9, "noisy/ap@4": 0.8, "pairs/auc@5": 0.7}
        (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        return SimpleNamespace(step=4, signal=self.stop.get(name))

    def export(
        self, given: Any, inputs: list[str], out: Path, *, root: Path, resume: bool, budget: Budget | None
    ) -> Any:
        assert resume
        self.budgets["labels"] = budget
        self.calls.append("labels")
        self.configs["labels"] = given, inputs, root
        with h5py.File(out, "w") as file:
            for path in sorted(Path(root).iterdir()):
                file.create_group(path.name)["keypoints"] = np.zeros((1, 2), np.float32)
        return SimpleNamespace(summary=SimpleNamespace(images=4, median=7.0), signal=self.stop.get("labels"))

    def evaluate(self, given: Any, methods: list[str], *, images: Path, out: Path) -> Any:
        self.calls.append("evaluation")
        self.configs["evaluation"] = methods, images.read_text().split()
        return []


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    fake = Stages()
    figures = {key: {"value": 0.25} for key in stage.FIGURES}
    rows = [{"kind": "all", "extractor": name, "pairs": 2, "figures": figures} for name in ("run/superpoint", "sift")]
    monkeypatch.setattr(stage, "train_magicpoint", partial(fake.train, "magicpoint"))
    monkeypatch.setattr(stage, "train_superpoint", partial(fake.train, "superpoint"))
    monkeypatch.setattr(stage, "export_detections", fake.export)
    monkeypatch.setattr(stage, "evaluate_pairs", fake.evaluate)
    monkeypatch.setattr(stage, "summaries", lambda records, seed: rows)
    return fake


def test_a_limit_takes_photographs_in_even_steps(stages: Stages, photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert pipeline(config(run, f"images={photographs}", "limit=2")) is None
    _, inputs, root = stages.configs["labels"]
    assert root == photographs
    names = sorted(path.name for path in photographs.iterdir())
    chosen = [Path(line) for line in Path(inputs[0]).read_text().splitlines()]
    assert [path.name for path in chosen] == [names[0], names[2]]
    assert all(path.exists() for path in chosen)


def test_a_budget_is_divided_as_the_recipe_divides_its_trainings(
    stages: Stages, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = config(
        tmp_path / "run", f"images={photographs}", "magicpoint.train.minutes=10", "superpoint.train.minutes=40"
    )
    assert pipeline(given, budget=Budget(100)) is None
    parts = [stages.budgets[name] for name in ("magicpoint", "labels", "superpoint")]
    # The stages of this test take no time, so what one leaves goes to the others.
    assert [each and each.minutes for each in parts] == pytest.approx([13, 100 * 25 / 87, 100 * 52 / 62], abs=0.5)
    assert f"Plan (100 minutes):\n  1 magicpoint, about 13 min -> {tmp_path}" in capsys.readouterr().err


def test_each_stage_gets_what_the_one_before_has_made(
    stages: Stages, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = config(run, f"images={photographs}", "seed=3")
    assert pipeline(given) is None
    assert tuple(stages.calls) == STAGES
    detector, joint = stages.configs["magicpoint"], stages.configs["superpoint"]
    assert (detector.run, detector.seed, detector.model.encoder) == (f"{run}/magicpoint", 3, "compact")
    assert (detector.model.descriptor_dim, joint.model.descriptor_dim, joint.model.fine) == (0, 16, 4)
    assert (joint.run, joint.seed, joint.weights) == (f"{run}/superpoint", 3, f"{run}/magicpoint/weights.safetensors")
    assert isinstance(joint, SuperPointConfig)
    assert joint.data.kind == "labelled"
    assert (joint.data.labels, joint.data.images) == (f"{run}/labels/labels.h5", str(photographs))
    export, inputs, root = stages.configs["labels"]
    assert (export.weights, inputs, root) == (joint.weights, [str(photographs)], photographs)
    methods, held_out = stages.configs["evaluation"]
    assert methods == [f"{run}/superpoint", "sift"]
    assert len(held_out) == 1  # of four
    assert Path(held_out[0]).is_file()
    text = (run / "pipeline.md").read_text()
    for told in ("0.900 clean, 0.800 noisy", "0.250", "| sift |", "Too few photographs held out to judge (1)"):
        assert told in text
    assert "superpoint/weights.safetensors" in capsys.readouterr().out

    stages.calls.clear()
    assert pipeline(given, resume=True) is None
    assert stages.calls == []  # all is done
    with pytest.raises(UserError, match="the folder is not empty; go on with it by --resume"):
        pipeline(given)


def test_a_stage_that_was_stopped_is_gone_on_with(stages: Stages, photographs: Path, tmp_path: Path) -> None:
    given = config(tmp_path / "run", f"images={photographs}")
    stages.stop = {"labels": signal.SIGTERM}
    assert pipeline(given) == signal.SIGTERM
    stages.stop = {"superpoint": signal.SIGINT}
    assert pipeline(given, resume=True) == signal.SIGINT
    assert stages.calls == ["magicpoint", "labels", "labels", "superpoint"]
    assert not (tmp_path / "run/superpoint/stage.json").exists()
    stages.stop = {}
    assert pipeline(given, resume=True) is None
    assert stages.calls[4:] == ["superpoint", "evaluation"]


def test_from_does_a_stage_and_those_after_it_anew(stages: Stages, photographs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    given = config(run, f"images={photographs}")
    pipeline(given, first="magicpoint")
    assert not (run / "earlier-1").exists()  # nothing was there
    stages.calls.clear()
    changed = config(run, f"images={photographs}", "superpoint.train.steps=6")
    assert pipeline(changed, first="superpoint") is None
    assert stages.calls == ["superpoint", "evaluation"]
    assert {path.name for path in (run / "earlier-1").iterdir()} == {"superpoint", "evaluation"}
    assert pipeline(changed, first="evaluation") is None
    assert [path.name for path in (run / "earlier-2").iterdir()] == ["evaluation"]
    with pytest.raises(UserError, match=r"--from: found 'superpiont'.*did you mean 'superpoint'"):
        pipeline(given, first="superpiont")


def test_a_changed_setting_of_a_stage_that_has_begun_is_refused(
    stages: Stages, photographs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stages.stop = {"labels": signal.SIGTERM}
    pipeline(config(run, f"images={photographs}"))
    before = (run / "pipeline.yaml").read_bytes()
    owners = {
        "magicpoint.train.steps": "magicpoint", "model.head_channels": "magicpoint", "labels.resize": "labels",
        "seed": "magicpoint",
    }  # fmt: skip
    for key, owner in owners.items():
        with pytest.raises(UserError, match=f"^.*{key}: found 8, but .*--from {owner}$"):
            pipeline(config(run, f"images={photographs}", f"{key}=8"), resume=True)
    assert (run / "pipeline.yaml").read_bytes() == before
    # What has not begun, or decides nothing, may be set anew.
    free = ("superpoint.train.steps=8", "evaluation.max_keypoints=60", "model.descriptor_dim=8", "labels.readers=1")
    assert pipeline(config(run, f"images={photographs}", *free), resume=True) == signal.SIGTERM


def test_which_stage_a_key_belongs_to() -> None:
    expected = {
        "run": None, "seed": "magicpoint", "images": "labels", "model.encoder": "magicpoint",
        "model.descriptor_dim": "superpoint", "labels.readers": None, "labels.decode.threshold": "labels",
    }  # fmt: skip
    assert {key: owner_of(key) for key in expected} == expected
    assert {owner_of(key) or "run" for key in asdict(PipelineConfig())} <= {*STAGES, "run"}


def test_photographs_of_scikit_image_are_written_once(tmp_path: Path) -> None:
    write_samples(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == len(sample_photographs())
    gone = next(iter(files))
    gone.unlink()
    write_samples(tmp_path)
    assert gone.exists()
    assert all(path.stat().st_mtime_ns == time for path, time in files.items() if path != gone)


def start(run: Path, images: Path, death: str = "none", *overrides: str) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).with_name("pipeline_program.py")
    command = [sys.executable, str(program), str(run), str(images), death, *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(program.parents[2])}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_chain_killed_at_every_boundary_ends_as_one_that_was_not(photographs: Path, tmp_path: Path) -> None:
    """SIGKILL within and after each stage; the weights and labels are the bits of a chain that was left alone."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    deaths = [
        "magicpoint:within", "magicpoint:after", "labels:after", "superpoint:within", "superpoint:after",
        "evaluation:before", "evaluation:after",
    ]  # fmt: skip
    for place in deaths:
        result = start(killed, photographs, place)
        assert result.returncode == -signal.SIGKILL, (place, result.stderr[-2000:])
    refused = start(killed, photographs, "none", "superpoint.train.steps=6")
    assert refused.returncode == 1
    assert "superpoint.train.steps: found 6, but the run was begun with 4" in refused.stderr
    for run in (killed, whole):
        result = start(run, photographs)
        assert result.returncode == 0, result.stderr[-2000:]
    for name in ("magicpoint", "superpoint"):
        one, two = (torch.load(run / name / "checkpoints/last.ckpt", weights_only=True) for run in (killed, whole))
        assert one["step"] == two["step"] == 4
        assert all(torch.equal(one["model"][key], two["model"][key]) for key in two["model"])
    with FeatureFile(killed / "labels/labels.h5") as one, FeatureFile(whole / "labels/labels.h5") as two:
        assert one.names() == two.names()
        assert all(np.array_equal(one.read(name).keypoints, two.read(name).keypoints) for name in two.names())
    assert all(words in (killed / "pipeline.md").read_text() for words in ("| sift |", "| GC-RANSAC @1 |"))
    found = json.loads((killed / "evaluation/stage.json").read_text())
    assert set(found["extractors"]) == {"superpoint", "sift"}
    assert not list(killed.rglob("*.tmp"))
