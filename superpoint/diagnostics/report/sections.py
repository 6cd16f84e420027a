"""The parts of a page about runs of a detector or of a SuperPoint, and those that every page has."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from superpoint.config import MagicPointConfig, SuperPointConfig
from superpoint.diagnostics.report.curves import Drawing, Panel
from superpoint.diagnostics.report.facts import (
    config_differences,
    config_tables,
    evaluation_comparison,
    pair_table,
    rich_table,
    statistics_table,
)
from superpoint.diagnostics.report.page import Content, Section
from superpoint.diagnostics.report.panels import (
    descriptor_panels,
    layer_maps,
    precision_recall_panels,
    probe_panels,
    similarity_panel,
    training_panels,
)
from superpoint.diagnostics.report.pictures import Picture, RunPictures, read_picture
from superpoint.diagnostics.report.record import PAIRS, RunRecord
from superpoint.evaluation.synthetic import primitive_table, summary_table

EVALUATION = "evaluation/synthetic.json"


def is_joint(record: RunRecord) -> bool:
    """Return whether the run trains descriptors, by its configuration."""
    return any(key.startswith("descriptor.") for key in record.config)


def detector_sections(records: Sequence[RunRecord], pictures: Mapping[str, RunPictures]) -> list[Section]:
    """Return the parts of the page of one run, or of the comparison of several.

    Args:
        records: what the run folders say, see `record.read_records`.
        pictures: of each record, by its label.
    """
    curves, output = curves_section(training_panels(records), records), output_section(records, pictures)
    kinds = [SuperPointConfig if is_joint(record) else MagicPointConfig for record in records]
    if len(records) > 1:
        tables, notes = evaluation_comparison(records)
        evaluation = Section("evaluation", "Evaluation on synthetic shapes", Content(tables=tables, notes=notes))
        each = [
            (
                record.label,
                [diagnosis(record), evaluation_section(record), configuration(record, kind), environment(record)],
            )
            for record, kind in zip(records, kinds, strict=True)
        ]
        return [curves, differences(records), evaluation, output, Section("runs", "Each run", each, "runs.html")]
    record, shown = records[0], pictures[records[0].label]
    return [
        diagnosis(record),
        curves,
        *([descriptor_section(record, shown)] if shown.descriptors else []),
        inside(record),
        output,
        samples_section(
            shown.samples,
            "Samples from where the curriculum ends, augmented as in training. Crosses: labels as they are encoded. "
            "Darkened: cells the loss ignores.",
        ),
        evaluation_section(record),
        configuration(record, kinds[0]),
        environment(record),
    ]


def diagnosis(record: RunRecord) -> Section:
    """Return the doctor's findings, the worst first, and the range test."""
    figures, notes = read_picture(record.path / "doctor" / "lr_finder.png", "Learning-rate range test")
    content = {"record": record, "figures": figures, "notes": notes}
    return Section("diagnosis", "Diagnosis", content, "diagnosis.html")


def curves_section(panels: Sequence[Panel], records: Sequence[RunRecord]) -> Section:
    """Return everything that the log holds a curve of, and the names of what it does not hold."""
    drawn, absent = plots(panels), [panel.title.lower() for panel in panels if not panel.shown]
    notes = [
        f"{record.label}: {damaged} damaged line{'s' * (damaged > 1)} of metrics.jsonl left out."
        for record in records
        if (damaged := len(record.history.damaged) + record.history.truncated)
    ]
    if not drawn:
        silent = "Nothing of training has been logged yet."
        notes += sorted({record.missing.get("metrics.jsonl", silent) for record in records})
    elif absent:
        notes.append(f"Not logged (yet): {', '.join(absent)}.")
    text = "Means over 1 / 25 of the curve."
    if len(records) == 1:
        text = (
            "Thin: every line of the log, as a band from lowest to highest where there are more than 400. "
            "Bold: mean over 1 / 25 of the curve."
        )
    return Section("curves", "Curves", Content(text if drawn else "", drawn, named=len(records) == 1, notes=notes))


def plots(panels: Sequence[Panel], heading: str = "") -> dict[str, Sequence[Drawing]]:
    """Return the panels that have a value, under their heading; empty without one."""
    drawn = [panel for panel in panels if panel.shown]
    return {heading: drawn} if drawn else {}


