"""The picture and the page of a model. The page holds all it needs."""

import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure

from superpoint.files import write_text
from superpoint.reconstruction.scene import Scene
from superpoint.visualize import VERMILION, plot_color, save_figure


def write_picture(path: Path, scene: Scene, title: str) -> None:
    """Write a PNG of the scene as the cameras see it, and from above."""
    figure = Figure(figsize=(12, 6.4), dpi=100, layout="constrained")
    figure.suptitle(title)
    views = {"as the cameras look": (0, 1, 2, 1), "from above": (0, 2, 1, -1)}
    for axes, (name, (across, upward, towards, sign)) in zip(figure.subplots(1, 2), views.items(), strict=True):
        order = np.argsort(scene.points[:, towards])  # the nearest last
        axes.scatter(
            scene.points[order, across], sign * scene.points[order, upward], 4, scene.colors[order] / 255, linewidths=0
        )
        for camera in scene.cameras:
            outline = camera[[1, 2, 3, 4, 1, 0, 2, 3, 0, 4]]
            axes.plot(outline[:, across], sign * outline[:, upward], color=plot_color(VERMILION), linewidth=0.8)
        shown = [np.percentile(scene.points, (1, 99), axis=0)] if len(scene.points) else []
        shown = np.concatenate([*shown, scene.cameras.reshape(-1, 3)])[:, [across, upward]] * (1, sign)
        middle, reach = (shown.min(axis=0) + shown.max(axis=0)) / 2, 0.55 * np.ptp(shown, axis=0).max()
        limits = {key: (at - reach, at + reach) for key, at in zip(("xlim", "ylim"), middle, strict=True)}
        axes.set(**limits, aspect="equal", title=name, xticks=[], yticks=[], facecolor="#b8bcc2")
    save_figure(path, figure)


def write_page(path: Path, scene: Scene, report: Mapping[str, Any], title: str) -> None:
    """Write a page on which the scene can be turned; `report`: what statistics.json holds."""
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text = environment.get_template("model.html").render(
        title=title,
        report=report,
        names=scene.names,
        points=_encode(scene.points.astype("<f4")),
        colors=_encode(scene.colors),
        cameras=_encode(scene.cameras.astype("<f4")),
        now=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    )
    write_text(path, text)


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
