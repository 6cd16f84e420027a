"""A reconstruction that is killed at a place, by SIGKILL; run by test_recipe.py in a process of its own.

Arguments: folder of photographs, out, place of death: "none", or a function of this stage at whose call it dies, with
"+" after it once it has returned.
"""

import os
import signal
import sys
from typing import Any

import torch

from superpoint.config.inference import ReconstructConfig
from superpoint.inference.detect_images import labelling_config
from superpoint.reconstruction import mapping, match_features, match_file, recipe

PLACES: dict[str, tuple[Any, str]] = {
    "features": (recipe, "export_detections"),
    "pair": (match_features, "_match_pair"),
    "shard": (match_features, "write_matches"),
    "merge": (match_file, "write_atomically"),
    "matches": (recipe, "match_features"),
    "database": (recipe, "write_database"),
    "verify": (recipe, "verify"),
    "map": (recipe, "map_images"),
    "image": (mapping, "next"),
    "publish": (recipe, "write_page"),
}


def die_at(place: str) -> None:
    module, name = PLACES[place.rstrip("+")]
    original = getattr(module, name, next)

    def call(*given: Any, **named: Any) -> Any:
        if place.endswith("+"):
            original(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, call)


def main() -> None:
    torch.set_num_threads(1)
    match_features.PART = 4  # several shards of ten pairs
    images, out, place = sys.argv[1:]
    if place != "none":
        die_at(place)
    shared = {"backend": "torch", "precision": "fp32", "max_keypoints": 300, "shared_camera": True}
    config = ReconstructConfig(model="superpoint-lite", **shared)  # type: ignore[arg-type]
    result = recipe.reconstruct([images], out, config, labelling_config(config))
    print(result if isinstance(result, int) else result["registered"])


if __name__ == "__main__":
    main()
