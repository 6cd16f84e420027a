"""Classification networks as encoders: image [B, channels, H, W] -> features [B, C, H / 8, W / 8].

The first four stages are kept. VGG's halve the size three times, as wanted, the others four times. A plan says which
halving is left out:

early   the second (ResNet's and ShuffleNet's pooling, MobileNet's second strided block): later features are twice as
        dense, which helps localisation.
late    the last: its stage stays at stride 8 and its further kernels are dilated by 2, so that features are those of
        the pretrained network, only denser (Chen et al. 2015, arXiv 1412.7062, section 3.1). Half the work.
"""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import nn

from superpoint.backbones.classifiers import CLASSIFIERS
from superpoint.backbones.network import ConvNorm, halves
from superpoint.errors import check_one_of
from superpoint.geometry.cells import CELL

STAGES = 4
PLANS = ("early", "late")
WIDEST = 256  # channels; more are brought down to it by a 1x1 convolution, since the heads are 3x3 on all of them
FAMILIES = ("vgg", "resnet", "resnext", "mobilenet", "shufflenet", "se_resnet", "cbam_resnet")
ENCODER_NAMES = tuple(name for name in CLASSIFIERS if name.startswith(FAMILIES))


class TrunkEncoder(nn.Module):
    """The first four stages of a classification network at stride 8, and a 1x1 adapter if they end in many channels.

    Args:
        name: one of ENCODER_NAMES.
        plan: early or late, see above; the same for VGG.
        channels: of the image.

    Attributes:
        stages: what `model.freeze_encoder` and `optimizer.layer_decay` count; without the adapter.
        paths: path of each module here -> its path in the classification network.
    """

    def __init__(self, name: str, plan: str = "early", channels: int = 1) -> None:
        super().__init__()
        check_one_of("encoder", name, ENCODER_NAMES)
        check_one_of("plan", plan, PLANS)
        self.name = name
        with torch.device("meta"):  # only what is kept shall need memory
            stages = CLASSIFIERS[name](in_channels=channels).stages()[:STAGES]
        self.stages, self.paths = nn.ModuleList(), dict[str, str]()
        for index, stage in enumerate(stages):
            named = {path.replace(".", "_"): module for path, module in stage.items()}
            self.stages.append(nn.Sequential(OrderedDict(named)))
            self.paths |= {f"stages.{index}.{name}": path for name, path in zip(named, stage, strict=True)}
        if all(halves(stage) for stage in self.stages):
            _keep_size(self.stages[1]) if plan == "early" else _dilate(self.stages[-1])
        self.to_empty(device="cpu")
        for layer in self.stages.modules():
            if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
                layer.reset_parameters()
        with torch.no_grad():
            width = self.eval()._run(torch.zeros(1, channels, CELL, CELL)).shape[1]
        self.train()
        self.out_channels = min(width, WIDEST)
        self.adapter = ConvNorm(width, WIDEST, 1) if width > WIDEST else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self._run(image)
        return features if self.adapter is None else self.adapter(features)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


def _units(stage: nn.Module) -> Iterator[nn.Module]:
    """Return the blocks of a stage in the order of execution; residual blocks stay whole."""
    for module in stage.children():
        if isinstance(module, nn.Sequential):
            yield from _units(module)
        else:
            yield module


def _keep_size(stage: nn.Module) -> None:
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            layer.stride = (1, 1)
        elif isinstance(layer, nn.MaxPool2d):
            layer.stride = 1


def _dilate(stage: nn.Module) -> None:
    """Take the stride out of a stage and dilate what follows."""
    dense = False  # whether what has come so far puts out features twice as dense as the kernels expect
    for unit in _units(stage):
        inside = False  # the same within this block, whose branches begin at its input
        for layer in (layer for layer in unit.modules() if isinstance(layer, nn.Conv2d)):
            if layer.stride == (2, 2):
                layer.stride, inside = (1, 1), True
            elif (dense or inside) and layer.kernel_size != (1, 1):
                layer.dilation = (2, 2)
                layer.padding = tuple(2 * side for side in layer.padding)  # pyright: ignore[reportAttributeAccessIssue]
        dense = dense or inside
