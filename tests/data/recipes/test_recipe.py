import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from superpoint.data.recipes.recipe import Archive, claim, obtain, recipe_options, report, run, write_split
from superpoint.errors import UserError
from tests.data.recipes.http_server import Site, serve
from tests.data.recipes.test_unpack import make_zip


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    content = make_zip(tmp_path / "made.zip", [("top/a.jpg", b"1"), ("top/b.jpg", b"22")]).read_bytes()
    with serve(Site(content)) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def options(root: Path, *arguments: str) -> argparse.Namespace:
    return recipe_options("A recipe.", root).parse_args(arguments)


def known(site: Site) -> Archive:
    return Archive(f"{site.url}/set.zip", len(site.content), hashlib.sha256(site.content).hexdigest())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestObtain:
    def test_once_and_no_archive_stays(self, site: Site, root: Path) -> None:
        for _ in range(2):
            obtain(known(site), root / "images/val", options(root))
            assert names(root / "images/val") == {"a.jpg", "b.jpg"}
        assert len(site.requests) == 1
        assert names(root) == {"images"}

    def test_kept_archive_is_used_again(self, site: Site, root: Path) -> None:
        obtain(known(site), root / "one", options(root, "--keep-archive"))
        assert names(root) == {"one", "set.zip"}
        obtain(known(site), root / "two", options(root))
        assert len(site.requests) == 1

    def test_addresses_and_checksums_that_cannot_be(self, site: Site, root: Path) -> None:
        with pytest.raises(UserError, match="--url: found 'http://host/', expected the address of a file"):
            obtain(Archive("https://one/x/a.zip?download=true"), root / "one", options(root, "--url", "http://host/"))
        with pytest.raises(UserError, match="--sha256: found 'abc', expected 64 hexadecimal digits"):
            obtain(known(site), root / "one", options(root, "--sha256", "abc"))

    def test_unknown_checksum_is_told(self, site: Site, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        obtain(Archive(f"{site.url}/set.zip"), root / "one", options(root))
        assert f"--sha256 {known(site).sha256}" in capsys.readouterr().out

    def test_archive_by_other_means_stays(self, site: Site, root: Path, tmp_path: Path) -> None:
        obtain(known(site), root / "images", options(root, "--archive", str(tmp_path / "made.zip")))
        assert (tmp_path / "made.zip").exists()
        assert site.requests == []
        wrong = options(root, "--archive", str(tmp_path / "made.zip"), "--sha256", "1" * 64)
        with pytest.raises(UserError, match="expected 1111"):
            obtain(known(site), root / "other", wrong)

    def test_archive_that_cannot_be_unpacked_leaves_no_folder(self, site: Site, root: Path) -> None:
        site.content = b"no archive"
        with pytest.raises(UserError, match="of an unknown kind"):
            obtain(Archive(f"{site.url}/set.zip"), root / "images", options(root))
        assert not (root / "images").exists()


def test_claim_is_for_one_process(root: Path) -> None:
    with claim(root), pytest.raises(UserError, match="this process is preparing it"), claim(root):
        pass
    assert names(root) == set()


def test_split_is_written_once(root: Path) -> None:
    write_split(root, "val", ["val/1.jpg", "val/2.jpg"])
    path = root / "splits/val.txt"
    assert path.read_text() == "val/1.jpg\nval/2.jpg\n"
    before = path.stat().st_ino
    write_split(root, "val", ["val/1.jpg", "val/2.jpg"])
    assert path.stat().st_ino == before


def test_report(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(root, "7 images", []) == 0
    assert f"{root}: complete, 7 images" in capsys.readouterr().out
    assert report(root, "", [f"fault {number}" for number in range(12)]) == 1
    shown = capsys.readouterr().err
    assert "12 problems" in shown
    assert "fault 9\n" in shown
    assert "fault 10" not in shown
    assert "and 2 more" in shown


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        run(stopped)
    assert ended.value.code == 130
    assert "run again to go on" in capsys.readouterr().err
