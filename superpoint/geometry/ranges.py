"""Ranges of random homographies, in a file of their own: settings are read before OpenCV is loaded."""

from dataclasses import dataclass, field

from superpoint.errors import UserError, check_number, check_range


@dataclass(frozen=True)
class HomographyRanges:
    """What random homographies are drawn from."""

    rotation: float = 45.0  # degrees, uniform in [-rotation, rotation]
    scale: list[float] = field(default_factory=lambda: [0.7, 1.4])  # zoom factor, log-uniform
    perspective: float = 0.15  # largest displacement of a corner, as a share of the image side
    shear: float = 0.1  # largest displacement shared by a side's two corners, as a share of the image side
    translation: float = 0.1  # of the centre, as a share of the image side

    def check(self, key: str) -> None:
        """Raise UserError for a range that cannot be, naming it below `key`."""
        for name, limit in {"rotation": 180, "shear": 0.5, "translation": 1}.items():
            check_number(f"{key}.{name}", getattr(self, name), 0, limit)
        check_range(f"{key}.scale", self.scale, 0.05, 20.0)
        if self.scale[1] < 0.4:
            raise UserError(f"{key}.scale: found {list(self.scale)}, expected a highest zoom of 0.4 or more")
        if not 0 <= self.perspective < 0.5:  # beyond, corners would cross
            raise UserError(f"{key}.perspective: found {self.perspective}, expected >= 0 and < 0.5")
