"""Validation of a detector during training: average precision on scenes and photographs it has not seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from superpoint.config import MagicPointConfig
from superpoint.data.samples import SyntheticShapes
from superpoint.data.training_set import held_out_photographs
from superpoint.evaluation.evaluate_synthetic import VARIANTS, network_detector, shape_samples
from superpoint.evaluation.synthetic import Sample, evaluate_synthetic, flat_metrics
from superpoint.geometry.cells import encode_points, image_tensor, valid_cells
from superpoint.models.decode import pad_to_multiple
from superpoint.models.extract import dense_maps
from superpoint.training.objectives import detector_objective, weighted_means
from superpoint.visualize import contact_sheet, draw_keypoints, overlay_heatmap

LOSS_BATCH = 16  # scenes of a validation that go through the network together
PHOTOGRAPHS = "photographs"


class DetectorValidation:
    """Average precision on unseen data; called with the averaged model.

    Shapes, clean and noisy, have a seed of their own and default settings, so that runs compare. A run on labelled
    photographs is also measured on held-out ones. "AP", which selects the best checkpoint, is of the photographs,
    else of the shapes. "loss" is the objective on the same images, without the warps of training.
    """

    def __init__(self, config: MagicPointConfig) -> None:
        data, overfit, channels = config.data, config.data.overfit, config.model.channels
        self.objective = detector_objective(config)
        self.sets: dict[str, list[Sample]] = {}
        self.valid: list[np.ndarray] = []  # what counts of each photograph
        if data.kind != "synthetic":
            scenes = held_out_photographs(data, config.validation.images, channels)
            self.sets[PHOTOGRAPHS] = [("photograph", image, points) for image, points, _ in scenes]
            self.valid = [mask for *_, mask in scenes]
        elif overfit:  # success is to reproduce these very samples
            dataset = SyntheticShapes(data, config.seed, channels)
            self.sets["clean"] = [("overfit", *dataset.draw(index)[:2]) for index in range(overfit)]
        self.selecting = list(self.sets) or list(VARIANTS)
        if not overfit:
            for variant in VARIANTS:
                settings = data.height, data.width, config.validation.images // 2, config.validation.seed, channels
                self.sets[variant] = list(shape_samples(variant, *settings))

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for name, samples in self.sets.items():
            detect = network_detector(model, self.valid if name == PHOTOGRAPHS else [])
            metrics |= flat_metrics(evaluate_synthetic(detect, samples), prefix=f"{name}/")
        # Without any label in the set (overfitting an image of ellipses) precision is undefined.
        prefixes = tuple(f"{name}/ap@" for name in self.selecting)
        scores = [value for key, value in metrics.items() if key.startswith(prefixes)]
        return {
            **metrics,
            "loss": self._loss(model),
            "AP": float(np.mean(scores or [0.0])),
            "selected_by": "AP",
            "images": {"validation": self._picture(model)},
        }

    def _loss(self, model: nn.Module) -> float:
        """Mean of the objective over the scenes that "AP" is measured on, as over one large batch."""
        scenes = [(image, points) for name in self.selecting for _, image, points in self.sets[name]]
        parts = [slice(start, start + LOSS_BATCH) for start in range(0, len(scenes), LOSS_BATCH)]
        batches = (labelled_batch(scenes[part], model, self.valid[part]) for part in parts)
        return weighted_means([self.objective(model, batch) for batch in batches])["loss"]

    def _picture(self, model: nn.Module) -> np.ndarray:
        shown = self.sets[self.selecting[0]][:9]
        heatmaps = dense_maps(model, [image for _, image, _ in shown]).probability.cpu().numpy()
        truth = [draw_keypoints(image, [], truth=points) for _, image, points in shown]
        levels = [heatmap / max(heatmap.max(), 1e-9) for heatmap in heatmaps]
        heat = [overlay_heatmap(image, level) for (_, image, _), level in zip(shown, levels, strict=True)]
        titles = [name for name, _, _ in shown] + ["probability"] * len(heat)
        return contact_sheet(truth + heat, titles, columns=len(shown))


def labelled_batch(
    scenes: Sequence[tuple[np.ndarray, np.ndarray]], model: nn.Module, valid: Sequence[np.ndarray] = ()
) -> dict[str, torch.Tensor]:
    """Return scenes (image uint8, points [N, 2]) of one size as a batch on the device of `model`.

    Padded to multiples of 8; cells in the padding, or with a pixel that is not `valid` (bool [H, W]), do not count.
    """
    height, width = scenes[0][0].shape[:2]
    image = pad_to_multiple(image_tensor([image for image, _ in scenes]).float())
    inside = np.zeros((len(scenes), *image.shape[-2:]), bool)
    inside[:, :height, :width] = np.stack(valid) if len(valid) else True
    target = np.stack([encode_points(points, inside.shape[1], inside.shape[2]) for _, points in scenes])
    cells = np.stack([valid_cells(each) for each in inside])
    batch = {"image": image, "target": torch.from_numpy(target), "valid": torch.from_numpy(cells)}
    return {key: value.to(next(model.parameters()).device) for key, value in batch.items()}
