import cv2
import numpy as np
import pytest
import torch

from superpoint.config import AdaptationConfig
from superpoint.errors import UserError
from superpoint.geometry.homography import inside, warp_points
from superpoint.labelling.views import View, chunks, generator, sample_views, warp_views
from tests.drawing import centroid, spots


def draw(view: View, image: np.ndarray) -> np.ndarray:
    return warp_views(torch.from_numpy(image)[None, None], [view], *image.shape)[0, 0].numpy()


def test_random_numbers_depend_on_seed_and_name_alone() -> None:
    # Fixed numbers: labels must be the same in every process (PYTHONHASHSEED), on every machine, in every version.
    assert generator(0, "a/1.png").integers(1 << 30, size=3).tolist() == [1013705120, 612201305, 604224458]
    drawn = [generator(seed, name).random() for seed, name in ((0, "a"), (1, "a"), (0, "b"), (2**62, "ä"))]
    assert len(set(drawn)) == 4


def test_the_first_view_is_the_image_and_fewer_views_are_the_first_ones() -> None:
    many = sample_views(AdaptationConfig(homographies=12), 48, 64, "x")
    few = sample_views(AdaptationConfig(homographies=5), 48, 64, "x")
    assert np.array_equal(many[0].h_image_view, np.eye(3))
    assert len(few) == 5
    assert all(np.array_equal(a.h_image_view, b.h_image_view) for a, b in zip(few, many, strict=False))
    assert len({view.h_image_view.tobytes() for view in many}) == 12


@pytest.mark.parametrize("options", [{}, {"scales": [1.0, 1.5, 0.6]}, {"rotations": 4}])
def test_content_lies_where_the_matrix_says(options: dict) -> None:
    points = np.array([[30.3, 25.6], [62.8, 40.1], [45.5, 60.25]])
    image = spots(points, 90, 100, 1.4).astype(np.float32)
    checked = 0
    for view in sample_views(AdaptationConfig(homographies=13, **options), 90, 100, "x"):
        drawn = draw(view, image)
        assert drawn.shape == view.size
        assert view.size[0] % 8 == 0
        assert view.size[1] % 8 == 0
        mapped = warp_points(points, view.h_image_view)
        for where in mapped[inside(mapped, *view.size, margin=12)]:
            x, y = np.floor(where + 0.5).astype(int) - 8
            assert np.abs(np.add(centroid(drawn[y : y + 17, x : x + 17]), (x, y)) - where).max() < 0.05
            checked += 1
    assert checked > 15


def test_views_are_turned_by_right_angles() -> None:
    config = AdaptationConfig(homographies=8, rotations=4, scales=[1.0, 0.5])
    plain = sample_views(AdaptationConfig(homographies=8, scales=[1.0, 0.5]), 48, 64, "x")
    views = sample_views(config, 48, 64, "x")
    assert [view.size for view in views] == [(48, 64), (24, 32), (64, 48), (32, 24)] * 2
    assert [view.shrunk for view in views] == [view.shrunk for view in plain]
    for view, other in zip(views[4:6], plain[4:6], strict=True):  # upside down
        width, height = other.size[1], other.size[0]
        turn = np.array([[-1.0, 0, width - 1], [0, -1, height - 1], [0, 0, 1]])
        np.testing.assert_allclose(view.h_image_view, turn @ other.h_image_view, atol=1e-9)
    with pytest.raises(UserError, match="rotations: found 3, expected 1, 2 or 4"):
        AdaptationConfig(rotations=3)


def test_agrees_with_opencv() -> None:
    y, x = np.mgrid[:70, :90]
    image = (0.5 + 0.25 * np.sin(x / 5) + 0.25 * np.cos(y / 7)).astype(np.float32)
    for view in sample_views(AdaptationConfig(homographies=8), 70, 90, "x"):
        size = view.size[1], view.size[0]
        theirs = cv2.warpPerspective(image, view.h_image_view, size, borderMode=cv2.BORDER_REPLICATE)
        drawn = draw(view, image)
        used = usable(view)
        # The gradient is at most 0.06 a pixel, so this is 0.05 px; OpenCV rounds to 1/32 px.
        assert np.abs(drawn - theirs)[used].max() < 0.003


def usable(view: View) -> np.ndarray:
    y, x = np.mgrid[: view.size[0], : view.size[1]]
    return np.logical_and.reduce([a * x + b * y + c >= 0 for a, b, c in view.borders])


def test_resolutions() -> None:
    still = {"rotation": 0, "perspective": 0, "shear": 0, "translation": 0, "scale": [1.0, 1.0]}
    views = sample_views(AdaptationConfig(homographies=4, scales=[1.0, 0.5], **still), 40, 64, "x")
    assert [view.size for view in views] == [(40, 64), (24, 32)] * 2
    assert [view.shrunk for view in views[:2]] == [(40, 64), (20, 32)]
    corner = warp_points(np.array([[0.0, 0.0]]), views[1].h_image_view)[0]
    assert corner.round(4).tolist() == [-0.25, -0.25]  # centre of a pixel half as large


def test_usable_pixels_keep_their_distance() -> None:
    margin = 3
    for view in sample_views(AdaptationConfig(homographies=6, margin=margin, scales=[1.0, 0.7]), 45, 61, "x"):
        used = usable(view)
        y, x = np.nonzero(used)
        steps = margin - 0.1
        for dx, dy in ((-steps, 0), (steps, 0), (0, -steps), (0, steps), (-steps * 0.7, steps * 0.7)):
            moved = np.stack([x + dx, y + dy], axis=1).astype(np.float64)
            back = warp_points(moved, np.linalg.inv(view.h_image_view).astype(np.float64))
            assert inside(back, 45, 61).all()
            assert inside(moved, *view.size).all()
        assert used.any()
    assert usable(sample_views(AdaptationConfig(homographies=1, margin=3), 45, 61, "x")[0]).sum() == 39 * 55


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 300)])
def test_any_size(size: tuple[int, int]) -> None:
    image = np.full(size, 0.5, np.float32)
    for view in sample_views(AdaptationConfig(homographies=6, scales=[1.0, 0.3]), *size, "x"):
        source = torch.full((1, 1, *view.shrunk), 0.5)
        drawn = warp_views(source, [view], *image.shape)
        assert drawn.shape[-2:] == view.size
        assert torch.allclose(drawn, torch.full_like(drawn, 0.5))


def test_chunks_hold_every_view_once_in_groups_of_one_size() -> None:
    views = sample_views(AdaptationConfig(homographies=11, scales=[1.0, 0.5]), 40, 64, "x")
    for largest in (0, 40 * 64 * 2, 10**9):
        groups = list(chunks(views, largest))
        assert sorted(id(view) for group in groups for view in group) == sorted(map(id, views))
        assert all(len({(view.size, view.shrunk) for view in group}) == 1 for group in groups)
        assert all(len(group) == 1 or len(group) * np.prod(group[0].size) <= largest for group in groups)
    assert max(len(group) for group in chunks(views, 40 * 64 * 2)) > 1
