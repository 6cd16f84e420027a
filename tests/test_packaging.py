"""The wheel holds all that is needed, and nothing of the checkout is."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools.config.pyprojecttoml import load_file

# Names in conda-forge that are others than in PyPI.
CONDA = {
    "lightning-fabric": "pytorch-lightning",  # its wheel has the module lightning_fabric
    "matplotlib": "matplotlib-base",
    "opencv-python-headless": "py-opencv",
    "torch": "pytorch",
}


@pytest.fixture(scope="module")
def release(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with sdist and wheel, whose content the script compares with the repository."""
    out = tmp_path_factory.mktemp("release")
    run([sys.executable, str(project / ".ci/release.py"), "--draft", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def wheel(release: Path) -> Path:
    (built,) = release.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> None:
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments])


def run(command: list[str], **options: object) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def python(installed: Path, folder: Path, *arguments: str) -> str:
    """Run Python in an empty folder with the installed wheel before anything else on its path."""
    return run([sys.executable, *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": str(installed)})


@pytest.mark.slow
class TestWheel:
    def test_content(self, wheel: Path, project: Path) -> None:
        names = zipfile.ZipFile(wheel).namelist()
        assert "superpoint/py.typed" in names
        assert "superpoint/pretrained/README.md" in names
        assert len([name for name in names if name.startswith("superpoint/configs/")]) > 10
        assert len([name for name in names if "/templates/" in name]) > 5
        weights = {path.name for path in (project / "superpoint/pretrained").glob("*.safetensors")}
        assert weights
        assert {Path(name).name for name in names if name.endswith(".safetensors")} == weights

    def test_metadata(self, installed: Path) -> None:
        distribution = Distribution.at(next(installed.glob("*.dist-info")))
        assert distribution.metadata["Name"] == "superpoint"
        assert distribution.metadata["License-Expression"] == "MIT"
        assert [(entry.name, entry.value) for entry in distribution.entry_points] == [
            ("superpoint", "superpoint.cli:main")
        ]

    def test_constraints_pin_what_the_project_asks_for(self, project: Path, installed: Path) -> None:
        lines = (project / "constraints.txt").read_text().splitlines()
        pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
        versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
        asked = [Requirement(text) for text in Distribution.at(next(installed.glob("*.dist-info"))).requires or []]
        asked = [one for one in asked if one.name != "superpoint"]
        assert len(asked) > 15
        assert all(one.specifier.contains(versions[canonicalize_name(one.name)]) for one in asked)

    def test_import_is_light_and_from_the_wheel(self, installed: Path, tmp_path: Path) -> None:
        code = "import sys, superpoint; print(superpoint.__file__); print(*sys.modules)"
        file, modules = python(installed, tmp_path, "-c", code).splitlines()
        assert Path(file).is_relative_to(installed)
        heavy = {"superpoint.engine", "lightning_fabric", "tensorboard", "matplotlib", "skimage", "kornia"}
        assert heavy.isdisjoint(modules.split())
        assert list(tmp_path.iterdir()) == []

    def test_command_line_outside_the_checkout(self, installed: Path, tmp_path: Path) -> None:
        assert "train-magicpoint" in python(installed, tmp_path, "-m", "superpoint", "--help")
        text = python(installed, tmp_path, "-m", "superpoint", "train-magicpoint", "--print-config", "train.steps=3")
        config = yaml.safe_load(text)
        assert config["train"]["steps"] == 3
        assert config["model"]["encoder"] == "vgg"
        command = ["-m", "superpoint", "train-magicpoint", "--config", "magicpoint/lite", "--print-config"]
        assert yaml.safe_load(python(installed, tmp_path, *command))["model"]["encoder"] == "lite"
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_sdist_can_be_tested(release: Path, tmp_path: Path) -> None:
    (sdist,) = release.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/geometry/test_cells.py"]
    assert " passed" in run(command, cwd=source, env={**os.environ, "PYTHONPATH": str(source)})


def requirements(project: Path) -> list[Requirement]:
    return [Requirement(text) for text in settings(project)["dependencies"]]


def settings(project: Path) -> dict[str, Any]:
    return load_file(project / "pyproject.toml")["project"]


def test_the_conda_recipe_asks_for_the_same(project: Path) -> None:
    text = re.sub(r"{%.*%}|{{.*?}}", "", (project / "recipe/meta.yaml").read_text())
    recipe = yaml.safe_load(text)
    wanted = {f"{CONDA.get(each.name, each.name)} {each.specifier}" for each in requirements(project)}
    python = f"python {settings(project)['requires-python']}"
    assert set(recipe["requirements"]["run"]) == wanted | {python}
    build = load_file(project / "pyproject.toml")["build-system"]["requires"]
    assert set(recipe["requirements"]["host"]) == {"pip", python, *(each.replace(">", " >") for each in build)}
    assert recipe["about"]["license"] == settings(project)["license"]
    assert recipe["about"]["summary"] == settings(project)["description"]
    assert recipe["build"]["entry_points"] == [f"{k} = {v}" for k, v in settings(project)["scripts"].items()]


def test_the_container_gets_what_it_names(project: Path) -> None:
    text = (project / "Dockerfile").read_text()
    (version,) = re.findall(r"^FROM python:(\S+)-slim$", text, re.MULTILINE)
    assert f"Programming Language :: Python :: {version}" in settings(project)["classifiers"]
    (extras,) = re.findall(r"'/src\[(.+)\]'", text)
    assert set(extras.split(",")) <= set(settings(project)["optional-dependencies"])
    lines = (project / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert {"constraints.txt", "pyproject.toml", "setup.py", "README.md", "LICENSE", "configs", "superpoint"} == kept


def test_the_oldest_python_is_the_first_stated(project: Path) -> None:
    stated = re.findall(r"Python :: (3\.\d+)", " ".join(settings(project)["classifiers"]))
    assert settings(project)["requires-python"] == f">={stated[0]}"
    assert [int(each.partition(".")[2]) for each in stated] == list(range(10, 14))


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_without_a_python_says_so(project: Path, tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(project / name, tmp_path / name)
    result = subprocess.run(["make", "env", "PYTHON="], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "error: found no python3.11 or later on PATH" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_datasets_is_no_package(project: Path) -> None:
    """An __init__.py there would shadow Hugging Face `datasets` for whoever works in the checkout."""
    assert (project / "datasets" / "README.md").is_file()
    assert not (project / "datasets" / "__init__.py").exists()
