import pytest
import torch
from torch import Tensor, nn

from superpoint.models.decode import (
    logits_to_probability,
    pad_to_multiple,
    probability_to_keypoints,
    refine_peaks,
    sample_descriptors,
    smooth_probability,
)
from tests.models.sequential import naive_suppression


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits_of_points(points: list[tuple[int, int]], height: int, width: int, strength: float = 9.0) -> Tensor:
    """Logits [1, 65, H / 8, W / 8], written with nothing but the definition of a cell."""
    logits = torch.zeros(1, 65, height // 8, width // 8)
    logits[:, 64] = 5.0
    for x, y in points:
        logits[0, 8 * (y % 8) + x % 8, y // 8, x // 8] = strength
    return logits


class TestProbability:
    def test_numbers(self) -> None:
        logits = torch.randn(2, 65, 3, 4, generator=generator())
        probability = logits_to_probability(logits)
        assert probability.shape == (2, 24, 32)
        for y, x in [(0, 0), (7, 8), (13, 2), (23, 31)]:
            column = logits[1, :, y // 8, x // 8].double().exp()
            expected = column[8 * (y % 8) + x % 8] / column.sum()
            assert probability[1, y, x].item() == pytest.approx(expected.item(), rel=1e-5)

    def test_x_and_y_are_not_swapped(self) -> None:
        probability = logits_to_probability(logits_of_points([(13, 2)], 16, 40))
        assert divmod(int(probability[0].argmax()), 40) == (2, 13)

    def test_half_precision_logits_are_normalised_in_float32(self) -> None:
        logits = torch.randn(1, 65, 2, 2, generator=generator()).bfloat16()
        probability = logits_to_probability(logits)
        assert probability.dtype == torch.float32
        dustbin = logits.float().softmax(1)[:, 64]
        cells = probability.view(1, 2, 8, 2, 8).sum((2, 4))
        torch.testing.assert_close(cells, 1 - dustbin, atol=1e-6, rtol=0)

    def test_extreme_logits(self) -> None:
        logits = torch.full((1, 65, 1, 1), -1e4)
        logits[0, 10] = 1e4
        probability = logits_to_probability(logits)
        assert probability[0, 1, 2] == 1
        assert probability.sum() == 1

    def test_wrong_channels(self) -> None:
        with pytest.raises(ValueError, match=r"found shape \[1, 64, 2, 2\], expected \[B, 65"):
            logits_to_probability(torch.zeros(1, 64, 2, 2))


def gaussian_peaks(sigma: float, count: int, noise: float) -> tuple[Tensor, Tensor]:
    """Maps [N, 15, 15] of one Gaussian each, with its centre (x, y) within half a pixel of the middle one."""
    random = generator(1)
    centres = torch.rand(count, 2, generator=random) - 0.5
    pixels = torch.arange(-7.0, 8.0)
    along = [torch.exp(-0.5 * ((pixels - centres[:, axis, None]) / sigma) ** 2) for axis in (0, 1)]
    maps = along[1][:, :, None] * along[0][:, None, :]
    maps = 0.9 * maps / maps.sum((1, 2), keepdim=True)
    return maps * torch.exp(noise * torch.randn(maps.shape, generator=random)), centres + 7


class TestRefinement:
    @pytest.mark.parametrize(
        ("sigma", "noise", "bound"),
        [(0.5, 0.0, 0.04), (0.7, 0.0, 0.01), (1.0, 0.0, 0.05), (0.5, 0.3, 0.1), (0.7, 0.3, 0.1), (1.0, 0.3, 0.2)],
    )
    def test_error_is_small(self, sigma: float, noise: float, bound: float) -> None:
        maps, centres = gaussian_peaks(sigma, 400, noise)
        flat = maps.flatten(1).argmax(1)
        y, x = flat // 15, flat % 15
        error = (refine_peaks(maps, torch.arange(len(maps)), y, x) - centres).norm(dim=1).mean()
        assert error < bound
        assert error < 0.4 * (torch.stack([x, y], 1) - centres).norm(dim=1).mean()

    def test_never_moves_a_point_by_more_than_a_pixel(self) -> None:
        probability = torch.rand(1, 30, 30, generator=generator())
        y, x = torch.randint(0, 30, (2, 500), generator=generator())  # not even peaks
        moved = refine_peaks(probability, torch.zeros_like(y), y, x) - torch.stack([x, y], 1)
        assert moved.norm(dim=1).max() <= 1 + 1e-5

    def test_far_mass_is_clamped(self) -> None:
        probability = torch.zeros(1, 9, 9)
        probability[0, 6, 6] = 1.0  # 2 px away in x and y from the "peak"
        moved = refine_peaks(probability, torch.tensor([0]), torch.tensor([4]), torch.tensor([4]))
        torch.testing.assert_close(moved, torch.tensor([[4 + 0.5**0.5, 4 + 0.5**0.5]]))

    @pytest.mark.parametrize(("y", "x"), [(0, 0), (0, 7), (5, 0), (5, 7)])
    def test_a_symmetric_peak_at_the_edge_stays(self, y: int, x: int) -> None:
        rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(8.0), indexing="ij")
        probability = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2))[None]
        refined = refine_peaks(probability, torch.tensor([0]), torch.tensor([y]), torch.tensor([x]))
        torch.testing.assert_close(refined, torch.tensor([[float(x), float(y)]]))


