import math
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from superpoint.config import OptimizerConfig, ScheduleConfig
from superpoint.engine.loop import Batch
from superpoint.engine.run import RunFolder
from superpoint.errors import UserError
from superpoint.models.checkpoint import load_checkpoint
from tests.engine import tiny_run as tiny


def events(path: Path, event: str) -> list[dict[str, Any]]:
    return RunFolder(path).history().events(event)


def last_checkpoint(path: Path) -> dict[str, Any]:
    return load_checkpoint(path / "checkpoints" / "last.ckpt")


def stopping(step: int, number: int) -> Callable[[nn.Module, Batch], Batch]:
    """The objective, with the signal `number` in the midst of `step`."""

    def objective(model: nn.Module, batch: Batch) -> Batch:
        if batch["index"][0] == step * 4:
            os.kill(os.getpid(), number)
        return tiny.objective(model, batch)

    return objective


def test_trains_logs_and_saves(tmp_path: Path) -> None:
    result = tiny.run_tiny(tmp_path, steps=60, validate_every=20)
    assert result.step == 60
    assert result.signal is None
    train = events(tmp_path, "train")
    assert [entry["step"] for entry in train] == list(range(2, 61, 2))
    assert train[-1]["loss"] < 0.5 * train[0]["loss"]
    assert train[-1]["error_twice"] == pytest.approx(2 * train[-1]["loss"])
    assert train[-1].keys() >= {"lr", "grad_norm", "img_per_s", "data_wait", "elapsed"}
    assert 0 <= train[-1]["data_wait"] <= 1
    validations = events(tmp_path, "validate")
    assert [entry["step"] for entry in validations] == [20, 40, 60]
    assert validations[-1]["nested"] == {"one": 1}
    assert result.metrics["AP"] == validations[-1]["AP"]
    assert result.best == max(entry["AP"] for entry in validations)
    best, last = load_checkpoint(tmp_path / "checkpoints" / "best.ckpt"), last_checkpoint(tmp_path)
    assert best["step"] == best["best_step"] == result.best_step
    assert last["step"] == 60
    assert last["model"].keys() == tiny.make_model().state_dict().keys()
    assert (tmp_path / "tensorboard").is_dir()
    model = tiny.make_model().eval()  # the averaged model is what was validated
    model.load_state_dict(best["ema"])
    with torch.no_grad():
        assert tiny.validate(model)["AP"] == pytest.approx(result.best, rel=1e-5)


def test_average_of_the_weights_after_each_step(tmp_path: Path) -> None:
    weights: list[torch.Tensor] = []  # before each step, that is after the one before it

    def recording(model: nn.Module, batch: Batch) -> Batch:
        weights.append(model.state_dict()["first.weight"].double())
        return tiny.objective(model, batch)

    tiny.run_tiny(tmp_path, steps=6, ema=0.3, objective=recording)
    state = last_checkpoint(tmp_path)
    weights.append(state["model"]["first.weight"].double())
    expected = weights[0]
    for step, after in enumerate(weights[1:]):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * after
    torch.testing.assert_close(state["ema"]["first.weight"].double(), expected, rtol=1e-5, atol=1e-7)


def test_without_average_and_validation(tmp_path: Path) -> None:
    result = tiny.run_tiny(tmp_path, steps=4, ema=0.0, validate=None, checkpoint_every=0)
    assert (result.best, result.best_step, result.metrics) == (None, None, {})
    state = last_checkpoint(tmp_path)
    assert state["ema"] is None
    assert state["step"] == 4
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


def test_validates_the_model_itself_without_average(tmp_path: Path) -> None:
    model = tiny.make_model()
    seen = []

    def validate(given: nn.Module) -> dict[str, Any]:
        seen.append((given is model, given.training))
        return {"selected_by": "AP", "AP": 0.0, "images": {"grey": np.full((4, 4, 3), 128, np.uint8)}}

    result = tiny.run_tiny(tmp_path, model=model, validate=validate, ema=0.0, steps=10)
    assert seen == [(True, False)] * 2
    assert model.training
    assert result.metrics == {"selected_by": "AP", "AP": 0.0}
    assert result.best_step == 5  # an equal metric later is not better


