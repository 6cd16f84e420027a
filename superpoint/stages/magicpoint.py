"""Stage train-magicpoint: synthetic shapes in, a detector out.

    superpoint train-magicpoint --config configs/magicpoint/quick.yaml run=runs/quick
    torchrun --nproc-per-node 2 scripts/train_magicpoint.py --config configs/magicpoint/paper.yaml

Ends with weights.safetensors and, in evaluation/, the synthetic-shapes tables beside the classical detectors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import Dataset

from superpoint.config import MagicPointConfig, dump_config
from superpoint.data.samples import SyntheticShapes
from superpoint.engine import RunFolder, TrainResult, make_fabric, train
from superpoint.engine.loop import Validate
from superpoint.evaluation.synthetic import Sample, SyntheticProtocol, evaluate_synthetic_batched, flat_metrics
from superpoint.losses import INITIAL_DETECTOR_LOSS
from superpoint.models import build_model
from superpoint.models.decode import probability_map
from superpoint.objectives import DetectorObjective
from superpoint.stages.evaluate import VARIANTS, batch_detector, evaluate_run, shape_samples
from superpoint.stages.export import export_weights
from superpoint.visualize import contact_sheet, draw_points, overlay_heatmap

WEIGHTS = "weights.safetensors"


def train_magicpoint(config: MagicPointConfig, *, resume: bool = False) -> TrainResult:
    """Train, export the best weights and evaluate them; everything goes to the run folder `config.run`."""
    dataset = SyntheticShapes(config.data, config.seed)
    fabric = make_fabric(config.train)
    result = fit_detector(config, fabric, dataset, SyntheticValidation(config), resume=resume)
    if fabric.is_global_zero and not result.interrupted:
        weights = Path(config.run) / WEIGHTS
        trained = bool(result.metrics)  # not so if a finished run was resumed
        if trained or not weights.exists():
            best = RunFolder(config.run).best
            export_weights(best, weights, metadata={"stage": "magicpoint", "run": Path(config.run).name})
        fabric.print(f"weights: {weights}")
        if config.data.overfit:
            fabric.print("data.overfit: not evaluated on other scenes, since none was to be learnt from")
        else:
            evaluate_run(config.run, images=config.validation.final_images, keep=not trained)
    fabric.barrier()
    return result


def fit_detector(
    config: MagicPointConfig,
    fabric: Fabric,
    dataset: Dataset[dict[str, torch.Tensor]],
    validate: Validate,
    *,
    resume: bool = False,
) -> TrainResult:
    """Build the network and the objective of `config` and train them on `dataset` in the run folder `config.run`."""
    model = build_model(config.model, config.seed)
    objective = DetectorObjective(config.loss.positive_weight, config.loss.dustbin_weight, config.loss.focal_gamma)
    objective.initialise(model.detector)
    with RunFolder.open(config.run, config=dump_config(config), resume=resume, main=fabric.is_global_zero) as run:
        return train(
            fabric=fabric,
            model=model,
            objective=objective,
            dataset=dataset,
            config=config.train,
            optimizer=config.optimizer,
            schedule=config.schedule,
            run=run,
            validate=validate,
            seed=config.seed,
            resume=resume,
            workers=config.data.workers,
            expected_initial_loss=INITIAL_DETECTOR_LOSS,
            monitor_name="AP",
        )


class SyntheticValidation:
    """Average precision on unseen shapes, clean and noisy; called by the loop with the averaged model.

    The shapes have a seed of their own and the default settings, whatever the run trains on, so that runs compare.
    """

    def __init__(self, config: MagicPointConfig) -> None:
        data, overfit = config.data, config.data.overfit
        self.sets: dict[str, list[Sample]] = {}
        if overfit:  # success is to reproduce these very samples
            dataset = SyntheticShapes(data, config.seed)
            self.sets["clean"] = [("overfit", *dataset.draw(index)[:2]) for index in range(overfit)]
        else:
            for variant in VARIANTS:
                count = config.validation.images // 2
                self.sets[variant] = list(
                    shape_samples(variant, data.height, data.width, count, config.validation.seed)
                )

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        detect = batch_detector(model, SyntheticProtocol())
        metrics: dict[str, Any] = {}
        for variant, samples in self.sets.items():
            metrics |= flat_metrics(evaluate_synthetic_batched(detect, samples), prefix=f"{variant}/")
        # Without a single label in the set (overfitting an image of ellipses) there is no precision to speak of.
        scores = [value for key, value in metrics.items() if "/ap@" in key]
        return {**metrics, "monitor": float(np.mean(scores or [0.0])), "images": {"validation": self._picture(model)}}

    def _picture(self, model: nn.Module) -> np.ndarray:
        shown = self.sets["clean"][:9]
        device = next(model.parameters()).device
        images = torch.from_numpy(np.stack([image for _, image, _ in shown]))[:, None].to(device)
        heatmaps = probability_map(model, images.float() / 255).cpu().numpy()
        truth = [draw_points(image, [], truth=points) for _, image, points in shown]
        heat = [overlay_heatmap(image, heatmap) for (_, image, _), heatmap in zip(shown, heatmaps, strict=True)]
        titles = [name for name, _, _ in shown] + ["probability"] * len(heat)
        return contact_sheet(truth + heat, titles, columns=len(shown))
