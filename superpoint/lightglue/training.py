"""Stage train-matcher: photographs and a trained network in, a matcher of its features out.

Leaves weights.safetensors; `evaluate pairs matcher=lightglue:<run>` measures it beside other matchers.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from superpoint.budget import Budget
from superpoint.engine import TrainResult, make_fabric
from superpoint.engine.processes import decide
from superpoint.lightglue.config import MatcherConfig
from superpoint.lightglue.views import ViewPairs, extract_views, open_views
from superpoint.losses.assignment import IGNORED, UNMATCHABLE, assignment_loss, confidence_loss
from superpoint.matching.lightglue import MIN_PROBABILITY
from superpoint.models import load_network
from superpoint.models.lightglue import build_matcher, load_matcher_network
from superpoint.models.weights import model_hash, save_weights
from superpoint.training.fit import finish, fit
from superpoint.training.objectives import weighted_means

BATCH = 8  # pairs of a validation batch
VALIDATION_SEED = 1_000_003
LEARNT = 0.99  # recall and precision of the pairs that are learnt by heart


def matcher_objective(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute the loss on a batch of `ViewPairs`; an `engine.loop.Objective`.

    Returns: loss, the sum of assignment_loss and confidence_loss; recall of true matches; precision, the share of
        matches that are right, those that touch ignored keypoints aside; f1 of both; unmatched, the share of
        unmatchable keypoints that stay without a match.
    """
    output = model(batch)
    assignments, truth = output["assignment"], (batch["matches0"], batch["matches1"])
    assigning = assignment_loss(assignments, *truth)
    confidence = confidence_loss(output["confidence"], assignments, batch["filled0"], batch["filled1"])
    with torch.no_grad():
        found, lonely = assigned(assignments[-1]), truth[0] == UNMATCHABLE
        right = (truth[0] >= 0) & (found == truth[0])
        judged = (found >= 0) & (truth[0] != IGNORED) & (truth[1].gather(1, found.clamp_min(0)) != IGNORED)
        recall, precision = (right.sum() / each.sum().clamp_min(1) for each in (truth[0] >= 0, judged))
        f1 = 2 * recall * precision / (recall + precision).clamp_min(1e-6)
        unmatched = ((found < 0) & lonely).sum() / lonely.sum().clamp_min(1)
    losses = {"loss": assigning + confidence, "assignment_loss": assigning, "confidence_loss": confidence}
    return losses | {"recall": recall, "precision": precision, "f1": f1, "unmatched": unmatched}


def assigned(log: Tensor) -> Tensor:
    """Return the matches of each keypoint of image 0, int64 [B, N], -1 = none, of an assignment [B, N + 1, N + 1].

    As LightGlue does in use: each other's best, with MIN_PROBABILITY.
    """
    score = log[:, :-1, :-1]
    best, to1 = score.max(2)
    mutual = score.argmax(1).gather(1, to1) == torch.arange(score.shape[1], device=log.device)
    return torch.where(mutual & (best > np.log(MIN_PROBABILITY)), to1, -1)


def learnt(metrics: Mapping[str, Any]) -> bool:
    """Return whether pairs are known by heart."""
    return min(metrics["recall"], metrics["precision"]) >= LEARNT


class MatcherValidation:
    """Figures of the objective on pairs of held-out photographs; "f1" selects.

    With `data.overfit`: on those pairs, and ends the run when they are learnt.
    """

    def __init__(self, config: MatcherConfig, pairs: ViewPairs) -> None:
        self.config, self.pairs = config, pairs
        self.count = config.data.overfit or config.data.held_out_pairs

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        device, outputs = next(model.parameters()).device, []
        for start in range(0, self.count, BATCH):
            samples = [self.pairs[index] for index in range(start, min(start + BATCH, self.count))]
            batch = {key: value.to(device) for key, value in default_collate(samples).items()}
            outputs.append(matcher_objective(model, batch) | {"weight": torch.tensor(float(len(samples)))})
        metrics: dict[str, Any] = weighted_means(outputs)
        return metrics | {"selected_by": "f1", "stop": bool(self.config.data.overfit) and learnt(metrics)}


def train_matcher(config: MatcherConfig, *, resume: bool = False, budget: Budget | None = None) -> TrainResult:
    """Extract features if they are not there, train on them, and write the best weights; all in `config.run`."""
    fabric = make_fabric(config.train)
    stopped = decide(lambda: extract_views(config, budget), fabric.is_global_zero, fabric.broadcast)
    if stopped is not None:
        fabric.print(f"the features so far are kept beside {config.features}")
        return TrainResult(0, 0.0, signal=stopped)
    network = load_network(config.network)
    file = open_views(config, network)
    for name, reason in list(file.skipped().items())[:1]:
        fabric.print(f"{len(file.skipped())} photographs skipped; the first: {name}: {reason}")
    dim = int(network.descriptor.descriptor.out_channels)  # type: ignore[union-attr]  # pyright: ignore
    config = replace(config, model=replace(config.model, input_dim=dim, network=model_hash(network)))
    model = build_matcher(**asdict(config.model), seed=config.seed)
    dataset = ViewPairs(file, config.data, config.seed)
    unseen = dataset if config.data.overfit else ViewPairs(file, config.data, VALIDATION_SEED, held_out=True)
    validate = MatcherValidation(config, unseen)
    result = fit(config, fabric, model, matcher_objective, dataset, validate, resume=resume, budget=budget)

    def export(checkpoint: Path, path: Path) -> None:
        metadata = {"stage": config.stage, "run": path.absolute().parent.name, "network": config.network}
        save_weights(path, load_matcher_network(checkpoint), asdict(config.model), metadata)

    finish(config, fabric, result, export)
    return result
