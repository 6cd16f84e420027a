import numpy as np
import pytest
import torch
from torch import Tensor, nn

from superpoint.classification.data.dataset import ClassifierInput
from superpoint.classification.metrics import (
    class_table,
    confusion_figure,
    fit,
    measure,
    mistakes_picture,
    predict,
    worst_mistakes,
)
from superpoint.visualize import figure_to_image
from tests.classification.data.drawings import CLASSES, drawn

SPEC = ClassifierInput(list(CLASSES), 16, 16, 3, [0.0] * 3, [1.0] * 3, 1.2, 5)
LABELS = np.array([0, 0, 1, 2])
PROBABILITY = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.05, 0.9, 0.05], [0.9, 0.05, 0.05]], np.float32)


def test_measures_by_hand() -> None:
    found = measure(LABELS, PROBABILITY)
    assert found["accuracy"] == 0.5
    assert found["images"] == 4
    assert "top5" not in found
    assert found["balanced_accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["loss"] == pytest.approx(-np.log([0.8, 0.2, 0.9, 0.05]).mean())
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]  # rows true, columns predicted


def test_top5_needs_six_classes() -> None:
    probability = np.tile(np.array([0.3, 0.25, 0.2, 0.1, 0.1, 0.05], np.float32), (2, 1))
    assert measure(np.array([4, 5]), probability)["top5"] == 0.5


def test_the_surest_mistakes_come_first() -> None:
    assert worst_mistakes(LABELS, PROBABILITY) == [3, 1]


def test_predictions_are_means_over_the_views() -> None:
    class Brightness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, image: Tensor) -> Tensor:
            level = image.mean(dim=(1, 2, 3))
            return torch.stack([level, -level, 0 * level], 1) * 10

    images = drawn(3)
    numbers, probability = predict(Brightness(), images, SPEC)
    assert numbers.tolist() == list(range(9))
    assert np.allclose(probability.sum(1), 1, atol=1e-5)
    views = SPEC.normalise(SPEC.views(images.read(4)))
    expected = Brightness()(views).softmax(1).mean(0).detach().numpy()
    assert np.allclose(probability[4], expected, atol=1e-5)


def test_pictures() -> None:
    image = figure_to_image(confusion_figure([[1, 1, 0], [0, 1, 0], [1, 0, 0]], list(CLASSES), "title"))
    assert image.shape[2] == 3
    assert min(image.shape[:2]) > 300
    many = figure_to_image(confusion_figure(np.eye(40, dtype=int).tolist(), [str(n) for n in range(40)], "title"))
    assert max(many.shape[:2]) <= 1300
    images = drawn(2)
    probability = np.full((6, 3), 0.1, np.float32)
    probability[:, 1] = 0.8
    sheet = mistakes_picture(images, np.arange(6), probability)
    assert sheet is not None
    assert sheet.shape[1] > 4 * 144
    right = np.eye(3, dtype=np.float32)[images.labels]
    assert mistakes_picture(images, np.arange(6), right) is None


@pytest.mark.parametrize("shape", [(28, 28), (400, 300, 3), (2, 500, 3), (144, 144)])
def test_pictures_are_about_the_side_asked_for(shape: tuple[int, ...]) -> None:
    found = fit(np.zeros(shape, np.uint8))
    assert found.shape[2] == 3
    assert max(found.shape[:2]) <= 144


def test_the_table_names_what_is_confused() -> None:
    table = class_table(measure(LABELS, PROBABILITY), list(CLASSES), "title")
    assert list(table.columns[4].cells) == ["2 (1)", "-", "1 (1)"]
    assert list(table.columns[2].cells) == ["0.500", "1.000", "0.000"]
