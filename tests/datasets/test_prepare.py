import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.data.recipes.http_server import Site, serve
from tests.data.recipes.test_hpatches import make_hpatches
from tests.data.recipes.test_unpack import make_zip

Recipe = Callable[..., "subprocess.CompletedProcess[str]"]
JPEG = b"\xff\xd8\xff\xd9"


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site()) as running:
        yield running


@pytest.fixture
def recipe(project: Path, tmp_path: Path) -> Recipe:
    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(project / f"datasets/{name}/prepare.py"), "--out", str(tmp_path / "root")]
        environment = {**os.environ, "no_proxy": "*"}
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


def test_hpatches(recipe: Recipe, site: Site, tmp_path: Path) -> None:
    make_hpatches(tmp_path / "made/hpatches-sequences-release")
    with tarfile.open(tmp_path / "h.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made/hpatches-sequences-release", "hpatches-sequences-release")
    site.content = (tmp_path / "h.tar.gz").read_bytes()
    site.break_after = [len(site.content) // 2]
    url = f"{site.url}/h.tar.gz"
    result = recipe("hpatches", "--url", url, "--sha256", hashlib.sha256(site.content).hexdigest())
    assert result.returncode == 0, result.stderr
    assert "complete, 696 images" in result.stdout
    assert site.ranges_asked == [None, f"bytes={len(site.content) // 2}-"]
    root = tmp_path / "root"
    assert len((root / "splits/all.txt").read_text().splitlines()) == 696

    result = recipe("hpatches", "--url", url, "--without-large")
    assert "complete, 648 images" in result.stdout
    assert len(list((root / "large").iterdir())) == 8
    (root / "images/v_00/4.ppm").unlink()
    result = recipe("hpatches", "--without-large", "--check")
    assert result.returncode == 1
    assert "v_00: found 4 pairs with a homography, expected 5" in result.stderr
    assert len(site.requests) == 2
    assert {path.name for path in root.iterdir()} == {"images", "large", "splits"}


def test_coco(recipe: Recipe, site: Site, tmp_path: Path) -> None:
    photographs = [(f"val2017/{number:012d}.jpg", JPEG) for number in range(5000)]
    site.content = make_zip(tmp_path / "made.zip", photographs, compression=0).read_bytes()
    result = recipe("coco", "--url", f"{site.url}/val2017.zip")
    assert result.returncode == 0, result.stderr
    assert "complete, 5000 images" in result.stdout
    lines = (tmp_path / "root/splits/val2017.txt").read_text().splitlines()
    assert lines[1] == "val2017/000000000001.jpg"
    assert (tmp_path / "root/images" / lines[1]).read_bytes() == JPEG

    (tmp_path / "root/images" / lines[1]).unlink()
    result = recipe("coco", "--check")
    assert result.returncode == 1
    assert "found 4999 images, expected 5000" in result.stderr


def test_absent_file_is_one_line(recipe: Recipe, site: Site) -> None:
    site.statuses = [404]
    result = recipe("hpatches", "--url", f"{site.url}/x.zip")
    assert result.returncode == 2
    assert result.stderr == f"error: {site.url}/x.zip: the server answered 404 (Not Found), expected a file\n"


@pytest.mark.parametrize("name", ["hpatches", "coco"])
def test_readme_and_recipe_agree(project: Path, name: str) -> None:
    readme = (project / f"datasets/{name}/README.md").read_text()
    assert f"python datasets/{name}/prepare.py" in readme
    code = (project / f"datasets/{name}/prepare.py").read_text()
    digests = re.findall(r'"([0-9a-f]{64})"', code)
    assert digests
    assert all(digest in readme for digest in digests)