def test_accumulated_parts_follow_the_whole_batch(tmp_path: Path) -> None:
    """The samples differ in their number of valid pixels, so a mean of means would be another gradient."""
    states = []
    for accumulate in (1, 2, 4):
        folder = tmp_path / str(accumulate)
        options = tiny.plain(folder)
        tiny.run_tiny(folder, **options, batch_size=8, accumulate=accumulate, steps=2, ema=0.0)
        states.append(last_checkpoint(folder)["model"])
    start = tiny.make_model(norm=False).state_dict()
    for name, tensor in states[0].items():
        assert not torch.equal(tensor, start[name])
        for other in states[1:]:
            torch.testing.assert_close(other[name], tensor, rtol=1e-5, atol=1e-7)


def test_gradient_is_clipped_to_its_norm(tmp_path: Path) -> None:
    start = tiny.make_model(norm=False).state_dict()
    steps = []
    for clip in (0.0, 0.01):
        folder = tmp_path / str(clip)
        options = tiny.plain(folder) | {"clip_norm": clip}
        tiny.run_tiny(folder, **options, steps=1, log_every=1, ema=0.0)
        weights = last_checkpoint(folder)["model"]
        steps.append(torch.cat([(weights[name] - start[name]).flatten() for name in start]))
    norm = events(tmp_path / "0.01", "train")[0]["grad_norm"]
    assert norm > 0.01  # logged before clipping
    assert float(steps[0].norm()) == pytest.approx(norm, rel=1e-4)
    assert float(steps[1].norm()) == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(steps[1], steps[0] * 0.01 / norm, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_neither_the_order_nor_global_random_numbers(tmp_path: Path, workers: int) -> None:
    before = torch.get_rng_state()
    for count in (0, workers):
        tiny.run_tiny(tmp_path / str(count), workers=count, steps=6)
    assert torch.equal(torch.get_rng_state(), before)
    tiny.assert_same_bits(tmp_path / "0", tmp_path / str(workers))


@pytest.mark.parametrize("name", ["cosine", "plateau"])
def test_resumed_run_has_the_same_bits(tmp_path: Path, name: str) -> None:
    schedule = ScheduleConfig(name, patience=0, gamma=0.5)
    fickle = iter([1.0, 0.0, 2.0, 0.0] * 2)
    options: dict[str, Any] = {"steps": 17, "schedule": schedule, "optimizer": OptimizerConfig("adam", lr=1e-2)}
    options["validate"] = lambda model: {"selected_by": "AP", "AP": next(fickle)}
    tiny.run_tiny(tmp_path / "whole", **options)

    fickle = iter([1.0, 0.0, 2.0, 0.0])
    result = tiny.run_tiny(tmp_path / "parts", **options, objective=stopping(7, signal.SIGTERM))
    assert (result.step, result.signal) == (8, signal.SIGTERM)
    result = tiny.run_tiny(tmp_path / "parts", **options, resume=True)
    assert (result.step, result.signal) == (17, None)
    tiny.assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    rates = [[entry["lr"] for entry in events(tmp_path / part, "train")] for part in ("whole", "parts")]
    assert rates[0] == rates[1]
    if name == "plateau":
        assert rates[0][-1] == pytest.approx(0.5 * 1e-2)


def test_interrupt_at_a_validation_step_leaves_it_to_the_resumed_run(tmp_path: Path) -> None:

    result = tiny.run_tiny(tmp_path / "parts", objective=stopping(4, signal.SIGINT))
    assert (result.step, result.signal, result.metrics) == (5, signal.SIGINT, {})
    tiny.run_tiny(tmp_path / "parts", resume=True)
    tiny.run_tiny(tmp_path / "whole")
    tiny.assert_same_bits(tmp_path / "whole", tmp_path / "parts")
    assert [entry["step"] for entry in events(tmp_path / "parts", "validate")] == [5, 10, 12]


def test_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    first = tiny.run_tiny(tmp_path)
    written = (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    again = tiny.run_tiny(tmp_path, resume=True)
    assert (again.step, again.best, again.best_step) == (first.step, first.best, first.best_step)
    assert (tmp_path / "checkpoints" / "last.ckpt").stat().st_mtime_ns == written


def test_resume_before_the_first_checkpoint_starts_at_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = tiny.run_tiny(tmp_path, resume=True)
    assert result.step == 12
    assert "no checkpoint yet" in capfd.readouterr().err


def test_budget_in_minutes_covers_all_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, clock = 0.5, [100.0]  # a clock that only the objective moves, so that a slow machine changes nothing
    monkeypatch.setattr("superpoint.engine.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))

    stop = stopping(10, signal.SIGINT)

    def tick(model: nn.Module, batch: Batch) -> Batch:
        clock[0] += 0.03
        return stop(model, batch)

    options: dict[str, Any] = {"steps": None, "minutes": seconds / 60, "log_every": 1}
    options |= {"validate_every": 100_000, "schedule": ScheduleConfig("cosine", warmup=0.0, final=0.0)}
    first = tiny.run_tiny(tmp_path, **options, objective=tick)
    assert first.step == 11
    assert first.elapsed == pytest.approx(0.33)
    clock[0] += 1000  # between the sessions, which costs no budget
    second = tiny.run_tiny(tmp_path, **options, objective=tick, resume=True)
    assert second.step == 17
    assert second.elapsed == pytest.approx(0.51)
    lines = events(tmp_path, "train")
    assert all(before["elapsed"] <= after["elapsed"] for before, after in pairwise(lines))
    for before, after in pairwise(lines):  # the rate of a step follows from the clock at the end of the one before it
        expected = 1e-2 * 0.5 * (1 + math.cos(math.pi * min(before["elapsed"] / seconds, 1.0)))
        assert after["lr"] == pytest.approx(expected, rel=1e-6)
    third = tiny.run_tiny(tmp_path, **options, resume=True)
    assert third.step == second.step


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nonfinite_stops_with_step_and_batch(tmp_path: Path, where: str) -> None:
    def spoiled(model: nn.Module, batch: Batch) -> Batch:
        outputs = tiny.objective(model, batch)
        if batch["index"][0] == 7 * 4:
            loss = outputs["loss"]
            # the square root has a finite value and an infinite slope at 0
            outputs["loss"] = loss * math.nan if where == "loss" else (loss - loss.detach()).sqrt()
        return outputs

    with pytest.raises(UserError, match=r"^step 7: loss .*nonfinite_step_7.pt$"):
        tiny.run_tiny(tmp_path, objective=spoiled)
    content = torch.load(tmp_path / "nonfinite_step_7.pt", weights_only=True)
    assert content["batches"][0]["index"].tolist() == [28, 29, 30, 31]
    assert math.isnan(content["loss"]) == (where == "loss")
    assert not math.isfinite(content["gradient_norm"])
    assert last_checkpoint(tmp_path)["step"] == 6  # still from before
    assert all(bool(torch.isfinite(tensor).all()) for tensor in content["model"].values())


@pytest.mark.parametrize("end", ["nonfinite", "exception", "budget"])
def test_probes_let_go_of_the_model_however_the_run_ends(tmp_path: Path, end: str) -> None:
    probe, seen = Mock(**{"after_update.return_value": {"calls": 1}}), []

    def spoiled(model: nn.Module, batch: Batch) -> Batch:
        outputs = tiny.objective(model, batch)
        seen.append(probe.before_step.call_count)
        if batch["index"][0] == 6 * 4 and end == "exception":
            raise RuntimeError("out of memory")
        return outputs | {"loss": outputs["loss"] * math.nan} if len(seen) == 7 and end == "nonfinite" else outputs

    options = {"objective": spoiled, "probe": probe, "probe_every": 3}
    if end == "budget":
        tiny.run_tiny(tmp_path, **options)
    else:
        with pytest.raises(UserError if end == "nonfinite" else RuntimeError):
            tiny.run_tiny(tmp_path, **options)
    assert seen[:7] == [1, 1, 1, 2, 2, 2, 3]
    probe.detach.assert_called_once_with()
    lines = events(tmp_path, "probe")
    assert [line["step"] for line in lines] == ([0, 3, 6, 9] if end == "budget" else [0, 3])
    assert probe.before_update.call_count == len(lines)


def test_gap_between_validation_and_training(tmp_path: Path) -> None:
    """Against the last ten lines "train", or those that there are; none without a loss or without such a line."""
    found = {"selected_by": "AP", "AP": 0.0, "loss": 2.0}
    tiny.run_tiny(tmp_path / "a", validate=lambda _: found, validate_every=1, steps=30)
    train = {line["step"]: line["loss"] for line in events(tmp_path / "a", "train")}  # every other step
    validations = events(tmp_path / "a", "validate")
    assert "gap" not in validations[0]
    for line in validations[1:]:
        recent = [loss for step, loss in train.items() if step <= line["step"]][-10:]
        assert line["gap"] == pytest.approx(2.0 - sum(recent) / len(recent))
    tiny.run_tiny(tmp_path / "b")
    assert not any("gap" in line for line in events(tmp_path / "b", "validate"))


@pytest.mark.parametrize(("expected", "warned"), [(None, False), (1e3, True)])
def test_initial_loss(tmp_path: Path, capfd: pytest.CaptureFixture[str], expected: float | None, warned: bool) -> None:
    tiny.run_tiny(tmp_path / "a", steps=1, expected_initial_loss=expected)
    (line,) = events(tmp_path / "a", "initial_loss")
    assert line["loss"] > 0
    assert ("initial loss" in capfd.readouterr().err) == warned
    tiny.run_tiny(tmp_path / "b", steps=1, expected_initial_loss=1.05 * line["loss"])
    assert "initial loss" not in capfd.readouterr().err


def test_changed_architecture_or_seed_is_refused(tmp_path: Path) -> None:
    tiny.run_tiny(tmp_path, steps=3)
    before = (tmp_path / "config.yaml").read_text()
    other = yaml.safe_dump({"seed": 3, "model": {"channels": 8}})
    with pytest.raises(UserError, match=r"last.ckpt: model.channels: found 8, but the run was started with 6"):
        tiny.run_tiny(tmp_path, resume=True, config=other, model=tiny.make_model(8))
    with pytest.raises(
        UserError, match=r"last.ckpt: another architecture: found 'first.weight' of shape \[6, 1, 3, 3\]"
    ):
        tiny.run_tiny(tmp_path, resume=True, model=tiny.make_model(8))
    with pytest.raises(UserError, match=r"seed: found 4, but the run was started with 3"):
        tiny.run_tiny(tmp_path, resume=True, config=yaml.safe_dump({"seed": 4, "model": {"channels": 6}}))
    assert (tmp_path / "config.yaml").read_text() == before


def test_other_changes_are_named_and_obeyed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny.run_tiny(tmp_path, steps=3)
    text = yaml.safe_dump({"seed": 3, "model": {"channels": 6}, "optimizer": {"weight_decay": 0.5}})
    tiny.run_tiny(tmp_path, steps=5, resume=True, config=text, optimizer=OptimizerConfig(weight_decay=0.5))
    assert "changed on resume: optimizer.weight_decay: 'nothing (another version)' -> 0.5" in capfd.readouterr().err
    groups = last_checkpoint(tmp_path)["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert (tmp_path / "config.yaml").read_text() == text


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    tiny.run_tiny(tmp_path, steps=3, ema=0.0)
    with pytest.raises(UserError, match=r"train.ema: the run was started without averaged weights"):
        tiny.run_tiny(tmp_path, resume=True, ema=0.9)
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last.ckpt: not a readable checkpoint"):
        tiny.run_tiny(tmp_path, resume=True)


def test_sync_batchnorm_needs_gpus(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.sync_batchnorm: needs CUDA GPUs, found device 'cpu'"):
        tiny.run_tiny(tmp_path, sync_batchnorm=True)
