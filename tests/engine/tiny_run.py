"""A complete small training run, for tests to import and to start as a program that they may kill.

python tests/engine/tiny_run.py RUN '{"steps": 12, "die": "objective:7"}'
"""

import atexit
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset

import superpoint.files
from superpoint.config import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.engine import TrainResult, make_fabric, train
from superpoint.engine.run import RunFolder, flatten
from superpoint.errors import UserError
from superpoint.models.checkpoint import load_checkpoint
from superpoint.training.fit import open_run

SEED = 3


class Noise(Dataset[dict[str, Tensor]]):
    """Random images; the target is the local mean. A pure function of the index."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1000 * SEED + index)
        image = torch.randint(0, 256, (1, 12, 12), generator=generator, dtype=torch.uint8)
        valid = torch.rand(12, 12, generator=generator) < torch.rand((), generator=generator)
        return {"image": image, "valid": valid, "index": torch.tensor(index)}


class TinyNet(nn.Module):
    def __init__(self, channels: int = 6, *, norm: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(image))))


def make_model(channels: int = 6, *, norm: bool = True) -> TinyNet:
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        return TinyNet(channels, norm=norm)


def objective(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean over the valid pixels; "weight" is their number, which differs from sample to sample."""
    image = batch["image"].float() / 255
    target = nn.functional.avg_pool2d(image, 3, 1, 1)
    weight = batch["valid"].sum()
    error = (model(image) - target).square()[batch["valid"][:, None]].sum() / weight
    return {"loss": error, "weight": weight, "error_twice": 2 * error.detach()}


def validate(model: nn.Module) -> dict[str, Any]:
    """Minus the error on fixed samples."""
    assert not model.training
    assert not torch.is_grad_enabled()
    batch = torch.utils.data.default_collate([Noise()[10_000_000 + k] for k in range(8)])
    return {"selected_by": "AP", "AP": -float(objective(model, batch)["loss"]), "nested": {"one": 1}}


def run_tiny(folder: str | Path, **options: Any) -> TrainResult:
    """`train` on the above; `options` are its arguments, `config` (YAML text), or keys of TrainConfig."""
    keys = {"steps": 12, "minutes": None, "batch_size": 4, "validate_every": 5, "log_every": 2, "ema": 0.9}
    keys |= {"checkpoint_every": 3, "precision": "fp32", "device": "cpu"}
    given = {
        "model": make_model(),
        "objective": objective,
        "dataset": Noise(),
        "validate": validate,
        "probe": None,
        "resume": False,
        "workers": 0,
        "expected_initial_loss": None,
        "optimizer": OptimizerConfig(lr=1e-2),
        "schedule": ScheduleConfig(),
        "config": yaml.safe_dump({"seed": SEED, "model": {"channels": 6}}),
    }
    for key, value in options.items():
        (given if key in given else keys)[key] = value
    text = given.pop("config")
    config = TrainConfig(**keys)
    fabric = make_fabric(config)
    with open_run(str(folder), text, fabric, resume=given["resume"]) as run:
        return train(fabric=fabric, run=run, config=config, seed=SEED, **given)


def assert_same_bits(first: Path, second: Path) -> None:
    """The last checkpoints of two runs agree in all but the clock."""
    one, two = (flatten(load_checkpoint(RunFolder(path).last), "/") for path in (first, second))
    assert one.keys() == two.keys()
    for name, leaf in one.items():
        same = torch.equal(leaf, two[name]) if isinstance(leaf, Tensor) else leaf == two[name]
        assert same or name == "elapsed", name


def deadly(place: str) -> dict[str, Any]:
    """Options that kill the process: "objective:7", at the 7th call; "save:2", before the 2nd rename of last.ckpt."""
    name, _, count = place.partition(":")
    calls = {"left": int(count)}

    def tick() -> None:
        calls["left"] -= 1
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if name == "save":
        replace = os.replace

        def deadly_replace(source: Any, target: Any) -> None:
            if Path(target).name == "last.ckpt":
                tick()
            replace(source, target)

        superpoint.files.os.replace = deadly_replace  # type: ignore[assignment]
        return {}
    if name == "validate":
        return {"validate": lambda model: (tick(), validate(model))[1]}
    return {"objective": lambda model, batch: (tick(), objective(model, batch))[1]}


def main() -> None:
    run, options = sys.argv[1], json.loads(sys.argv[2])
    torch.set_num_threads(1)
    # Registered before that of make_fabric, so run after it. In one piece: torchrun's processes do not buffer, and what
    # two of them write part by part runs into each other.
    atexit.register(lambda: print(f"connected to the end: {torch.distributed.is_initialized()}\n", end=""))
    death = options.pop("die", None)
    more = deadly(death) if death else plain(Path(run)) if options.pop("plain", False) else {}
    try:
        result = run_tiny(run, **options, **more)
    except UserError as error:
        print(f"error: {error}")
        raise SystemExit(2) from error
    raise SystemExit(128 + result.signal if result.signal else 0)


def plain(run: Path) -> dict[str, Any]:
    """Options under which a step moves the weights by minus the gradient, and every process lists its samples."""
    seen = run.parent / f"{run.name}_seen_{os.environ.get('RANK', '0')}.txt"

    def listing(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        with open(seen, "a") as file:
            file.writelines(f"{index}\n" for index in batch["index"].tolist())
        return objective(model, batch)

    return {
        "model": make_model(norm=False),
        "objective": listing,
        "optimizer": OptimizerConfig("sgd", lr=1.0, momentum=0.0, weight_decay=0.0),
        "schedule": ScheduleConfig("constant", warmup=0.0),
        "clip_norm": 0.0,
        "checkpoint_every": 1,
    }


if __name__ == "__main__":
    main()
