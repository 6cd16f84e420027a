from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.inference.video import FPS, FrameSource, VideoFile
from superpoint.visualize import save_image


def frames(count: int = 5, height: int = 48, width: int = 64) -> list[np.ndarray]:
    made = []
    for index in range(count):
        frame = np.full((height, width, 3), 40 * index % 256, np.uint8)
        frame[: height // 2, : width // 2] = (230, 20, 20)
        made.append(frame)
    return made


def write(path: Path, count: int = 5, fps: float = 12.0) -> Path:
    with VideoFile(path, fps) as video:
        for frame in frames(count):
            video.add(frame)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "A.MP4"])
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    source = FrameSource(str(write(tmp_path / name)))
    read = list(source)
    source.close()
    assert (source.fps, source.total, len(read)) == (12.0, 5, 5)
    for frame, expected in zip(read, frames(), strict=True):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 12  # lossy
    assert read[0][5, 5, 0] > 180 > 80 > read[0][5, 5, 2]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_appears_only_when_the_video_is_whole(tmp_path: Path) -> None:
    video = VideoFile(tmp_path / "deep" / "v.mp4", 10)
    video.add(frames()[0])
    assert not video.path.exists()
    video.close()
    assert video.path.stat().st_size > 0
    VideoFile(tmp_path / "none.mp4", 10).close()
    assert not (tmp_path / "none.mp4").exists()


def test_videos_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"found the ending '.mkv', expected .mp4 or .avi"):
        VideoFile(tmp_path / "v.mkv", 10)
    with pytest.raises(UserError, match="--codec: found 'h264x'"):
        VideoFile(tmp_path / "v.mp4", 10, "h264x")
    video = VideoFile(tmp_path / "v.mp4", 10, "zzzz")
    with pytest.raises(UserError, match=r"with the codec 'zzzz'.*expected e.g. mp4v"):
        video.add(frames()[0])
    video.close()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""  # neither OpenCV nor FFmpeg said anything


def test_folders_in_natural_order(tmp_path: Path) -> None:
    for index, frame in enumerate(frames(), 8):
        save_image(tmp_path / f"f{index}.png", frame)
    (tmp_path / "f9b.png").write_bytes(b"no image")
    source = FrameSource(str(tmp_path))
    assert (source.fps, source.total) == (FPS, 6)
    levels = [int(frame[-1, -1, 0]) for frame in source]
    assert levels == [0, 40, 80, 120, 160]
    assert list(source.skipped) == ["f9b.png"]


def test_sources_that_give_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write(tmp_path / "whole.mp4").read_bytes()
    for name, content, message in (
        ("empty.mp4", b"", "found an empty file"),
        ("text.mp4", b"not a video at all", "no frame can be read"),
        ("cut.mp4", whole[: len(whole) // 3], "no frame can be read"),
        ("zeros.mp4", bytes(5000), "no frame can be read"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: {message}"):
            FrameSource(str(tmp_path / name))
    with pytest.raises(UserError, match=r"nothing\.mp4: no such file, expected a video"):
        FrameSource(str(tmp_path / "nothing.mp4"))
    with pytest.raises(UserError, match="camera 9999: found none of that index"):
        FrameSource("9999")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="found no image"):
        FrameSource(str(tmp_path / "folder"))
    assert capfd.readouterr().err == ""


def test_a_video_that_breaks_off_ends_there(tmp_path: Path) -> None:
    content = write(tmp_path / "v.avi", count=20).read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) * 2 // 3])
    source = FrameSource(str(tmp_path / "cut.avi"))
    read = list(source)
    source.close()
    assert 5 < len(read) < 20
    assert all(frame.shape == (48, 64, 3) for frame in read)


def test_grey_frames_become_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some cameras deliver one channel."""
    grey = np.full((6, 8), 7, np.uint8)
    camera = Mock(**{"read.side_effect": [(True, grey), (True, grey), (False, None)], "get.return_value": 0.0})
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: camera)
    source = FrameSource("0")
    assert source.fps == FPS
    assert [frame.shape for frame in source] == [(6, 8, 3)] * 2
