"""Stage report: everything about a run, or several, on one page.

Reads the run folder and the images that are installed; trains nothing. The page needs no network and no other file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from superpoint.config import MagicPointConfig, SuperPointConfig
from superpoint.diagnostics.report import sections
from superpoint.diagnostics.report.network import descriptor_section, output_section, training_section
from superpoint.diagnostics.report.page import Section, render_page
from superpoint.diagnostics.report.panels import compared_panels, training_panels
from superpoint.diagnostics.report.record import RunRecord, read_records
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically

Sections = Callable[[Sequence[RunRecord]], Iterable[Section]]


def write_report(
    runs: Sequence[str | Path], out: str | Path | None = None, others: Mapping[str, Sections] | None = None
) -> Path:
    """Write the page of one run, or the comparison of several, and return its path.

    Args:
        runs: run folders, whatever the state of their runs.
        out: the file; default report.html, or comparison.html for several, in the first run folder.
        others: by stage, what makes the sections of runs of other kinds than detectors.

    Raises: UserError if a folder is no run folder, the runs differ in kind, or the file cannot be written.
    """
    records = read_records(runs)
    name = "report.html" if len(records) == 1 else "comparison.html"
    target = Path(out) if out is not None else records[0].path / name
    if target.is_dir():
        raise UserError(f"{target}: found a folder, expected the name of an HTML file")
    stages = {record.label: record.config.get("stage", "") for record in records}
    makers = {(others or {}).get(stage, detector_sections) for stage in stages.values()}
    if len(makers) > 1:
        found = ", ".join(f"{label} ({stage or 'of no known stage'})" for label, stage in stages.items())
        raise UserError(f"report: found {found}, expected runs of one kind")
    text = render_page(records, list(watch(makers.pop()(records), "sections of the report")))
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def detector_sections(records: Sequence[RunRecord]) -> Iterator[Section]:
    """Yield the sections of one run of a detector or SuperPoint, or of a comparison of several."""
    if len(records) > 1:
        yield sections.curves_section(compared_panels(records), records)
        yield sections.differences(records)
        yield sections.evaluations_section(records)
        yield output_section(records)
        yield Section("runs", "Each run", [(record.label, _own_sections(record)) for record in records], "runs.html")
        return
    (record,) = records
    diagnosis, *last = _own_sections(record)
    yield diagnosis
    yield sections.curves_section(training_panels(record), records)
    if record.joint:
        yield descriptor_section(record)
    yield sections.inside(record)
    yield output_section(records)
    yield training_section(record)
    yield from last


def _own_sections(record: RunRecord) -> list[Section]:
    kind = SuperPointConfig if record.joint else MagicPointConfig
    evaluation, environment = sections.evaluation_section(record), sections.environment(record)
    return [sections.diagnosis(record), evaluation, sections.configuration(record, kind), environment]
