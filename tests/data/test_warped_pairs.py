import cv2
import numpy as np
import pytest
import torch

from superpoint.config import HomographyConfig, PairDataConfig, PhotometricConfig
from superpoint.data.training_set import training_pairs, training_samples
from superpoint.data.warped_pairs import SingleViews, SyntheticScenes, WarpedPairs, _prepare
from superpoint.errors import UserError
from superpoint.geometry.cells import DUSTBIN, encode_points
from superpoint.geometry.homography import inside, warp_image, warp_points, warp_valid
from tests.drawing import centroid, gray_spots

STILL = PhotometricConfig(enable=False)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth image, so that interpolation is exact to a grey level or so."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 24 + 2, width // 24 + 2)).astype(np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def source(count: int = 5, height: int = 150, width: int = 200) -> list[tuple[np.ndarray, np.ndarray, None]]:
    """Photographs with 60 labels each."""
    rng = np.random.default_rng(1)
    points = (rng.uniform((0, 0), (width - 1, height - 1), (60, 2)) for _ in range(count))
    return [(smooth(height, width, i), xy, None) for i, xy in enumerate(points)]


def config(**keys: object) -> PairDataConfig:
    given: dict[str, object] = {"height": 64, "width": 80, "curriculum": 0, "photometric": STILL, **keys}
    return PairDataConfig(**given)  # type: ignore[arg-type]


def test_shapes_and_types_of_a_view_whose_sides_are_no_multiples_of_8() -> None:
    data = WarpedPairs(source(), PairDataConfig(height=52, width=60, curriculum=0), 0)
    found = {name: (tuple(value.shape), value.dtype) for name, value in data[3].items()}
    expected = {"h_a_b": ((3, 3), torch.float32), "matched": ((86,), torch.bool)}
    for view in "ab":
        expected |= {
            f"image_{view}": ((1, 56, 64), torch.uint8),
            f"target_{view}": ((7, 8), torch.int64),
            f"valid_{view}": ((7, 8), torch.bool),
            f"correspondences_{view}": ((86, 2), torch.float32),
        }
    assert found == expected
    assert not data[3]["valid_a"][6].any()  # rows 48..55 are half padding


def test_a_pair_is_a_function_of_seed_and_index() -> None:
    photographs, settings = source(), PairDataConfig(height=48, width=64)
    first, second, other = (WarpedPairs(photographs, settings, seed) for seed in (3, 3, 4))
    for index in (11, 0, 5000, 2**33):
        assert all(torch.equal(value, second[index][name]) for name, value in first[index].items())
    assert not torch.equal(first[5000]["image_a"], other[5000]["image_a"])
    assert not torch.equal(first[5000]["image_a"], first[5005]["image_a"])


@pytest.mark.parametrize("shape", [(150, 200), (64, 80), (40, 50), (640, 200), (300, 1000)])
def test_the_homography_maps_view_a_to_view_b(shape: tuple[int, int]) -> None:
    data = WarpedPairs(source(3, *shape), config(), 0)
    for index in range(3):
        a, b, h_a_b = data.draw(index)
        predicted = warp_image(a.image, h_a_b, (64, 80))
        covered = warp_valid(h_a_b, (64, 80), (64, 80), 3) & b.mask
        covered &= warp_image(a.mask.astype(np.uint8) * 255, h_a_b, (64, 80)) == 255
        difference = np.abs(predicted.astype(float) - b.image)[covered]
        if covered.sum() > 100:
            assert np.median(difference) < 3


def test_labels_are_warped_exactly_and_with_the_image() -> None:
    labels = np.array([[60.3, 50.6], [140.2, 48.1], [61.7, 101.4], [138.5, 99.9], [100.1, 75.7]])
    data = WarpedPairs([(gray_spots(labels, 150, 200, 3.0), labels, None)], config(zoom=1.0), 0)
    checked = 0
    for index in range(12):
        a, b, h_a_b = data.draw(index)
        mapped = warp_points(a.points, h_a_b)
        mapped = mapped[inside(mapped, 64, 80)]
        distance = np.linalg.norm(mapped[:, None] - b.points[None], axis=2).min(axis=1)
        assert distance.max(initial=0) < 1e-2
        for view in (a, b):
            for x, y in view.points[inside(view.points, 64, 80, 8)]:
                left, top = round(float(x)) - 4, round(float(y)) - 4
                window = view.image[top : top + 9, left : left + 9].astype(float) ** 4
                np.testing.assert_allclose(np.add(centroid(window), (left, top)), (x, y), atol=0.35)
                checked += 1
    assert checked > 20


