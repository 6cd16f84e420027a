import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.config import AdaptationConfig, LabellingConfig, ModelConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import SAME_NAME
from superpoint.data.sources import source as sources
from superpoint.errors import UserError
from superpoint.labelling.export import export_detections
from superpoint.models import build_model
from superpoint.models.weights import save_weights
from tests.conftest import photograph
from tests.data.recipes.test_unpack import make_tar
from tests.labelling.export_program import CONFIG as KILLED

CONFIG = replace(KILLED, adaptation=AdaptationConfig(homographies=0))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (folder := tmp_path / "photos").mkdir()
    for index in range(10):
        Image.fromarray(np.roll(photograph("camera", 72, 96), 7 * index, axis=1)).save(folder / f"{index}.jpg")
    return folder


def export(images: object, out: Path, config: LabellingConfig = CONFIG, **options: object) -> FeatureFile:
    result = export_detections(config, [str(images)], out, **options)  # type: ignore[arg-type]
    return FeatureFile(result.path)


def test_a_folder(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = export(photos, tmp_path / "new/folder/labels.h5")
    assert labels.names() == [f"{index}.jpg" for index in range(10)]
    features = labels.read("3.jpg")
    assert features.image_size == (96, 72)
    assert len(features.keypoints) > 5
    assert features.scores is not None
    assert (np.diff(features.scores) <= 0).all()
    assert features.keypoints[:, 0].max() > 64  # in pixels of the original
    assert features.uncertainty == pytest.approx(1.5)
    assert features.views is None
    summary = json.loads((tmp_path / "new/folder/labels.h5.summary.json").read_text())
    assert summary["images"] == 10
    assert summary["keypoints"] == sum(len(each.keypoints) for _, each in labels)
    assert "resize: 64" in labels.attributes["config"]
    assert len(labels.attributes["model"]) == 16
    assert "10 done, 0 skipped" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "new/folder").iterdir()) == ["labels.h5", "labels.h5.summary.json"]


def test_the_content_does_not_depend_on_shards_or_readers(photos: Path, tmp_path: Path) -> None:
    one = export(photos, tmp_path / "one.h5")
    two = export(photos, tmp_path / "two.h5", replace(CONFIG, readers=5))
    assert one.path.read_bytes() == two.path.read_bytes()
    three = export(photos, tmp_path / "three.h5", replace(CONFIG, shard_size=3))
    for name in one.names():
        np.testing.assert_array_equal(one.read(name).keypoints, three.read(name).keypoints)


