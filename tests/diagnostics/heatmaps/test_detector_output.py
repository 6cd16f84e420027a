import numpy as np
import pytest
import torch

from superpoint.diagnostics.heatmaps.detector_output import Subject, measure_output, observe
from superpoint.geometry.cells import DUSTBIN
from superpoint.models import build_model
from tests.conftest import TINY_MODEL

IMAGE = np.zeros((24, 32), np.uint8)


def peaks(*points: tuple[int, int], size: tuple[int, int] = (24, 32)) -> torch.Tensor:
    """Logits whose probability is high at the points (x, y) alone."""
    logits = torch.zeros(65, -(-size[0] // 8), -(-size[1] // 8))
    logits[DUSTBIN] = 12.0
    for x, y in points:
        logits[8 * (y % 8) + x % 8, y // 8, x // 8] = 15.0
    return logits


def test_detections_up_to_the_border_and_their_placement() -> None:
    output = measure_output(IMAGE, peaks((0, 0), (31, 23), (15, 11)))
    assert {tuple(np.rint(point)) for point in output.points} == {(0, 0), (31, 23), (15, 11)}
    assert output.placement.keypoints == 3
    assert output.placement.border == pytest.approx(2 / 3 / ((24 * 32 - 8 * 16) / (24 * 32)), rel=1e-5)
    assert output.labels is None


def test_what_lies_in_the_padding_is_no_detection() -> None:
    output = measure_output(np.zeros((20, 30), np.uint8), peaks((5, 5), (31, 5), (5, 22)))
    assert len(output.points) == 1


def test_a_network_sees_the_padded_image() -> None:
    model = build_model(TINY_MODEL).eval()
    image = np.random.default_rng(1).integers(0, 256, (44, 60), dtype=np.uint8)
    padded = torch.from_numpy(np.pad(image, ((0, 4), (0, 4)), mode="edge"))[None, None].float() / 255
    with torch.no_grad():
        expected = model(padded)["logits"][0]
    seen = observe(model, Subject("noise", image, np.array([[9, 4]])))
    torch.testing.assert_close(torch.from_numpy(seen.maps.logits), expected)
    assert seen.labels is not None


def test_labels_from_points() -> None:
    output = measure_output(IMAGE, peaks(), points=[[9.3, 4.4], [40.0, 4.0], [np.nan, 1.0]])
    assert output.labels is not None
    assert output.maps.target is not None
    np.testing.assert_allclose(output.labels, [[9.3, 4.4]])  # those off the image are left out
    assert output.maps.target[0, 1] == 8 * 4 + 1
    assert (output.maps.target != DUSTBIN).sum() == 1


def test_labels_from_a_target() -> None:
    target = np.full((3, 4), DUSTBIN)
    target[2, 1] = 8 * 6 + 3
    output = measure_output(IMAGE, peaks(), target=torch.from_numpy(target))
    assert output.labels is not None
    np.testing.assert_allclose(output.labels, [[11, 22]])  # (x, y)


def test_description_names_the_key_statistics() -> None:
    text = measure_output(IMAGE, peaks((9, 4), (20, 12)), points=[[9, 4], [28, 20]]).describe()
    for part in ("dustbin mean 0.8", "recall 0.50", "2 detections", "border density", "cell pattern"):
        assert part in text
    nothing = measure_output(IMAGE, peaks()).describe()
    assert "0 detections" in nothing
    assert "nan" not in nothing
    assert "recall" not in nothing
    assert measure_output(IMAGE, peaks() + 200).describe().endswith("naive exp() fails in 100% of the cells")


def test_the_verdict_names_what_is_wrong() -> None:
    assert measure_output(IMAGE, peaks((9, 4), (20, 12))).verdict().startswith("Looks healthy")
    assert measure_output(IMAGE, peaks()).verdict() == "Suspicious: no detections"
    assert "logits are too large" in measure_output(IMAGE, peaks() + 200).verdict()
