"""The wheel holds all that is needed, and nothing of the checkout is."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "setup.py", "configs", "superpoint")


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder appears in the checkout."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (project / name).is_dir():
            shutil.copytree(project / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(project / name, copy / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(copy))
    (built,) = out.glob("*.whl")
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
    def test_content(self, project: Path, wheel: Path) -> None:
        names = set(zipfile.ZipFile(wheel).namelist())
        wanted = {path.relative_to(project).as_posix() for path in (project / "superpoint").rglob("*.py")}
        pretrained = {path.relative_to(project).as_posix() for path in (project / "superpoint").rglob("*.safetensors")}
        templates = {path.relative_to(project).as_posix() for path in (project / "superpoint").rglob("templates/*")}
        recipes = {
            f"superpoint/{path.relative_to(project).as_posix()}" for path in (project / "configs").rglob("*.yaml")
        }
        assert len(recipes) > 10
        assert len(templates) > 5
        assert wanted | pretrained | templates | recipes | {"superpoint/py.typed"} <= names
        assert {name.split("/")[0].split("-")[0] for name in names} == {"superpoint"}

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
