"""SuperPoint: synthetic shapes, MagicPoint, and the detector network. Importing this starts nothing."""

from superpoint.models import SuperPoint, build_model, load_model

__version__ = "0.1.0"
__all__ = ["SuperPoint", "__version__", "build_model", "load_model"]
