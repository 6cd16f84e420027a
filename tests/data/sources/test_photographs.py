import pickle
from contextlib import nullcontext
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.data.sources.photographs import LabelledPhotographs, check_shape
from superpoint.errors import UserError
from tests.data.test_feature_file import make


@pytest.fixture
def labels(tmp_path: Path) -> FeatureFile:
    names = ("seq/image10.jpg", "seq/image2.jpg", "b.png", "seq/deep/1.jpg")
    save_features(tmp_path / "labels.h5", {name: make(seed=index) for index, name in enumerate(names)})
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (200, 200, 200)).save(tmp_path / name)
    return FeatureFile(tmp_path / "labels.h5")


def test_labelled_photographs(labels: FeatureFile, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found no 'b\.png'"):
        LabelledPhotographs(labels, tmp_path / "elsewhere")
    source = LabelledPhotographs(labels, tmp_path)
    assert len(source) == 4
    image, points, _ = source[0]
    assert (image.shape, image.dtype, points.dtype) == ((48, 64), np.uint8, np.float32)
    np.testing.assert_array_equal(points, make(seed=2).keypoints)
    assert len(pickle.loads(pickle.dumps(source))[3][1]) == 5
    save_features(tmp_path / "none.h5", {})
    with pytest.raises(UserError, match="holds no labels"):
        LabelledPhotographs(FeatureFile(tmp_path / "none.h5"), tmp_path)


def test_photographs_lost_during_training(labels: FeatureFile, tmp_path: Path) -> None:
    names = labels.names()
    source = LabelledPhotographs(labels, tmp_path)
    following = source[1]
    Image.new("L", (32, 30)).save(tmp_path / names[0])
    with pytest.raises(UserError, match="found 32 x 30 pixels, its labels were made for 64 x 48"):
        source.read(0)
    with pytest.warns(UserWarning, match=rf"{names[0]}: found 32 x 30 .* next image is taken instead \(1 so far"):
        assert all(np.array_equal(a, b) for a, b in zip(source[0][:2], following[:2], strict=True))
    np.testing.assert_array_equal(source[0][1], following[1])  # and warned of no more
    (tmp_path / names[3]).unlink()
    with pytest.warns(UserWarning, match=r"no such file.*\(2 so far"):
        np.testing.assert_array_equal(source[3][1], following[1])  # from the end it goes on at the beginning
    LabelledPhotographs(labels, tmp_path)
    for name in names:
        (tmp_path / name).unlink(missing_ok=True)
    with (
        pytest.warns(UserWarning, match=r"[34] so far"),
        pytest.raises(UserError, match=r"4 labelled images in a row cannot be read, the first: .*no such file"),
    ):
        source[2]
    with pytest.raises(UserError, match="expected the images that were labelled"):
        LabelledPhotographs(labels, tmp_path)


def test_labels_of_aligned_images(labels: FeatureFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RGB was labelled, infrared of another size and extension is trained on."""
    infrared = tmp_path / "infrared"
    (infrared / "seq/deep").mkdir(parents=True)
    for name, size in (("b.tif", (64, 48)), ("seq/image2.png", (31, 23)), ("seq/deep/1.PNG", (160, 120))):
        Image.new("L", size).save(infrared / name)
    for ending in ("png", "bmp"):  # which of the two, nobody knows
        Image.new("L", (64, 48)).save(infrared / f"seq/image10.{ending}")
    source = LabelledPhotographs(labels, infrared)
    LabelledPhotographs(labels, infrared)
    assert capsys.readouterr().err == "labels of .png are used for .tif\n"
    (tmp_path / "masks/seq").mkdir(parents=True)
    Image.new("L", (31, 23)).save(tmp_path / "masks/seq/image2.png.png")  # named as the image is, not as its labels
    masked = LabelledPhotographs(labels, infrared, masks=tmp_path / "masks")
    assert capsys.readouterr().err == "3 of 4 images have no mask and are used whole\n"
    mask = masked.mask(2, masked.read(2)[0])
    assert mask is not None
    assert not mask.any()
    names = ["b.png", "seq/deep/1.jpg", "seq/image2.jpg", "seq/image10.jpg"]
    assert source.names == names
    for index, (width, height) in enumerate([(64, 48), (160, 120), (31, 23)]):
        gray, found = source.read(index)
        assert (gray.shape, found.image_size) == ((height, width), (width, height))
        # The edges of an image, half a pixel beyond the centres of its outer pixels, stay its edges.
        made = labels.read(names[index]).keypoints
        expected = (made + 0.5) / (64, 48) * (width, height) - 0.5
        np.testing.assert_allclose(found.keypoints, expected, atol=1e-4)
    with pytest.raises(UserError, match=r"image10\.jpg: no such file"):
        source.read(3)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [((64, 48), (48, 64), False), ((64, 48), (32, 30), False), ((640, 480), (641, 480), True),
     ((1024, 683), (320, 213), True), ((1024, 683), (320, 214), True), ((1024, 683), (320, 217), False)],
)  # fmt: skip
def test_same_shape(first: tuple[int, int], second: tuple[int, int], same: bool) -> None:
    for labelled, size in ((first, second), (second, first)):
        with nullcontext() if same else pytest.raises(UserError, match="its labels were made for"):
            check_shape(Path("x"), labelled, size)


def test_images_in_hdf5(tmp_path: Path) -> None:
    gray = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    names = ("a/plain", "a/stack/0", "a/stack/2")
    with h5py.File(tmp_path / "images.h5", "w") as file:
        file["a/plain"] = gray
        file["a/stack"] = np.stack([gray + 1, gray + 2, gray + 3])
    save_features(tmp_path / "labels.h5", {name: make(seed=index) for index, name in enumerate(names)})
    source = LabelledPhotographs(FeatureFile(tmp_path / "labels.h5"), tmp_path / "images.h5")
    assert source.names == list(names)
    for copy in (source, pickle.loads(pickle.dumps(source))):
        for index, added in enumerate((0, 1, 3)):
            image, points, _ = copy[index]
            np.testing.assert_array_equal(image, gray + added)
            np.testing.assert_array_equal(points, make(seed=index).keypoints)
    save_features(tmp_path / "other.h5", {"a/stack/3": make(), "a/stack/-1": make(), "a": make()})
    with pytest.raises(UserError, match=r"images\.h5: found no 'a' in it, expected .* their HDF5 file"):
        LabelledPhotographs(FeatureFile(tmp_path / "other.h5"), tmp_path / "images.h5")
