"""What a batch of the training data makes of the network, measured once and looked at by many checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.finding import Finding, Status
from superpoint.evaluation.statistics import output_statistics
from superpoint.geometry.cells import CELL, DUSTBIN

MOST, LEAST = 16, 4  # samples
PIXELS = 24 * 96 * 128  # of a batch: 24 samples of the small size, so 15 of 120x160; 2 s for the full network there
TRAINED_RANGE = 3.0  # nats, `cell_range`: untrained networks have 1.1, trained ones 12 to 14
# Samples and steps within which every run passes through states that would later be faults. Measured with batches of 4;
# with batches of 32 it is the number of updates that counts.
YOUNG_SAMPLES, YOUNG_STEPS = 4000, 800
_KEPT = "_observation"


@dataclass(frozen=True)
class Observation:
    """One evaluation of case.objective(case.model, batch), without gradients, on the CPU in fp32.

    Attributes:
        batch: image uint8 [B, 1, H, W], target and valid [B, H / 8, W / 8].
        image: what the objective gave to the model, of any type and shape.
        first: what reached the first convolution, None if there is none.
        logits: what the model returned, as float32 [B, 65, H / 8, W / 8].
        loss: of the objective.
        dead: share of the channels that are zero everywhere, by name of the ReLU.
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
        """Whether the network tells the pixels of a cell apart at all."""
        return self.statistics["cell_range"] > TRAINED_RANGE

    @property
    def positives(self) -> int:
        """Valid cells that hold a point."""
        return int(((self.batch["target"] != DUSTBIN) & self.batch["valid"]).sum())

    @property
    def found(self) -> int:
        """Valid cells in which the network puts less than half of its probability in the dustbin."""
        dustbin = torch.exp(self.logits[:, DUSTBIN] - self.logits.logsumexp(dim=1))
        return int(((dustbin < 0.5) & self.batch["valid"]).sum())


def observe(case: Case) -> Observation:
    """The observation of a case; made at the first call and kept with it, so weights must not change in between."""
    if _KEPT not in vars(case):
        vars(case)[_KEPT] = _observe(case)  # not a field: `dataclasses.replace` leaves it behind, as it should
    return vars(case)[_KEPT]


def sample_count(case: Case, most: int = MOST) -> int:
    """How many different samples to look at: fewer of large images, and of a data set that holds only a few."""
    data = case.config.data
    count = min(most, max(LEAST, PIXELS // (data.height * data.width)))
    return min(count, data.overfit) if data.overfit else count


def _observe(case: Case) -> Observation:
    batch = case.batch(sample_count(case))
    seen: dict[str, Any] = {"dead": {}}

    def model_called(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.setdefault("image", inputs[0].detach())
        seen.setdefault("logits", output["logits"].detach().float())

    def convolution_called(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.setdefault("first", inputs[0].detach())

    def activation_called(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, inputs: Any, output: Tensor) -> None:
            seen["dead"].setdefault(name, float((output.transpose(0, 1).flatten(1).amax(dim=1) <= 0).float().mean()))

        return hook

    handles = [case.model.register_forward_hook(model_called)]
    for name, module in case.model.named_modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_pre_hook(convolution_called))
        elif isinstance(module, (nn.ReLU, nn.ReLU6)):
            handles.append(module.register_forward_hook(activation_called(name)))
    try:
        with torch.no_grad():
            loss = float(case.objective(case.model, batch)["loss"])
    finally:
        for handle in handles:
            handle.remove()
    statistics = output_statistics(seen["logits"], batch["target"], batch["valid"])
    return Observation(batch, seen["image"], seen.get("first"), seen["logits"], loss, seen["dead"], statistics)


def too_young(case: Case) -> str:
    """A sentence that excuses a run that has only begun, empty for any other: by the last line of its history."""
    if not case.history:
        return ""
    steps = int(case.history[-1].get("step", 0))
    samples = steps * case.config.train.batch_size
    if samples >= YOUNG_SAMPLES and steps >= YOUNG_STEPS:
        return ""
    return (
        f" After {samples} samples in {steps} steps that is normal: look again after {YOUNG_SAMPLES} samples and "
        f"{YOUNG_STEPS} steps."
    )


def unjudged(check: str, case: Case) -> Finding | None:
    """A finding that nothing can be said, if the network's output is not finite; else None."""
    share = observe(case).statistics["finite"]
    if share == 1:
        return None
    return Finding(
        check,
        Status.WARN,
        f"Not judged: {1 - share:.1%} of the logits are NaN or infinite.",
        cause="The output is not finite, so nothing measured on it means anything.",
        remedy="See what `nonfinite` says first.",
        details={"finite": share},
    )


def border_share(case: Case) -> float:
    """Share of the image's area within 8 px of its outline."""
    height, width = observe(case).logits.shape[-2] * CELL, observe(case).logits.shape[-1] * CELL
    return 1 - max(height - 2 * CELL, 0) * max(width - 2 * CELL, 0) / (height * width)
