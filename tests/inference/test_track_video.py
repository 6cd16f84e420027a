import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.config.inference import InferenceConfig
from superpoint.errors import UserError
from superpoint.inference import track_video as stage
from superpoint.inference.track_video import track_keypoints
from superpoint.inference.video import FrameSource, VideoFile
from superpoint.visualize import save_image
from tests.conftest import photograph

FRAMES = 6


@pytest.fixture
def config(weights: Path) -> InferenceConfig:
    return InferenceConfig(str(weights), backend="torch", precision="fp32", device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A camera that moves right by a cell a frame."""
    image = photograph("coffee", 96, 200)
    for index in range(FRAMES):
        save_image(tmp_path / "frames" / f"{index}.png", np.ascontiguousarray(image[:, 8 * index : 8 * index + 128]))
    return tmp_path / "frames"


def test_video_in_video_out(config: InferenceConfig, folder: Path, tmp_path: Path) -> None:
    with VideoFile(tmp_path / "in.avi", 12.0) as video:
        for frame in FrameSource(str(folder)):
            video.add(frame)
    result = track_keypoints(str(tmp_path / "in.avi"), tmp_path / "out.mp4", config)
    assert result.frames == FRAMES
    assert result.tracks > 5
    assert result.fps > 0
    assert result.signal is None
    written = FrameSource(str(tmp_path / "out.mp4"))
    assert written.fps == 12.0
    assert len(list(written)) == FRAMES


def test_folder_in_folder_out(
    config: InferenceConfig, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = track_keypoints(str(folder), tmp_path / "out", config, frames=3)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == ["000001.png", "000002.png", "000003.png"]
    assert result.frames == 3
    assert 2 <= result.mean_length <= 3
    text = capsys.readouterr().out
    assert text.startswith("3 frames, ")
    assert f"{result.tracks} tracks of at least 2 frames" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_leaves_a_file_that_can_be_played(
    config: InferenceConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = 0
    detect = stage.see

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            os.kill(os.getpid(), number)
        return detect(*arguments)

    monkeypatch.setattr(stage, "see", interrupted)
    result = track_keypoints(str(folder), tmp_path / "out.mp4", config)
    assert result.signal == number
    assert result.frames == 2
    assert len(list(FrameSource(str(tmp_path / "out.mp4")))) == 2


def test_what_cannot_be_tracked(config: InferenceConfig, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(UserError, match="magicpoint-lite: a detector without descriptors"):
        track_keypoints(str(folder), out, InferenceConfig("magicpoint-lite", device="cpu"))
    with pytest.raises(UserError, match="max_distance: found 5"):
        track_keypoints(str(folder), out, config, max_distance=5)
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="found no frame that can be read"):
        track_keypoints(str(folder), out, config)
    assert not out.exists()


def test_frames_of_another_size_end_it(config: InferenceConfig, folder: Path, tmp_path: Path) -> None:
    save_image(folder / "3.png", np.zeros((64, 64), np.uint8))
    with pytest.raises(UserError, match=r"frame 4: frame: found size \(64, 64\), expected \(128, 96\)"):
        track_keypoints(str(folder), tmp_path / "out.mp4", config)
    assert len(list(FrameSource(str(tmp_path / "out.mp4")))) == 3  # what there was


def test_frames_are_not_written_among_those_that_are_read(
    config: InferenceConfig, folder: Path, tmp_path: Path
) -> None:
    track_keypoints(str(folder), tmp_path / "tracks.mp4", config)
    before = (tmp_path / "tracks.mp4").read_bytes()
    for source in (folder, tmp_path / "tracks.mp4"):
        with pytest.raises(UserError, match=r"--out: .* is what is read from"):
            track_keypoints(str(source), source, config)
    assert (tmp_path / "tracks.mp4").read_bytes() == before
    assert not list(folder.glob("00000*.png"))
