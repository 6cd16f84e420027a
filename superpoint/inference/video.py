"""Frames out of videos, folders and cameras, and frames into a video or a folder."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.data.images import read_rgb
from superpoint.data.sources.source import Files, open_source
from superpoint.errors import UserError, near_file
from superpoint.files import make_folder

Frame = NDArray[np.uint8]  # [H, W, 3] RGB

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}  # what every wheel of OpenCV can write
FPS = 25.0  # where a source does not say


class FrameSource:
    """Frames uint8 [H, W, 3] RGB of a video file, a folder of images in natural order, or a camera by its index.

    Attributes:
        total: number of frames; 0 if unknown.
        skipped: name -> reason, for unreadable images of a folder.

    Raises: UserError if there is no such source or no frame in it can be decoded.
    """

    def __init__(self, source: str) -> None:
        self.fps, self.total = FPS, 0
        self.skipped: dict[str, str] = {}
        self._capture: cv2.VideoCapture | None = None
        if Path(source).is_dir():
            files = open_source([source])
            assert isinstance(files, Files)
            self._frames, self.total = self._pictures(files), len(files)
            return
        camera = not Path(source).is_file()
        if camera and not re.fullmatch(r"\d+", source):
            raise UserError(
                f"{source}: no such file, expected a video, a folder of images or a camera's index{near_file(source)}"
            )
        if not camera and not os.path.getsize(source):
            raise UserError(f"{source}: found an empty file, expected a video")
        with silent():
            self._capture = cv2.VideoCapture(int(source) if camera else source)
            first = self._grab()
        if first is None:
            self.close()
            if camera:
                raise UserError(f"camera {source}: found none of that index, or it gives no picture; try another")
            raise UserError(f"{source}: no frame can be read, expected a video, in a codec that OpenCV knows")
        fps, count = (self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if 0 < fps <= 1000 else FPS  # not a number is neither
        self.total = int(count) if not camera and 0 < count < 1e9 else 0
        self._frames = self._video(first)

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, once, up to the end or a broken frame."""
        return self._frames

    def _pictures(self, files: Files) -> Iterator[Frame]:
        for name in files.names:
            try:
                yield read_rgb(files.root / name)
            except UserError as error:
                self.skipped[name] = str(error)

    def _video(self, first: Frame) -> Iterator[Frame]:
        frame: Frame | None = first
        while frame is not None:
            yield frame
            with silent():
                frame = self._grab()

    def _grab(self) -> Frame | None:
        if self._capture is None:
            return None
        try:
            read, frame = self._capture.read()
        except cv2.error:
            return None
        if not read or frame is None or frame.size == 0:
            return None
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB if frame.ndim == 3 else cv2.COLOR_GRAY2RGB), np.uint8)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class VideoFile:
    """A video in the size of its first frame, under a temporary name until `close`.

    Raises: UserError for an ending that CODECS lacks, or a codec that is not four characters.
    """

    def __init__(self, path: str | Path, fps: float, codec: str | None = None) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in CODECS:
            raise UserError(
                f"{path}: found the ending '{suffix}', expected {' or '.join(CODECS)}, or a folder for PNGs"
            )
        self.codec = codec if codec is not None else CODECS[suffix]
        if not re.fullmatch(r"[ -~]{4}", self.codec):
            raise UserError(f"--codec: found '{self.codec}', expected four characters, e.g. {CODECS[suffix]}")
        self.fps = fps
        make_folder(self.path.parent)
        self._temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.tmp{suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._count = 0  # frames added

    def add(self, frame: Frame) -> None:
        """Write a frame. Raises: UserError if there is no such codec, or the place cannot be written."""
        height, width = frame.shape[:2]
        if self._writer is None:
            fourcc = cv2.VideoWriter.fourcc(*self.codec)
            with silent():
                writer = cv2.VideoWriter(str(self._temporary), fourcc, self.fps, (width, height))
            if not writer.isOpened():
                self._temporary.unlink(missing_ok=True)
                raise UserError(
                    f"{self.path}: cannot be written with the codec '{self.codec}': this OpenCV has none of that name, "
                    f"or the disk is full or read-only; expected e.g. {CODECS[self.path.suffix.lower()]}"
                )
            self._writer = writer
        with silent():
            self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._count += 1

    def close(self) -> None:
        """Finish the file and give it its name, if it has a frame.

        Raises: UserError unless it holds all frames: OpenCV says nothing about a full disk.
        """
        if self._writer is None:
            return
        with silent():
            self._writer.release()
        self._writer = None
        try:
            held = self._held()
            if held < self._count:
                raise UserError(
                    f"{self.path}: cannot be written: {held} of {self._count} frames can be read back; disk full?"
                )
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        finally:
            self._temporary.unlink(missing_ok=True)

    def _held(self) -> int:
        """Return how many frames the temporary file holds."""
        with silent():
            capture = cv2.VideoCapture(str(self._temporary))
            count = 0
            while capture.grab():
                count += 1
            capture.release()
        return count

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Silence OpenCV and FFmpeg, which print about each damaged frame to the process's standard error."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
        cv2.utils.logging.setLogLevel(level)
