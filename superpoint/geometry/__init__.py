"""Geometry: the pixel convention, homographies and 8x8 cells."""
