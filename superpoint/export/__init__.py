"""Trained networks as files for other runtimes: ONNX, OpenVINO, TorchScript, torch.export."""

from superpoint.export.formats import FORMATS, Settings, write_model
from superpoint.export.runtime import ExportedNetwork, open_exported

__all__ = ["FORMATS", "ExportedNetwork", "Settings", "open_exported", "write_model"]
