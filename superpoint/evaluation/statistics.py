"""Numbers that tell a healthy detector output from the classic broken ones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from superpoint.config.inference import THRESHOLD
from superpoint.geometry.cells import CELL, DUSTBIN
from superpoint.geometry.placement import measure_placement
from superpoint.models.decode import logits_to_probability, probability_to_keypoints

NMS_RADIUS = 4  # of `config.DecodeConfig`, but with border 0: artefacts there must show
WINDOW = 5  # pixels; sharpness is measured in a window of this side
LIMIT = 1e4  # logits that are not finite are replaced by 0 and +-this
# Differences of log-probability (nats) too small to matter, which keep a ratio of two of them from being noise:
INPUT_FLOOR = 0.001  # a probability that changes by 0.1 %
PATTERN_FLOOR = 0.25  # root mean square over the pixels of a cell; about 0.1 untrained, > 1 trained


def output_statistics(logits: Tensor, target: Tensor | None = None, valid: Tensor | None = None) -> dict[str, float]:
    """Compute statistics of a batch's logits, in fp32 or better whatever their type; never NaN.

    Args:
        logits: [B, 65, Hc, Wc], any floating type and device.
        target: int64 [B, Hc, Wc] in 0..64, 64 = dustbin.
        valid: bool [B, Hc, Wc], the cells that `dustbin` and `recall` are measured on; None = all.

    Returns:
        dustbin: mean probability of the dustbin, 0..1; 0 without a valid cell.
        recall: (with `target`) share of the cells with a point whose dustbin is below 0.5; 0 without such.
        finite: share of the logits that are finite (in the rest NaN counts as 0, infinity as 1e4).
        logit_max: largest absolute logit.
        cell_scale: largest minus smallest logsumexp of a cell, over the batch.
        cell_range: largest minus smallest of a cell's 65 logits, mean over cells.
        naive_exp_overflow: share of cells where a softmax that does not subtract the maximum fails in fp32.
        detections: keypoints per image, suppressed within 4 px, whole pixels, no border.
        border, phase, fullest: see `geometry.placement.Placement`; 1, 1 and 0.125 without keypoints.
        sharpness: probability of a peak over the sum in the 5x5 window about it, mean over keypoints; 0 without any.
        input_sensitivity, cell_pattern: see the functions of these names.

    Raises: ValueError if logits are not [B, 65, Hc, Wc], or empty.
    """
    if logits.numel() == 0:
        raise ValueError(f"logits: found shape {list(logits.shape)}, expected at least one cell")
    raw = logits.detach().float().cpu()  # a few hundred kilobytes, and not every GPU has the float64 used below
    finite = raw.isfinite()
    clean = torch.where(finite, raw, raw.nan_to_num(nan=0.0, posinf=LIMIT, neginf=-LIMIT))
    probability = logits_to_probability(clean)  # checks the shape
    scale = clean.logsumexp(dim=1)
    naive = raw.exp().sum(dim=1)
    dustbin = torch.exp(clean[:, DUSTBIN] - scale)
    looked_at = torch.ones_like(dustbin, dtype=torch.bool) if valid is None else valid.cpu()

    found = {"dustbin": _mean(dustbin, looked_at)}
    if target is not None:
        found["recall"] = _mean((dustbin < 0.5).float(), (target.cpu() != DUSTBIN) & looked_at)
    found |= {
        "finite": float(finite.float().mean()),
        "logit_max": float(clean.abs().max()),
        "cell_scale": float(scale.double().max() - scale.double().min()),
        "cell_range": float((clean.amax(dim=1).double() - clean.amin(dim=1).double()).mean()),
        "naive_exp_overflow": float((~naive.isfinite() | (naive == 0)).float().mean()),
    }
    log_probability = clean.double().log_softmax(dim=1)
    found |= _keypoint_statistics(probability)
    found["input_sensitivity"] = input_sensitivity(log_probability)
    found["cell_pattern"] = cell_pattern(log_probability)
    return found


def input_sensitivity(log_probability: Tensor) -> float:
    """Return the share 0..1 of the variance of the output that is due to the input, not to the place in the image.

    With q[b, k, c] the log-probability of class k in cell c for input b:

        sum_k mean_c var_b q  /  sum_k (var_bc q + INPUT_FLOOR^2)

    0 = the input is ignored; cells without preference of a place give 1 - 1/B for B inputs; a single input gives 1.
    Pretrained networks have .86 to .90 (B = 8), untrained ones about .8.
    """
    if len(log_probability) < 2:
        return 1.0
    q = log_probability.double().flatten(2)
    by_input = q.var(dim=0, correction=0).mean(dim=1).sum()
    total = q.transpose(0, 1).flatten(1).var(dim=1, correction=0).sum()
    return float(by_input / (total + q.shape[1] * INPUT_FLOOR**2))


def cell_pattern(log_probability: Tensor, floor: float = PATTERN_FLOOR) -> float:
    """Return the share 0..1 of the variation among the 64 pixels of a cell that all cells of an image have in common.

    With q[b, k, c] the log-probability of pixel k in cell c, less its mean over the 64 pixels of the cell:

        sum_bk (mean_c q)^2  /  (mean_c sum_bk q^2 + 64 B floor^2)

    1 = all cells look the same; n independent cells have 1 / n. Pretrained networks have .02 to .08.

    Args:
        log_probability: [B, 64 or more, Hc, Wc]; only the first 64 channels count.
        floor: nats, root mean square; a weaker pattern counts little.
    """
    q = log_probability[:, :DUSTBIN].double().flatten(2)
    q = q - q.mean(dim=1, keepdim=True)
    common = q.mean(dim=2).square().sum()
    total = q.square().mean(dim=2).sum()
    return float(common / (total + q.shape[0] * DUSTBIN * floor**2))


def _keypoint_statistics(probability: Tensor) -> dict[str, float]:
    """Statistics of the keypoints of maps float32 [B, H, W]."""
    found = probability_to_keypoints(
        probability, nms_radius=NMS_RADIUS, threshold=THRESHOLD, border=0, max_keypoints=0, subpixel=False
    )
    count, height, width = probability.shape
    placement = measure_placement([each.points.numpy() for each in found], [(height, width)] * count)
    if placement.keypoints == 0:
        return {"detections": 0.0, "border": 1.0, "phase": 1.0, "fullest": 1 / CELL, "sharpness": 0.0}
    # Beyond the image the window holds zeros: a mean with them, times the size of the window, is the sum.
    mass = F.avg_pool2d(probability[:, None], WINDOW, stride=1, padding=WINDOW // 2)[:, 0] * WINDOW**2
    image = torch.cat([torch.full((len(each.points),), index) for index, each in enumerate(found)])
    x, y = torch.cat([each.points for each in found]).long().unbind(dim=1)
    sharpness = (probability[image, y, x] / mass[image, y, x]).mean()
    where = {key: getattr(placement, key) for key in ("border", "phase", "fullest")}
    return {"detections": placement.keypoints / count, **where, "sharpness": float(sharpness)}


def _mean(values: Tensor, chosen: Tensor) -> float:
    """Mean over the chosen ones, 0 without any."""
    return float((values * chosen).sum() / chosen.sum().clamp_min(1))
