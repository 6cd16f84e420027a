"""What `export-model` may be asked for beside a network: images of one size, numbers of fewer bits."""

from dataclasses import dataclass, field

from superpoint.config.inference import BORDER, MAX_KEYPOINTS, NMS_RADIUS, THRESHOLD
from superpoint.config.model import DecodeConfig
from superpoint.errors import UserError, check_number, check_one_of

SUFFIXES = {
    **{"onnx": ".onnx", "onnx-full": ".onnx", "openvino": ".xml", "torchscript": ".pt"},
    **{"superpoint-v1": ".pth", "transformers": ""},  # the latter is a folder of any name
}
FORMATS = tuple(SUFFIXES)
SHORT = ("onnx", "openvino")  # formats of fp16 and int8


@dataclass(frozen=True)
class ExportConfig:
    """The shape and the numbers of an exported graph.

    Attributes:
        size: (height, width) of all images; None = any.
        batch: number of images; None = any, with `size` 1.
        half: store weights, and in ONNX compute, as fp16.
        int8: compute convolutions in 8 bits.
        calibrate: folder of photographs that their ranges are taken from; None = those of scikit-image.
        decode: the decoder in "onnx-full" and "transformers", and in the comparison with torch.
    """

    form: str = "onnx"
    size: tuple[int, int] | None = None
    batch: int | None = None
    half: bool = False
    int8: bool = False
    calibrate: str | None = None
    decode: DecodeConfig = field(default_factory=lambda: DecodeConfig(NMS_RADIUS, THRESHOLD, BORDER, MAX_KEYPOINTS))

    def __post_init__(self) -> None:
        check_one_of("--format", self.form, FORMATS)
        check_number("--batch", self.batch, 1, 65536, whole=True)
        check_number("--max-keypoints", self.decode.max_keypoints, 1, 1_000_000, whole=True)
        if self.size and not all(side >= 16 and side % 8 == 0 for side in self.size):
            raise UserError("--size: found {}x{}, expected HEIGHT WIDTH, multiples of 8 from 16".format(*self.size))
        if self.batch and not self.size:
            raise UserError(f"--batch: found {self.batch} without --size, expected both, or neither for any size")
        if self.half and self.int8:
            raise UserError("--half: found beside --int8, expected one of the two")
        if self.calibrate and not self.int8:
            raise UserError("--calibrate: found without --int8, which alone needs photographs")
        limits = ("--size", self.size, FORMATS[:4]), ("--half", self.half, SHORT), ("--int8", self.int8, SHORT)
        for option, given, able in limits:
            if given and self.form not in able:
                raise UserError(f"{option}: found --format {self.form}, expected one of {', '.join(able)}")

    @property
    def decoder(self) -> dict[str, float]:
        """Return the settings that a decoder in a file has."""
        return {key: getattr(self.decode, key) for key in ("max_keypoints", "nms_radius", "threshold", "border")}

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Return (batch, height, width), None = any."""
        return (self.batch or 1, *self.size) if self.size else None

    @property
    def numbers(self) -> str:
        """Return "int8", "fp16" or "fp32"."""
        return "int8" if self.int8 else "fp16" if self.half else "fp32"
