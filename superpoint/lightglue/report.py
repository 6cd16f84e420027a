"""The report of a matcher's run."""

from superpoint.diagnostics.report.curves import Panel
from superpoint.diagnostics.report.page import Section
from superpoint.diagnostics.report.panels import SHARE, learning, optimisation_panels
from superpoint.diagnostics.report.record import RunRecord
from superpoint.diagnostics.report.sections import configuration, curves_section, diagnosis, environment, inside
from superpoint.lightglue.config import MatcherConfig

LOSSES = {"loss": "sum of both, nats", "assignment_loss": "neg. log-likelihood", "confidence_loss": "cross-entropy"}
SHARES = {"recall": "true matches found", "precision": "matches that are right", "unmatched": "unmatchable left so"}


def matcher_sections(record: RunRecord) -> list[Section]:
    """Return the parts of the page of a run."""
    panels = [
        *(Panel(key.replace("_", " ").capitalize(), text, learning(record, key)) for key, text in LOSSES.items()),
        *(Panel(key.capitalize(), text, learning(record, key), limits=SHARE) for key, text in SHARES.items()),
        *optimisation_panels(record),
    ]
    parts = [diagnosis(record), curves_section(panels, record), inside(record)]
    return [*parts, configuration(record, MatcherConfig), environment(record)]


OTHER_REPORTS = {MatcherConfig.stage: matcher_sections}  # for `diagnostics.report.write.write_report`
