import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from superpoint.cli import app
from superpoint.commands.command import CONFIGS, OVERRIDE
from superpoint.config.inference import InferenceConfig
from superpoint.training import magicpoint
from tests.conftest import CommandLine


def commands(group: typer.Typer = app) -> Iterator[Any]:
    yield from group.registered_commands
    for each in group.registered_groups:
        assert each.typer_instance is not None
        yield from commands(each.typer_instance)


COMMANDS = {str(each.name): each for each in commands()}
SHARED = {
    "config", "print_config", "resume", "overwrite", "out", "model", "quiet", "as_json", "root", "minutes", *(
        field.name for field in fields(InferenceConfig)
    ),
}  # fmt: skip


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(COMMANDS[name].callback).parameters)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_of_itself(name: str) -> None:
    assert re.search(rf"superpoint (\w+ )?{name}\b", COMMANDS[name].epilog)
    assert COMMANDS[name].help
    assert "quiet" in parameters(name)


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_can_be_set_in_two_ways(name: str) -> None:
    keys = {field.name for field in fields(CONFIGS[name])}
    options = set(parameters(name)) - {"labels", "model"}  # of `overfit`: of one photograph; the recipe's: its network
    assert not keys & options
    assert {"config", "arguments"} <= set(parameters(name))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(CONFIGS)))
def test_what_has_no_recipe_takes_options_only(name: str) -> None:
    assert not {"config", "arguments"} & set(parameters(name))


def test_the_total_and_the_minutes_of_a_training_are_one_setting(cli: CommandLine) -> None:
    error = cli.fails("finetune", "--minutes", "5", "training.train.minutes=3")
    assert error == (
        "error: training.train.minutes=3: found beside --minutes, which is the total, expected one of the two\n"
    )
    assert "--minutes" in cli.fails("train-magicpoint", "--minutes", "0")
    assert "--minutes: found 1, expected at least 4" in cli.fails("finetune", "--minutes", "1", "images=tests")


def test_a_folder_without_its_key_is_understood(cli: CommandLine, tmp_path: Path) -> None:
    assert f"; is it images={tmp_path}?" in cli.fails("finetune", tmp_path)
    assert "is it" not in cli.fails("train-magicpoint", tmp_path)  # which has no such key


def test_defaults_are_the_same_everywhere() -> None:
    defaults = {field.name: field.default for field in fields(InferenceConfig)}
    for name in set(COMMANDS) - {"visualize-heatmaps"}:  # of which cells are to be seen
        own = {"model"} | ({"max_keypoints"} if name == "export-model" else set())  # the size of its outputs
        for key in set(parameters(name)) & (set(defaults) - own):
            assert parameters(name)[key].default == defaults[key], (name, key)


def test_help_lists_commands_by_what_they_are_for(cli: CommandLine) -> None:
    text = cli.succeeds("-h")
    places = [text.index(f"\n{each}:\n") for each in ("Use", "Label", "Train", "Evaluate", "Diagnose", "Convert")]
    assert places == sorted(places)
    assert "\nCommands:\n" not in text


def test_version(cli: CommandLine) -> None:
    assert re.fullmatch(r"superpoint \d+\.\d+\.\d+\n", cli.succeeds("--version"))


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train-magicpoint train.steps=3", ["  steps: 3", "checkerboard: 1.0"]),
        ("train-classifier model.name=vgg11_bn", ["name: vgg11_bn", "test_crops: 1"]),
    ],
)
def test_print_config_is_complete(command: str, shown: list[str], cli: CommandLine) -> None:
    output = cli.succeeds(*command.split(), "--print-config")
    assert all(words in output for words in shown)


def test_arguments_are_told_apart() -> None:
    for text in ("resize=64", "decode.max_keypoints=5", "data.images=a/b=c"):
        assert OVERRIDE.fullmatch(text)
    for text in ("photos", "https://x/?a=b", "./a=b", "photos/a=b.jpg", "Photos=2"):
        assert not OVERRIDE.fullmatch(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detct"], "Did you mean 'detect'"),
        (["finetune", "--images", "photos"], "this command takes it as images=VALUE"),
        (["train-magicpoint", "--config", "magicpoint/quik"], "did you mean 'magicpoint/quick'"),
        (["train-magicpoint", "train.stepz=3"], "Did you mean: 'steps'"),
        (["train-magicpoint", "--config", "superpoint/lite"], "is a configuration of train-superpoint"),
        (["evaluate", "synthetic", "--model", "magicpoint-lit"], "did you mean 'magicpoint-lite'?"),
        (["evaluate", "pairs", "protocol=papre"], "did you mean 'paper'"),
        (["study", "mnist", "epochz=3"], "Did you mean: 'epochs'"),
        (["overfit", "train.steps=3"], "by --steps"),
        (["export-model", "--model", "superpoint", "--out", "a.onnx", "--format", "onx"], "did you mean 'onnx'?"),
        (["detect", "f", "--out", "f/a.h5"], "f/a.h5: exists already; take another --out, or --overwrite"),
        (["detect", "f", "--out", "b.h5", "--resume", "--overwrite"], "expected one of the two"),
        (["match", "f/a.h5", "f/a.h5", "--out", "m.gif"], "found 'm.gif', expected a name that ends in .png"),
        (["track", "f", "--out", "t.mkv"], "expected a name that ends in .mp4, .avi, or a folder"),
        (["export-detections", "f", "--out", "l.txt"], "expected a name that ends in .h5"),
        (["train-magicpoint", "run=f"], "run=f: the folder is not empty; go on with it by --resume"),
        (["train-magicpoint", "weights=magicpoint-lit"], "did you mean 'magicpoint-lite'?"),
        (["train-magicpoint", "data.kind=labelled", "data.labels=a.h5", "data.images=f"], "data.labels=a.h5: no such"),
        (["train-classifier", "data.train=nowhere"], "data.train=nowhere: no such file"),
        (["pipeline", "images=nowhere"], "images=nowhere: no such file"),
        (["doctor", "f"], "f: not a run folder"),
        (["overfit", "--out", "f"], "--out f: found a folder that is not empty"),
    ],
)
def test_mistakes_are_found_before_pytorch_is_imported(arguments: list[str], message: str, tmp_path: Path) -> None:
    code = (
        f"import sys\nfrom superpoint.cli import main\ntry:\n    main({arguments})\n"
        "except SystemExit as stopped:\n    assert stopped.code == 2\n    assert 'torch' not in sys.modules"
    )
    (tmp_path / "f").mkdir()
    (tmp_path / "f/a.h5").touch()
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_interrupted_before_anything_is_kept(monkeypatch: pytest.MonkeyPatch, cli: CommandLine) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(magicpoint, "train_magicpoint", interrupt)
    code, _, error = cli("train-magicpoint", "run=a", "--quiet")
    assert code == 130
    assert error.count("\n") == 1
    assert error.endswith("superpoint train-magicpoint run=a --quiet --resume\n")


def test_a_shell_can_complete_commands_and_recipes() -> None:
    environment = {"_SUPERPOINT_COMPLETE": "complete_bash", "COMP_WORDS": "superpoint train-m", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "superpoint"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "train-magicpoint" in result.stdout
