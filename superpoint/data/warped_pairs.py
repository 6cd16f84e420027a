"""Two views of a labelled photograph, for joint training of detector and descriptor."""

from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from superpoint.config import HomographyConfig, PairDataConfig, PhotometricConfig
from superpoint.data.labelled import LabelSource, epoch_order
from superpoint.data.masks import on_mask, resize_mask, warp_inner
from superpoint.data.pairs import at_twice, centred, resample
from superpoint.data.photometric import augment_photometric
from superpoint.data.samples import encode
from superpoint.data.synthetic import ShapeGenerator
from superpoint.errors import UserError
from superpoint.geometry.homography import (
    Matrix,
    inside,
    inverse,
    resize_matrix,
    sample_homography,
    warp_points,
    warp_valid,
)
from superpoint.geometry.ranges import HomographyRanges

VIEW_STREAM, ENCODE_STREAM = 7301, 7302  # of random numbers
DRAWS = 20  # of the second view, until the two share enough
GRID = 4  # pixels between the places where overlap is looked for
SEARCHED = 500  # pairs looked through for those with labels
ENDLESS = 2**31  # a source this long is read in its own order


@dataclass(frozen=True)
class View:
    """A view before encoding.

    image: uint8 [H, W] or [H, W, C]. points: float32 [N, 2] (x, y), its labels. mask: bool [H, W], photograph that
    counts.
    correspondences: float32 [K, 2]; row k shows the same place as row k of the other view.
    """

    image: NDArray[np.uint8]
    points: NDArray[np.float32]
    mask: NDArray[np.bool_]
    correspondences: NDArray[np.float32]


