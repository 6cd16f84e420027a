"""Shared by all tests: the settings of the smallest runs, photographs, the command line."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pytest
import torch  # noqa: F401 - a command says that it starts only where PyTorch is still to be imported
from numpy.typing import NDArray

from superpoint.cli import main
from superpoint.config import ModelConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.features import Features
from superpoint.visualize import save_image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TINY_SIZE = ["data.height=48", "data.width=64"]
TINY_DATA = [*TINY_SIZE, "data.workers=0"]
TINY_NETWORK = ["model.encoder=lite", "model.head_channels=16"]
TINY = [*TINY_DATA, *TINY_NETWORK]
TINY_TRAINING = [
    *TINY, "train.minutes=null", "train.batch_size=2", "train.log_every=2", "validation.images=18",
    "validation.final_images=9",
]  # fmt: skip
TINY_PAIRS = [
    "model.descriptor_dim=16", "validation.pairs=4", "validation.final_pairs=4", "validation.height=64",
    "validation.width=80",
]  # fmt: skip
TINY_MODEL = ModelConfig(encoder="lite", head_channels=16)


def under(prefix: str, settings: list[str]) -> list[str]:
    """`settings` as a part of a larger recipe: `training.data.height=48`."""
    return [f"{prefix}.{each}" for each in settings]


@cache
def photograph(name: str = "astronaut", height: int = 120, width: int = 152) -> NDArray[np.uint8]:
    """A photograph of scikit-image: grey, uint8 [H, W]."""
    gray = np.asarray(cv2.cvtColor(dict(sample_photographs())[name], cv2.COLOR_RGB2GRAY), np.uint8)
    return resize_with_points(gray, np.zeros((0, 2), np.float32), (height, width))[0]


def write_photographs(folder: Path, count: int, size: tuple[int, int] = (96, 72)) -> Path:
    """Write the first `count` photographs of scikit-image, in colour and of `size` (width, height); return `folder`."""
    for name, rgb in sample_photographs()[:count]:
        save_image(folder / f"{name}.png", cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    return folder


def same_features(one: Features, other: Features, within: float = 1e-3) -> None:
    assert one.image_size == other.image_size
    for key in ("keypoints", "scores", "descriptors"):
        a, b = getattr(one, key), getattr(other, key)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, atol=within)


class Ended(NamedTuple):
    code: int
    output: str
    error: str


class CommandLine:
    """`superpoint` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Ended:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(each) for each in arguments])
        assert isinstance(stopped.value.code, int)
        captured = self.capsys.readouterr()
        return Ended(stopped.value.code, captured.out, captured.err)

    def succeeds(self, *arguments: object) -> str:
        """What it prints to standard output."""
        code, output, error = self(*arguments)
        assert code == 0, error
        return output

    def fails(self, *arguments: object) -> str:
        """The one line of a mistake."""
        code, _, error = self(*arguments)
        assert code == 2
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full: no file may grow beyond `size` bytes (Python ignores the signal that goes with it)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def project() -> Path:
    """Root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of eight photographs, 96x72, to be read only."""
    return write_photographs(tmp_path_factory.mktemp("photographs"), 8)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The Chromium of the system. Without one the tests skip, or fail where SUPERPOINT_REQUIRE_BROWSER is 1."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
    missing += [] if program else [f"one of {', '.join(BROWSERS)} on PATH"]
    if missing:
        required = os.environ.get("SUPERPOINT_REQUIRE_BROWSER") == "1"
        (pytest.fail if required else pytest.skip)(f"not found: {', '.join(missing)}")
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not work for root, as which containers run.
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=arguments)
        yield started
        started.close()
