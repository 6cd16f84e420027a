"""What a detector puts out, drawn cell by cell: arrays in, figures out."""

from superpoint.diagnostics.heatmaps.figures import heatmap_comparison, heatmap_panels

__all__ = ["heatmap_comparison", "heatmap_panels"]
