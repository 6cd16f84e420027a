import json
from pathlib import Path

import numpy as np
import pytest

from superpoint.config.inference import InferenceConfig
from superpoint.data.images import read_gray
from superpoint.errors import UserError
from superpoint.geometry.homography import resize_matrix, warp_image
from superpoint.inference.match_images import match_images
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
    np.testing.assert_allclose(numbers["homography"], SHIFT, atol=0.5)
    assert numbers["inliers"] > 15
    assert numbers["inlier_share"] == pytest.approx(numbers["inliers"] / numbers["matches"])
    assert numbers["median_error"] < 1
    assert numbers["sizes"] == [[200, 160]] * 2
    text = capsys.readouterr().out
    assert numbers["verdict"] == "match"
    assert f"{numbers['matches']} (ratio)" in text
    assert "magsac" in text


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


def test_the_picture_does_not_replace_an_image(weights: Path, pair: tuple[Path, Path]) -> None:
    before = pair[0].read_bytes()
    assert pair[0].suffix == ".png"
    with pytest.raises(UserError, match=r"--out: .* is what is read from"):
        match_images(*pair, pair[0], settings(weights))
    assert pair[0].read_bytes() == before
