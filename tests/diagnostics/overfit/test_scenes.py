"""Learning an image by heart as a user runs it, in miniature: what passes, what fails and why, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from torch import nn

from superpoint.config import MagicPointConfig, load_config
from superpoint.data.feature_writer import save_features
from superpoint.data.images import sample_photographs
from superpoint.data.labelled import cover
from superpoint.diagnostics.doctor import doctor
from superpoint.diagnostics.finding import Status
from superpoint.diagnostics.heatmaps.visualize import default_subjects
from superpoint.diagnostics.overfit.cell_watch import CellWatch
from superpoint.diagnostics.overfit.scenes import check_overrides, free_folder, overfit, overfit_config
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models.weights import export_weights
from superpoint.visualize import save_image
from tests.conftest import TINY_NETWORK, TINY_SIZE, CommandLine

SETTINGS = [*TINY_SIZE, *TINY_NETWORK, "model.head_channels=32", "optimizer.lr=0.01"]
BLOW_UP = ["optimizer.name=sgd", "optimizer.momentum=0.9"]


class Recording(CellWatch):
    """Counts the cells that are wrong before the first step."""

    wrong: list[int]

    def start(self, model: nn.Module) -> None:
        super().start(model)
        Recording.wrong = [int(self.frames[0].wrong.sum())]


def test_learns_every_cell_and_says_so(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpoint.diagnostics.overfit.scenes.CellWatch", Recording)
    folder = tmp_path / "run"
    code, output, _ = cli("overfit", *SETTINGS, "--out", str(folder), "--steps", "300")
    assert code == 0
    assert "PASS: all 48 cells right after" in output
    validations = RunFolder(folder).history().events("validate")
    assert [event["step"] for event in validations] == list(range(5, validations[-1]["step"] + 1, 5))
    assert validations[-1]["right"] == validations[-1]["cells"] == 48
    assert all(event["right"] < 48 for event in validations[:-1])  # it stops at once
    found = json.loads((folder / "overfit.json").read_text())
    assert (found["passed"], found["wrong"], found["step"]) == (True, 0, validations[-1]["step"])

    assert found["frames"] == sorted(set(found["frames"]))
    assert (found["frames"][0], found["frames"][-1]) == (0, found["step"])
    with Image.open(folder / "strip.gif") as gif:
        assert getattr(gif, "n_frames", 1) == len(found["frames"]) >= 5
    for name in ("strip.png", "strip.gif"):
        assert 5_000 < (folder / name).stat().st_size < 1_000_000
    config = load_config(MagicPointConfig, folder / "config.yaml")
    assert (config.data.overfit, config.train.ema, config.train.batch_size) == (1, 0.0, 1)
    assert Recording.wrong > [2]

    # The first frame of a run that starts from weights shows these, not a network drawn from the seed.
    export_weights(RunFolder(folder).best, tmp_path / "learnt.safetensors", metadata={})
    again = tmp_path / "again"
    weights = f"weights={tmp_path / 'learnt.safetensors'}"
    cli("overfit", *SETTINGS, weights, "optimizer.lr=1e-6", "--out", str(again), "--steps", "5")
    assert Recording.wrong == [0]
    (first,) = (event for event in RunFolder(again).history().entries if event["event"] == "initial_loss")
    assert first["loss"] < 1


def test_several_scenes_from_an_index_on(cli: CommandLine, tmp_path: Path) -> None:
    code, output, _ = cli(
        "overfit", *SETTINGS, "--out", str(tmp_path / "run"), "--index", "4", "--scenes", "2", "--steps", "5"
    )
    assert code == 1  # far too few steps
    assert "scenes 4, " in output
    assert "of 96 cells" in output
    assert load_config(MagicPointConfig, tmp_path / "run/config.yaml").data.overfit_first == 4


@pytest.mark.parametrize(
    ("overrides", "words", "first"),
    [
        (
            ["optimizer.lr=30", "train.clip_norm=0"],
            "with momentum 0.9 adds up to 300 times a gradient",
            "gradient_jump",
        ),
        (["optimizer.lr=30"], "train.clip_norm=1 bounds the gradient, not this factor", "gradient_jump"),
        (["optimizer.lr=1e8", "train.clip_norm=0"], "The run ended at step", "nonfinite"),
        # That the loss falls at the end, from 3e5, is no reason to give it more steps.
        (["optimizer.lr=1000"], "adds up to 10000 times a gradient", "gradient_jump"),
        (["optimizer.lr=1e-7"], "Rate too low", "learning_rate"),
    ],
)
def test_failures_name_their_cause(
    overrides: list[str], words: str, first: str, cli: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    steps = "105" if first == "learning_rate" else "45"  # a loss that does not fall is judged after 100 steps
    code, output, _ = cli("overfit", *SETTINGS, *BLOW_UP, *overrides, "--out", str(folder), "--steps", steps)
    assert code == 1
    assert output.count("FAIL: ") == 1
    assert words in output
    assert "remedy: " in output
    assert "PASS" not in output
    found = json.loads((folder / "overfit.json").read_text())
    assert not found["passed"]
    assert found["findings"][0]["check"] == first
    if first != "learning_rate":
        assert not {"budget", "dustbin", "cells"} & {finding["check"] for finding in found["findings"]}
    assert (folder / "strip.png").exists()
    assert (folder / "strip.gif").exists()


def test_photographs_with_labels_from_a_file_or_the_released_detector(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gray = np.ascontiguousarray(dict(sample_photographs())["camera"][:, :, 0])
    Image.fromarray(gray).save(tmp_path / "camera.png")
    (tmp_path / "labels.csv").write_text("x,y\n150.5,200\n300,90\n")
    arguments = [*SETTINGS, "--image", str(tmp_path / "camera.png"), "--steps", "5"]
    monkeypatch.chdir(tmp_path)
    _, output, _ = cli("overfit", *arguments, "--labels", "labels.csv", "--out", "a")
    assert "camera.png, labels: 2 points of" in output
    assert "2 of 48 cells hold a point" in output

    # What looks at the run afterwards, from wherever, sees the photograph; it needs neither of the two files.
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    reading = read_run(tmp_path / "a")
    assert reading.case.config.data.kind == "labelled"
    image, points, _ = reading.case.dataset.draw(0)
    wanted, xy = cover(gray, np.array([[150.5, 200], [300, 90]], np.float32), (48, 64))
    assert np.array_equal(image, wanted)
    np.testing.assert_allclose(points, xy, atol=1e-4)
    assert np.array_equal(default_subjects([tmp_path / "a"], 200, Console(quiet=True))[0].image, image)
    findings = {finding.check: finding for finding in doctor(tmp_path / "a", range_test=False, quiet=True)}
    assert len(findings) == 15
    assert findings["labels"].status is Status.PASS
    assert findings["labels"].details["labelled_cells"] == 2

    monkeypatch.chdir(tmp_path)
    _, output, _ = cli("overfit", *arguments, "--out", "b")
    assert "detections of the pretrained magicpoint" in output
    image, points, _ = read_run(tmp_path / "b").case.dataset.draw(0)
    assert np.array_equal(image, wanted)
    assert len(points) == int(output.split("labels: ")[1].split()[0])


@pytest.fixture
def photographs(tmp_path: Path) -> list[str]:
    """Overrides that name a folder of two labelled photographs."""
    features = {}
    for number, name in enumerate(["one.png", "two.png"], 1):
        image = np.full((48, 64), 40 * number, np.uint8)
        image[10:30, 20:40] = 220
        save_image(tmp_path / "photos" / name, image)
        features[name] = Features(np.array([[20, 10], [39, 29], [39, 10]][:number], np.float32), image_size=(64, 48))
    save_features(tmp_path / "labels.h5", features)
    return ["data.kind=labelled", f"data.labels={tmp_path / 'labels.h5'}", f"data.images={tmp_path / 'photos'}"]


def test_learns_what_the_configuration_names(photographs: list[str], cli: CommandLine, tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "run")]
    code, output, _ = cli("overfit", *SETTINGS, *photographs, *out, "--scenes", "2", "--steps", "5")
    assert code == 1
    assert "photographs one.png, two.png of" in output
    assert "3 of 96 cells hold a point" in output
    for arguments, message in (
        ([*photographs, "--index", "3"], "--index 3: found data.kind=labelled, expected synthetic"),
        ([*photographs, "--scenes", "3"], "found 2 labelled images of 2, expected 3"),
        ([*photographs, "data.kind=mixed"], "data.overfit: cannot be used with data.kind=mixed"),
        ([*photographs, "--labels", "x.csv"], "found no --image"),
        (["weights=nowhere.safetensors"], "nowhere.safetensors"),
    ):
        code, _, error = cli("overfit", *SETTINGS, *arguments, "--out", str(tmp_path / "other"))
        assert (code, error.count("\n"), error[:7]) == (2, 1, "error: "), arguments
        assert message in error
        assert not (tmp_path / "other").exists()


def test_a_photograph_goes_before_the_data_of_the_configuration(
    photographs: list[str], cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "points.txt").write_text("39 29\n")
    alone = ["--image", str(tmp_path / "photos/two.png"), "--labels", str(tmp_path / "points.txt")]
    out = tmp_path / "run"
    _, output, _ = cli("overfit", *SETTINGS, *photographs, "data.kind=mixed", *alone, "--out", str(out), "--steps", "2")
    assert "two.png, labels: 1 points of" in output
    data = load_config(MagicPointConfig, out / "config.yaml").data
    assert (data.kind, Path(data.labels or "").parent) == ("labelled", out)


def test_mistakes_are_one_line_and_exit_code_2(cli: CommandLine, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80), 90, np.uint8)).save(tmp_path / "empty.png")
    Image.fromarray(np.full((60, 200), 90, np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "columns.txt").write_text("1 2 3 4\n")
    (tmp_path / "far.txt").write_text("1 30\n199 5\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")
    empty = ["--image", f"{tmp_path}/empty.png"]
    for arguments, message in (
        (["--image", f"{tmp_path}/nowhere.png"], "nowhere.png: no such file"),
        ([*empty, "--labels", f"{tmp_path}/nowhere.txt"], "nowhere.txt: no such file"),
        ([*empty, "--labels", f"{tmp_path}/columns.txt"], "columns.txt: line 1 has 4 columns"),
        (
            ["--image", f"{tmp_path}/wide.png", "--labels", f"{tmp_path}/far.txt"],
            "none of its 2 points is on the middle",
        ),
        (empty, "the pretrained magicpoint finds no point in it"),
        (["--index", "0"], "scene 0 has no label, the next one that has is"),
        (["--labels", f"{tmp_path}/far.txt"], "found no --image"),
        ([*empty, "--index", "3"], "expected a photograph alone"),
        ([*empty, "--scenes", "2"], "expected a photograph alone"),
        (["schedule.name=cosine"], "schedule.name=cosine: overfit sets schedule by itself"),
        (["data.overfit=2"], "data.overfit=2: overfit sets data.overfit by --images"),
        (["run=x"], "by --out"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such config file"),
    ):
        code, _, error = cli("overfit", *SETTINGS, *arguments, "--out", str(tmp_path / "run"))
        assert (code, error.count("\n"), error[:7]) == (2, 1, "error: "), arguments
        assert message in error
        assert not (tmp_path / "run").exists()
    code, _, error = cli("overfit", *SETTINGS, "--out", str(tmp_path / "full"))
    assert code == 2
    assert "full: found a folder that is not empty, expected a new one" in error


def test_the_last_frame_has_the_step_at_which_the_budget_ended(cli: CommandLine, tmp_path: Path) -> None:
    code, _, _ = cli("overfit", *SETTINGS, "--out", str(tmp_path / "[run]"), "--steps", "7")
    assert code == 1
    assert json.loads((tmp_path / "[run]/overfit.json").read_text())["frames"] == [0, 5, 7]


def test_folders_are_never_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_folder() == Path("runs/overfit")
    (tmp_path / "runs/overfit").mkdir(parents=True)
    assert free_folder() == Path("runs/overfit")
    (tmp_path / "runs/overfit/file").write_text("")
    (tmp_path / "runs/overfit-2").write_text("a file")
    assert free_folder() == Path("runs/overfit-3")


def test_what_the_user_chose_stays() -> None:
    settings = load_config(MagicPointConfig, None, ["optimizer.name=sgd", "optimizer.lr=0.2", "train.clip_norm=0"])
    config = overfit_config(settings, Path("x"), 7, 20, 50, 30.0)
    assert (config.optimizer, config.loss, config.model) == (settings.optimizer, settings.loss, settings.model)
    assert (config.train.clip_norm, config.train.batch_size, config.train.minutes) == (0, 8, 0.5)
    check_overrides(["optimizer.lr=1", "data.height=48", "train.precision=fp32", "model.encoder=lite"])
    with pytest.raises(UserError, match="by --steps"):
        check_overrides(["train.steps=3"])


INDICES = (74675, 66182, 31190, 82111, 50414, 87592, 80887, 4746, 8180, 82315)  # drawn once, from 0 .. 99999


@pytest.mark.slow
def test_the_default_recipe_learns_ten_of_ten_scenes(tmp_path: Path) -> None:
    steps = {}
    for index in INDICES:
        result = overfit(MagicPointConfig(), out=tmp_path / str(index), index=index)
        assert result.passed, index
        steps[index] = result.step
    assert max(steps.values()) <= 150, steps  # measured: 45 to 65


@pytest.mark.slow
def test_the_default_recipe_learns_a_photograph(cli: CommandLine, tmp_path: Path) -> None:
    save_image(tmp_path / "camera.png", dict(sample_photographs())["camera"])
    code, output, _ = cli("overfit", "--image", str(tmp_path / "camera.png"), "--out", str(tmp_path / "run"))
    assert code == 0, output
    assert "detections of the pretrained magicpoint" in output
    assert "PASS: all 300 cells right after" in output
