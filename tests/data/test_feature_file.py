import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from superpoint.data.feature_file import FeatureFile, check_features
from superpoint.data.feature_writer import save_features
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.files import natural_order


def make(count: int = 5, seed: int = 0, descriptors: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    points = (rng.random((count, 2)) * [64, 48]).astype(np.float32)
    described = rng.standard_normal((count, descriptors)).astype(np.float16) if descriptors else None
    return Features(points, rng.random(count).astype(np.float32), described, (64, 48), 1.5, 100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "labels.h5"
    names = ("seq/image10.jpg", "seq/image2.jpg", "b.png", "seq/deep/1.jpg")
    save_features(file, {name: make(seed=index, descriptors=8) for index, name in enumerate(names)})
    return file


def test_hloc_finds_our_features(path: Path) -> None:
    """What hloc/utils/io.py does, expressed anew: list_h5_names and get_keypoints."""
    names: set[str] = set()

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.add(str(item.parent.name).strip("/"))

    file: Any
    with h5py.File(path, "r", libver="latest") as file:
        file.visititems(visit)
        assert names == {"seq/image10.jpg", "seq/image2.jpg", "b.png", "seq/deep/1.jpg"}
        dataset = file["b.png"]["keypoints"]
        points, uncertainty = dataset.__array__(), dataset.attrs.get("uncertainty")
        assert points.dtype == np.float32
        assert points.shape == (5, 2)
        assert uncertainty == 1.5
        # ... and what its matchers and triangulation take from a group
        assert file["b.png"]["descriptors"].__array__().shape == (8, 5)
        assert file["b.png"]["descriptors"].dtype == np.float16
        assert file["b.png"]["scores"].shape == (5,)
        assert file["b.png"]["image_size"][()].tolist() == [64, 48]


def test_what_was_written_is_read(path: Path) -> None:
    with FeatureFile(path) as labels:
        assert labels.names() == ["b.png", "seq/deep/1.jpg", "seq/image2.jpg", "seq/image10.jpg"]
        assert len(labels) == 4
        assert "b.png" in labels
        assert "seq" not in labels
        found, written = labels.read("b.png"), make(seed=2, descriptors=8)
        for key in ("keypoints", "scores", "descriptors"):
            np.testing.assert_array_equal(getattr(found, key), getattr(written, key))
        assert (found.image_size, found.uncertainty, found.views) == ((64, 48), 1.5, 100)
        assert [name for name, _ in labels] == labels.names()
        plain = labels.read("b.png", descriptors=False)
        assert plain.descriptors is None
        np.testing.assert_array_equal(plain.keypoints, written.keypoints)
        assert labels.attributes["images"] == 4


def test_memory_is_given_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("superpoint.data.feature_file.READS", 3)
    labels = FeatureFile(path)
    files = []
    for _ in range(2):
        for name in labels.names():
            assert len(labels.read(name).keypoints) == 5
            files.append(labels.open())
    assert len(set(map(id, files))) == 3  # opened at the first, the third and the sixth of eight reads
    assert [bool(file) for file in files] == [False] * 5 + [True] * 3


def test_features_as_hloc_writes_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "feats.h5", "a", libver="latest") as file:
        for dtype in (np.float16, np.float32):
            group = file.create_group(f"db/{np.dtype(dtype).name}.jpg")
            group.create_dataset("keypoints", data=np.array([[1.5, 2.5], [600, 400]], dtype))
            group.create_dataset("image_size", data=np.array([1024, 768]))
        file["db/float16.jpg"]["keypoints"].attrs["uncertainty"] = np.float64(2.0)  # type: ignore[union-attr]
    labels = FeatureFile(tmp_path / "feats.h5")
    for name in ("db/float16.jpg", "db/float32.jpg"):
        found = labels.read(name)
        assert found.keypoints.dtype == np.float32
        assert found.keypoints.tolist() == [[1.5, 2.5], [600, 400]]
        assert found.scores.tolist() == [1, 1]
        assert (found.descriptors, found.image_size) == (None, (1024, 768))
    assert labels.read("db/float16.jpg").uncertainty == 2.0
    assert labels.skipped() == {}


def test_natural_order() -> None:
    names = ["a10", "a2", "a", "a02", "b1", "10", "9"]
    assert sorted(names, key=natural_order) == ["9", "10", "a", "a02", "a2", "a10", "b1"]
    assert natural_order("²") == [(-1, "²")]  # a digit to str.isdigit, none to int


def _count(labels: FeatureFile, queue: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    queue.put([float(labels.read(name).keypoints.sum()) for name in labels.names() for _ in range(50)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12 on, if other tests left threads
def test_forked_workers_read_the_open_file(path: Path) -> None:
    labels = FeatureFile(path)
    expected = [float(labels.read(name).keypoints.sum()) for name in labels.names() for _ in range(50)]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_count, args=(labels, queue)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert results == [expected] * 3
    assert labels.read("b.png").image_size == (64, 48)  # the parent's handle is still good


def test_pickled_it_opens_the_file_again(path: Path) -> None:
    labels = FeatureFile(path)
    names = labels.names()
    copy = pickle.loads(pickle.dumps(labels))
    labels.close()
    assert copy.names() == names
    assert len(copy.read("b.png").keypoints) == 5


def test_a_folder_of_files_is_read_as_one(tmp_path: Path) -> None:
    save_features(tmp_path / "000000.h5", {"b.jpg": make(3), "a2.jpg": make(4)}, {"skipped": '{"x": "bad"}'})
    save_features(tmp_path / "000001.h5", {"a10.jpg": make(6), "b.jpg": make(9)}, {"skipped": '{"y": "bad"}'})
    with FeatureFile(tmp_path) as labels:
        assert labels.names() == ["a2.jpg", "a10.jpg", "b.jpg"]
        assert [len(labels.read(name).keypoints) for name in labels.names()] == [4, 6, 3]  # the first of a name counts
        assert labels.skipped() == {"x": "bad", "y": "bad"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b""), "not a readable HDF5 file"),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "not a readable HDF5 file"),
        (lambda path: path.write_text("hello"), "not a readable HDF5 file"),
    ],
)
def test_files_that_cannot_be_read(path: Path, damage, message: str) -> None:
    damage(path)
    with pytest.raises(UserError, match=message) as caught:
        FeatureFile(path)
    assert "\n" not in str(caught.value)


