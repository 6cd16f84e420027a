"""Images a second of homographic adaptation: the straightforward way against ours, in one run, and whether they agree.

    python benchmarks/adaptation.py [--weights magicpoint] [--images 6] [--views 100] [--size 240 320]

plain way   for each view one cv2 warp, one contiguous fp32 eager forward, its probability added to the sum
ours        `HomographicAdaptation` with the backend and precision that "auto" chooses, warps and sums in batches

Both take the same views of the same photographs (scikit-image's), image by image in turn, so that a slow minute of the
machine hits both. Agreement: share of the points of either with one of the other within 1 px (and within half a pixel).
"""

from __future__ import annotations

import argparse
import platform
import resource
import time

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from superpoint.adaptation import HomographicAdaptation, agreement
from superpoint.adaptation.aggregate import Aggregate
from superpoint.adaptation.views import sample_views
from superpoint.backends import make_network
from superpoint.config import AdaptationConfig, DecodeConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.models import SuperPoint, load_model
from superpoint.models.decode import logits_to_probability, probability_to_points, refine_peaks


def plain_way(model: SuperPoint, image: NDArray[np.uint8], name: str, config: AdaptationConfig) -> NDArray[np.float32]:
    """What one writes first; points [N, 2]."""
    height, width = image.shape
    aggregate = Aggregate(height, width)
    decode = DecodeConfig()
    with torch.no_grad():
        for view in sample_views(config, height, width, name):
            size = view.size[1], view.size[0]
            warped = cv2.warpPerspective(image, view.h_image_view, size, borderMode=cv2.BORDER_REFLECT)
            logits = model(torch.from_numpy(warped)[None, None].float() / 255)["logits"]
            aggregate.add([view], logits_to_probability(logits), decode.threshold / 16)
        valid = aggregate.seen() >= config.min_views
        (found,) = probability_to_points(aggregate.heatmap()[None], valid=valid, subpixel=False)
        x, y = found.points.long().unbind(dim=1)
        return refine_peaks(aggregate.density()[None], torch.zeros_like(x), y, x).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", default="magicpoint")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--views", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=[240, 320], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    arguments = parser.parse_args()

    model = load_model(arguments.weights)
    network = make_network(model, arguments.backend, arguments.precision)
    contiguous = model.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    config = AdaptationConfig(homographies=arguments.views)
    adaptation = HomographicAdaptation(network, config, DecodeConfig(), network.device)
    size = tuple(arguments.size)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{arguments.weights}, {arguments.views} views of {size[0]}x{size[1]}; ours: {network}")

    spent, near, nearer, peak = np.zeros(2), [], [], []
    for index, (name, rgb) in enumerate(sample_photographs()[: arguments.images + 1]):
        image = resize_with_points(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.empty((0, 2)), size)[0]  # type: ignore[arg-type]
        start = time.perf_counter()
        ours = adaptation(image, name).points
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
    count = len(near)
    print(
        f"plain way {count / spent[1]:.3f} img/s, ours {count / spent[0]:.3f} img/s: ratio {spent[1] / spent[0]:.2f}; "
        f"within 1 px {np.mean(near):.1%}, within half a pixel {np.mean(nearer):.1%}; "
        f"most memory {peak[0]:.0f} MB after one image, {peak[-1]:.0f} MB after all"
    )


if __name__ == "__main__":
    main()
