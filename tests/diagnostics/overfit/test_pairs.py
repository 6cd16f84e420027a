"""Learning a pair by heart: every loss passes, failures name their cause, and the kind follows from the settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from superpoint.config import ModelConfig, SuperPointConfig, load_config, load_run_config
from superpoint.diagnostics.overfit.pair_watch import MatchScore
from superpoint.diagnostics.overfit.pairs import explain_matching, overfit_pairs
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.models import build_model
from superpoint.models.weights import save_weights
from tests.conftest import CommandLine

SETTINGS = [
    "data.height=64", "data.width=64", "model.encoder=lite", "model.head_channels=128", "model.descriptor_dim=32",
    "weights=magicpoint-lite", "optimizer.lr=0.003", "train.precision=fp32",
]  # fmt: skip


def attempt(cli: CommandLine, folder: Path, *arguments: object) -> tuple[int, str]:
    code, output, error = cli("overfit", *SETTINGS, "--out", folder, *arguments)
    assert error == "" or code == 2 or "warning" not in error
    return code, output


@pytest.mark.parametrize("name", ["dual_softmax", "sampled_hinge", "dense_hinge"])
def test_one_pair_is_learnt_with_every_loss(name: str, tmp_path: Path, cli: CommandLine) -> None:
    folder = tmp_path / "run"
    settings = [f"descriptor.name={name}", "--steps", 150]
    settings += (
        ["descriptor.positive_weight=13"] if name == "dense_hinge" else []
    )  # 250 is for 1200 cells, these are 64
    code, output = attempt(cli, folder, *settings)
    assert code == 0, output
    assert "PASS: all " in output
    found = json.loads((folder / "overfit.json").read_text())
    assert (found["passed"], found["wrong"], found["matching"]["wrong"]) == (True, 0, 0)
    assert found["matching"]["of"] == ("cells" if name == "dense_hinge" else "places")
    if name != "dense_hinge":  # which trains the cells; between them descriptors are interpolated
        assert found["figures"]["matching_accuracy"] == 1.0
    for picture in ("strip.png", "strip.gif", "matches.png"):
        assert 3000 < (folder / picture).stat().st_size < 2_000_000
    config = load_run_config(folder / "config.yaml")
    assert isinstance(config, SuperPointConfig)
    assert (config.descriptor.name, config.data.overfit, config.train.ema) == (name, 1, 0.0)
    looks = RunFolder(folder).history().events("validate")
    assert looks[-1]["right_share"] == 1.0
    assert all(look["right_share"] < 1 for look in looks[:-1])  # it stops at once


class Begun(Exception):
    """The model was built and training would begin."""


def test_the_file_of_the_encoder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object, **__: object) -> None:
        raise Begun

    monkeypatch.setattr("superpoint.diagnostics.overfit.pairs.fit", begun)
    network = {"encoder": "shufflenet_v2_x0_5", "head_channels": 128}
    save_weights(tmp_path / "start.safetensors", build_model(ModelConfig(**network)), network)
    given = [*SETTINGS, "model.encoder=shufflenet_v2_x0_5", f"model.encoder_weights={tmp_path / 'gone.pth'}"]
    config = load_config(SuperPointConfig, None, [*given, f"weights={tmp_path / 'start.safetensors'}"])
    with pytest.raises(Begun):
        overfit_pairs(config, out=tmp_path / "with")
    config = load_config(SuperPointConfig, None, [*given, "weights=null"])
    with pytest.raises(UserError, match=r"gone\.pth: no such file"):
        overfit_pairs(config, out=tmp_path / "without")


def test_too_few_steps_fail_and_say_so(tmp_path: Path, cli: CommandLine) -> None:
    settings = ["weights=null", "descriptor.name=dual_softmax", "--steps", 30, "--scenes", 2]
    code, output = attempt(cli, tmp_path / "run", *settings, "optimizer.lr=0.0005")
    assert code == 1
    assert "FAIL: The budget ended too early." in output
    assert "pairs 1, " in output
    assert "matched wrongly" in output
    assert json.loads((tmp_path / "run/overfit.json").read_text())["matching"]["wrong"] > 0


def test_a_run_that_blows_up_names_the_cause(tmp_path: Path, cli: CommandLine) -> None:
    settings = ["descriptor.name=dual_softmax", "--steps", 30, "optimizer.lr=1e8", "optimizer.name=sgd"]
    code, output = attempt(cli, tmp_path / "run", *settings, "train.clip_norm=0")
    assert code == 1
    assert "FAIL: " in output
    assert "optimizer.lr" in output


def test_the_cause_of_matches_that_stay_wrong() -> None:
    score, config = MatchScore(200, 40, "places"), load_config(SuperPointConfig, None, SETTINGS)
    assert score.accuracy == 0.8
    alike = explain_matching(score, {"positive_similarity": 0.99, "negative_similarity": 0.97}, config)
    assert "All descriptors are alike" in alike.cause
    assert "40 of 200 places matched wrongly" in alike.evidence
    figures = {"positive_similarity": 0.9, "negative_similarity": 0.1}
    assert "not told apart" in explain_matching(score, figures, config).cause
    dense = load_config(SuperPointConfig, None, [*SETTINGS, "descriptor.name=dense_hinge"])
    found = explain_matching(score, figures, dense)
    assert "250 outweighs the others" in found.cause
    assert "descriptor.positive_weight=13 at this size" in found.remedy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--labels", "points.csv"], "found no --image"),
        (["train.steps=5"], "overfit sets train.steps by --steps"),
        (["model.descriptor_dim=0"], "model.descriptor_dim: found 0"),
        (["--image", "none.jpg"], "none.jpg: no such file"),
        (["model.head_channels=16"], "another architecture"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path, cli: CommandLine) -> None:
    code, _, error = cli("overfit", *SETTINGS, "--out", tmp_path / "run", "descriptor.name=dual_softmax", *arguments)
    assert code == 2
    assert words in error
    assert error.strip().count("\n") == 0


@pytest.mark.slow
def test_a_photograph_is_learnt_and_a_joint_file_makes_the_kind(
    tmp_path: Path, project: Path, cli: CommandLine
) -> None:
    from superpoint.data.images import sample_photographs
    from superpoint.visualize import save_image

    save_image(tmp_path / "camera.png", dict(sample_photographs())["camera"])
    settings = ["--config", project / "configs/superpoint/lite.yaml", "data.height=128", "data.width=128"]
    settings += ["optimizer.lr=0.003"]  # of 96x96 a cell has more than one place
    image, out = tmp_path / "camera.png", tmp_path / "run"
    code, output, _ = cli("overfit", *settings, "--image", image, "--out", out)
    assert code == 0, output
    assert "two views of camera.png" in output
    assert "descriptor_matching PASS" in " ".join(cli("doctor", out, "--no-range-test").output.split())
