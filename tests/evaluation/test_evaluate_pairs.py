"""Image pairs through the whole stage: figures follow what is done to homographies, points and files."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from superpoint.config import DecodeConfig
from superpoint.config.evaluation import EvaluatePairsConfig, load_pairs_config
from superpoint.data.images import sample_photographs
from superpoint.data.pairs import ViewPair, generated_pair
from superpoint.errors import UserError
from superpoint.evaluation import evaluate_pairs as stage
from superpoint.evaluation import feature_store
from superpoint.evaluation.evaluate_pairs import evaluate_pairs
from superpoint.evaluation.extractors import Extractor, network_extractor
from superpoint.evaluation.pair_metrics import PairRecord
from superpoint.evaluation.views import fit_pair
from superpoint.features import Features
from superpoint.visualize import save_image
from tests.conftest import CommandLine

SIZE = (144, 192)
CONFIG = EvaluatePairsConfig(max_keypoints=200, iterations=1000)


def write_sequences(root: Path, *, inverted: bool = False) -> Path:
    """Two HPatches sequences of three images."""
    for number in (0, 3):
        name, rgb = sample_photographs()[number]
        gray = np.asarray(rgb.mean(axis=2), np.uint8)
        for kind, prefix in (("viewpoint", "v"), ("photometric", "i")):
            folder = root / f"{prefix}_{name}"
            views = [generated_pair(gray, name, index, kind, SIZE, 0) for index in range(2)]
            save_image(folder / "1.png", views[0].image_a)
            for index, view in enumerate(views, 2):
                save_image(folder / f"{index}.png", view.image_b)
                matrix = np.linalg.inv(view.h_a_b) if inverted else view.h_a_b
                (folder / f"H_1_{index}").write_text("\n".join(" ".join(map(str, row)) for row in matrix))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sequences(tmp_path_factory.mktemp("sequences"))


def measure(data: Path, out: Path, config: EvaluatePairsConfig = CONFIG, method: str = "sift") -> list[PairRecord]:
    return evaluate_pairs(config, [method], data=data, out=out, cache=False)


def mean(records: list[PairRecord], name: str, change: str | None = None) -> float:
    return float(np.mean([getattr(record, name) for record in records if change in (None, record.change)]))


def within(records: list[PairRecord], change: str | None = None) -> float:
    """Share of pairs with a corner error of at most 3 px."""
    return float(np.mean([record.error() <= 3 for record in records if change in (None, record.change)]))


@pytest.fixture(scope="module")
def healthy(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PairRecord]:
    return measure(data, tmp_path_factory.mktemp("healthy"))


def test_tables_curves_and_cache(data: Path, tmp_path: Path) -> None:
    methods = ["magicpoint-lite", "sift", "orb"]
    first = evaluate_pairs(CONFIG, methods, data=data, out=tmp_path)
    assert len(first) == 8 * 3
    assert list(dict.fromkeys(record.extractor for record in first)) == ["magicpoint-lite+sift", "sift", "orb"]
    names = ("pairs.md", "pairs.json")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    content = json.loads(before["pairs.json"])
    assert content["protocol"]["parameters"]["max_keypoints"] == 200
    assert content["protocol"]["name"] == "dev, max_keypoints=200, iterations=1000"
    assert {each["kind"] for each in content["summary"]} == {"all", "change", "sequence"}
    row = next(each for each in content["summary"] if each["extractor"] == "sift" and each["kind"] == "all")
    figure = row["figures"]["ransac_3"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    assert len(content["pairs"]) == 24
    assert "| magicpoint-lite+sift |" in before["pairs.md"].decode()
    assert (tmp_path / "curves.png").exists()
    # Again: features from the cache, one of them damaged; to the byte the same tables.
    stored = sorted((tmp_path / "features").rglob("*.h5"))
    assert len(stored) == 3 * 12 - 3 * 2  # the two changes of a photograph share their first view
    stored[0].write_bytes(stored[0].read_bytes()[:500])
    evaluate_pairs(CONFIG, methods, data=data, out=tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in names} == before
    assert stored[0].stat().st_size > 500


def test_figures_do_not_depend_on_threads_or_the_cache(
    data: Path, healthy: list[PairRecord], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.os, "cpu_count", lambda: 9)  # four threads that measure
    assert evaluate_pairs(CONFIG, ["sift"], data=data, out=tmp_path) == healthy
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert measure(data, tmp_path / "one") == healthy
    finally:
        cv2.setNumThreads(threads)


def test_a_cache_on_a_full_disk(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise UserError("features: no space left")

    monkeypatch.setattr(feature_store, "save_features", full)
    with pytest.raises(UserError, match="no space left"):
        evaluate_pairs(CONFIG, ["sift"], data=data, out=tmp_path)


def test_healthy_pairs_are_matched(healthy: list[PairRecord]) -> None:
    assert within(healthy) >= 0.75
    assert mean(healthy, "repeatability_3") > 0.4
    assert all(0 <= value <= 1 for record in healthy for value in record.mma)


def test_an_inverted_homography_lowers_viewpoint_figures_only(healthy: list[PairRecord], tmp_path: Path) -> None:
    wrong = measure(write_sequences(tmp_path / "data", inverted=True), tmp_path / "out")
    assert within(healthy, "viewpoint") >= within(wrong, "viewpoint") + 0.5
    assert mean(wrong, "repeatability_3", "viewpoint") < mean(healthy, "repeatability_3", "viewpoint") - 0.1
    light = [[record.error() for record in each if record.change == "illumination"] for each in (healthy, wrong)]
    assert light[0] == light[1]


def test_several_orders_of_the_matches(data: Path, healthy: list[PairRecord], tmp_path: Path) -> None:
    several = replace(CONFIG, orders=4)
    records = evaluate_pairs(several, ["sift"], data=data, out=tmp_path / "out", cache=False)
    assert [record.errors["ransac"][0] for record in records] == [record.errors["ransac"][0] for record in healthy]
    content = json.loads((tmp_path / "out" / "pairs.json").read_text())
    summary = next(each for each in content["summary"] if each["kind"] == "all")["figures"]
    for name in ("ransac", "magsac", "gcransac"):
        errors = [np.array(pair["corner_errors"][name], np.float64) for pair in content["pairs"]]
        assert [len(each) for each in errors] == [4] * len(records)
        assert summary[f"{name}_3"]["value"] == pytest.approx(np.mean([each <= 3 for each in errors]))


def test_a_row_per_matcher(data: Path, tmp_path: Path) -> None:
    records = evaluate_pairs(replace(CONFIG, matcher="mutual,ratio"), ["sift"], data=data, out=tmp_path)
    assert list(dict.fromkeys(record.extractor for record in records)) == ["sift mutual", "sift ratio"]
    mutual, ratio = records[:8], records[8:]
    assert all(one.matches > other.matches for one, other in zip(mutual, ratio, strict=True))
    assert all(one.points == other.points for one, other in zip(mutual, ratio, strict=True))
    with pytest.raises(UserError, match="matcher: found 'nearest'"):
        replace(CONFIG, matcher="mutual,nearest")


def test_swapped_coordinates_lower_every_figure(
    healthy: list[PairRecord], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = stage.make_extractor

    def swapped(name: str, config: EvaluatePairsConfig) -> Extractor:
        extractor = original(name, config)

        def extract(image: np.ndarray) -> Features:
            found = extractor(image)
            return replace(found, keypoints=found.keypoints[:, ::-1])

        return Extractor(extractor.name, "swapped", extract)

    monkeypatch.setattr(stage, "make_extractor", swapped)
    wrong = measure(data, tmp_path)
    assert within(wrong, "viewpoint") == 0
    assert mean(wrong, "matching_score", "viewpoint") < 0.2 * mean(healthy, "matching_score", "viewpoint")


def test_a_homography_that_is_not_rescaled_with_the_image(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvaluatePairsConfig(max_keypoints=200, iterations=1000, longest=128)
    right = measure(data, tmp_path / "right", config)

    def forgotten(pair: ViewPair, longest: int, size: list[int]) -> ViewPair:
        made = fit_pair(pair, longest, size)
        return ViewPair(made.name, made.sequence, made.change, made.image_a, made.image_b, pair.h_a_b)

    monkeypatch.setattr(stage, "fit_pair", forgotten)
    wrong = measure(data, tmp_path / "wrong", config)
    assert within(right, "viewpoint") >= 0.5
    assert within(wrong, "viewpoint") == 0
    assert mean(wrong, "nn_map", "viewpoint") < mean(right, "nn_map", "viewpoint") - 0.2


def edge_network(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """A detector of gradients that pads with black: the classic reason for detections on the image border."""
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    response = functional.conv2d(functional.pad(image, (1, 1, 1, 1)), kernel).abs()
    logits = functional.pixel_unshuffle(6 * response, 8)
    return {"logits": torch.cat([logits, torch.zeros_like(logits[:, :1])], dim=1)}


def test_border_points_that_are_kept_lower_repeatability(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edges(name: str, config: EvaluatePairsConfig) -> Extractor:
        decode = DecodeConfig(config.nms_radius, config.threshold, config.border, config.max_keypoints)
        return Extractor(name, f"border {config.border}", network_extractor(edge_network, decode))

    monkeypatch.setattr(stage, "make_extractor", edges)
    share = {}
    for border in (4, 0):
        config = EvaluatePairsConfig(max_keypoints=100, iterations=100, border=border)
        share[border] = mean(measure(data, tmp_path / str(border), config, "edges"), "repeatability_3", "viewpoint")
    assert share[0] < share[4] - 0.05


def test_bad_pairs_are_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_sequences(tmp_path / "data")
    viewpoint = sorted(data.glob("v_*"))
    (viewpoint[0] / "H_1_2").unlink()
    (viewpoint[0] / "H_1_3").write_text("1 2 3 2 4 6 0 0 1")
    (viewpoint[1] / "2.png").write_bytes(b"no image")
    (viewpoint[1] / "H_1_3").write_text("1 0 5000 0 1 0 0 0 1")
    (data / "v_alone").mkdir()
    (data / "v_alone/1.png").write_bytes((viewpoint[1] / "1.png").read_bytes())
    records = measure(data, tmp_path / "out")
    assert {record.change for record in records} == {"illumination"}
    skipped = json.loads((tmp_path / "out/pairs.json").read_text())["skipped"]
    text = "\n".join(skipped)
    for reason in ("H_1_2: no such file", "singular", "one image", "2.png", "maps no part"):
        assert reason in text
    assert len(skipped) == 5
    assert "left out: 5" in capsys.readouterr().out


def test_images_of_different_sizes_are_scaled_each_by_its_own() -> None:
    gray = np.asarray(sample_photographs()[0][1].mean(axis=2), np.uint8)
    pair = generated_pair(gray, "x", 0, "viewpoint", SIZE, 0)
    wide = ViewPair("x", "x", "x", pair.image_a, np.pad(pair.image_b, ((0, 0), (0, 192))), pair.h_a_b)
    made = fit_pair(wide, 192, [])
    assert made.image_a.shape == SIZE
    assert made.image_b.shape == (72, 192)
    corner = made.h_a_b @ (50, 60, 1)
    before = pair.h_a_b @ (50, 60, 1)
    assert np.allclose(corner[:2] / corner[2] + 0.5, (before[:2] / before[2] + 0.5) / 2)
    cut = fit_pair(wide, 0, [64, 96])
    assert cut.image_a.shape == cut.image_b.shape == (64, 96)


def test_paper_protocol_measures_repeatability_at_its_own_size(data: Path, tmp_path: Path) -> None:
    overrides = ["protocol=paper", "size=[96,128]", "repeatability_size=[48,64]", "max_keypoints=100"]
    config = load_pairs_config(None, overrides)
    assert config.nms_radius == 8
    assert config.describe().startswith("paper, size=[96, 128], max_keypoints=100")
    (record, *_) = measure(data, tmp_path, config, "harris")
    assert record.extractor == "harris+sift"
    assert 0 < record.repeatability_3 <= 1


def test_pairs_from_photographs(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    save_image(folder / "a.png", sample_photographs()[0][1])
    (folder / "b.png").write_bytes(b"no image")
    config = EvaluatePairsConfig(max_keypoints=100, generated_size=[96, 128], generated_pairs=1)
    records = evaluate_pairs(config, ["sift"], images=folder, out=tmp_path / "out")
    assert [record.change for record in records] == ["viewpoint", "photometric"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extractors", "sfit"], "sfit: no such file"),
        (["--extractors", "sift,sift"], "expected different"),
        (["--extractors", "sift+brief"], "expected DETECTOR+"),
        (["--extractors", "sift", "--data", "nowhere"], "nowhere: no such file or folder"),
        (["protocol=papre"], "did you mean 'paper'"),
        (["matcher=nearest"], "matcher: found 'nearest'"),
        (["size=[480]"], "size: found [480]"),
        (["confidence=1"], "confidence: found 1"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path, cli: CommandLine) -> None:
    assert message in cli.fails("evaluate", "pairs", "--out", tmp_path, *arguments)


def test_a_set_without_usable_pair_is_an_error(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "data/v_x").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"data/v_x/{number}.png").write_bytes(b"no image")
    (tmp_path / "data/v_x/H_1_2").write_text("1 0 0 0 1 0 0 0 1")
    with pytest.raises(UserError, match=r"found no usable image pair; the first reason: .*png"):
        measure(tmp_path / "data", tmp_path / "out")


def test_views_are_searched_on_request(tmp_path: Path) -> None:
    rgb = sample_photographs()[2][1]
    gray = cv2.resize(np.asarray(rgb.mean(axis=2), np.uint8), SIZE[::-1], interpolation=cv2.INTER_AREA)
    folder = tmp_path / "pairs/v_turned"
    save_image(folder / "1.png", gray)
    save_image(folder / "2.png", np.rot90(gray))
    turn = np.array([[0.0, 1, 0], [-1, 0, SIZE[1] - 1], [0, 0, 1]])
    (folder / "H_1_2").write_text("\n".join(" ".join(map(str, row)) for row in turn))
    names = ["shi+sift", "shi+sift+views"]
    upright, found = evaluate_pairs(CONFIG, names, data=tmp_path / "pairs", out=tmp_path / "out")
    assert [upright.extractor, found.extractor] == names
    assert upright.mma[2] < 0.1
    assert found.mma[2] > 0.9
    assert found.error("gcransac") < 0.5
