"""Stage find-lr: ramp the learning rate up over a short run and suggest one."""

from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from superpoint.config import MagicPointConfig
from superpoint.data.training_set import demand_labels, training_samples
from superpoint.engine import make_fabric
from superpoint.engine.lr_finder import RangeTest, lr_range_test
from superpoint.files import make_folder, write_json
from superpoint.models import build_model
from superpoint.training.detector_validation import detector_objective
from superpoint.visualize import save_figure


def find_lr(config: MagicPointConfig, out: str | Path, *, steps: int = 200) -> RangeTest:
    """Run a learning-rate range test with the recipe `config`; write lr_finder.png and .json to `out`."""
    demand_labels(config.data)
    folder = make_folder(out)
    model = build_model(config.model, config.seed)
    objective = detector_objective(config)
    objective.initialise(model.detector)
    found = lr_range_test(
        fabric=make_fabric(config.train),
        model=model,
        objective=objective,
        # Without the curriculum: the rate is to be found on what the network sees most of the time.
        dataset=training_samples(replace(config.data, curriculum=0), config.seed, config.model.channels),
        optimizer=config.optimizer,
        batch_size=config.train.batch_size,
        steps=steps,
        workers=config.data.workers,
    )
    save_figure(folder / "lr_finder.png", range_test_figure(found))
    content = {"rates": found.rates.tolist(), "losses": found.losses.tolist(), "suggestion": found.suggestion}
    write_json(folder / "lr_finder.json", content)
    advice = "the loss never fell" if found.suggestion is None else f"steepest descent at {found.suggestion:.1e}"
    Console().print(f"{advice}; curve: {folder / 'lr_finder.png'}")
    return found


def range_test_figure(found: RangeTest, used: float | None = None) -> Figure:
    """Draw the smoothed loss over the learning rate, with the suggestion and the rate that was `used`."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses)
    if found.suggestion is not None:
        axes.axvline(found.suggestion, linestyle="--", color="#D55E00", label=f"steepest: {found.suggestion:.1e}")
    if used is not None:
        axes.axvline(used, linestyle=":", color="#009E73", label=f"used: {used:.1e}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    axes.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="loss, smoothed",
        title=f"Learning-rate range test, {len(found.rates)} steps",
    )
    return figure
