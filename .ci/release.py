"""Build the sdist and, from it, the wheel; check both. Uploads nothing.

make release                      # a release: the version has a date in CHANGELOG.md, nothing is uncommitted
python .ci/release.py --draft     # the same before there is a date, an address or a commit
"""

import argparse
import importlib.util
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Where the version stands, beside superpoint/__init__.py.
VERSIONS = {
    "pyproject.toml": r'^version = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "recipe/meta.yaml": r'^{% set version = "(.+)" %}$',
    "CHANGELOG.md": r"^## (\S+) \(.+\)$",
}


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def found(file: str, pattern: str) -> str | None:
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return match and match[1]


def check_sources() -> tuple[list[str], list[str]]:
    """Return what is wrong in any case, and what only a release has to have."""
    version = found("superpoint/__init__.py", r'^__version__ = "(.+)"$')
    wrong = [
        f"{file}: found version {other}, expected {version} as in superpoint/__init__.py"
        for file, pattern in VERSIONS.items()
        if (other := found(file, pattern)) != version
    ]
    missing = []
    if not found("CHANGELOG.md", rf"^## {re.escape(str(version))} \((\d{{4}}-\d\d-\d\d)\)$"):
        missing.append(f"CHANGELOG.md: expected '## {version} (YEAR-MONTH-DAY)'")
    if not found("pyproject.toml", r'^Repository = "(https://.+)"$'):
        missing.append("pyproject.toml: expected the address of the repository, Repository, in [project.urls]")
    if run("git", "status", "--porcelain"):
        missing.append("git: found uncommitted changes, expected none")
    return wrong, missing


def build_sdist(out: Path) -> Path:
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder:  # a copy of what git knows, so that no build folder appears here
        for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0"):
            if name and (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).write_bytes((ROOT / name).read_bytes())
        run(sys.executable, "-c", code, out, cwd=Path(folder))
    (sdist,) = out.glob("*.tar.gz")
    return sdist


def build_wheel(source: Path, out: Path) -> Path:
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source
    )
    (wheel,) = out.glob("*.whl")
    return wheel


def unpack(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


def missing_in_wheel(wheel: Path) -> list[str]:
    """Return the files of the package, its recipes and model card that the wheel lacks, and what it has too much."""
    files = [path for path in (ROOT / "superpoint").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    wanted = {path.relative_to(ROOT).as_posix() for path in files}
    wanted |= {f"superpoint/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    return [f"wheel: {name} is missing" for name in sorted(wanted - names)] + [
        f"wheel: {name} does not belong there" for name in sorted(names - wanted)
    ]


def missing_in_sdist(source: Path) -> list[str]:
    """Return the files that git knows and the unpacked sdist lacks."""
    names = run("git", "ls-files", "-z").split("\0")
    return [
        f"sdist: {name} is missing"
        for name in names
        if name and (ROOT / name).exists() and not (source / name).exists()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draft", action="store_true", help="warn of what only a release has to have")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="an empty folder, or a new one")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    wrong, missing = check_sources()
    if any(out.iterdir()):
        wrong.append(f"{out}: found files, expected an empty folder")
    if not options.draft:
        wrong += missing
    if wrong:
        sys.exit("\n".join(f"error: {each}" for each in wrong))
    for each in missing:
        print(f"warning: {each}")

    sdist = build_sdist(out)
    with tempfile.TemporaryDirectory() as folder:
        source = unpack(sdist, Path(folder))
        wrong = missing_in_sdist(source)
        wheel = build_wheel(source, out)
    wrong += missing_in_wheel(wheel)
    if wrong:
        sys.exit("\n".join(f"error: {each}" for each in wrong))
    if importlib.util.find_spec("twine"):
        run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    else:
        print("warning: twine is not installed, so the README as a page of the index is not checked")
    for path in (sdist, wheel):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
