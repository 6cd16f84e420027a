from pathlib import Path

import pytest

from superpoint.classification.config import ClassifierConfig
from superpoint.config import dump_config, load_config
from superpoint.errors import UserError


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
