"""Homographic adaptation: labels for real images, from a detector that looks at many warped views of each."""

from superpoint.labelling.adaptation import HomographicAdaptation, agreement

__all__ = ["HomographicAdaptation", "agreement"]
