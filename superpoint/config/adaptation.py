"""Homographic adaptation: how many views of an image, how far they are warped, how they are put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from superpoint.errors import UserError, check_number, check_one_of, check_range


@dataclass(frozen=True)
class AdaptationConfig:
    """See `superpoint/adaptation`. Points are decoded from the aggregated map with `decode`, as from a plain one."""

    homographies: int = 100  # views, the unwarped image among them; 0 or 1 = plain detection
    seed: int = 0  # the views of an image depend on this and on its name only
    rotation: float = 45.0  # degrees, uniform in [-rotation, rotation]
    scale: list[float] = field(default_factory=lambda: [0.7, 1.4])  # zoom factor, log-uniform
    perspective: float = 0.1  # largest displacement of a corner, as a share of the image side
    shear: float = 0.05  # largest displacement shared by a side's two corners, as a share of the image side
    translation: float = 0.1  # of the centre, as a share of the image side
    right_angles: bool = False  # turn the views by 0, 90, 180, 270 degrees in turn, besides `rotation`
    scales: list[float] = field(default_factory=lambda: [1.0])  # resolutions of the views, taken in turn
    aggregation: str = "mean"  # mean | max over the views that see a pixel
    margin: int = 3  # pixels of a view beside its frame, and beside the image's outline in it, that are not used
    min_views: int = 5  # a pixel seen by fewer views gets no point (fewer still if there are fewer views at all)
    # Stop once this share of the points stays put over 10 more views; 0 = take all views. On photographs 0.9 takes 44
    # views of 100 and changes 11 % of the points; another seed changes 16 %.
    settle: float = 0.0
    memory: int = 0  # MB for the views of one chunk; 0 = a quarter of what is free, at most 512 MB

    def __post_init__(self) -> None:
        limits = {"homographies": 100_000, "seed": 2**63, "rotation": 180, "translation": 1, "shear": 0.5}
        for key, limit in limits.items():
            check_number(f"adaptation.{key}", getattr(self, key), 0, limit)
        check_range("adaptation.scale", self.scale, 0.05, 20.0)
        if self.scale[1] < 0.4:
            raise UserError(f"adaptation.scale: found {list(self.scale)}, expected a highest zoom of 0.4 or more")
        if not 0 <= self.perspective < 0.5:  # beyond, corners would cross
            raise UserError(f"adaptation.perspective: found {self.perspective}, expected >= 0 and < 0.5")
        if not self.scales:
            raise UserError("adaptation.scales: found an empty list, expected one resolution or more, e.g. [1.0]")
        for scale in self.scales:
            check_number("adaptation.scales", scale, 0.1, 8)
        check_one_of("adaptation.aggregation", self.aggregation, ["mean", "max"])
        check_number("adaptation.margin", self.margin, 0, 100)
        check_number("adaptation.min_views", self.min_views, 1)
        check_number("adaptation.settle", self.settle, 0, 1)
        check_number("adaptation.memory", self.memory, 0)
