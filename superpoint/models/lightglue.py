"""LightGlue (Lindenberger et al. 2023): kornia's network, with what a training needs of every layer.

Parameters have the names of cvg/LightGlue and kornia, so that weights go either way as they are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from kornia.feature import LightGlue
from kornia.feature.lightglue import MatchAssignment, TransformerLayer, normalize_keypoints, sigmoid_log_double_softmax
from torch import Tensor, nn

from superpoint.errors import UserError
from superpoint.models.weights import load_model_state, load_weights

NONE = -1e4  # similarity to a slot without a keypoint
INVERSE_TEMPERATURE = 20.0  # of the softmax that an untrained matcher is
KEYS = {"input_dim", "channels", "layers", "heads", "network"}  # of `lightglue.config.MatcherModelConfig`


class Matcher(LightGlue):
    """LightGlue whose `forward` returns every layer's assignment, for training; `kornia.feature.LightGlue.forward`
    matches a pair, with early exit and pruning.
    """

    network: str

    def forward(self, data: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """Compute the assignments of pairs whose keypoints fill some of N slots.

        Args:
            data: for each image 0 and 1 "keypoints" float32 [B, N, 2] (x, y) in pixels, "descriptors" [B, N, D],
                "filled" bool [B, N], at least one of them false, and "size" float32 [B, 2] (width, height).

        Returns:
            assignment: per layer, float32 [B, N + 1, N + 1]: log of the soft assignment (equation 8); in the last row
                and column log(1 - matchability). What concerns slots without a keypoint means nothing.
            confidence: per layer but the last, the logits [B, 2 N] of equation 9, first image first.
        """
        filled = data["filled0"], data["filled1"]
        encodings = [self.posenc(normalize_keypoints(data[f"keypoints{i}"], data[f"size{i}"])) for i in (0, 1)]
        states = [self.input_proj(data[f"descriptors{i}"]) for i in (0, 1)]
        # Keypoints look at keypoints alone, and free slots at free slots: no row without any, whose softmax were NaN.
        within = [(each[:, :, None] == each[:, None])[:, None] for each in filled]
        across = (filled[0][:, :, None] == filled[1][:, None])[:, None]
        found: dict[str, list[Tensor]] = {"assignment": [], "confidence": []}
        for index, layer in enumerate(self.transformers):
            assert isinstance(layer, TransformerLayer)
            states = [layer.self_attn(*each) for each in zip(states, encodings, within, strict=True)]
            states = list(layer.cross_attn(*states, across))
            found["assignment"].append(_assignment(self.log_assignment[index], states, filled))
            if index < len(self.token_confidence):
                head = self.get_submodule(f"token_confidence.{index}.token.0")
                found["confidence"].append(head(torch.cat(states, 1).detach()).squeeze(-1).float())
        return found


def _assignment(head: Any, states: list[Tensor], filled: tuple[Tensor, Tensor]) -> Tensor:
    assert isinstance(head, MatchAssignment)
    first, second = (head.final_proj(each).float() / head.dim**0.25 for each in states)
    # In bf16 a similarity of 20 errs by 0.1; autocast would round the product of `.float()` too.
    with torch.autocast(first.device.type, enabled=False):
        similarity = first @ second.transpose(1, 2)
    similarity = similarity.masked_fill(~(filled[0][:, :, None] & filled[1][:, None]), NONE)
    return sigmoid_log_double_softmax(similarity, *(head.matchability(each).float() for each in states))


def build_matcher(input_dim: int, channels: int, layers: int, heads: int, network: str = "", seed: int = 0) -> Matcher:
    """Return a matcher for descriptors of length `input_dim`, drawn from `seed` without touching the global state.

    network: hash of the network that its features are of, kept as `network`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = {"input_dim": input_dim, "descriptor_dim": channels, "n_layers": layers, "num_heads": heads}
        matcher = Matcher(None, **sizes, flash=False)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        _begin_as_dual_softmax(matcher)
    matcher.network = network
    return matcher


def _begin_as_dual_softmax(matcher: Matcher) -> None:
    """Let every layer's assignment be the dual softmax of the descriptors, to which the layers add nothing yet.

    Drawn as usual, the network would first have to find out again that similar descriptors match.
    """
    for layer in matcher.transformers:
        assert isinstance(layer, TransformerLayer)
        for block in (layer.self_attn, layer.cross_attn):
            for each in block.ffn[-1].parameters():
                nn.init.zeros_(each)
    length, root = 1.0, matcher.conf.descriptor_dim**0.5
    if isinstance(matcher.input_proj, nn.Linear):  # else the descriptors are taken as they are
        length = root  # a state has about 1 per channel
        nn.init.orthogonal_(matcher.input_proj.weight, gain=length)
        nn.init.zeros_(matcher.input_proj.bias)
    scale = (INVERSE_TEMPERATURE * root) ** 0.5 / length
    for head in matcher.log_assignment:
        assert isinstance(head, MatchAssignment)
        head.final_proj.weight.data = scale * torch.eye(len(head.final_proj.weight))
        nn.init.zeros_(head.final_proj.bias)


def load_matcher_network(source: str | Path) -> Matcher:
    """Load what `train-matcher` has written: a weights file, checkpoint or run folder; in evaluation mode.

    Raises: UserError if there are no weights, or they are no matcher's.
    """
    state, settings, _ = load_weights(source)
    return matcher_from_state(state, settings, source)


def matcher_from_state(state: Mapping[str, Tensor], settings: Mapping[str, Any], source: str | Path) -> Matcher:
    """Build a matcher, in evaluation mode, from what `load_weights` returned. Raises: UserError for other weights."""
    if set(settings) != KEYS:
        raise UserError(f"{source}: found no weights of LightGlue, expected what superpoint train-matcher has written")
    matcher = build_matcher(**settings)
    load_model_state(matcher, state, source)
    return matcher.eval()
