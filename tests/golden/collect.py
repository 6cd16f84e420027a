"""Facts about what the product does, computed through its command line and its top-level API.

    python tests/golden/collect.py OUT.json [--keep 50]

`golden.json` holds those of the code as it was before it was rearranged, `test_golden.py` compares. Only the first part
of this file knows names of the product: commands, keys, files of a run. Where these are renamed, adapt that part, and
never golden.json.
"""

import argparse
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __name__ == "__main__":  # this checkout, not what is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import h5py
import numpy as np
import skimage.data
from PIL import Image, ImageDraw

Facts = dict[str, Any]

# --- every contact with the product -----------------------------------------------------------------------------------

NETWORKS = ("superpoint", "superpoint-lite", "magicpoint", "magicpoint-lite", "magicpoint-compact")
TINY_MODEL = ["model.encoder=lite", "model.head_channels=16"]
TINY_TRAINING = [
    "data.height=48", "data.width=64", "data.workers=0", *TINY_MODEL, "train.minutes=null", "train.batch_size=4",
    "train.precision=fp32", "train.device=cpu", "train.log_every=1", "train.report=false", "validation.images=9",
    "validation.final_images=9",
]  # fmt: skip
# From pretrained weights: what 4 steps from nothing give is decided by the last digits of nearly equal numbers.
TINY_PAIRS = [
    "weights=magicpoint-compact", "model.encoder=compact", "model.head_channels=128", "model.descriptor_dim=16",
    "validation.pairs=4", "validation.final_pairs=4", "validation.height=64", "validation.width=80",
]  # fmt: skip
CLASSIFIER = [
    "data.height=24", "data.width=24", "data.workers=0", "augment.crop=padded", "augment.padding=2",
    "augment.test_resize=1", "model.name=two_convolutions", "optimizer.lr=0.05", "train.batch_size=15", "epochs=1",
    "train.precision=fp32", "train.device=cpu", "train.channels_last=false", "train.log_every=1", "train.report=false",
]  # fmt: skip
FINETUNE = [
    "labelling.resize=64", "labelling.backend=torch", "labelling.precision=fp32", "labelling.adaptation.homographies=2",
    "labelling.decode.threshold=0.001", "labelling.decode.max_keypoints=40", "training.data.height=48",
    "training.data.width=64",
    "training.data.workers=0", "training.train.minutes=null", "training.train.steps=4", "training.train.batch_size=2",
    "training.train.precision=fp32", "training.train.log_every=1", "training.train.report=false",
    "training.validation.images=2", "training.validation.final_images=9", "training.validation.pairs=2",
    "training.validation.final_pairs=2", "training.validation.height=64", "training.validation.width=80",
]  # fmt: skip
ROUND = [
    "data.height=48", "data.width=64", "data.workers=0", "data.curriculum=4", "train.minutes=null", "train.steps=4",
    "train.batch_size=2", "train.precision=fp32", "train.log_every=1", "train.report=false", "validation.images=4",
    "validation.final_images=9",
]  # fmt: skip
LABELLING = [
    "resize=64", "backend=torch", "precision=fp32", "adaptation.homographies=2", "decode.threshold=0.001",
    "decode.max_keypoints=40",
]  # fmt: skip
ADAPT = [
    "rounds=2", "labelling.weights=magicpoint-compact", *(f"labelling.{each}" for each in LABELLING),
    *(f"training.{each}" for each in ROUND), "training.model.encoder=compact", "training.model.head_channels=128",
]  # fmt: skip
PIPELINE = [
    "model.encoder=compact", "model.head_channels=16", "model.fine=4", "model.descriptor_dim=16",
    *(f"labels.{each}" for each in LABELLING), *(f"magicpoint.{each}" for each in ROUND),
    *(f"superpoint.{each}" for each in ROUND), "superpoint.validation.pairs=2", "superpoint.validation.final_pairs=2",
    "superpoint.validation.height=64", "superpoint.validation.width=80", "evaluation.generated_size=[64,80]",
    "evaluation.generated_pairs=1", "evaluation.max_keypoints=50", "evaluation.backend=torch",
    "evaluation.precision=fp32",
]  # fmt: skip
EXPORT = ["resize=240", "backend=torch", "precision=fp32", "decode.max_keypoints=200"]
PAIRS = [
    "generated_size=[240,320]", "generated_pairs=2", "max_keypoints=300", "iterations=1000", "gcransac_iterations=5000",
    "backend=torch", "precision=fp32",
]  # fmt: skip
SGD = ["optimizer.name=sgd", "optimizer.momentum=0.9", "train.clip_norm=0", "data.curriculum=0"]
# Short runs that the doctor examines: one that is well, and others broken by their settings.
EXAMINED = {
    "fine-tuned": [
        "weights=magicpoint-lite", "model.head_channels=128", "optimizer.lr=3e-4", "train.steps=40", "train.ema=0",
        "data.curriculum=0", "data.height=64", "data.width=96",
    ],
    "begun": ["train.steps=80", "optimizer.lr=6e-3", "schedule.name=constant", "train.ema=0", "data.curriculum=0"],
    "not a number": [*SGD, "train.steps=60", "optimizer.lr=1e9", "train.ema=0"],
    "rate too high": [*SGD, "train.steps=40", "optimizer.lr=30", "train.ema=0"],
    "rate too low": [
        "train.steps=120", "optimizer.lr=1e-7", "schedule.name=constant", "train.ema=0", "data.curriculum=0",
    ],
}  # fmt: skip


