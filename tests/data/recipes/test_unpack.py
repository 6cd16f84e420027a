import contextlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from superpoint.data.recipes.unpack import unpack
from superpoint.errors import UserError

FILES = [("top/a.txt", b"one"), ("top/sub/b.txt", b"two" * 1000)]
Entries = Sequence[tuple[str, bytes]]


def make_zip(path: Path, entries: Entries, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def make_tar(path: Path, entries: Entries, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MAKERS = {"a.zip": make_zip, "a.tar.gz": make_tar}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Entries], Path]:
    return lambda entries: MAKERS[request.param](tmp_path / request.param, entries)


def refused(archive: Path, match: str, **options: Any) -> None:
    """`unpack` says why, in one line, and leaves nothing but the archive."""
    before = set(archive.parent.rglob("*"))
    with pytest.raises(UserError, match=match) as caught:
        unpack(archive, archive.parent / "out", **options)
    assert "\n" not in str(caught.value)
    assert set(archive.parent.rglob("*")) == before


class TestUnpacked:
    def test_content(self, make: Callable[[Entries], Path], tmp_path: Path) -> None:
        seen: list[int] = []
        count = unpack(make(FILES), tmp_path / "out", progress=lambda done, _: seen.append(done))
        assert count == 2
        assert (tmp_path / "out/top/a.txt").read_bytes() == b"one"
        assert (tmp_path / "out/top/sub/b.txt").read_bytes() == b"two" * 1000
        assert seen[-1] == 3003
        assert not list(tmp_path.glob("*unpacking*"))

    def test_strip_takes_what_is_in_the_only_folder(self, make: Callable[[Entries], Path], tmp_path: Path) -> None:
        junk = [("__MACOSX/top/._a.txt", b"x"), ("top/.DS_Store", b"x"), ("top/sub/._b.txt", b"x")]
        assert unpack(make([*FILES, *junk]), tmp_path / "out", strip=True) == 2
        found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
        assert found == {"a.txt", "sub", "sub/b.txt"}
        assert unpack(make([*FILES, ("c", b"")]), tmp_path / "all", strip=True) == 3
        assert (tmp_path / "all/top/a.txt").exists()

    @pytest.mark.parametrize("mode", ["w", "w:bz2", "w:xz"])
    def test_compressions(self, tmp_path: Path, mode: str) -> None:
        unpack(make_tar(tmp_path / "a", [("./x/./y", b"1"), *FILES], mode), tmp_path / "out")
        assert (tmp_path / "out/x/y").read_bytes() == b"1"

    def test_what_a_killed_process_left_is_cleared(self, make: Callable[[Entries], Path], tmp_path: Path) -> None:
        (tmp_path / "out.unpacking").mkdir()
        (tmp_path / "out.unpacking/old").touch()
        unpack(make(FILES), tmp_path / "out")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"top"}

    def test_dangerous_permissions_are_not_taken_over(self, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            info = tarfile.TarInfo("a")
            info.mode = 0o6777
            archive.addfile(info)
        unpack(tmp_path / "a.tar", tmp_path / "out")
        assert not (tmp_path / "out/a").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)


class TestMalicious:
    @pytest.mark.parametrize("name", ["../evil", "top/../../evil", "/tmp/evil"])
    def test_nothing_lands_outside(self, make: Callable[[Entries], Path], tmp_path: Path, name: str) -> None:
        archive = make([("fine", b"1"), (name, b"2")])
        with contextlib.suppress(UserError):
            unpack(archive, tmp_path / "out")
        assert {path.name for path in tmp_path.iterdir()} <= {archive.name, "out"}
        assert not Path("/tmp/evil").exists()

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
    def test_tar_links_and_devices(self, tmp_path: Path, kind: bytes) -> None:
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            info = tarfile.TarInfo("way")
            info.type, info.linkname = kind, "/etc"
            archive.addfile(info)
            archive.addfile(tarfile.TarInfo("way/passwd"))
        refused(tmp_path / "a.tar", "unsafe")

    def test_zip_link(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            info = zipfile.ZipInfo("way")
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc")
        unpack(tmp_path / "a.zip", tmp_path / "out")
        assert not (tmp_path / "out/way").is_symlink()

    def test_bomb(self, make: Callable[[Entries], Path]) -> None:
        archive = make([("zeros", bytes(30_000_000))])
        assert archive.stat().st_size < 100_000
        refused(archive, "unpacks to 30000000 bytes", max_bytes=20_000_000)

    def test_bomb_that_lies_about_its_size(self, tmp_path: Path) -> None:
        """A zip whose directory says 5 bytes: no more is written, and the checksum does not fit."""
        archive = make_zip(tmp_path / "a.zip", [("zeros", bytes(5_000_000))])
        content = archive.read_bytes().replace((5_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
        archive.write_bytes(content)
        refused(archive, "damaged", max_bytes=1000)

    def test_file_that_is_a_folder_too(self, make: Callable[[Entries], Path]) -> None:
        refused(make([("a", b"1"), ("a/b", b"2")]), "cannot be unpacked")


class TestUnusable:
    def test_no_archive(self, tmp_path: Path) -> None:
        refused(tmp_path / "a.zip", "cannot be unpacked .No such file")
        (tmp_path / "a.zip").write_bytes(b"<html>not found</html>" * 100)
        refused(tmp_path / "a.zip", "of an unknown kind")

    def test_cut_short(self, make: Callable[[Entries], Path]) -> None:
        archive = make([("a", bytes(range(256)) * 100), ("b", b"2" * 10_000)])
        archive.write_bytes(archive.read_bytes()[:-100])
        refused(archive, "of an unknown kind")

    def test_damaged_content(self, tmp_path: Path) -> None:
        archive = make_zip(tmp_path / "a.zip", [("a", b"0123456789" * 10)], zipfile.ZIP_STORED)
        archive.write_bytes(archive.read_bytes().replace(b"0123456789", b"012345678X", 1))
        refused(archive, "damaged.*CRC")

    def test_empty(self, make: Callable[[Entries], Path]) -> None:
        refused(make([]), "found no file in it")

    def test_folder_that_exists(self, make: Callable[[Entries], Path], tmp_path: Path) -> None:
        archive = make(FILES)
        (tmp_path / "out").mkdir()
        refused(archive, "exists already")

    def test_no_room(self, make: Callable[[Entries], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full:
            free = 1000

        monkeypatch.setattr("superpoint.data.recipes.unpack.shutil.disk_usage", lambda _: Full)
        refused(make(FILES), "no room to unpack")
