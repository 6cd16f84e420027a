"""What every way to use a network takes for granted is the same everywhere."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from superpoint.commands.convert import export_model_command
from superpoint.commands.use import detect_command, match_command, track_command
from superpoint.config.evaluation import EvaluatePairsConfig
from superpoint.config.inference import BORDER, NMS_RADIUS, THRESHOLD, InferenceConfig
from superpoint.demo.comparison import Settings as PageSettings
from superpoint.inference import FeatureDetector
from superpoint.interop.local_feature import KorniaFeature

USERS = [
    FeatureDetector.detect, detect_command, match_command, track_command, export_model_command, KorniaFeature,
    InferenceConfig, EvaluatePairsConfig, PageSettings,
]  # fmt: skip


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.__qualname__)
def test_defaults_are_the_same_however_a_network_is_used(user: Callable[..., Any]) -> None:
    found = {name: each.default for name, each in inspect.signature(user).parameters.items()}
    assert found["nms_radius"] == NMS_RADIUS
    assert found.get("border", BORDER) == BORDER
    if user is not EvaluatePairsConfig:  # which compares the strongest of many
        assert found.get("threshold", THRESHOLD) in (THRESHOLD, None)