class TestPoints:
    def test_points_of_logits(self) -> None:
        truth = [(13, 20), (40, 9), (57, 41)]
        logits = torch.cat([logits_of_points(truth, 48, 64), logits_of_points([(30, 30)], 48, 64, 12.0)])
        first, second = probability_to_keypoints(logits_to_probability(logits), subpixel=False)
        assert sorted(map(tuple, first.points.tolist())) == sorted(truth)
        assert second.points.tolist() == [[30.0, 30.0]]
        assert first.points.dtype == first.scores.dtype == torch.float32
        assert second.scores[0] > first.scores[0]

    def test_order_scores_and_top_k(self) -> None:
        probability = torch.rand(2, 40, 40, generator=generator())
        every = probability_to_keypoints(probability, subpixel=False)
        best = probability_to_keypoints(probability, max_keypoints=5, subpixel=False)
        for image, all_of, some in zip(probability, every, best, strict=True):
            x, y = all_of.points.long().T
            assert len(x) > 5
            assert torch.equal(all_of.scores, image[y, x].sort(descending=True).values)
            assert torch.equal(some.points, all_of.points[:5])
            assert torch.equal(some.scores, all_of.scores[:5])

    @pytest.mark.parametrize("border", [0, 1, 4])
    def test_border(self, border: int) -> None:
        probability = torch.rand(1, 30, 50, generator=generator())
        (found,) = probability_to_keypoints(probability, nms_radius=0, threshold=0, border=border, subpixel=False)
        assert len(found.points) == (30 - 2 * border) * (50 - 2 * border)
        assert found.points.amin(0).tolist() == [border, border]
        assert found.points.amax(0).tolist() == [49 - border, 29 - border]

    def test_a_peak_in_the_border_drops_its_flank(self) -> None:
        probability = torch.zeros(1, 20, 20)
        probability[0, 10, 2], probability[0, 10, 4] = 0.9, 0.5
        (found,) = probability_to_keypoints(probability, border=4)
        assert len(found.points) == 0

    def test_border_wider_than_the_image(self) -> None:
        (found,) = probability_to_keypoints(torch.rand(1, 6, 6, generator=generator()), border=4)
        assert found.points.shape == (0, 2)
        assert found.scores.shape == (0,)

    @pytest.mark.parametrize("shape", [(24, 32), (1, 24, 32)])
    def test_valid_mask(self, shape: tuple[int, ...]) -> None:
        probability = torch.rand(1, 24, 32, generator=generator())
        probability[0, 10, 15] = 5.0  # the strongest of all, but not valid: neither found nor in the way
        valid = torch.ones(shape, dtype=torch.bool)
        valid[..., :16] = False
        (found,) = probability_to_keypoints(probability, valid=valid, border=0, subpixel=False)
        x, y = found.points.long().T
        assert x.min() >= 16
        expected = naive_suppression(probability[0] * valid.view(24, 32), 4, 0.015)
        assert torch.equal(expected.nonzero()[:, 0], y.sort()[0])

    def test_subpixel_follows_the_mass(self) -> None:
        probability = torch.zeros(1, 16, 16)
        probability[0, 8, 8], probability[0, 8, 9] = 0.6, 0.4
        (found,) = probability_to_keypoints(probability)
        torch.testing.assert_close(found.points, torch.tensor([[8.4, 8.0]]))
        assert found.scores.tolist() == pytest.approx([0.6])


