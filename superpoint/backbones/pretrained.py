"""Weights of classification networks: torchvision's checkpoints, safetensors, run folders."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from superpoint.backbones.classifiers import CLASSIFIERS
from superpoint.backbones.encoders import TrunkEncoder
from superpoint.backbones.initialisation import repeated_kernel
from superpoint.backbones.network import IMAGENET_MEAN, IMAGENET_STD, ClassificationNetwork
from superpoint.errors import UserError

GREY_CENTRE, GREY_GAIN = 0.5, 4.0  # `models.SuperPoint` gives its encoder (image - 0.5) * 4
LISTED = 3  # mismatches that an error names
IN_FOLDERS = ("weights.safetensors", "checkpoints/best.ckpt", "model.safetensors", "pytorch_model.bin")
NESTED = ("ema", "model", "state_dict", "extractor")  # keys that checkpoints have around the weights
COUNTER = "num_batches_tracked"  # of batch norm: checkpoints from before PyTorch 0.4.1 have none, and nobody needs it


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Load parameters and buffers on the CPU, floating ones as float32; nothing in the file is executed.

    path: .safetensors; a file of `torch.save` with the state, also below one of `NESTED`; or a run folder. A prefix
    "module." (DataParallel) is dropped.

    Raises: UserError: missing, damaged, or no such file.
    """
    content = read_content(path)
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path}: found no names with tensors, expected the state of a network")
    return {
        str(name).removeprefix("module."): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in content.items()
    }


def read_content(path: str | Path) -> Any:
    """Load what a file of weights holds, as it is, on the CPU; nothing in the file is executed.

    path: .safetensors, a file of `torch.save`, a run folder, or one of Hugging Face's.

    Raises: UserError: missing, damaged, or more than tensors and plain values.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in IN_FOLDERS if (path / name).is_file()]
        if not found:
            raise UserError(f"{path}: found no weights, expected {' or '.join(IN_FOLDERS)} in it")
        path = found[0]
    if not path.is_file():
        raise UserError(f"{path}: no such file, expected weights (.pth, .safetensors) or a run folder")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # of foreign pickles; whether they can be read shows by itself
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make the unpickler raise nearly everything
        reason, more = "damaged, or it holds more than tensors", re.search(r"GLOBAL (\S+)", str(error))
        if more:
            reason = f"it holds {more[1]}, which takes running its code; save the state_dict alone where it was made"
        elif isinstance(error, (SafetensorError, OSError, RuntimeError)) and str(error):
            reason = str(error).splitlines()[0][:200]
        raise UserError(f"{path}: cannot be read as weights ({reason})") from error


def load_classifier(network: ClassificationNetwork, path: str | Path) -> list[str]:
    """Load a classification network from `path` (`read_state`); return the names that keep their weights.

    These are of the layer of the logits, where the classes are others.

    Raises: UserError, which lists the first mismatches; the network is unchanged then.
    """
    state, own = read_state(path), network.state_dict()
    head = [name for name in own if name.startswith(f"{network.output_layer()[0]}.")]
    kept = [] if all(name in state and state[name].shape == own[name].shape for name in head) else head
    state = {name: value for name, value in state.items() if name not in kept}
    expected = {name: tuple(tensor.shape) for name, tensor in own.items() if name not in kept}
    check_names(path, type(network).__name__, state, expected)
    network.load_state_dict(own | state)
    return kept


def load_encoder(encoder: TrunkEncoder, path: str | Path) -> None:
    """Load the stages of an encoder from its classification network's weights (`read_state`).

    An encoder of RGB keeps the filters of a colour network; for other numbers of channels they are summed over the
    colours and repeated. For the same or a grey image its output is then the colour network's, except at the outermost
    pixels, whose padding is 0.5 here and the mean colour there.

    Raises: UserError, which lists the first mismatches; the encoder is unchanged then.
    """
    state, own = read_state(path), encoder.state_dict()
    here = {  # name here -> name in the network
        f"{inside}.{name}": f"{outside}.{name}"
        for inside, outside in encoder.paths.items()
        for name in encoder.get_submodule(inside).state_dict()
    }
    first = next(name for name, tensor in own.items() if tensor.ndim == 4)
    with torch.device("meta"):
        network = CLASSIFIERS[encoder.name]().state_dict()
    expected = {there: tuple(own[name].shape) for name, there in here.items()}
    width, channels, *size = own[first].shape
    grey = here[first] in state and state[here[first]].shape == (width, 1, *size)
    expected[here[first]] = (width, 1 if grey else 3, *size)  # so that an error names the usual shape
    trunk = {name: tensor for name, tensor in state.items() if name not in network or name in expected}
    check_names(path, encoder.name, trunk, expected)
    filled = {name: state[there] for name, there in here.items() if there in state}
    if not grey:
        _centred(first, filled)
    if filled[first].shape[1] != channels:
        filled[first] = repeated_kernel(filled[first].sum(1, keepdim=True), channels)
    encoder.load_state_dict(own | filled)


def check_names(
    path: str | Path, architecture: str, state: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Require that `state` has the names and shapes expected; the counters of batch norm may be missing.

    Raises: UserError with the first mismatches and the number of the others.
    """
    wrong = []
    for name, shape in expected.items():
        if name not in state and not name.endswith(COUNTER):
            wrong.append(f"no '{name}', expected shape {list(shape)}")
        elif name in state and tuple(state[name].shape) != shape:
            wrong.append(f"'{name}' of shape {list(state[name].shape)}, expected {list(shape)}")
    wrong += [f"'{name}', expected no such name" for name in state if name not in expected]
    if wrong:
        more = f"; and {len(wrong) - LISTED} more" if len(wrong) > LISTED else ""
        raise UserError(f"{path}: not the weights of {architecture}: found {'; '.join(wrong[:LISTED])}{more}")


def _centred(first: str, state: dict[str, Tensor]) -> None:
    """Change the first kernel [C, 3, k, k] of `state` to the encoder's normalisation of the input; it becomes float64.

    Colour networks get (v_c - m_c) / s_c by ImageNet's mean and spread, an encoder gets u_c = (v_c - 0.5) * 4, and
    sum_c w_c (v_c - m_c) / s_c = sum_c u_c w_c / (4 s_c) + sum_c w_c (0.5 - m_c) / s_c. The last term goes into the
    bias or the batch norm behind.
    """
    kernel = state[first].double()
    mean, spread = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float64)[:, :, None, None]
    state[first] = kernel / (GREY_GAIN * spread)
    constant = (kernel * (GREY_CENTRE - mean) / spread).sum((1, 2, 3)).float()
    bias = first.removesuffix("weight") + "bias"
    if bias in state:
        state[bias] = state[bias] + constant
    else:
        mean_behind = next(name for name in state if name.endswith("running_mean"))
        state[mean_behind] = state[mean_behind] - constant
