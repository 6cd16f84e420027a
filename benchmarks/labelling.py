"""Images a second of homographic adaptation: the straightforward way against ours, in one run, and whether they agree.

    python benchmarks/labelling.py [--weights magicpoint] [--images 6] [--views 100] [--size 240 320]
    python benchmarks/labelling.py --minimum-ratio 4 --minimum-agreement 0.97
    python benchmarks/labelling.py --images 0 --memory-images 2000

plain way   for each view one cv2 warp, one contiguous fp32 eager forward, its probability added to the sum
ours        `HomographicAdaptation` with the backend and precision that "auto" chooses, warps and sums in batches

Both take the same views of the same photographs (scikit-image's), image by image in turn, so that a slow minute of the
machine hits both. Agreement: share of the points of either with one of the other within 1 px (and within half a pixel).

`--memory-images N` then labels N images of mixed sizes, with 4 views each so that thousands take minutes, and measures
by how much the memory of the process grows over the second half of them. Exit code 1 if any demand is not met.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.backends import make_network
from superpoint.config import AdaptationConfig, DecodeConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.labelling import HomographicAdaptation, agreement
from superpoint.labelling.adaptation import FLOOR
from superpoint.labelling.aggregate import Aggregate
from superpoint.labelling.views import sample_views
from superpoint.models import SuperPoint, load_network
from superpoint.models.decode import logits_to_probability, probability_to_keypoints, refine_peaks


def plain_way(model: SuperPoint, image: NDArray[np.uint8], name: str, config: AdaptationConfig) -> NDArray[np.float32]:
    """What one writes first; points [N, 2]."""
    height, width = image.shape
    aggregate = Aggregate(height, width)
    with torch.no_grad():
        for view in sample_views(config, height, width, name):
            size = view.size[1], view.size[0]
            warped = cv2.warpPerspective(image, view.h_image_view, size, borderMode=cv2.BORDER_REFLECT)
            logits = model(torch.from_numpy(warped)[None, None].float() / 255)["logits"]
            aggregate.add([view], logits_to_probability(logits), FLOOR)
        valid = aggregate.seen() >= min(config.min_views, aggregate.views)
        (found,) = probability_to_keypoints(aggregate.heatmap()[None], valid=valid, subpixel=False)
        x, y = found.points.long().unbind(dim=1)
        return refine_peaks(aggregate.density()[None], torch.zeros_like(x), y, x).numpy()


MEMORY_VIEWS = 4  # of each image: what could leak does so with every call


def resident() -> float:
    """Memory of this process in MB, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def memory_growth(label: Callable[[NDArray[np.uint8], str], object], count: int) -> float:
    """MB by which the process grows over 1000 images: slope of a line through the second half of `count` images.

    Sides between 64 and 400 px, none of them the same for long: as a folder of photographs from everywhere.
    """
    rng = np.random.Generator(np.random.SFC64(0))
    pictures = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8) for _, rgb in sample_photographs()]
    used = []
    for index in range(count):
        size = int(rng.integers(64, 401)), int(rng.integers(64, 401))
        image = resize_with_points(pictures[index % len(pictures)], np.empty((0, 2)), size)[0]
        label(image, str(index))
        used.append(resident())
        if (index + 1) % max(1, count // 10) == 0:
            print(f"  {index + 1} images: {used[-1]:.0f} MB", flush=True)
    later = np.array(used[count // 2 :])
    return float(np.polyfit(np.arange(len(later)), later, 1)[0]) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", default="magicpoint")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--views", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--minimum-ratio", type=float, default=0.0, help="of ours to the plain way")
    parser.add_argument("--minimum-agreement", type=float, default=0.0, help="share of the points within 1 px")
    parser.add_argument("--memory-images", type=int, default=0, help="at least 10; 0 = not measured")
    parser.add_argument("--maximum-growth", type=float, default=20.0, help="MB over 1000 images")
    arguments = parser.parse_args()

    model = load_network(arguments.weights)
    network = make_network(model, arguments.backend, arguments.precision)
    contiguous = model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    config = AdaptationConfig(homographies=arguments.views)
    adaptation = HomographicAdaptation(network, config, DecodeConfig(), network.device)
    size = tuple(arguments.size)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{arguments.weights}, {arguments.views} views of {size[0]}x{size[1]}; ours: {network}")

    spent, near, nearer, peak = np.zeros(2), [], [], []
    for index, (name, rgb) in enumerate(sample_photographs()[: arguments.images + 1 if arguments.images else 0]):
        image = resize_with_points(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.empty((0, 2)), size)[0]  # type: ignore[arg-type]
        start = time.perf_counter()
        ours = adaptation(image, name).keypoints
        middle = time.perf_counter()
        if index == 0:
            continue  # to warm up
        theirs = plain_way(contiguous, image, name, config)
        taken = np.array([middle - start, time.perf_counter() - middle])
        spent += taken
        near.append(agreement(ours, theirs, 1.0))
        nearer.append(agreement(ours, theirs, 0.5))
        peak.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(
            f"  {name:16s} plain {taken[1]:6.2f} s, ours {taken[0]:5.2f} s, ratio {taken[1] / taken[0]:5.2f}; "
            f"points {len(theirs)} and {len(ours)}, within 1 px {near[-1]:.1%}, half a pixel {nearer[-1]:.1%}",
            flush=True,
        )
    failures = []
    if near:
        count, ratio = len(near), spent[1] / spent[0]
        print(
            f"plain way {count / spent[1]:.3f} img/s, ours {count / spent[0]:.3f} img/s: ratio {ratio:.2f}; "
            f"within 1 px {np.mean(near):.1%}, within half a pixel {np.mean(nearer):.1%}; "
            f"most memory {peak[0]:.0f} MB after one image, {peak[-1]:.0f} MB after all"
        )
        if ratio < arguments.minimum_ratio:
            failures.append(f"ratio {ratio:.2f}, expected at least {arguments.minimum_ratio:g}")
        if np.mean(near) < arguments.minimum_agreement:
            failures.append(f"agreement {np.mean(near):.1%}, expected at least {arguments.minimum_agreement:.1%}")
    if arguments.memory_images:
        few = AdaptationConfig(homographies=MEMORY_VIEWS, memory=256)
        growth = memory_growth(
            HomographicAdaptation(network, few, DecodeConfig(), network.device), arguments.memory_images
        )
        print(f"memory grows by {growth:.1f} MB over 1000 images of mixed sizes")
        if growth > arguments.maximum_growth:
            failures.append(f"memory growth {growth:.1f} MB, expected at most {arguments.maximum_growth:g}")
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
