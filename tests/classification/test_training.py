import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.prediction import identifiers, load_classifier, predict_classes
from superpoint.classification.report import OTHER_REPORTS
from superpoint.classification.training import describe, doubled, in_steps, read_data, train_classifier
from superpoint.commands.conclusion import conclude
from superpoint.config import load_config
from superpoint.diagnostics.report.write import write_report
from superpoint.errors import UserError
from superpoint.models.weights import load_weights
from tests.classification.data.drawings import CLASSES, write_folder

SETTINGS = [
    *("data.height=24", "data.width=24", "augment.crop=padded", "augment.padding=2", "augment.test_resize=1"),
    *("data.workers=0", "model.name=two_convolutions", "optimizer.lr=0.05", "train.batch_size=15", "epochs=12"),
    *("train.precision=fp32", "train.channels_last=false", "train.log_every=4", "train.report=false"),
]


def settings(folder: Path, *more: str) -> ClassifierConfig:
    return load_config(ClassifierConfig, None, [f"data.train={folder / 'data'}", *SETTINGS, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    write_folder(folder / "data", count=25)
    config = settings(folder, f"run={folder / 'run'}", "train.report=true", "train.probe_every=20")
    conclude(config, train_classifier(config))
    return folder / "run"


def test_a_run_learns_and_leaves_everything(run: Path) -> None:
    found = json.loads((run / "evaluation" / "classes.json").read_text())
    assert found["accuracy"] >= 0.8
    assert found["images"] == 15
    assert found["classes"] == list(CLASSES)
    assert np.array(found["confusion"]).sum() == 15
    for name in ("weights.safetensors", "evaluation/confusion.png", "report.html"):
        assert (run / name).stat().st_size > 1000, name
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["event"] == "initial_loss")
    assert abs(first["loss"] - np.log(3)) < 0.1
    assert abs(first["expected"] - np.log(3)) < 1e-6
    epochs = [line for line in lines if line["event"] == "validate"]
    assert [line["step"] for line in epochs] == list(range(4, 49, 4))
    assert {"loss", "accuracy", "train_loss", "train_accuracy", "epoch_seconds", "selected_by"} <= set(epochs[0])
    assert epochs[-1]["train_loss"] < 0.5 * epochs[0]["train_loss"]


def test_images_with_two_labels_or_in_both_parts_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=8)
    data = read_data(settings(tmp_path))
    assert doubled(data.train, data.test) == []
    label = next(number for number in range(len(data.train)) if data.train.labels[number] != data.train.labels[0])
    read = data.train.read
    twice = replace(data.train, read=lambda number: read(0 if number == label else number))
    test = data.train.subset([3])
    two, both = doubled(twice, test)
    assert two == f"1 images have two labels, such as {twice.names[0]} and {twice.names[label]}; keep the right ones"
    assert both.endswith(f"so the accuracy is too good: {twice.names[3]} is {twice.names[3]}")
    console = Console(record=True, quiet=False, width=200)
    describe(settings(tmp_path), replace(data, train=twice, test=test), console)
    assert f"warning: {two}" in console.export_text()


def test_the_report_shows_the_run(run: Path) -> None:
    text = (run / "report.html").read_text()
    for words in ("Confusion matrix", "ln(classes)", "Training samples", "Update ratio"):
        assert words in text, words
    assert "detector loss" not in text
    assert "Keys of this version that the run does not know" not in text
    assert text.count("<img") >= 6 + 1 + 24  # curves, confusion matrix, samples


