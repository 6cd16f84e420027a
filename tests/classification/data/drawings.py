"""Small drawn images with one class each, for tests: filled squares, rings and crosses at random places."""

from pathlib import Path

import cv2
import numpy as np

from superpoint.classification.data.images import ClassImages

CLASSES = ("1", "2", "10")  # squares, rings, crosses; natural order differs from that of the alphabet


def draw(label: int, index: int, side: int = 24) -> np.ndarray:
    rng = np.random.default_rng([label, index])
    image = rng.integers(0, 60, (side, side, 3)).astype(np.uint8)
    x, y = (int(value) for value in rng.integers(8, side - 8, 2))
    color = tuple(int(value) for value in rng.integers(150, 256, 3))
    if label == 0:
        cv2.rectangle(image, (x - 5, y - 5), (x + 5, y + 5), color, -1)
    elif label == 1:
        cv2.circle(image, (x, y), 6, color, 1)
    else:
        cv2.line(image, (x - 6, y - 6), (x + 6, y + 6), color, 2)
        cv2.line(image, (x - 6, y + 6), (x + 6, y - 6), color, 2)
    return image


def drawn(count: int = 8, side: int = 24) -> ClassImages:
    pairs = [(label, index) for label in range(3) for index in range(count)]
    labels = np.array([label for label, _ in pairs], np.int64)
    names = [f"{CLASSES[label]}/{index}.png" for label, index in pairs]
    return ClassImages(names, labels, list(CLASSES), lambda number: draw(*pairs[number], side))


def write_folder(root: Path, count: int = 8, side: int = 24, classes: tuple[str, ...] = CLASSES) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(root / name / f"{index + 1}.png"), draw(label, index, side)[:, :, ::-1])
    return root


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    header = bytes([0, 0, code, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder: Path, count: int = 8, side: int = 24) -> Path:
    images = drawn(count, side)
    pixels = np.stack([images.read(number).mean(axis=2).astype(np.uint8) for number in range(len(images))])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "t-images-idx3-ubyte").write_bytes(idx_bytes(pixels))
    (folder / "t-labels-idx1-ubyte").write_bytes(idx_bytes(images.labels.astype(np.uint8)))
    return folder / "t-images-idx3-ubyte"
