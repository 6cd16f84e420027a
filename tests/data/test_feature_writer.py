import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import SAME_NAME, check_name, merge_features, save_features
from superpoint.errors import UserError
from superpoint.features import Features
from tests.conftest import files_of_at_most


def make(seed: int, count: int = 20) -> Features:
    rng = np.random.default_rng(seed)
    return Features(rng.random((count, 2), np.float32), rng.random(count, np.float32), None, (64, 48), 1.0)


def test_the_same_content_has_the_same_bytes(tmp_path: Path) -> None:
    content = {f"folder/{index}.jpg": make(index) for index in range(70)}
    attributes = {"skipped": "x" * 100_000}  # more than the 64 KB of an attribute in older formats
    save_features(tmp_path / "one.h5", content, attributes)
    time.sleep(1.1)  # HDF5 stamps whole seconds, if it is allowed to
    save_features(tmp_path / "two.h5", content, attributes)
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    assert FeatureFile(tmp_path / "one.h5").attributes["skipped"] == "x" * 100_000


def test_merged_parts_hold_what_they_held(tmp_path: Path) -> None:
    contents = [{f"f{part}/{index}.jpg": make(10 * part + index) for index in range(4)} for part in range(3)]
    for part, content in enumerate(contents):
        save_features(tmp_path / f"{part}.h5", content)
    parts = [tmp_path / f"{part}.h5" for part in range(3)]
    merge_features(parts, tmp_path / "out.h5", {"model": "abc"})
    merge_features(parts, tmp_path / "again.h5", {"model": "abc"})
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "again.h5").read_bytes()
    labels = FeatureFile(tmp_path / "out.h5")
    assert labels.attributes["model"] == "abc"
    assert labels.attributes["images"] == 12
    for content in contents:
        for name, features in content.items():
            np.testing.assert_array_equal(labels.read(name).keypoints, features.keypoints)
            assert labels.read(name).uncertainty == 1.0
    with h5py.File(tmp_path / "out.h5") as merged, h5py.File(parts[0]) as part:
        assert merged["f0/1.jpg"].attrs["crc32"] == part["f0/1.jpg"].attrs["crc32"]


def test_the_first_of_a_name_is_kept(tmp_path: Path) -> None:
    save_features(tmp_path / "0.h5", {"a.jpg": make(0, 3), "a.jpg/b.jpg": make(1, 4)})
    save_features(tmp_path / "1.h5", {"a.jpg": make(2, 5), "c.jpg": make(3, 6)})
    parts = [tmp_path / "0.h5", tmp_path / "1.h5"]
    merge_features(parts, tmp_path / "out.h5", {"skipped": json.dumps({"x": "bad"})})
    labels = FeatureFile(tmp_path / "out.h5")
    assert {name: len(labels.read(name).keypoints) for name in labels.names()} == {
        "a.jpg": 3,
        "a.jpg/b.jpg": 4,  # an image whose name is a folder's
        "c.jpg": 6,
    }
    assert labels.skipped() == {"x": "bad", "a.jpg": SAME_NAME}


def test_folders_may_have_the_names_of_datasets(tmp_path: Path) -> None:
    names = ["a/keypoints/1.jpg", "a/keypoints/keypoints/2.jpg", "keypoints/3.jpg", "scores/4.jpg"]
    names.append("keypoints/keypoints/5.jpg")
    save_features(tmp_path / "0.h5", {name: make(index, 3 + index) for index, name in enumerate(names)})
    merge_features([tmp_path / "0.h5"], tmp_path / "out.h5", {})
    labels = FeatureFile(tmp_path / "out.h5")
    assert {name: len(features.keypoints) for name, features in labels} == {
        name: 3 + index for index, name in enumerate(names)
    }
    assert labels.attributes["images"] == 5


@pytest.mark.parametrize("size", [3_000, 50_000])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, size: int) -> None:
    parts = [tmp_path / "0.h5", tmp_path / "1.h5"]
    for number, part in enumerate(parts):
        save_features(part, {f"{number}/{index}.jpg": make(index, 200) for index in range(30)})
    save_features(tmp_path / "out.h5", {"old.jpg": make(0)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_of_at_most(size):
        with pytest.raises(UserError, match=r"out\.h5: cannot be written \(File too large\)"):
            save_features(tmp_path / "out.h5", {f"{index}.jpg": make(index, 200) for index in range(60)})
        with pytest.raises(UserError, match=r"out\.h5: cannot be written \(File too large\)"):
            merge_features(parts, tmp_path / "out.h5", {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    merge_features(parts, tmp_path / "out.h5", {})
    assert len(FeatureFile(tmp_path / "out.h5")) == 60


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file/out.h5", tmp_path / "no/out.h5"):
        with pytest.raises(UserError, match=r"out\.h5: cannot be written"):
            save_features(place, {"a.jpg": make(0)})


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    save_features(tmp_path / "0.h5", {"a.jpg": make(0)})
    (tmp_path / "1.h5").write_bytes((tmp_path / "0.h5").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"1\.h5: not a readable HDF5 file"):
        merge_features([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "out.h5", {})
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize(
    "name", ["", "/a.jpg", "a//b.jpg", "../a.jpg", "a/./b.jpg", "a\0.jpg", "\udcff.jpg", "a/keypoints"]
)
def test_names_that_cannot_be_groups(name: str) -> None:
    with pytest.raises(ValueError):
        check_name(name)


@pytest.mark.parametrize("name", ["a.jpg", "Straße/ä b.jpg", ".hidden/..a.jpg", "keypoints/a.jpg"])
def test_names_that_can(name: str) -> None:
    check_name(name)


def test_threads_write_at_the_same_time(tmp_path: Path) -> None:
    """HDF5 refused the second of two files of one name in memory: now and then features of a thread were lost."""
    features = {"a": Features(np.zeros((2000, 2), np.float32), np.zeros(2000, np.float32))}
    save_features(tmp_path / "alone.h5", features)
    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(save_features, tmp_path / f"{index}.h5", features) for index in range(100)]:
            each.result()
    expected = (tmp_path / "alone.h5").read_bytes()
    assert all((tmp_path / f"{index}.h5").read_bytes() == expected for index in range(100))
