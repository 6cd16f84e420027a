from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from superpoint.config import AdaptationConfig, dump_config, load_config
from superpoint.errors import UserError


@dataclass(frozen=True)
class Stage:
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)


def test_as_a_section_of_a_stage() -> None:
    config = load_config(Stage, overrides=["adaptation.homographies=1", "adaptation.scales=[1.0,0.5]"])
    assert config.adaptation == AdaptationConfig(homographies=1, scales=[1.0, 0.5])
    assert "min_views: 5" in dump_config(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("homographies=-1", r"adaptation\.homographies: found -1, expected a finite number >= 0"),
        ("rotation=200", r"adaptation\.rotation: found 200"),
        ("scale=[1.5,0.7]", r"adaptation\.scale: found \[1\.5, 0\.7\], expected \[low, high\]"),
        ("scale=[0.1,0.2]", r"adaptation\.scale: found \[0\.1, 0\.2\], expected a highest zoom of 0\.4 or more"),
        ("perspective=0.5", r"adaptation\.perspective: found 0\.5, expected >= 0 and < 0\.5"),
        ("scales=[]", r"adaptation\.scales: found an empty list"),
        ("scales=[1.0,0.0]", r"adaptation\.scales: found 0\.0"),
        ("aggregation=median", r"adaptation\.aggregation: found 'median', expected one of mean, max"),
        ("min_views=0", r"adaptation\.min_views: found 0"),
        ("settle=1.5", r"adaptation\.settle: found 1\.5"),
        ("memory=-1", r"adaptation\.memory: found -1"),
    ],
)
def test_wrong_values_are_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(Stage, overrides=[f"adaptation.{override}"])
