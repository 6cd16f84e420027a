"""Stage report: everything about a run on one page.

Reads the run folder and the images that are installed; trains nothing. The page needs no network and no other file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from superpoint.config import MagicPointConfig, SuperPointConfig
from superpoint.diagnostics.report import sections
from superpoint.diagnostics.report.network import descriptor_section, output_section, training_section
from superpoint.diagnostics.report.page import Section, render_page
from superpoint.diagnostics.report.panels import training_panels
from superpoint.diagnostics.report.record import RunRecord, read_record
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically

Sections = Callable[[RunRecord], Iterable[Section]]


def write_report(run: str | Path, out: str | Path | None = None, others: Mapping[str, Sections] | None = None) -> Path:
    """Write the page of a run and return its path.

    Args:
        run: run folder, whatever the state of its run.
        out: the file; default report.html in the run folder.
        others: by stage, what makes the sections of runs of other kinds than detectors.

    Raises: UserError if the folder is no run folder, or the file cannot be written.
    """
    record = read_record(run)
    target = Path(out) if out is not None else record.path / "report.html"
    if target.is_dir():
        raise UserError(f"{target}: found a folder, expected the name of an HTML file")
    make = (others or {}).get(record.config.get("stage", ""), detector_sections)
    text = render_page(record, list(watch(make(record), "sections of the report")))
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def detector_sections(record: RunRecord) -> Iterator[Section]:
    """Yield the sections of a run of a detector or SuperPoint."""
    yield sections.diagnosis(record)
    yield sections.curves_section(training_panels(record), record)
    if record.joint:
        yield descriptor_section(record)
    yield sections.inside(record)
    yield output_section(record)
    yield training_section(record)
    yield sections.evaluation_section(record)
    yield sections.configuration(record, SuperPointConfig if record.joint else MagicPointConfig)
    yield sections.environment(record)
