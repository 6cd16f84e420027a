"""Checks of the network's layers: dead units, batch-norm statistics, half precision."""

import copy
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from superpoint.diagnostics.case import Case
from superpoint.diagnostics.checks.observation import alarm, observe, unjudged
from superpoint.diagnostics.finding import Finding, Status
from superpoint.geometry.cells import DUSTBIN

DEAD, DYING = 0.5, 0.2  # share of a layer's channels; trained networks 0, untrained ones up to .06
ZEROS = 0.01  # share of logits that are exactly 0
# Batch against running statistics, medians over a layer's channels: |difference of means| in standard deviations and
# ratio of standard deviations. Healthy, 8 to 16 samples: up to .24 and 1.27; one: .14, 2.4; untrained: .66, 11.
SHIFTED, STRETCHED = 1.0, 3.0
# Mean over cells of half the L1 distance of the class probabilities; healthy .006 .. .025. And by how much the loss is
# larger in evaluation mode, as a share of the other; healthy up to .03.
CHANGED, WORSE = 0.1, 0.25
# The same between bf16 and fp32, over the cells that are taken for points: healthy .004 .. .006, untrained .0001.
IMPRECISE, COARSE = 0.1, 0.03
MAX_SHIFT, MAX_LOG = 1e6, 50.0  # of a shift, and of the logarithm of a ratio of variances
HALVES = 8  # images compared in both precisions


def dead_relu(case: Case) -> Finding:
    """Are channels dead, or is there an activation after the last layer?"""
    if finding := unjudged("dead_relu", case):
        return finding
    seen = observe(case)
    low, high = float(seen.logits.min()), float(seen.logits.max())
    zeros = float((seen.logits == 0).float().mean())
    name = max(seen.dead, key=lambda key: seen.dead[key], default="")
    worst = seen.dead.get(name, 0.0)
    evidence = "The network has no nn.ReLU to look at"
    if seen.dead:
        evidence = f"Of {len(seen.dead)} ReLU layers "
        evidence += f"'{name}' has most dead channels, {worst:.0%}" if worst else "none has a dead channel"
        evidence += f" (zero everywhere in {len(seen.logits)} images; expected below {DYING:.0%})"
    evidence += f"; logits {low:.2f} .. {high:.2f}, {zeros:.0%} exactly 0 (expected both signs)."
    if low >= 0 and high > low:
        what = "a ReLU has cut them off and left no gradient" if zeros > ZEROS else "ReLU, sigmoid, softmax or exp"
        cause = f"Logits are never negative: an activation follows the last layer ({what})."
        remedy = "DetectorHead.forward must end with the 1x1 convolution; softmax belongs to the loss and the decoder."
        return Finding("dead_relu", Status.FAIL, evidence, cause, remedy)
    if low == high:
        cause = "All logits are the same number: the last layer is dead or its weights are zero."
        remedy = "Look at detector.logits.weight and at what reaches it."
        return Finding("dead_relu", Status.FAIL, evidence, cause, remedy)
    if worst < DYING:
        return Finding("dead_relu", Status.PASS, evidence)
    cause = f"Channels of '{name}' are off for every input and get no gradient: a rate once too high, or no norm."
    remedy = "Start again with a lower optimizer.lr or a longer schedule.warmup, and train.clip_norm=1."
    return Finding("dead_relu", Status.FAIL if worst >= DEAD else Status.WARN, evidence, cause, remedy)


def batchnorm(case: Case) -> Finding:
    """Do training mode (statistics of the batch) and evaluation mode (running statistics) agree?"""
    layers = [(name, module) for name, module in case.model.named_modules() if _is_norm(module)]
    if finding := _overflowed(layers) or unjudged("batchnorm", case):
        return finding
    if not layers:
        return Finding("batchnorm", Status.PASS, "The network has no batch norm with running statistics.")
    seen = observe(case)
    never = all(int(module.num_batches_tracked or 0) == 0 for _, module in layers)  # pyright: ignore
    if never and case.steps == 0 and _initial(layers):
        evidence = f"{len(layers)} batch-norm layers hold their initial statistics, as an untrained network should."
        return Finding("batchnorm", Status.PASS, evidence)

    loss, logits, found = _in_training_mode(case)
    change = float((logits.softmax(1) - seen.logits.softmax(1)).abs().sum(dim=1).mean()) / 2
    name = max(found, key=lambda key: max(found[key][0] / SHIFTED, abs(math.log(found[key][1])) / math.log(STRETCHED)))
    shift, stretch = found[name]
    evidence = (
        f"Batch and running statistics differ most in '{name}', one of {len(found)} batch-norm layers: means by "
        f"{shift:.2f} standard deviations (expected below {SHIFTED:g}), deviation {stretch:.2f} x the running one "
        f"(expected {1 / STRETCHED:.2f} .. {STRETCHED:g}). Outputs in the two modes differ by {change:.3f} of 1 "
        f"(expected below {CHANGED:g}); loss {seen.loss:.3f} in evaluation, {loss:.3f} in training mode."
    )
    apart = shift > SHIFTED or not 1 / STRETCHED < stretch < STRETCHED
    if not apart and change < CHANGED:
        return Finding("batchnorm", Status.PASS, evidence)
    if never and _initial(layers):
        cause = f"Statistics never updated in {case.steps} steps: trained in evaluation mode, or buffers not saved."
    elif apart:
        cause = "The running statistics are not those of the data: too few steps or samples, buffers of other weights."
    else:
        cause = "Training and evaluation mode disagree though single layers do not: batches too small for batch norm."
    remedy = "Evaluate with model.eval(), train with model.train() and batches of 4 or more; collect statistics anew."
    grave = not seen.loss <= (1 + WORSE) * loss  # so too if one of them is NaN
    return alarm("batchnorm", case, grave, evidence, cause, remedy)


