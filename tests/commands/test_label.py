from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.cli import main
from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import sample_photographs
from tests.classification.data.drawings import write_folder
from tests.conftest import CommandLine

QUICK = ["--model", "magicpoint-lite", "resize=64", "backend=torch", "adaptation=none", "decode.threshold=0.005"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, image in sample_photographs()[:5]:
        small = cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
        (folder / name[0]).mkdir(exist_ok=True)
        Image.fromarray(small).save(folder / name[0] / f"{name}.png")
    (folder / "bad.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def labels(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("labels") / "labels.h5"
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["export-detections", str(photos), "--out", str(out), *QUICK])
    return out


def test_export(cli: CommandLine, photos: Path, labels: Path, tmp_path: Path) -> None:
    assert len(FeatureFile(labels)) == 5
    globbed = tmp_path / "globbed.h5"
    command = ["export-detections", f"{photos}/c/*.png", "--root", photos, "--out", globbed, *QUICK]
    assert "4 done, 0 skipped" in cli.succeeds(*command)
    assert FeatureFile(globbed).names() == [f"c/{each}.png" for each in ("camera", "chelsea", "coffee", "coins")]
    cli.fails(*command)
    cli.succeeds(*command, "--resume")


def test_what_exists_is_an_input(
    cli: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "year=2024").mkdir()
    (tmp_path / "year=2024/a.png").write_bytes((photos / "c/camera.png").read_bytes())
    cli.succeeds("export-detections", "year=2024/a.png", "--out", "a.h5", *QUICK)
    assert FeatureFile("a.h5").names() == ["a.png"]


def test_print_config(cli: CommandLine) -> None:
    words = ["--print-config", "adaptation=none", "--model", "magicpoint-lite", "resize=9"]
    output = cli.succeeds("export-detections", *words)
    for line in ("weights: magicpoint-lite", "resize: 9", "  homographies: 0"):
        assert f"\n{line}\n" in output


def test_info(cli: CommandLine, labels: Path) -> None:
    output = cli.succeeds("labels", "info", labels)
    for words in ("5 done, 1 skipped", "longest side 64 px, threshold 0.005", "descriptors: none"):
        assert words in output


def test_show(cli: CommandLine, labels: Path, photos: Path, tmp_path: Path) -> None:
    cli.succeeds("labels", "show", labels, photos, "--out", tmp_path / "a.png", "--count", 4, "--columns", 2)
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None
    assert sheet.shape == (4 + 2 * (120 + 16 + 4) + 24, 4 + 2 * (160 + 4), 3)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for name in FeatureFile(labels).names()[:2]:
            file[name] = np.asarray(Image.open(photos / name))
    output = cli.succeeds("labels", "show", labels, tmp_path / "images.h5", "--out", tmp_path / "b.png")
    assert "3 of 5 images missing" in output
    cli.fails("labels", "show", labels, tmp_path, "--out", tmp_path / "c.png")
    assert "expected the images" in cli.fails("labels", "show", labels, labels / "x.tar")


def test_check(cli: CommandLine, labels: Path, tmp_path: Path) -> None:
    assert "5 images, whole" in cli.succeeds("labels", "check", labels)
    points = FeatureFile(labels).read("c/camera.png").keypoints.tobytes()
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(labels.read_bytes().replace(points, bytes(len(points))))
    code, output, _ = cli("labels", "check", damaged)
    assert code == 1
    assert "c/camera.png: its checksum is not that of its content" in output
    assert "5 images, 1 problem" in output
    (tmp_path / "cut.h5").write_bytes(labels.read_bytes()[:3000])
    cli.fails("labels", "check", tmp_path / "cut.h5")


def test_a_list_of_classes(tmp_path: Path, cli: CommandLine) -> None:
    write_folder(tmp_path / "data", count=5)
    out = tmp_path / "lists" / "classes.csv"
    assert "12 training and 3 test images" in cli.succeeds("list-classes", tmp_path / "data", "--out", out)
    assert len(out.read_text().splitlines()) == 16
