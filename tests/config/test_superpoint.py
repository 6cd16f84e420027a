"""The configuration of joint training, and telling it from that of a detector."""

from pathlib import Path

import pytest

from superpoint.config import MagicPointConfig, SuperPointConfig, dump_config, load_config, load_run_config
from superpoint.config.superpoint import PairDataConfig
from superpoint.errors import UserError


def test_correspondences_are_no_denser_than_one_in_six_by_six_pixels() -> None:
    assert PairDataConfig().rows == 192
    assert PairDataConfig(height=48, width=60).rows == 48 * 60 // 36
    assert PairDataConfig(height=48, width=60, correspondences=7).rows == 7


@pytest.mark.parametrize("cls", [MagicPointConfig, SuperPointConfig])
def test_the_configuration_of_a_run_is_recognised(cls: type[MagicPointConfig], tmp_path: Path) -> None:
    config = load_config(cls, None, ["train.steps=7"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    loaded = load_run_config(tmp_path / "config.yaml")
    assert type(loaded) is cls
    assert loaded == config
    with pytest.raises(UserError, match="no such config file"):
        load_run_config(tmp_path / "nothing.yaml")
