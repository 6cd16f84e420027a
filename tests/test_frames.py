"""Photographs with an EXIF orientation, from the file to the feature file, COLMAP's database and the training.

Each is stored eight times, turned the other way by its tag, so that all look alike upright.
"""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

import superpoint
from superpoint.config import AdaptationConfig, LabellingConfig
from superpoint.data.feature_file import FORMAT, FeatureFile
from superpoint.data.feature_writer import merge_features, save_features
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.orientation import TURNS, Frame, turned_back, turned_image
from superpoint.interop import colmap, hloc
from superpoint.labelling.export import export_detections
from superpoint.labelling.summary import summarise
from tests.conftest import CommandLine, photograph

UPRIGHT = photograph("camera", 120, 152)
NAMES = [f"{orientation}.png" for orientation in TURNS]
PLAIN = {"adaptation": AdaptationConfig(homographies=0), "backend": "torch", "precision": "fp32"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tagged")
    for orientation, name in zip(TURNS, NAMES, strict=True):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(turned_image(UPRIGHT, turned_back(orientation))).save(folder / name, exif=exif)
    return folder


def as_hloc_sees_it(path: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION))


def patches(image: np.ndarray, features: Features) -> np.ndarray:
    """Sorted grey levels about each whole pixel: the same in any of the eight frames."""
    padded = np.pad(image, 3, "edge")
    x, y = np.rint(features.keypoints).astype(int).T + 3
    return np.sort([padded[b - 2 : b + 3, a - 2 : a + 3].ravel() for a, b in zip(x, y, strict=True)], axis=1)


def at_pixels(features: Features, frame: Frame) -> Features:
    """Upright keypoints at whole pixels, in another frame (a half is rounded the other way in a mirrored one)."""
    return replace(features, keypoints=np.rint(features.keypoints)).in_frame(frame)


def test_detect_turns_upright_and_can_be_asked_for_the_stored_frame(photos: Path) -> None:
    model = superpoint.load_model("superpoint-lite", backend="torch", precision="fp32")
    reference = model.detect(UPRIGHT, max_keypoints=40)
    for orientation, name in zip(TURNS, NAMES, strict=True):
        found = model.detect(photos / name, max_keypoints=40)
        assert np.array_equal(found.keypoints, reference.keypoints)
        assert (found.frame, found.orientation, found.image_size) == ("upright", orientation, (152, 120))
        pixels = as_hloc_sees_it(photos / name)
        stored = model.detect(photos / name, max_keypoints=40, frame="stored")
        assert np.array_equal(stored.keypoints, model.detect(pixels, max_keypoints=40).keypoints)
        assert (stored.frame, stored.orientation, stored.image_size) == ("stored", orientation, pixels.shape[::-1])
        assert np.array_equal(
            patches(pixels, at_pixels(found, "stored")), patches(UPRIGHT, at_pixels(found, "upright"))
        )
    with pytest.raises(UserError, match="frame: found 'raw', expected one of stored, upright"):
        model.detect(UPRIGHT, frame="raw")  # type: ignore[call-overload]


@pytest.mark.parametrize("frame", ["stored", "upright", "turned-back"])
def test_feature_files_name_their_frame_and_training_reads_images_in_it(
    photos: Path, tmp_path: Path, frame: str
) -> None:
    config = LabellingConfig(weights="magicpoint-lite", frame=frame, **PLAIN)  # type: ignore[arg-type]
    result = export_detections(config, [str(photos)], tmp_path / "labels.h5")
    assert result.summary is not None
    assert result.summary.oriented == 7
    written = json.loads((tmp_path / "labels.h5.summary.json").read_text())
    assert (written["oriented"], written["frame"]) == (7, frame)
    labels = FeatureFile(tmp_path / "labels.h5")
    assert labels.frame == labels.attributes["frame"] == ("upright" if frame == "upright" else "stored")
    again = summarise((each.in_frame(config.seen) for _, each in labels), config.resize)
    assert again.placement == result.summary.placement  # places in the cells that the network saw
    (tmp_path / "untagged").mkdir()
    for name in NAMES:
        Image.fromarray(as_hloc_sees_it(photos / name)).save(tmp_path / "untagged" / name)
    export_detections(config, [str(tmp_path / "untagged")], tmp_path / "untagged.h5")
    plain, training = FeatureFile(tmp_path / "untagged.h5"), LabelledPhotographs(labels, photos)
    for number, name in enumerate(labels.names()):
        image, features = training.read(number)
        stored = as_hloc_sees_it(photos / name)
        assert np.array_equal(image, UPRIGHT if frame == "upright" else stored)
        assert features.image_size == image.shape[::-1]
        if frame == "stored":  # as if there were no tag
            assert np.array_equal(features.keypoints, plain.read(name).keypoints)
            continue
        upright = features.in_frame("upright")
        np.testing.assert_allclose(upright.keypoints, plain.read("1.png").keypoints, atol=1e-4)
        assert np.array_equal(
            patches(image, at_pixels(upright, labels.frame)), patches(UPRIGHT, at_pixels(upright, "upright"))
        )