def test_correspondences_are_the_same_places_and_visible_in_both_views() -> None:
    data = WarpedPairs(source(), config(correspondences=60), 0)
    for index in range(10):
        sample, (a, b, h_a_b) = data[index], data.draw(index)
        used = sample["matched"].numpy()
        assert used.sum() > 20
        places_a, places_b = sample["correspondences_a"].numpy()[used], sample["correspondences_b"].numpy()[used]
        np.testing.assert_allclose(warp_points(places_a, h_a_b), places_b, atol=1e-2)
        for view, places in ((a, places_a), (b, places_b)):
            x, y = np.floor(places + 0.5).astype(int).T
            assert view.mask[y, x].all()
        labels = min(30, len(a.points))
        on_label = np.linalg.norm(places_a[:, None] - a.points[None], axis=2).min(axis=1, initial=99) < 1e-4
        assert 0 < on_label.sum() <= labels + 2
        assert not on_label[on_label.sum() :].any()  # labels first, then random places


def test_views_overlap_as_demanded_and_differ() -> None:
    data, shares = WarpedPairs(source(), config(min_overlap=0.5), 0), []
    for index in range(30):
        _, _, h_a_b = data.draw(index)
        shares.append(warp_valid(h_a_b, (64, 80), (64, 80)).mean())
    assert min(shares) > 0.45
    assert np.mean(np.array(shares) < 0.99) > 0.8
    impossible = WarpedPairs(
        source(), config(min_overlap=0.9, homography=HomographyConfig(probability=1, rotation=180, translation=1)), 0
    )
    np.testing.assert_allclose(impossible.draw(0)[2], np.eye(3), atol=1e-9)  # rather no warp than no overlap


def test_the_curriculum_goes_from_equal_views_to_full_warps() -> None:
    data = WarpedPairs(source(), config(curriculum=1000), 0)
    moved = []
    for start in (0, 500, 1000):
        corners = np.array([[0.0, 0.0], [79.0, 63.0]])
        shifts = [np.abs(warp_points(corners, data.draw(start + i)[2]) - corners).max() for i in range(15)]
        moved.append(float(np.nanmean(shifts)))
    assert moved[0] < 1.0 < moved[1] < moved[2]
    assert np.array_equal(data.draw(0)[0].image, data.draw(0)[1].image)


def test_light_and_noise_of_the_views_are_their_own() -> None:
    settings = config(photometric=PhotometricConfig(probability=1.0), homography=HomographyConfig(enable=False))
    a, b, h_a_b = WarpedPairs(source(), settings, 0).draw(7)
    assert np.array_equal(h_a_b, np.eye(3))
    assert not np.array_equal(a.image, b.image)


def test_hidden_parts_show_another_photograph_and_count_for_nothing() -> None:
    flat = [(np.full((150, 200), grey, np.uint8), np.zeros((0, 2)), None) for grey in (60, 200)]
    whole = HomographyConfig(enable=False)
    hidden = 0
    for index in range(20):
        views = WarpedPairs(flat, config(occlusion=0.7, homography=whole), 0).draw(index)[:2]
        for view in views:
            own = 60 if (view.image[view.mask] == 60).all() else 200
            assert (view.image[view.mask] == own).all()
            columns, rows = np.round(view.correspondences).astype(int).T
            assert (view.image[rows, columns] == own).all()
            hidden += bool((view.image != own).any())
    assert 10 < hidden < 30  # of the 40 views 70 %, and half of these by a photograph of the same grey


