"""Photographs within a lens circle, from detection to the doctor: nothing arises on the circle or outside it.

Each check is tried on planted mistakes too, and has to see them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from superpoint import load_model
from superpoint.config import AdaptationConfig, FinetuneConfig, LabellingConfig, PairDataConfig, PhotometricConfig
from superpoint.config.loading import load_config
from superpoint.data import masks
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.data.pairs import generated_pair
from superpoint.data.sources.photographs import LabelledPhotographs
from superpoint.data.training_set import held_out_photographs, training_pairs
from superpoint.data.warped_pairs import SingleViews
from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.labels import _masked
from superpoint.errors import UserError
from superpoint.evaluation.views import features_of_both
from superpoint.features import Features
from superpoint.geometry.cells import DUSTBIN
from superpoint.labelling.export import export_detections
from superpoint.visualize import save_image
from tests.conftest import CommandLine
from tests.drawing import clearance, lens

NAMES = {"a/astronaut.png": "a/astronaut.png.png", "b/c/coffee.png": "b/c/coffee.png", "camera.png": "camera.png.png"}
ADAPTED = {"adaptation": AdaptationConfig(homographies=6, memory=256)}
PLAIN = {"adaptation": AdaptationConfig(homographies=0)}


def not_resized(mask: masks.Mask, size: tuple[int, int]) -> masks.Mask:
    return np.pad(mask, [(0, max(new - old, 0)) for new, old in zip(size, mask.shape, strict=True)])


MISTAKES: dict[str, tuple[str, Callable[..., masks.Mask]]] = {
    "0 and 1 are exchanged": ("read_mask", lambda path, *_, read=masks.read_mask: ~read(path)),
    "not resized": ("resize_mask", not_resized),
    "x and y are swapped": ("fit_mask", lambda mask, size, *_, resize=masks.resize_mask: resize(mask.T, size)),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs, and masks of half their size that are named in both ways."""
    folder = tmp_path_factory.mktemp("lenses")
    for name, mask in NAMES.items():
        image, kept = lens(Path(name).stem)
        save_image(folder / "photos" / name, image)
        save_image(folder / "masks" / mask, masks.resize_mask(kept, (60, 80)))
    return folder / "photos"


def label(photos: Path, out: Path, **settings: Any) -> FeatureFile:
    given = {"weights": "magicpoint-lite", "resize": 0, "masks": str(photos.parent / "masks"), **settings}
    return FeatureFile(export_detections(LabellingConfig(**given), [str(photos)], out).path)


@pytest.fixture(scope="module")
def labels(photos: Path) -> FeatureFile:
    return label(photos, photos.parent / "labels.h5", **ADAPTED)


def sound(labels: FeatureFile) -> bool:
    """Whether all photographs have labels, and none lies on what is ignored or near it."""
    distances = [clearance(found.keypoints, lens(Path(name).stem)[1]) for name, found in labels]
    return min(map(len, distances)) > 10 and np.concatenate(distances).min() >= masks.MARGIN


@pytest.mark.parametrize("resize", [None, 100])
def test_detect(resize: int | None) -> None:
    (image, mask), model = lens(), load_model("superpoint-lite", device="cpu")
    whole, found = (model.detect(image, resize=resize, mask=each) for each in (None, mask))
    assert clearance(whole.keypoints, mask).min() < 2
    assert clearance(found.keypoints, mask).min() >= masks.MARGIN
    far = whole.keypoints[clearance(whole.keypoints, mask) > 12]
    assert len({tuple(xy) for xy in far} & {tuple(xy) for xy in found.keypoints}) > 0.95 * len(far)
    several = model.detect([image, image], resize=resize, mask=[masks.resize_mask(mask, (60, 80)), None])
    assert [clearance(each.keypoints, mask).min() >= masks.MARGIN for each in several] == [True, False]
    with pytest.warns(UserWarning, match="mask of image: it keeps nothing"):
        assert not len(model.detect(image, resize=resize, mask=torch.zeros(120, 160)))
    with pytest.raises(UserError, match="expected the aspect ratio"):
        model.detect(image, mask=mask.T)
    with pytest.raises(ValueError, match="found 1 masks, expected 2"):
        model.detect([image, image], mask=[mask])


