import dataclasses

import cv2
import numpy as np
import pytest

from superpoint.config import PhotometricConfig
from superpoint.data.photometric import augment_photometric
from tests.drawing import centroid

IMAGE = np.tile(np.linspace(60, 190, 160).astype(np.uint8), (120, 1))
QUIET = PhotometricConfig(
    brightness=0, contrast=[1, 1], gaussian_noise=[1e-3, 1e-3], speckle_noise=0, shade=[0, 0], motion_blur=0,
    defocus_blur=0, probability=1.0,
)  # fmt: skip


DARK = PhotometricConfig(gamma=2.0, jpeg_quality=10, lamplight=20.0, probability=1.0)


def apply(seed: int = 0, image: np.ndarray = IMAGE, **changes: object) -> np.ndarray:
    config = dataclasses.replace(QUIET, **changes)  # pyright: ignore[reportArgumentType]
    return augment_photometric(image, config, np.random.default_rng(seed))


def test_pure_function_that_leaves_its_input_alone() -> None:
    image = IMAGE.copy()
    first = augment_photometric(image, PhotometricConfig(), np.random.default_rng(3))
    second = augment_photometric(image, PhotometricConfig(), np.random.default_rng(3))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, IMAGE)
    assert first.dtype == np.uint8


def test_nothing_happens_when_off() -> None:
    rng = np.random.default_rng(0)
    for off in (PhotometricConfig(enable=False), PhotometricConfig(strength=0.0), PhotometricConfig(probability=0.0)):
        np.testing.assert_array_equal(augment_photometric(IMAGE, off, rng), IMAGE)
    np.testing.assert_array_equal(augment_photometric(IMAGE, PhotometricConfig(), rng, strength=0.0), IMAGE)
    assert np.abs(apply().astype(int) - IMAGE).max() <= 1


def test_contrast_is_about_the_mean() -> None:
    image = apply(contrast=[0.5, 0.5])
    assert image.std() == pytest.approx(IMAGE.std() / 2, rel=0.03)
    assert image.mean() == pytest.approx(IMAGE.mean(), abs=1)


def test_gamma_bends_and_keeps_the_ends() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    seen = [apply(seed, image, gamma=3.0).astype(int) for seed in range(40)]
    for bent in seen:
        assert (bent[0, 0], bent[-1, -1]) == (0, 255)
        assert (np.diff(bent.reshape(-1)) >= 0).all()
    middle = [bent.reshape(-1)[128] for bent in seen]
    darkest, lightest = (255 * (128 / 255) ** exponent for exponent in (3.0, 1 / 3.0))
    assert darkest - 1 <= min(middle) < 60
    assert 190 < max(middle) <= lightest + 1
    np.testing.assert_array_equal(apply(0, image, gamma=1.0), image)


def test_jpeg_compression_is_as_strong_as_its_quality_is_low() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    coarse = [np.abs(apply(seed, image, jpeg_quality=5).astype(int) - image).mean() for seed in range(20)]
    fine = [np.abs(apply(seed, image, jpeg_quality=90).astype(int) - image).mean() for seed in range(20)]
    assert 0 < max(fine) < np.median(coarse)
    np.testing.assert_array_equal(apply(3, image, jpeg_quality=5), apply(3, image, jpeg_quality=5))
    np.testing.assert_array_equal(apply(0, image, jpeg_quality=0), image)


def test_brightness_is_bounded_and_keeps_off_the_ends() -> None:
    shifts = [apply(seed, brightness=30).astype(int) - IMAGE for seed in range(30)]
    assert max(np.abs(shift).max() for shift in shifts) <= 31
    assert len({round(shift.mean()) for shift in shifts}) > 10
    bright = np.full((40, 40), 220, np.uint8)
    assert max(apply(seed, bright, brightness=200).mean() for seed in range(20)) <= 226


def test_gaussian_noise_has_its_deviation() -> None:
    flat = np.full((120, 160), 128, np.uint8)
    assert apply(image=flat, gaussian_noise=[10, 10]).std() == pytest.approx(10, rel=0.05)
    assert apply(image=flat, gaussian_noise=[10, 10], strength=0.5).std() == pytest.approx(5, rel=0.05)


def test_speckle_touches_at_most_its_share() -> None:
    changed = [(apply(seed, speckle_noise=0.05) != apply(seed)).mean() for seed in range(20)]
    assert 0.01 < np.mean(changed) < 0.04
    assert max(changed) <= 0.05


def test_shade_darkens_or_lightens_smoothly() -> None:
    flat = np.full((120, 160), 128, np.uint8)
    dark = [apply(seed, flat, shade=[0.6, 0.6]) for seed in range(10)]
    light = [apply(seed, flat, shade=[-0.4, -0.4]) for seed in range(10)]
    assert max(image.max() for image in dark) <= 129
    assert min(image.min() for image in light) >= 127
    assert np.mean([image.mean() for image in dark]) < 115
    assert max(np.abs(np.diff(image.astype(int), axis=1)).max() for image in dark) <= 12


def test_lamplight_is_uneven_smooth_and_within_its_range() -> None:
    flat = np.full((120, 160), 80, np.uint8)
    ratios = []
    for seed in range(40):
        lit = apply(seed, flat, lamplight=10.0).astype(int)
        assert lit.min() >= 80 / 10 - 1
        assert lit.max() <= 80 * 3 + 1  # three times the light is the longest exposure
        assert np.abs(np.diff(lit, axis=1)).max() <= 32
        ratios.append(lit.max() / lit.min())
    assert min(ratios) < 2 < 6 < max(ratios) < 11.5
    np.testing.assert_array_equal(apply(0, flat, lamplight=1.0), flat)
    weak = apply(0, flat, lamplight=10.0, strength=0.1).astype(int)
    assert weak.max() / weak.min() < 1.4  # the tenth root of the range


@pytest.mark.parametrize("effect", [{"motion_blur": 7}, {"defocus_blur": 2.0}])
def test_blur_moves_nothing(effect: dict[str, float]) -> None:
    spot = np.zeros((41, 41), np.uint8)
    cv2.circle(spot, (20, 20), 4, 200, -1)
    for seed in range(30):
        blurred = apply(seed, spot, **effect)
        np.testing.assert_allclose(centroid(blurred), (20, 20), atol=0.1)
        assert blurred.max() <= 201


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (16, 16)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    image = np.full(shape, 90, np.uint8)
    for seed in range(20):
        for config in (PhotometricConfig(), DARK):
            assert augment_photometric(image, config, np.random.default_rng(seed)).shape == shape


def test_channels_share_the_scene_but_not_the_sensor() -> None:
    """Of equal channels shadows, lamps and blur make equal ones; contrast, noise and compression are independent."""
    image = np.repeat(IMAGE[:, :, None], 6, axis=2)
    shared = apply(image=image, gamma=1.5, lamplight=3.0, shade=[0.5, 0.7], motion_blur=9, defocus_blur=2)
    assert shared.shape == image.shape
    assert np.abs(shared[:, :, 0].astype(int) - IMAGE).mean() > 10
    assert all(np.array_equal(shared[:, :, 0], shared[:, :, k]) for k in range(6))
    noise = (apply(image=image, gaussian_noise=[8.0, 8.0]).astype(float) - image).reshape(-1, 6)
    assert np.abs(np.corrcoef(noise.T) - np.eye(6)).max() < 0.05
    spread = apply(image=image, contrast=[0.3, 1.7]).std(axis=(0, 1))
    assert spread.max() > 1.3 * spread.min()
    blocks = apply(image=image, jpeg_quality=10)
    assert blocks.shape == image.shape
