"""Trained networks as files for other runtimes and programs."""

from superpoint.backends.exported import ExportedNetwork, open_exported
from superpoint.config.export import FORMATS
from superpoint.export.formats import Settings, write_model

__all__ = ["FORMATS", "ExportedNetwork", "Settings", "open_exported", "write_model"]
