"""Wrong values of any stage are one line that names the key."""

import pytest

from superpoint.config import (
    AdaptConfig,
    FinetuneConfig,
    LabellingConfig,
    MagicPointConfig,
    PipelineConfig,
    SuperPointConfig,
    load_config,
)
from superpoint.errors import UserError

BAD: dict[type, list[tuple[str, str]]] = {  # overrides, and what the message says
    MagicPointConfig: [
        ("train.stepz=5", r"train\.stepz: Key 'stepz' not in 'TrainConfig'.*Did you mean: 'steps'"),
        ("train.steps=many", r"train\.steps: Value 'many'"),
        ("train=5", "train=5"),
        ("seed", "found no '=', expected key.path=value"),
        ("seed=[1", "seed="),
        ("run=${foo}", "foo"),
        ("run=???", r"run: found \?\?\?, expected a value"),
        ("train.steps=0", r"train\.steps: found 0, expected a finite number >= 1"),
        ("train.steps=null train.minutes=null", "neither steps nor minutes"),
        ("train.ema=1.0", r"train\.ema"),
        ("optimizer.name=sdg", "did you mean 'sgd'"),
        ("optimizer.betas=[0.9]", r"optimizer\.betas: found \[0\.9\]"),
        ("optimizer.betas=[0.9,1.5]", r"optimizer\.betas"),
        ("optimizer.lr=inf", r"optimizer\.lr"),
        ("optimizer.nesterov=true optimizer.momentum=0", "nesterov"),
        ("schedule.warmup=2", r"schedule\.warmup: found 2"),
        ("schedule.milestones=[nan]", "milestones"),
        ("data.homography.perspective=0.6", r"data\.homography\.perspective: found 0\.6"),
        ("data.homography.scale=[0.05,0.1]", "highest zoom"),
        ("data.homography.rotation=inf", "rotation"),
        ("data.photometric.strength=1e6", r"data\.photometric\.strength"),
        ("data.photometric.motion_blur=100000", "motion_blur"),
        ("data.photometric.brightness=nan", "brightness"),
        ("data.photometric.lamplight=0.5", r"lamplight: found 0\.5, expected a finite number >= 1"),
        ("data.photometric.lamplight=101", "lamplight"),
        ("data.photometric.speckle_noise=-1", "speckle_noise"),
        ("data.photometric.contrast=[2,1]", r"expected \[low, high\]"),
        ("data.synthetic.texture=7", "texture"),
        ("data.synthetic.compose=-1", "compose"),
        ("data.synthetic.primitives.cube=inf", "cube"),
        ("data.synthetic.primitives.cube=-1", r"primitives\.cube: found -1"),
        ("decode.threshold=2", r"decode\.threshold"),
        ("model.descriptor_dim=64", r"model\.descriptor_dim"),
        ("seed=-1", "seed: found -1"),
        ("seed=1000003", "tested on"),
        ("validation.seed=2000003", "final test"),
    ],
    SuperPointConfig: [
        ("model.descriptor_dim=0", r"model\.descriptor_dim: found 0"),
        ("data.kind=mixed", r"data\.kind: found 'mixed', expected one of synthetic, labelled"),
        ("data.kind=labelled", r"without data\.labels"),
        ("data.correspondences=1", r"data\.correspondences"),
        ("data.zoom=0.5", r"data\.zoom"),
        ("data.min_overlap=0", r"data\.min_overlap"),
        ("descriptor.name=triplet", r"descriptor\.name: found 'triplet'"),
        ("descriptor.balance=half", r"descriptor\.balance"),
        ("descriptor.weight=0", r"descriptor\.weight"),
        ("descriptor.temperature=0", r"descriptor\.temperature"),
        ("descriptor.margin=1", r"Key 'margin' not in 'DescriptorLossConfig'"),
        ("validation.pairs=1", r"validation\.pairs"),
        ("validation.height=8", r"validation\.height"),
        ("seed=2000003", "tested on"),
    ],
    LabellingConfig: [
        ("precision=fp16", r"^precision: found 'fp16', expected one of auto, fp32, bf16"),
        ("device=gpu", r"^device: found 'gpu', expected one of auto, cpu, cuda, mps"),
        ("backend=onnx", r"^backend: found 'onnx', expected one of auto, torch, openvino, onnxruntime"),
        ("resize=4", r"^resize: found 4, expected 0 or at least 8 pixels"),
        ("adaptation.homographies=-1", r"adaptation\.homographies: found -1, expected a finite number >= 0"),
        ("adaptation.rotation=200", r"adaptation\.rotation: found 200"),
        ("adaptation.scale=[1.5,0.7]", r"adaptation\.scale: found \[1\.5, 0\.7\], expected \[low, high\]"),
        ("adaptation.scale=[0.1,0.2]", r"adaptation\.scale: found .* expected a highest zoom of 0\.4 or more"),
        ("adaptation.perspective=0.5", r"adaptation\.perspective: found 0\.5, expected >= 0 and < 0\.5"),
        ("adaptation.scales=[]", r"adaptation\.scales: found an empty list"),
        ("adaptation.scales=[1.0,0.0]", r"adaptation\.scales: found 0\.0"),
        ("adaptation.min_views=0", r"adaptation\.min_views: found 0"),
        ("adaptation.settle=1.5", r"adaptation\.settle: found 1\.5"),
        ("adaptation.memory=-1", r"adaptation\.memory: found -1"),
    ],
    FinetuneConfig: [
        ("training.run=x", "training.run: is set by this recipe"),
        ("training.weights=magicpoint", "training.weights: is set"),
        ("training.model.descriptor_dim=8", "training.model: is set"),
        ("training.data.overfit=2", "training.data.overfit: is set"),
        ("labelling.weights=x", "labelling.weights: is set"),
    ],
    AdaptConfig: [
        ("training.weights=magicpoint", r"training\.weights: is set by this recipe"),
        ("labelling.adaptation.homographies=1", "labelling.adaptation.homographies: found 1"),
    ],
    PipelineConfig: [
        ("magicpoint.run=x", "magicpoint.run: is set by this recipe"),
        ("superpoint.weights=x", "superpoint.weights: is set by this recipe"),
        ("superpoint.seed=4", "superpoint.seed: is set by this recipe"),
        ("superpoint.model.descriptor_dim=64", "superpoint.model: is set by this recipe"),
        ("superpoint.data.overfit=1", "superpoint.data.overfit: is set"),
        ("labels.weights=x", "labels.weights: is set"),
        ("labels.merge=false", "labels.merge: is set"),
        ("model.descriptor_dim=0", "model.descriptor_dim: found 0"),
        ("seed=1000003", "seed: found 1000003"),
        ("limit=1", "limit: found 1, expected 0"),
        ("magicpoint.train.stepz=1", "stepz"),
    ],
}


@pytest.mark.parametrize(("kind", "overrides", "message"), [(kind, *row) for kind, rows in BAD.items() for row in rows])
def test_bad_values_are_one_clear_line(kind: type, overrides: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_config(kind, None, overrides.split())
    assert "\n" not in str(caught.value)