def test_grey_levels_are_mixed_from_the_colours_for_each_view_alone() -> None:
    colours = np.zeros((150, 200, 3), np.uint8)
    colours[:, :100, 0], colours[:, 100:, 2] = 200, 200
    settings = config(
        homography=HomographyConfig(enable=False), photometric=PhotometricConfig(probability=0, colour_mix=1)
    )
    pairs = WarpedPairs([(colours, np.zeros((0, 2)), None)], settings, 0, grey=True)
    levels = np.array([np.unique(view.image)[[0, -1]] for index in range(20) for view in pairs.draw(index)[:2]])
    assert levels.shape == (40, 2)
    assert (levels[::2] != levels[1::2]).any(axis=1).all()
    assert levels.min() < 10
    assert levels.max() > 150
    luma = WarpedPairs(
        [(colours, np.zeros((0, 2)), None)], config(homography=HomographyConfig(enable=False)), 0, grey=True
    )
    assert {round(0.299 * 200), round(0.114 * 200)} <= set(np.unique(luma.draw(0)[0].image).tolist())


def test_overfitting_repeats_warped_pairs_without_light_and_noise() -> None:
    data = WarpedPairs(source(), PairDataConfig(height=64, width=80, overfit=2), 0)
    assert len(data) == 2
    for index in (0, 1):
        assert all(torch.equal(value, data[index + 4][name]) for name, value in data[index].items())
        assert not np.allclose(data.draw(index)[2], np.eye(3))
        view = data.draw(index)[0]
        assert torch.equal(
            data[index]["target_a"] != DUSTBIN, torch.from_numpy(encode_points(view.points, 64, 80)) != 64
        )
    assert not torch.equal(data[0]["image_a"], data[1]["image_a"])


def test_overfitting_takes_pairs_with_labels_in_both_views() -> None:
    photographs = [(smooth(64, 80), np.empty((0, 2)), None), *source(1, 64, 80)]
    data = WarpedPairs(photographs, config(overfit=3), 0)
    assert all(len(view.points) for index in range(3) for view in data.draw(index)[:2])
    with pytest.raises(UserError, match=r"data\.overfit: found 0 pairs with labels in both views among 500"):
        WarpedPairs(photographs[:1], config(overfit=1), 0)
    with pytest.raises(UserError, match="found none"):
        WarpedPairs([], PairDataConfig(), 0)


def test_crops_show_the_photograph_at_up_to_the_zoom_but_never_beyond_its_pixels() -> None:
    scales = []
    for shape, most in (((600, 800), 3.0), ((80, 100), 4.0), ((40, 50), 2.0)):
        for index in range(20):
            photograph = smooth(*shape)
            _, h_photo_source, crop = _prepare(photograph, (64, 80), most, np.random.default_rng(index))
            corners = warp_points(np.array([[-0.5, -0.5], [shape[1] - 0.5, shape[0] - 0.5]]), crop @ h_photo_source)
            assert (corners[0] <= -0.49).all()  # the photograph covers the view
            assert (corners[1] >= (79.49, 63.49)).all()
            scales.append((corners[1] - corners[0])[0] / shape[1])
    large, exact, small = np.array(scales).reshape(3, 20)
    cover = 64 / 600
    assert large.min() >= cover - 1e-3
    assert 2 * cover < large.max() <= 3 * cover + 1e-2
    assert exact.max() <= 1 + 1e-6
    np.testing.assert_allclose(small, 1.6)  # a photograph smaller than the view is magnified, but only just


def test_without_photographs_pairs_are_of_synthetic_shapes() -> None:
    settings = config()
    data = training_pairs(settings, 5)
    assert isinstance(data.source, SyntheticScenes)
    assert data[2]["matched"].sum() > 10
    singles = training_samples(settings, 5)
    assert isinstance(singles, SingleViews)
    for index in (0, 1):
        image, points, mask = singles.draw(index)
        assert torch.equal(singles[index]["image"], data[index]["image_b" if index else "image_a"])
        assert torch.equal(
            singles[index]["target"] != DUSTBIN, torch.from_numpy(encode_points(points, 64, 80)) != DUSTBIN
        )
        assert mask.shape == image.shape == (64, 80)
