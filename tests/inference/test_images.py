import math
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from superpoint.errors import UserError
from superpoint.inference import FeatureDetector, Features
from superpoint.inference.images import network_image, network_images

GRAY = np.zeros((16, 24), np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((16, 24, 4), np.uint8),
            r"image: found shape \[16, 24, 4\], expected .* an array \[H, W, 1 or 3\]",
        ),
        (np.zeros((3, 16, 24), np.uint8), "a tensor"),
        (torch.zeros(16, 24, 3), "an array"),
        (np.zeros((16, 24, 2), np.uint8), r"found shape \[16, 24, 2\]"),
        (np.zeros(16, np.uint8), r"found shape \[16\]"),
        (np.zeros((2, 2, 2, 2, 2), np.uint8), r"found shape"),
        (np.zeros((0, 24), np.uint8), "expected at least one pixel"),
        (torch.zeros(0, 24), "expected at least one pixel"),
        (np.zeros((16, 24), np.int64), "image: found type int64, expected uint8, uint16, bool or float"),
        (np.zeros((16, 24), complex), "found type complex128"),
        (torch.zeros(16, 24, dtype=torch.int32), "found type torch.int32"),
        (np.full((16, 24), 128.0), r"found values 128..128, expected floats of 0..1; divide by 255, or give uint8"),
        (np.full((16, 24), -0.5), r"found values -0.5..-0.5, expected floats of 0..1$"),
        (np.full((16, 24), np.nan), "not finite"),
        (np.full((16, 24), 1e300), "not finite"),
        (torch.full((16, 24), math.inf), "not finite"),
        (None, "image: found NoneType, expected a path, a numpy array or a tensor"),
        (Image.new("P", (8, 8)), r"np.asarray\(image.convert\('RGB'\)\)"),
        (b"photo.jpg", "found bytes"),
        ([GRAY, GRAY.astype(int)], "image 1: found type int64"),
        (np.zeros((2, 16, 24, 4), np.uint8), r"image 0: found shape \[16, 24, 4\]"),
    ],
)
def test_what_cannot_be_an_image(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network_images(image)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    for path in (tmp_path / "text.jpg", tmp_path / "none.png", tmp_path):
        with pytest.raises(UserError):
            network_image(path)


def test_values_are_kept() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels, size, *_ = network_image(levels)
    assert pixels.numpy().tolist() == [levels.tolist()]
    assert size == (16, 16)
    floats = np.random.default_rng(0).random((5, 7))
    torch.testing.assert_close(network_image(floats).pixels, torch.from_numpy(floats).float()[None])
    torch.testing.assert_close(network_image(floats.astype(">f8")).pixels, torch.from_numpy(floats).float()[None])
    flipped = levels[::-1, ::-1]  # negative strides
    assert network_image(flipped).pixels.tolist() == [flipped.tolist()]
    assert network_image(np.array([[1.0005, -0.0005]])).pixels.tolist() == [[[1.0, 0.0]]]


def test_truth_values_are_black_and_white() -> None:
    square = np.zeros((16, 24), bool)
    square[4:10, 5:12] = True
    expected = torch.from_numpy(square.astype(np.uint8) * 255)
    for image in (square, np.dstack([square] * 3), torch.from_numpy(square), torch.from_numpy(square)[None]):
        assert torch.equal(network_image(image).pixels[0], expected)


def test_the_array_given_is_not_changed_and_not_kept() -> None:
    image = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    before = image.copy()
    pixels, *_ = network_image(image)
    pixels += 1
    np.testing.assert_array_equal(image, before)
    read_only = before.copy()
    read_only.setflags(write=False)
    network_image(read_only)  # no warning of torch's


def test_shrinking() -> None:
    gray = network_image(np.full((100, 200), 51, np.uint8), resize=50)
    assert gray.pixels.shape == (1, 25, 50)
    assert gray.size == (200, 100)
    assert torch.equal(gray.pixels, torch.full((1, 25, 50), 51, dtype=torch.uint8))
    wide = np.zeros((2, 40000), np.uint8)
    assert network_image(wide).pixels.shape == (1, 2, 40000)
    assert network_image(wide, resize=20000).pixels.shape == (1, 1, 20000)


def test_several_or_one() -> None:
    assert network_images(GRAY)[1] is False
    for several in ([GRAY], (GRAY, GRAY), np.zeros((2, 16, 24, 3), np.uint8), torch.zeros(2, 1, 16, 24)):
        images, many = network_images(several)  # type: ignore[arg-type]
        assert many
        assert len(images) == len(several)


def test_images_of_a_network_of_several_channels(tmp_path: Path) -> None:
    bands = np.random.default_rng(0).integers(0, 200, (16, 24, 2), dtype=np.uint8)
    np.save(tmp_path / "a.npy", bands)
    planes = torch.from_numpy(bands.transpose(2, 0, 1).copy())
    for image in (tmp_path / "a.npy", bands, planes):
        assert torch.equal(network_image(image, channels=2).pixels, planes)
    assert torch.equal(network_image(GRAY, channels=3).pixels, torch.from_numpy(GRAY).expand(3, -1, -1))
    for image in (GRAY, np.zeros((16, 24, 3), np.uint8), planes.numpy(), torch.zeros(3, 16, 24)):
        with pytest.raises(ValueError, match=r"found shape .*, expected an array \[H, W, 2\] or a tensor \[2, H, W\]"):
            network_image(image, channels=2)


SIDES = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 9, 16, 33])
TYPES = st.sampled_from(["u1", "u2", "i4", "i8", "f2", "f4", "f8", ">f4", ">u2", "?", "c8", "O"])


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Of any type and shape, with values that no image has."""
    shape = draw(st.lists(SIDES, min_size=0, max_size=4))
    kind = np.dtype(draw(TYPES))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.random(shape) * draw(st.sampled_from([1, 1, 1, 255, 1e6])) - draw(st.sampled_from([0, 0, 0.5]))
    with np.errstate(all="ignore"):
        array = np.asarray(values).astype(kind) if kind.kind in "fcO" else (np.abs(values) * 200).astype(kind)
    if kind.kind == "f" and array.size and draw(st.booleans()):
        array.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0]))
    return array[..., ::-1] if array.ndim and draw(st.booleans()) else array


def outcome(detector: FeatureDetector, image: Any, **options: Any) -> None:
    """A result that makes sense, or an error of the two kinds."""
    try:
        found = detector.detect(image, **options)
    except (ValueError, UserError) as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    for each in found if isinstance(found, list) else [found]:
        assert isinstance(each, Features)
        assert np.isfinite(each.keypoints).all()
        assert (each.keypoints >= -1.5).all()
        assert (each.keypoints <= np.array(each.image_size) + 0.5).all()


ODD = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=ODD)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "threshold": st.sampled_from([None, 0.0, 0.5, 1.0, -1.0, math.nan]),
        "max_keypoints": st.sampled_from([None, 0, 1, 10**9, -1]),
        "nms_radius": st.sampled_from([0, 1, 4, 50, -2]),
        "border": st.sampled_from([0, 4, 1000]),
        "resize": st.sampled_from([None, 0, 1, 8, 10**6]),
        "subpixel": st.booleans(),
    },
)


@QUICK
@given(image=arrays(), options=OPTIONS)
def test_any_array_gives_features_or_one_line(detector: FeatureDetector, image: Any, options: dict[str, Any]) -> None:
    outcome(detector, image, **options)


@QUICK
@given(image=arrays(), several=st.booleans())
def test_any_tensor_gives_features_or_one_line(detector: FeatureDetector, image: Any, several: bool) -> None:
    try:
        tensor = torch.from_numpy(image.copy())
    except (TypeError, ValueError):
        return
    outcome(detector, [tensor, GRAY] if several else tensor)


@pytest.mark.slow
@settings(QUICK, max_examples=2500)
@given(image=arrays(), options=OPTIONS)
def test_any_of_thousands_of_arrays(detector: FeatureDetector, image: Any, options: dict[str, Any]) -> None:
    outcome(detector, image, **options)
