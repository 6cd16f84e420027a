"""The network in torch: channels_last, batch norms folded into the convolutions, bf16 where it is native."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from superpoint.backends.network import Network
from superpoint.models.superpoint import SuperPoint
from superpoint.models.weights import model_hash


class TorchNetwork(Network):
    backend = "torch"

    def __init__(self, model: SuperPoint, precision: str, device: str) -> None:
        self.precision, self.device, self.channels = precision, torch.device(device), model.channels
        self.hash = model_hash(model)
        self._model = fold_batch_norms(model).to(self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        image = image.to(self.device, memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return {name: values.float() for name, values in self._model(image).items()}


def fold_batch_norms(model: SuperPoint) -> SuperPoint:
    """Return an equivalent copy in evaluation mode, batch norms behind convolutions in a Sequential folded in."""
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                convolution, norm = module[index], module[index + 1]
                if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[index], module[index + 1] = fuse_conv_bn_eval(convolution, norm), nn.Identity()
    return folded
