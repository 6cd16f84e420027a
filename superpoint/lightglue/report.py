"""The report of a matcher's run."""

from superpoint.diagnostics.report.curves import Panel
from superpoint.diagnostics.report.page import Content, Section
from superpoint.diagnostics.report.panels import SHARE, learning, optimisation_panels
from superpoint.diagnostics.report.pictures import read_picture
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.sections import configuration, curves_section, diagnosis, environment, inside
from superpoint.lightglue.config import MatcherConfig
from superpoint.lightglue.training import PICTURES

SHOWN = 4  # validations
LOSSES = {"loss": "sum of both, nats", "assignment_loss": "neg. log-likelihood", "confidence_loss": "cross-entropy"}
SHARES = {"recall": "true matches found", "precision": "matches that are right", "unmatched": "unmatchable left so"}


def matcher_sections(record: RunRecord) -> list[Section]:
    """Return the parts of the page of a run."""
    panels = [
        *(Panel(key.replace("_", " ").capitalize(), text, learning(record, key)) for key, text in LOSSES.items()),
        *(Panel(key.capitalize(), text, learning(record, key), limits=SHARE) for key, text in SHARES.items()),
        *optimisation_panels(record),
    ]
    parts = [diagnosis(record), curves_section(panels, record), matches_section(record), inside(record)]
    return [*parts, configuration(record, MatcherConfig), environment(record)]


OTHER_REPORTS = {MatcherConfig.stage: matcher_sections}  # for `diagnostics.report.write.write_report`


def matches_section(record: RunRecord) -> Section:
    """Return the matches of the same held-out pairs over time."""
    found = sorted((record.path / PICTURES).glob("*.png"))
    figures, notes = [], [] if found else ["No validation has drawn matches yet."]
    for number in sorted({round(place * (len(found) - 1) / (SHOWN - 1)) for place in range(SHOWN)} if found else ()):
        more, damage = read_picture(found[number], f"Held-out pairs, validation {number + 1} of {len(found)}", 80)
        figures += more
        notes += damage
    return Section("matches", "Matches over time", Content(figures=figures, notes=notes))
