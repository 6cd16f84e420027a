"""The classic ways to break a case: each function turns the healthy `Case` into a broken one."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from superpoint.diagnostics.case import Case, Labelled, Sample
from superpoint.geometry.cells import CELL, DUSTBIN, encode_points, pixels_to_cells
from superpoint.geometry.homography import inside
from superpoint.models.superpoint import SuperPoint
from tests.diagnostics.healthy import healthy_case as healthy_case

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


# --- data -------------------------------------------------------------------------------------------------------------


class Changed:
    """A data set whose drawn or encoded samples are changed by a function."""

    def __init__(
        self,
        base: Labelled,
        *,
        drawn: Callable[[Drawn], Drawn] | None = None,
        sample: Callable[[Sample, np.ndarray], Sample] | None = None,
    ) -> None:
        self.base, self.drawn, self.sample = base, drawn, sample

    def draw(self, index: int) -> Drawn:
        drawn = self.base.draw(index)
        return self.drawn(drawn) if self.drawn else drawn

    def __getitem__(self, index: int) -> Sample:
        sample = self.base[index]
        image, points, _ = self.draw(index)
        if self.drawn:  # what is drawn wrongly is encoded as it stands
            sample = sample | {"image": torch.from_numpy(np.ascontiguousarray(image))[None]}
            sample["target"] = torch.from_numpy(encode_points(points, *image.shape))
        return self.sample(sample, points) if self.sample else sample


def with_points(case: Case, move: Callable[[np.ndarray], np.ndarray]) -> Case:
    """Points moved within `draw`, and encoded as they are then."""
    move_drawn = lambda drawn: (drawn[0], move(drawn[1]).astype(np.float32), drawn[2])  # noqa: E731
    return replace(case, dataset=Changed(case.dataset, drawn=move_drawn))


def with_target(case: Case, encode: Callable[[np.ndarray, int, int], np.ndarray]) -> Case:
    """Targets made from the points by another encoder: (points, height, width) -> [H / 8, W / 8]."""

    def again(sample: Sample, points: np.ndarray) -> Sample:
        height, width = sample["image"].shape[-2:]
        return sample | {"target": torch.from_numpy(encode(points, height, width))}

    return replace(case, dataset=Changed(case.dataset, sample=again))


def with_images(case: Case, change: Callable[[Tensor], Tensor]) -> Case:
    changed = Changed(case.dataset, sample=lambda sample, _: sample | {"image": change(sample["image"])})
    return replace(case, dataset=changed)


def reshape_target(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """The bug itself: a map of the points, reshaped straight to [H / 8, W / 8, 64]."""
    points = points[inside(points, height, width)]
    x, y = np.floor(points + 0.5).astype(int).T
    full = np.zeros((height, width), np.int64)
    full[y, x] = 1
    cells = full.reshape(height // CELL, width // CELL, DUSTBIN)
    return np.where(cells.any(axis=2), cells.argmax(axis=2), DUSTBIN)


def unnormalised_input(case: Case) -> Case:
    """Grey levels of 0..255 reach the network: the division by 255 is missing."""

    def objective(model: nn.Module, batch: Sample) -> dict[str, Tensor]:
        return case.objective(lambda image: model(image * 255), batch)  # pyright: ignore[reportArgumentType]

    return replace(case, objective=objective)


def reshaped_labels(case: Case) -> Case:
    """Labels are reshaped to cells instead of space-to-depth."""
    return with_target(case, reshape_target)


# --- network ----------------------------------------------------------------------------------------------------------


class Afterwards(nn.Module):
    """A network with one of its outputs changed by a function."""

    def __init__(self, base: nn.Module, name: str, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.base, self.name, self.change = base, name, change

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        output = self.base(image)
        return output | {self.name: self.change(output[self.name])}


def with_logits(case: Case, change: Callable[[Tensor], Tensor]) -> Case:
    return replace(case, model=Afterwards(case.model, "logits", change).eval())


def with_network(case: Case, change: Callable[[SuperPoint], None]) -> Case:
    model = copy.deepcopy(case.model)
    assert isinstance(model, SuperPoint)
    with torch.no_grad():
        change(model)
    return replace(case, model=model.eval())


def all_dustbin(case: Case) -> Case:
    """The dustbin's bias is so high that no point is predicted."""

    def change(model: SuperPoint) -> None:
        model.detector.logits.get_parameter("bias")[DUSTBIN] += 12

    return with_network(case, change)


class OneImage(nn.Module):
    """A network that sees the same image whatever it is given: a cached tensor, a buffer that is not filled again."""

    def __init__(self, base: nn.Module, image: Tensor) -> None:
        super().__init__()
        self.base, self.image = base, image

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.base(self.image.expand(len(image), -1, -1, -1))


