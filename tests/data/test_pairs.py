import cv2
import numpy as np
import pytest

from superpoint.config import HomographyConfig, PhotometricConfig
from superpoint.data.pairs import generated_pair
from superpoint.geometry.homography import inverse, warp_image, warp_valid


def blobs(height: int, width: int) -> np.ndarray:
    """A smooth image, so that interpolation is exact to a grey level or so."""
    noise = np.random.default_rng(3).uniform(0, 255, (height // 16 + 1, width // 16 + 1)).astype(np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(240, 320), (480, 500), (900, 1500), (60, 50)])
def test_the_homography_maps_the_first_view_to_the_second(shape: tuple[int, int]) -> None:
    gentle = HomographyConfig(rotation=20, scale=[0.8, 1.25], perspective=0.1)
    pair = generated_pair(blobs(*shape), "blobs", 0, kind="viewpoint", homography=gentle)
    assert pair.image_a.shape == pair.image_b.shape == (240, 320)
    size = pair.image_a.shape
    predicted = warp_image(pair.image_a, pair.h_a_b, size)
    covered = warp_valid(pair.h_a_b, size, size, margin=3)
    assert covered.mean() > 0.3
    difference = np.abs(predicted.astype(float) - pair.image_b)[covered]
    assert np.median(difference) < 1.5
    wrong = np.abs(warp_image(pair.image_a, inverse(pair.h_a_b), size).astype(float) - pair.image_b)[covered]
    assert np.median(wrong) > 5 * np.median(difference) + 3


def test_photometric_pairs_have_the_same_geometry() -> None:
    pair = generated_pair(blobs(480, 640), "blobs", 1, kind="photometric")
    assert np.array_equal(pair.h_a_b, np.eye(3))
    assert not np.array_equal(pair.image_a, pair.image_b)
    still = PhotometricConfig(enable=False)
    pair = generated_pair(blobs(480, 640), "blobs", 1, kind="photometric", photometric=still)
    assert np.array_equal(pair.image_a, pair.image_b)


def test_a_pair_is_a_function_of_seed_name_and_index() -> None:
    image = blobs(240, 320)

    def matrix(name: str = "one", index: int = 0, seed: int = 0) -> np.ndarray:
        return generated_pair(image, name, index, kind="viewpoint", seed=seed).h_a_b

    assert np.array_equal(matrix(), matrix())
    for other in (matrix(name="two"), matrix(index=1), matrix(seed=1)):
        assert not np.allclose(other, matrix())