def test_writers_for_colmap_and_hloc_turn_back(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    model = superpoint.load_model("magicpoint-lite", backend="torch", precision="fp32")
    features = {name: model.detect(photos / name, max_keypoints=9) for name in NAMES}
    colmap.write_database(tmp_path / "d.db", features, {})
    save_features(tmp_path / "f.h5", features)
    read = hloc.read_features(tmp_path / "f.h5")
    with sqlite3.connect(tmp_path / "d.db") as database:
        sizes = database.execute("SELECT width, height FROM cameras ORDER BY camera_id").fetchall()
        blobs = [row[0] for row in database.execute("SELECT data FROM keypoints ORDER BY image_id")]
    database.close()
    for name, size, blob in zip(NAMES, sizes, blobs, strict=True):
        stored = features[name].in_frame("stored")
        assert size == stored.image_size == as_hloc_sees_it(photos / name).shape[::-1]
        assert np.array_equal(np.frombuffer(blob, np.float32).reshape(-1, 2), stored.keypoints + np.float32(0.5))
        assert np.array_equal(read[name].keypoints, stored.keypoints)
        assert read[name].frame == "stored"
        np.testing.assert_allclose(read[name].in_frame("upright").keypoints, features[name].keypoints, atol=1e-4)


def test_files_of_others_are_stored_and_those_of_version_1_upright(tmp_path: Path) -> None:
    one = {"a.jpg": Features([[3.0, 4.0]], None, None, (64, 48), orientation=6)}
    for name in ("hloc.h5", "old.h5", "odd.h5"):
        save_features(tmp_path / name, one)
        with h5py.File(tmp_path / name, "r+") as file:
            del file.attrs["frame"]
            if name == "hloc.h5":
                del file.attrs["format"]
            if name == "odd.h5":
                file.attrs["frame"] = "raw"
            else:
                del file["a.jpg"].attrs["orientation"]
            assert file.attrs.get("format", FORMAT) == FORMAT
    assert FeatureFile(tmp_path / "hloc.h5").frame == "stored"
    old = FeatureFile(tmp_path / "old.h5").read("a.jpg")
    assert (old.frame, old.orientation) == ("upright", 0)
    with pytest.raises(ValueError, match="expected the stored one; detect the keypoints anew"):
        colmap.write_database(tmp_path / "d.db", {"a.jpg": old}, {})
    with pytest.raises(UserError, match=r"odd\.h5: found the frame 'raw', expected stored or upright"):
        FeatureFile(tmp_path / "odd.h5")
    with pytest.raises(UserError, match=r"old\.h5: found the upright frame, expected stored"):
        merge_features([tmp_path / "old.h5"], tmp_path / "all.h5", {})


def test_commands_say_how_many_images_are_turned(photos: Path, tmp_path: Path, cli: CommandLine) -> None:
    options = ("--model", "magicpoint-lite", "--backend", "torch")
    said = cli.succeeds("detect", photos, "--out", tmp_path / "f.h5", *options)
    assert "7 images carry an EXIF orientation; keypoints are in the frame of the stored pixels" in said
    assert "7 images carry an EXIF orientation" in cli.succeeds("labels", "info", tmp_path / "f.h5")
    for frame, kind in (("upright", "upright images"), ("turned-back", "stored pixels")):
        said = cli.succeeds("detect", photos, "--out", tmp_path / f"{frame}.h5", "--frame", frame, *options)
        assert f"keypoints are in the frame of the {kind}" in said
    said = cli.succeeds("detect", photos, "--out", tmp_path / "pictures", *options)
    assert "7 images carry an EXIF orientation; they are drawn upright" in said
    with FeatureFile(tmp_path / "turned-back.h5") as back, FeatureFile(tmp_path / "upright.h5") as upright:
        for name in NAMES:
            turned = back.read(name).in_frame("upright").keypoints
            np.testing.assert_allclose(turned, upright.read(name).keypoints, atol=1e-4)
