import pytest

from superpoint.config import LabellingConfig, load_config
from superpoint.errors import UserError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision=fp16", r"^precision: found 'fp16', expected one of auto, fp32, bf16"),
        ("device=gpu", r"^device: found 'gpu', expected one of auto, cpu, cuda, mps"),
        ("backend=onnx", r"^backend: found 'onnx', expected one of auto, torch, openvino, onnxruntime"),
        ("resize=4", r"^resize: found 4, expected 0 or at least 8 pixels"),
        ("adaptation.homographies=-1", r"adaptation\.homographies: found -1, expected a finite number >= 0"),
        ("adaptation.rotation=200", r"adaptation\.rotation: found 200"),
        ("adaptation.scale=[1.5,0.7]", r"adaptation\.scale: found \[1\.5, 0\.7\], expected \[low, high\]"),
        (
            "adaptation.scale=[0.1,0.2]",
            r"adaptation\.scale: found .* expected a highest zoom of 0\.4 or more",
        ),
        ("adaptation.perspective=0.5", r"adaptation\.perspective: found 0\.5, expected >= 0 and < 0\.5"),
        ("adaptation.scales=[]", r"adaptation\.scales: found an empty list"),
        ("adaptation.scales=[1.0,0.0]", r"adaptation\.scales: found 0\.0"),
        ("adaptation.min_views=0", r"adaptation\.min_views: found 0"),
        ("adaptation.settle=1.5", r"adaptation\.settle: found 1\.5"),
        ("adaptation.memory=-1", r"adaptation\.memory: found -1"),
    ],
)
def test_wrong_values_are_one_clear_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(LabellingConfig, overrides=[override])
