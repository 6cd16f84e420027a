"""Recipes load by name, build their networks and say what they are for; mistakes are one clear line."""

import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from superpoint.backbones.classifiers import build_classifier
from superpoint.classification.config import ClassifierConfig
from superpoint.config import AdaptConfig, MagicPointConfig, PipelineConfig, SuperPointConfig, dump_config, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.errors import UserError
from superpoint.lightglue.config import MatcherConfig
from superpoint.models import build_model
from superpoint.models.lightglue import build_matcher
from superpoint.training.magicpoint import load_start

FILES = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
STAGES = {
    "magicpoint": MagicPointConfig,
    "adapt": AdaptConfig,
    "superpoint": SuperPointConfig,
    "pipeline": PipelineConfig,
    "classifier": ClassifierConfig,
    "matcher": MatcherConfig,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recipes_load_by_name_and_are_described(path: Path) -> None:
    recipe = f"{path.parent.name}/{path.stem}"
    config = load_config(STAGES[path.parent.name], recipe)
    training = config.training if isinstance(config, AdaptConfig) else config
    training = training.of_magicpoint() if isinstance(training, PipelineConfig) else training
    if isinstance(training, ClassifierConfig):
        size = training.data.height, training.data.width
        build_classifier(training.model.name, 10, training.data.channels, size=size, init=training.model.init)
    elif isinstance(training, MatcherConfig):
        build_matcher(**asdict(replace(training.model, input_dim=64)))
    else:
        build_model(training.model)
        SyntheticShapes(training.data, training.seed)
    lines = path.read_text().splitlines()
    for line, word in zip(lines, ("Purpose:", "Command:", "Time:", "Result:"), strict=False):
        assert line.startswith(f"# {word}")
    assert f"--config {recipe} " in lines[1]
    assert lines[4] == f"stage: {config.stage}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == "superpoint"], ids=lambda path: path.name
)
def test_joint_training_can_start_from_its_weights(path: Path) -> None:
    config = load_config(SuperPointConfig, path)
    assert config.weights is not None
    assert "new: descriptor." in load_start(build_model(config.model), config.weights)


def test_the_recipe_of_the_readme_trains_one_network(project: Path) -> None:
    """What its second training starts from is what its first one makes."""
    recipe = (project / "README.md").read_text().partition("step by step")[2].partition("evaluate pairs")[0]
    first, second = re.findall(r"train-(?:magicpoint|superpoint) --config (\S+)", recipe)
    detector, joint = load_config(MagicPointConfig, first), load_config(SuperPointConfig, second)
    assert (detector.model.encoder, detector.model.head_channels) == (joint.model.encoder, joint.model.head_channels)


def test_dumped_config_loads_again(tmp_path: Path) -> None:
    config = load_config(MagicPointConfig, None, ["train.steps=7", "data.synthetic.primitives.cube=0.25"])
    text = dump_config(config)
    assert text.startswith("stage: train-magicpoint\n")
    (tmp_path / "config.yaml").write_text(text)
    assert load_config(MagicPointConfig, tmp_path / "config.yaml") == config


def test_later_sources_win(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("stage: train-magicpoint\n")
    assert load_config(MagicPointConfig, tmp_path / "a.yaml") == MagicPointConfig()
    (tmp_path / "a.yaml").write_text("stage: train-magicpoint\nseed: 3\ntrain: {steps: 5, batch_size: 4}\n")
    config = load_config(MagicPointConfig, tmp_path / "a.yaml", ["train.steps=6", "train.minutes=null"])
    assert (config.seed, config.train.steps, config.train.minutes, config.train.batch_size) == (3, 6, None, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such config file"),
        ("train: [unclosed", "not valid YAML"),
        ("- a\n- b\n", "expected a mapping"),
        ("stage: train-magicpoint\ntrain: {stepz: 3}", "stepz"),
        ("stage: train-superpoint", "is a configuration of train-superpoint; this command is train-magicpoint"),
        ("seed: 3", "found no stage, expected its first line to be 'stage: train-magicpoint'"),
        ("stage: [a]", "found no stage"),
        (b"\xff\xfe\x00", "a.yaml"),
        ("42", "a.yaml"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, content: str | bytes | None, message: str) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message) as caught:
        load_config(MagicPointConfig, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistyped_recipe_gets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"magicpoint/lit: no such .* did you mean 'magicpoint/lite'"):
        load_config(MagicPointConfig, "magicpoint/lit")
