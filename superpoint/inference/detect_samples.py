"""Stage detect-samples: a trained detector on the photographs that scikit-image ships, drawn."""

from pathlib import Path

import torch
from rich.console import Console

from superpoint.config.inference import InferenceConfig
from superpoint.data.bands import in_channels
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.errors import UserError
from superpoint.evaluation.tables import make_table
from superpoint.files import make_folder
from superpoint.geometry.homography import shrunk_size
from superpoint.geometry.placement import measure_placement
from superpoint.inference.images import shrink
from superpoint.inference.see import decode_config, load_detector
from superpoint.models.extract import decode_maps, dense_maps
from superpoint.pretrained import run_of
from superpoint.visualize import contact_sheet, draw_strongest, probability_picture, save_image

HEAT = "probability within 2 px, square root, yellow = 1"
CELL_SIDE = 480  # px, longest side of a photograph on the sheet of all


def detect_samples(config: InferenceConfig, out: str | Path | None = None) -> Path:
    """Draw keypoints and heatmaps of a network on photographs; return the folder of PNGs (detections/ of a run).

    Raises: UserError for weights that cannot be used, or no `out` for a network outside a run folder.
    """
    if out is None:
        run = run_of(config.model)
        if run is None:
            raise UserError(f"{config.model}: not a run folder; say with --out where the pictures should go")
        out = run / "detections"
    model = load_detector(config)
    folder = make_folder(out)

    console = Console()
    title = f"Detections on photographs (probability > {config.threshold:g})"
    table = make_table(title, ["photograph"], ["size", "keypoints", "border density"])
    keypoints, sizes, sheet, names = [], [], [], []
    for name, rgb in sample_photographs():
        small = shrink(in_channels(rgb, model.channels), config.resize)
        with torch.inference_mode():
            maps = dense_maps(model.network, [small])
            found = decode_maps(maps, decode_config(config))[0]
        xy = found.keypoints
        marked, title = draw_strongest(small, xy, found.scores, name, scale=2)
        pair = marked, probability_picture(small, maps.probability[0].cpu().numpy(), scale=2)
        names.append(title)
        save_image(folder / f"{name}.png", contact_sheet(pair, [title, HEAT], columns=2, scores=True))
        placement = measure_placement([xy], [small.shape[:2]])
        table.add_row(name, f"{small.shape[1]}x{small.shape[0]}", str(len(xy)), f"{placement.border:.2f}")
        keypoints.append(xy)
        sizes.append(small.shape[:2])
        cell, points = resize_with_points(small, xy, shrunk_size(small.shape[0], small.shape[1], CELL_SIDE))
        sheet.append(draw_strongest(cell, points, found.scores, name)[0])
    save_image(folder / "all.png", contact_sheet(sheet, names, columns=4, scores=True))
    total = measure_placement(keypoints, sizes)
    console.print(table)
    console.print(
        f"{total.keypoints} keypoints on {len(keypoints)} photographs; density at the border {total.border:.2f} of the "
        f"mean; fullest row or column of the 8x8 cell {total.fullest:.1%} (even: 12.5%)\n"
        f"pictures: {folder} (all.png shows all)"
    )
    return folder
