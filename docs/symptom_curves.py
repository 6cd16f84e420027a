"""The loss curves of docs/troubleshooting.md: short runs, one healthy, the others each with one fault.

python docs/symptom_curves.py      # from the top of the repository; about two minutes

Writes docs/images/symptoms/*.png.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from superpoint.config import MagicPointConfig, load_config
from superpoint.data.training_set import training_samples
from superpoint.engine import RunFolder, make_fabric, train
from superpoint.errors import UserError
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model
from superpoint.training.detector_validation import DetectorValidation, detector_objective
from superpoint.visualize import BLUE, VERMILION, plot_color, save_figure

OUT = Path(__file__).parent / "images/symptoms"
BASE = [
    *["model.encoder=lite", "model.head_channels=32", "data.height=64", "data.width=96", "data.curriculum=0"],
    *["data.workers=0", "train.minutes=null", "train.batch_size=4", "train.log_every=1", "train.ema=0"],
    *["train.validate_every=40", "validation.images=36", "train.precision=fp32"],
]
BLOWN_UP = ["optimizer.name=sgd", "optimizer.momentum=0.9", "train.clip_norm=0", "schedule.warmup=0"]
HEALTHY = "healthy"
SIZE = 15  # pt: readable where the page is as narrow as a phone
RUNS = {
    HEALTHY: ["train.steps=300"],
    "gradient_jump": ["train.steps=120", "optimizer.lr=30", *BLOWN_UP],
    "learning_rate": ["train.steps=300", "optimizer.lr=1e-6"],
    "nonfinite": ["train.steps=120", "optimizer.lr=1e9", *BLOWN_UP],
    "initial_loss": ["train.steps=120"],  # and the head is not initialised
    "overfitting": ["train.steps=600", "data.photometric.enable=false", "data.homography.enable=false"],  # four images
}
TITLES = {
    "gradient_jump": "SGD, rate 30, momentum 0.9, no clipping",
    "learning_rate": "rate 1e-6",
    "nonfinite": "SGD, rate 1e9: ends in NaN",
    "initial_loss": "last layer initialised with a deviation of 1",
    "overfitting": "four images and no others",
}


class Four(Dataset[dict[str, torch.Tensor]]):
    """The first four samples again and again."""

    def __init__(self, samples: Any) -> None:
        self.samples = [samples[index] for index in range(4)]

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.samples[index % 4]


def history(name: str, folder: Path) -> list[dict[str, Any]]:
    """Metrics of one run."""
    config = load_config(MagicPointConfig, None, [*BASE, *RUNS[name], f"run={folder}"])
    samples = training_samples(config.data, config.seed)
    dataset = Four(samples) if name == "overfitting" else samples
    model, objective = build_model(config.model, config.seed), detector_objective(config)
    if name == "initial_loss":
        torch.nn.init.normal_(model.detector.logits.weight, std=1.0, generator=torch.Generator().manual_seed(0))
    else:
        objective.initialise(model.detector)
    with RunFolder.open(folder, config="") as run:
        try:
            train(
                fabric=make_fabric(replace(config.train, device="cpu")),
                model=model,
                objective=objective,
                dataset=dataset,
                config=config.train,
                optimizer=config.optimizer,
                schedule=config.schedule,
                run=run,
                validate=DetectorValidation(config),
                seed=config.seed,
                workers=0,
            )
        except UserError as error:
            print(f"{name}: {error}")
        return run.history().entries


def curve(entries: list[dict[str, Any]], event: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of one kind of line; the means of five neighbours for training, where batches differ."""
    rows = [(entry["step"], entry["loss"]) for entry in entries if entry["event"] == event and entry["loss"]]
    steps, losses = np.array(rows, float).reshape(-1, 2).T
    if event == "train" and len(losses) > 20:
        losses = np.convolve(np.pad(losses, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    return steps, losses


def draw(name: str, healthy: list[dict[str, Any]], faulty: list[dict[str, Any]]) -> Figure:
    """Loss over steps: the healthy run thin and grey, the faulty one in colour, its validation dashed."""
    figure = Figure(figsize=(7.16, 4.6), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    blue, vermilion = plot_color(BLUE), plot_color(VERMILION)
    axes.axhline(INITIAL_DETECTOR_LOSS, color="0.6", linestyle=":", linewidth=2, label="ln 65, untrained")
    axes.plot(*curve(healthy, "train"), color="0.6", linewidth=2, label="healthy run")
    axes.plot(*curve(faulty, "train"), color=vermilion, linewidth=2.5, label="this run")
    if name == "overfitting":
        axes.plot(*curve(faulty, "validate"), "--o", color=blue, markersize=5, linewidth=2, label="its validation")
    steps, losses = curve(faulty, "train")
    if name == "nonfinite":
        axes.plot(steps[-1], losses[-1], "x", color=vermilion, markersize=14, markeredgewidth=3, label="NaN")
    limit = max(steps[-1], 60)
    axes.set(yscale="log", xlim=(0, limit))
    axes.set_title(TITLES[name], fontsize=SIZE)
    axes.set_xlabel("step", fontsize=SIZE)
    axes.set_ylabel("loss (nats)", fontsize=SIZE)
    axes.tick_params(labelsize=SIZE, which="both")
    low, high = axes.get_ylim()
    wide = high / low > 1e3
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if not wide:
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=SIZE, ncols=2, frameon=False)
    return figure


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: history(name, Path(folder) / name) for name in RUNS}
    for name in RUNS:
        if name != HEALTHY:
            save_figure(OUT / f"{name}.png", draw(name, runs[HEALTHY], runs[name]))


if __name__ == "__main__":
    main()
