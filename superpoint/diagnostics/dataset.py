"""Stage visualize-dataset: see what the network sees."""

from pathlib import Path

import numpy as np
from rich.console import Console

from superpoint.config import MagicPointConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.data.synthetic import PRIMITIVES
from superpoint.diagnostics.case import Labelled
from superpoint.engine.display import watch
from superpoint.files import make_folder
from superpoint.geometry.cells import CELL, valid_cells
from superpoint.visualize import contact_sheet, draw_keypoints, save_image


def visualize_dataset(config: MagicPointConfig, out: str | Path, *, columns: int = 8, index: int | None = None) -> Path:
    """Write the contact sheets to the folder `out`.

    primitives.png: a row of scenes per primitive, labels as crosses. samples.png: augmented training samples, ignored
    cells darkened. sample_<index>.png: that training sample, enlarged.
    """
    folder = make_folder(out)
    dataset = SyntheticShapes(config.data, config.seed, config.model.channels)

    pictures, titles = [], []
    for name in watch(PRIMITIVES, "primitives"):
        for i in range(columns):
            scene = dataset.generator.scene(i, name)
            pictures.append(draw_keypoints(scene.image, [], truth=scene.points, scale=2))
            titles.append(f"{name} {i}: {len(scene.points)} points")
    save_image(folder / "primitives.png", contact_sheet(pictures, titles, columns=columns))

    shown = range(config.data.curriculum, config.data.curriculum + columns * 6)  # where the augmentation is at its full
    pictures = [draw_sample(dataset, i) for i in watch(shown, "samples")]
    save_image(folder / "samples.png", contact_sheet(pictures, [f"sample {i}" for i in shown], columns=columns))
    if index is not None:
        save_image(folder / f"sample_{index}.png", draw_sample(dataset, index, scale=6))
    Console().print(f"contact sheets: {folder}")
    return folder


def draw_sample(dataset: Labelled, index: int, scale: int = 2) -> np.ndarray:
    """Return sample `index` with its labels, uint8 [scale * H, scale * W, 3]; ignored cells are darkened."""
    image, points, mask = dataset.draw(index)
    picture = draw_keypoints(image, [], truth=points[np.isfinite(points).all(axis=1)], scale=scale)
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % CELL), (0, -width % CELL)))
    cells = np.kron(valid_cells(padded), np.ones((CELL * scale, CELL * scale)))[: height * scale, : width * scale]
    light = cells[..., None] * 0.6 + 0.4
    return np.round(picture * light).astype(np.uint8)