def command(*arguments: object) -> int:
    """The command line, in this process and silent; its exit code."""
    from superpoint.cli import main

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main([str(each) for each in arguments])
    except SystemExit as stopped:
        code = int(stopped.code or 0)
        if code not in (0, 1):
            print(f"{arguments[:2]} ended with {code}:\n{printed.getvalue()[-2000:]}", file=sys.stderr)
        return code
    return 0


def load(name: str) -> Any:
    import superpoint

    return superpoint.load_model(name, device="cpu", backend="torch", precision="fp32")


def detect(model: Any, image: np.ndarray) -> Any:
    """With .keypoints [N, 2], .scores [N] and .descriptors [N, D] or None, strongest first."""
    return model.detect(image)


def match(first: Any, second: Any, method: str) -> Any:
    """With .indices [M, 2] and .scores [M]."""
    import superpoint

    return superpoint.match(first, second, method)


def homography(first: Any, second: Any, matches: Any) -> tuple[np.ndarray | None, np.ndarray]:
    import superpoint

    matrix, inliers = superpoint.estimate_homography(first, second, matches)
    return matrix, inliers


def export_labels(images: Path, out: Path, weights: str, *more: str) -> int:
    return command("export-detections", images, "--out", out, "--model", weights, *EXPORT, *more)


def train_magicpoint(run: Path, *more: object) -> int:
    return command("train-magicpoint", *TINY_TRAINING, *more, f"run={run}")


def train_superpoint(run: Path, *more: object) -> int:
    return command("train-superpoint", *TINY_TRAINING, *TINY_PAIRS, *more, f"run={run}")


def train_classifier(run: Path, images: Path) -> int:
    return command("train-classifier", *CLASSIFIER, f"data.train={images}", f"run={run}")


def finetune(run: Path, images: Path) -> int:
    """Its run of train-superpoint is the folder `training` in `run`."""
    return command("finetune", f"images={images}", "weights=superpoint-lite", f"run={run}", *FINETUNE)


def adapt(run: Path, images: Path) -> tuple[int, list[Path]]:
    """Exit code and the runs of its rounds."""
    code = command("adapt", f"images={images}", f"run={run}", *ADAPT)
    return code, sorted(path.parent for path in run.rglob("metrics.jsonl"))


def pipeline(run: Path, images: Path) -> tuple[int, list[Path]]:
    """Exit code and the runs of its stages."""
    code = command("pipeline", f"images={images}", f"run={run}", *PIPELINE)
    return code, sorted(path.parent for path in run.rglob("metrics.jsonl"))


def evaluate_synthetic(out: Path) -> list[Facts]:
    command("evaluate", "synthetic", "--model", "magicpoint-compact", "scenes=18", "--out", out)
    return json.loads((out / "synthetic.json").read_text())


