"""The options of `detect`, `match` and `track` reach the stages, and mistakes are one line."""

from pathlib import Path
from typing import Any

import pytest

from superpoint.cli import main
from superpoint.config.inference import InferenceConfig
from superpoint.inference import detect_images as detect
from superpoint.inference import match_images as match
from superpoint.inference import track_video as track
from superpoint.inference.track_video import TrackResult


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return stopped.value.code


class Recorder:
    def __init__(self, result: Any = None) -> None:
        self.result = result

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.arguments, self.options = arguments, options
        return self.result


def test_detect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Recorder()
    monkeypatch.setattr(detect, "detect_images", stage)
    code = run(
        *("detect", "a.jpg", "*.jpg", "--out", "pics", "--model", "magicpoint", "--threshold", ".1"),
        *("--max-keypoints", "7", "--nms-radius", "3", "--border", "2", "--resize", "0", "--backend", "torch"),
        *("--precision", "fp32", "--device", "cpu", "--root", "r"),
    )
    assert code == 0
    config = InferenceConfig("magicpoint", 0.1, 7, 3, 2, 0, "torch", "fp32", "cpu")
    assert stage.arguments == (["a.jpg", "*.jpg"], Path("pics"), config)
    assert stage.options == {"root": Path("r"), "resume": False, "overwrite": False}
    stage.result = 15
    assert run("detect", "a.jpg", "--out", "f.h5") == 143
    assert "superpoint detect a.jpg --out f.h5 --resume" in capsys.readouterr().err


def test_match(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Recorder({"matches": 3})
    monkeypatch.setattr(match, "match_images", stage)
    assert run("match", "a.jpg", "b.jpg", "--matcher", "ratio", "--inlier-threshold", "2", "--json") == 0
    assert stage.arguments == (Path("a.jpg"), Path("b.jpg"), Path("matches.png"), InferenceConfig())
    assert stage.options == {"matcher": "ratio", "estimator": "gcransac", "threshold": 2.0}
    assert capsys.readouterr().out == '{\n "matches": 3\n}\n'


def test_track(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Recorder(TrackResult(5, 2, 2.0, 9.0))
    monkeypatch.setattr(track, "track_keypoints", stage)
    assert run("track", "0", "--out", "t.mp4", "--frames", "9", "--codec", "mp4v", "--keep", "4") == 0
    assert stage.arguments == ("0", Path("t.mp4"), InferenceConfig())
    assert stage.options == {"max_distance": 0.7, "keep": 4, "frames": 9, "codec": "mp4v"}
    stage.result = TrackResult(0, 0, 0.0, 0.0, signal=2)
    assert run("track", "0", "--out", "t.mp4") == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["detect", "a.jpeg", "--out", "pics"], "did you mean 'a.jpg'?"),
        (["detect", "a.jpg"], "--out"),
        (["detect", "a.jpg", "threshold=0.1", "--out", "pics"], "is it --threshold 0.1?"),
        (["detect", "a.jpg", "--out", "pics", "--threshold", "2"], "--threshold: found 2"),
        (["detect", "a.jpg", "--out", "pics", "--resize", "3"], "--resize: found 3"),
        (["detect", "a.jpg", "--out", "pics", "--backend", "torh"], "did you mean 'torch'?"),
        (["detect", "a.jpg", "--out", "pics", "--model", "superpint"], "did you mean 'superpoint'?"),
        (["match", "a.jpg", "--out", "m.png"], "second"),
        (["match", "a.jpg", "b.jpg", "--out", "m.bmp"], "m.bmp"),
        (["match", "a.jpg", "b.jpg", "--nms-radius", "-1"], "--nms-radius: found -1"),
        (["track", "nothing.mp4", "--out", "t.mp4"], "nothing.mp4: no such file"),
        (["track", "a", "--out", "t.mp4", "--device", "gpu"], "'gpu' is not one of"),
    ],
)
def test_mistakes_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert len(list(folder.iterdir())) == 2