class WarpedPairs(Dataset[dict[str, torch.Tensor]]):
    """Pairs without end, each a pure function of (seed, index).

    Both views are homographies of the photograph (DeTone et al. 2018, section 3.3, warp only one), so the network does
    not learn that one is always upright. Each has light, noise and blur of its own.

    Sample `index` (any integer >= 0) is a dict of tensors:
        image_a, image_b: uint8 [C, H, W], padded on the right and below to multiples of 8.
        target_a, target_b: int64 [H / 8, W / 8] in 0..64, 64 = dustbin.
        valid_a, valid_b: bool [H / 8, W / 8], cells that hold photograph.
        h_a_b: float32 [3, 3], pixels of view a to pixels of view b.
        correspondences_a, correspondences_b: float32 [K, 2] (x, y); K = `config.rows`.
        matched: bool [K], which rows hold a correspondence: labels that both views show first, then random points.

    Over the first `config.curriculum` samples warps and photometric effects grow from none to all. With
    `config.overfit` = n > 0 only n pairs exist, warped but otherwise unchanged: the first with labels in both views,
    from number `config.overfit_first` on.
    """

    def __init__(self, source: LabelSource, config: PairDataConfig, seed: int, *, grey: bool = False) -> None:
        """Take pairs of `source`; `grey` if its images are RGB and the views shall be grey, see `_mixed`."""
        self.source = source
        self.config = config
        self.grey = grey
        self.seed = seed
        if len(source) == 0:
            raise UserError("labelled images: found none, expected at least one")
        self.repeated: list[int] = []  # numbers of the pairs to overfit
        if config.overfit:
            first = config.overfit_first
            labelled = (number for number in range(first, first + SEARCHED) if self._labelled(number))
            self.repeated = list(islice(labelled, config.overfit))
            if len(self.repeated) < config.overfit:
                raise UserError(
                    f"data.overfit: found {len(self.repeated)} pairs with labels in both views among {SEARCHED}, "
                    f"expected {config.overfit}"
                )

    def __len__(self) -> int:
        return self.config.overfit or 2**62

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        view_a, view_b, h_a_b = self.draw(index)
        rng = self._rng(self._number(index), ENCODE_STREAM)
        sample = {"h_a_b": torch.from_numpy(h_a_b.astype(np.float32))}
        for name, view in (("a", view_a), ("b", view_b)):
            encoded = encode(view.image, view.points, view.mask, rng)
            sample |= {f"{key}_{name}": value for key, value in encoded.items()}
            rows = np.zeros((self.config.rows, 2), np.float32)
            rows[: len(view.correspondences)] = view.correspondences
            sample[f"correspondences_{name}"] = torch.from_numpy(rows)
        sample["matched"] = torch.arange(self.config.rows) < len(view_a.correspondences)
        return sample

    def draw(self, index: int) -> tuple[View, View, Matrix]:
        """Return the views of pair `index` before encoding, and `h_a_b`."""
        return self._draw(self._number(index))

    def _draw(self, index: int) -> tuple[View, View, Matrix]:
        config, size = self.config, (self.config.height, self.config.width)
        count = len(self.source)
        number = index % count if count >= ENDLESS else epoch_order(self.seed, index, count)
        photograph, labels, kept = self.source[number]
        rng = self._rng(index, VIEW_STREAM)
        strength = min(1.0, index / config.curriculum) if config.curriculum and not config.overfit else 1.0
        source, h_photo_source, h_source_crop = _prepare(photograph, size, config.zoom, rng)
        kept = None if kept is None else resize_mask(kept, source.shape)
        light = config.photometric
        mix = 0.0 if config.overfit or not light.enable else min(1.0, light.colour_mix * light.strength * strength)
        sources = [_mixed(source, mix, rng) for _ in range(2)] if self.grey else [source] * 2
        h_a, h_b = _two_warps(rng, size, config.homography, strength, config.min_overlap)
        h_a_b = h_b @ inverse(h_a)
        images, points, masks = [], [], []
        for h_crop_view, pixels in zip((h_a, h_b), sources, strict=True):
            h_source_view = h_crop_view @ h_source_crop
            view = resample(pixels, h_source_view, size)
            points.append(warp_points(labels, h_source_view @ h_photo_source))
            mask = warp_valid(h_source_view, source.shape[:2], size, config.homography.border_margin)
            mask = mask if kept is None else mask & warp_inner(kept, h_source_view, size)
            if config.occlusion and not config.overfit and rng.random() < config.occlusion * strength:
                view, mask = self._occluded(view, mask, rng)
            images.append(view if config.overfit else augment_photometric(view, config.photometric, rng, strength))
            masks.append(mask)
        both = self._correspondences(points, h_a_b, masks, rng)
        first_view, second_view = (
            View(image, xy[inside(xy, *size)], mask, rows)
            for image, xy, mask, rows in zip(images, points, masks, both, strict=True)
        )
        return first_view, second_view, h_a_b

    def _occluded(
        self, view: NDArray[np.uint8], mask: NDArray[np.bool_], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Hide ellipses of a view by another photograph, and leave them out of its mask.

        What lies beside an edge in depth differs between two real views; descriptors learn not to depend on it.
        """
        other = self.source[int(rng.integers(len(self.source)))][0]
        other = cv2.resize(_mixed(other, 1.0, rng) if self.grey else other, view.shape[1::-1])
        hidden = np.zeros(mask.shape, np.uint8)
        for _ in range(int(rng.integers(1, 6))):
            centre = rng.uniform((0, 0), view.shape[1::-1]).astype(int).tolist()
            axes = (rng.uniform(0.03, 0.2, 2) * max(mask.shape)).astype(int).tolist()
            cv2.ellipse(hidden, centre, axes, rng.uniform(0, 180), 0, 360, 1, -1)
        chosen = hidden.astype(bool)
        return np.where(chosen if view.ndim == 2 else chosen[:, :, None], other, view), mask & ~chosen

    def _correspondences(
        self, labels: list[NDArray[np.float32]], h_a_b: Matrix, masks: list[NDArray[np.bool_]], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Up to `config.rows` points that both views show: at most half of them labels, the rest random."""
        (height, width), count = masks[0].shape, self.config.rows
        anywhere = rng.uniform((-0.5, -0.5), (width - 0.5, height - 0.5), (4 * count, 2)).astype(np.float32)
        candidates = ((labels[0], labels[1]), (anywhere, warp_points(anywhere, h_a_b)))
        seen = [on_mask(a, masks[0]) & on_mask(b, masks[1]) for a, b in candidates]
        chosen = rng.permutation(np.flatnonzero(seen[0]))[: count // 2]
        others = np.flatnonzero(seen[1])[: count - len(chosen)]
        first, second = (np.concatenate([candidates[0][i][chosen], candidates[1][i][others]]) for i in (0, 1))
        return first, second

    def _number(self, index: int) -> int:
        return self.repeated[index % len(self.repeated)] if self.repeated else index

    def _labelled(self, number: int) -> bool:
        return all(len(view.points) for view in self._draw(number)[:2])

    def _rng(self, index: int, stream: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.seed, index, stream]))


