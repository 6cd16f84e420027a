"""Sections that set several runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from superpoint.diagnostics.report.figures import output_legend, output_row, statistics_table
from superpoint.diagnostics.report.page import Html, missing, paragraph, section, table, tag
from superpoint.diagnostics.report.pictures import RunPictures
from superpoint.diagnostics.report.record import RunRecord, duration, moment
from superpoint.diagnostics.report.sections import key_figures, state_badge

ABSENT = "-"


def comparison_heading(records: Sequence[RunRecord], now: float) -> Html:
    """A row a run: state, time and final figures."""
    figures = [{name: f"{value} {aside}".strip() for name, value, aside in key_figures(record)} for record in records]
    names = list(dict.fromkeys(name for found in figures for name in found))
    rows = [
        [record.label, state_badge(record, now), f"{record.step:,}", duration(record.elapsed),
         *(found.get(name, ABSENT) for name in names)]
        for record, found in zip(records, figures, strict=True)
    ]  # fmt: skip
    return tag(
        "header",
        tag("h1", f"Comparison of {len(records)} runs"),
        paragraph(f"Report made {moment(now)}."),
        table(["run", "state", "step", "time", *names], rows, numeric=range(2, 4 + len(names))),
    )


def config_differences(records: Sequence[RunRecord]) -> Html:
    """Keys whose values differ between the runs."""
    known = [record for record in records if record.config]
    keys = list(dict.fromkeys(key for record in known for key in record.config))
    differing = [key for key in keys if key != "run" and len({record.config.get(key, ABSENT) for record in known}) > 1]
    content: list[Html] = [
        missing(f"{r.label}: {r.missing['config.yaml']}") for r in records if "config.yaml" in r.missing
    ]
    if differing:
        rows = [[tag("code", key), *(tag("code", r.config.get(key, ABSENT)) for r in known)] for key in differing]
        content.append(table(["key", *(record.label for record in known)], rows, kind="config"))
    elif len(known) > 1:
        content.append(paragraph("The configurations are the same but for the run folder."))
    return section("differences", "Configuration: what differs", *content)


def evaluation_comparison(records: Sequence[RunRecord]) -> Html:
    """Figures of the network in evaluation/synthetic.json, a row a run and variant."""
    rows: list[list[object]] = []
    notes: list[Html] = []
    distances: list[str] = []
    for record in records:
        if not record.evaluation:
            notes.append(missing(f"{record.label}: {record.missing.get('evaluation/synthetic.json', 'not evaluated')}"))
        for result in record.evaluation:
            if result.get("detector") != "network":
                continue
            try:
                distances = distances or list(result["pooled"])
                cells = [_cells(result, eps) for eps in distances]
            except (KeyError, TypeError, AttributeError) as error:
                notes.append(missing(f"{record.label}: evaluation/synthetic.json cannot be read ({error!r})."))
                break
            rows.append(
                [f"{record.label}, {result['variant']}", result["images"], *(c for group in cells for c in group)]
            )
    content: list[Html] = []
    if rows:
        headers = [
            "run",
            "scenes",
            *(f"{name} @{eps} px" for eps in distances for name in ("AP", "mean AP", "F1", "error")),
        ]
        content.append(table(headers, rows, numeric=range(1, len(headers))))
        content.append(
            paragraph("AP pooled over all scenes; mean AP over primitives; error: mean distance in px.", kind="note")
        )
    return section("evaluation", "Evaluation on synthetic shapes", *content, *notes)


def _cells(result: Mapping, eps: str) -> list[str]:
    scores = result["pooled"][eps]
    best = scores["best_f1"]
    values = (scores["ap"], result["mean_ap"][eps], best and best["f1"], scores["localisation_error"])
    return [ABSENT if value is None else f"{value:.3f}" for value in values]


def output_comparison(records: Sequence[RunRecord], pictures: Mapping[str, RunPictures]) -> Html:
    """The same images through the networks of all runs, an image at a time."""
    content: list[Html] = []
    for record in records:
        content += [missing(f"{record.label}: {note}") for note in pictures[record.label].notes]
        if pictures[record.label].outputs:
            content.append(paragraph(record.label, ": ", pictures[record.label].weights, "."))
    subjects = list(dict.fromkeys(out.subject.name for record in records for out in pictures[record.label].outputs))
    if subjects:
        content.append(output_legend())
    for subject in subjects:
        content.append(tag("h3", subject))
        content += [
            output_row(output, record.label)
            for record in records
            for output in pictures[record.label].outputs
            if output.subject.name == subject
        ]
    columns = {
        f"{record.label}, {group}": found
        for record in records
        for group, found in pictures[record.label].statistics.items()
    }
    if columns:
        content.append(statistics_table(columns))
    return section("output", "Heatmaps", *(content or [missing("No weights to show.")]))
