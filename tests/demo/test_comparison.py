from pathlib import Path

import numpy as np
import pytest

from superpoint.data.images import sample_photographs
from superpoint.demo import comparison
from superpoint.demo.comparison import Settings, compare, example_images, markdown, read_upload
from superpoint.errors import UserError
from superpoint.inference.detector import FeatureDetector, load_model


@pytest.fixture(scope="module")
def model() -> FeatureDetector:
    return load_model("magicpoint-lite", backend="torch", device="cpu")


def test_pictures_and_figures(model: FeatureDetector, photographs: tuple[Path, Path]) -> None:
    first, second = (read_upload(path, "first", 240) for path in photographs)
    assert first.shape == (180, 240)
    found = compare(first, second, model, Settings(max_keypoints=200, method="ratio"))
    assert [row.name for row in found.rows] == ["magicpoint-lite + SIFT descriptors", "SIFT"]
    for row in found.rows:
        assert 20 < min(row.keypoints) <= max(row.keypoints) <= 200
        assert 8 < row.inliers <= row.matches
    assert found.sift is not None
    assert found.keypoints.shape[1] == found.heatmaps.shape[1]
    text = markdown(found.rows)
    assert len(text.splitlines()) == 4
    assert f"| SIFT | {found.rows[1].keypoints[0]} |" in text


def test_without_sift_and_without_points(model: FeatureDetector) -> None:
    flat = np.full((64, 80), 90, np.uint8)
    found = compare(flat, flat[:50], model, Settings(sift=False, threshold=0.3))
    assert found.sift is None
    assert [(row.keypoints, row.matches, row.inliers) for row in found.rows] == [((0, 0), 0, 0)]
    assert markdown(found.rows).count("\n") == 3


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not an image")
    with pytest.raises(UserError, match=r"^second image: a\.png: "):
        read_upload(tmp_path / "a.png", "second", 640)
    with pytest.raises(UserError, match="first image: found none, expected an image file"):
        read_upload(None, "first", 640)


def test_examples_without_photographs_are_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(example_images()) < set(dict(sample_photographs()))

    def missing() -> None:
        raise UserError("the sample photographs need scikit-image")

    monkeypatch.setattr(comparison, "sample_photographs", missing)
    shapes = example_images()
    assert list(shapes) == ["checkerboard", "cube", "star"]
    assert all(image.shape == (360, 480) and image.std() > 5 for image in shapes.values())
