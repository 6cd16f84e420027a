"""The command line: one clear line and exit code 2 for what a user gets wrong, in a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from superpoint.config import ModelConfig
from superpoint.models import build_model
from superpoint.models.weights import save_weights
from tests.conftest import TINY, CommandLine


def test_print_config_is_complete_yaml(cli: CommandLine) -> None:
    code, output, _ = cli("train-magicpoint", "--print-config", "train.steps=3")
    assert code == 0
    assert "  steps: 3\n" in output
    assert "checkerboard: 1.0" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train-magicpoint", "train.steps=abc"], "train.steps"),
        (["train-magicpoint", "model.descriptor_dim=16"], "model.descriptor_dim"),
        (["train-magicpoint", "model.encoder=vgh"], "expected one of vgg, lite"),
        (["train-magicpoint", "data.synthetic.primitives.blob=1"], "'blob'"),
        (["detect-samples", "--threshhold", "1"], "--threshhold"),
        (["visualize-dataset", "data.width=-8"], "data.width"),
        (["export-weights", "--model", "nowhere", "--out", "w.safetensors"], "nowhere: no such file"),
        (["find-lr", "optimizer.lr=0"], "optimizer.lr"),
        (["evaluate", "repeatability"], "Missing option '--extractors'"),
        (["overfit", "--steps", "0"], "--steps"),
        (["overfit", "--minutes", "nan"], "minutes"),
        (["summary", "model.head_channels=100000000"], "not enough memory"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: list[str], message: str, cli: CommandLine, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in cli.fails(*arguments)


def test_typer_itself_exits_with_2_for_unknown_options() -> None:
    command = [sys.executable, "-m", "superpoint", "train-magicpoint", "--bogus"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "--bogus" in result.stderr
    assert result.stderr.count("\n") == 1


def test_no_arguments_show_the_help(cli: CommandLine) -> None:
    code, output, error = cli()
    assert code == 2
    assert "train-magicpoint" in output + error


def test_debug_shows_the_traceback() -> None:
    command = [sys.executable, "-m", "superpoint", "--debug", "train-magicpoint", "train.steps=abc"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


def test_run_folder_that_cannot_be_written(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = cli.fails("train-magicpoint", *TINY, "train.steps=1", f"run={tmp_path}/file/run")
    assert f"{tmp_path}/file/run" in error
    for command in (["visualize-dataset"], ["find-lr", *TINY]):
        assert "cannot be written" in cli.fails(*command, "--out", f"{tmp_path}/file/out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(cli: CommandLine, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert str(tmp_path) in cli.fails("train-magicpoint", *TINY, "train.steps=1", f"run={tmp_path}/run")


def make_run(folder: Path, cli: CommandLine) -> Path:
    arguments = [
        *TINY,
        "train.steps=1",
        "train.batch_size=1",
        "train.report=false",
        "validation.images=2",
        "validation.final_images=2",
    ]
    assert cli("train-magicpoint", *arguments, "train.minutes=null", f"run={folder}")[0] == 0
    return folder


def test_checkpoints_that_do_not_fit(cli: CommandLine, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", cli)
    resume = ["train-magicpoint", *TINY, "train.steps=2", "train.minutes=null", "--resume", f"run={folder}"]
    assert "model.head_channels" in cli.fails(*resume, "model.head_channels=24")

    last = folder / "checkpoints/last.ckpt"
    whole = last.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        last.write_bytes(damaged)
        assert "last.ckpt" in cli.fails(*resume)
    torch.save({"something": "else"}, last)
    assert "last.ckpt" in cli.fails(*resume)


def test_weights_that_do_not_fit(cli: CommandLine, tmp_path: Path) -> None:
    model = build_model(ModelConfig(encoder="lite", head_channels=16))
    path = tmp_path / "w.safetensors"
    out = ["--out", str(tmp_path / "out")]
    save_weights(path, model, {"encoder": "lite", "head_channels": 32})
    assert "another architecture" in cli.fails("detect-samples", "--model", path, *out)
    save_weights(path, model, {"encoder": "lite", "head_channels": 16, "colour": 1})
    assert "'colour'" in cli.fails("detect-samples", "--model", path, *out)
    path.write_bytes(path.read_bytes()[:100])
    assert "w.safetensors" in cli.fails("detect-samples", "--model", path, *out)
    save_weights(path, model, {"encoder": "lite", "head_channels": 16})
    assert "--out" in cli.fails("detect-samples", "--model", path)


def test_exported_weights_load_again(cli: CommandLine, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", cli)
    out = tmp_path / "half.safetensors"
    assert cli("export-weights", "--model", folder, "--out", out, "--half")[0] == 0
    assert out.stat().st_size < 0.6 * (folder / "weights.safetensors").stat().st_size
    assert cli("detect-samples", "--model", out, "--max-keypoints", 5, "--out", str(tmp_path / "pictures"))[0] == 0
    assert (tmp_path / "pictures/all.png").exists()
    assert "ends in .safetensors" in cli.fails("export-weights", "--model", folder, "--out", tmp_path / "w.pt")
    assert "no such folder" in cli.fails("export-weights", "--model", folder, "--out", tmp_path / "no/w.safetensors")
