import hashlib
import multiprocessing

import cv2
import numpy as np
import pytest

from superpoint.config import SyntheticConfig
from superpoint.data.synthetic import PRIMITIVES, ShapeGenerator
from superpoint.data.synthetic.canvas import background, smooth_noise
from superpoint.errors import UserError


def fingerprint(threads: int | None = None) -> str:
    if threads is not None:
        cv2.setNumThreads(threads)
    generator = ShapeGenerator(SyntheticConfig(), 120, 160, seed=5)
    digest = hashlib.sha256()
    for index in (9, 2, 0, 7, 2**40):
        scene = generator.scene(index)
        digest.update(scene.image.tobytes() + scene.points.tobytes() + scene.primitive.encode())
    return digest.hexdigest()


def test_same_in_another_process_with_another_number_of_threads() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        results = pool.map(fingerprint, [1, 4])
    assert set(results) == {fingerprint()}


def test_order_of_access_does_not_matter_and_seeds_differ() -> None:
    first, again = ShapeGenerator(SyntheticConfig(), 64, 96, 1), ShapeGenerator(SyntheticConfig(), 64, 96, 1)
    forward = [first.scene(i).image for i in range(5)]
    backward = [again.scene(i).image for i in reversed(range(5))][::-1]
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(a, b)
    other = ShapeGenerator(SyntheticConfig(), 64, 96, 2)
    assert not np.array_equal(other.scene(0).image, forward[0])
    assert not np.array_equal(forward[1], forward[0])


def test_mix_follows_the_weights() -> None:
    weights = dict.fromkeys(PRIMITIVES, 0.0) | {"lines": 3.0, "cube": 1.0}
    generator = ShapeGenerator(SyntheticConfig(primitives=weights, compose=0.0), 64, 64, 0)
    names = [generator.scene(i).primitive for i in range(300)]
    assert set(names) == {"lines", "cube"}
    assert 0.65 < names.count("lines") / 300 < 0.85


def test_composed_scenes_hold_more_than_one_primitive() -> None:
    generator = ShapeGenerator(SyntheticConfig(compose=1.0), 120, 160, 0)
    scenes = [generator.scene(i) for i in range(40)]
    assert {scene.primitive for scene in scenes} == {"composed"}
    single = ShapeGenerator(SyntheticConfig(compose=0.0), 120, 160, 0)
    assert np.mean([len(s.points) for s in scenes]) > np.mean([len(single.scene(i).points) for i in range(40)])


def test_unknown_primitive_is_named() -> None:
    with pytest.raises(UserError, match="'starfish', expected one of lines"):
        ShapeGenerator(SyntheticConfig(primitives={"starfish": 1.0}), 64, 64, 0)
    with pytest.raises(UserError, match="'starfish'"):
        ShapeGenerator(SyntheticConfig(), 64, 64, 0).scene(0, "starfish")


def test_backgrounds_use_the_grey_scale() -> None:
    rng = np.random.default_rng(0)
    images = [background(rng, 60, 80, texture=1.0) for _ in range(60)]
    assert all(image.shape == (60, 80) and image.dtype == np.uint8 for image in images)
    means = [image.mean() for image in images]
    assert min(means) < 60
    assert max(means) > 190
    assert np.median([image.std() for image in images]) > 3
    assert background(rng, 60, 80, texture=0.0).std() == 0


def test_smooth_noise_has_about_the_deviation_asked_for() -> None:
    rng = np.random.default_rng(0)
    deviations = [smooth_noise(rng, 60, 80, 10.0).std() for _ in range(200)]
    assert 6 < np.median(deviations) < 14


def test_channels_show_one_scene_at_levels_of_their_own() -> None:
    grey, bands = (ShapeGenerator(SyntheticConfig(), 96, 128, 5, channels) for channels in (1, 3))
    whole = []
    for index in range(8):
        one, several = grey.scene(index), bands.scene(index)
        np.testing.assert_array_equal(one.points, several.points)
        channels = np.moveaxis(several.image, 2, 0)
        whole.append([np.array_equal(channel, one.image) for channel in channels])
        for channel in channels:
            if channel.std() > 5 and channel.min() > 0 and channel.max() < 255:  # not clipped
                assert abs(np.corrcoef(channel.ravel(), one.image.ravel())[0, 1]) > 0.98
    assert (np.sum(whole, axis=1) >= 1).all()  # somewhere all of it
    assert np.any(whole, axis=0).all()  # but not always in the same channel
