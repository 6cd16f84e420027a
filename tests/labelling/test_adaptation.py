import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.config import AdaptationConfig, DecodeConfig, SyntheticConfig
from superpoint.data.synthetic import ShapeGenerator
from superpoint.errors import UserError
from superpoint.evaluation.metrics import average_precision, localisation_error, match_detections, precision_recall
from superpoint.geometry.cells import pixels_to_cells
from superpoint.labelling import HomographicAdaptation, agreement
from superpoint.models import load_network
from superpoint.models.extract import features
from tests.drawing import gray_spots

POINTS = np.array([[30.3, 25.6], [62.8, 40.1], [45.35, 60.25], [75.2, 70.7]], np.float32)


class DotDetector:
    """An exact detector of bright dots on black, in the form of a network; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        assert image.dtype == torch.float32
        assert image.shape[2] % 8 == 0
        assert image.shape[3] % 8 == 0
        self.calls.append(tuple(image.shape))
        # Odds of 0.1 against the dustbin, or less: nearly linear, so that cells do not push the dot's centre about.
        cells = (0.1 * pixels_to_cells(image[:, 0]) ** 4 + 1e-9).log()
        return {"logits": torch.cat([cells, torch.zeros_like(cells[:, :1])], dim=1)}


def dots(height: int = 90, width: int = 101, points: np.ndarray = POINTS) -> np.ndarray:
    return gray_spots(points, height, width, 1.4)


def adaptation(network: object = None, decode: DecodeConfig | None = None, **options: object) -> HomographicAdaptation:
    config = AdaptationConfig(**{"homographies": 20, **options})  # type: ignore[arg-type]
    return HomographicAdaptation(network or DotDetector(), config, decode or DecodeConfig(threshold=0.02))  # type: ignore[arg-type]


def sorted_points(points: np.ndarray) -> np.ndarray:
    return points[np.argsort(points[:, 1])]


@pytest.mark.parametrize("options", [{}, {"scales": [1.0, 0.75, 1.5]}, {"homographies": 1}])
def test_labels_lie_on_the_dots(options: dict) -> None:
    found = adaptation(**options)(dots(), "x")
    assert len(found.keypoints) == 4
    assert np.abs(sorted_points(found.keypoints) - POINTS).max() < 0.12
    assert found.keypoints.dtype == found.scores.dtype == np.float32
    assert found.views == options.get("homographies", 20)
    assert (np.diff(found.scores) <= 0).all()


def test_whole_pixels_without_subpixel() -> None:
    found = adaptation(decode=DecodeConfig(threshold=0.02, subpixel=False))(dots(), "x")
    assert np.array_equal(sorted_points(found.keypoints), np.floor(POINTS + 0.5))


@pytest.mark.parametrize("homographies", [0, 1])
def test_one_view_is_plain_detection(homographies: int) -> None:
    model = load_network("magicpoint-lite")
    image = ShapeGenerator(SyntheticConfig(), 60, 75, seed=5).scene(3).image
    decode = DecodeConfig(threshold=0.01, border=2, max_keypoints=5)
    found = adaptation(model, decode, homographies=homographies)(image, "x")
    (plain,) = features(model, [image], decode)
    assert len(found) > 1
    assert np.array_equal(found.keypoints, plain.keypoints)
    assert np.array_equal(found.scores, plain.scores)


def test_depends_on_image_name_and_seed_alone() -> None:
    one = adaptation()
    first = one(dots(), "x")
    other = one(dots(), "y")
    again = one(dots(), "x")
    assert np.array_equal(first.keypoints, again.keypoints)
    assert np.array_equal(first.scores, again.scores)
    assert not np.array_equal(first.scores, other.scores)
    assert not np.array_equal(first.scores, adaptation(seed=1)(dots(), "x").scores)


def test_scores_do_not_depend_on_the_threshold() -> None:
    low, high = (adaptation(decode=DecodeConfig(threshold=threshold))(dots(), "x") for threshold in (0.002, 0.04))
    assert 0 < len(high.keypoints) <= len(low.keypoints)
    assert np.array_equal(low.scores[: len(high.scores)], high.scores)
    assert np.array_equal(low.keypoints[: len(high.keypoints)], high.keypoints)


def test_chunks_follow_the_memory_and_change_nothing() -> None:
    few, many = DotDetector(), DotDetector()
    small, large = adaptation(few, memory=15)(dots(), "x"), adaptation(many, memory=1000)(dots(), "x")
    assert [shape[0] for shape in few.calls] == [2] * 10  # 96 x 104 pixels are 7 MB
    assert [shape[0] for shape in many.calls] == [20]
    assert np.allclose(small.keypoints, large.keypoints, atol=1e-3)


def test_too_large_for_the_memory_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpoint.labelling.memory.free_memory", lambda device: 5 << 20)
    for homographies in (1, 20):
        with pytest.raises(UserError, match=r"x\.png: a view of \d+x\d+ pixels needs about 0\.0 GB, but 0\.0 GB are"):
            adaptation(homographies=homographies)(dots(), "x.png")


def test_stops_once_the_points_have_settled() -> None:
    network = DotDetector()
    found = adaptation(network, homographies=100, settle=0.9)(dots(), "x")
    assert found.views == 20
    assert sum(shape[0] for shape in network.calls) == 20
    assert agreement(found.keypoints, POINTS) == 1
    assert adaptation(homographies=15, settle=1.0)(dots(), "x").views == 15


def test_a_mask_takes_labels_away_and_changes_no_other() -> None:
    mask = np.ones((90, 101), bool)
    whole, same = adaptation()(dots(), "x"), adaptation()(dots(), "x", mask)
    assert np.array_equal(whole.keypoints, same.keypoints)
    assert np.array_equal(whole.scores, same.scores)
    mask[26:, 62] = False  # through the second dot, 5 px beside the third
    mask[60, 49:52] = False
    left = adaptation()(dots(), "x", mask).keypoints
    np.testing.assert_allclose(sorted_points(left), POINTS[[0, 3]], atol=0.05)


def test_pixels_seen_too_rarely_hold_no_label() -> None:
    image = dots(points=np.array([[6.0, 6.0], [50.0, 45.0]]))  # the corner is out of many views
    options = {"translation": 0.3, "scale": [1.5, 2.0]}
    assert len(adaptation(min_views=1, **options)(image, "x").keypoints) == 2
    assert len(adaptation(min_views=12, **options)(image, "x").keypoints) == 1
    # Fewer views than `min_views` in all: those must do.
    still = {"rotation": 0, "perspective": 0, "shear": 0, "translation": 0, "scale": [1.0, 1.0]}
    assert len(adaptation(homographies=3, min_views=12, **still)(image, "x").keypoints) == 2


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (7, 300), (9, 17)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    found = adaptation(decode=DecodeConfig(border=0), homographies=4, scales=[1.0, 0.5])(np.zeros(size, np.uint8), "x")
    assert found.keypoints.shape == (0, 2)
    assert found.views == 4


def test_what_is_no_gray_image_is_refused() -> None:
    for image in (np.zeros((8, 8, 3, 1), np.uint8), np.zeros((8, 8), np.float32), np.zeros((0, 8), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8"):
            adaptation()(image, "x")  # pyright: ignore[reportArgumentType]


def test_broken_weights_are_one_clear_line() -> None:
    def broken(image: Tensor) -> dict[str, Tensor]:
        return {"logits": torch.full((len(image), 65, image.shape[2] // 8, image.shape[3] // 8), torch.nan)}

    with pytest.raises(UserError, match="weights are broken"):
        adaptation(broken)(dots(), "x")


def test_labels_are_better_and_better_located_than_plain_detections() -> None:
    model = load_network("magicpoint-lite")
    scenes = ShapeGenerator(SyntheticConfig(), 96, 128, seed=77)
    decode = DecodeConfig(threshold=1e-3)
    one, many = (HomographicAdaptation(model, AdaptationConfig(homographies=n), decode) for n in (1, 25))
    matches: dict[str, list] = {"plain": [], "adapted": []}
    for index in range(12):
        scene = scenes.scene(index)
        noise = np.random.default_rng(index).normal(0, 15 * (index % 2), scene.image.shape)
        image = (scene.image + noise).clip(0, 255).astype(np.uint8)
        truth = scene.points
        truth = truth[((truth >= 4) & (truth < np.array([123, 91]))).all(axis=1)]
        for name, detect in (("plain", one), ("adapted", many)):
            found = detect(image, str(index))
            matches[name].append(match_detections(found.keypoints, found.scores, truth, 2.0))
    curves = {name: precision_recall(found) for name, found in matches.items()}
    assert average_precision(curves["adapted"]) > average_precision(curves["plain"])
    errors = {}
    for name, curve in curves.items():  # of the strongest, as many as make 60 % recall
        threshold = curve.threshold[np.searchsorted(curve.recall, 0.6)]
        errors[name] = localisation_error(matches[name], float(threshold))
    assert errors["adapted"] < errors["plain"]
    assert errors["adapted"] < 0.5


def test_agreement() -> None:
    one = np.array([[0.0, 0.0], [5000.0, 3000.0]], np.float32)
    assert agreement(one, one) == 1
    assert agreement(one, one + np.float32(0.75), 1.0) == 0
    assert agreement(one, one + np.float32(0.5), 1.0) == 1
    assert agreement(one, one[:1]) == pytest.approx(2 / 3)
    assert agreement(one, np.empty((0, 2), np.float32)) == 0
    assert agreement(np.empty((0, 2)), np.empty((0, 2))) == 1
    # Many points take another way in torch, which rounds to 0.1 px at such coordinates.
    crowd = np.random.default_rng(0).uniform(8000, 9000, (60, 2)).astype(np.float32)
    assert agreement(crowd, crowd, 0.01) == 1


def test_freed_memory_is_given_back_after_every_image_of_many_views(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("superpoint.labelling.adaptation.give_back_freed_memory", lambda: calls.append(1))
    for views, images, expected in ((2, 3, 3), (1, 19, 0), (1, 20, 1)):
        calls.clear()
        label = adaptation(homographies=views)
        for index in range(images):
            label(dots()[:16, :16], str(index))
        assert len(calls) == expected
