from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.text import Text
from PIL import Image

from superpoint.config import ModelConfig
from superpoint.diagnostics.summary.architecture import architecture_figure, save_architecture
from superpoint.diagnostics.summary.layers import ModelSummary, summarise
from superpoint.models import build_model


@pytest.fixture(scope="module", params=[0, 64], ids=["detector", "both heads"])
def summary(request: pytest.FixtureRequest) -> ModelSummary:
    return summarise(build_model(ModelConfig("lite", 32, request.param)))


def boxes(figure: Figure) -> dict[str, np.ndarray]:
    """Front corners of the boxes in px, by the name of their block."""
    found = [one for one in figure.findobj(Polygon) if (one.get_gid() or "").startswith("box-")]
    return {str(one.get_gid())[4:]: np.asarray(one.get_xy()) for one in found}


def test_a_box_and_a_caption_for_each_block(summary: ModelSummary) -> None:
    figure = architecture_figure(summary, "name")
    lanes = sorted(summary.blocks, key=lambda block: block.part == "descriptor")
    assert list(boxes(figure)) == [block.name for block in lanes]
    said = [one.get_text() for one in figure.findobj(Text)]
    for text in ("name", "15 x 20 x 65", "15 x 20 x 64", "120 x 160", "120 x 160 x 32", "detector head"):
        assert text in said
    operations = {text.replace("\n", " ") for text in said}
    assert {"max-pool 2x2", "softmax, dustbin dropped", "depth to space 8x8"} <= operations
    assert ("descriptor head" in said) == any(block.part == "descriptor" for block in summary.blocks)


def test_fronts_grow_with_channels_and_resolution(summary: ModelSummary) -> None:
    corners = boxes(architecture_figure(summary))
    sides = {name: np.ptp(corner, axis=0) for name, corner in corners.items()}
    stages = [sides[f"encoder.stages.{index}"] for index in range(4)]
    assert [side[1] for side in stages] == sorted((side[1] for side in stages), reverse=True)
    assert stages[3][0] > stages[2][0] > stages[1][0] == stages[0][0]
    assert sides["image"][1] == sides["probability"][1] == stages[0][1]


def test_nothing_overlaps_or_leaves_the_page(summary: ModelSummary) -> None:
    figure = architecture_figure(summary, "name")
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    extents = [one.get_window_extent() for one in figure.findobj(Text) if one.get_text()]
    assert min(min(one.x0, one.y0) for one in extents) >= 0
    assert max(one.x1 for one in extents) <= width < 1700
    assert max(one.y1 for one in extents) <= height
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))


def test_svg_is_self_contained_and_the_same_every_time(summary: ModelSummary, tmp_path: Path) -> None:
    paths = [save_architecture(tmp_path / f"{k}.svg", architecture_figure(summary, "name")) for k in range(2)]
    content = paths[0].read_bytes()
    assert content == paths[1].read_bytes()
    root = ElementTree.fromstring(content)
    links = {value for one in root.iter() for key, value in one.attrib.items() if key.endswith("href")}
    assert all(link.startswith("#") for link in links)
    assert b"<image" not in content


def test_png(summary: ModelSummary, tmp_path: Path) -> None:
    figure = architecture_figure(summary)
    path = save_architecture(tmp_path / "new" / "a.PNG", figure)
    with Image.open(path) as image:
        assert image.size == (int(figure.bbox.width), int(figure.bbox.height))
