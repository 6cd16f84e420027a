"""Stage detect-samples: a trained detector on real photographs, drawn.

    superpoint detect-samples runs/quick

The photographs are the ones scikit-image ships. Writes detections/*.png into the run folder and prints a summary.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from superpoint.config import DecodeConfig
from superpoint.data.images import sample_photographs
from superpoint.errors import UserError
from superpoint.files import make_folder
from superpoint.geometry.placement import measure_placement
from superpoint.models import SuperPoint, load_network
from superpoint.models.extract import decode_maps, dense_maps
from superpoint.visualize import contact_sheet, draw_points, overlay_heatmap, save_image

LONGEST_SIDE = 480  # pixels; the photographs are shrunk to it


def detect_samples(run: str | Path, decode: DecodeConfig | None = None, out: str | Path | None = None) -> Path:
    """Draw the detections of the network in a run folder or weights file on photographs; returns the folder of PNGs."""
    source = Path(run)
    model = load_network(source)
    if out is None and not source.is_dir():
        raise UserError(f"{run}: not a run folder; say with --out where the pictures should go")
    decode = decode or DecodeConfig()
    folder = make_folder(out if out is not None else source / "detections")

    console = Console()
    table = Table(title=f"Detections on photographs (probability > {decode.threshold:g})")
    for column in ("photograph", "size", "points", "border density"):
        table.add_column(column, justify="left" if column == "photograph" else "right")
    points, sizes, sheet, names = [], [], [], []
    for name, rgb in sample_photographs():
        gray = _shrink(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        xy, heatmap = _detect(model, gray, decode)
        marked = draw_points(gray, xy, scale=2, radius=4.5)
        heat = overlay_heatmap(gray, np.sqrt(heatmap), limits=(0.0, 1.0), scale=2)
        save_image(folder / f"{name}.png", np.hstack([marked, heat]))
        placement = measure_placement([xy], [gray.shape])
        table.add_row(name, f"{gray.shape[1]}x{gray.shape[0]}", str(len(xy)), f"{placement.border:.2f}")
        points.append(xy)
        sizes.append(gray.shape)
        sheet.append(marked)
        names.append(f"{name}: {len(xy)} points")
    save_image(folder / "all.png", contact_sheet(sheet, names, columns=4))
    total = measure_placement(points, sizes)
    console.print(table)
    console.print(
        f"{total.points} points on {len(points)} photographs; density at the border {total.border:.2f} of the mean; "
        f"fullest row or column of the 8x8 cell {total.fullest:.1%} (even: 12.5%)\n"
        f"pictures: {folder} (points left, square root of the probability right; all.png shows all)"
    )
    return folder


def _detect(model: SuperPoint, gray: np.ndarray, decode: DecodeConfig) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 2] and probability map [H, W] of an image uint8 [H, W]."""
    with torch.inference_mode():
        maps = dense_maps(model, [gray])
        (found,) = decode_maps(maps, decode)
    return found.keypoints, maps.probability[0].numpy()


def _shrink(gray: np.ndarray) -> np.ndarray:
    height, width = gray.shape
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return gray
    return cv2.resize(gray, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
