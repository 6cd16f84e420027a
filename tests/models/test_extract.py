"""From the definition: cells of 8 pixels, channel 8 * row + column, centres of cells at 8 * c + 3.5."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from superpoint.config import DecodeConfig
from superpoint.errors import UserError
from superpoint.models import extract, load_network
from superpoint.models.extract import dense_maps, features
from tests.conftest import photograph, same_features

WHOLE = DecodeConfig(threshold=0.1, border=0, subpixel=False)


class Echo(nn.Module):
    """A network whose logits mark the pixels that are bright; remembers the size it was given."""

    def __init__(self, *parts: str) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        self.size = tuple(image.shape[-2:])
        cells = nn.functional.pixel_unshuffle(image, 8) * 12
        output = {"logits": torch.cat([cells, torch.full_like(cells[:, :1], 5.0)], dim=1)}
        if "descriptors" in self.parts:  # each cell's: its column, its row
            rows, columns = (torch.arange(n).float() for n in cells.shape[-2:])
            place = torch.stack(torch.meshgrid(columns + 1, rows + 1, indexing="xy"))
            output["descriptors"] = nn.functional.normalize(place, dim=0).expand(len(image), -1, -1, -1)
        return output


def image_of(points: list[tuple[int, int]], height: int = 48, width: int = 64) -> np.ndarray:
    image = np.zeros((height, width), np.uint8)
    for x, y in points:
        image[y, x] = 255
    return image


@pytest.mark.parametrize(("height", "width"), [(48, 64), (45, 61), (41, 57), (47, 63)])
def test_images_of_any_size_are_padded_to_cells(height: int, width: int) -> None:
    network = Echo().eval()
    marked = [[(30, 11), (5, 40)], [(50, 20)]]
    found = features(network, [image_of(each, height, width) for each in marked], WHOLE)
    assert network.size == (48, 64)
    assert [sorted(map(tuple, each.keypoints.tolist())) for each in found] == [[(5, 40), (30, 11)], [(50, 20)]]
    assert [each.image_size for each in found] == [(width, height)] * 2
    assert found[0].descriptors is None


def test_padding_holds_no_keypoint_and_suppresses_none() -> None:
    """Of two points the stronger lies 3 px from the other, in the padding of an image 20 px wide."""
    whole = torch.zeros(1, 1, 24, 24)
    whole[0, 0, 10, 18], whole[0, 0, 10, 21] = 0.9, 1.0
    logits = Echo()(whole)
    (cropped,) = features(lambda _: logits, whole[..., :20], WHOLE)
    (full,) = features(lambda _: logits, whole, WHOLE)
    (pixel,) = features(Echo().eval(), torch.ones(1, 1, 1, 1), DecodeConfig(border=0))
    assert cropped.keypoints.tolist() == [[18, 10]]
    assert pixel.keypoints.tolist() == [[0, 0]]
    assert full.keypoints.tolist() == [[21, 10]]


def test_keypoints_lie_where_the_probability_has_its_mean() -> None:
    """The mean of the 5x5 pixels about the peak, whose centres are at whole numbers."""
    image = torch.zeros(1, 1, 24, 24)
    image[0, 0, 9, 12], image[0, 0, 9, 13] = 1.0, 0.95
    p = dense_maps(Echo().eval(), image).probability[0].double()
    rows, columns = torch.meshgrid(torch.arange(-2, 3), torch.arange(-2, 3), indexing="ij")
    window = p[7:12, 10:15]
    expected = [12 + float((window * columns).sum() / window.sum()), 9 + float((window * rows).sum() / window.sum())]
    (found,) = features(Echo().eval(), image)
    assert found.keypoints[0] == pytest.approx(expected, abs=1e-4)
    assert found.scores[0] == pytest.approx(float(p[9, 12]))
    assert 12.2 < found.keypoints[0, 0] < 12.5


def test_descriptors_are_those_at_the_keypoints() -> None:
    """Between the centres of cells, at 8 * c + 3.5, they are interpolated and scaled to unit length."""
    (found,) = features(Echo("descriptors").eval(), [image_of([(30, 11), (5, 40), (62, 46)])], WHOLE)
    assert found.descriptors is not None
    assert found.descriptors.shape == (3, 2)
    cells = Echo("descriptors")(torch.zeros(1, 1, 48, 64))["descriptors"][0].numpy()
    for (x, y), descriptor in zip(found.keypoints, found.descriptors, strict=True):
        column, row = np.clip((x - 3.5) / 8, 0, 7), np.clip((y - 3.5) / 8, 0, 5)
        left, top = min(int(column), 6), min(int(row), 4)
        a, b = column - left, row - top
        corners = cells[:, top : top + 2, left : left + 2]
        mixed = (corners * np.outer([1 - b, b], [1 - a, a])).sum(axis=(1, 2))
        assert descriptor == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-5)


def test_networks_with_descriptors_are_smoothed() -> None:
    """A point between two pixels counts for both of them there."""
    image = torch.zeros(1, 1, 40, 40)
    image[0, 0, 19, 19:21] = 0.7
    scores = [
        features(Echo(*parts).eval(), image, smoothing=smoothing)[0].scores[0]
        for parts, smoothing in (([], None), (["descriptors"], None), ([], 1.0), (["descriptors"], 0.0))
    ]
    assert scores[1] == scores[2] > 1.3 * scores[0]
    assert scores[3] == scores[0]


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network\.eval\(\)"):
        features(Echo().train(), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("values", [[torch.nan], [torch.inf], [torch.inf, -torch.inf], [-torch.inf] * 65])
@pytest.mark.parametrize("channel", [3, 64])  # a pixel's, and the dustbin's
def test_broken_weights_are_found(values: list[float], channel: int) -> None:
    logits = torch.randn(3, 65, 4, 5, generator=torch.Generator().manual_seed(0))
    for index, value in enumerate(values):
        logits[1, (channel + index) % 65, 2, 3] = value
    with pytest.raises(UserError, match="found NaN or infinity"):
        features(lambda _: {"logits": logits}, torch.zeros(3, 1, 32, 40))


def test_a_logit_of_minus_infinity_is_a_probability_of_0() -> None:
    logits = torch.zeros(1, 65, 2, 2)
    logits[0, 3, 1, 1] = -torch.inf
    assert dense_maps(lambda _: {"logits": logits}, torch.zeros(1, 1, 16, 16)).probability.isfinite().all()


class TestTiles:
    """The whole image is the definition, for a network that sees no pixel but its own."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extract, "OVERLAP", 8)
        self.sizes = set[int]()

    def network(self, image: Tensor) -> dict[str, Tensor]:
        self.sizes |= set(image.shape[-2:])
        cells = 1 + nn.functional.pixel_unshuffle(image, 8)[:, :5]
        return {"probability": image[:, 0], "descriptors": nn.functional.normalize(cells, dim=1)}

    @pytest.mark.parametrize(
        ("height", "width"), [(70, 101), (64, 96), (33, 32), (16, 130), (130, 9), (1, 90), (90, 1), (31, 31), (80, 96)]
    )
    @pytest.mark.parametrize(
        "decode",
        [
            DecodeConfig(threshold=0.001, border=0),
            DecodeConfig(nms_radius=12, threshold=0.001, max_keypoints=9),
            DecodeConfig(nms_radius=0, threshold=0.01, border=20, subpixel=False),
            DecodeConfig(nms_radius=2, threshold=0.001, border=0, max_keypoints=9, grid=[3, 2], per_cell=2),
        ],
    )
    @pytest.mark.parametrize("levels", [0, 4])  # 4 grey levels: plateaus, of which ties decide, across all tiles
    def test_give_what_the_whole_gives(self, height: int, width: int, decode: DecodeConfig, levels: int) -> None:
        images = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(height))
        images[1] **= 6
        if levels:
            images = (images * levels).floor() / levels
            images[0, 0, height // 4 : height // 2] = 0.5
        valid = torch.rand(height, width, generator=torch.Generator().manual_seed(1)) > 0.1
        whole = features(self.network, images, decode, valid=valid)
        self.sizes.clear()
        tiled = features(self.network, images, decode, valid=valid, tile=37)
        assert max(self.sizes) <= 32
        for one, other in zip(whole, tiled, strict=True):
            same_features(one, other, 1e-4)
            np.testing.assert_array_equal(one.scores, other.scores)

    def test_a_ramp_across_all_strips(self) -> None:
        """Each pixel waits for the one below it, down to the last row."""
        image = torch.linspace(0.2, 0.9, 100)[:, None].expand(100, 20)[None, None]
        (whole,), (tiled,) = (features(self.network, image, WHOLE, smoothing=0, tile=each) for each in (0, 32))
        assert whole.keypoints[0].tolist() == [0, 99]
        np.testing.assert_array_equal(whole.keypoints, tiled.keypoints)


def test_tiles_of_a_network_that_looks_around() -> None:
    """The pretrained networks look 40 px beyond a cell, less than tiles overlap."""
    image = photograph(height=180, width=210)
    for name in ("superpoint-lite", "magicpoint-compact"):
        network = load_network(name)
        (whole,), (tiled,) = (features(network, [image], DecodeConfig(3), tile=tile) for tile in (0, 136))
        assert len(whole) > 50
        same_features(whole, tiled, 1e-3)
