"""The options of `detect`, `match` and `track` reach the stages."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from superpoint.config.inference import InferenceConfig
from superpoint.inference import detect_images as detect
from superpoint.inference import match_images as match
from superpoint.inference import track_video as track
from superpoint.inference.track_video import TrackResult
from tests.conftest import CommandLine


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


def test_detect(monkeypatch: pytest.MonkeyPatch, cli: CommandLine) -> None:
    stage = Mock(return_value=None)
    monkeypatch.setattr(detect, "detect_images", stage)
    cli.succeeds(
        *("detect", "a.jpg", "*.jpg", "--out", "pics", "--model", "magicpoint", "--threshold", ".1"),
        *("--max-keypoints", "7", "--nms-radius", "3", "--border", "2", "--resize", "0", "--backend", "torch"),
        *("--precision", "fp32", "--device", "cpu", "--root", "r"),
    )
    chosen = {"threshold": 0.1, "max_keypoints": 7, "nms_radius": 3, "border": 2, "resize": 0}
    config = InferenceConfig("magicpoint", **chosen, backend="torch", precision="fp32", device="cpu")
    options = {"masks": None, "root": Path("r"), "resume": False, "overwrite": False, "frame": "stored"}
    stage.assert_called_once_with(["a.jpg", "*.jpg"], Path("pics"), config, **options)
    stage.return_value = 15
    code, _, error = cli("detect", "a.jpg", "--out", "f.h5")
    assert code == 143
    assert "superpoint detect a.jpg --out f.h5 --resume" in error


def test_match(monkeypatch: pytest.MonkeyPatch, cli: CommandLine) -> None:
    stage = Mock(return_value={"matches": 3})
    monkeypatch.setattr(match, "match_images", stage)
    output = cli.succeeds("match", "a.jpg", "b.jpg", "--matcher", "ratio", "--inlier-threshold", "2", "--json")
    assert output == '{\n "matches": 3\n}\n'
    options = {"matcher": "ratio", "estimator": "gcransac", "threshold": 2.0}
    options |= {"views": "auto", "model_kind": "auto", "intrinsics": None}
    stage.assert_called_once_with(Path("a.jpg"), Path("b.jpg"), Path("matches.png"), InferenceConfig(), **options)
    for wrong in ("0,0,0,0", "100", "nan,1,1,1", "1,1,1,1,-1,1,1,1"):
        assert f"--intrinsics: found '{wrong}'" in cli.fails("match", "a.jpg", "b.jpg", f"--intrinsics={wrong}")
    stage.assert_called_once()


def test_track(monkeypatch: pytest.MonkeyPatch, cli: CommandLine) -> None:
    stage = Mock(return_value=TrackResult(5, 2, 2.0, 9.0))
    monkeypatch.setattr(track, "track_keypoints", stage)
    cli.succeeds("track", "0", "--out", "t.mp4", "--frames", "9", "--codec", "mp4v", "--keep", "4")
    options = {"max_distance": 0.7, "keep": 4, "frames": 9, "codec": "mp4v"}
    stage.assert_called_once_with("0", Path("t.mp4"), InferenceConfig(), **options)
    stage.return_value = TrackResult(0, 0, 0.0, 0.0, signal=2)
    assert cli("track", "0", "--out", "t.mp4").code == 130