def test_bad_images_end_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    gray = photograph("camera", 160, 200)
    rgb = np.dstack([gray] * 3)
    Image.fromarray(rgb).save(folder / "good.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes((folder / "good.jpg").read_bytes()[:3000])
    (folder / "text.jpg").write_text("no image")
    Image.fromarray((7000 + 2 * gray.astype(np.uint16)).astype(np.uint16)).save(folder / "wide.png")
    Image.fromarray(np.dstack([rgb, gray])).save(folder / "rgba.png")
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(gray).save(folder / "animated.gif", save_all=True, append_images=[Image.fromarray(255 - gray)])
    Image.new("L", (1, 1), 9).save(folder / "one.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (3000, 7), np.uint8)).save(folder / "thin.png")
    header = (folder / "one.png").read_bytes()  # that claims 20000 x 10000 pixels
    (folder / "claims.png").write_bytes(
        header[:16] + (20000).to_bytes(4, "big") + (10000).to_bytes(4, "big") + header[24:]
    )
    labels = export(folder, tmp_path / "labels.h5")
    assert set(labels.names()) == {*("good.jpg", "wide.png", "rgba.png", "cmyk.jpg", "animated.gif", "one.png")}
    skipped = labels.skipped()
    assert skipped["empty.jpg"] == "found an empty file, expected an image"
    assert "not an image" in skipped["text.jpg"]
    assert "truncated" in skipped["truncated.jpg"]
    assert "1 x 64 pixels makes it too thin" in skipped["thin.png"]
    assert set(skipped) == {"empty.jpg", "text.jpg", "truncated.jpg", "claims.png", "thin.png"}
    assert str(tmp_path) not in json.dumps(skipped)
    assert len(labels.read("cmyk.jpg").keypoints) > 5
    output = capsys.readouterr()
    assert "6 done, 5 skipped" in output.out
    assert "5 of 11 images were skipped" in output.out
    assert "skipped empty.jpg: found an empty file" in output.err


def test_images_that_memory_or_decoders_refuse_are_skipped(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = {"2.jpg": MemoryError(), "3.jpg": cv2.error("OpenCV: bad\nthing"), "4.jpg": ValueError("odd")}
    read_image = sources.read_image

    def read(path: Path, channels: int) -> np.ndarray:
        if path.name in errors:
            raise errors[path.name]
        return np.zeros((64, 700), np.uint8) if path.name == "5.jpg" else read_image(path, channels)

    monkeypatch.setattr(sources, "read_image", read)
    # There is room for 96 x 72, not for 700 x 64.
    monkeypatch.setattr("superpoint.labelling.memory.free_memory", lambda _: 96 * 72 * 1000)
    labels = export(photos, tmp_path / "labels.h5", replace(CONFIG, resize=0))
    assert len(labels) == 6
    skipped = labels.skipped()
    assert skipped.pop("5.jpg").startswith("a view of 700x64 pixels needs about")
    assert skipped == {"2.jpg": "does not fit into the memory", "3.jpg": "OpenCV: bad thing", "4.jpg": "odd"}


def test_the_file_says_what_auto_was(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session with another runtime must not go on with the shards of this one."""
    stage = "superpoint.labelling.export.resolve"
    auto = replace(CONFIG, backend="auto", precision="auto")
    monkeypatch.setattr(stage, lambda *_: ("torch", "fp32", "cpu"))
    mend = stop_after(monkeypatch, 1)
    with pytest.raises(UserError, match="No space"):
        export(photos, tmp_path / "labels.h5", auto)
    mend()
    for choice, message in (
        (("openvino", "fp32", "cpu"), "backend: found openvino, .* were made with torch"),
        (("torch", "bf16", "cpu"), "precision: found bf16, .* were made with fp32"),
    ):
        monkeypatch.setattr(stage, lambda *_, choice=choice: choice)
        with pytest.raises(UserError, match=message):
            export(photos, tmp_path / "labels.h5", auto, resume=True)
    monkeypatch.setattr(stage, lambda *_: ("torch", "fp32", "cpu"))
    labels = export(photos, tmp_path / "labels.h5", auto, resume=True)
    assert "backend: torch\nprecision: fp32\ndevice: cpu\n" in labels.attributes["config"]


def test_hdf5_and_tars(photos: Path, tmp_path: Path) -> None:
    expected = export(photos, tmp_path / "files.h5")
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for path in photos.iterdir():
            file[path.name] = np.frombuffer(path.read_bytes(), np.uint8)
    paths = sorted(photos.iterdir(), key=lambda path: int(path.stem))
    for number in range(2):
        with tarfile.open(tmp_path / f"t-{number}.tar", "w") as tar:
            for path in paths[5 * number : 5 * number + 5]:
                tar.add(path, path.name)
    from_hdf5 = export(tmp_path / "images.h5", tmp_path / "from_hdf5.h5")
    from_tars = export(tmp_path / "t-{0..1}.tar", tmp_path / "from_tars.h5")
    for labels in (from_hdf5, from_tars):
        assert labels.names() == expected.names()
        for name in labels.names():
            np.testing.assert_array_equal(labels.read(name).keypoints, expected.read(name).keypoints)


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> Callable[[], None]:
    """Let the writing of shard number `count` fail, as a full disk does; returns what mends it."""
    from superpoint.labelling import shards

    save, calls = shards.save_features, []

    def fail(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) > count:
            raise UserError("cannot be written (No space left on device)")
        save(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "save_features", fail)
    return lambda: monkeypatch.setattr(shards, "save_features", save)


def test_resume_decodes_nothing_twice(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export(photos, tmp_path / "whole.h5")
    mend = stop_after(monkeypatch, 2)
    out = tmp_path / "labels.h5"
    with pytest.raises(UserError, match=r"No space left on device.*the shards before it are whole"):
        export(photos, out)
    assert not out.exists()
    assert len(FeatureFile(tmp_path / "labels.h5.shards")) == 8
    mend()
    read: list[str] = []
    read_image = sources.read_image
    monkeypatch.setattr(sources, "read_image", lambda path, _: read.append(path.name) or read_image(path))
    with pytest.raises(UserError, match="go on by --resume"):
        export(photos, out)
    with pytest.raises(UserError, match=r"resize: found 48, .* were made with 64"):
        export(photos, out, replace(CONFIG, resize=48), resume=True)
    save_weights(tmp_path / "w.safetensors", build_model(ModelConfig(encoder="lite")), {"encoder": "lite"})
    with pytest.raises(UserError, match="weights: found hash"):
        export(photos, out, replace(CONFIG, weights=str(tmp_path / "w.safetensors")), resume=True)
    assert read == []
    photos.rename(tmp_path / "moved")
    labels = export(tmp_path / "moved", out, replace(CONFIG, readers=1), resume=True)
    assert sorted(read) == ["8.jpg", "9.jpg"]
    assert labels.path.read_bytes() == whole.path.read_bytes()


def test_images_that_vanish_or_appear(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mend = stop_after(monkeypatch, 1)
    with pytest.raises(UserError):
        export(photos, tmp_path / "labels.h5")
    mend()
    (photos / "2.jpg").unlink()  # labelled already
    (photos / "7.jpg").rename(photos / "00.jpg")
    labels = export(photos, tmp_path / "labels.h5", resume=True)
    assert labels.names() == [f"{index}.jpg" for index in range(10) if index != 7]
    assert labels.skipped() == {"7.jpg": "no such file, expected an image"}
    error = capsys.readouterr().err
    assert "1 images are new since the export began" in error
    assert "2 images are gone" in error


def test_a_finished_export_is_left_alone(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.h5"
    content = export(photos, out).path.read_bytes()
    with pytest.raises(UserError, match="exists already; take another --out"):
        export(photos, out)
    assert export(photos, out, replace(CONFIG, merge=False), resume=True).path == out
    with pytest.raises(UserError, match="made from other images or settings"):
        export(photos, out, replace(CONFIG, resize=48), resume=True)
    assert out.read_bytes() == content


def test_killed_between_merging_and_tidying_up(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labels.h5"
    with monkeypatch.context() as patch:
        patch.setattr("superpoint.labelling.export.summarise_labels", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(photos, out)
    assert out.exists()
    assert (tmp_path / "labels.h5.shards").exists()
    assert len(export(photos, out, resume=True)) == 10
    assert sorted(path.name for path in tmp_path.glob("labels*")) == ["labels.h5", "labels.h5.summary.json"]


def test_shards_may_be_the_result(photos: Path, tmp_path: Path) -> None:
    labels = export(photos, tmp_path / "labels.h5", replace(CONFIG, merge=False))
    assert labels.path == tmp_path / "labels.h5.shards"
    assert len(labels) == 10
    assert (tmp_path / "labels.h5.summary.json").exists()
    assert not (tmp_path / "labels.h5").exists()
    assert len(export(photos, tmp_path / "labels.h5", resume=True)) == 10  # merged after all
    assert (tmp_path / "labels.h5").exists()


def test_the_summary_is_that_of_the_file_and_of_the_shards(photos: Path, tmp_path: Path) -> None:
    (photos / "11.jpg").write_bytes(b"")
    config = replace(CONFIG, adaptation=AdaptationConfig(homographies=2))
    merged = export_detections(config, [str(photos)], tmp_path / "merged.h5")
    shards = export_detections(replace(config, merge=False), [str(photos)], tmp_path / "shards.h5")
    assert shards.summary == merged.summary
    assert merged.summary is not None
    assert (merged.summary.images, merged.summary.skipped, merged.summary.views) == (10, 1, 2)
    summary = (tmp_path / "merged.h5.summary.json").read_text()
    assert summary == (tmp_path / "shards.h5.summary.json").read_text()


def test_a_tar_that_breaks_off(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (photos / "0.jpg").read_bytes()
    names = [[f"{number}-{index}.jpg" for index in range(10)] for number in range(3)]
    for number in range(3):
        make_tar(tmp_path / f"t-{number}.tar", [(name, content) for name in names[number]], "w")
    whole = (tmp_path / "t-1.tar").read_bytes()
    (tmp_path / "t-1.tar").write_bytes(whole[: int(len(whole) * 0.7)])
    with pytest.raises(UserError, match=r"t-1\.tar: breaks off after \d images .*--resume, or keep_broken=true"):
        export(tmp_path / "t-{0..2}.tar", tmp_path / "labels.h5")
    assert len(FeatureFile(tmp_path / "labels.h5.shards")) == 24
    (tmp_path / "t-1.tar").write_bytes(whole)
    labels = export(tmp_path / "t-{0..2}.tar", tmp_path / "labels.h5", resume=True)
    assert labels.names() == [name for part in names for name in part]
    (tmp_path / "t-1.tar").write_bytes(whole[: int(len(whole) * 0.7)])
    kept = export(tmp_path / "t-{0..2}.tar", tmp_path / "kept.h5", replace(CONFIG, keep_broken=True))
    assert 25 < len(kept) < 30
    assert ["breaks off" in reason for reason in kept.skipped().values()] == [True]


def test_the_first_of_a_name_counts(photos: Path, tmp_path: Path) -> None:
    for number, letters in enumerate(("aab", "bc")):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for index, letter in enumerate(letters):
                tar.add(photos / f"{index}.jpg", f"{letter}.jpg")
    labels = export(tmp_path / "{0,1}.tar", tmp_path / "labels.h5")
    assert labels.names() == ["a.jpg", "b.jpg", "c.jpg"]
    assert json.loads((tmp_path / "labels.h5.summary.json").read_text())["images"] == 3
    assert labels.skipped() == {"a.jpg": SAME_NAME, "b.jpg": SAME_NAME}
