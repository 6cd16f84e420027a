"""The commands export-detections and labels info, show, check."""

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from superpoint.cli import main
from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import sample_photographs
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
    with pytest.raises(SystemExit) as stopped:
        main(["export-detections", str(photos), "--out", str(out), *QUICK])
    assert stopped.value.code == 0
    return out


def test_export(cli: CommandLine, photos: Path, labels: Path, tmp_path: Path) -> None:
    assert len(FeatureFile(labels)) == 5
    globbed = tmp_path / "globbed.h5"
    code, output, error = cli("export-detections", f"{photos}/c/*.png", "--root", photos, "--out", globbed, *QUICK)
    assert code == 0, error
    assert "4 labelled, 0 skipped" in output
    assert FeatureFile(globbed).names() == [f"c/{each}.png" for each in ("camera", "chelsea", "coffee", "coins")]
    assert cli("export-detections", f"{photos}/c/*.png", "--root", photos, "--out", globbed, *QUICK)[0] == 2
    assert cli("export-detections", f"{photos}/c/*.png", "--root", photos, "--out", globbed, *QUICK, "--resume")[0] == 0


def test_what_exists_is_an_input(
    cli: CommandLine, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "year=2024").mkdir()
    (tmp_path / "year=2024/a.png").write_bytes((photos / "c/camera.png").read_bytes())
    code, _, error = cli("export-detections", "year=2024/a.png", "--out", "a.h5", *QUICK)
    assert code == 0, error
    assert FeatureFile("a.h5").names() == ["a.png"]


def test_print_config(cli: CommandLine) -> None:
    code, output, _ = cli(
        "export-detections", "--print-config", "adaptation=none", "--model", "magicpoint-lite", "resize=9"
    )
    assert code == 0
    assert "weights: magicpoint-lite\nresize: 9\n" in output
    assert "  homographies: 0\n" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--out: expected the feature file to write"),
        (["--out", "a.h5"], "images: found no input"),
        (["--out", "a.h5", "nowhere"], "nowhere: no such file or folder"),
        (["--out", "a.h5", "resise=9"], "resise"),
        (["--out", "a.h5", "resize=3"], "resize: found 3"),
        (["--out", "a.h5", "adaptation=no"], "adaptation=no: expected adaptation=none, or adaptation.KEY=VALUE"),
        (["--out", "a.h5", "backend=tpu"], "backend: found 'tpu', expected one of auto, torch"),
        (["--out", "a.h5", "shard_size=0"], "shard_size: found 0"),
        (["--out", "a.h5", "--model", "nowhere", "photos"], "nowhere: no such file, expected weights"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    cli: CommandLine, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = cli("export-detections", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_info(cli: CommandLine, labels: Path) -> None:
    code, output, _ = cli("labels", "info", labels)
    assert code == 0
    assert "5 labelled, 1 skipped" in output
    assert "skipped 1: found an empty file" in output
    assert "plain detection, longest side 64 px, threshold 0.005" in output
    assert "descriptors: none" in output


def test_show(cli: CommandLine, labels: Path, photos: Path, tmp_path: Path) -> None:
    code, output, _ = cli("labels", "show", labels, photos, "--out", tmp_path / "a.png", "--count", 4, "--columns", 2)
    assert code == 0
    assert "contact sheet" in output
    sheet = cv2.imread(str(tmp_path / "a.png"))
    assert sheet is not None
    assert sheet.shape == (4 + 2 * (120 + 16 + 4), 4 + 2 * (160 + 4), 3)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for name in FeatureFile(labels).names()[:2]:
            file[name] = np.asarray(Image.open(photos / name))
    code, output, _ = cli("labels", "show", labels, tmp_path / "images.h5", "--out", tmp_path / "b.png")
    assert code == 0
    assert "3 of 5 images missing" in output
    assert cli("labels", "show", labels, tmp_path, "--out", tmp_path / "c.png")[0] == 2
    assert "expected the images" in cli("labels", "show", labels, labels / "x.tar")[2]


def test_check(cli: CommandLine, labels: Path, tmp_path: Path) -> None:
    code, output, _ = cli("labels", "check", labels)
    assert (code, output.strip().rpartition(": ")[2]) == (0, "5 images, whole")
    points = FeatureFile(labels).read("c/camera.png").keypoints.tobytes()
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(labels.read_bytes().replace(points, bytes(len(points))))
    code, output, _ = cli("labels", "check", damaged)
    assert code == 1
    assert "c/camera.png: its checksum is not that of its content" in output
    assert "5 images, 1 problem" in output
    (tmp_path / "cut.h5").write_bytes(labels.read_bytes()[:3000])
    assert cli("labels", "check", tmp_path / "cut.h5")[0] == 2
