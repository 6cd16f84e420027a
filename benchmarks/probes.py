"""What a look into the network costs: training steps with and without a probe, alternating in one process.

    python benchmarks/probes.py [--rounds 12]

default   vgg, 120x160, batch 8, as configs/magicpoint/default.yaml
quick     lite, 96x128, batch 4, as configs/magicpoint/quick.yaml

Plain and probed steps alternate, so that a slow minute of the machine hits both; medians are compared. The share of
the training time is that of one probed step in every `train.probe_every`.
"""

import argparse
import statistics
import time

import torch

from superpoint.config import DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.engine import make_fabric
from superpoint.engine.optimizers import make_optimizer
from superpoint.models import build_model
from superpoint.training.objectives import DetectorObjective
from superpoint.training.probes import DetectorProbe

WARM_UP = 3  # pairs of steps that are not counted
CASES = {
    "default": (ModelConfig(), DataConfig(curriculum=0), 8),
    "quick": (ModelConfig(encoder="lite", head_channels=128), DataConfig(height=96, width=128, curriculum=0), 4),
}


def measure(name: str, rounds: int) -> tuple[float, float]:
    """Median seconds of a plain and of a probed step, without the time to make the samples."""
    model_config, data, size = CASES[name]
    fabric = make_fabric(TrainConfig())
    model, objective = build_model(model_config), DetectorObjective(3.0)
    objective.initialise(model.detector)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    wrapped, optimizer = fabric.setup(model, make_optimizer(model, OptimizerConfig()))
    wrapped.train()
    probe, dataset = DetectorProbe(), SyntheticShapes(data, seed=0)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for step in range(2 * (WARM_UP + rounds)):
        samples = [dataset[step * size + index] for index in range(size)]
        batch = {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
        probing = step % 2 == 1
        began = time.perf_counter()
        if probing:
            probe.before_step(model)
        fabric.backward(objective(wrapped, batch)["loss"])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if probing:
            probe.before_update(model)
        optimizer.step()
        if probing:
            probe.after_update(model)
        optimizer.zero_grad()
        seconds[probing].append(time.perf_counter() - began)
    return statistics.median(seconds[False][WARM_UP:]), statistics.median(seconds[True][WARM_UP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=12)
    rounds = parser.parse_args().rounds
    every = TrainConfig().probe_every
    measured = {name: measure(name, rounds) for name in CASES}
    print(f"{'case':8s} {'plain':>8s} {'probed':>8s} {'ratio':>6s}  share of the training time at 1 in {every}")
    for name, (plain, probed) in measured.items():
        share = (probed - plain) / (every * plain)
        print(f"{name:8s} {1e3 * plain:5.0f} ms {1e3 * probed:5.0f} ms {probed / plain:6.2f}  {share:.1%}")


if __name__ == "__main__":
    main()
