"""The configuration of joint training, and telling it from that of a detector."""

from pathlib import Path

import pytest

from superpoint.config import MagicPointConfig, SuperPointConfig, dump_config, load_config, load_run_config
from superpoint.config.superpoint import PairDataConfig
from superpoint.errors import UserError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.descriptor_dim=0", r"model\.descriptor_dim: found 0"),
        ("data.kind=mixed", r"data\.kind: found 'mixed', expected one of synthetic, labelled"),
        ("data.kind=labelled", r"without data\.labels"),
        ("data.correspondences=1", r"data\.correspondences"),
        ("data.zoom=0.5", r"data\.zoom"),
        ("data.min_overlap=0", r"data\.min_overlap"),
        ("descriptor.name=triplet", r"descriptor\.name: found 'triplet'"),
        ("descriptor.balance=half", r"descriptor\.balance"),
        ("descriptor.weight=0", r"descriptor\.weight"),
        ("descriptor.temperature=0", r"descriptor\.temperature"),
        ("descriptor.margin=1", r"Key 'margin' not in 'DescriptorLossConfig'"),
        ("validation.pairs=1", r"validation\.pairs"),
        ("validation.height=8", r"validation\.height"),
        ("seed=2000003", "tested on"),
    ],
)
def test_bad_values_are_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(SuperPointConfig, None, [override])
    assert "\n" not in str(caught.value)


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
