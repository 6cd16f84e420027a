"""hloc's files by the rules of its readers, COLMAP's by pycolmap."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.interop import colmap, hloc
from superpoint.matching import Matches


def features(count: int, seed: int, size: tuple[int, int] = (64, 48)) -> Features:
    random = np.random.default_rng(seed)
    described = random.standard_normal((count, 32))
    return Features(
        random.random((count, 2)) * np.array(size),
        np.sort(random.random(count))[::-1],
        described / np.linalg.norm(described, axis=1, keepdims=True),
        size,
    )


@pytest.fixture
def images() -> dict[str, Features]:
    return {"a/one.jpg": features(5, 0), "two.jpg": features(7, 1, (80, 60)), "a/b/three.jpg": features(0, 2)}


MATCHES = Matches(np.array([[4, 6], [0, 2]]), np.array([0.9, 0.5]))


class TestHloc:
    def test_features_as_hloc_reads_them(self, tmp_path: Path, images: dict[str, Features]) -> None:
        images = {name: replace(each, uncertainty=1.5) for name, each in images.items()}
        hloc.write_features(tmp_path / "f.h5", images)
        with h5py.File(tmp_path / "f.h5") as file:
            for name, found in images.items():
                group = file[name]
                assert isinstance(group, h5py.Group)
                assert np.array_equal(group["keypoints"][()], found.keypoints)  # type: ignore[index]
                assert group["keypoints"].attrs["uncertainty"] == 1.5
                assert group["descriptors"].shape == (32, len(found))  # type: ignore[union-attr]
                assert tuple(group["image_size"][()]) == found.image_size  # type: ignore[index]
        back = hloc.read_features(tmp_path / "f.h5")
        assert list(back) == ["a/b/three.jpg", "a/one.jpg", "two.jpg"]
        assert np.array_equal(back["two.jpg"].scores, images["two.jpg"].scores)
        described = images["two.jpg"].descriptors
        assert described is not None
        assert back["two.jpg"].descriptors == pytest.approx(described, abs=1e-3)

    def test_matches(self, tmp_path: Path) -> None:
        path = tmp_path / "m.h5"
        hloc.write_matches(path, {("a/one.jpg", "two.jpg"): MATCHES}, {"a/one.jpg": 5, "two.jpg": 7})
        # hloc.utils.parsers.names_to_pair and hloc.utils.io.get_matches
        with h5py.File(path, "r") as file:
            stored = np.asarray(file["a-one.jpg/two.jpg/matches0"])
            scores = np.asarray(file["a-one.jpg/two.jpg/matching_scores0"])
        index = np.where(stored != -1)[0]
        assert np.stack([index, stored[index]], -1).tolist() == [[0, 2], [4, 6]]
        assert stored.shape == scores.shape == (5,)
        assert scores[index].tolist() == pytest.approx([0.5, 0.9], abs=1e-3)
        assert hloc.read_matches(path, "a/one.jpg", "two.jpg").indices.tolist() == [[4, 6], [0, 2]]
        assert hloc.read_matches(path, "two.jpg", "a/one.jpg").indices.tolist() == [[6, 4], [2, 0]]
        with pytest.raises(UserError, match=r"holds no matches of 'x' and 'two\.jpg'"):
            hloc.read_matches(path, "x", "two.jpg")
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(UserError, match="cannot be read"):
            hloc.read_matches(path, "a/one.jpg", "two.jpg")

    def test_pairs(self, tmp_path: Path) -> None:
        pairs = [("a/one.jpg", "two.jpg"), ("two.jpg", "a/b/three.jpg")]
        hloc.write_pairs(tmp_path / "p.txt", pairs)
        assert (tmp_path / "p.txt").read_text() == "a/one.jpg two.jpg\ntwo.jpg a/b/three.jpg\n"
        assert hloc.read_pairs(tmp_path / "p.txt") == pairs
        (tmp_path / "p.txt").write_text("a b\n\na b c\n")
        with pytest.raises(UserError, match="line 3: found 3 names, expected two"):
            hloc.read_pairs(tmp_path / "p.txt")

    def test_mistakes(self, tmp_path: Path) -> None:
        counts = {"a": 5, "b": 7}
        with pytest.raises(ValueError, match="found the image 'c'"):
            hloc.write_matches(tmp_path / "m.h5", {("a", "c"): MATCHES}, counts)
        with pytest.raises(ValueError, match="beyond the 5 keypoints of 'a'"):
            hloc.write_matches(tmp_path / "m.h5", {("b", "a"): MATCHES}, counts)
        empty = Matches(np.zeros((0, 2), int), np.zeros(0))
        with pytest.raises(ValueError, match="twice"):
            hloc.write_matches(tmp_path / "m.h5", {("b", "a"): empty, ("a", "b"): MATCHES}, counts)
        with pytest.raises(ValueError, match="white space"):
            hloc.write_pairs(tmp_path / "p.txt", [("a b", "c")])
        assert list(tmp_path.iterdir()) == []


class TestColmap:
    def test_database_as_pycolmap_reads_it(self, tmp_path: Path, images: dict[str, Features]) -> None:
        pycolmap = pytest.importorskip("pycolmap")
        pairs = {("two.jpg", "a/one.jpg"): Matches(MATCHES.indices[:, ::-1], MATCHES.scores)}
        colmap.write_database(tmp_path / "d.db", images, pairs)
        database = pycolmap.Database.open(str(tmp_path / "d.db"))
        found = {image.name: image for image in database.read_all_images()}
        assert set(found) == set(images)
        for name, each in images.items():
            points = database.read_keypoints(found[name].image_id)
            assert np.asarray(points)[:, :2] == pytest.approx(each.keypoints + 0.5)
        one, two = found["a/one.jpg"].image_id, found["two.jpg"].image_id
        assert sorted(database.read_matches(one, two).tolist()) == [[0, 2], [4, 6]]
        camera = database.read_camera(found["two.jpg"].camera_id)
        assert (camera.width, camera.height, camera.model.name) == (80, 60, "SIMPLE_RADIAL")
        assert list(camera.params) == [96.0, 40.0, 30.0, 0.0]
        assert database.num_matched_image_pairs() == 1
        database.close()

    def test_pycolmap_verifies_the_matches(self, tmp_path: Path) -> None:
        """The step that comes next: 60 points of a plane, seen twice, and 20 false matches."""
        pycolmap = pytest.importorskip("pycolmap")
        random = np.random.default_rng(3)
        start = random.random((80, 2)) * 600
        end = start * 0.8 + np.array([40.0, 60.0])
        end[60:] = random.random((20, 2)) * 600
        views = {name: Features(xy, np.ones(80), None, (640, 640)) for name, xy in (("a", start), ("b", end))}
        all_of_them = Matches(np.stack([np.arange(80)] * 2, axis=1), np.ones(80))
        colmap.write_database(tmp_path / "d.db", views, {("a", "b"): all_of_them}, shared_camera=True)
        hloc.write_pairs(tmp_path / "pairs.txt", [("a", "b")])
        pycolmap.verify_matches(str(tmp_path / "d.db"), str(tmp_path / "pairs.txt"))
        database = pycolmap.Database.open(str(tmp_path / "d.db"))
        inliers = np.asarray(database.read_two_view_geometry(1, 2).inlier_matches)
        assert database.num_cameras() == 1
        database.close()
        assert len(inliers) >= 55
        assert (inliers[:, 0] < 60).mean() > 0.9

    def test_mistakes(self, tmp_path: Path, images: dict[str, Features]) -> None:
        pytest.importorskip("pycolmap")
        with pytest.raises(ValueError, match="expected one with features"):
            colmap.write_database(tmp_path / "d.db", images, {("a/one.jpg", "x"): MATCHES})
        with pytest.raises(ValueError, match=r"beyond the 5 keypoints of 'a/one\.jpg'"):
            colmap.write_database(tmp_path / "d.db", images, {("two.jpg", "a/one.jpg"): MATCHES})
        with pytest.raises(ValueError, match="images of 2 sizes, expected one"):
            colmap.write_database(tmp_path / "d.db", images, {}, shared_camera=True)
        with pytest.raises(UserError, match="no such folder"):
            colmap.write_database(tmp_path / "x/d.db", images, {})
        assert list(tmp_path.iterdir()) == []
        colmap.write_database(tmp_path / "d.db", {}, {})
        with pytest.raises(UserError, match="exists already"):
            colmap.write_database(tmp_path / "d.db", images, {})
        with sqlite3.connect(tmp_path / "d.db") as connection:
            assert connection.execute("SELECT COUNT(*) FROM images").fetchone() == (0,)
        connection.close()
