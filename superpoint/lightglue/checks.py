"""What doctor looks at in a run of train-matcher: its case, read from the run folder, and the checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from superpoint.config import load_config
from superpoint.data.feature_file import FeatureFile
from superpoint.diagnostics.case import Case, kept
from superpoint.diagnostics.checks.history import nonfinite, overfitting
from superpoint.diagnostics.checks.observation import alarm
from superpoint.diagnostics.checks.rate import learning_rate
from superpoint.diagnostics.finding import Check, Finding, Status
from superpoint.diagnostics.reading import RunReading, read_weights
from superpoint.engine.run import RunFolder
from superpoint.lightglue.config import MatcherConfig
from superpoint.lightglue.training import assigned, matcher_objective
from superpoint.lightglue.views import ViewPairs
from superpoint.losses.assignment import UNMATCHABLE
from superpoint.models import load_network
from superpoint.models.lightglue import build_matcher
from superpoint.models.weights import load_model_state, model_hash

OBSERVED = 8  # pairs
ALIKE = 0.15  # mean cosine of true matches less that of other pairs. Healthy: 0.7; of two networks: 0
RIGHT_LABELS = 0.99  # share of labelled matches within data.near, and half a pixel for rounding. Healthy: 1
FEW_MATCHES = 10  # of a pair, on average
LARGEST = 0.3, 1.001  # normalised coordinate. Healthy: close to 1
MOVED = 0.01  # nats by which the log assignment changes when an image is mirrored
DISTINCT = 0.2  # share of different keypoints among those that are anybody's best. Healthy: 0.65
RECALL = 0.1  # of true matches. Healthy: 0.2 after 140 steps, 0.46 after 500
MATCHABLE = 0.1  # mean matchability of keypoints with a match, less without. Healthy: 0.18 after 500 steps


@dataclass(frozen=True)
class MatcherCase(Case):
    """A `Case` of stage train-matcher; its samples are those of `ViewPairs`. network: hash of the one to match for."""

    config: MatcherConfig  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    dataset: ViewPairs  # type: ignore[assignment]  # pyright: ignore[reportIncompatibleVariableOverride]
    network: str = ""

    @property
    def chance(self) -> float:
        """Return the loss of even odds among the keypoints, all as matchable as not."""
        filled = float(self.batch(4)["filled0"].sum(1).float().mean())
        return 2 * np.log(max(filled, 1)) + 4 * np.log(2)

    def samples(self, count: int, first: int | None = None) -> list[dict[str, Tensor]]:
        return [self.dataset[(first or 0) + index] for index in range(count)]

    def fresh(self, init: str | None = None, *, pretrained: bool = False) -> nn.Module:
        del init, pretrained
        return build_matcher(**asdict(self.config.model), seed=self.config.seed)

    def range_data(self) -> ViewPairs:
        return self.dataset


def read_matcher_run(run: str | Path) -> RunReading:
    """Read the run folder of a matcher, see `diagnostics.reading.read_run`. Raises: UserError."""
    source = RunFolder.existing(run)
    history, config = source.history(), load_config(MatcherConfig, source.config_file)
    path, state, step = read_weights(source)
    model = build_matcher(**asdict(config.model))
    load_model_state(model, state, path)
    case = MatcherCase(
        config=config,
        dataset=ViewPairs(FeatureFile(config.features), config.data, config.seed),
        model=model.eval(),
        objective=matcher_objective,
        history=history.entries,
        folder=source.path,
        network=model_hash(load_network(config.network)),
    )
    return RunReading(case, MATCHER_CHECKS, history, path, step)


OTHER_RUNS = {MatcherConfig.stage: read_matcher_run}  # for `diagnostics.doctor.doctor`


@kept
def observe(case: MatcherCase) -> tuple[Tensor, float, float]:
    """Return the log assignment of the batch, its largest normalised coordinate, and how much it changes, in nats on
    average, when image 1 is mirrored.
    """
    batch, largest = case.batch(OBSERVED), []
    x, y = batch["keypoints1"].unbind(2)
    mirrored = batch | {"keypoints1": torch.stack([batch["size1"][:, :1] - 1 - x, y], 2)}
    watched = case.model.get_submodule("posenc").register_forward_pre_hook(
        lambda _, inputs: largest.append(float(inputs[0].abs().max()))
    )
    with watched, torch.no_grad():
        log, other = (case.model(each)["assignment"][-1] for each in (batch, mirrored))
    both = batch["filled0"][:, :, None] & batch["filled1"][:, None]
    return log, max(largest), float((log - other)[:, :-1, :-1][both].abs().mean())


def features(case: MatcherCase) -> Finding:
    """Are the descriptors of the network that is to be matched, in both views?"""
    batch = case.batch(OBSERVED)
    made = str(case.dataset.file.attributes.get("model", "none"))
    pair, first = torch.nonzero(batch["matches0"] >= 0, as_tuple=True)
    one = batch["descriptors0"][pair, first]
    other = batch["descriptors1"][pair, batch["matches0"][pair, first]]
    true, usual = (float((one * each).sum(-1).mean()) for each in (other, other.roll(1, 0)))
    evidence = f"Made by network {made}; {len(pair)} true matches have a mean cosine of {true:.2f}, others {usual:.2f}."
    cause = "The descriptors of the two views are not of the same network, or not of their keypoints."
    if made != case.network:
        cause = f"The features are of another network than {case.config.network} ({case.network})."
    remedy = f"Remove {case.dataset.file.path}, so that it is made anew; train anew."
    good = made == case.network and true - usual > ALIKE
    return _finding("features", good, evidence, cause, remedy)


def labels(case: MatcherCase) -> Finding:
    """Do labelled matches show the same place?"""
    batch, near = case.batch(OBSERVED), case.config.data.near
    right = []
    for key in ("matches0", "matches1"):  # the latter as if they were the former
        pair, first = torch.nonzero(batch[key] >= 0, as_tuple=True)
        start, end = batch["keypoints0"][pair, first], batch["keypoints1"][pair, batch[key][pair, first]]
        mapped = torch.cat([start, torch.ones(len(start), 1)], 1)[:, None] @ batch["h_0_1"][pair].mT
        right.append(float(((mapped[:, 0, :2] / mapped[:, 0, 2:] - end).norm(dim=1) <= near + 0.5).float().mean()))
    matches = float((batch["matches0"] >= 0).sum(1).float().mean())
    evidence = (
        f"{matches:.0f} labelled matches a pair; {right[0]:.0%} lie within {near:g} px of each other ({right[1]:.0%} "
        "with the labels of the two views exchanged)."
    )
    cause, remedy = "The homography is not that between these views.", "Correct `lightglue.views.true_matches`."
    if right[0] >= RIGHT_LABELS:
        cause, remedy = "The views share few keypoints.", "Narrow data.homography and data.zoom, raise data.keypoints."
    elif right[1] > right[0]:
        cause = "The labels are transposed: matches0 must hold indices into image 1, matches1 into image 0."
    good = right[0] >= RIGHT_LABELS and matches >= FEW_MATCHES
    return _finding("labels", good, evidence, cause, remedy)


def positions(case: MatcherCase) -> Finding:
    """Does the network see where keypoints lie, within -1..1 of the longer side?"""
    _, largest, moved = observe(case)
    evidence = (
        f"Normalised coordinates up to {largest:.3g} (expected {LARGEST[0]:g} to 1); with image 1 mirrored the "
        f"log assignment changes by {moved:.3g} nats on average."
    )
    if not LARGEST[0] <= largest <= LARGEST[1]:
        cause = "The keypoints are not normalised by the image size, or twice: the encoding turns to noise."
        remedy = 'Give pixels as "keypoints" and (width, height) as "size".'
        return _finding("positions", False, evidence, cause, remedy)
    cause = "The positional encoding is ignored: the network matches by descriptors alone."
    return _finding("positions", moved > MOVED, evidence, cause, "Check posenc.Wr and its gradient.", case)


def assignment(case: MatcherCase) -> Finding:
    """Are different keypoints assigned to different ones, and true matches found?"""
    batch, log = case.batch(OBSERVED), observe(case)[0]
    truth, filled = batch["matches0"], batch["filled0"]
    recall = float(((assigned(log) == truth) & (truth >= 0)).sum() / (truth >= 0).sum().clamp_min(1))
    best = [row[own] for row, own in zip(log[:, :-1, :-1].argmax(2), filled, strict=True)]
    distinct = sum(len(each.unique()) for each in best) / max(int(filled.sum()), 1)
    evidence = f"{distinct:.0%} different keypoints among the best ones; {recall:.0%} of the true matches are found."
    cause = "The network finds few matches: too few steps, a rate that is too high or low, or wrong labels."
    if distinct <= DISTINCT:
        cause = "The assignment has collapsed: all keypoints look alike to it."
    remedy = "See `labels`, `features` and `learning_rate`."
    return _finding("assignment", distinct > DISTINCT and recall > RECALL, evidence, cause, remedy, case)


def unmatchable(case: MatcherCase) -> Finding:
    """Does the network tell keypoints without a match from those with one?"""
    truth, matchable = case.batch(OBSERVED)["matches0"], 1 - observe(case)[0][:, :-1, -1].exp()
    matched, lonely = (float(matchable[each].mean()) for each in (truth >= 0, truth == UNMATCHABLE))
    evidence = f"Mean matchability {matched:.2f} with a match, {lonely:.2f} without."
    cause = "Unmatched keypoints are not learnt: everything is matched, or nothing."
    good = matched - lonely > MATCHABLE  # NaN without either kind
    return _finding("unmatchable", good, evidence, cause, "Look at data.far and `labels`; train on.", case)


def _finding(name: str, good: bool, evidence: str, cause: str, remedy: str, case: MatcherCase | None = None) -> Finding:
    """Return PASS if `good`, else FAIL; given the `case`, a warning for a run that has only begun."""
    if not good and case is not None:
        return alarm(name, case, True, evidence, cause, remedy)
    found = (Status.PASS, evidence, "", "") if good else (Status.FAIL, evidence, cause, remedy)
    return Finding(name, *found)


MATCHER_CHECKS: dict[str, Check] = {
    "features": features,
    "labels": labels,
    "positions": positions,
    "assignment": assignment,
    "unmatchable": unmatchable,
    "learning_rate": learning_rate,
    "overfitting": overfitting,
    "nonfinite": nonfinite,
}
