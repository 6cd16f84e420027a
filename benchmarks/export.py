"""Images a second of `superpoint export-detections` by one process and by two, and whether they write the same file.

    python benchmarks/export.py [--images 64] [--homographies 10] [--weights magicpoint]

Crops of 240x320 from the photographs that scikit-image ships. Every process has one thread, so one against two says
what a second core or machine brings. A rate is what the export reports itself: start and merging are left out of it
and stand beside it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from superpoint.data.images import sample_photographs
from superpoint.engine.run import describe_environment

SCRIPT = Path(__file__).parents[1] / "scripts/export_detections.py"


def make_images(folder: Path, count: int) -> None:
    samples = [image for _, image in sample_photographs() if image.shape[0] >= 240 and image.shape[1] >= 320]
    rng = np.random.default_rng(0)
    for index in range(count):
        image = samples[index % len(samples)]
        y, x = int(rng.integers(0, image.shape[0] - 239)), int(rng.integers(0, image.shape[1] - 319))
        Image.fromarray(image[y : y + 240, x : x + 320]).save(folder / f"{index}.jpg", quality=92)


def export(folder: Path, out: Path, processes: int, settings: list[str]) -> tuple[float, float]:
    """(images a second of all processes together, seconds from start to end) of an export in processes of its own."""
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), "--out", str(out), *settings]
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - start
    found = re.search(r"([0-9.]+) images/s", result.stdout)
    if result.returncode or found is None:
        raise SystemExit(result.stdout + result.stderr)
    return float(found[1]), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--homographies", type=int, default=10)
    parser.add_argument("--weights", default="magicpoint")
    arguments = parser.parse_args()
    settings = [f"weights={arguments.weights}", f"adaptation.homographies={arguments.homographies}", "shard_size=4"]

    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores, torch {machine['versions']['torch']}")
    print(f"{arguments.images} images of 240x320, {arguments.homographies} homographies, {arguments.weights}")
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        photos.mkdir()
        make_images(photos, arguments.images)
        rates = {}
        for processes in (1, 2):
            out = Path(temporary) / f"{processes}.h5"
            rates[processes], seconds = export(photos, out, processes, settings)
            print(
                f"{processes} process(es): {rates[processes]:6.2f} images/s, {rates[processes] / processes:6.2f} a "
                f"process; {seconds:.1f} s from start to end"
            )
        one, two = ((Path(temporary) / f"{processes}.h5").read_bytes() for processes in (1, 2))
        print(f"ratio {rates[2] / rates[1]:.2f}; files {'identical' if one == two else 'DIFFER'}, {len(one)} bytes")


if __name__ == "__main__":
    main()