def descriptor_section(record: RunRecord, pictures: RunPictures) -> Section:
    """Return curves, histogram, pairs with their matches, and the table of generated pairs beside SIFT."""
    assert pictures.descriptors is not None
    found = pictures.descriptors
    notes = [*found.notes, *([record.missing[PAIRS]] if PAIRS in record.missing else [])]
    panels = plots([*descriptor_panels(record), similarity_panel(found)])
    tables = [pair_table(record)] if record.pairs else []
    content = Content(panels=panels, figures=found.pictures, tables=tables, notes=notes)
    return Section("descriptors", "Descriptors", content)


def inside(record: RunRecord) -> Section:
    """Return layers and output in the steps that were probed."""
    layers = layer_maps(record)
    panels = ({"Layers": layers} if layers else {}) | plots(probe_panels(record), "Output")
    content = Content("Single steps, train.probe_every apart. Layers: a row each, input on top.", panels)
    if not panels:
        text = "The log holds no line of the event probe; train.probe_every sets how often one is written."
        content = Content(notes=[text])
    return Section("inside", "Inside the network", content)


def output_section(records: Sequence[RunRecord], pictures: Mapping[str, RunPictures]) -> Section:
    """Return a row of pictures for each subject, or for each subject and run, and the figures of the output."""
    several = len(records) > 1
    shown = {record.label: pictures[record.label] for record in records}
    groups: dict[str, list] = {}
    statistics, figures = {}, []
    notes = [f"{label}: {note}" if several else note for label, one in shown.items() for note in one.notes]
    for record in records:
        for output in shown[record.label].outputs:
            name = output.subject.name
            groups.setdefault(name if several else "", []).append((record.label if several else name, output))
        for group, found in shown[record.label].statistics.items():
            statistics[f"{record.label}, {group}" if several else group] = found
        if not several:  # of overfitting
            figures, damage = read_picture(record.path / "strip.png", "From the first step to the last")
            notes += damage
    content = {
        "weights": {label if several else "Weights": one.weights for label, one in shown.items() if one.outputs},
        "groups": groups,
        "statistics": statistics_table(statistics),
        "figures": figures,
        "notes": notes if notes or groups else ["No weights to show."],
    }
    return Section("output", "Heatmaps", content, "output.html")


def samples_section(samples: Sequence[Picture], text: str) -> Section:
    """Return what the network is trained on."""
    absent = ["They cannot be drawn: config.yaml or the training set cannot be read."]
    content = Content(text, sheet=samples) if samples else Content(notes=absent)
    return Section("samples", "Training samples", content)


def evaluation_section(record: RunRecord) -> Section:
    """Return tables and precision-recall curves of evaluation/synthetic.json."""
    return Section("evaluation", "Evaluation on synthetic shapes", _evaluation(record))


def _evaluation(record: RunRecord) -> Content:
    results = record.evaluation
    if not results:
        command = f"superpoint evaluate synthetic --model {shlex.quote(str(record.path))}"
        return Content(notes=[f"{record.missing.get(EVALUATION, '')} This command writes it: {command}"])
    try:
        protocol, loosest = results[0]["protocol"], max(results[0]["pooled"], key=float)
        tables = [rich_table(summary_table(results)), rich_table(primitive_table(results, float(loosest)))]
        panels = plots(precision_recall_panels(results, float(loosest)))
        text = (
            f"Protocol {protocol['name']}: suppression within {protocol['nms_radius']} px, probability above "
            f"{protocol['threshold']:g}, border {protocol['border']} px, matched {protocol['matching']}. "
            f"{results[0]['images']} scenes; the classical detectors calibrate the protocol. "
            "Of primitives without labels the second table counts false positives per image (fp)."
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # a file of another version
        return Content(notes=[f"{EVALUATION} cannot be read ({type(error).__name__}: {error})."])
    return Content(text, panels, tables=tables)


def differences(records: Sequence[RunRecord]) -> Section:
    """Return the keys whose values differ between the runs."""
    table = config_differences(records)
    notes = [f"{one.label}: {one.missing['config.yaml']}" for one in records if "config.yaml" in one.missing]
    same = "" if table.rows or len(table.headers) < 3 else "The configurations are the same but for the run folder."
    content = Content(same, tables=[table] if table.rows else [], notes=notes)
    return Section("differences", "Configuration: what differs", content)


def configuration(record: RunRecord, kind: type) -> Section:
    """Return what differs from the defaults of a stage's configuration `kind`, then everything."""
    content = {"record": record, **config_tables(record, kind)}
    return Section("configuration", "Configuration", content, "configuration.html")


def environment(record: RunRecord) -> Section:
    """Return versions, machine and code of the last session, and a row for each session."""
    return Section("environment", "Environment", {"record": record}, "environment.html")
