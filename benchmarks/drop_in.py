"""Whether the real programs find with an exported network what we find: keypoints, scores and descriptors.

    python benchmarks/drop_in.py --model superpoint-plain --lightglue DIR --hloc DIR --original DIR --transformers yes

DIR is a checkout of cvg/LightGlue, of cvg/Hierarchical-Localization with its submodule SuperGluePretrainedNetwork, of
magicleap/SuperPointPretrainedNetwork; transformers is the installed package. Each program's own class loads the file
and runs on the photographs of scikit-image, grey, 480x640. Threshold .005, suppression within 4 px, border of 4 px,
whole pixels, no smoothing. The programs sample descriptors beside the keypoint: "there" compares ours at that place,
"here" ours at the keypoint. Exit code 1 if a program finds other keypoints, or lacks more than one in 1000 (its
suppression ends after three rounds, ours does not), or if scores or descriptors (there) differ by more than 1e-3.
"""

import argparse
import importlib
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from torch import Tensor

from superpoint.config import DecodeConfig
from superpoint.data.images import sample_photographs
from superpoint.export import ExportConfig, write_model
from superpoint.geometry.cells import CELL
from superpoint.models import load_network
from superpoint.models.decode import sample_descriptors
from superpoint.models.extract import decode_maps, dense_maps

SIZE = torch.tensor([640, 480])
THRESHOLD, RADIUS, BORDER, TOLERANCE = 0.005, 4, 4, 1e-3
Run = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # keypoints [N, 2], scores [N], descriptors either way round


def of_class(module: str, file: Path, loader: str, threshold: str, scores: str) -> Run:
    """Run the class SuperPoint of a module, which takes its weights by the function `loader`."""
    options = {threshold: THRESHOLD, "nms_radius": RADIUS, "remove_borders": BORDER}
    program: Any = importlib.import_module(module)
    with mock.patch(loader, return_value=torch.load(file, weights_only=True)):
        network = program.SuperPoint(options) if module.startswith("hloc") else program.SuperPoint(**options)
    network.eval()

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = network({"image": image})
        return found["keypoints"][0], found[scores][0], found["descriptors"][0]

    return run


def lightglue(folder: str, file: Path) -> Run:
    package = types.ModuleType("lightglue")  # without its __init__, which imports torchvision
    package.__path__ = [str(Path(folder) / "lightglue")]
    sys.modules["lightglue"] = package
    loader = "torch.hub.load_state_dict_from_url"
    return of_class("lightglue.superpoint", file, loader, "detection_threshold", "keypoint_scores")


def hloc(folder: str, file: Path) -> Run:
    sys.path.insert(0, folder)
    return of_class("hloc.extractors.superpoint", file, "torch.load", "keypoint_threshold", "scores")


def original(folder: str, file: Path) -> Run:
    sys.path.insert(0, folder)
    program: Any = importlib.import_module("demo_superpoint")
    frontend = program.SuperPointFrontend(str(file), nms_dist=RADIUS, conf_thresh=THRESHOLD, nn_thresh=0.7)

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, descriptors, _ = (torch.from_numpy(each) for each in frontend.run(image[0, 0].numpy()))
        return points[:2].T, points[2], descriptors

    return run


def transformers(_: str, folder: Path) -> Run:
    program: Any = importlib.import_module("transformers")
    processor = program.AutoImageProcessor.from_pretrained(folder)
    network = program.SuperPointForKeypointDetection.from_pretrained(folder).eval()

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grey = (image[0, 0] * 255).round().to(torch.uint8).numpy()
        found = network(**processor(np.stack([grey] * 3, axis=2), return_tensors="pt"))
        points = found.keypoints[0] * SIZE
        kept = (points < SIZE - BORDER - 0.5).all(dim=1)  # it lets the right and the lower border be
        return points[kept], found.scores[0][kept], found.descriptors[0][kept]

    return run


def stretched(points: Tensor) -> Tensor:
    cells = SIZE / CELL
    return (points - 3.5) / (CELL * cells - 4.5) * (cells - 1) * CELL + 3.5


PROGRAMS: dict[str, tuple[Callable[[str, Path], Run], Callable[[Tensor], Tensor]]] = {
    "lightglue": (lightglue, stretched),
    "hloc": (hloc, stretched),
    "original": (original, lambda points: points - 0.5),
    "transformers": (transformers, stretched),
}


def compare(model: str, program: str, place: str) -> bool:
    """Print a row, and return whether both find the same."""
    load, position = PROGRAMS[program]
    form = program if program == "transformers" else "superpoint-v1"
    network, decode = load_network(model), DecodeConfig(RADIUS, THRESHOLD, BORDER, subpixel=False)
    counts, apart = np.zeros(3, int), np.zeros(3)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        config = ExportConfig(form, decode=DecodeConfig(RADIUS, THRESHOLD, BORDER, 1_000_000))
        run = load(place, write_model(network, Path(folder) / "superpoint_v1.pth", config))
        for _, rgb in sample_photographs():
            grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), SIZE.tolist())
            image = torch.from_numpy(grey)[None, None].float() / 255
            maps = dense_maps(network, image)
            assert maps.descriptors is not None
            (ours,) = decode_maps(maps, decode, smoothing=0)
            points, scores, descriptors = (values.float() for values in run(image))
            descriptors = descriptors if len(descriptors) == len(points) else descriptors.T
            index = {tuple(point): number for number, point in enumerate(points.round().int().tolist())}
            rows = [(i, index[p]) for i, p in enumerate(map(tuple, ours.keypoints.astype(int))) if p in index]
            counts += len(ours), len(points), len(rows)
            a, b = torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).T
            keypoints = torch.from_numpy(ours.keypoints)[a]
            there, here = (sample_descriptors(maps.descriptors, [p])[0] for p in (position(keypoints), keypoints))
            found = torch.from_numpy(ours.scores)[a] - scores[b], there - descriptors[b], here - descriptors[b]
            apart = np.maximum(apart, [float(each.abs().max()) if len(rows) else 0.0 for each in found])
    print(f"| {program} | {', '.join(map(str, counts))} | {' | '.join(f'{each:.1e}' for each in apart)} |", flush=True)
    same = counts[0] > 0 and counts[1] == counts[2] and counts[2] >= (1 - TOLERANCE) * counts[0]
    return bool(same and (apart[:2] <= TOLERANCE).all())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="superpoint-plain")
    for name in PROGRAMS:
        parser.add_argument(f"--{name}", metavar="DIR")
    options = parser.parse_args()
    print("| program | keypoints ours, theirs, both | scores | descriptors there | here |\n|---|---|---|---|---|")
    chosen = [name for name in PROGRAMS if getattr(options, name)]
    return int(not all([compare(options.model, name, getattr(options, name)) for name in chosen]))


if __name__ == "__main__":
    sys.exit(main())
