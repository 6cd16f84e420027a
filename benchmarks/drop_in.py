"""Whether the real programs find with an exported network what we find: keypoints, scores and descriptors.

    python benchmarks/drop_in.py --model superpoint-plain --lightglue DIR --hloc DIR --original DIR --transformers yes

DIR is a checkout of cvg/LightGlue, of cvg/Hierarchical-Localization with its submodule SuperGluePretrainedNetwork, of
magicleap/SuperPointPretrainedNetwork; transformers is the installed package. Each program's own class loads the file
in place of its own and runs on the photographs of scikit-image, grey, 480x640. Both sides: threshold .005, suppression
within 4 px, border of 4 px, whole pixels, no smoothing. The programs sample descriptors beside the keypoint (up to
3.5 px): "there" compares ours at the same place, "here" ours at the keypoint. transformers leaves the right and lower
border in: those keypoints are not compared. Exit code 1 unless all keypoints are the same, and scores and descriptors
(there) equal to 1e-3.
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
from superpoint.export import Settings, write_model
from superpoint.geometry.cells import CELL
from superpoint.models import load_network
from superpoint.models.decode import sample_descriptors
from superpoint.models.extract import decode_maps, dense_maps

SIZE = torch.tensor([640, 480])
THRESHOLD, RADIUS, BORDER, TOLERANCE = 0.005, 4, 4, 1e-3
Run = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # image -> keypoints [N, 2], scores [N], descriptors [N, 256]


def lightglue(folder: str, file: Path) -> Run:
    package = types.ModuleType("lightglue")  # without its __init__, which imports torchvision
    package.__path__ = [str(Path(folder) / "lightglue")]
    sys.modules["lightglue"] = package
    program: Any = importlib.import_module("lightglue.superpoint")
    with mock.patch("torch.hub.load_state_dict_from_url", return_value=torch.load(file, weights_only=True)):
        network = program.SuperPoint(detection_threshold=THRESHOLD, nms_radius=RADIUS, remove_borders=BORDER).eval()
    names = ("keypoints", "keypoint_scores", "descriptors")
    return lambda image: tuple(network({"image": image})[name][0] for name in names)


def hloc(folder: str, file: Path) -> Run:
    sys.path.insert(0, folder)
    program: Any = importlib.import_module("hloc.extractors.superpoint")
    with mock.patch("torch.load", return_value=torch.load(file, weights_only=True)):
        options = {"keypoint_threshold": THRESHOLD, "nms_radius": RADIUS, "remove_borders": BORDER}
        network = program.SuperPoint(options).eval()

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = network({"image": image})
        return found["keypoints"][0], found["scores"][0], found["descriptors"][0].T

    return run


def original(folder: str, file: Path) -> Run:
    sys.path.insert(0, folder)
    program: Any = importlib.import_module("demo_superpoint")
    frontend = program.SuperPointFrontend(str(file), nms_dist=RADIUS, conf_thresh=THRESHOLD, nn_thresh=0.7)

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        points, descriptors, _ = frontend.run(image[0, 0].numpy())
        return torch.from_numpy(points[:2].T), torch.from_numpy(points[2]), torch.from_numpy(descriptors.T)

    return run


def transformers(_: str, folder: Path) -> Run:
    program: Any = importlib.import_module("transformers")
    processor = program.AutoImageProcessor.from_pretrained(folder)
    network = program.SuperPointForKeypointDetection.from_pretrained(folder).eval()

    def run(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        grey = (image[0, 0] * 255).round().to(torch.uint8).numpy()
        found = network(**processor(np.stack([grey] * 3, axis=2), return_tensors="pt"))
        points = found.keypoints[0] * SIZE
        kept = (points < SIZE - BORDER - 0.5).all(dim=1)
        return points[kept], found.scores[0][kept], found.descriptors[0][kept]

    return run


def stretched(points: Tensor) -> Tensor:
    cells = SIZE / CELL
    return (points - 3.5) / (CELL * cells - 4.5) * (cells - 1) * CELL + 3.5


PROGRAMS: dict[str, tuple[Callable[[str, Path], Run], str, Callable[[Tensor], Tensor]]] = {
    "lightglue": (lightglue, "superpoint-v1", stretched),
    "hloc": (hloc, "superpoint-v1", stretched),
    "original": (original, "superpoint-v1", lambda points: points - 0.5),
    "transformers": (transformers, "transformers", stretched),
}


def compare(model: str, program: str, place: str) -> bool:
    """Print a row, and return whether both find the same."""
    load, form, position = PROGRAMS[program]
    network, decode = load_network(model), DecodeConfig(RADIUS, THRESHOLD, BORDER, subpixel=False)
    counts, apart = np.zeros(3, int), np.zeros(3)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        settings = Settings(1_000_000, RADIUS, THRESHOLD, BORDER)
        run = load(place, write_model(network, form, Path(folder) / "superpoint_v1.pth", settings))
        for _, rgb in sample_photographs():
            grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), SIZE.tolist())
            image = torch.from_numpy(grey)[None, None].float() / 255
            maps = dense_maps(network, image)
            assert maps.descriptors is not None
            (ours,) = decode_maps(maps, decode, smoothing=0)
            points, scores, descriptors = (values.float() for values in run(image))
            index = {tuple(point): number for number, point in enumerate(points.round().int().tolist())}
            rows = [(i, index[p]) for i, p in enumerate(map(tuple, ours.keypoints.astype(int))) if p in index]
            counts += len(ours), len(points), len(rows)
            for a, b in [torch.tensor(rows).T] if rows else []:
                keypoints = torch.from_numpy(ours.keypoints)[a]
                there, here = (sample_descriptors(maps.descriptors, [p])[0] for p in (position(keypoints), keypoints))
                found = torch.from_numpy(ours.scores)[a] - scores[b], there - descriptors[b], here - descriptors[b]
                apart = np.maximum(apart, [float(each.abs().max()) for each in found])
    print(f"| {program} | {', '.join(map(str, counts))} | {' | '.join(f'{each:.1e}' for each in apart)} |", flush=True)
    return counts[0] > 0 and bool((counts == counts[0]).all() and (apart[:2] <= TOLERANCE).all())


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
