"""SuperPoint: synthetic shapes, MagicPoint, homographic adaptation, joint training, and use of the networks.

>>> import superpoint
>>> model = superpoint.load_model("magicpoint-lite")
>>> model.detect("photo.jpg").keypoints.shape[1]
2

Importing this starts nothing: the names below are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from superpoint.errors import UserError
    from superpoint.features import Features
    from superpoint.inference import FeatureDetector, load_model
    from superpoint.matching import (
        Copies,
        Matches,
        estimate_essential,
        estimate_fundamental,
        estimate_homography,
        explain,
        match,
        match_views,
        relative_pose,
        verdict,
    )
    from superpoint.models import SuperPoint, build_model, load_network

__version__ = "0.1.0"
__all__ = [
    "Copies", "FeatureDetector", "Features", "Matches", "SuperPoint", "UserError", "__version__", "build_model",
    "estimate_essential", "estimate_fundamental", "estimate_homography", "explain", "load_model", "load_network",
    "match", "match_views", "relative_pose", "verdict",
]  # fmt: skip

_HOMES = {
    "superpoint.errors": ("UserError",),
    "superpoint.features": ("Features",),
    "superpoint.inference": ("FeatureDetector", "load_model"),
    "superpoint.matching": (
        *("Copies", "Matches", "match", "match_views", "explain", "verdict"),
        *("estimate_homography", "estimate_fundamental", "estimate_essential", "relative_pose"),
    ),
    "superpoint.models": ("SuperPoint", "build_model", "load_network"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(module), name)
            return value
    raise AttributeError(f"module 'superpoint' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
