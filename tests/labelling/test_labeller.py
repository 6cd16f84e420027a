from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from superpoint.config import AdaptationConfig, DecodeConfig, LabellingConfig
from superpoint.errors import UserError
from superpoint.labelling.labeller import labeller, shrink
from superpoint.labelling.memory import NoRoomError
from superpoint.models import build_model, load_network
from tests.conftest import TINY_MODEL

PLAIN = AdaptationConfig(homographies=0)


def settings(**changes: Any) -> LabellingConfig:
    return LabellingConfig(**{"adaptation": PLAIN, "backend": "torch", "precision": "fp32", **changes})


def board(height: int, width: int, square: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] // square
    return (60 + 130 * ((x + y) % 2)).astype(np.uint8)


def test_points_are_mapped_back_exactly() -> None:
    small = board(96, 128, 16)
    large = small.repeat(3, axis=0).repeat(3, axis=1)
    config = settings(resize=128)
    label = labeller(load_network("magicpoint-lite"), config)
    found, base = label(shrink(large, config), "a"), label(shrink(small, config), "a")
    assert found.image_size == (384, 288)
    assert found.uncertainty == pytest.approx(3)
    assert len(found.keypoints) > 20
    np.testing.assert_allclose(found.keypoints, (base.keypoints + 0.5) * 3 - 0.5, atol=1e-3)
    corners = np.round((found.keypoints + 0.5) / 48) * 48 - 0.5  # of the squares
    assert np.median(np.linalg.norm(found.keypoints - corners, axis=1)) < 2.0  # 0.7 px of the small image


def test_descriptors_go_with_plain_detection_only() -> None:
    model = build_model(replace(TINY_MODEL, descriptor_dim=24)).eval()
    image = board(48, 64, 8)
    decode = DecodeConfig(threshold=0.0, max_keypoints=7)
    plain = settings(decode=decode)
    found = labeller(model, plain)(shrink(image, plain), "a")
    assert found.descriptors is not None
    assert (found.descriptors.shape, found.descriptors.dtype) == ((7, 24), np.float32)
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=2e-3)
    without = settings(descriptors=False)
    assert labeller(model, without)(shrink(image, without), "a").descriptors is None
    adapted = settings(adaptation=AdaptationConfig(homographies=3))
    found = labeller(model, adapted)(shrink(image, adapted), "a")
    assert (found.descriptors, found.views) == (None, 3)


@pytest.mark.parametrize("size", [(1, 1), (7, 60), (9, 8), (60, 5)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    config = settings(resize=64)
    label = labeller(build_model(TINY_MODEL).eval(), config)
    found = label(shrink(np.full(size, 99, np.uint8), config), "a")
    assert found.image_size == size[::-1]


def test_sharpened_labels_lie_on_corners_of_the_original() -> None:
    large = board(32, 48, 8).repeat(6, axis=0).repeat(6, axis=1)  # squares of 48
    base = settings(resize=128, adaptation=AdaptationConfig(homographies=4))
    model = load_network("magicpoint-lite")
    results = []
    for config in (base, replace(base, sharpen=True), replace(base, sharpen=True, corners=100.0)):
        results.append(labeller(model, config)(shrink(large, config), "a"))
    plain, sharp, more = results
    assert sharp.image_size == plain.image_size == (288, 192)
    assert len(plain.keypoints) > 5
    corners = np.stack(np.meshgrid(np.arange(47.5, 270, 48), np.arange(47.5, 180, 48)), axis=-1).reshape(-1, 2)

    def apart(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - corners[None], axis=2).min(axis=1)

    assert apart(sharp.keypoints).max() < 0.4
    assert not np.array_equal(sharp.keypoints, plain.keypoints)
    assert len(more.keypoints) > len(sharp.keypoints)
    assert (apart(more.keypoints) < 0.4).sum() == len(corners)
    assert more.scores is not None
    assert len(more.scores) == len(more.keypoints)


def test_corners_do_not_depend_on_the_size_of_the_photograph() -> None:
    """The same scene with four times the pixels gets as many: the camera must not decide about the labels."""
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.normal(128, 90, (180, 240)).clip(0, 255).astype(np.uint8), (0, 0), 2.0) * 1
    large = cv2.resize(small, (960, 720), interpolation=cv2.INTER_CUBIC)
    config = settings(resize=160, adaptation=AdaptationConfig(homographies=2), sharpen=True, corners=100)
    label = labeller(load_network("magicpoint-lite"), config)
    counts = [len(label(shrink(np.asarray(image, np.uint8), config), "a").keypoints) for image in (small, large)]
    assert min(counts) > 100
    assert counts[1] == pytest.approx(counts[0], rel=0.2)
    found = label(shrink(np.asarray(large, np.uint8), config), "a")
    assert found.uncertainty == pytest.approx(4)  # a pixel of 240 x 180


def test_sharpening_is_for_labels() -> None:
    with pytest.raises(UserError, match="sharpen: found true with adaptation=none"):
        LabellingConfig(sharpen=True, adaptation=PLAIN)
    with pytest.raises(UserError, match="corners: found 20 with sharpen=false"):
        LabellingConfig(corners=20)


def test_an_image_that_a_resize_makes_too_thin_is_refused() -> None:
    """With a border of 4 px there is room for a keypoint from a side of 9 px on."""
    with pytest.raises(UserError, match="its resize to 320 x 8 pixels makes it too thin"):
        shrink(np.zeros((40, 1600), np.uint8), settings(resize=320))
    assert shrink(np.zeros((45, 1600), np.uint8), settings(resize=320)).image.shape == (9, 320)
    assert shrink(np.zeros((3, 300), np.uint8), settings(resize=320)).image.shape == (3, 300)  # it came like that


def test_an_image_without_room_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpoint.labelling.memory.free_memory", lambda _: 1 << 20)
    model = build_model(TINY_MODEL).eval()
    for adaptation in (PLAIN, AdaptationConfig(homographies=3)):
        config = settings(adaptation=adaptation)
        with pytest.raises(NoRoomError, match=r"^a: a view of "):
            labeller(model, config)(shrink(board(120, 160, 8), config), "a")
