"""Initial weights by three schemes."""

import math

from torch import Tensor, nn

from superpoint.errors import check_one_of

SCHEMES = ("kaiming", "xavier", "trunc_normal")


def repeated_kernel(kernel: Tensor, times: int) -> Tensor:
    """Return a kernel [O, I, k, k] for `times` images in place of one, with the same response to equal images."""
    return kernel.repeat(1, times, 1, 1) / times


def initialise_weights(module: nn.Module, scheme: str) -> None:
    """Set every convolution and matrix of `module` by `scheme`; biases become 0, norms 1 and 0.

    kaiming: normal, variance 2 / fan-out of one group of a convolution (He et al. 2015, equation 14), 2 / fan-in of
        matrices. PyTorch counts the fan-out of all groups.
    xavier: uniform, variance 2 / (fan-in + fan-out) (Glorot, Bengio 2010, equation 16).
    trunc_normal: standard deviation 0.02, cut at 2 (both absolute).

    Raises: UserError for another scheme.
    """
    check_one_of("init", scheme, SCHEMES)
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            if scheme == "xavier":
                nn.init.xavier_uniform_(layer.weight)
            elif scheme == "trunc_normal":
                nn.init.trunc_normal_(layer.weight, std=0.02)
            elif isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.groups > 1:
                    layer.weight.data.mul_(math.sqrt(layer.groups))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)
