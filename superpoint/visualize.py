"""Pictures: arrays in, image uint8 [H, W, 3] RGB or matplotlib Figure out.

Enlarged by s, pixels repeat and points lie at (x + 0.5) * s - 0.5. Colours stay apart for colour-blind eyes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from superpoint.errors import UserError
from superpoint.files import make_folder, write_atomically
from superpoint.geometry.homography import resize_points

Image = NDArray[np.uint8]

# Okabe and Ito 2008, "Color Universal Design"; RGB.
ORANGE, SKY, GREEN, YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
BLUE, VERMILION, PURPLE = (0, 114, 178), (213, 94, 0), (204, 121, 167)
DIMMED = 0.6  # brightness of an image below a heatmap
GAP = 12  # px between two images side by side
SHEET_GAP = 4  # px between the pictures of a contact sheet
MAX_LINES = 150  # matches drawn, in even steps through all
MAX_RINGS, RADIUS = 500, 4.0  # keypoints drawn where more would hide the image; px, of the score 1
FAINT = 0.01  # scores up to this have the smallest and darkest ring
SUBPIXEL_BITS = 4  # OpenCV's fixed-point coordinates of drawing: 1/16 px


def to_rgb(image: NDArray[np.generic]) -> Image:
    """Return an image [H, W], [1, H, W], [H, W, 1] or [H, W, C] as a new uint8 [H, W, 3].

    Unless there are three, channels are shown by their mean. Values are uint8, bool (0 / 255) or float 0..1 (clipped;
    NaN is black).
    """
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ValueError(f"image: found shape {list(array.shape)}, expected [H, W] or [H, W, C]")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(array.dtype, np.floating):
        array = np.rint(np.nan_to_num(array, nan=0.0).clip(0, 1) * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"image: found type {array.dtype}, expected uint8, bool or float 0..1")
    if array.ndim == 3 and array.shape[2] != 3:
        array = to_gray(np.asarray(array, np.uint8))
    return np.array(np.repeat(array[:, :, None], 3, axis=2) if array.ndim == 2 else array, dtype=np.uint8, order="C")


def to_gray(image: NDArray[np.uint8]) -> Image:
    """Return the mean of the channels of an image [H, W, C], uint8 [H, W]; one of [H, W] as it is."""
    return image if image.ndim == 2 else np.rint(image.mean(axis=2)).astype(np.uint8)


def enlarge(image: Image, scale: int) -> Image:
    """Show each pixel as a block of scale x scale."""
    return np.ascontiguousarray(image.repeat(scale, axis=0).repeat(scale, axis=1))


def draw_keypoints(
    image: NDArray[np.generic],
    points: ArrayLike,
    scores: ArrayLike | None = None,
    *,
    truth: ArrayLike | None = None,
    scale: int = 1,
    radius: float = 3.0,
) -> Image:
    """Draw detections as rings and ground truth as crosses; return uint8 [scale * H, scale * W, 3].

    Args:
        image: [H, W] or [H, W, C], see `to_rgb`.
        points: [N, 2] (x, y) in pixels of `image`.
        scores: [N] probabilities; their logarithm from FAINT to 1 makes a ring grow and go from blue to yellow, the
            strong on top. None = orange, all of one size.
        truth: [M, 2] (x, y), drawn as vermilion crosses below the rings.
        radius: of a ring, in pixels of the result; of the score 1.
    """
    canvas = enlarge(to_rgb(image), scale)
    for center in _fixed("truth", [] if truth is None else truth, scale):
        _cross(canvas, center, radius)
    where = _fixed("points", points, scale)
    colors, sizes = np.tile(np.array(ORANGE), (len(where), 1)), np.full(len(where), radius)
    order = np.arange(len(where))
    if scores is not None:
        values = np.asarray(scores, dtype=np.float64).reshape(len(where))
        levels = 1 - np.log10(values.clip(FAINT, 1)) / np.log10(FAINT)
        colors, sizes = _bright(levels), radius * (0.4 + 0.6 * levels)
        order = np.argsort(values, kind="stable")
    for index in order:
        # A dark rim outside keeps the ring visible on any background.
        for size, ink in ((sizes[index] + 1, (0, 0, 0)), (sizes[index], tuple(map(int, colors[index])))):
            cv2.circle(canvas, where[index], round(size * 2**SUBPIXEL_BITS), ink, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas


def draw_strongest(
    image: NDArray[np.generic], points: NDArray[np.floating], scores: NDArray[np.floating], name: str, scale: int = 1
) -> tuple[Image, str]:
    """Draw at most MAX_RINGS keypoints by `draw_keypoints`; return the picture and a title with their number."""
    best = np.argsort(-scores, kind="stable")[:MAX_RINGS]
    shown = f", the strongest {MAX_RINGS} drawn" if len(points) > MAX_RINGS else ""
    picture = draw_keypoints(image, points[best], scores[best], scale=scale, radius=RADIUS)
    return picture, f"{name}: {len(points)} keypoints{shown}"


def _fixed(name: str, points: ArrayLike, scale: int) -> list[tuple[int, int]]:
    """Points of the image on its enlargement, in OpenCV's fixed-point coordinates."""
    where = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(where).all():
        raise ValueError(f"{name}: found coordinates that are not finite")
    limit = 1 << 20  # far outside any picture, and inside OpenCV's integers
    fixed = np.rint(resize_points(where, scale, scale).astype(np.float64) * 2**SUBPIXEL_BITS).clip(-limit, limit)
    return [(x, y) for x, y in fixed.astype(int).tolist()]


