"""Trained networks as files for other runtimes and programs."""

from superpoint.backends.exported import ExportedNetwork, open_exported
from superpoint.export.formats import FORMATS, Settings, write_model

__all__ = ["FORMATS", "ExportedNetwork", "Settings", "open_exported", "write_model"]