def test_entries_that_cannot_be_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["one/keypoints"] = np.zeros((3, 4))
        file["two/keypoints"] = np.array([b"text"])
    labels = FeatureFile(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"'one' cannot be read \(keypoints: found shape \[3, 4\], expected \[N, 2\]"):
        labels.read("one")
    with pytest.raises(UserError, match="'two' cannot be read"):
        labels.read("two")
    with pytest.raises(UserError, match="no features of 'three', but of 2 other images"):
        labels.read("three")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    save_features(tmp_path / "a.h5", {}, {"version": 99})
    with pytest.raises(UserError, match="found version 99"):
        FeatureFile(tmp_path / "a.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.h5 file"):
        FeatureFile(tmp_path / "empty")


POINTS = np.array([[1, 2], [30, 40]], np.float32)


def problems(path: Path) -> list[str]:
    return [f"{name}: {text}" for name, text in check_features(FeatureFile(path))]


def test_a_whole_file_has_no_problem(path: Path) -> None:
    assert problems(path) == []


def test_a_flipped_bit_is_found(path: Path) -> None:
    content = bytearray(path.read_bytes())
    where = content.index(make(seed=0, descriptors=8).keypoints.tobytes())
    content[where + 2] ^= 1
    path.write_bytes(content)
    (problem,) = problems(path)
    assert "checksum" in problem


def test_a_lost_group_is_found(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["b.png"]
    assert problems(path) == [": holds 3 images, its header says 4"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("keypoints", np.zeros((2, 3)), "keypoints: found shape [2, 3], expected [N, 2]"),
        ("keypoints", np.array([[1, 50.0], [2, 2]]), "1 of 2 keypoints lie outside the image of 64 x 48"),
        ("scores", np.ones(3), "scores: found shape [3], expected [2]"),
        ("descriptors", np.ones((2, 4)), "descriptors: found shape [4, 2], expected [2, D]"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, key: str, value: np.ndarray, message: str) -> None:
    """In a file of hloc's, that has no checksums."""
    content = {"keypoints": POINTS, "scores": np.ones(2), "descriptors": np.ones((4, 2)), "image_size": [64, 48]}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in (content | {key: value}).items():
            file[f"db/1.jpg/{name}"] = array
    (problem,) = problems(tmp_path / "a.h5")
    assert problem.startswith("db/1.jpg: ")
    assert message in problem
