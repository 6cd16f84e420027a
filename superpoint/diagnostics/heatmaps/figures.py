"""Figures of a detector's output on one image: all panels, a comparison of checkpoints, and a strip for a page.

Pure: image and logits in, matplotlib Figure or picture out.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from superpoint.data.images import resize_with_points
from superpoint.diagnostics.heatmaps.cell_maps import Cells, WorstCell, worst_cells
from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput, measure_output
from superpoint.diagnostics.heatmaps.layout import (
    ABOVE,
    BELOW,
    HEAD,
    LEFT,
    RIGHT,
    RIM,
    SMALL,
    STRIP,
    TITLE,
    Page,
    spread,
)
from superpoint.diagnostics.heatmaps.panels import (
    Panel,
    detection_panel,
    dustbin_panel,
    entropy_panel,
    input_panel,
    label_panel,
    logsumexp_panel,
    mean_cell_panel,
    probability_norm,
    probability_panel,
    range_panel,
    verdict_panel,
)
from superpoint.diagnostics.heatmaps.zoom import ACROSS, draw_zoom
from superpoint.diagnostics.heatmaps.zoom import HEIGHT as ZOOM_HEIGHT
from superpoint.visualize import colormap, contact_sheet, draw_points, enlarge

WIDTH = 1600  # px of a figure
TALLEST = 440  # px; a picture of portrait format is shown no higher than that
LOWEST = 60  # px; room for the ticks beside a very wide one
STRIP_SIDE = 320  # px; the longer side of a picture in a strip


def heatmap_panels(
    image: NDArray[np.uint8],
    logits: torch.Tensor,
    *,
    points: ArrayLike | None = None,
    target: Cells | None = None,
    valid: Cells | None = None,
    title: str = "",
    worst: int = 6,
) -> Figure:
    """All that the detector's output on one image shows, 1600 px wide.

    Panels: input, label, probability, detections, largest channel against label with the wrong cells marked; dustbin,
    range of the logits, logsumexp, entropy, mean cell; then the worst cells with their 65 logits. Those that need
    labels are left out without; the worst cells are then the most uncertain and those on the most extreme scale.
    Detections: probability > 0.015, suppression within 4 px, up to the border.

    Args:
        image: uint8 [H, W], any size.
        logits: [65, ceil(H / 8), ceil(W / 8)], of the image padded as `models.decode.pad_to_multiple` does.
        points: labels [N, 2] (x, y) in pixels of `image`; without `target` they are encoded to one.
        target: int [Hc, Wc] in 0..64, 64 = dustbin.
        valid: bool [Hc, Wc], the cells the loss counts; the others are darkened. None = all.
        title: what is shown: checkpoint, step, image.
        worst: number of cells enlarged.

    Raises:
        ValueError: shapes that do not fit each other.
        UserError: logits that are not finite.
    """
    output = measure_output(image, logits, points, target, valid)
    labelled = output.labels is not None
    panels: list[Panel] = [input_panel, label_panel, probability_panel, detection_panel, verdict_panel]
    panels += [dustbin_panel, range_panel, logsumexp_panel, entropy_panel, mean_cell_panel]
    if not labelled:
        panels = [input_panel, probability_panel, detection_panel, mean_cell_panel]
        panels += [dustbin_panel, range_panel, logsumexp_panel, entropy_panel]
    columns = len(panels) // 2
    width = WIDTH // columns
    height = _panel_height(width, image.shape)
    shown = worst_cells(output.maps, worst)
    top, rows = 58, -(-len(shown) // ACROSS)
    zooms = top + 2 * height + 6
    foot = zooms + (30 + rows * ZOOM_HEIGHT if shown else 0)
    page = Page(WIDTH, foot + 52)

    page.text(14, 10, title or "Detector output", HEAD, weight="bold")
    page.text(14, 34, subtitle(output))
    drawn = {}
    for index, draw in enumerate(panels):
        row, column = divmod(index, columns)
        drawn[draw] = draw(page, (column * width, top + row * height, width, height), output, None)
    if shown:
        kind = (
            "Cells of the largest loss (minus ln of the label's probability); cross: label, ring: largest channel"
            if labelled
            else "No labels: the most uncertain cells (entropy), then those of the largest |logsumexp|; ring: largest "
            "channel"
        )
        page.text(14, zooms, kind, TITLE + 1, weight="bold")
        for index, cell in enumerate(shown):
            row, column = divmod(index, ACROSS)
            place = column * WIDTH / ACROSS, zooms + 24 + row * ZOOM_HEIGHT, WIDTH / ACROSS
            draw_zoom(page, *place, output, cell, index + 1)
        _number_cells(drawn[verdict_panel if labelled else entropy_panel], shown)
    page.text(14, foot + 4, output.describe(), SMALL, linespacing=1.5)
    return page.figure


def heatmap_comparison(
    image: NDArray[np.uint8],
    outputs: Sequence[tuple[str, torch.Tensor]],
    *,
    points: ArrayLike | None = None,
    target: Cells | None = None,
    valid: Cells | None = None,
    title: str = "",
) -> Figure:
    """Several checkpoints on the same image, a row each, the colours of a column meaning the same in all rows.

    Args:
        outputs: name of a checkpoint and its logits, in the order of the rows.
        Others: see `heatmap_panels`.

    Raises: see `heatmap_panels`; the message names the checkpoint.
    """
    measured = [(name, measure_output(image, logits, points, target, valid)) for name, logits in outputs]
    if not measured:
        raise ValueError("outputs: found none, expected at least one")
    columns: list[Panel] = [probability_panel, detection_panel, dustbin_panel, logsumexp_panel]
    columns.append(verdict_panel if measured[0][1].labels is not None else entropy_panel)
    scales = np.stack([output.maps.logsumexp for _, output in measured])
    probabilities = probability_norm(max(float(output.maps.probability.max()) for _, output in measured))
    norms: dict[Panel, Normalize] = {probability_panel: probabilities, detection_panel: probabilities}
    norms[logsumexp_panel] = spread(scales)
    width = WIDTH // len(columns)
    height = _panel_height(width, image.shape)
    head, top = 62, 58
    page = Page(WIDTH, top + len(measured) * (height + head) + 4)
    page.text(14, 10, title or "Comparison", HEAD, weight="bold")
    page.text(14, 34, subtitle(measured[0][1]) + "; colours mean the same in all rows")
    for row, (name, output) in enumerate(measured):
        upper = top + row * (height + head)
        page.text(14, upper + 6, name, TITLE + 1, weight="bold")
        page.text(14, upper + 24, output.describe(), SMALL, linespacing=1.5)
        for column, draw in enumerate(columns):
            draw(page, (column * width, upper + head - 4, width, height), output, norms.get(draw))
    return page.figure


def heatmap_row(
    image: NDArray[np.uint8],
    logits: torch.Tensor,
    *,
    points: ArrayLike | None = None,
    target: Cells | None = None,
    valid: Cells | None = None,
) -> NDArray[np.uint8]:
    """Input (with labels), probability, dustbin and detections in one strip, uint8 RGB, about 1300 px wide.

    For pages: as JPEG of quality 85 it has 60 to 130 KB. Arguments and errors: see `heatmap_panels`.
    """
    output = measure_output(image, logits, points, target, valid)
    height, width = image.shape
    factor = STRIP_SIDE / max(height, width)
    scale = max(1, int(factor))
    size = (height, width) if factor >= 1 else (max(1, round(height * factor)), max(1, round(width * factor)))
    small, found = resize_with_points(image, output.points, size)
    labels = np.zeros((0, 2)) if output.labels is None else resize_with_points(image, output.labels, size)[1]
    # A shrunken map keeps its peaks by the largest value about each pixel, where an average would blur them away.
    window = max(1, round(1 / factor))
    largest = max(float(output.maps.probability.max()), 1e-6)
    heat = cv2.dilate(output.maps.probability, np.ones((window, window), np.uint8))
    heat = cv2.resize(heat, size[::-1], interpolation=cv2.INTER_NEAREST)
    dustbin = cv2.resize(
        np.kron(output.maps.dustbin, np.ones((8, 8), np.float32))[:height, :width], size[::-1],
        interpolation=cv2.INTER_AREA,
    )  # fmt: skip
    pictures = [
        draw_points(small, [], truth=labels, scale=scale, radius=4),
        enlarge(colormap(np.sqrt(heat / largest)), scale),
        enlarge(colormap(dustbin, "cividis"), scale),
        draw_points(small, found, np.sqrt(output.scores / largest), scale=scale, radius=4, score_range=(0.0, 1.0)),
    ]
    titles = [
        f"input {width}x{height}" + (f", {len(labels)} labels" if output.labels is not None else ""),
        f"probability, 0 to {largest:.3f} (square root)",
        f"dustbin, mean {output.statistics['dustbin']:.3f} (yellow = 1)",
        f"{len(found)} detections, p > 0.015",
    ]
    return contact_sheet(pictures, titles, columns=4)


def subtitle(output: DetectorOutput) -> str:
    """Sizes and how points were decoded."""
    height, width = output.image.shape
    rows, columns = output.maps.valid.shape
    ignored = int((~output.maps.valid).sum())
    return (
        f"image {width} x {height} px, {columns} x {rows} cells"
        + (f", {ignored} ignored (darkened)" if ignored else "")
        + "; detections: probability > 0.015, suppression within 4 px, up to the border"
    )


def _panel_height(width: int, size: tuple[int, ...]) -> int:
    """Of a panel whose picture fills its width, unless that made it too tall."""
    picture = (width - LEFT - RIGHT) * size[0] / size[1]
    return round(min(max(picture, LOWEST), TALLEST)) + ABOVE + BELOW + STRIP


def _number_cells(axes: Axes, cells: Sequence[WorstCell]) -> None:
    """Write the numbers of the zooms beside their cells on a map."""
    right, low = axes.get_xlim()[1], axes.get_ylim()[0]
    for number, cell in enumerate(cells, 1):
        # Above and to the right of the cell, unless that would be beyond the map.
        across = -5 if cell.column > 0.9 * right else 5
        down = -10 if cell.row < 0.1 * low else 4
        axes.annotate(
            str(number),
            (cell.column, cell.row),
            xytext=(across, down),
            textcoords="offset points",
            ha="right" if across < 0 else "left",
            fontsize=TITLE,
            color="white",
            weight="bold",
            path_effects=RIM,
        )