def test_a_report_of_images_that_have_moved(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = (run / "config.yaml").read_text().replace(str(run.parent / "data"), str(tmp_path / "gone"))
    (tmp_path / "run" / "config.yaml").write_text(config)
    assert "They cannot be drawn" in write_report(tmp_path / "run", others=OTHER_REPORTS).read_text()


def test_a_run_in_two_parts_ends_with_the_same_bits(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=10)
    more = ["epochs=3", "model.name=small", "model.options={dropout: 0.5}", "schedule.name=constant"]
    whole = settings(tmp_path, f"run={tmp_path / 'whole'}", "schedule.warmup=0", *more)
    train_classifier(whole, quiet=True)
    parts = replace(whole, run=str(tmp_path / "parts"))
    train_classifier(replace(parts, epochs=1), quiet=True)
    torch.manual_seed(99)  # dropout draws from the index of the sample, not from here
    train_classifier(parts, resume=True, quiet=True)
    first, second = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["model"]
        for name in ("whole", "parts")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_predictions_in_natural_order(run: Path, tmp_path: Path) -> None:
    source = run.parent / "data"
    (tmp_path / "new").mkdir()
    for number, name in ((1, "10"), (2, "1"), (10, "2")):
        (tmp_path / "new" / f"{number}.png").write_bytes((source / name / "1.png").read_bytes())
    (tmp_path / "new" / "3.png").write_bytes(b"broken")
    skipped = predict_classes(run, tmp_path / "new", tmp_path / "out" / "submission.csv")
    rows = list(csv.reader((tmp_path / "out" / "submission.csv").read_text().splitlines()))
    assert rows == [["id", "label"], ["1", "10"], ["2", "1"], ["10", "2"]]
    assert skipped == ["3.png"]
    shares = []
    for name in CLASSES:
        predict_classes(run, tmp_path / "new", tmp_path / "b.csv", label="probability", of_class=name)
        rows = list(csv.reader((tmp_path / "b.csv").read_text().splitlines()))
        shares.append([float(row[1]) for row in rows[1:]])
    assert np.allclose(np.sum(shares, axis=0), 1, atol=1e-4)
    assert np.argmax(shares, axis=0).tolist() == [2, 0, 1]
    predict_classes(run / "weights.safetensors", tmp_path / "new", tmp_path / "c.csv", label="number")
    assert [row[1] for row in csv.reader((tmp_path / "c.csv").read_text().splitlines())] == ["label", "2", "0", "1"]


def test_weights_of_an_unfinished_run_can_predict(run: Path) -> None:
    by_weights, spec = load_classifier(run)
    by_checkpoint, other = load_classifier(run / "checkpoints" / "best.ckpt")
    assert spec == other
    image = torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(by_weights(image), by_checkpoint(image))


def test_identifiers_stay_apart() -> None:
    assert identifiers(["1.jpg", "2.jpg", "a/2.png"]) == ["1", "2", "a/2"]
    assert identifiers(["1.jpg", "1.png", "2.png"]) == ["1.jpg", "1.png", "2"]


def test_bad_predictions_are_one_clear_line(run: Path, tmp_path: Path) -> None:
    def message(*args: object, **keys: str) -> str:
        with pytest.raises(UserError) as caught:
            predict_classes(*args, tmp_path / "out.csv", **keys)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    data = run.parent / "data"
    assert "no such folder" in message(run, tmp_path / "absent")
    assert "found no image to classify" in message(run, tmp_path)
    assert "--label: found 'nmae', expected one of name, number, probability; did you mean" in message(
        run, data, label="nmae"
    )
    assert "--class: found '3', expected one of 1, 2, 10" in message(run, data, label="probability", of_class="3")
    assert "not weights of a classifier" in message("magicpoint", data)


def test_training_starts_from_weights_of_other_classes(run: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=10, classes=("a", "b"))
    train_classifier(settings(tmp_path, f"run={tmp_path / 'run'}", f"weights={run}", "epochs=1"), quiet=True)
    old, new = load_weights(run)[0], load_weights(tmp_path / "run")[0]
    assert new["classifier.1.weight"].shape[0] == 2 != old["classifier.1.weight"].shape[0]
    change = (new["features.0.weight"] - old["features.0.weight"]).norm() / old["features.0.weight"].norm()
    assert change < 0.5  # a fresh one differs by about 1.4
    with pytest.raises(UserError, match="not the weights of SmallNet: found no 'features"):
        train_classifier(settings(tmp_path, f"run={tmp_path / 'b'}", f"weights={run}", "model.name=small"), quiet=True)


def test_a_plain_state_dict_is_weights_too(run: Path, tmp_path: Path) -> None:
    state = load_weights(run)[0]
    torch.save(dict(state), tmp_path / "net.pth")
    write_folder(tmp_path / "data", count=4)
    config = settings(tmp_path, f"run={tmp_path / 'run'}", f"weights={tmp_path / 'net.pth'}", "epochs=1")
    train_classifier(config, quiet=True)
    for content in (b"", b"junk"):
        (tmp_path / "net.pth").write_bytes(content)
        with pytest.raises(UserError, match=r"net\.pth: cannot be read as weights"):
            train_classifier(replace(config, run=str(tmp_path / "c")), quiet=True)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "net.pth")
    with pytest.raises(UserError, match="not the weights of"):
        train_classifier(replace(config, run=str(tmp_path / "d")), quiet=True)


def test_epochs_become_steps(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", count=10)
    config = settings(tmp_path, "epochs=2.5")
    assert in_steps(config, 100).train.steps == 18
    assert in_steps(config, 100).train.validate_every == 7
    assert len(read_data(config).train) == 24