def warped_view(
    photograph: NDArray[np.uint8],
    size: tuple[int, int],
    zoom: float,
    homography: HomographyConfig,
    photometric: PhotometricConfig,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Matrix]:
    """Draw a view of a photograph by itself, as `WarpedPairs` does.

    Returns: the view uint8 of `size` (height, width), the mask of what it shows of the photograph, and the homography
        from the photograph to it.
    """
    source, h_photo_source, h_source_crop = _prepare(photograph, size, zoom, rng)
    h_source_view = _random_warp(rng, size, homography, 1.0) @ h_source_crop
    mask = warp_valid(h_source_view, source.shape[:2], size, homography.border_margin)
    view = augment_photometric(resample(source, h_source_view, size), photometric, rng)
    return view, mask, h_source_view @ h_photo_source


class SingleViews(Dataset[dict[str, torch.Tensor]]):
    """Single views of `WarpedPairs` in the form of `KeypointSamples`: of pair `index` view a (even) or b (odd)."""

    def __init__(self, pairs: WarpedPairs) -> None:
        self.pairs = pairs
        self.config = pairs.config

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.Generator(np.random.SFC64([self.pairs.seed, index, ENCODE_STREAM + 1]))
        return encode(*self.draw(index), rng)

    def draw(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the sample before encoding; see `KeypointSamples.draw`."""
        view = self.pairs.draw(index)[:2][index % 2]
        return view.image, view.points, view.mask


class SyntheticScenes:
    """Synthetic shapes as a `LabelSource`: for training without any photograph."""

    def __init__(self, generator: ShapeGenerator) -> None:
        self.generator = generator

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], None]:
        scene = self.generator.scene(index)
        return scene.image, scene.points, None


def _mixed(image: NDArray[np.uint8], share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn RGB [H, W, 3] into grey levels [H, W]: the luma of ITU-R BT.601, with a `share` of a random mix in it.

    Other light and other films change the order of grey levels, which no curve of one channel does.
    """
    luma = np.array([0.299, 0.587, 0.114])
    weights = (1 - share) * luma + share * rng.dirichlet(np.ones(3))
    return np.asarray(cv2.transform(image, weights[None].astype(np.float32)), np.uint8)


def _prepare(
    photograph: NDArray[np.uint8], size: tuple[int, int], zoom: float, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Matrix, Matrix]:
    """The photograph at up to twice the resolution of a view; the matrix to it; its matrix to a random crop."""
    cover = max(size[0] / photograph.shape[0], size[1] / photograph.shape[1])
    # Never magnified beyond the photograph's own pixels.
    scale = max(cover, min(1.0, cover * zoom ** rng.uniform()))
    source = at_twice(photograph, scale)
    reduced = source.shape[1] / photograph.shape[1], source.shape[0] / photograph.shape[0]
    # The source is rounded to whole pixels: the crop must not jut out by a fraction of one.
    scale = max(scale / min(reduced), size[0] / source.shape[0], size[1] / source.shape[1])
    crop = centred(source.shape[:2], size, scale)
    spare = np.array([source.shape[1] * scale - size[1], source.shape[0] * scale - size[0]])
    crop[:2, 2] += spare * rng.uniform(-0.5, 0.5, 2)
    return source, resize_matrix(*reduced), crop


def _two_warps(
    rng: np.random.Generator, size: tuple[int, int], config: HomographyConfig, strength: float, min_overlap: float
) -> tuple[Matrix, Matrix]:
    """From the crop to either view; equal if none of DRAWS second views overlaps the first enough."""
    h_a = _random_warp(rng, size, config, strength)
    y, x = np.mgrid[0 : size[0] : GRID, 0 : size[1] : GRID]
    grid = np.stack([x, y], axis=-1).reshape(-1, 2)
    for _ in range(DRAWS):
        h_b = _random_warp(rng, size, config, strength)
        h_b_a = h_a @ inverse(h_b)
        if inside(warp_points(grid, h_b_a), *size).mean() >= min_overlap:
            return h_a, h_b
    return h_a, h_a


def _random_warp(rng: np.random.Generator, size: tuple[int, int], config: HomographyConfig, strength: float) -> Matrix:
    """A homography whose ranges are `strength` times the configured ones, or the identity."""
    if not config.enable or strength == 0 or rng.random() >= config.probability:
        return np.eye(3)
    ranges = HomographyRanges(
        rotation=config.rotation * strength,
        scale=[float(zoom) ** strength for zoom in config.scale],
        perspective=config.perspective * strength,
        shear=config.shear * strength,
        translation=config.translation * strength,
    )
    return sample_homography(rng, *size, ranges)
