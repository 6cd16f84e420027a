"""Images a second of a MagicPoint training step: a naive loop against ours, in one run.

    python benchmarks/training.py [--encoder vgg lite] [--batch 8 32] [--steps 20]

naive   contiguous fp32, samples made in the loop, memory given back to the kernel at every step
ours    the project's loop: channels_last, bf16 where the CPU has it, loader process, freed memory kept

Each variant runs in a process of its own (how memory is handled holds for a whole process), alternating, so that a
slow minute of the machine hits both. Prints the ratio and the share of a step spent waiting for data.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from superpoint.config import DataConfig, ModelConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.models import build_model
from superpoint.training.objectives import DetectorObjective

WARM_UP = 4  # steps that are not counted


def model_config(encoder: str) -> ModelConfig:
    return ModelConfig(encoder=encoder, head_channels=256 if encoder == "vgg" else 128)


def naive(encoder: str, batch: int, steps: int) -> dict[str, float]:
    """What one writes first."""
    dataset = SyntheticShapes(DataConfig(curriculum=0), seed=0)
    model = build_model(model_config(encoder))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    objective = DetectorObjective()
    waited, start = 0.0, time.perf_counter()
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            waited, start = 0.0, time.perf_counter()
        asked = time.perf_counter()
        samples = [dataset[step * batch + i] for i in range(batch)]
        parts = {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
        waited += time.perf_counter() - asked
        optimizer.zero_grad()
        loss = objective(model, parts)["loss"]
        loss.backward()
        optimizer.step()
        loss.item()
    elapsed = time.perf_counter() - start
    return {"img_per_s": steps * batch / elapsed, "data_wait": waited / elapsed}


def ours(encoder: str, batch: int, steps: int) -> dict[str, float]:
    """The loop of the stage, without validation."""
    from superpoint.engine import RunFolder, make_fabric, train

    config = TrainConfig(steps=WARM_UP + steps, minutes=None, batch_size=batch, log_every=WARM_UP)
    fabric = make_fabric(config)
    data = DataConfig(curriculum=0)
    with tempfile.TemporaryDirectory() as folder, RunFolder.open(Path(folder) / "run", config="") as run:
        train(
            fabric=fabric,
            model=build_model(model_config(encoder)),
            objective=DetectorObjective(),
            dataset=SyntheticShapes(data, seed=0),
            config=config,
            optimizer=OptimizerConfig(),
            schedule=ScheduleConfig(),
            run=run,
            workers=data.workers,
        )
        lines = [entry for entry in run.history().entries if entry["event"] == "train" and entry["step"] > WARM_UP]
    return {
        "img_per_s": len(lines) / sum(1 / line["img_per_s"] for line in lines),
        "data_wait": statistics.mean(line["data_wait"] for line in lines),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--encoder", nargs="+", default=["lite", "vgg"])
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 32])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--variant", choices=["naive", "ours"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        function = {"naive": naive, "ours": ours}[arguments.variant]
        print(json.dumps(function(arguments.encoder[0], arguments.batch[0], arguments.steps)))
        return

    print(f"{'encoder':8s} {'batch':>5s} {'naive':>12s} {'ours':>12s} {'ratio':>6s}  waiting for data (ours)")
    for encoder in arguments.encoder:
        for batch in arguments.batch:
            results: dict[str, list[dict[str, float]]] = {"naive": [], "ours": []}
            for _ in range(arguments.rounds):
                for variant, found in results.items():
                    command = [sys.executable, __file__, "--variant", variant, "--encoder", encoder]
                    command += ["--batch", str(batch), "--steps", str(arguments.steps)]
                    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    found.append(json.loads(output.splitlines()[-1]))
            speed = {name: max(result["img_per_s"] for result in found) for name, found in results.items()}
            wait = min(result["data_wait"] for result in results["ours"])
            print(
                f"{encoder:8s} {batch:5d} {speed['naive']:6.1f} img/s {speed['ours']:6.1f} img/s "
                f"{speed['ours'] / speed['naive']:6.2f}  {wait:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