def evaluate_repeatability(images: Path, out: Path) -> list[Facts]:
    methods = "magicpoint-lite,adapted:magicpoint-compact,harris,sift,random"
    options = ("--extractors", methods, "--images", images, "pairs=2", "homographies=4")
    command("evaluate", "repeatability", *options, "--out", out)
    rows = json.loads((out / "repeatability.json").read_text())["results"]
    return [{"method": row["extractor"], **row} for row in rows]


def evaluate_pairs(images: Path, out: Path) -> Facts:
    methods = "superpoint-lite,magicpoint-compact,sift,orb"
    command("evaluate", "pairs", "--extractors", methods, "--images", images, "--gallery", 1, "--out", out, *PAIRS)
    content = json.loads((out / "pairs.json").read_text())
    summary = [{"method": row["extractor"], **row} for row in content["summary"]]
    return content | {"summary": summary}


def metrics(run: Path) -> list[Facts]:
    """Events of a run, one a line."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def findings(run: Path, out: Path, *more: object) -> list[Facts]:
    command("doctor", run, "--out", out, *(more or ("--no-range-test",)))
    return json.loads((out / "findings.json").read_text())["findings"]


def report(run: Path, out: Path) -> Path:
    command("report", run, "--out", out)
    return out


# --- images -----------------------------------------------------------------------------------------------------------

PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "coffee.png", "motorcycle_left.png", "chelsea.png", "coins.png", "brick.png",
    "gravel.png",
)  # fmt: skip


def photograph(name: str, longest: int) -> Image.Image:
    with Image.open(Path(skimage.data.__file__).parent / name) as file:
        image = file.convert("RGB")
    image.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    return image


def write_photographs(folder: Path, count: int, longest: int) -> Path:
    folder.mkdir()
    for name in PHOTOGRAPHS[:count]:
        photograph(name, longest).save(folder / name)
    return folder


def write_classes(folder: Path) -> Path:
    """25 squares, rings and crosses each, 24 x 24."""
    for label, name in enumerate(("squares", "rings", "crosses")):
        (folder / name).mkdir(parents=True)
        for index in range(25):
            rng = np.random.default_rng([label, index])
            image = Image.fromarray(rng.integers(0, 60, (24, 24, 3)).astype(np.uint8))
            x, y = rng.integers(8, 16, 2).tolist()
            colour = tuple(rng.integers(150, 256, 3).tolist())
            pen, box = ImageDraw.Draw(image), (x - 5, y - 5, x + 5, y + 5)
            if label == 0:
                pen.rectangle(box, fill=colour)
            elif label == 1:
                pen.ellipse(box, outline=colour)
            else:
                pen.line(box, fill=colour, width=2)
                pen.line((x - 5, y + 5, x + 5, y - 5), fill=colour, width=2)
            image.save(folder / name / f"{index}.png")
    return folder


# --- facts ------------------------------------------------------------------------------------------------------------


def rounded(value: Any, digits: int = 4) -> Any:
    return np.round(np.asarray(value, np.float64), digits).tolist()


def feature_facts(keep: int) -> Facts:
    """Of every network on four photographs; of those that describe also matches with a turned photograph."""
    facts: Facts = {}
    images = {name: np.asarray(photograph(name, 320)) for name in PHOTOGRAPHS[:4]}
    turned = np.asarray(photograph(PHOTOGRAPHS[0], 320).rotate(10, Image.Resampling.BICUBIC))
    for network in NETWORKS:
        model = load(network)
        found = {name: detect(model, image) for name, image in images.items()}
        facts[network] = {"images": {name: point_facts(each, keep) for name, each in found.items()}}
        first = found[PHOTOGRAPHS[0]]
        if first.descriptors is None:
            continue
        second = detect(model, turned)
        for method in ("mutual", "ratio", "dual_softmax"):
            matches = match(first, second, method)
            facts[network][f"matches {method}"] = {
                "count": len(matches.indices),
                "mean_score": rounded(np.mean(matches.scores)),
            }
        matches = match(first, second, "mutual")
        matrix, inliers = homography(first, second, matches)
        corners = np.array([[0, 0, 1], [319, 0, 1], [0, 319, 1], [319, 319, 1]]) @ np.asarray(matrix).T
        facts[network]["homography"] = {
            "corners": rounded(corners[:, :2] / corners[:, 2:], 3),
            "inliers": int(np.sum(inliers)),
        }
    return facts


def point_facts(features: Any, keep: int) -> Facts:
    facts: Facts = {
        "count": len(features.keypoints),
        "dtypes": [str(features.keypoints.dtype), str(features.scores.dtype)],
        "points": rounded(features.keypoints[:keep], 2),
        "scores": rounded(features.scores[:keep]),
        "image_size": list(features.image_size),
    }
    if features.descriptors is not None:
        facts["dimension"] = features.descriptors.shape[1]
        facts["descriptors"] = rounded(features.descriptors[:keep, :8], 3)
    return facts


def label_facts(work: Path, keep: int) -> Facts:
    facts: Facts = {}
    images = work / "three"
    kinds = {
        "adaptation": ("magicpoint-lite", "adaptation.homographies=4", "sharpen=true", "corners=20"),
        "plain": ("superpoint-lite", "adaptation=none"),
    }
    for kind, (weights, *more) in kinds.items():
        out = work / f"labels-{kind}.h5"
        facts[kind] = {"code": export_labels(images, out, weights, *more), "images": {}}
        with h5py.File(out) as file:
            facts[kind]["attributes"] = sorted(file.attrs)
            facts[kind]["names"] = sorted(file)
            for name in PHOTOGRAPHS[:3]:
                facts[kind]["images"][name] = group_facts(file[name], keep)
    return facts


def group_facts(group: Any, keep: int) -> Facts:
    scores = group["scores"][()].astype(np.float64)
    return {
        "attributes": sorted(group.attrs),
        "datasets": {key: [str(each.dtype), list(each.shape)] for key, each in sorted(group.items())},
        "count": len(scores),
        "points": rounded(group["keypoints"][:keep], 2),
        "scores": rounded(scores[:keep]),
    }


def synthetic_facts(work: Path) -> Facts:
    results = evaluate_synthetic(work / "synthetic")
    return {
        f"{each['detector']} {each['variant']} {eps}px {key}": rounded(value)
        for each in results
        for eps, pooled in each["pooled"].items()
        for key, value in {
            "ap": pooled["ap"],
            "mean_ap": each["mean_ap"][eps],
            "error": pooled["localisation_error"],
            "f1": pooled["best_f1"]["f1"],
        }.items()
    }


def repeatability_facts(work: Path) -> Facts:
    return {
        f"{row['method']} {kind} {eps}px {key}": rounded(row[kind][eps][key])
        for row in evaluate_repeatability(work / "three", work / "repeatability")
        for kind in ("viewpoint", "photometric")
        for eps in ("1", "3")
        for key in ("repeatability", "localisation_error")
    }


def pair_facts(work: Path) -> Facts:
    content = evaluate_pairs(work / "three", work / "pairs")
    figures = {
        f"{row['method']} {row.get('name') or 'all'} {name}": rounded(figure["value"])
        for row in content["summary"]
        if row["kind"] == "all"
        for name, figure in row["figures"].items()
        if figure["value"] is not None
    }
    return {"pairs": len(content["pairs"]), "figures": figures, "files": files(work / "pairs", 1)}


def files(folder: Path, depth: int = 2) -> list[str]:
    """Names down to `depth`; those of TensorBoard, which hold the time, by their folder only."""
    found = {path.relative_to(folder) for path in folder.rglob("*")}
    return sorted(str(path) for path in found if len(path.parts) <= depth and path.parts[:-1] != ("tensorboard",))


def run_facts(run: Path, code: int) -> Facts:
    events = metrics(run)
    losses = ("loss", "detector_loss", "descriptor_loss", "position_loss")
    return {
        "code": code,
        "events": [[event["step"], event["event"]] for event in events],
        "files": files(run),
        "initial": rounded(next(event["loss"] for event in events if event["event"] == "initial_loss"), 5),
        "steps": [
            {key: rounded(event[key], 5) for key in losses if key in event}
            for event in events
            if event["event"] == "train"
        ],
    }


def training_facts(work: Path) -> Facts:
    facts: Facts = {}
    run = work / "magicpoint"
    facts["magicpoint"] = run_facts(run, train_magicpoint(run, "train.steps=4"))
    run = work / "superpoint"
    facts["superpoint"] = run_facts(run, train_superpoint(run, "train.steps=4"))
    labels = [
        f"data.labels={work / 'labels-adaptation.h5'}", f"data.images={work / 'three'}", "data.kind=labelled",
        "data.holdout=0.4", "model.fine=4", "train.steps=4",
    ]  # fmt: skip
    for loss in ("dense_hinge", "sampled_hinge"):
        run = work / f"superpoint-{loss}"
        code = train_superpoint(run, *labels, f"descriptor.name={loss}", "descriptor.balance=auto")
        facts[f"superpoint labelled {loss}"] = run_facts(run, code)
    run = work / "classifier"
    facts["classifier"] = run_facts(run, train_classifier(run, work / "classes"))
    run = work / "finetune"
    code = finetune(run, work / "eight")
    facts["finetune"] = {**run_facts(run / "training", code), "outer_files": files(run, 1)}
    for name, several in {"adapt": adapt, "pipeline": pipeline}.items():
        code, runs = several(work / name, work / "eight")
        for part in runs:
            facts[f"{name} {part.relative_to(work / name)}"] = run_facts(part, code) | {
                "outer_files": files(work / name)
            }
    return facts


def doctor_facts(work: Path) -> Facts:
    facts: Facts = {}
    for name, settings in EXAMINED.items():
        run = work / f"examined {name}"
        code = train_magicpoint(run, *settings)
        facts[name] = {"code": code, "statuses": statuses(findings(run, work / f"doctor {name}"))}
    with_range = findings(work / "examined begun", work / "doctor range", "--range-test")
    facts["begun, with range test"] = {"code": 0, "statuses": statuses(with_range)}
    for name in ("superpoint", "classifier"):
        facts[name] = {"code": 0, "statuses": statuses(findings(work / name, work / f"doctor {name}"))}
    return facts


def statuses(found: list[Facts]) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in found}


def report_facts(work: Path) -> Facts:
    facts: Facts = {}
    for name in ("examined begun", "superpoint", "classifier"):
        text = report(work / name, work / f"{name}.html").read_text(encoding="utf-8")
        headings = re.findall(r"<(h[1-6])[^>]*>(.*?)</\1>", text, re.DOTALL)
        facts[name] = {
            "headings": [[level, re.sub(r"<[^>]*>", "", title).strip()] for level, title in headings],
            "pictures": {kind: text.count(f"data:image/{kind}") for kind in ("jpeg", "png", "svg+xml")},
        }
    return facts


def collect(work: Path, keep: int = 50) -> Facts:
    """All facts; `work` is an empty folder, `keep` how many of the strongest points of an image are told."""
    write_photographs(work / "three", 3, 320)
    write_photographs(work / "eight", 8, 96)
    write_classes(work / "classes")
    parts: dict[str, Callable[[], Facts]] = {
        "features": lambda: feature_facts(keep),
        "labels": lambda: label_facts(work, keep),
        "synthetic": lambda: synthetic_facts(work),
        "repeatability": lambda: repeatability_facts(work),
        "pairs": lambda: pair_facts(work),
        "training": lambda: training_facts(work),
        "findings": lambda: doctor_facts(work),
        "report": lambda: report_facts(work),
    }
    facts: Facts = {}
    for name, compute in parts.items():
        begun = time.monotonic()
        facts[name] = compute()
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the golden facts.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", type=int, default=50, help="strongest points told of each image")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts = collect(Path(folder), options.keep)
    text = json.dumps(facts, indent=0, separators=(",", ":"), sort_keys=True, allow_nan=False)
    text = re.sub(r"\n(?=[-0-9\[\]])", "", text)  # lists of numbers on one line
    options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
