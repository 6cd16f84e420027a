"""Trained networks as files for other runtimes and programs."""

from superpoint.backends.exported import open_exported
from superpoint.config.export import FORMATS, ExportConfig
from superpoint.export.formats import write_model

__all__ = ["FORMATS", "ExportConfig", "open_exported", "write_model"]
