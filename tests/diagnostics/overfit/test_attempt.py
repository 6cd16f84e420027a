import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from torch import nn

from superpoint.config import MagicPointConfig, ModelConfig, SuperPointConfig, load_config, load_run_config
from superpoint.data.feature_writer import save_features
from superpoint.data.images import sample_photographs
from superpoint.data.labelled import cover
from superpoint.diagnostics.doctor import doctor
from superpoint.diagnostics.finding import Status
from superpoint.diagnostics.heatmaps.visualize import default_subjects
from superpoint.diagnostics.overfit.attempt import free_folder, overfit, overfit_config
from superpoint.diagnostics.overfit.watch import Watch
from superpoint.diagnostics.reading import read_run
from superpoint.engine import RunFolder
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models import build_model
from superpoint.models.weights import export_weights, save_weights
from superpoint.visualize import save_image
from tests.conftest import TINY_NETWORK, TINY_SIZE, CommandLine

SETTINGS = [*TINY_SIZE, *TINY_NETWORK, "model.head_channels=32", "optimizer.lr=0.01"]
PAIR = [
    "data.height=64", "data.width=64", "model.encoder=lite", "model.head_channels=128", "model.descriptor_dim=32",
    "weights=magicpoint-lite", "optimizer.lr=0.003", "train.precision=fp32",
]  # fmt: skip
BLOW_UP = ["optimizer.name=sgd", "optimizer.momentum=0.9"]


def result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "overfit.json").read_text())


class Recording(Watch):
    """Counts the cells that are wrong before the first step."""

    wrong: list[int]

    def start(self, model: nn.Module) -> None:
        super().start(model)
        Recording.wrong = [int(self.frames[0].wrong.sum())]


