"""Stage train-superpoint: labelled photographs and the weights of a detector in, detector and descriptor out.

Leaves weights.safetensors; the command adds in evaluation/ tables of matching on generated pairs beside SIFT and of
synthetic shapes, and a picture of matches; in doctor/ the findings of the checks; and report.html.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from superpoint.budget import Budget
from superpoint.config import TEST_SEED, SuperPointConfig
from superpoint.data.pairs import KINDS, ViewPair
from superpoint.data.training_set import demand_labels, demand_targets, training_pairs
from superpoint.engine import TrainResult, make_fabric
from superpoint.engine.display import watch
from superpoint.evaluation.extractors import make_extractor
from superpoint.evaluation.pair_metrics import PairRecord
from superpoint.evaluation.tables import format_cell, make_table, publish
from superpoint.evaluation.views import features_of_both
from superpoint.files import make_folder, write_json
from superpoint.models import load_network
from superpoint.training.fit import finish, fit
from superpoint.training.magicpoint import initial_model, write_weights
from superpoint.training.objectives import joint_objective
from superpoint.training.pair_validation import (
    PairValidation,
    matches_picture,
    measure_pairs,
    network_features,
    pair_metrics,
    protocol,
    validation_pairs,
)
from superpoint.visualize import save_image

PART = 4  # pairs between two looks at the progress
COLUMNS = {  # figures of a table of generated pairs, and their formats
    **dict.fromkeys(("correct@1", "correct@3", "correct@5", "auc@5", "mma@1", "mma@3"), ".3f"),
    **{"repeatability@1": ".3f", "repeatability@3": ".3f", "localisation": ".2f", "matches": ".0f"},
}


def train_superpoint(config: SuperPointConfig, *, resume: bool = False, budget: Budget | None = None) -> TrainResult:
    """Train and write the best weights; everything goes to the run folder `config.run`."""
    demand_labels(config.data)
    dataset = training_pairs(config.data, config.seed, config.model.channels)
    demand_targets(config.data, dataset)
    validate = PairValidation(config)
    fabric = make_fabric(config.train)
    model = initial_model(config, resume=resume, say=fabric.print)
    result = fit(config, fabric, model, joint_objective(config), dataset, validate, resume=resume, budget=budget)
    finish(config, fabric, result, partial(write_weights, stage="superpoint"))
    return result


def evaluate_generated_pairs(config: SuperPointConfig, *, keep: bool = False) -> Path:
    """Measure network and SIFT on `validation.final_pairs` generated pairs that nothing was selected on.

    Writes evaluation/generated_pairs.json, .md and matches.png to the run folder.
    """
    folder = make_folder(Path(config.run) / "evaluation")
    report = folder / "generated_pairs.json"
    if keep and report.exists():
        print(f"{folder}: evaluated before, see generated_pairs.md there")
        return report
    pairs = validation_pairs(config, config.validation.final_pairs, TEST_SEED)
    network = measure_generated(config, pairs, config.run, folder / "matches.png")
    results = {"network": pair_metrics(network), "sift": pair_metrics(measure_generated(config, pairs))}
    publish(folder / "generated_pairs.md", [pair_table(config, by_kind(results))])
    write_json(report, results)
    return report


def measure_generated(
    config: SuperPointConfig,
    pairs: Sequence[ViewPair],
    weights: str | None = None,
    picture: Path | None = None,
    heading: str = "",
) -> list[PairRecord]:
    """Measure a network, or SIFT (None), on each of `pairs`; matches are drawn to `picture` below `heading`."""
    settings = protocol(config)
    if weights is None:
        sift = make_extractor("sift", settings)
        found = [features_of_both(sift, pair) for pair in watch(pairs, "SIFT on pairs")]
    else:
        model, parts = load_network(weights), [pairs[start : start + PART] for start in range(0, len(pairs), PART)]
        found = [both for part in watch(parts, "pairs") for both in network_features(model, part, settings)]
    if picture is not None:
        save_image(picture, matches_picture(pairs, found, settings, heading))
    return measure_pairs(watch(pairs, "homographies"), found, settings)


def by_kind(results: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return the figures of generated_pairs.json as rows of `pair_table`."""
    return {
        f"{name}, {'all' if kind == 'pairs' else kind}": {key: found.get(f"{kind}/{key}") for key in COLUMNS}
        for name, found in results.items()
        for kind in ("pairs", *KINDS)
    }


def pair_table(config: SuperPointConfig, rows: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Return a table of figures on generated pairs, by the names of features."""
    validation = config.validation
    title = (
        f"{validation.final_pairs} generated pairs of held-out photographs, {validation.height}x{validation.width}, "
        f"{validation.max_keypoints} keypoints, mutual nearest neighbours, RANSAC 3 px; px = mean distance of repeated "
        "keypoints"
    )
    table = make_table(title, ["features"], ["px" if column == "localisation" else column for column in COLUMNS])
    for name, found in rows.items():
        table.add_row(name, *(format_cell(found.get(key), form) for key, form in COLUMNS.items()))
    return table
