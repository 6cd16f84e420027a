"""The training loop, read from top to bottom: prepare, resume; then validate, save, step until the budget is spent.


    fabric = make_fabric(config.train)
    with RunFolder.open("runs/x", config=yaml_text, main=fabric.is_global_zero) as run:
        result = train(fabric=fabric, model=model, objective=objective, dataset=dataset, config=config.train,
                       optimizer=config.optimizer, schedule=config.schedule, run=run, validate=validate, seed=0)

With a budget in steps, a run that was killed and resumed ends with the same bits as one that was not: all that the next
step depends on is in the checkpoint or a function of the step. In minutes, the learning rate follows the clock.
"""

import math
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import Dataset

from superpoint.config import OptimizerConfig, ScheduleConfig, TrainConfig
from superpoint.data.sampler import StepSampler
from superpoint.engine.batches import step_batches
from superpoint.engine.display import Display, Meter
from superpoint.engine.interrupt import StopRequest
from superpoint.engine.optimizers import WeightAverage, gradients, make_optimizer, set_rate
from superpoint.engine.resume import TrainState, restore
from superpoint.engine.run import RunFolder
from superpoint.engine.schedules import Plateau, rate_factor
from superpoint.errors import UserError
from superpoint.models.checkpoint import save_checkpoint, write_nonfinite

Batch = dict[str, Tensor]
Objective = Callable[[nn.Module, Batch], dict[str, Tensor]]
Validate = Callable[[nn.Module], dict[str, Any]]
RECENT = 10  # lines "train" whose mean loss a validation is compared with


class Probe(Protocol):
    """Looks into single steps of the first process; what it returns is logged as the event "probe"."""

    def before_step(self, model: nn.Module) -> None:
        """Look before the forward pass; `model` is in training mode."""

    def before_update(self, model: nn.Module) -> None:
        """Look at the final gradients (averaged, clipped), before the optimiser uses them."""

    def after_update(self, model: nn.Module) -> dict[str, Any]:
        """Return the numbers to log, after the optimiser's step."""
        ...

    def detach(self) -> None:
        """Leave nothing on the model; may be called at any time."""


@dataclass(frozen=True)
class TrainResult:
    """The end of a run. `best` is the highest score of all validations, None if there was none."""

    step: int
    elapsed: float  # seconds of training over all sessions
    metrics: dict[str, Any] = field(default_factory=dict)  # of the last validation of this session
    best: float | None = None
    best_step: int | None = None
    signal: int | None = None  # SIGINT or SIGTERM, if one ended the session, be it in the last validation

    @property
    def trained(self) -> bool:
        """Return whether this session has trained; a finished run that is resumed does not."""
        return bool(self.metrics)


