import numpy as np
import pytest
from numpy.random import default_rng

from superpoint.classification.config import ClassAugmentConfig
from superpoint.classification.data.images import resize_shorter
from superpoint.classification.data.transforms import (
    central_view,
    colour_jitter,
    evaluation_views,
    random_crop,
    random_resized_crop,
    training_view,
)

RAMP = np.dstack([np.tile(np.arange(0, 240, 4), (40, 1))] * 3).astype(np.uint8)  # [40, 60, 3], brighter to the right


@pytest.mark.parametrize("crop", ["resized", "padded", "centre"])
@pytest.mark.parametrize("shape", [(40, 60, 3), (2, 90, 1), (16, 16, 3)])
def test_views_have_the_size_and_depend_on_the_generator_alone(crop: str, shape: tuple[int, ...]) -> None:
    image = default_rng(0).integers(0, 256, shape).astype(np.uint8)
    config = ClassAugmentConfig(crop=crop, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)
    views = [training_view(image, (16, 20), config, default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == (16, 20, shape[2])
    assert views[0].dtype == np.uint8
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_no_augmentation_is_the_centre() -> None:
    config = ClassAugmentConfig(crop="centre", flip=0.0)
    view = training_view(RAMP, (40, 40), config, default_rng(0))
    assert np.array_equal(view, RAMP[:, 10:50])


def test_resized_crops_have_the_areas_and_shapes_asked_for() -> None:
    y, x = np.mgrid[0:200, 0:200]
    image = np.dstack([x, y, x]).astype(np.uint8)
    areas, shapes = [], []
    for seed in range(200):
        crop = random_resized_crop(image, (100, 100), (0.08, 1.0), (3 / 4, 4 / 3), default_rng(seed)).astype(float)
        width, height = np.ptp(crop[:, :, 0]) + 1, np.ptp(crop[:, :, 1]) + 1
        areas.append(width * height / 40000)
        shapes.append(width / height)
    assert 0.07 < min(areas) < 0.15
    assert 0.85 < max(areas) <= 1.0
    assert abs(np.mean(areas) - 0.5) < 0.06
    assert 0.7 < min(shapes) < 0.8
    assert 1.25 < max(shapes) < 1.4


def test_flip_is_half_of_the_time_and_mirrors() -> None:
    config = ClassAugmentConfig(crop="centre", flip=0.5)
    rising = [training_view(RAMP, (40, 60), config, default_rng(seed)) for seed in range(100)]
    mirrored = [view for view in rising if view[0, 0, 0] > view[0, -1, 0]]
    assert 35 < len(mirrored) < 65
    assert np.array_equal(mirrored[0], RAMP[:, ::-1])


def test_test_views_are_centre_corners_and_their_mirrors() -> None:
    views = evaluation_views(RAMP, (20, 20), resize=2.0, crops=10)
    assert views.shape == (10, 20, 20, 3)
    assert np.array_equal(views[0], RAMP[10:30, 20:40])
    assert np.array_equal(views[1], RAMP[:20, :20])
    assert np.array_equal(views[4], RAMP[20:, 40:])
    assert np.array_equal(views[5:], views[:5, :, ::-1])
    assert np.array_equal(evaluation_views(RAMP, (20, 20), resize=2.0, crops=5), views[:5])
    assert np.array_equal(evaluation_views(RAMP, (20, 20), resize=2.0), views[:1])


def test_padding_shifts_by_at_most_its_width() -> None:
    image = np.full((8, 8, 1), 255, np.uint8)
    config = ClassAugmentConfig(crop="padded", padding=2, flip=0.0)
    for seed in range(30):
        view = training_view(image, (8, 8), config, default_rng(seed))[:, :, 0]
        assert 36 <= (view == 255).sum() <= 64


def test_jitter_keeps_what_it_is_not_asked_for() -> None:
    image = default_rng(0).integers(40, 180, (8, 8, 3)).astype(np.uint8)
    assert colour_jitter(image, 0, 0, 0, 0, default_rng(1)) is image
    brighter = colour_jitter(image, 0.4, 0, 0, 0, default_rng(1)).astype(float)
    ratio = brighter / image
    assert np.ptp(ratio) < 0.03
    assert 0.6 <= ratio.mean() <= 1.4
    grey = np.repeat(image[:, :, :1], 3, axis=2)
    turned = colour_jitter(grey, 0, 0, 0.5, 0.5, default_rng(1)).astype(int)
    assert np.abs(turned - grey).max() <= 1  # grey has neither saturation nor hue
    hued = colour_jitter(image, 0, 0, 0, 0.5, default_rng(1)).astype(int)
    assert np.abs(hued.max(2) - image.max(2)).max() <= 3
    assert np.abs(hued - image).max() > 20


def test_sizes() -> None:
    assert resize_shorter(RAMP, 20).shape == (20, 30, 3)
    assert resize_shorter(RAMP[:, :, :1], 80).shape == (80, 120, 1)
    assert central_view(RAMP, (10, 10)).shape == (10, 10, 3)
    assert random_crop(RAMP, (40, 60), default_rng(0)).shape == RAMP.shape
