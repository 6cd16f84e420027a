import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.config.inference import InferenceConfig
from superpoint.data.images import read_focal, read_gray
from superpoint.errors import UserError
from superpoint.geometry.homography import resize_matrix, warp_image
from superpoint.inference.match_images import match_images
from superpoint.reconstruction.match_file import read_matches
from superpoint.visualize import save_image
from tests.conftest import photograph

SHIFT = np.array([[1.0, 0, -16], [0, 1, 8], [0, 0, 1]])


def settings(weights: Path | str, resize: int = 1024) -> InferenceConfig:
    return InferenceConfig(
        str(weights), threshold=0.005, resize=resize, backend="torch", precision="fp32", device="cpu"
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    image = photograph("coffee", 160, 200)
    first, second = tmp_path / "one.png", tmp_path / "two.png"
    save_image(first, image)
    save_image(second, warp_image(image, SHIFT, (160, 200)))
    return first, second


def test_picture_and_numbers(
    weights: Path, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "m.png"
    numbers = match_images(*pair, out, settings(weights), matcher="ratio", estimator="magsac")
    assert out.stat().st_size > 1000
    assert json.loads(out.with_suffix(".json").read_text()) == numbers
    np.testing.assert_allclose(numbers["homography"], SHIFT, atol=1)
    assert numbers["inliers"] > 15
    assert numbers["inlier_share"] == pytest.approx(numbers["inliers"] / numbers["matches"])
    assert numbers["median_error"] < 1
    assert numbers["sizes"] == [[200, 160]] * 2
    text = capsys.readouterr().out
    assert numbers["verdict"] == "match"
    assert f"{numbers['matches']} (ratio)" in text
    assert "magsac" in text


def test_matches_are_in_pixels_of_the_originals(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    numbers = match_images(*pair, tmp_path / "m.json", settings(weights), views="none")
    listed = numbers["correspondences"]
    start, end = (np.array(listed[f"points{side}"]) for side in (0, 1))
    assert len(start) == len(end) == len(listed["scores"]) == len(listed["inliers"]) == numbers["matches"]
    kept = np.array(listed["inliers"])
    assert np.abs(start[kept] - (16, -8) - end[kept]).max() < 2.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "one.png", "two.png"]
    again = match_images(*pair, tmp_path / "m.h5", settings(weights), views="none")
    assert again["correspondences"] == listed
    found = read_matches(tmp_path / "m.h5", "one.png", "two.png")
    with h5py.File(tmp_path / "m.h5") as file:
        keypoints = np.asarray(file["one.png/two.png/keypoints0"])
    order = np.lexsort(keypoints[found.indices[:, 0]].T)
    np.testing.assert_allclose(keypoints[found.indices[order, 0]], start[np.lexsort(start.T)], atol=1e-3)


def test_a_turned_photograph_is_matched(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    image = read_gray(pair[0])
    save_image(pair[1], np.rot90(image, 1))
    numbers = match_images(*pair, tmp_path / "m.jpg", settings(weights), model_kind="homography")
    np.testing.assert_allclose(numbers["homography"], [[0, 1, 0], [-1, 0, 199], [0, 0, 1]], atol=0.3)
    assert (numbers["verdict"], numbers["views"]) == ("match", "auto")
    assert numbers["view"] is not None
    assert numbers["copies_compared"] > 0
    assert (tmp_path / "m.jpg").read_bytes()[:2] == b"\xff\xd8"


def test_essential_by_exif_and_by_given_intrinsics(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"one\.png: found no focal length in its EXIF data, expected one, or --intrinsics"
    ):
        match_images(*pair, tmp_path / "m.png", settings(weights), model_kind="essential")
    told = Image.Exif()
    told.get_ifd(0x8769)[0xA405] = 36
    for path in pair:
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"), exif=told, quality=95)
    photos = pair[0].with_suffix(".jpg"), pair[1].with_suffix(".jpg")
    assert read_focal(photos[0]) == (200.0, (200, 160))
    told[0x0112] = 6  # a quarter turn clockwise
    Image.open(photos[0]).save(tmp_path / "turned.jpg", exif=told)
    assert read_focal(tmp_path / "turned.jpg") == (200.0, (160, 200))
    match_images(tmp_path / "turned.jpg", photos[0], tmp_path / "t.h5", settings(weights))
    with h5py.File(tmp_path / "t.h5") as file:
        (group,) = file["turned.jpg"].values()  # type: ignore[union-attr]
        stored, other, partner = (np.asarray(group[name]) for name in ("keypoints0", "keypoints1", "matches0"))
    far = np.linalg.norm(stored[partner >= 0] - other[partner[partner >= 0]], axis=1)
    assert np.median(far) < 0.5  # both are of the stored pixels
    by_exif = match_images(*photos, tmp_path / "m.png", settings(weights), model_kind="essential")
    given = [200.0, 200.0, 99.5, 79.5]
    by_hand = match_images(*photos, tmp_path / "m.png", settings(weights), model_kind="essential", intrinsics=given)
    assert by_hand["essential"] == by_exif["essential"]
    np.testing.assert_allclose(np.linalg.det(by_hand["pose"]["R"]), 1)
    np.testing.assert_allclose(np.linalg.norm(by_hand["pose"]["t"]), 1)
    fundamental = match_images(*photos, tmp_path / "m.png", settings(weights), model_kind="fundamental")
    assert np.shape(fundamental["fundamental"]) == (3, 3)
    assert fundamental["why"] == "fundamental, as asked for"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intrinsics": [0.0, 0, 10, 10]}, "--intrinsics: found '0,0,10,10', expected fx,fy,cx,cy in pixels"),
        ({"intrinsics": [1.0, 2.0]}, "--intrinsics: found '1,2'"),
        ({"views": "sideways"}, "--views: found 'sideways'"),
        ({"model_kind": "affine"}, "--model-kind: found 'affine'"),
        ({"matcher": "mutal"}, "--matcher: found 'mutal'"),
    ],
)
def test_wrong_words_are_found_before_the_model_is_loaded(
    pair: tuple[Path, Path], tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        match_images(*pair, tmp_path / "m.png", settings(tmp_path / "no.safetensors"), **options)


def test_homography_is_that_of_the_original_images(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    large = [tmp_path / f"large-{path.name}" for path in pair]
    for path, target in zip(pair, large, strict=True):
        save_image(target, read_gray(path).repeat(2, axis=0).repeat(2, axis=1))
    small = match_images(*pair, tmp_path / "m.png", settings(weights))
    # into the same files
    found = match_images(large[0], large[1], tmp_path / "m.png", settings(weights, resize=200))
    expected = resize_matrix(2, 2) @ np.array(small["homography"]) @ resize_matrix(0.5, 0.5)
    assert found["sizes"] == [[400, 320]] * 2
    np.testing.assert_allclose(found["homography"], expected / expected[2, 2], atol=1e-3)


def test_photographs_that_do_not_belong_together(
    weights: Path, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(tmp_path / "other.png", photograph("astronaut", 160, 200))
    numbers = match_images(pair[0], tmp_path / "other.png", tmp_path / "m.png", settings(weights))
    assert numbers["verdict"] == "no match"
    agree = f"{numbers['inliers']} of {numbers['matches']} matches agree"
    assert f"{agree}: these images probably do not show the same thing" in capsys.readouterr().out


def test_no_homography_is_a_result(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "blank.png", np.zeros((64, 64), np.uint8))
    out = tmp_path / "m.png"
    numbers = match_images(tmp_path / "blank.png", tmp_path / "blank.png", out, settings(weights))
    assert numbers["keypoints"] == [0, 0]
    assert numbers["homography"] is None
    assert numbers["verdict"] == "no match"
    assert out.is_file()
    assert json.loads(out.with_suffix(".json").read_text()) == numbers
    assert "none: too few matches agree" in capsys.readouterr().out


def test_what_cannot_be_matched(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="magicpoint-lite: a detector without descriptors"):
        match_images(*pair, tmp_path / "m.png", settings("magicpoint-lite"))
    with pytest.raises(UserError, match="no such file"):
        match_images(pair[0], tmp_path / "three.png", tmp_path / "m.png", settings(weights))
    assert not (tmp_path / "m.png").exists()


@pytest.mark.parametrize("content", [b'{"estimator": "mean"}', b"", b"\xff"])
def test_the_numbers_replace_their_like_alone(
    weights: Path, pair: tuple[Path, Path], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(UserError, match=r"m\.json, where the numbers go, is a file of another kind"):
        match_images(*pair, tmp_path / "m.png", settings(weights))
    assert (tmp_path / "m.json").read_bytes() == content


def test_a_matches_file_replaces_its_like_alone(weights: Path, pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "features.h5").write_bytes(b"features")
    with pytest.raises(UserError, match=r"features\.h5 exists already, and is not of an earlier match"):
        match_images(*pair, tmp_path / "features.h5", settings(weights))
    with pytest.raises(UserError, match=r"one\.png: found twice, expected two images"):
        match_images(pair[0], pair[0], tmp_path / "m.h5", settings(weights))
    assert (tmp_path / "features.h5").read_bytes() == b"features"


def test_the_picture_does_not_replace_an_image(weights: Path, pair: tuple[Path, Path]) -> None:
    before = pair[0].read_bytes()
    assert pair[0].suffix == ".png"
    with pytest.raises(UserError, match=r"--out: .* is what is read from"):
        match_images(*pair, pair[0], settings(weights))
    assert pair[0].read_bytes() == before