def precision(case: Case) -> Finding:
    """Do bf16 autocast, in which runs train and detect, and fp32 agree?"""
    if finding := unjudged("precision", case):
        return finding
    seen = observe(case)
    image, exact = seen.image[:HALVES], seen.logits[:HALVES]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = case.model(image)["logits"].float()
    if not bool(half.isfinite().all()):
        evidence = "In bf16 the output is not finite, in fp32 it is."
        cause = "Values beyond what bf16 holds, or a division by what it rounds to 0."
        remedy = "Train with train.precision=fp32 and look at `logit_scale`."
        return Finding("precision", Status.FAIL, evidence, cause, remedy)
    distance = (exact.softmax(1) - half.softmax(1)).abs().sum(dim=1) / 2  # [B, Hc, Wc], 0..1
    positive = exact.softmax(1)[:, DUSTBIN] < 0.5
    looked_at = positive if bool(positive.any()) else torch.ones_like(positive)
    value, worst = float(distance[looked_at].mean()), float(distance.max())
    evidence = (
        f"Class probabilities in bf16 and fp32 differ by {value:.4f} of 1 in cells with a point (expected below "
        f"{COARSE:g}), by {worst:.3f} at most."
    )
    if value < COARSE:
        return Finding("precision", Status.PASS, evidence)
    cause = "Activations or logits carry a common offset, of which bf16 (steps of 1/256) leaves too little."
    remedy = "Use train.precision=fp32; find the layer without norm, or drifted logits (`logit_scale`)."
    status = Status.FAIL if value > IMPRECISE else Status.WARN
    return Finding("precision", status, evidence, cause, remedy)


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None


def _overflowed(layers: list[tuple[str, nn.Module]]) -> Finding | None:
    """Return a finding if running statistics are not finite; the output may still be: x / inf is 0."""
    broken = [
        f"{name}.{buffer}"
        for name, module in layers
        for buffer in ("running_mean", "running_var")
        if not bool(module.get_buffer(buffer).isfinite().all())
    ]
    if not broken:
        return None
    evidence = f"{len(broken)} running statistics hold NaN or infinity, the first is {broken[0]}."
    cause = "Activations have overflowed in training mode, where the loss stays finite: steps too large, or the input."
    remedy = "See `gradient_jump`, `learning_rate`, `nonfinite`; divide optimizer.lr by 10 and start anew."
    return Finding("batchnorm", Status.FAIL, evidence, cause, remedy)


def _initial(layers: list[tuple[str, nn.Module]]) -> bool:
    return all(
        bool((module.get_buffer("running_mean") == 0).all()) and bool((module.get_buffer("running_var") == 1).all())
        for _, module in layers
    )


def _in_training_mode(case: Case) -> tuple[float, Tensor, dict[str, tuple[float, float]]]:
    """Return loss, logits and (shift, stretch) of each norm, from a copy of the model, which keeps its buffers."""
    model = copy.deepcopy(case.model).train()
    found: dict[str, tuple[float, float]] = {}
    seen: dict[str, Tensor] = {}

    def norm_called(module: nn.Module, inputs: tuple[Tensor, ...], name: str) -> None:
        batch = inputs[0].detach().float().transpose(0, 1).flatten(1)  # [C, everything else]
        mean, variance = module.get_buffer("running_mean"), module.get_buffer("running_var").clamp_min(1e-12)
        shift = ((batch.mean(dim=1) - mean).abs() / variance.sqrt()).median()
        ratio = (batch.var(dim=1, correction=0).clamp_min(1e-12).log() - variance.log()).median()
        # What overflows in training mode alone counts as very far apart, in numbers that JSON can hold.
        shift = shift.nan_to_num(MAX_SHIFT).clamp_max(MAX_SHIFT)
        ratio = ratio.nan_to_num(MAX_LOG).clamp(-MAX_LOG, MAX_LOG)
        found.setdefault(name, (float(shift), math.exp(float(ratio) / 2)))

    def model_called(_: nn.Module, inputs: Any, result: dict[str, Tensor]) -> None:
        seen.setdefault("logits", result["logits"].detach().float())

    for name, module in model.named_modules():
        if _is_norm(module):
            module.register_forward_pre_hook(functools.partial(norm_called, name=name))
    model.register_forward_hook(model_called)
    with torch.no_grad():
        loss = float(case.objective(model, observe(case).batch)["loss"])
    return loss, seen["logits"], found
