"""Accuracy, confusion matrix and worst mistakes of a classifier, as numbers and pictures."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import nn

from superpoint.classification.data.dataset import ClassifierInput
from superpoint.classification.data.images import ClassImages
from superpoint.engine.display import watch
from superpoint.errors import UserError
from superpoint.visualize import Image, contact_sheet, enlarge, to_rgb

VIEWS = 128  # that go through the network together
NAMED = 30  # classes up to which a confusion matrix has numbers in its cells
SHOWN = 24  # mistakes on a picture
SHOWN_SIDE = 144  # pixels: smaller images are enlarged to about this


def predict(
    model: nn.Module, images: ClassImages, spec: ClassifierInput, *, shown: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the numbers of the readable images [M] and their class probabilities [M, K], means over the test views.

    The model must be in evaluation mode; it runs under the caller's autocast. `shown`: with a bar.
    """
    device = next(model.parameters()).device
    numbers: list[int] = []
    found = [np.empty((0, len(spec.classes)), np.float32)]
    step = max(1, VIEWS // spec.test_crops)
    for start in watch(range(0, len(images), step), "images", enabled=shown):
        views = []
        for number in range(start, min(start + step, len(images))):
            with contextlib.suppress(UserError):
                views.append(spec.views(images.read(number)))
                numbers.append(number)
        if views:
            with torch.no_grad():
                logits = model(spec.normalise(torch.cat(views).to(device))).float()
            found.append(logits.softmax(1).unflatten(0, (len(views), -1)).mean(1).cpu().numpy())
    return np.array(numbers, np.int64), np.concatenate(found)


def measure(labels: NDArray[np.int64], probability: NDArray[np.float32]) -> dict[str, Any]:
    """Compute the figures of predictions from true classes [N] and probabilities [N, K].

    Returns:
        images; accuracy; balanced_accuracy, the mean recall over the classes; top5 (from six classes on); loss, the
        mean of -log(probability of the true class); confusion, int [K, K], rows true, columns predicted.
    """
    count = probability.shape[1]
    predicted = probability.argmax(1)
    confusion = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
    images = confusion.sum(1)
    true = probability[np.arange(len(labels)), labels].clip(min=1e-12)
    found: dict[str, Any] = {
        "images": len(labels),
        "accuracy": float((predicted == labels).mean()),
        "balanced_accuracy": float((confusion.diagonal()[images > 0] / images[images > 0]).mean()),
        "loss": float(-np.log(true).mean()),
        "confusion": confusion.tolist(),
    }
    if count > 5:
        best = np.argsort(-probability, axis=1, kind="stable")[:, :5]
        found["top5"] = float((best == labels[:, None]).any(1).mean())
    return found


def worst_mistakes(labels: NDArray[np.int64], probability: NDArray[np.float32]) -> list[int]:
    """Return the indices of the wrong answers, the most certain first."""
    wrong = np.flatnonzero(probability.argmax(1) != labels)
    return wrong[np.argsort(-probability[wrong].max(1), kind="stable")][:SHOWN].tolist()


def mistakes_picture(images: ClassImages, numbers: NDArray[np.int64], probability: NDArray[np.float32]) -> Image | None:
    """Return a contact sheet of the worst mistakes, titled "true, said answer (probability)"; None without one."""
    labels = images.labels[numbers]
    pictures, titles = [], []
    for place in worst_mistakes(labels, probability):
        answer = int(probability[place].argmax())
        pictures.append(fit(images.read(int(numbers[place]))))
        true, said = images.classes[int(labels[place])], images.classes[answer]
        titles.append(f"{true}, said {said} ({probability[place, answer]:.2f})")
    return contact_sheet(pictures, titles, columns=6) if pictures else None


def fit(image: NDArray[np.uint8], side: int = SHOWN_SIDE) -> Image:
    """Return a picture of about `side` pixels: enlarged by whole pixels, or the middle of a larger one thinned out."""
    rgb = to_rgb(image)
    step = -(-min(rgb.shape[:2]) // side)
    rgb = np.ascontiguousarray(rgb[::step, ::step])
    height, width = rgb.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return enlarge(rgb[top : top + side, left : left + side], max(1, side // max(rgb.shape[:2])))


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Draw the confusion matrix, rows as shares of the images of a class; with the numbers if the classes are few."""
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    total = len(classes)
    side = min(12.0, max(4.6, 2.4 + 0.42 * total))
    figure = Figure(figsize=(side + 0.9, side), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    if total <= NAMED:
        names = [name if len(name) <= 16 else f"{name[:15]}…" for name in classes]
        turn = 0 if max(map(len, names)) * total <= 40 else 90
        axes.set_xticks(range(total), names, rotation=turn)
        axes.set_yticks(range(total), names)
        size = 10 if total <= 12 else 7
        for row in range(total):
            for column in range(total):
                if counts[row, column]:
                    color = "black" if shares[row, column] > 0.55 else "white"
                    text = f"{counts[row, column]:.0f}"
                    axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(drawn, ax=axes, label="share of the images of the true class", shrink=0.8)
    return figure


def class_table(found: dict[str, Any], classes: Sequence[str], title: str) -> Table:
    """Make a table of images, recall and precision of each class."""
    confusion = np.asarray(found["confusion"])
    table = Table("class", title=title, box=SIMPLE_HEAD, pad_edge=False)
    for name in ("images", "recall", "precision"):
        table.add_column(name, justify="right")
    table.add_column("most often taken for")
    for label, name in enumerate(classes):
        row, column = confusion[label], confusion[:, label]
        wrong = np.where(np.arange(len(classes)) == label, 0, row)
        other = f"{classes[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else "-"
        recall = f"{row[label] / row.sum():.3f}" if row.sum() else "-"
        precision = f"{row[label] / column.sum():.3f}" if column.sum() else "-"
        table.add_row(name, str(row.sum()), recall, precision, other)
    return table
