"""The network, its loss, and how its output becomes keypoints."""

from dataclasses import dataclass, field

from superpoint.config.inference import BORDER, THRESHOLD, check_grid
from superpoint.errors import UserError, check_number, check_numbers, check_one_of

FINE = {"compact": 16, "lite": 8, "vgg": 16}  # SuperPoint's own encoders, and the usual `fine` with each


@dataclass(frozen=True)
class ModelConfig:
    """Encoder and heads. See `models/superpoint.py`."""

    encoder: str = "vgg"  # a name in superpoint.backbones.ENCODERS
    head_channels: int = 256  # hidden channels of each head
    descriptor_dim: int = 0  # 0 = no descriptor head (MagicPoint)
    init: str = "kaiming"  # kaiming | xavier | trunc_normal
    fine: int = 0  # hidden channels of the detector's branch for each pixel, see FINE; 0 = none, the paper's
    fine_stride: int = 1  # min stride of the features that this branch sees: 1, 2 or 4; compact's begin at 2
    centring: bool = True  # the network maps grey 0..1 to -2..2 first; false = the encoder gets 0..1, as the paper's
    encoder_plan: str | None = None  # early | late: which halving a classification network loses; null = early
    encoder_weights: str | None = None  # pretrained: torchvision's .pth, .safetensors or a run of train-classifier
    freeze_encoder: int | None = None  # first stages of the encoder that are not trained; -1 = all of it
    channels: int = 1  # of the images: 1 = grey, 3 = RGB, other numbers = the first bands of a file as stored

    def __post_init__(self) -> None:
        made_for_it = self.encoder in FINE  # unknown names are refused by `build_model`
        for key in ("encoder_plan", "encoder_weights"):
            if (made_for_it or self.encoder == "vgg-original") and getattr(self, key) is not None:
                raise UserError(
                    f"model.{key}: found {getattr(self, key)}, expected null with model.encoder={self.encoder}, which "
                    "is no classification network"
                )
        if self.encoder_plan is not None:
            check_one_of("model.encoder_plan", self.encoder_plan, ["early", "late"])
        check_numbers(self, "model.", freeze_encoder=(-1,), head_channels=(1,), fine=(0,), descriptor_dim=(0,))
        check_number("model.channels", self.channels, 1, 64)
        if self.fine_stride not in (1, 2, 4):
            raise UserError(f"model.fine_stride: found {self.fine_stride}, expected 1, 2 or 4")
        check_one_of("model.init", self.init, ["kaiming", "xavier", "trunc_normal"])
        for key, usual in (("fine", 0), ("fine_stride", 1), ("centring", True)):
            if getattr(self, key) != usual and not made_for_it:
                raise UserError(
                    f"model.{key}: found {getattr(self, key)}, expected {usual} with model.encoder={self.encoder}, "
                    f"not one of {', '.join(sorted(FINE))}"
                )


@dataclass(frozen=True)
class LossConfig:
    """Detector loss. See `losses.detector_loss`."""

    positive_weight: float = 3.0  # weight of cells that hold a point, beside 1 of those that hold none

    def __post_init__(self) -> None:
        check_number("loss.positive_weight", self.positive_weight, 0, above=True)


@dataclass(frozen=True)
class DecodeConfig:
    """From logits to keypoints. See `models/decode.py`."""

    nms_radius: int = 4  # pixels; that of the published protocols (commands for use: config/inference.py)
    threshold: float = THRESHOLD  # min probability of a keypoint
    border: int = BORDER  # pixels; keypoints nearer to the image edge are dropped
    max_keypoints: int = 0  # strongest keypoints kept; 0 = all
    subpixel: bool = True  # refine peaks to a fraction of a pixel
    grid: list[int] = field(default_factory=list)  # columns and rows of cells, e.g. [8,8]; [] = none
    per_cell: int = 0  # strongest keypoints kept in each cell of `grid`

    def __post_init__(self) -> None:
        check_numbers(self, "decode.", nms_radius=(0, 1000), threshold=(0, 1), border=(0,), max_keypoints=(0,))
        check_grid(self.grid, self.per_cell, "decode.")
