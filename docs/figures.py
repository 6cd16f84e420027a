"""The figures of docs/concepts: what the networks and losses of the package do, drawn by the package.

python docs/figures.py      # from the top of the repository; about half a minute; writes docs/images/concepts/*.png
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from superpoint.config import AdaptationConfig, DecodeConfig, ModelConfig, SyntheticConfig
from superpoint.data.images import resize_with_points, sample_photographs
from superpoint.data.synthetic.render import ShapeGenerator
from superpoint.geometry.cells import CELL, CHANNELS, DUSTBIN, encode_points, image_tensor
from superpoint.geometry.homography import warp_image, warp_points
from superpoint.labelling.aggregate import Aggregate
from superpoint.labelling.views import sample_views, warp_views
from superpoint.losses import INITIAL_DETECTOR_LOSS, detector_loss, dual_softmax_loss, position_loss
from superpoint.models import SuperPoint, build_model, load_network
from superpoint.models.decode import logits_to_probability, sample_descriptors
from superpoint.models.extract import dense_maps, features
from superpoint.visualize import BLUE, ORANGE, VERMILION, figure_to_image, plot_color, to_gray

OUT = Path(__file__).parent / "images/concepts"
DPI = 100
WIDTH = 7.16  # inches: that of the page
SIZE = 15  # pt: readable where the page is as narrow as a phone
CROSS = {"marker": "+", "color": plot_color(VERMILION), "s": 160, "linewidths": 2.5}
RING = {"marker": "o", "facecolors": "none", "edgecolors": plot_color(ORANGE), "s": 40, "linewidths": 1.5}
DECODE = DecodeConfig(max_keypoints=150, threshold=0.015)


def figure(height: float, panels: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure of this many inches, and its panels: two per row, and the first of an odd number across."""
    drawn = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    names = "ABCDEF"[:panels]
    places = names[: panels % 2] + names
    axes = drawn.subplot_mosaic(";".join(places[row : row + 2] for row in range(0, len(places), 2)), **options)
    return drawn, [axes[name] for name in names]


def picture(axes: Axes, image: np.ndarray, title: str, **options: Any) -> None:
    axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "nearest", **options})
    axes.set_title(title, fontsize=SIZE)
    axes.set_xticks([])
    axes.set_yticks([])


def save(name: str, drawn: Figure) -> None:
    """Write a figure in 128 colours: a third of the bytes, and no difference to the eye."""
    OUT.mkdir(parents=True, exist_ok=True)
    Image.fromarray(figure_to_image(drawn)).quantize(128).save(OUT / name, optimize=True)


def photograph(name: str, height: int, width: int) -> np.ndarray:
    """Return a sample photograph, grey, uint8 [height, width]."""
    gray = to_gray(dict(sample_photographs())[name])
    return resize_with_points(gray, np.zeros((0, 2), np.float32), (height, width))[0]


def cells() -> None:
    """A scene in cells, the channels of one of them, and its target."""
    scene = ShapeGenerator(SyntheticConfig(compose=0.0, texture=0.0), 64, 80, seed=9).scene(0, "polygon")
    points = scene.points
    target = encode_points(points, 64, 80)
    drawn, (image, cell, classes) = figure(8.2, 3, height_ratios=[1.1, 1])
    picture(image, scene.image, "An image in cells of 8x8 pixels")
    for x in range(0, 81, CELL):
        image.axvline(x - 0.5, color="0.75", linewidth=0.5)
    for y in range(0, 65, CELL):
        image.axhline(y - 0.5, color="0.75", linewidth=0.5)
    image.scatter(*points.T, **CROSS)
    row, column = np.argwhere(target != DUSTBIN)[0]
    image.add_patch(
        Rectangle(
            (column * CELL - 0.5, row * CELL - 0.5), CELL, CELL, fill=False, edgecolor=plot_color(BLUE), linewidth=2
        )
    )
    part = scene.image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
    picture(cell, part, f"The blue cell, channels\n0 to 63; the label: {target[row, column]}")
    for channel in range(DUSTBIN):
        y, x = divmod(channel, CELL)
        here = channel == target[row, column]
        ink = plot_color(VERMILION) if here else "white" if part[y, x] < 128 else "black"
        cell.text(x, y, str(channel), ha="center", va="center", fontsize=15 if here else 11, color=ink,
                  fontweight="bold" if here else "normal")  # fmt: skip
    picture(
        classes,
        (target != DUSTBIN).astype(float),
        "The target of each cell\n(64 = dustbin)",
        cmap="Blues",
        vmin=0,
        vmax=3,
    )
    for (y, x), value in np.ndenumerate(target):
        classes.text(x, y, str(value), ha="center", va="center", fontsize=10 if value == DUSTBIN else 13,
                     color="0.45" if value == DUSTBIN else plot_color(VERMILION),
                     fontweight="normal" if value == DUSTBIN else "bold")  # fmt: skip
    save("cells.png", drawn)


