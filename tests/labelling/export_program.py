"""An export that is killed again and again; run by test_export_kill.py in a process of its own.

Arguments: images, out, number of kills, seed. Imports everything once and forks, so that a session takes parts of a
second; the last one is left alone. Beside `out` the result of an export that was never killed: whole.h5.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from superpoint.config import AdaptationConfig, DecodeConfig, LabellingConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.labelling.export import export_detections

CONFIG = LabellingConfig(
    weights="magicpoint-lite",
    resize=64,
    shard_size=4,
    backend="torch",
    precision="fp32",
    adaptation=AdaptationConfig(homographies=3),
    decode=DecodeConfig(threshold=0.005),
)


def session(images: str, out: str) -> int:
    """Process id of a new session."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        with open(os.devnull, "w") as quiet:
            os.dup2(quiet.fileno(), 1)
            os.dup2(quiet.fileno(), 2)
        try:
            export_detections(CONFIG, [images], out, resume=True)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return child


def check_readable(out: Path) -> None:
    """Whatever is there can be opened."""
    for path in (out, *out.with_name(f"{out.name}.shards").glob("*.h5")):
        if path.exists():
            with FeatureFile(path) as labels:
                labels.names()


def shards(out: Path) -> int:
    return len(list(out.with_name(f"{out.name}.shards").glob("*-end.h5")))


def main() -> None:
    images, out, kills, rng = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), random.Random(int(sys.argv[4]))
    whole_file = out.with_name("whole.h5")
    start = time.monotonic()
    os.waitpid(session(images, str(whole_file)), 0)
    whole = time.monotonic() - start
    met = before = 0
    for _ in range(kills):
        child = session(images, str(out))
        # A session gets a third of what a whole export takes, at most, so that the kills meet all of its stages.
        time.sleep(rng.uniform(0, whole / 3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check_readable(out)
        if not out.exists() and shards(out) < before:
            raise SystemExit(f"a session left {shards(out)} shards of the {before} it found")
        before = shards(out)
        met += before > 0
        if out.exists():  # it was done before the kill: look at it, and begin anew
            if out.read_bytes() != whole_file.read_bytes():
                raise SystemExit("a session ended with another file")
            out.unlink()
    _, status = os.waitpid(session(images, str(out)), 0)
    print(f"met shards {met}, last session ended with {os.WEXITSTATUS(status)}")


if __name__ == "__main__":
    main()
