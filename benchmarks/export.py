"""Images a second of `superpoint export-detections` by one process and by two, and whether they write the same file.

    python benchmarks/export.py [--images 64] [--homographies 10] [--weights magicpoint] [--repeats 1]

Crops of 240x320 from the photographs that scikit-image ships. Every process has one thread, so one against two says
what a second core or machine brings. A rate is what the export reports itself: start and merging are left out of it
and stand beside it. One and two processes take turns, so that a slow minute of the machine hits both; on a machine with
other work the seconds of CPU, of start and merging too, are what to go by. Memory is the largest resident set of any
process so far: a figure of two processes can only be larger than that of one before it.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from superpoint.data.images import sample_photographs
from superpoint.engine.environment import describe_environment

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
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    settings = [f"weights={arguments.weights}", f"adaptation.homographies={arguments.homographies}", "shard_size=4"]

    machine = describe_environment()
    print(f"{machine['cpu']}, {machine['cores']} cores, torch {machine['versions']['torch']}")
    print(f"{arguments.images} images of 240x320, {arguments.homographies} homographies, {arguments.weights}")
    with tempfile.TemporaryDirectory() as temporary:
        photos = Path(temporary) / "photos"
        photos.mkdir()
        make_images(photos, arguments.images)
        for repeat in range(arguments.repeats):
            rates, files = {}, {}
            for processes in (1, 2):
                out = Path(temporary) / f"{repeat}-{processes}.h5"
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                rates[processes], seconds = export(photos, out, processes, settings)
                files[processes] = out.read_bytes()
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                print(
                    f"{processes} process(es): {rates[processes]:6.2f} images/s, {rates[processes] / processes:6.2f} a "
                    f"process; {seconds:.1f} s from start to end, {busy:.1f} s of CPU, "
                    f"{after.ru_maxrss / 1024:.0f} MB; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
            same = "identical" if files[1] == files[2] else "DIFFER"
            print(f"ratio {rates[2] / rates[1]:.2f}; files {same}, {len(files[1])} bytes", flush=True)


if __name__ == "__main__":
    main()
