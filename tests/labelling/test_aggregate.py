import numpy as np
import pytest
import torch

from superpoint.config import AdaptationConfig
from superpoint.geometry.homography import warp_points
from superpoint.labelling.aggregate import SPREAD, Aggregate, gather_mass, intervals
from superpoint.labelling.views import View, sample_views
from tests.drawing import centroid

HEIGHT, WIDTH = 45, 61


def views(count: int, **options: object) -> list[View]:
    return sample_views(AdaptationConfig(homographies=count, **options), HEIGHT, WIDTH, "x")  # type: ignore[arg-type]


def spot(view: View, point: np.ndarray) -> torch.Tensor:
    """A view's map [1, H, W] of a detector without error: all probability at the point, shared among four pixels."""
    x, y = warp_points(point[None], view.h_image_view)[0]
    left, top = int(np.floor(x)), int(np.floor(y))
    fx, fy = x - left, y - top
    probability = torch.zeros(1, *view.size)
    if 0 <= left < view.size[1] - 1 and 0 <= top < view.size[0] - 1:
        corner = torch.tensor([[(1 - fx) * (1 - fy), fx * (1 - fy)], [(1 - fx) * fy, fx * fy]])
        probability[0, top : top + 2, left : left + 2] = corner
    return probability


def test_an_unwarped_view_comes_back_as_it_is() -> None:
    view = views(1)[0]
    probability = torch.rand(1, *view.size, generator=torch.Generator().manual_seed(0))
    aggregate = Aggregate(HEIGHT, WIDTH)
    aggregate.add([view], probability)
    expected = torch.zeros(HEIGHT, WIDTH)
    expected[3:-3, 3:-3] = probability[0, 3 : HEIGHT - 3, 3 : WIDTH - 3]
    assert torch.allclose(aggregate.density(), expected, atol=1e-6)
    assert torch.equal(aggregate.seen() > 0, expected > 0)


@pytest.mark.parametrize("options", [{}, {"scale": [0.5, 2.0]}, {"scales": [1.0, 1.7, 0.6]}])
def test_position_and_mass_are_kept_whatever_the_view(options: dict) -> None:
    point = np.array([28.3, 21.85])
    aggregate = Aggregate(HEIGHT, WIDTH)
    for view in views(20, **options):
        aggregate.add([view], spot(view, point))
    density = aggregate.density().double()
    assert float(aggregate.seen()[22, 28]) > 15
    assert float(density.sum()) == pytest.approx(1.0, abs=0.02)
    assert np.abs(centroid(density.numpy()) - point).max() < 0.05
    # Twenty exact views leave a peak worth nearly one: the scale of the scores is that of plain detection. (Read
    # without the window it would be about 0.25.)
    assert 0.65 < float(aggregate.heatmap().max()) <= 1


def test_seen_counts_the_views_that_may_be_used() -> None:
    some = views(9, margin=2)
    aggregate = Aggregate(HEIGHT, WIDTH)
    for view in some:
        aggregate.add([view], torch.zeros(1, *view.size))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    expected = np.zeros((HEIGHT, WIDTH))
    for view in some:
        mapped = warp_points(np.stack([x.ravel(), y.ravel()], axis=1), view.h_image_view).astype(np.float64)
        signed = mapped @ view.borders[:, :2].T + view.borders[:, 2]
        expected += (signed >= -1e-4).all(axis=1).reshape(HEIGHT, WIDTH)
    found = aggregate.seen().numpy()
    assert (found != expected).mean() < 0.002  # pixels that lie within rounding of a border
    assert found.max() == 9
    assert aggregate.views == 9


def test_batches_and_order_do_not_matter() -> None:
    some = views(6)
    maps = torch.rand(6, *some[0].size, generator=torch.Generator().manual_seed(1))
    together, apart = Aggregate(HEIGHT, WIDTH), Aggregate(HEIGHT, WIDTH)
    together.add(some, maps)
    for index in (4, 0, 5, 2, 1, 3):
        apart.add([some[index]], maps[index : index + 1])
    assert torch.allclose(together.density(), apart.density(), atol=1e-5)
    assert torch.equal(together.seen(), apart.seen())


def test_values_at_the_floor_are_nothing() -> None:
    view = views(1)[0]
    aggregate = Aggregate(HEIGHT, WIDTH)
    aggregate.add([view], torch.full((1, *view.size), 0.01), floor=0.01)
    assert float(aggregate.density().max()) == 0
    assert float(aggregate.seen().max()) == 1


def test_mass_of_a_neighbourhood() -> None:
    density = torch.zeros(1, 20, 30)
    density[0, 8, 12] = 0.4
    mass = gather_mass(density)[0]
    assert float(mass[8, 12]) == pytest.approx(0.4)
    assert float(mass[8, 13]) == pytest.approx(0.4 * np.exp(-1 / (2 * SPREAD**2)), rel=1e-5)
    assert float(mass[8, 11]) == pytest.approx(float(mass[9, 12]))
    assert float(gather_mass(torch.ones(1, 20, 30)).max()) == 1  # a probability


def test_intervals_against_every_pixel() -> None:
    rng = np.random.default_rng(0)
    borders = np.concatenate([rng.normal(size=(30, 4, 2)), rng.uniform(-5, 25, (30, 4, 1))], axis=2)
    borders[:5, 0, 0] = 0  # along the rows
    borders[5:8, :, 1] = 0  # along the columns
    borders[8] = [[1, 0, -100], [1, 0, 0], [0, 1, 0], [0, 1, 0]]  # beyond the image: nothing is inside
    first, last = intervals(torch.from_numpy(borders), 20, 30)
    y, x = np.mgrid[:20, :30]
    within = (borders[:, :, 0, None, None] * x + borders[:, :, 1, None, None] * y + borders[:, :, 2, None, None]) >= 0
    columns = torch.arange(30)
    found = (columns >= first[:, :, None]) & (columns < last[:, :, None])
    assert np.array_equal(found.numpy(), within.all(axis=1))
    assert not found[8].any()
    assert found.any(dim=2).any(dim=1).sum() > 10
