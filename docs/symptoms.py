"""The pictures of docs/troubleshooting.md: planted faults, seen by the network that the package ships.

python docs/symptoms.py      # from the top of the repository; writes docs/images/symptoms/*.png

Each picture: the image with its labels as crosses (where a label's target says it is), the probability of an interest
point, and a map of the 8x8 cells.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from superpoint.diagnostics.case import Case
from superpoint.geometry.cells import CHANNELS, DUSTBIN, cells_to_pixels
from superpoint.models.decode import logits_to_probability
from superpoint.visualize import colormap, contact_sheet, draw_keypoints, save_image
from tests.diagnostics import faults

OUT = Path(__file__).parent / "images/symptoms"
SAMPLE = 2  # of the healthy case: stripes
SCALE = 2
FAULTS = {"healthy": lambda case: case, **faults.FAULTS, "swapped": lambda case: faults.with_points(case, _swap)}
UNSEEN = ("precision",)  # looks healthy to the eye: only the check tells


def _swap(points: np.ndarray) -> np.ndarray:
    return points[:, ::-1]


def panels(case: Case, index: int, cells: str) -> tuple[list[np.ndarray], list[str]]:
    """Image with labels, probability, and the map `cells`: "dustbin" or "logsumexp"."""
    sample = case.dataset[index]
    fed: list[torch.Tensor] = []
    handle = case.model.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    outputs: list[torch.Tensor] = []
    other = case.model.register_forward_hook(lambda _m, _i, output: outputs.append(output["logits"].detach().float()))
    with torch.no_grad():
        case.objective(case.model, {key: value[None] for key, value in sample.items()})
    handle.remove()
    other.remove()
    logits = outputs[0]
    target = functional.one_hot(sample["target"], CHANNELS).permute(2, 0, 1)[None].float()
    y, x = torch.nonzero(cells_to_pixels(target)[0], as_tuple=True)
    labels = torch.stack([x, y], dim=1).numpy()
    image = sample["image"][0].numpy()
    if float(fed[0].max()) > 2:  # what the network is given, as it would look on its scale of 0..1
        image = (fed[0][0, 0].clamp(0, 1) * 255).byte().numpy()
    probability = logits_to_probability(logits)[0].numpy()
    heat = colormap(np.sqrt(probability / probability.max()))
    scale = logits.logsumexp(dim=1)
    if cells == "dustbin":
        values, limits = torch.exp(logits[:, DUSTBIN] - scale)[0].numpy(), (0.0, 1.0)
        title = "dustbin, 0 to 1"
    else:
        values = scale[0].numpy()
        limits = (float(values.min()), float(values.max()) + 1e-6)
        title = f"logsumexp, {limits[0]:.0f} to {limits[1]:.0f}"
    grid = (
        colormap(((values - limits[0]) / (limits[1] - limits[0])).clip(0, 1), "cividis")
        .repeat(8, axis=0)
        .repeat(8, axis=1)
    )
    pictures = [draw_keypoints(image, [], truth=labels, scale=SCALE, radius=4)]
    pictures += [cv2.resize(each, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST) for each in (heat, grid)]
    return pictures, ["image, labels", f"probability (square root), 0 to {probability.max():.2g}", title]


def main() -> None:
    healthy = faults.healthy_case()
    for name, plant in FAULTS.items():
        if name not in UNSEEN:
            pictures, titles = panels(plant(healthy), SAMPLE, "logsumexp" if name == "logit_scale" else "dustbin")
            save_image(OUT / f"{name}.png", contact_sheet(pictures, titles, columns=3))


if __name__ == "__main__":
    main()
