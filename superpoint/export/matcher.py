"""A matcher of `train-matcher` for other programs: weights of cvg/LightGlue and kornia, or an ONNX graph of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from kornia.feature.lightglue import filter_matches
from torch import Tensor, nn

from superpoint.backends.network import need, quiet
from superpoint.errors import UserError
from superpoint.files import write_atomically
from superpoint.matching.lightglue import MIN_PROBABILITY
from superpoint.models.lightglue import Matcher, load_matcher_network

INPUTS = [f"{key}{i}" for i in (0, 1) for key in ("keypoints", "descriptors", "size")]


class PairGraph(nn.Module):
    """All layers of a matcher, without early exit.

    keypoints<i> [1, N, 2] (x, y) in pixels, descriptors<i> [1, N, D], size<i> [1, 2] (width, height) -> matches0 int64
    [1, N], the index in image 1 or -1, and scores0 [1, N], their probability.
    """

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(INPUTS, inputs, strict=True))
        filled = {f"filled{i}": torch.ones_like(given[f"keypoints{i}"][:, :, 0], dtype=torch.bool) for i in (0, 1)}
        found, _, scores, _ = filter_matches(self.matcher(given | filled)["assignment"][-1], MIN_PROBABILITY)
        return found, scores


def export_matcher(source: str | Path, out: str | Path) -> Path:
    """Write the matcher of a run or weights to `out`: .pth, a state_dict in cvg/LightGlue's layout, or .onnx.

    Raises: UserError for weights that are no matcher's, another ending, or a place that cannot be written.
    """
    out, matcher = Path(out), load_matcher_network(source)
    if out.suffix == ".pth":
        write_atomically(out, lambda file: torch.save(matcher.state_dict(), file))
    elif out.suffix == ".onnx":
        need("onnx", "onnxscript")
        dim, size = int(matcher.conf.input_dim), torch.tensor([[64.0, 48.0]])
        pair = [each for n in (19, 23) for each in (torch.rand(1, n, 2) * 40, torch.rand(1, n, dim), size)]
        axes = [{1: torch.export.Dim(f"points{i}", min=2)} for i in (0, 1)]
        shapes = (tuple(each for axis in axes for each in (axis, axis, {})),)
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                PairGraph(matcher), tuple(pair), input_names=INPUTS, output_names=["matches0", "scores0"],
                dynamic_shapes=shapes, dynamo=True, verbose=False,
            )  # fmt: skip
        content = cast(torch.onnx.ONNXProgram, program).model_proto.SerializeToString()
        write_atomically(out, lambda file: file.write(content))
    else:
        raise UserError(f"{out}: found the suffix '{out.suffix}', expected .pth or .onnx for --format lightglue")
    print(f"matcher: {out}")
    return out
