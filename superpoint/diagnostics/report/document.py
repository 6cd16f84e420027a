"""The report of a run, or of several beside each other, as one HTML page that needs nothing else.

What is shown was read from run folders and may hold anything: all of it is escaped (`page`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from superpoint.diagnostics.report.compare import (
    comparison_heading,
    config_differences,
    evaluation_comparison,
    output_comparison,
)
from superpoint.diagnostics.report.descriptors import descriptor_section
from superpoint.diagnostics.report.figures import (
    curves_section,
    output_section,
    panel_figure,
    probe_section,
    samples_section,
)
from superpoint.diagnostics.report.page import Html, details, join, page, section, tag
from superpoint.diagnostics.report.pictures import RunPictures
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.sections import (
    config_content,
    config_section,
    doctor_content,
    doctor_section,
    environment_content,
    environment_section,
    evaluation_content,
    evaluation_section,
    heading,
)


def render_report(records: Sequence[RunRecord], pictures: Mapping[str, RunPictures], now: float) -> str:
    """The page of one run, or the comparison of several.

    Args:
        records: what the run folders say, see `record.read_records`.
        pictures: of each record, by its label.
        now: seconds since 1970, to tell a run that goes on from one that was killed.

    Returns:
        HTML of about a megabyte: styles and pictures are inside, nothing is loaded and nothing is run.
    """
    if len(records) == 1:
        return _report(records[0], pictures[records[0].label], now)
    return _comparison(records, pictures, now)


def _report(record: RunRecord, pictures: RunPictures, now: float) -> str:
    sections = [
        doctor_section(record),
        curves_section([record]),
        *([descriptor_section(record, pictures.descriptors)] if pictures.descriptors is not None else []),
        probe_section(record),
        output_section(record, pictures),
        samples_section(pictures),
        evaluation_section(record, panel_figure),
        config_section(record),
        environment_section(record),
    ]
    return page(f"{record.label}: training report", heading(record, now), _contents(sections), tag("main", *sections))


def _comparison(records: Sequence[RunRecord], pictures: Mapping[str, RunPictures], now: float) -> str:
    folded = []
    for record in records:
        content = [
            tag("h3", "Diagnosis"), *doctor_content(record),
            tag("h3", "Evaluation"), *evaluation_content(record, panel_figure),
            tag("h3", "Configuration"), *config_content(record),
            tag("h3", "Environment"), *environment_content(record),
        ]  # fmt: skip
        folded.append(details(record.label, *content))
    sections = [
        curves_section(records),
        config_differences(records),
        evaluation_comparison(records),
        output_comparison(records, pictures),
        section("runs", "Each run", *folded),
    ]
    title = f"Comparison of {', '.join(record.label for record in records)}"
    return page(title, comparison_heading(records, now), _contents(sections), tag("main", *sections))


def _contents(sections: Sequence[Html]) -> Html:
    """Links to the sections, by the names and titles they carry."""
    links = []
    for text in sections:
        name = text.split('id="', 1)[1].split('"', 1)[0]
        title = Html(text.split("<h2>", 1)[1].split("</h2>", 1)[0])
        links.append(tag("a", title, href=f"#{name}"))
    return tag("nav", join(links, " "), aria_label="Contents")
