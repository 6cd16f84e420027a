"""Labels within a budget: how many views of how many photographs, and what is left when the time is up."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from superpoint.budget import Budget
from superpoint.config import LabellingConfig, load_config
from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.source import open_source
from superpoint.labelling import pace
from superpoint.labelling.export import export_detections
from superpoint.models import load_network
from superpoint.training.finetune import MIN_IMAGES
from tests.conftest import CommandLine

SETTINGS = ["weights=magicpoint-lite", "resize=64", "backend=torch", "precision=fp32"]


@pytest.mark.parametrize(
    ("wanted", "seconds", "expected", "line"),
    [
        (100, 1e6, (100, 8), "labels of 8 images by 100 views:"),
        (100, 160.0, (20, 8), "labels of 8 images by 20 views instead of 100: about 2.7 min at 20 s per image"),
        (100, 30.0, (10, 3), "labels of 3 of 8 images (in even steps) by 10 views instead of 100:"),
        (100, 0.0, (10, 1), "labels of 1 of 8 images"),
        (4, 12.0, (4, 3), "labels of 3 of 8 images (in even steps) by 4 views:"),
        (0, 4.0, (0, 4), "labels of 4 of 8 images (in even steps): about"),
    ],
)
def test_the_time_decides_about_views_then_photographs(
    wanted: int, seconds: float, expected: tuple[int, int], line: str, photographs: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(pace, "LEAST", 1)
    # A view, or a plain detection, takes a second.
    monkeypatch.setattr(pace, "_probe", lambda config, *_: max(config.adaptation.homographies, 1.0))
    config = load_config(LabellingConfig, None, [f"adaptation.homographies={wanted}"])
    source = open_source([str(photographs)])
    budget = cast(Budget, SimpleNamespace(left=seconds))
    found, count = pace.fit_labelling(config, load_network("magicpoint-lite"), source, None, budget)
    assert (found.adaptation.homographies, count) == expected
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("foreseen", [True, False])
def test_a_labelling_that_runs_out_of_time_leaves_a_complete_file(
    foreseen: bool, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    out, config = tmp_path / "labels.h5", load_config(LabellingConfig, None, [*SETTINGS, "adaptation.homographies=12"])
    monkeypatch.setattr(pace, "LEAST", 1)
    views = pace.FEWEST if foreseen else 12
    if not foreseen:
        monkeypatch.setattr(pace, "fit_labelling", lambda config, *_: (config, 8))
    result = export_detections(config, [str(photographs)], out, budget=Budget(0))
    assert result.signal is None
    with FeatureFile(out) as labels:
        assert len(labels.names()) == 1
        assert {each.views for _, each in labels} == {views}
    assert json.loads((tmp_path / "labels.h5.summary.json").read_text())["left_out"] == 7
    assert not (tmp_path / "labels.h5.shards").exists()
    assert "1 images, whole" in cli.succeeds("labels", "check", out)
    # The same command again has nothing to do.
    before = out.read_bytes()
    assert export_detections(config, [str(photographs)], out, resume=True, budget=Budget(5)).summary is not None
    assert out.read_bytes() == before


def test_a_budget_for_some_photographs_takes_them_in_even_steps(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, config = tmp_path / "labels.h5", load_config(LabellingConfig, None, [*SETTINGS, "adaptation.homographies=2"])
    monkeypatch.setattr(pace, "fit_labelling", lambda config, *_: (config, 4))
    export_detections(config, [str(photographs)], out, budget=Budget(60))
    with FeatureFile(out) as labels:
        assert sorted(labels.names()) == sorted(path.name for path in sorted(photographs.iterdir())[::2])


def test_all_is_labelled_where_the_time_suffices(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = tmp_path / "labels.h5", load_config(LabellingConfig, None, [*SETTINGS, "adaptation.homographies=3"])
    export_detections(config, [str(photographs)], out, budget=Budget(60))
    with FeatureFile(out) as labels:
        assert len(labels.names()) == 8
    assert "labels of 8 images by 3 views: about" in capsys.readouterr().err
    assert "left_out" not in json.loads((tmp_path / "labels.h5.summary.json").read_text())


def test_as_many_as_a_training_needs_are_labelled_in_any_case(photographs: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "labels.h5", load_config(LabellingConfig, None, [*SETTINGS, "adaptation.homographies=2"])
    export_detections(config, [str(photographs)], out, budget=Budget(0))
    with FeatureFile(out) as labels:
        assert len(labels.names()) == pace.LEAST == MIN_IMAGES
