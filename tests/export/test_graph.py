"""The graphs in torch against `models.decode`; the files of them are in test_formats.py."""

import numpy as np
import pytest
import torch
from torch import Tensor

from superpoint.config import DecodeConfig
from superpoint.data.images import sample_photographs
from superpoint.export.graph import ROUNDS, DenseGraph, FullGraph, suppress
from superpoint.export.parity import parity_images
from superpoint.models import SuperPoint
from superpoint.models.decode import pad_to_multiple
from superpoint.models.extract import dense_maps, features
from superpoint.models.suppression import suppress_non_maxima


def exact(values: Tensor, radius: int) -> Tensor:
    return suppress_non_maxima(values, radius).to(values.dtype)


class TestSuppression:
    @pytest.mark.parametrize("radius", [0, 1, 2, 4, 8])
    def test_sparse_peaks(self, radius: int) -> None:
        values = torch.rand((3, 41, 57), generator=torch.Generator().manual_seed(radius))
        values = values * (values > 0.9)
        assert torch.equal(suppress(values, radius), exact(values, radius))

    def test_plateaus_give_their_first_pixel(self) -> None:
        values = (torch.rand((4, 33, 40), generator=torch.Generator().manual_seed(1)) * 4).round() / 4
        assert torch.equal(suppress(values, 3, rounds=60), exact(values, 3))
        flat = torch.ones(1, 9, 9)
        assert suppress(flat, 4, rounds=9).nonzero().tolist() == exact(flat, 4).nonzero().tolist()

    def test_dense_noise_needs_no_more_rounds(self) -> None:
        values = torch.rand((4, 120, 160), generator=torch.Generator().manual_seed(2))
        for radius in (2, 4, 8):
            assert torch.equal(suppress(values, radius), exact(values, radius))
        assert not torch.equal(suppress(values, 4, rounds=2), exact(values, 4))

    def test_rounds_are_enough_for_photographs(self, described: SuperPoint) -> None:
        assert ROUNDS >= 8
        for _, rgb in sample_photographs()[:3]:
            image = torch.from_numpy(np.asarray(rgb[:240, :320].mean(axis=2), np.float32) / 255)[None, None]
            with torch.no_grad():
                values = dense_maps(described, image).probability
            values = values * (values > 0.001)
            assert exact(values, 4).sum() > 20
            assert torch.equal(suppress(values, 4), exact(values, 4))


class TestDense:
    @pytest.mark.parametrize("size", [(16, 24), (17, 30), (1, 9)])
    def test_is_the_network_on_the_padded_image(self, described: SuperPoint, size: tuple[int, int]) -> None:
        before = {name: tensor.clone() for name, tensor in described.state_dict().items()}
        image = torch.rand((2, 1, *size), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            logits, descriptors = DenseGraph(described).eval()(image)
            expected = described(pad_to_multiple(image))
        assert torch.allclose(logits, expected["logits"], atol=1e-4)
        assert torch.allclose(descriptors, expected["descriptors"], atol=1e-5)
        assert all(torch.equal(tensor, before[name]) for name, tensor in described.state_dict().items())
        assert any(parameter.requires_grad for parameter in described.parameters())


class TestFull:
    def test_is_the_decoder(self, described: SuperPoint) -> None:
        decode = DecodeConfig(3, 0.01, 2, 40)
        graph = FullGraph(DenseGraph(described), decode).eval()
        total = 0
        for image in list(parity_images())[::6]:
            with torch.no_grad():
                keypoints, scores, descriptors = graph(image)
            (found,) = features(described, image, decode, smoothing=0)
            count = len(found)
            total += count
            assert keypoints.shape == (1, 40, 2)
            assert int((scores > 0).sum()) == count
            assert torch.allclose(keypoints[0, :count], torch.from_numpy(found.keypoints), atol=1e-3)
            assert torch.allclose(scores[0, :count], torch.from_numpy(found.scores), atol=1e-5)
            assert torch.allclose(descriptors[0, :count], torch.tensor(found.descriptors), atol=1e-4)
            assert bool((keypoints[0, count:] == -1).all())
            assert bool((descriptors[0, count:] == 0).all())
        assert total > 30

    def test_a_batch_is_its_images(self, described: SuperPoint) -> None:
        images = torch.cat([image for image in parity_images() if image.shape[-2:] == (97, 131)][:3])
        graph = FullGraph(DenseGraph(described), DecodeConfig(3, max_keypoints=20)).eval()
        with torch.no_grad():
            together = graph(images)
            alone = [graph(image[None]) for image in images]
        for index, values in enumerate(together):
            assert torch.allclose(values, torch.cat([each[index] for each in alone]), atol=1e-4)

    def test_more_points_than_pixels(self, described: SuperPoint) -> None:
        graph = FullGraph(DenseGraph(described), DecodeConfig(3, 0.0, 0, 500)).eval()
        with torch.no_grad():
            keypoints, scores, _ = graph(torch.rand(1, 1, 10, 12, generator=torch.Generator().manual_seed(1)))
        assert keypoints.shape == (1, 500, 2)
        assert 0 < int((scores > 0).sum()) <= 120