def ignored_input(case: Case) -> Case:
    """The output is that of another image, whatever the input."""
    image = case.samples(1, first=17)[0]["image"][None].float() / 255
    return replace(case, model=OneImage(case.model, image).eval())


class Pooled(nn.Module):
    """Features averaged over the image: the same in every cell."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        return features.mean(dim=(2, 3), keepdim=True).expand_as(features)


def pooled_features(case: Case) -> Case:
    """The head is fed with globally pooled features, so that all cells look the same."""

    def change(model: SuperPoint) -> None:
        model.encoder = Pooled(model.encoder)
        # As if trained like this: the norm after the pooling has collected its statistics anew.
        norm = model.detector.hidden[1]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        norm.train()
        model(case.batch(32)["image"].float() / 255)

    return with_network(case, change)


def points_on_border(case: Case) -> Case:
    """Zero padding is taken for an edge: the pixels along the outline win over the dustbin."""

    def change(logits: Tensor) -> Tensor:
        height, width = logits.shape[2] * CELL, logits.shape[3] * CELL
        outline = torch.ones(1, height, width)
        outline[:, 1:-1, 1:-1] = 0
        logits = logits.clone()
        logits[:, :DUSTBIN] += 12 * pixels_to_cells(outline)
        return logits

    return with_logits(case, change)


def scattered_scales(case: Case) -> Case:
    """Every cell has an offset of its own, -40 to 85: the same probabilities, but exp() overflows."""

    def change(logits: Tensor) -> Tensor:
        cells = logits.shape[2] * logits.shape[3]
        place = torch.randperm(cells, generator=torch.Generator().manual_seed(1)) / (cells - 1)
        offset = -40 + 125 * place.reshape(logits.shape[2:])
        return logits + offset.to(logits.dtype)

    return with_logits(case, change)


def relu_after_head(case: Case) -> Case:
    """A ReLU follows the last layer."""
    return with_logits(case, torch.relu)


def dead_channels(case: Case) -> Case:
    """Most channels of the head are dead; a wider head, whose additional channels the rest does without."""

    def change(model: SuperPoint) -> None:
        convolution, norm = model.detector.hidden[0], model.detector.hidden[1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        alive = convolution.out_channels
        shift = norm.get_parameter("bias")
        convolution.weight = nn.Parameter(convolution.weight.repeat(3, 1, 1, 1))
        for name in ("weight", "bias"):
            setattr(norm, name, nn.Parameter(norm.get_parameter(name).repeat(3)))
        for name in ("running_mean", "running_var"):
            setattr(norm, name, norm.get_buffer(name).repeat(3))
        norm.num_features = 3 * alive
        norm.get_parameter("bias")[alive:] = shift.repeat(2) - 100
        last = model.detector.logits
        last.weight = nn.Parameter(torch.cat([last.weight, torch.zeros_like(last.weight).repeat(1, 2, 1, 1)], dim=1))

    return with_network(case, change)


def wrong_statistics(case: Case) -> Case:
    """The running statistics of one batch norm are those of other data: its means are 1.5 deviations away."""

    def change(model: SuperPoint) -> None:
        norm = model.get_submodule("encoder.stages.2.1.1")
        norm.get_buffer("running_mean").sub_(1.5 * norm.get_buffer("running_var").sqrt())

    return with_network(case, change)


def infinite_statistics(case: Case) -> Case:
    """Activations have overflowed in training mode: the running variance of one batch norm is infinite."""

    def change(model: SuperPoint) -> None:
        model.get_submodule("encoder.stages.2.1.1").get_buffer("running_var").fill_(math.inf)

    return with_network(case, change)


class Raised(nn.Module):
    """Adds a constant: what a layer without a norm may do to its output."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, features: Tensor) -> Tensor:
        return features + self.constant


def large_offset(case: Case) -> Case:
    """Before the last layer features carry an offset of 1000, which it subtracts: the same in fp32, not in bf16."""

    def change(model: SuperPoint) -> None:
        model.detector.hidden.append(Raised(1000.0))
        last = model.detector.logits
        last.get_parameter("bias").sub_(1000.0 * last.weight.sum(dim=(1, 2, 3)))

    return with_network(case, change)


FAULTS: dict[str, Callable[[Case], Case]] = {
    "input": unnormalised_input,
    "labels": reshaped_labels,
    "dustbin": all_dustbin,
    "input_sensitivity": ignored_input,
    "cell_pattern": pooled_features,
    "border": points_on_border,
    "logit_scale": scattered_scales,
    "dead_relu": relu_after_head,
    "batchnorm": wrong_statistics,
    "precision": large_offset,
}
