"""Labels from outside: every format ends in the same feature file, which training reads; what is wrong is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superpoint.data.feature_file import FeatureFile
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.errors import UserError
from superpoint.labelling.imports import import_labels
from tests.conftest import CommandLine

POINTS = np.array([[1.5, 2.0], [60.0, 40.25]])
SCORES = np.array([0.25, 0.75])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (64, 48), 99).save(tmp_path / "images" / name)
    return tmp_path / "images"


def write(folder: Path, kind: str) -> Path:
    """The labels of a/1.jpg and 2.png in a format; the second has no keypoint, where the format can say so."""
    (folder / "a").mkdir(parents=True)
    rows = [(x, y, s) for (x, y), s in zip(POINTS.tolist(), SCORES.tolist(), strict=True)]
    if kind == "txt":
        (folder / "a/1.jpg.txt").write_text("".join(f"{x} {y} {s}\n" for x, y, s in rows), "utf-8-sig")
        (folder / "2.txt").touch()
    elif kind == "npz":
        np.savez(folder / "a/1.npz", pts=np.array(rows))
        np.savez(folder / "2.npz", points=np.zeros((0, 2)), prob=np.zeros(0))
    elif kind == "csv":
        lines = ["image,x,y,score", *(f"a/1.jpg,{x},{y},{s}" for x, y, s in rows), "gone/3.jpg,1,1,1"]
        (folder / "all.csv").write_text("\r\n".join(lines))
    else:
        keypoints = [each for x, y, _ in rows for each in (x, y, 2)]
        content = {
            "images": [{"id": 1, "file_name": "a/1.jpg", "width": 64, "height": 48}],
            "annotations": [{"image_id": 1, "keypoints": [*keypoints, 0, 0, 0]}],
        }
        (folder / "labels.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", ["txt", "npz", "csv", "json"])
def test_formats(kind: str, images: Path, tmp_path: Path, cli: CommandLine) -> None:
    source, out = write(tmp_path / "labels", kind), tmp_path / "labels.h5"
    output = cli.succeeds("labels", "import", source, "--out", out, "--images", images)
    labels = FeatureFile(out)
    assert labels.names() == (["2.png", "a/1.jpg"] if kind in ("txt", "npz") else ["a/1.jpg"])
    found = labels.read("a/1.jpg")
    strongest = slice(None, None, 1 if kind == "json" else -1)
    np.testing.assert_array_equal(found.keypoints, POINTS[strongest])
    np.testing.assert_array_equal(found.scores, [1, 1] if kind == "json" else SCORES[strongest])
    assert found.image_size == (64, 48)
    assert labels.frame == "stored"
    assert labels.skipped() == ({"gone/3.jpg": f"no such image in {images}, or several"} if kind == "csv" else {})
    assert ("1 other images have no labels" in output) == (kind in ("csv", "json"))
    cli.succeeds("labels", "check", out)
    cli.succeeds("labels", "info", out)
    np.testing.assert_array_equal(LabelledPhotographs(labels, images, ["a/1.jpg"])[0][1], POINTS[strongest])
    assert "exists already" in cli.fails("labels", "import", source, "--out", out)


def test_other_conventions(images: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/2.txt").write_text("3 10.5\n")  # row 3, column 10, centres at .5
    import_labels(tmp_path / "labels", tmp_path / "a.h5", images=images, offset=0.5, swapped=True)
    np.testing.assert_array_equal(FeatureFile(tmp_path / "a.h5").read("2.png").keypoints, [[10, 2.5]])


def test_labels_of_the_upright_image(images: Path, tmp_path: Path) -> None:
    tagged = Image.new("L", (64, 48))
    exif = tagged.getexif()
    exif[0x0112] = 6  # upright it is 48 x 64
    tagged.save(images / "tagged.jpg", exif=exif)
    (tmp_path / "tagged.txt").write_text("40 60\n")
    with pytest.raises(UserError, match=r"64x48 pixels; x and y swapped\?$"):
        import_labels(tmp_path / "tagged.txt", tmp_path / "a.h5", images=images)
    import_labels(tmp_path / "tagged.txt", tmp_path / "a.h5", images=images, frame="upright")
    labels = FeatureFile(tmp_path / "a.h5")
    assert (labels.frame, labels.read("tagged.jpg").image_size) == ("upright", (48, 64))
    gray, points, _ = LabelledPhotographs(labels, images)[0]
    assert gray.shape == (64, 48)
    np.testing.assert_array_equal(points, [[40, 60]])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "found no labels, expected"),
        ({"2.txt": "-3 2\n"}, r"2\.txt: point 1 of 1 is .x=-3"),
        ({"2.txt": "1 2\n5 60\n"}, "x and y swapped"),
        ({"2.txt": "1 2\n", "2.png.txt": "1 2\n"}, r"2\.txt: labels 2\.png, which .*2\.png\.txt labels already"),
        ({"both.txt": "1 2\n"}, "found no labels that can be used; both: no such image in .*, or several"),
        ({"a.json": json.dumps({"images": [{"id": 1, "file_name": "2.png", "width": 640, "height": 300}],
                                "annotations": [{"image_id": 1, "keypoints": [1, 2, 2]}]})},
         "2.png: found 64 x 48 pixels, its labels were made for 640 x 300"),
        ({"a.json": json.dumps({"images": [{"id": 1, "file_name": "2.png"}], "annotations": [{"image_id": 1}]})},
         "found no labels that can be used; its files hold no keypoints"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(files: dict[str, str], message: str, images: Path, tmp_path: Path) -> None:
    for ending in ("bmp", "png"):
        Image.new("L", (64, 48)).save(images / f"both.{ending}")
    (tmp_path / "labels").mkdir()
    for name, text in files.items():
        (tmp_path / "labels" / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        import_labels(tmp_path / "labels", tmp_path / "a.h5", images=images)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.h5").exists()


def test_without_images(tmp_path: Path) -> None:
    (tmp_path / "1.jpg.txt").write_text("1 2\n")
    import_labels(tmp_path / "1.jpg.txt", tmp_path / "a.h5")
    assert FeatureFile(tmp_path / "a.h5").names() == ["1.jpg"]
    (tmp_path / "1.txt").write_text("-4 2\n")
    with pytest.raises(UserError, match=r"1\.txt: found no image in the name, expected e\.g\. 1\.jpg"):
        import_labels(tmp_path / "1.txt", tmp_path / "b.h5")
    (tmp_path / "1.jpg.txt").write_text("-4 2\n")
    with pytest.raises(UserError, match=r"found the point .x=-4, y=2., expected none below -0\.5"):
        import_labels(tmp_path / "1.jpg.txt", tmp_path / "b.h5")
