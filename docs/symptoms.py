"""The pictures of docs/troubleshooting.md: planted faults, seen by the network that the package ships.

python docs/symptoms.py      # from the top of the repository; writes docs/images/symptoms/*.png

Each picture: the healthy network beside the faulty one, in the maps in which they differ.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from superpoint.diagnostics.case import Case
from superpoint.geometry.cells import CHANNELS, DUSTBIN, cells_to_pixels
from superpoint.models.decode import logits_to_probability
from superpoint.visualize import VERMILION, figure_to_image, plot_color
from tests.diagnostics import faults

OUT = Path(__file__).parent / "images/symptoms"
SAMPLE = 2  # of the healthy case: stripes
FAULTS = {**faults.FAULTS, "swapped": lambda case: faults.with_points(case, _swap)}
UNSEEN = ("precision",)  # looks healthy to the eye: only the check tells
IMAGE, PROBABILITY, DUSTBINS, SCALE = (
    "image and its labels",
    "probability of a keypoint",
    "dustbin of each cell",
    "logsumexp",
)
SEEN = 0.02  # of the mean of a map, on the scale it is drawn in: what differs less looks the same
SIZE = 15  # pt: readable where the page is as narrow as a phone


def _swap(points: np.ndarray) -> np.ndarray:
    return points[:, ::-1]


def maps(case: Case, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the maps [H, W] or [H / 8, W / 8] by name, and the labels of the targets, [N, 2] (x, y)."""
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
    image = sample["image"][0].float() / 255
    if float(fed[0].max()) > 2:  # what the network is given, as it would look on its scale of 0..1
        image = fed[0][0, 0].clamp(0, 1)
    scale = logits.logsumexp(dim=1)
    found = {
        IMAGE: image,
        PROBABILITY: logits_to_probability(logits)[0],
        DUSTBINS: torch.exp(logits[:, DUSTBIN] - scale)[0],
        SCALE: scale[0],
    }
    return {name: each.numpy() for name, each in found.items()}, torch.stack([x, y], dim=1).numpy()


def draw(healthy: Case, faulty: Case, cells: str) -> Figure:
    """Draw the maps that differ, healthy on the left; `cells` is the map of the cells that is looked at."""
    (ours, labels), (theirs, moved) = (maps(case, SAMPLE) for case in (healthy, faulty))
    scales = {
        IMAGE: ("gray", Normalize(0, 1)),
        PROBABILITY: ("viridis", LogNorm(1e-5, 1, clip=True)),
        cells: (
            "cividis",
            Normalize(0, 1) if cells == DUSTBINS else Normalize(*np.percentile(theirs[cells], (0, 100))),
        ),
    }
    shown = [
        name
        for name, (_, norm) in scales.items()
        if np.abs(norm(ours[name]) - norm(theirs[name])).mean() > SEEN
        or (name == IMAGE and not np.array_equal(labels, moved))
    ]
    figure = Figure(figsize=(7.16, 0.4 + 3.4 * len(shown)), dpi=100, layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for row, name in zip(axes, shown, strict=True):
        color, norm = scales[name]
        for axis, values, points in zip(row, (ours[name], theirs[name]), (labels, moved), strict=True):
            axis.imshow(values, cmap=color, norm=norm, interpolation="nearest")
            axis.set_axis_off()
            if name == IMAGE:
                axis.scatter(*points.T, marker="+", color=plot_color(VERMILION), s=130, linewidths=2)
        for axis, title in zip(row, ("healthy", "with the fault"), strict=True):
            axis.set_title(title, fontsize=SIZE)
        row[0].set_title(name + "\n", fontsize=SIZE, loc="left", weight="bold")
        if name != IMAGE:
            bar = figure.colorbar(row[0].images[0], ax=row, orientation="horizontal", aspect=40, pad=0.02)
            bar.ax.tick_params(labelsize=SIZE)
            bar.minorticks_off()
    return figure


def main() -> None:
    healthy = faults.healthy_case()
    for name, plant in FAULTS.items():
        if name not in UNSEEN:
            drawn = draw(healthy, plant(healthy), SCALE if name == "logit_scale" else DUSTBINS)
            Image.fromarray(figure_to_image(drawn)).quantize(128).save(OUT / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
