"""The examples in docstrings and in docs/guides/detect-and-match.md run as written."""

import doctest
import importlib
import shutil
from pathlib import Path

import numpy as np
import pytest

import superpoint
from superpoint import pretrained
from superpoint.inference import DEFAULT_MODEL
from superpoint.visualize import save_image
from tests.conftest import photograph

MODULES = (
    "superpoint",
    "superpoint.inference.detector",
    "superpoint.features",
    "superpoint.matching.matchers",
    "superpoint.matching.homography",
)
FLAGS = doctest.ELLIPSIS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the photographs that the examples name; the current one."""
    save_image(tmp_path / "photo.png", photograph("coffee"))
    (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")  # told by its content
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.usefixtures("folder")
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=FLAGS)
    assert results.failed == 0
    assert results.attempted > 1


@pytest.mark.usefixtures("folder")
def test_examples_of_the_page(project: Path) -> None:
    results = doctest.testfile(
        str(project / "docs/guides/detect-and-match.md"), module_relative=False, optionflags=FLAGS
    )
    assert results.failed == 0
    assert results.attempted > 15


def test_the_default_comes_from_the_pretrained_weights(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(weights, tmp_path / f"{DEFAULT_MODEL}.safetensors")
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path)
    model = superpoint.load_model(device="cpu", backend="torch")
    assert model.descriptor_dim > 0
    assert len(model.detect(np.asarray(photograph("coffee")))) > 10