def test_padding_repeats_the_edge_on_the_right_and_below() -> None:
    image = torch.rand(1, 1, 13, 17, generator=generator())
    padded = pad_to_multiple(image)
    assert padded.shape == (1, 1, 16, 24)
    assert torch.equal(padded[..., :13, :17], image)
    assert torch.equal(padded[..., :13, 17:], image[..., :, -1:].expand(-1, -1, -1, 7))
    assert torch.equal(padded[..., 13:, :], padded[..., 12:13, :].expand(-1, -1, 3, -1))
    assert pad_to_multiple(padded) is padded
    with pytest.raises(ValueError, match="at least 1 x 1"):
        pad_to_multiple(torch.zeros(1, 1, 0, 8))


class TestDescriptors:
    def test_cell_centres_give_the_cells(self) -> None:
        descriptors = nn.functional.normalize(torch.randn(1, 16, 4, 5, generator=generator()), dim=1)
        rows, columns = torch.meshgrid(torch.arange(4), torch.arange(5), indexing="ij")
        points = torch.stack([8 * columns + 3.5, 8 * rows + 3.5], -1).view(-1, 2)
        (sampled,) = sample_descriptors(descriptors, [points])
        torch.testing.assert_close(sampled, descriptors[0].flatten(1).T, atol=1e-5, rtol=0)

    def test_between_centres(self) -> None:
        descriptors = torch.zeros(1, 2, 2, 2)
        descriptors[0, 0, :, 0] = descriptors[0, 1, :, 1] = 1.0
        (sampled,) = sample_descriptors(descriptors, [torch.tensor([[5.5, 6.0]])])  # a quarter of the way along x
        expected = torch.tensor([[0.75, 0.25]])
        torch.testing.assert_close(sampled, expected / expected.norm())

    def test_outside_the_outermost_centres(self) -> None:
        descriptors = nn.functional.normalize(torch.randn(1, 8, 2, 3, generator=generator()), dim=1)
        (sampled,) = sample_descriptors(descriptors, [torch.tensor([[0.0, 0.0], [23.0, 15.0]])])
        torch.testing.assert_close(sampled, torch.stack([descriptors[0, :, 0, 0], descriptors[0, :, 1, 2]]))

    def test_batch_types_and_length(self) -> None:
        descriptors = torch.randn(2, 8, 3, 3, generator=generator()).bfloat16()
        points = [torch.rand(7, 2, generator=generator()) * 23, torch.zeros(0, 2)]
        first, second = sample_descriptors(descriptors, points)
        assert first.dtype == torch.float32
        torch.testing.assert_close(first.norm(dim=1), torch.ones(7))
        assert second.shape == (0, 8)
        with pytest.raises(ValueError, match="shorter"):
            sample_descriptors(descriptors, points[:1])


class TestSmoothing:
    @staticmethod
    def split(share: float) -> torch.Tensor:
        """A point of 0.9 at (20, 10), `share` of it on the next pixel; a sure one of 0.6 on one pixel at (20, 30)."""
        probability = torch.zeros(1, 40, 40)
        probability[0, 10, 20], probability[0, 10, 21] = 0.9 * (1 - share), 0.9 * share
        probability[0, 30, 20] = 0.6
        return probability

    def test_order_does_not_depend_on_where_in_the_pixel_a_point_lies(self) -> None:
        for share in (0.0, 0.5):
            (found,) = probability_to_keypoints(self.split(share), smoothing=1.0)
            assert found.points[:, 1].tolist() == [10, 30]
            assert found.scores[1] == pytest.approx(0.6)
        (found,) = probability_to_keypoints(self.split(0.5))
        assert found.points[:, 1].tolist() == [30, 10]

    def test_places_are_refined_on_the_map_as_it_is(self) -> None:
        (found,) = probability_to_keypoints(self.split(0.4), smoothing=1.0)
        assert found.points[0].tolist() == pytest.approx([20.4, 10])

    def test_is_the_weighted_sum_and_at_most_one(self) -> None:
        probability = torch.rand(2, 9, 7, generator=generator()) / 20
        steps = torch.arange(-2, 3).float()
        line = torch.exp(-(steps**2) / (2 * 0.8**2))
        expected = nn.functional.conv2d(probability[:, None], torch.outer(line, line)[None, None], padding=2)
        torch.testing.assert_close(smooth_probability(probability, 0.8), expected[:, 0])
        assert smooth_probability(torch.ones(1, 5, 5), 1.0).max() == 1
