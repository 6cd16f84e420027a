"""Synthetic scenes: a background and one or more primitives."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint.config import SyntheticConfig
from superpoint.data.synthetic.canvas import Canvas, background
from superpoint.data.synthetic.shapes import PRIMITIVES, Region
from superpoint.errors import UserError


@dataclass(frozen=True)
class Scene:
    image: NDArray[np.uint8]  # [H, W], or of several channels [H, W, C]
    points: NDArray[np.float32]  # [N, 2] (x, y), sub-pixel corners that are visible
    primitive: str  # or "composed"


class ShapeGenerator:
    """Synthetic shapes at any image size. `scene(index)` is a pure function of (seed, index).

    Raises: UserError for an unknown primitive.
    """

    def __init__(self, config: SyntheticConfig, height: int, width: int, seed: int, channels: int = 1) -> None:
        unknown = sorted(set(config.primitives) - set(PRIMITIVES))
        if unknown:
            known = ", ".join(PRIMITIVES)
            raise UserError(f"data.synthetic.primitives: found '{unknown[0]}', expected one of {known}")
        self.config = config
        self.height, self.width, self.seed, self.channels = height, width, seed, channels
        self.names = [name for name, weight in config.primitives.items() if weight > 0]
        weights = np.array([config.primitives[name] for name in self.names])
        self._cumulative = np.cumsum(weights / weights.sum())

    def scene(self, index: int, primitive: str | None = None) -> Scene:
        """Draw scene number `index`; of one given primitive alone, if named."""
        if primitive is not None and primitive not in PRIMITIVES:
            raise UserError(f"primitive: found '{primitive}', expected one of {', '.join(PRIMITIVES)}")
        stream = 0 if primitive is None else 1 + list(PRIMITIVES).index(primitive)
        rng = np.random.Generator(np.random.SFC64([self.seed, index, stream]))
        canvas = Canvas(
            background(rng, self.height, self.width, self.config.texture),
            rng,
            self.config.texture * 0.5,
            self.config.min_contrast,
        )
        whole: Region = (0.0, 0.0, float(self.width), float(self.height))
        if primitive is None and rng.random() < self.config.compose:
            for region in _regions(rng, whole):
                PRIMITIVES[self._draw_name(rng)](canvas, rng, region)
            name = "composed"
        else:
            name = primitive or self._draw_name(rng)
            PRIMITIVES[name](canvas, rng, whole)
        image, points = canvas.finish()
        if rng.random() < 0.5:  # lenses blur: corners are seldom as sharp as drawn
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.0)), np.uint8)
        if self.channels > 1:
            image = _in_channels(image, self.channels, rng)
        return Scene(image, points, name)

    def _draw_name(self, rng: np.random.Generator) -> str:
        return self.names[int(np.searchsorted(self._cumulative[:-1], rng.random(), side="right"))]


def _in_channels(image: NDArray[np.uint8], channels: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The scene in each channel with a contrast of its own, down to none or reversed; in one of them as it is.

    So corners may be in any channel, and no channel can be relied on.
    """
    factors = rng.uniform(-1.0, 1.0, channels)
    levels = rng.uniform(80.0, 175.0, channels)
    kept = rng.integers(channels)
    factors[kept], levels[kept] = 1.0, image.mean()
    values = levels + factors * (image[:, :, None] - image.mean())
    return np.rint(values.clip(0, 255)).astype(np.uint8)


def _regions(rng: np.random.Generator, whole: Region) -> list[Region]:
    """The frame cut into 2 to 4 rectangles, each cut along its longer side at about the middle."""
    regions = [whole]
    for _ in range(int(rng.integers(1, 4))):
        largest = max(range(len(regions)), key=lambda i: regions[i][2] * regions[i][3])
        x, y, w, h = regions.pop(largest)
        if w >= h:
            cut = w * rng.uniform(0.35, 0.65)
            regions += [(x, y, cut, h), (x + cut, y, w - cut, h)]
        else:
            cut = h * rng.uniform(0.35, 0.65)
            regions += [(x, y, w, cut), (x, y + cut, w, h - cut)]
    return regions
