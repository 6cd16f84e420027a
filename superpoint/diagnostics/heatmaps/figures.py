"""The figure of a detector's output on one image: all panels."""

import matplotlib
from matplotlib.figure import Figure

from superpoint.diagnostics.heatmaps.detector_output import DetectorOutput
from superpoint.diagnostics.heatmaps.panels import PANELS, SMALL, STYLE

WIDTH, DPI = 1600, 100  # px of a figure
TALLEST, LOWEST = 440, 60  # px of a panel's picture
# px beside a panel's picture, and above and below it. Where the width limits the pictures, titles overlap.
AROUND = 84, 112


@matplotlib.rc_context(STYLE)
def heatmap_panels(output: DetectorOutput, title: str = "") -> Figure:
    """Draw all PANELS of a detector's output on one image, 1600 px wide."""
    names = [name for name in PANELS if output.labels is not None or name not in ("label", "argmax")]
    columns = len(names) // 2
    size = WIDTH / DPI, (2 * _panel_height(columns, output.image.shape) + 110) / DPI
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    # Names of files may hold a $, which would start a formula.
    heading = f"{title or 'Detector output'}\n{output.verdict()}"
    figure.suptitle(heading, x=0.01, ha="left", fontsize=SMALL + 4, parse_math=False)
    figure.supxlabel(output.describe(), x=0.01, ha="left", fontsize=SMALL)
    for name, axes in zip(names, figure.subplots(2, columns).flat, strict=True):
        axes.set_label(name)
        PANELS[name](axes, output)
    return figure


def _panel_height(columns: int, size: tuple[int, ...]) -> int:
    picture = (WIDTH / columns - AROUND[0]) * size[0] / size[1]
    return round(min(max(picture, LOWEST), TALLEST)) + AROUND[1]
