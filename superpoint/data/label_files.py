"""Labels that somebody else made: text, CSV, NumPy arrays, COCO keypoints."""

import csv
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from superpoint.errors import UserError, one_line
from superpoint.files import read_text
from superpoint.geometry.homography import inside

ARRAY_NAMES = ("points", "keypoints", "pts")  # in an .npz file that holds several arrays
SCORE_NAMES = ("prob", "scores", "score", "probability", "confidence")  # of an array, or of a column of text
IMAGE_NAMES = ("image", "file", "filename", "file_name", "image_name", "name", "path")  # of a column
ARRAYS, COCO = (".npy", ".npz"), ".json"
LARGEST = float(np.finfo(np.float32).max)  # more is infinity where labels are stored
READ = (".txt", ".csv", ".tsv", *ARRAYS, COCO)


class Labels(NamedTuple):
    """Labels of an image as a file holds them.

    image: its name there; None = the file labels one image. points: float64 [N, 2] (x, y), finite. scores: [N].
    size: (width, height) if the file says it.
    """

    image: str | None
    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    size: tuple[int, int] | None = None


def read_points(path: str | Path, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Read the points of one image, float32 [N, 2] (x, y), N >= 1, from a text file or arrays; see `read_labels`.

    `size`: (height, width) of the image; None = not checked.
    Raises: UserError as `read_labels`, or if there are none, or points outside the image.
    """
    file = Path(path)
    labels = read_labels(file)
    if len(labels) != 1 or labels[0].image is not None:
        raise UserError(f"{file}: found labels of images by their names, expected the points of one image")
    points = labels[0].points
    if not len(points):
        raise UserError(f"{file}: found no points, expected at least one")
    if size is not None:
        check_inside(str(file), points, size)
    return points.astype(np.float32)


def check_inside(where: str, points: NDArray[np.float64], size: tuple[int, int], slack: float = 0.0) -> None:
    """Raise UserError for points [N, 2] more than `slack` pixels outside an image of `size` (height, width)."""
    outside = np.flatnonzero(~inside(points, *size, -slack))
    if len(outside):
        x, y = points[outside[0]]
        hint = "; x and y swapped?" if inside(points[:, ::-1], *size, -slack).all() else ""
        raise UserError(
            f"{where}: point {outside[0] + 1} of {len(points)} is (x={x:g}, y={y:g}), expected points on the image of "
            f"{size[1]}x{size[0]} pixels{hint}"
        )


def read_labels(path: str | Path) -> list[Labels]:
    """Read the labels that a file holds: of one image, or of those that it names.

    Text: a point per line, `x y` or `x y score`, separated by blanks, commas, semicolons or tabs; # begins a comment; a
    first line of names (`x,y,score`, also behind a #) says which columns hold x, y, the score and the image. Arrays:
    .npy or .npz, [N, 2] or [N, 3]; of several in an .npz the one in ARRAY_NAMES, with scores in SCORE_NAMES. COCO:
    .json, images and annotations with keypoints, of which those with visibility 0 are left out.

    Raises: UserError if it is missing, unreadable, has other columns, or a value is not finite.
    """
    file = Path(path)
    try:
        if file.suffix.lower() in ARRAYS:
            return [_read_array(file)]
        return _read_coco(file) if file.suffix.lower() == COCO else _read_text(file)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: found bytes that are no text, expected lines of x y") from error


def _read_array(file: Path) -> Labels:
    scores: Any = None
    with open(file, "rb") as stream:  # by name, NumPy would leave a damaged file open
        try:
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.ndarray):
                names = list(content)
                name = names[0] if len(names) == 1 else next((name for name in ARRAY_NAMES if name in names), None)
                if name is None:
                    found, wanted = ", ".join(names) or "nothing", " or ".join(ARRAY_NAMES)
                    raise UserError(f"{file}: found {found}, expected one array, or one named {wanted}")
                scores = next((content[score] for score in SCORE_NAMES if score in names), None)
                content = content[name]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{file}: not a readable NumPy file ({one_line(error)})") from error
    if content.ndim != 2 or content.shape[1] not in (2, 3) or content.dtype.kind not in "iuf":
        raise UserError(
            f"{file}: found {content.dtype} {list(content.shape)}, expected numbers [N, 2] (x, y) or [N, 3]"
        )
    if scores is None:
        scores = content[:, 2] if content.shape[1] == 3 else np.ones(len(content))
    if scores.dtype.kind not in "iuf" or scores.size != len(content):
        raise UserError(f"{file}: found scores {scores.dtype} {list(scores.shape)}, expected one per point")
    return _checked(Labels(None, content[:, :2].astype(float), scores.reshape(-1).astype(float)), str(file))


def _read_text(file: Path) -> list[Labels]:
    columns: list[int] | None = None  # of x, y, the score and the image, -1 = none
    count = 0  # of columns
    rows: dict[str | None, list[list[float]]] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        comment = line.lstrip().startswith("#")
        fields = _fields(line.strip("# \t") if comment else line)
        names = [field.strip("\"'").lower() for field in fields]
        if not rows and columns is None and {"x", "y"} <= set(names) and (len(names) <= 3 or not comment):
            kinds, count = (["x"], ["y"], SCORE_NAMES, IMAGE_NAMES), len(fields)
            columns = [next((names.index(each) for each in known if each in names), -1) for known in kinds]
            continue
        if comment or not fields:
            continue
        if columns is None and len(fields) not in (2, 3):
            raise UserError(f"{file}: line {number} has {len(fields)} columns, expected x y or x y score")
        columns, count = columns or [0, 1, 2 if len(fields) == 3 else -1, -1], count or len(fields)
        if len(fields) != count:
            raise UserError(f"{file}: line {number} has {len(fields)} columns, expected {count} as before it")
        try:
            values = [1.0 if column < 0 else float(fields[column]) for column in columns[:3]]
            if not all(abs(value) <= LARGEST for value in values):
                raise ValueError
        except ValueError as error:
            raise UserError(f"{file}: line {number} is '{line.strip()[:60]}', expected finite numbers x y") from error
        rows.setdefault(None if columns[3] < 0 else fields[columns[3]], []).append(values)
    if not rows and (columns is None or columns[3] < 0):
        rows[None] = []
    tables = {name: np.array(values).reshape(-1, 3) for name, values in rows.items()}
    return [Labels(name, table[:, :2], table[:, 2]) for name, table in tables.items()]


def _fields(line: str) -> list[str]:
    for separator in (",", ";"):
        if separator in line:
            return next(csv.reader([line.strip()], delimiter=separator, skipinitialspace=True))
    return line.split()


def _read_coco(file: Path) -> list[Labels]:
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not readable as JSON ({one_line(error)})") from error
    images, annotations = (content.get(key) if isinstance(content, dict) else None for key in ("images", "annotations"))
    for part in (images, annotations):
        if not isinstance(part, list) or not all(isinstance(each, dict) for each in part):
            raise UserError(f"{file}: expected COCO's keypoints: {{images: [...], annotations: [...]}}")
    found: dict[str, list[NDArray[np.float64]]] = {}
    for number, each in enumerate(annotations or [], start=1):
        if "keypoints" not in each:
            continue  # a box or an outline
        try:
            triples = np.array(each["keypoints"], float).reshape(-1, 3)
        except (ValueError, TypeError, OverflowError) as error:
            raise UserError(f"{file}: annotation {number}: expected keypoints [x, y, visibility, ...]") from error
        found.setdefault(str(each.get("image_id")), []).append(triples[triples[:, 2] != 0])
    labels = []
    for number, each in enumerate(images or [], start=1):
        name, size = each.get("file_name"), (each.get("width"), each.get("height"))
        if not isinstance(name, str) or not name:
            raise UserError(f"{file}: image {number}: found no file_name")
        if str(each.get("id")) in found:
            points = np.concatenate(found.pop(str(each.get("id"))))[:, :2]
            sized = all(isinstance(side, int) and side > 0 for side in size)
            made = Labels(name, points, np.ones(len(points)), size if sized else None)
            labels.append(_checked(made, f"{file}: {name}"))
    if found:
        raise UserError(f"{file}: found annotations of image_id {next(iter(found))}, which is not among the images")
    return labels


def _checked(labels: Labels, where: str) -> Labels:
    broken = np.flatnonzero(~(abs(np.column_stack([labels.points, labels.scores])) <= LARGEST).all(axis=1))
    if len(broken):
        x, y = labels.points[broken[0]]
        raise UserError(f"{where}: point {broken[0] + 1} is ({x:g}, {y:g}), expected finite numbers")
    return labels
