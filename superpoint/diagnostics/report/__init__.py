"""One HTML page about a run, or about several beside each other: records in, text out."""

from superpoint.diagnostics.report.document import render_report

__all__ = ["render_report"]