def _cross(canvas: Image, center: tuple[int, int], radius: float) -> None:
    arm = round(radius * 2**SUBPIXEL_BITS)
    for width, color in ((3, (0, 0, 0)), (1, VERMILION)):
        for dx, dy in ((arm, 0), (0, arm)):
            start, end = (center[0] - dx, center[1] - dy), (center[0] + dx, center[1] + dy)
            cv2.line(canvas, start, end, color, width, cv2.LINE_AA, SUBPIXEL_BITS)


def colormap(values: ArrayLike, name: str = "viridis") -> Image:
    """Return values 0..1 [...] as colours uint8 [..., 3]."""
    rgba = np.asarray(matplotlib.colormaps[name](np.asarray(values, dtype=np.float64)))
    return (rgba[..., :3] * 255).round().astype(np.uint8)


def _bright(values: NDArray[np.float64]) -> Image:
    """The upper part of viridis: its dark end cannot be told from the shadows of a photograph."""
    return colormap(0.35 + 0.65 * values)


def overlay_heatmap(
    image: NDArray[np.generic],
    heatmap: NDArray[np.generic],
    *,
    scale: int = 1,
) -> Image:
    """Draw a heatmap [H, W] of values 0..1 on its dimmed image, see `to_rgb`; values beyond are clipped."""
    picture = to_rgb(image)
    values = np.asarray(heatmap, dtype=np.float64)
    if values.shape != picture.shape[:2]:
        raise ValueError(f"heatmap: found shape {list(values.shape)}, expected the image's {list(picture.shape[:2])}")
    level = np.nan_to_num(values.clip(0, 1))
    opacity = level[:, :, None]
    mixed = DIMMED * picture * (1 - opacity) + _bright(level) * opacity
    return enlarge(np.rint(mixed).astype(np.uint8), scale)


def probability_picture(image: NDArray[np.generic], probability: NDArray[np.floating], scale: int = 1) -> Image:
    """Draw the square root of a probability [H, W] on its image, spread by 2 px: peaks are single pixels."""
    spread = cv2.dilate(np.asarray(probability, np.float32), np.ones((5, 5), np.uint8))
    return overlay_heatmap(image, np.sqrt(np.asarray(spread)), scale=scale)