def train(
    *,
    fabric: Fabric,
    model: nn.Module,
    objective: Objective,
    dataset: Dataset[Batch],
    config: TrainConfig,
    optimizer: OptimizerConfig,
    schedule: ScheduleConfig,
    run: RunFolder,
    validate: Validate | None = None,
    probe: Probe | None = None,
    seed: int = 0,
    resume: bool = False,
    workers: int = -1,
    expected_initial_loss: float | None = None,
) -> TrainResult:
    """Train `model` in place until `config.steps` or `config.minutes` are spent, or a signal asks to stop.

    Args:
        fabric: launched, see `make_fabric`.
        objective: objective(model, batch) returns scalar tensors: "loss", the mean over the batch; optionally "weight",
            by which that mean was normalised (such as the number of valid cells); anything else is logged. Over
            processes and accumulated parts the gradient is of sum(loss * weight) / sum(weight).
        dataset: dataset[index] is a dict of tensors, a pure function of the index; every index >= 0 is valid.
        validate: called in the first process with the averaged model (if `config.ema` > 0) in evaluation mode, without
            gradients. Returns metrics; "selected_by" names the one (higher is better) that selects best.ckpt; "images"
            (name -> uint8 RGB [H,W,3]) go to TensorBoard; "stop", if true, ends the run. The distance of "loss" from
            the recent training loss is logged as "gap".
        probe: looks into every `config.probe_every`-th step, and is detached at the end.
        run: open folder for checkpoints and metrics. `run.config` is stored in the checkpoint and compared on resume.
        seed: what the dataset was made with; a run resumes with this seed only.
        resume: go on from checkpoints/last.ckpt, from the start if there is none yet.
        workers: loader processes, see `step_batches`.
        expected_initial_loss: theoretical loss of the untrained model; a deviation above 10 % prints a warning.

    Raises: UserError for a batch not divisible over processes and parts; a checkpoint that does not fit; a loss or
        gradient that is not finite, after writing nonfinite_step_<n>.pt (batch and weights) into the run folder.
    """
    main = fabric.is_global_zero
    sampler = StepSampler(
        config.batch_size, rank=fabric.global_rank, world_size=fabric.world_size, accumulate=config.accumulate
    )
    if config.sync_batchnorm and fabric.device.type != "cuda":
        raise UserError(f"train.sync_batchnorm: needs CUDA GPUs, found device '{fabric.device.type}'")

    # Checkpoints hold `model`; `wrapped`, further down, is the same weights behind autocast, DDP and torch.compile.
    if config.sync_batchnorm:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    model.to(fabric.device)
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optim = make_optimizer(model, optimizer)
    average = WeightAverage(model, config.ema) if config.ema > 0 else None
    plateau, state = Plateau(), TrainState()

    def save(path: Path) -> None:
        if main:
            content = {
                "model": model.state_dict(),
                "ema": average.model.state_dict() if average else None,
                "optimizer": optim.state_dict(),
                "plateau": asdict(plateau),
                "config": run.config,
                "seed": seed,
            }
            save_checkpoint(path, content | asdict(state))

    with Display(enabled=main) as display, StopRequest() as stop, ExitStack() as stack:
        if probe is not None:
            stack.callback(probe.detach)  # also after an exception: NaN, an error of the objective, Ctrl-C twice
        if resume and run.last.exists():
            for note in restore(run.last, run.config, seed, model, optim, average, plateau, state):
                display.message(note, warning=True)
            display.message(f"resuming {run.path} at step {state.step}")
        elif resume:
            display.message(f"{run.path}: no checkpoint yet, starting from step 0")
        fabric.barrier()  # nobody writes before everybody has read
        run.start(state.step)

        compiled = cast(nn.Module, torch.compile(model)) if config.compile else model
        wrapped, stepper = fabric.setup(compiled, optim)
        wrapped.train()
        sampler.start_step = state.step
        batches = step_batches(dataset, sampler, workers=workers, device=fabric.device, seed=seed)
        meter = Meter()
        metrics: dict[str, Any] = {}
        recent: deque[float] = deque(maxlen=RECENT)  # training losses, as logged
        stopping = False  # once all processes know of the signal
        began = time.monotonic() - state.elapsed
        saved, saved_step = time.monotonic(), state.step

        while not stopping:
            # Validate where it is due and at the end; then save, so that the checkpoint of a step includes all of it.
            progress = spent(config, state)
            due = progress >= 1 or (state.step > 0 and state.step % config.validate_every == 0)
            validated = validate is not None and due and state.validated_step != state.step
            if validate is not None and validated:
                if main:
                    with torch.no_grad(), fabric.autocast():
                        metrics = dict(validate(average.model if average else model.eval()))
                    model.train()
                    run.log_images(state.step, metrics.pop("images", {}))
                    gap = {"gap": metrics["loss"] - sum(recent) / len(recent)} if "loss" in metrics and recent else {}
                    run.log("validate", state.step, **({key: metrics[key] for key in metrics if key != "stop"} | gap))
                value = float(metrics[metrics["selected_by"]]) if main else math.nan
                decided = (value, time.monotonic() - began, bool(metrics.pop("stop", False)))
                value, state.elapsed, enough = fabric.broadcast(decided)
                progress = 1.0 if enough else progress
                plateau.update(value, schedule)
                state.validated_step = state.step
                if value > state.best:
                    state.best, state.best_step = value, state.step
                    save(run.best)
            in_steps = config.checkpoint_every > 0 and state.step % config.checkpoint_every == 0
            in_time = time.monotonic() - saved > 60 * config.checkpoint_minutes
            if validated or ((progress >= 1 or in_steps or in_time) and state.step > saved_step):
                save(run.last)
                saved, saved_step = time.monotonic(), state.step
                meter.pause()
            if progress >= 1:
                break

            # Gradients of sum(loss * weight) over parts and processes are normalised once that sum is known.
            rate = optimizer.lr * rate_factor(progress, schedule) * plateau.factor
            set_rate(optim, rate)
            probing = main and config.probe_every > 0 and state.step % config.probe_every == 0
            if probe is not None and probing:
                probe.before_step(model)
            parts: list[Batch] = []
            sums: dict[str, Tensor] = {}
            for part in range(config.accumulate):
                with meter.waiting():
                    parts.append(fabric.to_device(next(batches)))
                with fabric.no_backward_sync(wrapped, enabled=part < config.accumulate - 1):
                    outputs = dict(objective(wrapped, parts[-1]))
                    weight = outputs.pop("weight", torch.ones((), device=fabric.device)).detach()
                    fabric.backward(outputs["loss"] * weight)
                for name, value in {**outputs, "weight": torch.ones_like(weight)}.items():
                    sums[name] = sums.get(name, 0.0) + value.detach() * weight

            # One reduction per step carries these sums, the stop request, and the first process's clock and gradient
            # norm: all processes decide the same from the same numbers, and a GPU is waited for once.
            grads = gradients(model)
            sums["stop"] = torch.tensor(float(stop.signal is not None))
            sums["elapsed"] = torch.tensor(time.monotonic() - began, dtype=torch.float64) * main
            sums["norm"] = torch.nn.utils.get_total_norm(grads) if main else torch.tensor(0.0)
            totals = sum_over_processes(fabric, sums)
            stopping, state.elapsed = totals.pop("stop") > 0, totals.pop("elapsed")
            norm, total_weight = totals.pop("norm"), totals.pop("weight")
            scalars = {name: value / total_weight if total_weight else value for name, value in totals.items()}
            loss = scalars["loss"]
            if state.step == 0:
                report_initial_loss(loss, expected_initial_loss, run, display)

            scale = fabric.world_size / total_weight if total_weight else 0.0  # DDP averages gradients over processes
            norm *= scale
            if not (math.isfinite(loss) and math.isfinite(norm)):
                found = {"step": state.step, "loss": loss, "gradient_norm": norm}
                path = write_nonfinite(run.path, fabric.global_rank, found, parts, model)
                run.log("nonfinite", state.step, loss=loss, grad_norm=norm, lr=rate, file=path.name)
                raise UserError(f"step {state.step}: loss {loss}, gradient norm {norm}; its batch is in {path}")
            if config.clip_norm and norm > config.clip_norm:
                scale *= config.clip_norm / norm
            for grad in grads:
                grad.mul_(scale)
            if probe is not None and probing:
                probe.before_update(model)
            stepper.step()
            if probe is not None and probing:
                run.log("probe", state.step, **probe.after_update(model), lr=rate)
            stepper.zero_grad()
            if average is not None:
                average.update(state.step)
            state.step += 1

            meter.add(state.step, scalars | {"grad_norm": norm}, config.batch_size)
            shown = {"step": state.step, "loss": meter.mean("loss"), "img/s": meter.rate()}
            if metrics:
                shown[metrics["selected_by"]] = metrics[metrics["selected_by"]]
            display.update(spent(config, state), shown, state.elapsed)
            if state.step % config.log_every == 0:
                recent.append(meter.mean("loss"))
                run.log("train", state.step, **meter.flush(), lr=rate, elapsed=state.elapsed)

        if stopping:
            save(run.last)
        late = fabric.broadcast(stop.signal)  # by then all is trained: what follows the training is left out
        run.log("interrupted" if stopping else "finished", state.step, elapsed=state.elapsed)
    return TrainResult(
        step=state.step,
        elapsed=state.elapsed,
        metrics=metrics,
        best=state.best if state.best_step else None,
        best_step=state.best_step if state.best_step else None,
        signal=(stop.signal or signal.SIGTERM) if stopping else late,
    )


def spent(config: TrainConfig, state: TrainState) -> float:
    """Return the share of the budget that is spent (may exceed 1): of steps or minutes, whichever is more."""
    by_steps = state.step / config.steps if config.steps else 0.0
    by_clock = state.elapsed / (60.0 * config.minutes) if config.minutes else 0.0
    return max(by_steps, by_clock)


def sum_over_processes(fabric: Fabric, values: dict[str, Tensor]) -> dict[str, float]:
    """Return the sums of scalars over all processes."""
    kind = torch.float32 if fabric.device.type == "mps" else torch.float64
    stacked = torch.stack([value.to(fabric.device, kind) for value in values.values()])
    summed = cast(Tensor, fabric.all_reduce(stacked, reduce_op="sum"))
    return dict(zip(values, summed.tolist(), strict=True))


def report_initial_loss(loss: float, expected: float | None, run: RunFolder, display: Display) -> None:
    """Log the loss of the untrained model; warn if it is far from its theoretical value."""
    run.log("initial_loss", 0, loss=loss, expected=expected)
    if expected is not None and abs(loss - expected) > 0.1 * abs(expected):
        text = f"initial loss {loss:.3f}, expected {expected:.3f}: check the labels, the head and its initialisation"
        display.message(text, warning=True)
