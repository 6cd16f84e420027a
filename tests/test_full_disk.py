"""Every command that writes, on a disk that fills up: one line, exit code 2, no final name for what is half-written."""

from pathlib import Path

import pytest
import torch

from superpoint.cli import main
from superpoint.engine import RunFolder
from superpoint.inference.video import VideoFile
from tests.classification.data.drawings import write_folder
from tests.conftest import (
    TINY_PAIRS,
    TINY_TRAINING,
    CommandLine,
    files_of_at_most,
    photograph,
    under,
    write_photographs,
)
from tests.interop.test_weights import original_state
from tests.training.pipeline_program import SETTINGS as PIPELINE
from tests.training.test_finetune import SETTINGS as FINETUNE
from tests.training.test_finetune import weights

SHORT = " ".join([*TINY_TRAINING, "train.steps=2", "train.log_every=1", "train.report=false"])
CLASSES = "epochs=1 model.name=small data.workers=0 train.report=false"
PAIRS = " ".join(TINY_PAIRS)
MATCHER = (
    "data.views=2 data.height=64 data.width=96 data.keypoints=16 data.held_out_pairs=2 data.workers=0 model.layers=1 "
    "model.heads=2 model.channels=16 train.steps=2 train.batch_size=2 train.report=false"
)
RUNTIME = "--backend torch --precision fp32 --device cpu"
QUICK = [
    f"detect photos --out OUT --model net.safetensors {RUNTIME}",
    f"detect photos --out OUT/features.h5 --model net.safetensors {RUNTIME}",
    f"match photos/a.png photos/b.png --out OUT/m.png --model net.safetensors {RUNTIME}",
    f"track video.avi --out OUT/t.mp4 --model net.safetensors {RUNTIME}",
    f"track video.avi --out OUT/t.avi --model net.safetensors {RUNTIME}",
    f"track photos --out OUT --model net.safetensors {RUNTIME}",
    "export-detections photos --out OUT/l.h5 --model net.safetensors adaptation=none backend=torch",
    "labels import points --out OUT/l.h5",
    "labels show labels.h5 photos --out OUT/sheet.png",
    "export-weights --model net.safetensors --out OUT/w.safetensors",
    "convert-weights legacy.pth --out OUT/w.safetensors",
    "list-classes classes --out OUT/classes.csv",
    "summary --model net.safetensors --out OUT/net.svg",
    f"train-magicpoint {SHORT} run=OUT/run",
]
SLOW = [
    f"train-superpoint weights=null {SHORT} {PAIRS} run=OUT/run",
    f"train-classifier data.train=classes {CLASSES} run=OUT/run",
    f"train-matcher data.images=photos network=net.safetensors {MATCHER} run=OUT/run",
    "predict-classes classes --model classifier --out OUT/classes.csv",
    "study mnist data.train=classes epochs=1 data.workers=0 --rates 0.1 --momenta 0 --out OUT",
    "overfit model.encoder=lite data.height=48 data.width=64 --steps 4 --out OUT/overfit",
    f"find-lr {SHORT} --steps 10 --out OUT",
    f"lr-study {SHORT} --steps 6 --rates 1 --momenta 0 --out OUT",
    "doctor run --no-range-test --out OUT",
    "report run --out OUT/report.html",
    "visualize-dataset --columns 1 --out OUT",
    "visualize-heatmaps --model run --index 0 --out OUT",
    f"detect-samples --model net.safetensors --out OUT {RUNTIME}",
    "evaluate synthetic --model net.safetensors scenes=9 --out OUT",
    "evaluate repeatability --extractors harris,random --images photos --out OUT",
    "evaluate pairs --extractors sift,orb --images photos limit=2 --out OUT",
    "export-model --model net.safetensors --out OUT/net.onnx",
    "export-model --model net.safetensors --format openvino --out OUT/net.xml",
    "export-model --model net.safetensors --format torchscript --out OUT/net.pt",
    f"finetune images=photos weights=net.safetensors {' '.join(FINETUNE)} run=OUT/run",
    f"adapt images=photos labelling.weights=plain.safetensors labelling.resize=64 labelling.adaptation.homographies=2 "
    f"from_previous=false {' '.join(under('training', SHORT.split()))} run=OUT/run",
    f"pipeline images=photos {' '.join(PIPELINE)} run=OUT/run",
]  # fmt: skip


