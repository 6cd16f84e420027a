from __future__ import annotations

from pathlib import Path

import pytest

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.model import build_classifier
from superpoint.config import dump_config, load_config
from superpoint.errors import UserError

FILES = sorted((Path(__file__).parents[2] / "configs" / "classifier").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_config_loads_and_is_described(path: Path) -> None:
    config = load_config(ClassifierConfig, path)
    size = config.data.height, config.data.width
    build_classifier(config.model.name, 10, config.data.channels, size, init=config.model.init)
    header = path.read_text().split("\nrun:")[0]
    for word in ("# Purpose:", "# Command:", "# Time:", "# Result:", f"configs/classifier/{path.name}"):
        assert word in header, f"{path.name} lacks '{word}'"


def test_there_are_configs() -> None:
    assert {path.stem for path in FILES} >= {"mnist", "small", "resnet18"}


def test_dumped_config_loads_again(tmp_path: Path) -> None:
    config = load_config(ClassifierConfig, None, ["model.options={dropout: 0.5}", "data.classes=[a,b]", "epochs=2.5"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(ClassifierConfig, tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epochs=0", "epochs: found 0"),
        ("epochs=inf", "epochs"),
        ("label_smoothing=1", "label_smoothing"),
        ("data.test_share=1", r"data\.test_share"),
        ("data.width=2", r"data\.width: found 2"),
        ("data.normalise=std", "did you mean 'standard'|expected one of standard"),
        ("augment.ratio=[2,1]", r"augment\.ratio"),
        ("augment.jitter=[0.5,2]", r"augment\.jitter"),
        ("augment.hue=0.7", r"augment\.hue"),
        ("augment.flip=nan", r"augment\.flip"),
        ("model.init=zeros", r"model\.init"),
        ("model.nmae=x", "name"),
    ],
)
def test_bad_values_are_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(ClassifierConfig, None, [override])
    assert "\n" not in str(caught.value)
