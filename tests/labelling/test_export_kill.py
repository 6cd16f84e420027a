import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from superpoint.data.feature_file import FeatureFile
from superpoint.data.images import sample_photographs


def start(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def run(project: Path, *command: str) -> str:
    result = start(project, *command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 crops of photographs, two of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    samples = [image for _, image in sample_photographs()]
    rng = np.random.default_rng(0)
    for index in range(100):
        image = samples[index % len(samples)]
        y, x = (int(rng.integers(0, side - 96)) for side in image.shape[:2])
        Image.fromarray(image[y : y + 96, x : x + 96]).save(folder / f"{index}.jpg")
    (folder / "17.jpg").write_bytes(b"")
    (folder / "80.jpg").write_bytes((folder / "81.jpg").read_bytes()[:900])
    return folder


@pytest.mark.slow
def test_killed_at_20_random_moments(project: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.h5"
    printed = run(project, str(Path(__file__).with_name("export_program.py")), str(photos), str(out), "20", "1")
    found = re.match(r"met shards (\d+), last session ended with 0$", printed)
    assert found is not None, printed
    assert int(found[1]) > 5
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert len(FeatureFile(out)) == 98
    assert sorted(FeatureFile(out).skipped()) == ["17.jpg", "80.jpg"]
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{name}.h5{ending}" for name in ("labels", "whole") for ending in ("", ".summary.json")}


@pytest.mark.slow
def test_one_and_two_processes_agree(project: Path, photos: Path, tmp_path: Path) -> None:
    script = str(project / "scripts/export_detections.py")
    settings = ["--model", "magicpoint-lite", "resize=64", "shard_size=8", "adaptation.homographies=5"]
    for count in (1, 2):
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
        printed = run(project, *launcher, script, str(photos), "--out", str(tmp_path / f"{count}.h5"), *settings)
        assert "98 done, 2 skipped" in printed
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()
    run(project, script, str(photos), "--out", str(tmp_path / "plain.h5"), *settings)  # without torchrun
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()


@pytest.mark.slow
def test_a_broken_tar_of_one_process_ends_no_other(project: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(4):
        with tarfile.open(tmp_path / f"t-{number}.tar", "w") as tar:
            for index in range(20 * number, 20 * number + 10):
                tar.add(photos / f"{index}.jpg", f"{index}.jpg")
    whole = (tmp_path / "t-1.tar").read_bytes()
    (tmp_path / "t-1.tar").write_bytes(whole[: len(whole) // 2])
    script = str(project / "scripts/export_detections.py")
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", script]
    settings = ["--model", "magicpoint-lite", "resize=64", "shard_size=4", "adaptation=none", "--resume"]
    command = [*launcher, str(tmp_path / "t-{0..3}.tar"), "--out", str(tmp_path / "labels.h5"), *settings]
    result = start(project, *command)
    assert result.returncode != 0
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert re.search(r"t-1\.tar: breaks off after \d images .*; all other parts are finished", line)
    assert "gloo" not in result.stderr.lower()
    parts = {path.name[:6] for path in (tmp_path / "labels.h5.shards").glob("*-end.h5")}
    assert parts == {"000000", "000002", "000003"}
    (tmp_path / "t-1.tar").write_bytes(whole)
    assert "40 done, 0 skipped" in run(project, *command)