def dustbin(network: SuperPoint) -> None:
    """From a photograph to keypoints: dustbin of each cell, probability of each pixel, peaks."""
    image = photograph("camera", 192, 192)
    logits = network(image_tensor([image]).float() / 255)["logits"].float()
    probability = logits_to_probability(logits)[0].numpy()
    bin_of_cells = torch.softmax(logits, dim=1)[0, DUSTBIN].numpy()
    found = features(network, [image], DECODE)[0]
    drawn, axes = figure(8.0, 4)
    picture(axes[0], image, "Image\n")
    picture(axes[1], bin_of_cells, "Dustbin of each cell,\n0 (dark) to 1", cmap="cividis", vmin=0, vmax=1)
    picture(axes[2], np.sqrt(probability), "Probability of each\npixel (square root)", cmap="viridis", vmin=0, vmax=0.6)
    picture(axes[3], image, f"Its {len(found)} peaks:\nkeypoints")
    axes[3].scatter(*found.keypoints.T, **RING)
    save("dustbin.png", drawn)


def adaptation(network: SuperPoint) -> None:
    """Views of a photograph with their detections, and what the sum of 1, 10 and 100 views finds."""
    height, width = 192, 288
    image = photograph("motorcycle_left", height, width)
    views = sample_views(AdaptationConfig(homographies=100), height, width, "motorcycle")
    source = image_tensor([image]).float() / 255
    drawn, axes = figure(8.2, 6)
    for axis, index in zip(axes[::2], (1, 2, 4), strict=True):
        view = warp_views(source, [views[index]], height, width)
        found = features(network, view, DECODE)[0]
        lines = views[index].borders  # a pixel counts where a * x + b * y + c >= 0 for all
        inside = (found.keypoints @ lines[:, :2].T + lines[:, 2] >= 0).all(axis=1)
        rows, columns = np.mgrid[: view.shape[2], : view.shape[3]]
        kept = (columns[..., None] * lines[:, 0] + rows[..., None] * lines[:, 1] + lines[:, 2] >= 0).all(axis=2)
        picture(axis, np.where(kept, view[0, 0].numpy() * 255, 255), f"View {index + 1}: {inside.sum()} detections")
        axis.scatter(*found.keypoints[inside].T, **{**RING, "s": 24})
    aggregate = Aggregate(height, width)
    done = 0
    for axis, count in zip(axes[1::2], (1, 10, 100), strict=True):
        for view in views[done:count]:
            aggregate.add([view], dense_maps(network, warp_views(source, [view], height, width)).probability, 1e-3)
        done = count
        picture(axis, np.sqrt(aggregate.heatmap().numpy()), f"Sum of {count} view{'s' * (count > 1)}", cmap="viridis",
                vmin=0, vmax=0.7)  # fmt: skip
    save("adaptation.png", drawn)


