"""A reconstruction that is killed by SIGKILL again and again; run by test_recipe.py in a process of its own.

Arguments: folder of photographs, out, places of death: functions of this stage at whose call a session dies, with "+"
after it once they have returned. The last session is left alone, and another one that makes OUT.whole. Imports
everything once and forks, so that a session takes seconds.
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


def session(images: str, out: str, place: str | None) -> int:
    """Return how a session of its own process ended, as `os.waitstatus_to_exitcode` does."""
    child = os.fork()
    if child == 0:
        if place is not None:
            die_at(place)
        shared = {"backend": "torch", "precision": "fp32", "max_keypoints": 300, "shared_camera": True}
        config = ReconstructConfig(model="superpoint-lite", **shared)  # type: ignore[arg-type]
        code = 1
        try:
            result = recipe.reconstruct([images], out, config, labelling_config(config))
            code = 10 + (0 if isinstance(result, int) else result["registered"])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    torch.set_num_threads(1)
    match_features.PART = 4  # several shards of ten pairs
    images, out, *places = sys.argv[1:]
    for place in places:
        code = session(images, out, place)
        if code != -signal.SIGKILL:
            raise SystemExit(f"the session that was to die at {place} ended with {code}")
    for each in (out, f"{out}.whole"):
        print(f"registered {session(images, each, None) - 10}", flush=True)


if __name__ == "__main__":
    main()
