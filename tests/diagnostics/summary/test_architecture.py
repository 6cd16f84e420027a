from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.text import Text
from PIL import Image

from superpoint.config import ModelConfig
from superpoint.diagnostics.summary.architecture import architecture_figure, save_architecture, stages
from superpoint.diagnostics.summary.layers import ModelSummary, summarise
from superpoint.models import build_model

NETWORKS = {
    "detector": ModelConfig("lite", 32, 0),
    "both heads": ModelConfig("lite", 32, 64),
    "fine branch": ModelConfig("lite", 32, 64, fine=8, fine_stride=2),
}


@pytest.fixture(scope="module", params=NETWORKS)
def summary(request: pytest.FixtureRequest) -> ModelSummary:
    return summarise(build_model(NETWORKS[request.param]))


def named(figure: Figure, kind: type[Patch]) -> dict[str, Any]:
    return {str(one.get_gid()): one for one in figure.findobj(kind) if one.get_gid()}  # type: ignore[attr-defined]


def test_stages_are_the_resolutions_of_encoder_and_heads(summary: ModelSummary) -> None:
    found = stages(summary.layers)
    assert [(stage.part, stage.shape, stage.layers) for stage in found[:5]] == [
        ("encoder", (120, 160, 32), 2),
        ("encoder", (60, 80, 32), 2),
        ("encoder", (30, 40, 64), 2),
        ("encoder", (15, 20, 128), 2),
        ("detector", (15, 20, 65), 2),
    ]
    assert sum(stage.parameters for stage in found) == summary.parameters
    assert sum(stage.flops for stage in found) == summary.flops


def test_boxes_grow_with_channels_and_resolution(summary: ModelSummary) -> None:
    drawn = named(architecture_figure(summary), Rectangle)
    assert len(drawn) == len(stages(summary.layers))
    encoder = [drawn[f"encoder {index}"] for index in range(4)]
    assert [box.get_height() for box in encoder] == sorted((box.get_height() for box in encoder), reverse=True)
    assert encoder[3].get_width() > encoder[2].get_width() > encoder[1].get_width() == encoder[0].get_width()


def test_the_fine_branch_reads_the_encoder_stage_of_its_stride() -> None:
    summary = summarise(build_model(NETWORKS["fine branch"]))
    assert [(stage.part, stage.shape) for stage in stages(summary.layers)[4:]] == [
        ("detector", (15, 20, 65)),
        ("detector.fine", (60, 80, 4)),
        ("descriptor", (15, 20, 64)),
    ]
    figure = architecture_figure(summary)
    assert set(named(figure, FancyArrowPatch)) == {
        *(f"encoder {index} > encoder {index + 1}" for index in range(3)),
        "encoder 3 > detector head 0",
        "encoder 3 > descriptor head 0",
        "encoder 1 > fine branch 0",
        "fine branch 0 > detector head 0",
    }
    drawn = named(figure, Rectangle)
    assert drawn["fine branch 0"].get_center()[1] == drawn["encoder 1"].get_center()[1]


def test_nothing_overlaps_or_leaves_the_page(summary: ModelSummary) -> None:
    figure = architecture_figure(summary, "name")
    figure.draw_without_rendering()
    extents = [one.get_window_extent() for one in figure.findobj(Text) if one.get_text()]  # type: ignore[attr-defined]
    assert min(min(one.x0, one.y0) for one in extents) >= 0
    assert max(one.x1 for one in extents) <= figure.bbox.width
    assert max(one.y1 for one in extents) <= figure.bbox.height
    assert not any(one.overlaps(other) for one, other in combinations(extents, 2))


def test_svg_is_the_same_every_time_and_png_has_the_size(summary: ModelSummary, tmp_path: Path) -> None:
    figures = [architecture_figure(summary, "name") for _ in range(2)]
    first, second = (save_architecture(tmp_path / f"{id(each)}.svg", each) for each in figures)
    assert first.read_bytes() == second.read_bytes()
    with Image.open(save_architecture(tmp_path / "new" / "a.PNG", figures[0])) as image:
        assert image.size == (int(figures[0].bbox.width), int(figures[0].bbox.height))
