"""CSV lists `path,label` of images, and how one is made from a folder."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from superpoint.classification.data.images import ClassImages, read_class_folder
from superpoint.data.images import read_rgb
from superpoint.errors import UserError
from superpoint.files import make_folder, natural_order, read_text, write_csv

COLUMNS = ("path", "label", "split")
SPLITS = ("train", "test")


def read_csv_list(
    file: str | Path, root: str | Path | None = None, classes: Sequence[str] | None = None
) -> dict[str, ClassImages]:
    """Open the images of a list by split: {"train": ..., "test": ...}, or {"": ...} without a column `split`.

    Args:
        file: first line `path,label` or `path,label,split`.
        root: folder of the paths; None = the folder of the file.
        classes: names of the classes, which labels name or count from 0. None = the labels, in natural order.

    Raises: UserError with the line of the file: unreadable, a missing column or image, an unknown label, one class
    only, a path named twice.
    """
    file = Path(file)
    base = Path(root) if root is not None else file.parent
    rows = _rows(file)
    seen: dict[str, int] = {}
    for line, path, _, split in rows:
        if not (base / path).is_file():
            raise UserError(f"{file}, line {line}: {base / path}: no such image")
        if path in seen:
            raise UserError(f"{file}, line {line}: found '{path}' again, expected it once (line {seen[path]})")
        if split not in ("", *SPLITS):
            raise UserError(f"{file}, line {line}: found split '{split}', expected train or test")
        seen[path] = line
    known, numbers = _classes(file, rows, classes)
    found = {}
    for split in sorted({row[3] for row in rows}, reverse=True):
        chosen = [index for index, row in enumerate(rows) if row[3] == split]
        names = [rows[index][1] for index in chosen]
        labels = np.array([numbers[index] for index in chosen], np.int64)
        found[split] = ClassImages(names, labels, known, lambda number, names=names: read_rgb(base / names[number]))
    return found


def _rows(file: Path) -> list[tuple[int, str, str, str]]:
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read as a CSV list ({error})") from error
    reader = csv.reader(io.StringIO(text))
    head = [name.strip().lower() for name in next(reader, [])]
    if "path" not in head or "label" not in head:
        raise UserError(f"{file}, line 1: found '{','.join(head)}', expected the columns path,label")
    rows = []
    for cells in reader:
        values = [cell.strip() for cell in cells]
        if not any(values):
            continue
        if len(cells) != len(head):
            raise UserError(f"{file}, line {reader.line_num}: found {len(cells)} columns, expected {len(head)}")
        row = dict(zip(head, values, strict=True))
        for name in ("path", "label"):
            if not row[name]:
                raise UserError(f"{file}, line {reader.line_num}: found no {name}")
        rows.append((reader.line_num, row["path"], row["label"], row.get("split", "")))
    if not rows:
        raise UserError(f"{file}: found no image, expected a line path,label for each")
    return rows


def _classes(
    file: Path, rows: Sequence[tuple[int, str, str, str]], classes: Sequence[str] | None
) -> tuple[list[str], list[int]]:
    """Return the names of the classes and the number of each row's class."""
    labels = [row[2] for row in rows]
    known = list(classes) if classes is not None else sorted(set(labels), key=natural_order)
    numbers = {name: number for number, name in enumerate(known)}
    if not set(labels) & set(known):  # 0, 1, ... of classes that have names
        numbers = {str(number): number for number in range(len(known))}
    for line, _, label, _ in rows:
        if label not in numbers:
            raise UserError(f"{file}, line {line}: found label '{label}', expected one of {', '.join(known[:10])}")
    if len(known) < 2:
        raise UserError(f"{file}: found one class only ('{known[0]}'), expected at least two")
    return known, [numbers[label] for label in labels]


def write_csv_list(folder: str | Path, out: str | Path, *, test_share: float = 0.2, seed: int = 0) -> dict[str, int]:
    """Write a shuffled list of the images of a class folder, with a column `split`; return images by split.

    Paths are relative to the folder of the list where possible. Every class gives the same share to test.

    Raises: UserError, as `read_class_folder`; the file cannot be written.
    """
    images, out = read_class_folder(folder), Path(out)
    test = set(split_numbers(images.labels, test_share, seed)[1].tolist())
    place = make_folder(out.parent).resolve()
    rows: list[Sequence[object]] = [COLUMNS]
    for number in map(int, np.random.default_rng([seed, 1]).permutation(len(images))):
        path = (Path(folder) / images.names[number]).resolve()
        shown = path.relative_to(place) if path.is_relative_to(place) else path
        rows.append((shown.as_posix(), images.classes[images.labels[number]], SPLITS[number in test]))
    write_csv(out, rows)
    return {"train": len(images) - len(test), "test": len(test)}


def split_numbers(labels: np.ndarray, test_share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted numbers of training and test images: `test_share` of every class, drawn by `seed`.

    A class of two images or more is in both.
    """
    test: list[int] = []
    for label in np.unique(labels).tolist():
        members = np.random.default_rng([seed, label]).permutation(np.flatnonzero(labels == label))
        count = round(test_share * len(members))
        test += members[: min(max(count, 1), len(members) - 1)].tolist()
    chosen = np.zeros(len(labels), bool)
    chosen[test] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
