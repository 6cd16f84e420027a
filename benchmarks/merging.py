"""What surrounds the network in a large export: writing shards, merging and listing them, listing images, the plan.

    python benchmarks/merging.py [--images 10000 30000 100000] [--points 100] [--shard-size 64]

Labels are synthetic, `--points` an image; no image is read and no network runs. Each number of images is measured in a
process of its own, so that its memory is its own. On a machine with other work the seconds of CPU are what to go by.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.source import Files, open_source
from superpoint.engine.environment import describe_environment
from superpoint.features import Features
from superpoint.labelling.shards import PartWriter, ShardFolder, digest
from superpoint.labelling.summary import summarise

ATTRIBUTES = {"writer": "benchmark", "model": "0" * 16, "config": "", "key": "0" * 16, "plan": "0" * 16}


def memory() -> float:
    """Largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(images: int, points: int, shard_size: int, folder: Path) -> None:
    def step(name: str, work: Callable[[], Any], note: Callable[[Any], str] = lambda _: "") -> Any:
        start, busy = time.perf_counter(), time.process_time()
        result = work()
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
        print(
            f"  {name:34s} {seconds:8.2f} s, {busy:8.2f} s of CPU, {busy / images * 1e6:6.0f} us an image, "
            f"{memory():6.0f} MB  {note(result)}",
            flush=True,
        )
        return result

    photos = folder / "photos"
    for number in range(images):
        if number % 1000 == 0:
            (photos / f"{number // 1000:06d}").mkdir(parents=True)
        (photos / f"{number // 1000:06d}" / f"{number:09d}.jpg").touch()
    print(f"{images} images, {points} points each, {shard_size} a shard; {memory():.0f} MB at the start")
    source = step("list the images of a folder", lambda: open_source([str(photos)]))
    assert isinstance(source, Files)
    shards = ShardFolder(folder / "labels.h5")
    plan = {"config": {}, "model": "0" * 16, "source": source.describe()}
    step("write plan.json", lambda: shards.start(plan, resume=False), lambda _: size(shards.plan_file, images))
    step("read plan.json and take its hash", lambda: digest(shards.read_plan()))

    rng = np.random.default_rng(0)
    places = rng.uniform(0, 240, (points, 2)).astype(np.float32)
    scores = np.sort(rng.random(points, np.float32))[::-1]
    features = Features(places, scores, image_size=(320, 240), uncertainty=1.0, views=100)

    writer = PartWriter(shards, {}, shard_size, ATTRIBUTES)

    def write() -> None:
        for part in range(source.parts(shard_size)):
            for name in source.names[part * shard_size : (part + 1) * shard_size]:
                writer.add(part, name, features)
            writer.end(part)

    step("write the shards", write, lambda _: f"{len(shards.files())} files")
    step("see which shards are finished", shards.finished)
    step("merge into one file", lambda: shards.merge(ATTRIBUTES), lambda _: size(shards.out, images))
    step("list the merged file", lambda: len(FeatureFile(shards.out)))
    step("list the folder of shards", lambda: len(FeatureFile(shards.path)))

    def describe() -> object:
        with FeatureFile(shards.out) as labels:
            return summarise((each for _, each in labels), resize=0)

    step("read all, as labels info does", describe)


def size(path: Path, images: int) -> str:
    content = path.stat().st_size
    return f"{content / 1e6:.1f} MB, {content / images:.0f} bytes an image"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--shard-size", type=int, default=64)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        with tempfile.TemporaryDirectory() as folder:
            measure(arguments.images[0], arguments.points, arguments.shard_size, Path(folder))
        return
    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    for images in arguments.images:
        options = ["--points", str(arguments.points), "--shard-size", str(arguments.shard_size)]
        subprocess.run([sys.executable, __file__, "--here", "--images", str(images), *options], check=True)


if __name__ == "__main__":
    main()
