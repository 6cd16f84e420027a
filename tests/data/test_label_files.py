"""Labels of others: every format with the same points; what is wrong names the file and the line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.data.label_files import read_labels, read_points
from superpoint.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "1.5 2\n30 4.25\n", "1.5,2\n30,4.25", "x,y\n1.5,2\n30,4.25\n", "x y score\n1.5 2 0.9\n30 4.25 0.1\n",
        "# corners of the x and y kind\n\n1.5 2\n30\t4.25  \n", "y;x\n2;1.5\n4.25;30\n", "# x y\n1.5 2\n30 4.25\n",
        '"id","x","y","score"\n7,1.5,2,1\n8,30,4.25,1\n', "\ufeff1.5 2\r\n30 4.25\r\n", "1.5, 2, 0.5\n30, 4.25, 0.5\n",
    ],
)  # fmt: skip
def test_text_labels(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(text.encode())
    points = read_points(tmp_path / "labels.csv", (48, 64))
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[1.5, 2], [30, 4.25]])


def test_array_labels(tmp_path: Path) -> None:
    points = np.array([[1.5, 2, 0.9], [30, 4.25, 0.8]], np.float32)
    np.save(tmp_path / "a.npy", points)
    np.savez(tmp_path / "b.npz", whatever=points[:, :2])
    np.savez_compressed(tmp_path / "c.npz", keypoints=points, scores=points[:, 2])
    for name in ("a.npy", "b.npz", "c.npz"):
        np.testing.assert_array_equal(read_points(tmp_path / name), points[:, :2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no points"),
        ("x,y\n", "found no points"),
        ("1\n2\n", "line 1 has 1 columns, expected x y"),
        ("1 2 3 4\n", "line 1 has 4 columns"),
        ("1 2\n3 4 5\n", "line 2 has 3 columns, expected 2"),
        ("x,y\n1,2,3\n", "line 2 has 3 columns, expected 2"),
        ("u,v\n1,2\n", "line 1 is 'u,v', expected finite numbers"),
        ("1 2\n3 four\n", "line 2 is '3 four'"),
        ("1 2\nnan 4\n", "line 2 is 'nan 4', expected finite"),
        ("1 2\n3 inf\n", "expected finite"),
        ("1 2\n3 1e39\n", "line 2 is '3 1e39', expected finite"),
        ("1 2\n64 4\n", r"point 2 of 2 is \(x=64, y=4\).*64x48 pixels$"),
        ("1 2\n5 60\n", "x and y swapped"),
        ("-1 2\n", "expected points on the image"),
    ],
)
def test_errors_of_text_labels(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_points(path, (48, 64))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_errors_of_files(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", np.arange(6))
    np.save(tmp_path / "wide.npy", np.zeros((3, 4)))
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2)), b=np.zeros((2, 2)))
    np.savez(tmp_path / "whole.npz", a=np.zeros((200, 2)))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    (tmp_path / "text.npy").write_text("1 2\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "binary.txt").write_bytes(bytes(range(128, 256)))
    for name, message in {
        "flat.npy": r"int64 \[6\], expected numbers",
        "wide.npy": r"\[3, 4\]",
        "words.npy": "expected numbers",
        "two.npz": "found a, b, expected one array, or one named points or keypoints",
        "cut.npz": "not a readable NumPy file",
        "text.npy": "not a readable NumPy file",
        "empty.npz": "not a readable NumPy file",
        "binary.txt": "no text",
        "missing.txt": "No such file",
        "missing.npz": "No such file",
    }.items():
        with pytest.raises(UserError, match=message):
            read_points(tmp_path / name)
    with pytest.raises(UserError, match="cannot be read"):
        read_points(tmp_path)


def test_scores_and_images(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_bytes(
        b'\xef\xbb\xbfImage;Score;y;x\r\n"a;b.jpg";0.5;2;1\r\nc.png;0.25;4;3\r\n"a;b.jpg";1;6;5\r\n'
    )
    first, second = read_labels(tmp_path / "all.csv")
    assert (first.image, second.image) == ("a;b.jpg", "c.png")
    np.testing.assert_array_equal(first.points, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(first.scores, [0.5, 1])
    np.savez(tmp_path / "a.npz", pts=[[1, 2], [5, 6]], prob=[[0.5], [1]])
    (tmp_path / "a.txt").write_text("1 2 0.5\n5 6 1\n")
    for name in ("a.npz", "a.txt"):
        (found,) = read_labels(tmp_path / name)
        assert found.image is None
        np.testing.assert_array_equal(found.points, first.points)
        np.testing.assert_array_equal(found.scores, first.scores)
    (tmp_path / "none.txt").write_bytes(b"")
    assert len(read_labels(tmp_path / "none.txt")[0].points) == 0
    with pytest.raises(UserError, match="found labels of images by their names"):
        read_points(tmp_path / "all.csv")


COCO: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a/1.jpg", "width": 64, "height": 48},
        {"id": 8, "file_name": "a/2.jpg", "width": 64, "height": 48},
    ],
    "annotations": [
        {"image_id": 7, "keypoints": [1, 2, 2, 0, 0, 0, 5, 6, 1]},
        {"image_id": 7, "keypoints": [9.5, 8, 2]},
        {"image_id": 8, "bbox": [0, 0, 5, 5]},
    ],
}


def test_coco(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(COCO))
    (found,) = read_labels(
        tmp_path / "a.json"
    )  # the second image was not labelled: that it has no keypoint, nobody says
    assert (found.image, found.size) == ("a/1.jpg", (64, 48))
    np.testing.assert_array_equal(found.points, [[1, 2], [5, 6], [9.5, 8]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", "not readable as JSON"),
        ([], "expected COCO's keypoints"),
        ({"images": [], "annotations": [3]}, "expected COCO's keypoints"),
        ({**COCO, "images": [{"id": 7}]}, "image 1: found no file_name"),
        ({**COCO, "images": COCO["images"][1:]}, "annotations of image_id 7"),
        ({**COCO, "annotations": [{"image_id": 7, "keypoints": [1, 2]}]}, "annotation 1: expected keypoints"),
        ({**COCO, "annotations": [{"image_id": 7, "keypoints": [1, "b", 2]}]}, "annotation 1: expected keypoints"),
        ({**COCO, "annotations": [{"image_id": 7, "keypoints": [1, None, 2]}]}, "a/1.jpg: point 1 is .1, nan."),
    ],
)
def test_errors_of_coco(change: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(change) if change != "" else "{")
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "a.json")
