import io
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint.config.inference import InferenceConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError
from superpoint.inference import load_model
from superpoint.inference.detect_images import detect_images
from superpoint.visualize import save_image
from tests.conftest import photograph

CONFIG = InferenceConfig("magicpoint-lite", backend="torch", precision="fp32", device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    save_image(folder / "one.png", photograph("coffee", 64, 96))
    save_image(folder / "deep" / "two.png", photograph("coins", 60, 70))
    cv2.imwrite(str(folder / "one.jpg"), photograph("camera", 64, 64))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_pictures_of_every_image(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detect_images([str(photos)], tmp_path / "out", CONFIG)
    names = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png")}
    assert names == {"one.png", "one.png.png", "deep/two.png"}
    text = capsys.readouterr().out
    assert "skipped broken.jpg" in text
    assert "on 3 images, 1 skipped" in text
    drawn = cv2.imread(str(tmp_path / "out" / "deep" / "two.png"))
    assert drawn is not None
    assert drawn.shape[1] == 14 * 70 + 8  # enlarged, with a margin
    assert (np.ptp(drawn.astype(int), axis=2) > 60).sum() > 100  # rings are coloured


def test_feature_file_has_what_the_model_finds(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "features.h5"
    assert detect_images([str(photos)], out, CONFIG) is None
    model = load_model("magicpoint-lite", "cpu", "torch", "fp32")
    with FeatureFile(out) as file:
        assert set(file.names()) == {"one.png", "one.jpg", "deep/two.png"}
        stored = file.read("one.png")
    expected = model.detect(photos / "one.png")
    np.testing.assert_allclose(stored.keypoints, expected.keypoints, atol=1e-3)
    with pytest.raises(UserError, match="exists already"):
        detect_images([str(photos)], out, CONFIG)
    assert detect_images([str(photos)], out, CONFIG, resume=True) is None


def test_tiles_and_cells_in_both_kinds_of_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_image(tmp_path / "large.png", photograph("coffee", 300, 450))
    config = replace(CONFIG, tile="256", grid="4x3", per_cell=2, resize=0)
    detect_images([str(tmp_path / "large.png")], tmp_path / "features.h5", config)
    with FeatureFile(tmp_path / "features.h5") as file:
        stored = file.read("large.png")
    assert np.histogram2d(*stored.keypoints.T, bins=(4, 3), range=[[-0.5, 449.5], [-0.5, 299.5]])[0].max() == 2
    capsys.readouterr()
    detect_images([str(tmp_path / "large.png")], tmp_path / "out", config)
    assert f"{len(stored)} keypoints on 1 images" in capsys.readouterr().out
    for options, message in (({"grid": "8"}, "--grid: found '8', expected COLUMNSxROWS"), ({"tile": "9"}, "--tile")):
        with pytest.raises(UserError, match=message):
            replace(config, **options)


def test_names_in_a_tar_do_not_lead_out_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, png = cv2.imencode(".png", photograph("coffee", 48, 48))
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in ("../../escaped.png", "fine.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png.tobytes())
            tar.addfile(member, io.BytesIO(png.tobytes()))
    detect_images([str(tmp_path / "shard.tar")], tmp_path / "deep" / "out", CONFIG)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["fine.png"]
    assert "escaped.png" in capsys.readouterr().out


def test_what_cannot_be_done(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none of the images could be used"):
        detect_images([str(photos / "broken.jpg")], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"none of the images could be used \(1 skipped\)"):
        detect_images([str(photos / "broken.jpg")], tmp_path / "out.h5", CONFIG)
    with pytest.raises(UserError, match=r"--out: found .*one.png', expected a folder"):
        detect_images([str(photos)], photos / "one.png", CONFIG)
    with pytest.raises(UserError, match="no such file"):
        detect_images([str(photos)], tmp_path / "out", InferenceConfig("superpoint-huge"))
    with pytest.raises(UserError, match=r"--frame: is for a feature file"):
        detect_images([str(photos)], tmp_path / "pictures", CONFIG, frame="upright")


def test_a_resume_draws_what_is_missing(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detect_images([str(photos)], tmp_path / "out", CONFIG)
    first, *others = sorted((tmp_path / "out").rglob("*.png"))
    content = first.read_bytes()
    first.unlink()
    times = [path.stat().st_mtime_ns for path in others]
    detect_images([str(photos)], tmp_path / "out", CONFIG, resume=True)
    assert first.read_bytes() == content
    assert [path.stat().st_mtime_ns for path in others] == times
    assert f"{len(others)} drawn before" in capsys.readouterr().out
    detect_images([str(photos)], tmp_path / "out", CONFIG)
    assert "3 pictures replaced" in capsys.readouterr().out


def test_no_picture_replaces_an_image(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "broken.jpg").unlink()
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(photos)
    monkeypatch.chdir(photos)
    for inputs, out in (([str(photos)], photos), ([str(photos)], tmp_path / "link"), (["deep/two.png"], Path("deep"))):
        with pytest.raises(UserError, match=r"--out: .*\.png is what is read from"):
            detect_images(inputs, out, CONFIG)
    detect_images([str(photos / "deep")], photos / "drawn", CONFIG)
    assert all(path.read_bytes() == content for path, content in before.items() if path.name != "one.jpg")
