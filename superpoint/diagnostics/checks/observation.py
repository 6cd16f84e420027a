"""The network's output for a batch of training data, measured once for many checks."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.diagnostics.case import Case, kept
from superpoint.diagnostics.finding import Finding, Status
from superpoint.evaluation.statistics import output_statistics
from superpoint.geometry.cells import CELL, DUSTBIN

MAX, MIN = 16, 4  # samples
PIXELS = 24 * 96 * 128  # of a batch: 24 samples of the small size, so 15 of 120x160; 2 s for the full network there
TRAINED_RANGE = 3.0  # nats, `cell_range`: untrained networks have 1.1, trained ones 12 to 14
# Samples and steps within which every run passes through states that would later be faults.
YOUNG_SAMPLES, YOUNG_STEPS = 4000, 800


@dataclass(frozen=True)
class Observation:
    """One evaluation of case.objective(case.model, batch), without gradients, on the CPU in fp32.

    Attributes:
        batch: image uint8 [B, C, H, W], target and valid [B, H / 8, W / 8].
        image: the objective's input to the model, of any type and shape.
        first: the input of the first convolution.
        logits: float32 [B, 65, H / 8, W / 8].
        dead: see `watch_activations`.
        statistics: see `evaluation.statistics.output_statistics`.
    """

    batch: dict[str, Tensor]
    image: Tensor
    first: Tensor | None
    logits: Tensor
    loss: float
    dead: dict[str, float]
    statistics: dict[str, float]

    @property
    def trained(self) -> bool:
        """Return whether the network tells the pixels of a cell apart."""
        return self.statistics["cell_range"] > TRAINED_RANGE

    @property
    def positives(self) -> int:
        return int(((self.batch["target"] != DUSTBIN) & self.batch["valid"]).sum())

    @property
    def found(self) -> int:
        """Return the valid cells with less than half of the probability in the dustbin."""
        dustbin = torch.exp(self.logits[:, DUSTBIN] - self.logits.logsumexp(dim=1))
        return int(((dustbin < 0.5) & self.batch["valid"]).sum())


@kept
def observe(case: Case) -> Observation:
    batch = case.batch(sample_count(case))
    seen: dict[str, Any] = {}

    def model_called(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.setdefault("image", inputs[0].detach())
        seen.setdefault("logits", output["logits"].detach().float())

    def convolution_called(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.setdefault("first", inputs[0].detach())

    handles = [case.model.register_forward_hook(model_called)]
    handles += [
        module.register_forward_pre_hook(convolution_called)
        for module in case.model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        with torch.no_grad(), watch_activations(case.model) as dead:
            loss = float(case.objective(case.model, batch)["loss"])
    finally:
        for handle in handles:
            handle.remove()
    statistics = output_statistics(seen["logits"], batch["target"], batch["valid"])
    return Observation(batch, seen["image"], seen.get("first"), seen["logits"], loss, dead, statistics)


@contextlib.contextmanager
def watch_activations(model: nn.Module) -> Iterator[dict[str, float]]:
    """Collect, by name of the ReLU, the share of its channels that are zero in the whole batch.

    Repeated calls of one module get names of their own.
    """
    dead: dict[str, float] = {}
    calls: dict[str, int] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):

            def hook(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                calls[name] = calls.get(name, 0) + 1
                key = f"{name} (call {calls[name]})" if calls[name] > 1 else name
                highest = output.detach().transpose(0, 1).flatten(1).amax(dim=1)
                dead[key] = float((highest <= 0).float().mean())

            handles.append(module.register_forward_hook(hook))
    try:
        yield dead
    finally:
        for handle in handles:
            handle.remove()


def sample_count(case: Case, limit: int = MAX) -> int:
    """Return how many samples to look at: fewer of large images."""
    data = case.config.data
    count = min(limit, max(MIN, PIXELS // (data.height * data.width)))
    return min(count, data.overfit) if data.overfit else count


def alarm(check: str, case: Case, grave: bool, evidence: str, cause: str, remedy: str) -> Finding:
    """Return a finding that is not PASS; a warning for a run that has only begun."""
    if excuse := too_young(case):
        return Finding(check, Status.WARN, evidence, cause + excuse, "Train on, then look again.")
    return Finding(check, Status.FAIL if grave else Status.WARN, evidence, cause, remedy)


def too_young(case: Case) -> str:
    """Return a sentence that excuses a run that has only begun, else an empty one."""
    samples = case.steps * case.config.train.batch_size
    if not case.history or (samples >= YOUNG_SAMPLES and case.steps >= YOUNG_STEPS):
        return ""
    return (
        f" After {samples} samples in {case.steps} steps that is normal: look again after {YOUNG_SAMPLES} samples and "
        f"{YOUNG_STEPS} steps."
    )


def unjudged(check: str, case: Case) -> Finding | None:
    """Return the finding that nothing can be said, if the network's output is not finite."""
    return not_finite(check, observe(case).statistics["finite"], "logits", "`nonfinite`")


def not_finite(check: str, share: float, what: str, first: str) -> Finding | None:
    """Return the finding that nothing can be said, if the finite share of `what` is below 1."""
    if share == 1:
        return None
    evidence = f"Not judged: {1 - share:.1%} of the {what} are NaN or infinite."
    cause = "They are not finite, so nothing measured on them means anything."
    return Finding(check, Status.WARN, evidence, cause, f"See what {first} says first.")


def border_share(case: Case) -> float:
    """Return the share of the image's area within 8 px of its outline."""
    height, width = (side * CELL for side in observe(case).logits.shape[-2:])
    return 1 - max(height - 2 * CELL, 0) * max(width - 2 * CELL, 0) / (height * width)
