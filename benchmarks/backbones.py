"""Encoders after equal minutes of training: size, time of an image, steps, average precision on synthetic shapes.

    python benchmarks/backbones.py --minutes 10 --encoders lite resnet18 vgg16_bn mobilenet_v2 --out runs/backbones
    python benchmarks/backbones.py --minutes 10 --encoders resnet18 resnet18:late   # the other plan, see the encoders

Each trains by --config (the quick recipe) from random weights in a run folder of its own; one that is finished there is
not trained again, one that was stopped goes on. Then AP of the averaged weights on --images scenes (clean and noisy,
matches within 4 px), parameters and GFLOP (a multiply-add is 2) with both ends of the encoder, and the median time of
the network for an image of 240x320. Prints a Markdown table. A slower machine does fewer steps in its minutes, and the
order of the encoders depends on that: the table is about a budget, not about what the encoders could reach.

On a machine that does other work as well, equal minutes are not equal work: --cpu-time counts the processor time of
this process in place of the clock, in training (loader processes left out) and for the image. With one thread these are
minutes of one core:

    OMP_NUM_THREADS=1 python benchmarks/backbones.py --minutes 5 --cpu-time -- data.workers=0
"""

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from lightning_fabric import Fabric

from superpoint.config import MagicPointConfig, load_config
from superpoint.data.training_set import training_samples
from superpoint.diagnostics.summary.layers import summarise
from superpoint.engine import make_fabric
from superpoint.files import write_atomically
from superpoint.models import load_network
from superpoint.training.detector_validation import DetectorValidation
from superpoint.training.magicpoint import fit_detector

HEIGHT, WIDTH = 240, 320
TIMED = 15  # forward passes


def measure(encoder: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one encoder within its budget and measure it; the result is kept in its run folder."""
    name, _, plan = encoder.partition(":")
    run = arguments.out / encoder.replace(":", "_")
    report = run / "backbone.json"
    if report.exists():
        return json.loads(report.read_text())
    overrides = [
        f"run={run}",
        f"model.encoder={name}",
        f"train.minutes={arguments.minutes}",
        "train.validate_every=1000000",  # at the end only: validation would come out of nobody's minutes
        f"validation.images={arguments.images}",
        *([f"model.encoder_plan={plan}"] if plan else []),
        *arguments.overrides,
    ]
    config = load_config(MagicPointConfig, arguments.config, overrides)
    fabric = make_fabric(config.train)
    dataset = training_samples(config.data, config.seed)
    validate = DetectorValidation(config)
    with processor_time() if arguments.cpu_time else contextlib.nullcontext():
        trained = fit_detector(config, fabric, dataset, validate, resume=run.exists())
    if trained.signal is not None:
        raise SystemExit(f"{encoder}: stopped at step {trained.step}; the same command goes on from there")
    model = load_network(run)
    metrics = trained.metrics or validate(model)  # none if all its minutes were spent before it was stopped
    summary = summarise(model, HEIGHT, WIDTH)
    result = {
        "encoder": encoder,
        "minutes": arguments.minutes,
        "steps": trained.step,
        "parameters": summary.parameters,
        "gflop": summary.flops / 1e9,
        "ms": forward_time(model, fabric, time.process_time if arguments.cpu_time else time.perf_counter),
        **{key: metrics.get(key) for key in ("clean/ap@4", "noisy/ap@4", "clean/localisation@4")},
    }
    write_atomically(report, lambda file: file.write(json.dumps(result, indent=1).encode()))
    return result


def processor_time() -> AbstractContextManager[Any]:
    """Let the loop count the processor time of this process as the time that training takes."""
    return mock.patch("superpoint.engine.loop.time", SimpleNamespace(monotonic=time.process_time))


def forward_time(model: torch.nn.Module, fabric: Fabric, clock: Callable[[], float]) -> float:
    """Median milliseconds of the network for one image, at the precision it was trained with."""
    image = torch.rand(1, 1, HEIGHT, WIDTH, device=fabric.device).contiguous(memory_format=torch.channels_last)
    model.to(fabric.device)
    seconds = []
    with torch.inference_mode(), fabric.autocast():
        for _ in range(TIMED):
            began = clock()
            float(model(image)["logits"].sum())  # waits for a GPU
            seconds.append(clock() - began)
    return 1000 * statistics.median(seconds)


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown, best precision under noise first."""
    lines = [
        "| encoder | parameters | GFLOP | ms | steps | AP clean | AP noisy | localisation |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(results, key=lambda row: -row["noisy/ap@4"]):
        lines.append(
            f"| {row['encoder']} | {row['parameters'] / 1e6:.2f} M | {row['gflop']:.2f} | {row['ms']:.0f} | "
            f"{row['steps']:,} | {row['clean/ap@4']:.3f} | {row['noisy/ap@4']:.3f} | "
            f"{row['clean/localisation@4'] or float('nan'):.2f} px |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--cpu-time", action="store_true", help="minutes of processor time instead of the clock's")
    parser.add_argument("--encoders", nargs="+", default=["lite", "resnet18", "vgg16_bn", "mobilenet_v2"])
    parser.add_argument("--config", default="configs/magicpoint/quick.yaml")
    parser.add_argument("--images", type=int, default=360)
    parser.add_argument("--out", type=Path, default=Path("runs/backbones"))
    parser.add_argument("overrides", nargs="*", help="key.path=value of the configuration, after a --")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(table([measure(encoder, arguments) for encoder in arguments.encoders]))


if __name__ == "__main__":
    main()
