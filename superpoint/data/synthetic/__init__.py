"""The synthetic-shapes generator."""

from superpoint.data.synthetic.render import Scene, ShapeGenerator
from superpoint.data.synthetic.shapes import PRIMITIVES

__all__ = ["PRIMITIVES", "Scene", "ShapeGenerator"]