def contact_sheet(
    images: Sequence[NDArray[np.generic]],
    titles: Sequence[str] | None = None,
    columns: int = 4,
    *,
    scores: bool = False,
) -> Image:
    """Put images in rows on a white sheet, unscaled, each with its title above; long titles are cut.

    With `scores` the legend of `draw_strongest` stands below.
    """
    pictures = [to_rgb(image) for image in images]
    columns = min(columns, len(pictures))
    head = 16 if titles else 0
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    down, across = height + head + SHEET_GAP, width + SHEET_GAP
    sheet = np.full((rows * down + SHEET_GAP, columns * across + SHEET_GAP, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        top, left = SHEET_GAP + row * down, SHEET_GAP + column * across
        if titles:
            _text(sheet[top : top + head, left : left + width], titles[index])
        y, x = top + head + (height - picture.shape[0]) // 2, left + (width - picture.shape[1]) // 2
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return np.vstack([sheet, _score_legend(sheet.shape[1])]) if scores else sheet


def _score_legend(width: int) -> Image:
    shown = (FAINT, 0.03, 0.1, 0.3, 1.0)
    strip = np.full((24, max(width, 340), 3), 255, np.uint8)
    places = np.array([(90 + 50 * index, 12) for index in range(len(shown))])
    strip = draw_keypoints(strip, places, shown, radius=RADIUS)
    _text(strip[4:20, SHEET_GAP:78], "probability")
    for x, score in zip(places[:, 0], shown, strict=True):
        _text(strip[4:20, x + 10 : x + 42], f"{score:g}")
    return strip[:, :width]


def _text(strip: Image, text: str) -> None:
    face, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    while text and cv2.getTextSize(text, face, size, 1)[0][0] > strip.shape[1]:
        text = text[:-1]
    label = strip.copy()
    cv2.putText(label, text, (0, strip.shape[0] - 5), face, size, (0, 0, 0), 1, cv2.LINE_AA)
    strip[:] = label


def precision_recall_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str = "Precision and recall"
) -> Figure:
    """Draw curves (recall, precision) by name, told apart by colour and by dashes."""
    figure = Figure(figsize=(6.4, 4.8), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    dashes = ("-", "--", "-.", ":")
    order = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # yellow is too faint on white
    for index, (name, (recall, precision)) in enumerate(curves.items()):
        color = plot_color(order[index % len(order)])
        # Between two thresholds the envelope has the precision of the larger recall: a step before the point.
        axes.step(recall, precision, dashes[index % 4], where="pre", color=color, linewidth=1.8, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", title=title)
    axes.grid(alpha=0.3)
    if curves:
        figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def side_by_side(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[Image, NDArray[np.float64]]:
    """Put two images beside each other, GAP apart, as RGB; return the canvas and the (x, y) shift of the second."""
    left, right = to_rgb(first), to_rgb(second)
    shift = left.shape[1] + GAP
    canvas = np.full((max(len(left), len(right)), shift + right.shape[1], 3), 255, np.uint8)
    canvas[: len(left), : left.shape[1]], canvas[: len(right), shift:] = left, right
    return canvas, np.array([shift, 0.0])


def with_match_legend(sheet: Image, heading: str = "") -> Image:
    """Return a sheet of pictures by `draw_matches` with a heading above, if there is one, and their legend below."""
    strip = np.full((20, max(sheet.shape[1], 360), 3), 255, np.uint8)
    draw_matches(strip, [[6, 10], [210, 10]], [[30, 10], [226, 10]], np.array([True, False]))
    _text(strip[2:18, 36:200], "right match")
    _text(strip[2:18, 234:], "wrong match")
    above = np.full((20, sheet.shape[1], 3), 255, np.uint8)
    _text(above[2:18, SHEET_GAP:], heading)
    return np.vstack([*([above] if heading else []), sheet, strip[:, : sheet.shape[1]]])


def draw_matches(canvas: Image, start: ArrayLike, end: ArrayLike, right: NDArray[np.bool_]) -> None:
    """Draw matches [M, 2] (x, y) on a canvas of two views: a green line where `right` [M], orange dots elsewhere."""
    ends = (np.rint(each).astype(int).tolist() for each in (start, end))
    for one, other, good in zip(*ends, right, strict=True):
        if good:
            cv2.line(canvas, one, other, GREEN, 1, cv2.LINE_AA)
        for each in () if good else (one, other):
            cv2.circle(canvas, each, 2, VERMILION, -1, cv2.LINE_AA)


def plot_color(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return a colour of 0..255 as matplotlib takes it."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255


def figure_to_image(figure: Figure) -> Image:
    """Draw a figure as uint8 [H, W, 3] at its own size and dpi."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(np.asarray(canvas.buffer_rgba())[:, :, :3])


def save_image(path: str | Path, image: NDArray[np.generic]) -> Path:
    """Write a PNG or JPEG and missing folders. Raises: UserError if that fails, or for another ending."""
    target = Path(path)
    if target.suffix.lower() not in (".png", ".jpg"):
        raise UserError(f"{target}: found the ending '{target.suffix}', expected .png or .jpg")
    _, data = cv2.imencode(target.suffix.lower(), cv2.cvtColor(to_rgb(image), cv2.COLOR_RGB2BGR))
    make_folder(target.parent)
    write_atomically(target, lambda file: file.write(data.tobytes()))
    return target


def save_figure(path: str | Path, figure: Figure) -> Path:
    """Write a figure as `save_image` does."""
    return save_image(path, figure_to_image(figure))
