"""What a detector puts out, drawn cell by cell: arrays in, figures and pictures out."""

from superpoint.diagnostics.heatmaps.figures import heatmap_comparison, heatmap_panels, heatmap_row

__all__ = ["heatmap_comparison", "heatmap_panels", "heatmap_row"]