@pytest.mark.parametrize("settings", [ADAPTED, ADAPTED | {"sharpen": True, "corners": 20.0}, PLAIN])
def test_labels(photos: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    assert not sound(label(photos, tmp_path / "whole.h5", **settings, masks=None))
    assert sound(label(photos, tmp_path / "labels.h5", **settings))


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_photograph_with_an_orientation(tmp_path: Path, orientation: int) -> None:
    """Its mask, named as COLMAP's, is of the stored pixels, as are labels; the network sees both upright."""
    image, mask = lens()
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos/a.jpg", exif=exif, quality=95)
    save_image(tmp_path / "masks/a.jpg.png", mask)
    found = load_model("superpoint-lite", device="cpu").detect(tmp_path / "photos/a.jpg", mask=mask, frame="stored")
    labels = label(tmp_path / "photos", tmp_path / "labels.h5", **PLAIN)
    for each in (found, labels.read("a.jpg")):
        assert len(each) > 10
        assert clearance(each.keypoints, mask).min() >= masks.MARGIN
    for frame in ("stored", "upright"):
        labels = label(tmp_path / "photos", tmp_path / f"{frame}.h5", frame=frame, **PLAIN)
        gray, points, kept = LabelledPhotographs(labels, tmp_path / "photos", masks=tmp_path / "masks")[0]
        assert kept is not None
        assert (gray[kept] > 30).mean() > 0.99
        assert len(points) == len(labels.read("a.jpg"))


def training(photos: Path, labels: FeatureFile) -> PairDataConfig:
    files: dict[str, Any] = {"labels": str(labels.path), "images": str(photos), "masks": str(photos.parent / "masks")}
    still = PhotometricConfig(enable=False)
    return PairDataConfig(kind="labelled", **files, holdout=0.4, height=96, width=128, curriculum=0, photometric=still)


def trespasses(config: PairDataConfig) -> bool:
    """Whether a valid cell or a correspondence of a view lies on its black, or near it."""
    found = False
    for index in range(8):
        sample = training_pairs(config, 0)[index]
        for view in "ab":
            image, valid = sample[f"image_{view}"][0].numpy(), sample[f"valid_{view}"].numpy()
            near = cv2.dilate((image < 30).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            x, y = np.rint(sample[f"correspondences_{view}"][sample["matched"]].numpy()).astype(int).T
            found |= bool((near.reshape(12, 8, 16, 8).any(axis=(1, 3)) & valid).any() or near[y, x].any())
    return found


def test_training(photos: Path, labels: FeatureFile, tmp_path: Path) -> None:
    config = training(photos, labels)
    samples = training_pairs(config, 0)
    assert not trespasses(config)
    assert any(((samples[index]["target_a"] != DUSTBIN) & samples[index]["valid_a"]).any() for index in range(8))
    (image, points, valid), *_ = held_out_photographs(config, 1)
    assert not valid[cv2.dilate((image < 30).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0].any()
    assert masks.on_mask(points, valid).mean() > 0.9
    # Keypoints planted on what is ignored, or just within the circle, change nothing: no target, no correspondence.
    planted = {}
    for name, found in labels:
        ignored = np.argwhere(~masks.inner(lens(Path(name).stem)[1]))[::7, ::-1]
        xy, scores = np.concatenate([found.keypoints, ignored]), np.r_[found.scores, np.ones(len(ignored))]
        planted[name] = Features(xy, scores, None, found.image_size)
    save_features(tmp_path / "planted.h5", planted, {"frame": labels.frame})
    others = training_pairs(training(photos, FeatureFile(tmp_path / "planted.h5")), 0)
    for index in range(4):
        assert all(torch.equal(value, others[index][key]) for key, value in samples[index].items())


def masks_of(config: PairDataConfig) -> Any:
    pairs: Any = training_pairs(config, 0)
    nothing: Any = None
    case = Case(load_config(FinetuneConfig).training, nothing, nothing, nothing, photographs=pairs.source)
    return _masked(case, [SingleViews(pairs)[0]])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_seen(
    photos: Path, labels: FeatureFile, tmp_path: Path, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, *MISTAKES[mistake])
    assert not sound(label(photos, tmp_path / "labels.h5", **PLAIN))
    assert trespasses(training(photos, labels))
    found = masks_of(training(photos, labels))
    assert found.status.value == "FAIL"
    assert mistake in found.cause


def test_the_doctor_knows_masks(photos: Path, labels: FeatureFile, tmp_path: Path) -> None:
    found = masks_of(training(photos, labels))
    assert found.status.value == "PASS"
    assert "0.0% of the labels lie on what is ignored" in found.evidence
    found = masks_of(training(photos, label(photos, tmp_path / "whole.h5", **ADAPTED, masks=None)))
    assert found.status.value == "WARN"
    assert "made without the masks" in found.cause


def test_evaluation_counts_what_is_kept() -> None:
    image, mask = lens(height=240, width=320)
    grid = np.stack(np.meshgrid(np.arange(0, 160, 2), np.arange(0, 120, 2)), axis=-1).reshape(-1, 2)
    for kind in ("viewpoint", "photometric"):
        pair = generated_pair(image, "lens", 0, kind, (120, 160), 0, mask)
        views = pair.image_a, pair.image_b if kind == "viewpoint" else pair.image_a
        for found, view in zip(features_of_both(lambda _: Features(grid), pair), views, strict=True):
            assert clearance(found.keypoints, view > 20).min() >= masks.MARGIN
            assert len(found) > 0.5 * (view > 20).mean() * len(grid)
    plain = generated_pair(image, "lens", 0, "viewpoint", (120, 160), 0)
    assert len(features_of_both(lambda _: Features(grid), plain)[0]) == len(grid)


def test_on_the_command_line(photos: Path, tmp_path: Path, cli: CommandLine) -> None:
    (tmp_path / "masks/b/c").mkdir(parents=True)
    save_image(tmp_path / "masks/b/c/coffee.png", np.zeros((12, 16), np.uint8))
    (tmp_path / "masks/camera.png").write_bytes(b"damaged")
    given = ("--model", "magicpoint-lite", "--masks", tmp_path / "masks", "--out")
    for out in (tmp_path / "found.h5", tmp_path / "pictures"):
        said = " ".join(cli.succeeds("detect", photos, *given, out).replace("│", "").split())
        assert "1 of 3 images have no mask" in said
        assert "mask camera.png: cannot be read as a mask" in said
    with FeatureFile(tmp_path / "found.h5") as found:
        assert [len(found.read(name)) > 0 for name in found.names()] == [True, False]
        assert list(found.skipped()) == ["camera.png"]
    save_image(tmp_path / "masks/a/astronaut.png", np.ones((12, 16), np.uint8))
    assert "made from other" in cli.fails("detect", photos, *given, tmp_path / "found.h5", "--resume")
    for folder, said in ((photos / "b", "found no mask of the 3 images"), (photos, "found the folder of the images")):
        assert said in cli.fails("detect", photos, "--masks", folder, "--out", tmp_path / "x")
    given = (photos, "--masks", photos.parent / "masks", "--out", tmp_path / "sheet.png")
    cli.succeeds("labels", "show", tmp_path / "found.h5", *given)
    assert "expected the photographs" in cli.fails("evaluate", "pairs", *given[1:3])
    recipe = load_config(FinetuneConfig, None, ["masks=folder"])
    assert recipe.of_training(recipe.training.model, "w", "l", "i").data.masks == "folder"
    with pytest.raises(UserError, match=r"labelling\.masks: is set by this recipe"):
        load_config(FinetuneConfig, None, ["labelling.masks=folder"])
