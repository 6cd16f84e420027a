import numpy as np
import pytest
import torch

from superpoint.config import DataConfig, HomographyConfig, PhotometricConfig
from superpoint.data.labelled import LabelledImages, cover
from superpoint.errors import UserError
from superpoint.geometry.cells import DUSTBIN, encode_points
from tests.drawing import centroid, gray_spots

PLAIN = DataConfig(
    height=48, width=64, curriculum=0,
    photometric=PhotometricConfig(enable=False), homography=HomographyConfig(enable=False),
)  # fmt: skip


def blob(height: int, width: int, x: float, y: float) -> np.ndarray:
    return gray_spots(np.array([[x, y]]), height, width, 5.0)


def pictures(count: int) -> list[tuple[np.ndarray, np.ndarray, None]]:
    """Black images of the configured size; image i has one label, in the cell (row, column) = divmod(i, 8)."""
    points = (np.array([[8 * (i % 8) + 3, 8 * (i // 8) + 2]]) for i in range(count))
    return [(np.full((48, 64), i, np.uint8), xy, None) for i, xy in enumerate(points)]


@pytest.mark.parametrize("size", [(96, 128), (100, 300), (300, 90), (40, 31)])
def test_resizing_and_cropping_keep_points_on_the_image_content(size: tuple[int, int]) -> None:
    height, width = size
    x, y = width / 2 + 0.3, height / 2 - 1.2
    for rng in (None, np.random.default_rng(1)):
        image, points, _ = cover(blob(height, width, x, y), np.array([[x, y], [-5, 3], [np.nan, 1]]), (48, 64), rng)
        assert image.shape == (48, 64)
        if not len(points):
            assert rng is not None  # a random crop may lose the point
            continue
        assert len(points) == 1
        if ((points[0] > 14) & (points[0] < (49, 33))).all():  # the spot is not cut, so its centroid is its place
            np.testing.assert_allclose(points[0], centroid(image), atol=0.15)


def test_the_middle_crop_is_in_the_middle() -> None:
    image, points, _ = cover(blob(48, 164, 81.5, 23.5), np.array([[81.5, 23.5]]), (48, 64))
    np.testing.assert_allclose(points, [[31.5, 23.5]])
    np.testing.assert_allclose(centroid(image), (31.5, 23.5), atol=0.01)


def test_random_crops_reach_every_place() -> None:
    image = np.arange(48 * 70, dtype=np.uint32).reshape(48, 70).astype(np.uint8)
    data = LabelledImages([(image, np.empty((0, 2)), None)], PLAIN, 0)
    lefts = {int(data.draw(index)[0][0, 0]) for index in range(60)}
    assert lefts == set(range(7))


def test_a_sample_is_a_function_of_seed_and_index() -> None:
    source = [(blob(60, 90, 40 + i, 30), np.array([[40.0 + i, 30.0]]), None) for i in range(5)]
    config = DataConfig(height=48, width=64, curriculum=0)
    first, second, other = (LabelledImages(source, config, seed) for seed in (3, 3, 4))
    for index in (11, 0, 4, 2**33):
        assert all(torch.equal(value, second[index][name]) for name, value in first[index].items())
    assert any(not torch.equal(first[index]["image"], other[index]["image"]) for index in range(5))


def test_every_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    data = LabelledImages(pictures(20), PLAIN, 0)
    epochs = [[data.number(20 * epoch + place) for place in range(20)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [int(data[index]["image"][0, 0, 0]) for index in range(20)] == epochs[0]
    assert len(data) > 10**12


def test_the_target_is_the_encoded_label() -> None:
    data = LabelledImages(pictures(20), PLAIN, 0)
    for index in range(20):
        (cell,) = torch.nonzero(data[index]["target"] != DUSTBIN).tolist()
        assert cell == list(divmod(data.number(index), 8))
        assert data[index]["target"][tuple(cell)] == 8 * 2 + 3
        assert torch.equal(data[index]["target"], torch.from_numpy(encode_points(data.draw(index)[1], 48, 64)))


def test_augmentation_moves_points_with_the_image() -> None:
    config = DataConfig(height=48, width=64, curriculum=0, photometric=PhotometricConfig(enable=False))
    data = LabelledImages([(blob(48, 64, 31, 25), np.array([[31.0, 25.0]]), None)], config, 0)
    moved = 0
    for index in range(40):
        image, points, mask = data.draw(index)
        if ((points[0] > 18) & (points[0] < (46, 30))).all():
            # The brightest part only: a border drawn out by the warp may add to the flanks of the spot.
            np.testing.assert_allclose(points[0], centroid((image / 255) ** 20), atol=0.5)
            moved += not mask.all()
    assert moved >= 5


def test_overfit_takes_the_first_images_with_labels() -> None:
    source = [(np.zeros((48, 64), np.uint8), np.empty((0, 2)), None), *pictures(5)[1:]]
    source[2] = (source[2][0], np.array([[-9.0, 4.0]]), None)  # its only label is not on the image
    data = LabelledImages(source, DataConfig(height=48, width=64, overfit=2), 0)
    assert len(data) == 2
    assert [int(data[i]["image"][0, 0, 0]) for i in range(4)] == [1, 3, 1, 3]
    assert data[0]["valid"].all()
    assert all(torch.equal(data[1]["target"], data[2 * i + 1]["target"]) for i in range(9))


def test_errors_of_the_source() -> None:
    with pytest.raises(UserError, match="found none"):
        LabelledImages([], PLAIN, 0)
    with pytest.raises(UserError, match=r"data\.overfit: found 3 labelled images of 3, expected 4"):
        LabelledImages(pictures(3), DataConfig(height=48, width=64, overfit=4), 0)