LIMITS = (0, 3_000, 40_000)  # bytes that a file may have


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read."""
    folder = tmp_path_factory.mktemp("material")
    photos = sorted(write_photographs(folder / "photos", 9).iterdir())
    for path, name in zip(photos, ("a", "b"), strict=False):
        path.rename(folder / f"photos/{name}.png")
    weights(folder / "net.safetensors", 16)
    weights(folder / "plain.safetensors", 0)
    torch.save(original_state(), folder / "legacy.pth")
    write_folder(folder / "classes", count=3)
    (folder / "points").mkdir()
    for name in ("a", "b"):
        (folder / f"points/{name}.png.txt").write_text("".join(f"{x} {x} 0.5\n" for x in range(60)))
    with VideoFile(folder / "video.avi", 10) as video:
        for shift in range(0, 72, 3):
            video.add(photograph("coffee", 96, 200)[:, shift : shift + 128, None].repeat(3, axis=2))
    network = ["--model", f"{folder}/net.safetensors"]
    for words in (
        ["export-detections", f"{folder}/photos", "--out", f"{folder}/labels.h5", *network, "adaptation=none"],
        ["train-magicpoint", *SHORT.split(), f"run={folder}/run"],
        ["train-classifier", f"data.train={folder}/classes", *CLASSES.split(), f"run={folder}/classifier"],
    ):
        with pytest.raises(SystemExit, match="0"):
            main(words)
    return folder


@pytest.mark.parametrize("command", [*QUICK, *(pytest.param(each, marks=pytest.mark.slow) for each in SLOW)])
def test_a_full_disk(
    command: str, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    for each in material.iterdir():
        (tmp_path / each.name).symlink_to(each)
    monkeypatch.chdir(tmp_path)
    codes = []
    for limit in LIMITS:
        out = Path("out") / str(limit)
        words = [word.replace("OUT", str(out)) for word in command.split()]
        out.mkdir(parents=True)
        with files_of_at_most(limit):
            code, _, error = cli(*words)
        codes.append(code)
        files = [path for path in out.rglob("*") if path.is_file()]
        if code:
            assert code == 2, error
            line = error.splitlines()[-1]
            assert line.startswith("error: "), error
            assert str(out) in line
            assert "File too large" in line or "full" in line
        else:
            assert files
        for path in files:
            assert path.suffix != ".tmp"
            whole = path.suffix == ".jsonl" and path.read_bytes().endswith(b"\n")  # may end at the limit by chance
            assert whole or path.stat().st_size < max(limit, 1), path  # a file that was cut off has the limit's size
    assert codes[0] == 2


@pytest.mark.slow
def test_a_training_goes_on_from_its_last_checkpoint(tmp_path: Path, cli: CommandLine) -> None:
    command = ["train-magicpoint", *SHORT.split(), f"run={tmp_path}/run"]
    cli.succeeds(*command)
    run = RunFolder(tmp_path / "run")
    before = run.last.read_bytes()
    for limit in (0, 9_000, run.metrics_file.stat().st_size + 100, len(before) - 1):
        with files_of_at_most(limit):
            error = cli(*command, "train.steps=4", "--resume").error
            assert "File too large" in error.splitlines()[-1]
        assert run.last.read_bytes() == before
    cli.succeeds(*command, "train.steps=4", "--resume")
    assert [entry["step"] for entry in run.history().events("train")] == [1, 2, 3, 4]
    assert run.history().note == ""
