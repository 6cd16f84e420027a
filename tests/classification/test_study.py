import json
from dataclasses import replace
from pathlib import Path

import pytest

from superpoint.classification.config import ClassifierConfig
from superpoint.classification.study import (
    Outcome,
    depth_cells,
    ingredient_cells,
    is_done,
    mnist_cells,
    run_study,
    study_figure,
)
from superpoint.config import load_config
from superpoint.errors import UserError
from superpoint.visualize import figure_to_image
from tests.classification.data.drawings import write_idx

QUICK = [
    *("epochs=2", "train.batch_size=8", "train.precision=fp32", "train.channels_last=false", "data.workers=0"),
    "train.log_every=2",
]


def settings(name: str, train: Path, *more: str) -> ClassifierConfig:
    return load_config(ClassifierConfig, f"classifier/study-{name}", [*QUICK, f"data.train={train}", *more])


def test_the_study_of_digits_ends_in_tables_and_a_figure(tmp_path: Path) -> None:
    config = settings("mnist", write_idx(tmp_path, count=8), "data.height=24", "data.width=24")
    cells = mnist_cells(config, [0.05, 1e8], [0.9])
    assert [cell.label for cell in cells] == ["rate 0.05", "rate 1e+08"] * 2
    found = run_study("mnist", cells[1:3], tmp_path / "study")
    assert isinstance(found, list)
    assert found[0].diverged is not None
    assert found[0].result == f"diverged, step {found[0].diverged}"
    assert found[1].diverged is None
    assert found[1].epochs == [1, 2]
    assert found[1].result == f"{sum(found[1].test_accuracy) / 2:.3f}"
    assert found[1].seconds > 0
    text = (tmp_path / "study" / "study.md").read_text()
    assert "| fully connected, momentum 0.9 | rate 1e+08 |" in text
    assert "diverged, step" in text
    assert len(json.loads((tmp_path / "study" / "study.json").read_text())) == 2
    assert (tmp_path / "study" / "study.png").stat().st_size > 10_000

    # The same command again does nothing twice; other settings are refused.
    before = (tmp_path / "study" / "runs" / cells[2].name / "metrics.jsonl").stat().st_mtime_ns
    again = run_study("mnist", cells[1:3], tmp_path / "study")
    assert again == found
    assert (tmp_path / "study" / "runs" / cells[2].name / "metrics.jsonl").stat().st_mtime_ns == before
    other = [replace(cells[2], config=replace(cells[2].config, seed=4))]
    with pytest.raises(
        UserError, match="seed: found 4, but this run of the study was begun with 0; take another --out"
    ):
        run_study("mnist", other, tmp_path / "study")


def test_cells_differ_in_what_they_are_named_for(tmp_path: Path) -> None:
    depth = depth_cells(settings("depth", tmp_path), [20, 56])
    assert [(cell.group, cell.label) for cell in depth[:2]] == [("20 layers", "plain"), ("20 layers", "residual")]
    assert [cell.config.model.name for cell in depth[2:]] == ["cifar_plain56", "cifar_resnet56"]
    assert len({replace(cell.config, model=depth[0].config.model).optimizer.lr for cell in depth}) == 1
    cells = {cell.name: cell for cell in ingredient_cells(settings("ingredients", tmp_path))}
    assert list(cells) == ["plain", "plain-trunc", "norm", "norm-trunc", "augmented"]
    assert (cells["norm"].config.augment.crop, cells["augmented"].config.augment.crop) == ("centre", "resized")
    assert cells["plain"].config.model.options == {"batch_norm": False}
    assert cells["norm-trunc"].config.model.init == "trunc_normal"


def test_a_run_that_has_not_ended_is_not_done(tmp_path: Path) -> None:
    assert not is_done(tmp_path / "absent", settings("mnist", tmp_path))


def test_the_figure_shows_what_diverged() -> None:
    outcomes = [Outcome("a", f"rate {n}", 1, [1, 2], [0.5, 0.6], [0.5, 0.6], [1.0, 0.5], 1.0) for n in range(5)]
    outcomes.append(Outcome("b", "rate 9", 1, [], [], [], [], 1.0, 5))
    figure = study_figure(outcomes, "title")
    assert figure_to_image(figure).shape[2] == 3
    assert len({str(line.get_color()) for line in figure.axes[0].get_lines()}) == 5
    legend = figure.axes[3].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["rate 9: diverged, step 5"]