def loss_values() -> None:
    """The detector loss of four answers to the same targets."""
    generator = ShapeGenerator(SyntheticConfig(), 120, 160, seed=0)
    targets = np.stack([encode_points(generator.scene(index).points, 120, 160) for index in range(64)])
    target = torch.from_numpy(targets)
    share = float((target != DUSTBIN).float().mean())
    shape = (len(target), CHANNELS, *target.shape[1:])
    constant = torch.full(shape, np.log(share / DUSTBIN))
    constant[:, DUSTBIN] = np.log(1 - share)
    right = torch.zeros(shape).scatter_(1, target[:, None], 1.0)
    answers = {
        "untrained:\nall alike (ln 65)": torch.zeros(shape),
        f"always the dustbin\n({1 - share:.1%} of the cells)": constant,
        "the right class\nwith p = 0.5": (right * 0.5 + (1 - right) * 0.5 / 64).log(),
        "the right class\nwith p = 0.95": (right * 0.95 + (1 - right) * 0.05 / 64).log(),
    }
    values = [
        float(detector_loss(each, target, torch.ones_like(target, dtype=torch.bool))[0]) for each in answers.values()
    ]
    assert abs(values[0] - INITIAL_DETECTOR_LOSS) < 1e-4
    drawn, (axes,) = figure(3.8, 1)
    bars = axes.barh(list(answers), values, color=plot_color(BLUE), height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4, fontsize=SIZE)
    axes.invert_yaxis()
    axes.set_xlim(0, 5.5)
    axes.set_xlabel("detector loss (nats)", fontsize=SIZE)
    axes.tick_params(labelsize=SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    save("detector_loss.png", drawn)


def two_views() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two views of a photograph, and the homography from the first to the second."""
    image = photograph("coffee", 240, 320)
    angle, scale = np.deg2rad(12), 0.9
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([159.5, 119.5])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, centre - turn @ centre + (6.4, -3.7)
    return image, warp_image(image, matrix, (240, 320)), matrix


def descriptors(network: SuperPoint) -> None:
    """Similarities of corresponding keypoints before and after training, with the loss of each."""
    first, second, matrix = two_views()
    found = features(network, [first], DecodeConfig(max_keypoints=30, nms_radius=12, border=30))[0].keypoints
    there = warp_points(found, matrix).astype(np.float32)
    inside = ((there > 12) & (there < np.array([307, 227]))).all(axis=1)
    points = [torch.from_numpy(each[inside][:24]) for each in (found, there)]
    untrained = build_model(ModelConfig(encoder="compact", head_channels=128, descriptor_dim=64), 0).eval()
    drawn, axes = figure(7.4, 3, height_ratios=[1, 1.3])
    both = np.concatenate([first, np.full((240, 8), 255, np.uint8), second], axis=1)
    picture(axes[0], both, "Two views, corresponding keypoints")
    axes[0].scatter(*points[0].T, **RING)
    axes[0].scatter(points[1][:, 0] + 328, points[1][:, 1], **RING)
    for index in range(0, len(points[0]), 3):
        axes[0].plot([points[0][index, 0], points[1][index, 0] + 328], [points[0][index, 1], points[1][index, 1]],
                     color=plot_color(ORANGE), linewidth=1)  # fmt: skip
    for axis, model, name in ((axes[1], untrained, "untrained"), (axes[2], network, "superpoint-lite")):
        maps = [model(image_tensor([image]).float() / 255)["descriptors"].float() for image in (first, second)]
        one, other = (sample_descriptors(each, [where])[0] for each, where in zip(maps, points, strict=True))
        loss, _ = dual_softmax_loss(one[None], other[None], points[0][None], points[1][None],
                                    torch.ones(1, len(one), dtype=torch.bool))  # fmt: skip
        picture(
            axis, (one @ other.T).numpy(), f"Similarity: {name},\nloss {loss:.2f}", cmap="viridis", vmin=-0.2, vmax=1
        )
        axis.set_xlabel("keypoint of view 2", fontsize=SIZE)
        axis.set_ylabel("keypoint of view 1", fontsize=SIZE)
    bar = drawn.colorbar(axes[2].images[0], ax=axes[1:], orientation="horizontal", aspect=40)
    bar.ax.tick_params(labelsize=SIZE)
    save("descriptors.png", drawn)


def positions(networks: dict[str, SuperPoint]) -> None:
    """How far the keypoints of two views lie apart, in the frame of the first, before and after the position loss."""
    first, second, matrix = two_views()
    frame = torch.ones(1, 240, 320, dtype=torch.bool)
    seen = torch.from_numpy(warp_image(np.full((240, 320), 255, np.uint8), matrix, (240, 320)) > 254)[None]
    drawn, axes = figure(9.0, 3, height_ratios=[1.2, 1])
    picture(axes[0], first, "View 1 and its keypoints")
    for axis, (name, network) in zip(axes[1:], networks.items(), strict=True):
        maps = [dense_maps(network, image_tensor([image]).float() / 255).probability for image in (first, second)]
        loss, _ = position_loss(maps[0], maps[1], torch.from_numpy(matrix).float()[None], frame, seen)
        one, other = (features(network, [image], DecodeConfig())[0].keypoints for image in (first, second))
        back = warp_points(other, np.linalg.inv(matrix))
        distance = np.linalg.norm(one[:, None] - back[None], axis=2)
        near = distance.min(axis=1)
        offset = (back[distance.argmin(axis=1)] - one)[near < 3]
        axis.scatter(*offset.T, s=10, color=plot_color(BLUE), alpha=0.6)
        axis.scatter(0, 0, **CROSS)
        axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal", xticks=range(-3, 4), yticks=range(-3, 4))
        axis.set_xlabel("px", fontsize=SIZE)
        axis.tick_params(labelsize=SIZE)
        axis.grid(alpha=0.3)
        axis.set_title(f"View 2 against view 1:\n{name},\nposition loss {loss:.2f} px", fontsize=SIZE)
    axes[0].scatter(*features(networks["superpoint-lite"], [first], DECODE)[0].keypoints.T, **RING)
    save("positions.png", drawn)


@torch.no_grad()
def main() -> None:
    detector, joint = load_network("magicpoint-lite"), load_network("superpoint-lite")
    cells()
    dustbin(detector)
    adaptation(detector)
    loss_values()
    descriptors(joint)
    positions({"magicpoint-lite": detector, "superpoint-lite": joint})


if __name__ == "__main__":
    main()
