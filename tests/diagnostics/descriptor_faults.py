"""A joint case that is healthy, and the classic ways to break its descriptors or its pairs."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from superpoint.config import ModelConfig, PairDataConfig, SuperPointConfig, TrainConfig
from superpoint.data.training_set import training_pairs
from superpoint.data.warped_pairs import SingleViews, WarpedPairs
from superpoint.diagnostics.case import Case, Sample
from superpoint.models import build_model
from superpoint.training.magicpoint import load_start
from superpoint.training.objectives import JointObjective, detector_objective
from tests.diagnostics.faults import Afterwards
from tests.diagnostics.healthy import healthy_history

STEPS, PAIRS = 40, 6


def joint_case() -> Case:
    """A small network that knows its six pairs by heart."""
    config = SuperPointConfig(
        data=PairDataConfig(height=64, width=64, overfit=PAIRS, workers=0),
        model=ModelConfig("lite", 128, descriptor_dim=32),
        train=TrainConfig(steps=2000, batch_size=4),
    )
    pairs = training_pairs(config.data, 0)
    batch = default_collate([pairs[index] for index in range(PAIRS)])
    model, objective = build_model(config.model), JointObjective(detector=detector_objective(config))
    load_start(model, "magicpoint-lite")
    optimizer = torch.optim.AdamW(model.train().parameters(), 2e-3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        objective(model, batch)["loss"].backward()
        optimizer.step()
    return Case(config, SingleViews(pairs), model.eval(), detector_objective(config), healthy_history(config))


def with_maps(case: Case, change: Callable[[Tensor], Tensor]) -> Case:
    return replace(case, model=Afterwards(case.model, "descriptors", change).eval())


class ChangedPairs(WarpedPairs):
    """Pairs whose samples are changed by a function of the sample and of the one after it."""

    def __init__(self, base: WarpedPairs, change: Callable[[Sample, Sample], Sample]) -> None:
        self.__dict__ |= base.__dict__
        self.change = change

    def __getitem__(self, index: int) -> Sample:
        return self.change(super().__getitem__(index), super().__getitem__(index + 1))


def with_pairs(case: Case, change: Callable[[Sample, Sample], Sample]) -> Case:
    assert isinstance(case.dataset, SingleViews)
    return replace(case, dataset=SingleViews(ChangedPairs(case.dataset.pairs, change)))


def collapsed(case: Case) -> Case:
    """All descriptors have the same large part."""
    common = F.normalize(torch.ones(1, 32, 1, 1), dim=1)
    return with_maps(case, lambda maps: F.normalize(0.05 * maps + common, dim=1))


def not_finite(case: Case) -> Case:
    """The descriptors of one cell are NaN."""

    def change(maps: Tensor) -> Tensor:
        maps = maps.clone()
        maps[0, :, 2, 3] = torch.nan
        return maps

    return with_maps(case, change)


def zero_vectors(case: Case) -> Case:
    """A head that ends in a ReLU and has died in a quarter of the cells."""

    def change(maps: Tensor) -> Tensor:
        dead = torch.ones(maps.shape[2:])
        dead[::2, ::2] = 0
        return maps * dead

    return with_maps(case, change)


def not_normalised(case: Case) -> Case:
    """The division by the length is missing."""
    return with_maps(case, lambda maps: 3 * maps)


def normalised_over_width(case: Case) -> Case:
    """Divided by the length along the wrong dimension."""
    return with_maps(case, lambda maps: F.normalize(maps, dim=-1))


def shuffled_cells(case: Case) -> Case:
    """Each image's cells are in an order of their own: a reshape gone wrong, a descriptor without information."""

    def change(maps: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        orders = [torch.randperm(maps[0, 0].numel(), generator=generator) for _ in maps]
        cells = maps.flatten(2)
        return torch.stack([each[:, order] for each, order in zip(cells, orders, strict=True)]).reshape(maps.shape)

    return with_maps(case, change)


def position_code(case: Case) -> Case:
    """A descriptor that says where its cell lies, and hardly anything about the image."""

    def change(maps: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(4)
        code = F.normalize(torch.randn(maps[0].shape, generator=generator), dim=0)
        return F.normalize(0.2 * maps + code, dim=1)

    return with_maps(case, change)


def swapped_places(case: Case) -> Case:
    """Correspondences as (y, x) in the second view."""
    return with_pairs(case, lambda sample, _: sample | {"correspondences_b": sample["correspondences_b"].flip(-1)})


def inverse_homography(case: Case) -> Case:
    """The homography, and with it the places, go from the second view to the first."""

    def change(sample: Sample, _: Sample) -> Sample:
        h_b_a = torch.linalg.inv(sample["h_a_b"].double())
        homogeneous = F.pad(sample["correspondences_a"].double(), (0, 1), value=1.0) @ h_b_a.T
        return sample | {"h_a_b": h_b_a.float(), "correspondences_b": (homogeneous[:, :2] / homogeneous[:, 2:]).float()}

    return with_pairs(case, change)


def other_image(case: Case) -> Case:
    """The second view is that of another photograph."""
    return with_pairs(case, lambda sample, other: sample | {"image_b": other["image_b"]})


def untrained(case: Case) -> Case:
    """Nothing has been trained yet."""
    return replace(case, model=build_model(case.config.model).eval(), history=[])


def unlearnt(case: Case) -> Case:
    """The descriptor head is as it was drawn."""
    model = copy.deepcopy(case.model)
    model.get_submodule("descriptor").load_state_dict(
        build_model(case.config.model, 1).get_submodule("descriptor").state_dict()
    )
    return replace(case, model=model)
