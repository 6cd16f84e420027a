"""The command line: one clear line and exit code 2 for what a user gets wrong."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from superpoint.engine.interrupt import StopRequest
from superpoint.models import build_model
from superpoint.models.weights import save_weights
from tests.classification.data.drawings import write_folder
from tests.conftest import TINY, TINY_MODEL, TINY_TRAINING, CommandLine

SHORT = [*TINY_TRAINING, "train.batch_size=1", "train.report=false", "validation.images=2", "validation.final_images=2"]


def superpoint(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "superpoint", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_folder(folder / "data", count=3)
    (folder / "empty").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train-magicpoint train.steps=abc", "train.steps"),
        ("train-magicpoint model.descriptor_dim=16", "model.descriptor_dim"),
        ("train-magicpoint model.encoder=vgh", "expected one of vgg, lite"),
        ("train-magicpoint data.synthetic.primitives.blob=1", "'blob'"),
        ("train-classifier", "data.train: found nothing, expected a folder"),
        ("train-classifier data.channels=2", "data.channels: found 2, expected 3 (RGB) or 1"),
        ("train-classifier augment.test_crops=7", "augment.test_crops: found 7, expected 1, 5 or 10"),
        ("train-classifier augment.crop=random", "augment.crop: found 'random', expected one of resized"),
        ("train-classifier augment.scale=[0.5,0.1]", "augment.scale: found [0.5, 0.1]"),
        ("detect a.jpeg --out pics", "did you mean 'a.jpg'?"),
        ("detect a.jpg", "--out"),
        ("detect a.jpg threshold=0.1 --out pics", "is it --threshold 0.1?"),
        ("detect a.jpg --out pics --threshold 2", "--threshold: found 2"),
        ("detect a.jpg --out pics --resize 3", "--resize: found 3"),
        ("detect a.jpg --out pics --backend torh", "did you mean 'torch'?"),
        ("detect-samples --threshhold 1", "--threshhold"),
        ("match a.jpg --out m.png", "second"),
        ("match a.jpg b.jpg --nms-radius -1", "--nms-radius: found -1"),
        ("track nothing.mp4 --out t.mp4", "nothing.mp4: no such file"),
        ("track a --out t.mp4 --device gpu", "'gpu' is not one of"),
        ("export-detections", "--out: expected the feature file to write"),
        ("export-detections --out a.h5", "images: found no input"),
        ("export-detections --out a.h5 resise=9", "resise"),
        ("export-detections --out a.h5 resize=3", "resize: found 3"),
        ("export-detections --out a.h5 adaptation=no", "expected adaptation=none, or adaptation.KEY=VALUE"),
        ("export-detections --out a.h5 backend=tpu", "backend: found 'tpu', expected one of auto, torch"),
        ("export-detections --out a.h5 shard_size=0", "shard_size: found 0"),
        ("export-detections --out a.h5 --model nowhere photos", "nowhere: no such file, expected weights"),
        ("export-weights --model nowhere --out w.safetensors", "nowhere: no such file"),
        ("list-classes empty", "found no sub-folder"),
        ("predict-classes data --model data", "found no checkpoint"),
        ("predict-classes data --model absent", "no such file"),
        ("evaluate repeatability", "Missing option '--extractors'"),
        ("study mnist", "data.train: found nothing"),
        ("study mnist --rates fast", "--rates: found 'fast', expected numbers"),
        ("study depth data.train=data --depths 21", "--depths: found '21', expected one of 8, 14, 20"),
        ("study ingredients data.train=absent", "data.train=absent: no such file"),
        ("visualize-dataset data.width=-8", "data.width"),
        ("find-lr optimizer.lr=0", "optimizer.lr"),
        ("overfit --steps 0", "--steps"),
        ("overfit --minutes nan", "minutes"),
        ("summary model.head_channels=100000000", "not enough memory"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    command: str, message: str, cli: CommandLine, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    assert message in cli.fails(*command.split())
    assert {path.name for path in workplace.iterdir()} <= {"a.jpg", "b.jpg", "data", "empty", "runs"}
    assert not list(workplace.glob("runs/*/*"))


def test_a_misspelt_classifier(cli: CommandLine, workplace: Path, tmp_path: Path) -> None:
    code, _, error = cli("train-classifier", f"data.train={workplace}/data", "model.name=resnt18", f"run={tmp_path}/r")
    assert code == 2
    assert error.endswith("did you mean 'resnet18'?\n")


def test_no_arguments_show_the_help(cli: CommandLine) -> None:
    code, output, error = cli()
    assert code == 2
    assert "train-magicpoint" in output + error


def test_debug_shows_the_traceback() -> None:
    result = superpoint("--debug", "train-magicpoint", "train.steps=abc")
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_says_once_how_to_go_on(
    number: int, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enter(request: StopRequest) -> StopRequest:
        request.signal = number
        return request

    monkeypatch.setattr(StopRequest, "__enter__", enter)
    code, output, error = cli("train-magicpoint", *SHORT, "train.steps=3", f"run={tmp_path}/run")
    assert code == 128 + number
    assert (output + error).count("--resume") == 1
    assert error.splitlines()[-1].endswith(f"run={tmp_path}/run --resume")


def test_run_folder_that_cannot_be_written(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = cli.fails("train-magicpoint", *TINY, "train.steps=1", f"run={tmp_path}/file/run")
    assert f"{tmp_path}/file/run" in error
    for command in (["visualize-dataset"], ["find-lr", *TINY]):
        assert "cannot be written" in cli.fails(*command, "--out", f"{tmp_path}/file/out")


def test_files_of_a_run(cli: CommandLine, tmp_path: Path) -> None:
    """They are exported and load again."""
    folder, out = tmp_path / "run", tmp_path / "half.safetensors"
    cli.succeeds("train-magicpoint", *SHORT, "train.steps=1", f"run={folder}")
    cli.succeeds("export-weights", "--model", folder, "--out", out, "--half")
    assert out.stat().st_size < 0.6 * (folder / "weights.safetensors").stat().st_size
    cli.succeeds("detect-samples", "--model", out, "--max-keypoints", 5, "--out", tmp_path / "pictures")
    assert (tmp_path / "pictures/all.png").exists()
    assert "ends in .safetensors" in cli.fails("export-weights", "--model", folder, "--out", tmp_path / "w.pt")
    assert "no such folder" in cli.fails("export-weights", "--model", folder, "--out", tmp_path / "no/w.safetensors")


def test_weights_that_do_not_fit(cli: CommandLine, tmp_path: Path) -> None:
    model, path = build_model(TINY_MODEL), tmp_path / "w.safetensors"
    command = ["detect-samples", "--model", path]
    out = ["--out", tmp_path / "out"]
    save_weights(path, model, {"encoder": "lite", "head_channels": 32})
    assert "another architecture" in cli.fails(*command, *out)
    save_weights(path, model, {"encoder": "lite", "head_channels": 16, "colour": 1})
    assert "'colour'" in cli.fails(*command, *out)
    path.write_bytes(path.read_bytes()[:100])
    assert "w.safetensors" in cli.fails(*command, *out)
    save_weights(path, model, {"encoder": "lite", "head_channels": 16})
    assert "--out" in cli.fails(*command)