def test_learns_every_cell_and_says_so(cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpoint.diagnostics.overfit.attempt.Watch", Recording)
    folder = tmp_path / "run"
    code, output, _ = cli("overfit", *SETTINGS, "--out", folder, "--steps", 300)
    assert code == 0
    assert "PASS: all 48 cells right" in output
    validations = RunFolder(folder).history().events("validate")
    assert [event["step"] for event in validations] == list(range(5, validations[-1]["step"] + 1, 5))
    assert validations[-1]["right"] == validations[-1]["cells"] == 48
    assert all(event["right"] < 48 for event in validations[:-1])  # it stops at once
    found = result(folder)
    assert (found["passed"], found["wrong"], found["step"]) == (True, 0, validations[-1]["step"])

    assert found["frames"] == sorted(set(found["frames"]))
    assert (found["frames"][0], found["frames"][-1]) == (0, found["step"])
    assert len(found["frames"]) >= 5
    assert 5_000 < (folder / "strip.png").stat().st_size < 1_000_000
    config = load_config(MagicPointConfig, folder / "config.yaml")
    assert (config.data.overfit, config.train.ema, config.train.batch_size) == (1, 0.0, 1)
    assert Recording.wrong > [2]

    # The first frame of a run that starts from weights shows these, not a network drawn from the seed.
    export_weights(RunFolder(folder).best, tmp_path / "learnt.safetensors", metadata={})
    again = tmp_path / "again"
    weights = f"weights={tmp_path / 'learnt.safetensors'}"
    cli("overfit", *SETTINGS, weights, "optimizer.lr=1e-6", "--out", again, "--steps", 5)
    assert Recording.wrong == [0]
    (first,) = RunFolder(again).history().events("initial_loss")
    assert first["loss"] < 1


@pytest.mark.parametrize("name", ["dual_softmax", "dense_hinge"])
def test_one_pair_is_learnt_with_every_loss(name: str, tmp_path: Path, cli: CommandLine) -> None:
    folder, dense = tmp_path / "run", name == "dense_hinge"
    weight = ["descriptor.positive_weight=13"] if dense else []  # 250 is for 1200 cells, these are 64
    code, output, _ = cli("overfit", *PAIR, f"descriptor.name={name}", *weight, "--out", folder, "--steps", 150)
    assert code == 0, output
    assert "PASS: all " in output
    found = result(folder)
    assert (found["passed"], found["wrong"], found["matching"]["wrong"]) == (True, 0, 0)
    assert found["matching"]["what"] == ("cells" if dense else "correspondences")
    if not dense:  # which trains the cells; between them descriptors are interpolated
        assert found["figures"]["matching_accuracy"] == 1.0
    for picture in ("strip.png", "matches.png"):
        assert 3000 < (folder / picture).stat().st_size < 2_000_000
    config = load_run_config(folder / "config.yaml")
    assert isinstance(config, SuperPointConfig)
    assert (config.descriptor.name, config.data.overfit, config.train.ema) == (name, 1, 0.0)
    looks = RunFolder(folder).history().events("validate")
    assert looks[-1]["right_share"] == 1.0
    assert all(look["right_share"] < 1 for look in looks[:-1])  # it stops at once


@pytest.mark.parametrize(
    ("overrides", "words", "first"),
    [
        (["optimizer.lr=30", "train.clip_norm=0"], "adds up to 300 times a gradient", "gradient_jump"),
        (["optimizer.lr=30"], "train.clip_norm=1 bounds the gradient", "gradient_jump"),
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
    steps = 105 if first == "learning_rate" else 45  # a loss that does not fall is judged after 100 steps
    code, output, _ = cli("overfit", *SETTINGS, *BLOW_UP, *overrides, "--out", folder, "--steps", steps)
    assert code == 1
    assert output.count("FAIL: ") == 1
    assert words in output
    assert "PASS" not in output
    found = result(folder)
    assert not found["passed"]
    assert found["findings"][0]["check"] == first
    if first != "learning_rate":
        assert not {"budget", "dustbin", "cells"} & {finding["check"] for finding in found["findings"]}
    assert (folder / "strip.png").exists()


def test_a_pair_that_blows_up_names_the_cause(tmp_path: Path, cli: CommandLine) -> None:
    broken = ["optimizer.lr=1e8", "optimizer.name=sgd", "train.clip_norm=0"]
    code, output, _ = cli("overfit", *PAIR, *broken, "--out", tmp_path / "run", "--steps", 30)
    assert code == 1
    assert "optimizer.lr" in output


def test_too_few_steps_fail_and_say_so(tmp_path: Path, cli: CommandLine) -> None:
    settings = ["weights=null", "optimizer.lr=0.0005", "--steps", 30, "--scenes", 2]
    code, output, _ = cli("overfit", *PAIR, *settings, "--out", tmp_path / "run")
    assert code == 1
    assert "pairs 1, " in output
    assert result(tmp_path / "run")["matching"]["wrong"] > 0
    assert {"budget", "matching"} <= {finding["check"] for finding in result(tmp_path / "run")["findings"]}


def test_several_scenes_from_an_index_on(cli: CommandLine, tmp_path: Path) -> None:
    out = tmp_path / "[run]"  # nor is a name taken for markup
    code, output, _ = cli("overfit", *SETTINGS, "--out", out, "--index", 4, "--scenes", 2, "--steps", 7)
    assert code == 1
    assert "scenes 4, " in output
    assert "of 96 cells" in output
    assert load_config(MagicPointConfig, out / "config.yaml").data.overfit_first == 4
    assert result(out)["frames"] == [0, 5, 7]  # the last has the step at which the budget ended


def test_the_file_of_the_encoder_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Exception):
        """The model was built and training would begin."""

    def begun(*_: object, **__: object) -> None:
        raise Begun

    monkeypatch.setattr("superpoint.diagnostics.overfit.attempt.fit", begun)
    network = {"encoder": "shufflenet_v2_x0_5", "head_channels": 128}
    save_weights(tmp_path / "start.safetensors", build_model(ModelConfig(**network)), network)
    given = [*PAIR, "model.encoder=shufflenet_v2_x0_5", f"model.encoder_weights={tmp_path / 'gone.pth'}"]
    config = load_config(SuperPointConfig, None, [*given, f"weights={tmp_path / 'start.safetensors'}"])
    with pytest.raises(Begun):
        overfit(config, out=tmp_path / "with")
    config = load_config(SuperPointConfig, None, [*given, "weights=null"])
    with pytest.raises(UserError, match=r"gone\.pth: no such file"):
        overfit(config, out=tmp_path / "without")


def test_photographs_with_labels_from_a_file_or_the_pretrained_detector(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gray = np.ascontiguousarray(dict(sample_photographs())["camera"][:, :, 0])
    Image.fromarray(gray).save(tmp_path / "camera.png")
    (tmp_path / "labels.csv").write_text("x,y\n150.5,200\n300,90\n")
    arguments = [*SETTINGS, "--image", tmp_path / "camera.png", "--steps", 5]
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
    wanted, xy, _ = cover(gray, np.array([[150.5, 200], [300, 90]], np.float32), (48, 64))
    assert np.array_equal(image, wanted)
    np.testing.assert_allclose(points, xy, atol=1e-4)
    assert np.array_equal(default_subjects([tmp_path / "a"], 200, Console(quiet=True), 1)[0].image, image)
    findings = {finding.check: finding for finding in doctor(tmp_path / "a", range_test=False, quiet=True)}
    assert len(findings) == 15
    assert findings["labels"].status is Status.PASS

    monkeypatch.chdir(tmp_path)
    _, output, _ = cli("overfit", *arguments, "--out", "b")
    image, points, _ = read_run(tmp_path / "b").case.dataset.draw(0)
    assert np.array_equal(image, wanted)
    assert len(points) == int(output.split("labels: ")[1].split()[0])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two labelled photographs, images without anything on them, and files of points that do not fit."""
    features = {}
    for number, name in enumerate(["one.png", "two.png"], 1):
        image = np.full((48, 64), 40 * number, np.uint8)
        image[10:30, 20:40] = 220
        save_image(tmp_path / "photos" / name, image)
        features[name] = Features(np.array([[20, 10], [39, 29], [39, 10]][:number], np.float32), image_size=(64, 48))
    save_features(tmp_path / "labels.h5", features)
    for name, width in (("empty.png", 80), ("wide.png", 200)):
        Image.fromarray(np.full((60, width), 90, np.uint8)).save(tmp_path / name)
    for name, text in {"points.txt": "39 29\n", "columns.txt": "1 2 3 4\n", "far.txt": "1 30\n199 5\n"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


LABELLED = ["data.kind=labelled", "data.labels=FILES/labels.h5", "data.images=FILES/photos"]
EMPTY = ["--image", "FILES/empty.png"]


def named(arguments: list[str], files: Path) -> list[str]:
    return [argument.replace("FILES", str(files)) for argument in arguments]


def test_learns_what_the_configuration_names(files: Path, cli: CommandLine) -> None:
    arguments = [*LABELLED, "--out", "FILES/run", "--scenes", "2", "--steps", "5"]
    code, output, _ = cli("overfit", *SETTINGS, *named(arguments, files))
    assert code == 1
    assert "photographs one.png, two.png of" in output
    assert "3 of 96 cells hold a point" in output


def test_a_photograph_goes_before_the_data_of_the_configuration(files: Path, cli: CommandLine) -> None:
    alone = ["data.kind=mixed", "--image", "FILES/photos/two.png", "--labels", "FILES/points.txt"]
    arguments = [*LABELLED, *alone, "--out", "FILES/run", "--steps", "2"]
    _, output, _ = cli("overfit", *SETTINGS, *named(arguments, files))
    assert "two.png, labels: 1 points of" in output
    data = load_config(MagicPointConfig, files / "run/config.yaml").data
    assert (data.kind, Path(data.labels or "").parent) == ("labelled", files / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*LABELLED, "--index", "3"], "--index 3: found data.kind=labelled, expected synthetic"),
        ([*LABELLED, "--scenes", "3"], "found 2 labelled images of 2, expected 3"),
        ([*LABELLED, "data.kind=mixed"], "data.overfit: cannot be used with data.kind=mixed"),
        (["weights=nowhere.safetensors"], "nowhere.safetensors"),
        (["--image", "FILES/nowhere.png"], "nowhere.png: no such file"),
        ([*EMPTY, "--labels", "FILES/nowhere.txt"], "nowhere.txt: no such file"),
        ([*EMPTY, "--labels", "FILES/columns.txt"], "columns.txt: line 1 has 4 columns"),
        (["--image", "FILES/wide.png", "--labels", "FILES/far.txt"], "none of its 2 points is on the middle"),
        (EMPTY, "the pretrained magicpoint finds no point in it"),
        (["--index", "0"], "scene 0 has no label, the next one that has is"),
        (["--labels", "FILES/far.txt"], "found no --image"),
        ([*EMPTY, "--index", "3"], "expected a photograph alone"),
        ([*EMPTY, "--scenes", "2"], "expected a photograph alone"),
        (["schedule.name=cosine"], "schedule.name=cosine: overfit sets schedule by itself"),
        (["data.overfit=2"], "data.overfit=2: overfit sets data.overfit by --scenes"),
        (["run=x"], "by --out"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: no such config file"),
        (["--out", "FILES/photos"], "photos: found a folder that is not empty, expected a new one"),
        ([*PAIR, "model.descriptor_dim=0"], "model.descriptor_dim: found 0"),
        ([*PAIR, "--image", "none.jpg"], "none.jpg: no such file"),
        ([*PAIR, "model.head_channels=16"], "another architecture"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, files: Path, cli: CommandLine
) -> None:
    assert message in cli.fails("overfit", *SETTINGS, "--out", files / "run", *named(arguments, files))
    assert not (files / "run").exists()


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
    config = overfit_config(settings, Path("x"), 7, 20, 50, 0.5)
    assert (config.optimizer, config.loss, config.model) == (settings.optimizer, settings.loss, settings.model)
    assert (config.train.clip_norm, config.train.batch_size, config.train.minutes) == (0, 8, 0.5)


INDICES = (74675, 66182, 31190, 82111, 50414, 87592, 80887, 4746, 8180, 82315)  # drawn once, from 0 .. 99999


@pytest.mark.slow
def test_the_default_recipe_learns_ten_of_ten_scenes(tmp_path: Path) -> None:
    steps = {}
    for index in INDICES:
        outcome = overfit(MagicPointConfig(), out=tmp_path / str(index), index=index)
        assert outcome.passed, index
        steps[index] = outcome.step
    assert max(steps.values()) <= 150, steps  # measured: 45 to 65


@pytest.mark.slow
def test_the_default_recipe_learns_a_photograph(cli: CommandLine, tmp_path: Path) -> None:
    save_image(tmp_path / "camera.png", dict(sample_photographs())["camera"])
    output = cli.succeeds("overfit", "--image", tmp_path / "camera.png", "--out", tmp_path / "run")
    assert "detections of the pretrained magicpoint" in output
    assert "PASS: all 300 cells right" in output


@pytest.mark.slow
def test_a_photograph_is_learnt_and_a_joint_recipe_makes_it_two_views(tmp_path: Path, cli: CommandLine) -> None:
    save_image(tmp_path / "camera.png", dict(sample_photographs())["camera"])
    # Of 96x96 a cell has more than one point.
    settings = ["--config", "superpoint/lite", "data.height=128", "data.width=128", "optimizer.lr=0.003"]
    code, output, _ = cli("overfit", *settings, "--image", tmp_path / "camera.png", "--out", tmp_path / "run")
    assert code == 0, output
    assert "two views of camera.png" in output
    assert "descriptor_matching PASS" in " ".join(cli("doctor", tmp_path / "run", "--no-range-test").output.split())
