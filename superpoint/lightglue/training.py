"""Stage train-matcher: photographs and a trained network in, a matcher of its features out.

Leaves weights.safetensors and matches/*.png, a picture per validation; `evaluate pairs matcher=lightglue:<run>`
measures it beside other matchers.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from superpoint.data.sources.archives import NamedImages
from superpoint.data.sources.source import open_source
from superpoint.engine import TrainResult, make_fabric
from superpoint.engine.processes import decide
from superpoint.errors import UserError
from superpoint.evaluation.pairs import match_errors
from superpoint.files import make_folder
from superpoint.geometry.homography import warp_image
from superpoint.lightglue.config import MatcherConfig
from superpoint.lightglue.views import ViewPairs, extract_views, open_views
from superpoint.losses.assignment import IGNORED, UNMATCHABLE, assignment_loss, confidence_loss
from superpoint.matching.lightglue import MIN_PROBABILITY
from superpoint.models import SuperPoint, load_network
from superpoint.models.lightglue import build_matcher, load_matcher_network
from superpoint.models.weights import load_model_state, load_weights, model_hash, save_weights
from superpoint.training.fit import finish, fit
from superpoint.training.objectives import weighted_means
from superpoint.visualize import contact_sheet, draw_matches, save_image

BATCH, SHOWN = 8, 4  # pairs of a validation batch; of a picture
PICTURES = "matches"
VALIDATION_SEED = 1_000_003
LEARNT = 0.99  # recall and precision of the pairs that are learnt by heart
RIGHT = 3.0  # pixels of the second view: a match is right within


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
    """Figures of the objective on pairs of held-out photographs; "f1" selects. Draws a picture of the first pairs.

    With `data.overfit`: on those pairs, and ends the run when they are learnt.
    """

    def __init__(self, config: MatcherConfig, pairs: ViewPairs) -> None:
        self.config, self.pairs = config, pairs
        self.count = config.data.overfit or config.data.held_out_pairs
        self.canvases = [_canvas(config, pairs, index) for index in range(min(SHOWN, self.count))]

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        device, outputs = next(model.parameters()).device, []
        for start in range(0, self.count, BATCH):
            samples = [self.pairs[index] for index in range(start, min(start + BATCH, self.count))]
            batch = {key: value.to(device) for key, value in default_collate(samples).items()}
            outputs.append(matcher_objective(model, batch) | {"weight": torch.tensor(float(len(samples)))})
        metrics: dict[str, Any] = weighted_means(outputs)
        picture = self._picture(model)
        folder = make_folder(Path(self.config.run, PICTURES))
        save_image(folder / f"{len(list(folder.glob('*.png'))):04d}.png", picture)
        stop = bool(self.config.data.overfit) and learnt(metrics)
        return metrics | {"selected_by": "f1", "images": {"matches": picture}, "stop": stop}

    def _picture(self, model: nn.Module) -> NDArray[np.uint8]:
        """Draw the matches of the first pairs: green lines are right within RIGHT px, orange dots wrong."""
        pictures, titles = [], []
        for index, views in enumerate(self.canvases):
            first, second, h_0_1 = self.pairs.draw(index)
            sample = {key: value[None].to(next(model.parameters()).device) for key, value in self.pairs[index].items()}
            found = assigned(model(sample)["assignment"][-1])[0].cpu().numpy()
            start, end = first.keypoints[np.flatnonzero(found >= 0)], second.keypoints[found[found >= 0]]
            right, canvas = match_errors(start, end, h_0_1) <= RIGHT, views.copy()
            draw_matches(canvas, start, end + np.array([first.image_size[0], 0]), right)
            titles.append(f"{right.sum()} of {len(right)} matches within {RIGHT:g} px (lines)")
            pictures.append(canvas)
        return contact_sheet(pictures, titles, columns=2)


def train_matcher(config: MatcherConfig, *, resume: bool = False) -> TrainResult:
    """Extract features if they are not there, train on them, and write the best weights; all in `config.run`."""
    fabric = make_fabric(config.train)
    stopped = decide(lambda: extract_views(config), fabric.is_global_zero, fabric.broadcast)
    if stopped is not None:
        fabric.print(f"the features so far are kept beside {config.features}")
        return TrainResult(0, 0.0, signal=stopped)
    network = load_network(config.network)
    file = open_views(config, network)
    for name, reason in list(file.skipped().items())[:1]:
        fabric.print(f"{len(file.skipped())} photographs skipped; the first: {name}: {reason}")
    config = resolved(config, network)
    model = build_matcher(**asdict(config.model), seed=config.seed)
    if config.weights is not None:
        load_model_state(model, load_weights(config.weights)[0], config.weights)
    dataset = ViewPairs(file, config.data, config.seed)
    unseen = dataset if config.data.overfit else ViewPairs(file, config.data, VALIDATION_SEED, held_out=True)
    validate = MatcherValidation(config, unseen)
    result = fit(config, fabric, model, matcher_objective, dataset, validate, resume=resume)

    def export(checkpoint: Path, path: Path) -> None:
        metadata = {"stage": config.stage, "run": path.absolute().parent.name, "network": config.network}
        save_weights(path, load_matcher_network(checkpoint), asdict(config.model), metadata)

    finish(config, fabric, result, export)
    return result


def resolved(config: MatcherConfig, network: SuperPoint) -> MatcherConfig:
    """Return `config` with hash and length of the network's descriptors. Raises: UserError if it says others."""
    found = {"input_dim": network.descriptor.descriptor.out_channels, "network": model_hash(network)}  # type: ignore[union-attr]  # pyright: ignore
    for key, value in found.items():
        if getattr(config.model, key) not in (0, "", value):
            raise UserError(f"model.{key}: found {getattr(config.model, key)}, expected {value}, of {config.network}")
    return replace(config, model=replace(config.model, **found))


def _canvas(config: MatcherConfig, pairs: ViewPairs, index: int) -> NDArray[np.uint8]:
    """Draw the views of a pair again, dark, beside each other; black where the photograph is not there any more."""
    size, views = (config.data.height, config.data.width), pairs.draw(index)[:2]
    try:
        source = open_source([config.data.images or ""], channels=3)
        assert isinstance(source, NamedImages)
        photograph = source.load(pairs.names(index)[0].rpartition("/")[0])
    except UserError:  # the features are enough to train
        photograph = np.zeros((8, 8, 3), np.uint8)
    drawn = [warp_image(photograph, each.warp, size) for each in views if each.warp is not None]
    return np.concatenate(drawn, axis=1) // 2
