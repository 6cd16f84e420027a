"""Program of tests/test_fuzz.py: damage files and read them; a result or a `UserError` is fine, all else a failure.

python tests/fuzz_readers.py KIND FOLDER FIRST COUNT

Each case is a function of its number. The number is written to FOLDER/case before the case runs, so that a crash or a
hang (an alarm ends the process) can be traced; then a JSON line with the counts and the failures.
"""

import contextlib
import io
import json
import pickle
import resource
import signal
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from superpoint.config import LabellingConfig, ModelConfig, load_config
from superpoint.data.bands import read_image
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.data.images import read_gray, read_orientation
from superpoint.data.label_files import read_points
from superpoint.data.masks import read_mask
from superpoint.data.sequences import read_homography
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.geometry.orientation import turned_image
from superpoint.interop.hloc import read_pairs
from superpoint.models import build_model, load_network
from superpoint.models.checkpoint import REQUIRED_KEYS, save_checkpoint
from superpoint.models.weights import save_weights
from tests.data.test_tiff import png_with, tiff

SECONDS = 30  # a case may take; a hang
MEMORY = 12 << 30  # bytes of address space: a bomb
CONFIG = {"encoder": "lite", "head_channels": 8, "descriptor_dim": 0, "init": "kaiming"}


class Exploit:
    """Unpickled carelessly, it leaves a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.place), "w")


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """One to four damages: bytes changed, cut off, left out, put in, repeated, or set to an extreme."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        if not data:
            break
        # Headers are where it hurts: half of the damages are in the first 2 KB.
        limit = len(data) if random.random() < 0.5 else min(len(data), 2048)
        place, length = int(random.integers(limit)), int(2 ** random.uniform(0, 8))
        kind = random.integers(6)
        if kind == 0:
            for offset in random.integers(0, limit, 1 + length // 16):
                data[int(offset)] ^= 1 << int(random.integers(8))
        elif kind == 1:
            data[place : place + length] = random.bytes(len(data[place : place + length]))
        elif kind == 2:
            value = bytes([int(random.choice([0, 1, 127, 128, 255]))])
            data[place : place + min(length, 16)] = value * len(data[place : place + min(length, 16)])
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = data[int(random.integers(len(data))) :][:length]
        elif random.random() < 0.3:
            del data[place:]
    return bytes(data)


def features(folder: Path) -> bytes:
    random = np.random.default_rng(0)
    images = {
        f"a/{index}.jpg": Features(
            random.random((6, 2), np.float32), random.random(6, np.float32),
            random.random((6, 8)), (64, 48), 0.5, 3,
        )
        for index in range(4)
    }  # fmt: skip
    save_features(folder / "good.h5", images, {"skipped": '{"b.jpg": "damaged"}'})
    return (folder / "good.h5").read_bytes()


def read_features(path: Path) -> None:
    with FeatureFile(path) as file:
        file.skipped()
        for name in file.names():
            file.read(name)


def weights(folder: Path) -> bytes:
    save_weights(folder / "good.safetensors", build_model(ModelConfig(**CONFIG)), CONFIG)
    return (folder / "good.safetensors").read_bytes()


def checkpoint(folder: Path) -> bytes:
    model = build_model(ModelConfig(**CONFIG))
    state = {**{str(key): None for key in REQUIRED_KEYS}, "config": "model:\n  encoder: lite\n  head_channels: 8\n"}
    save_checkpoint(folder / "good.ckpt", {**state, "step": 3, "best": 0.5, "model": model.state_dict()})
    return (folder / "good.ckpt").read_bytes()


def images(folder: Path) -> list[bytes]:
    """What the readers of images decide by: tags, pages, "no data", alpha, more than 8 bits."""
    gray, exif = np.arange(0, 240, 5, dtype=np.uint8).reshape(6, 8), Image.Exif()
    exif[0x0112] = 6
    rgba = Image.fromarray(np.dstack([gray] * 4))
    one = (Image.fromarray(gray), {"exif": exif}), (rgba, {"exif": exif}), (Image.fromarray(gray * np.uint16(257)), {})
    contents = [tiff([gray, gray], [{254: 1}, {42113: "9"}]), tiff([gray.astype(np.float32)], [{42113: "-9999"}])]
    contents.append(png_with(cv2.imencode(".png", np.dstack([gray] * 3).astype(np.uint16))[1].tobytes(), 6))
    for image, options in one:
        for kind in ("PNG", "TIFF", "WEBP", "AVIF") if image.mode != "I;16" else ("PNG", "TIFF"):
            target = io.BytesIO()
            image.save(target, kind, **options)
            contents.append(target.getvalue())
    return contents


def read_all_ways(path: Path) -> None:
    for read in (read_mask, lambda file: read_image(file, 2)):
        with contextlib.suppress(UserError):
            read(path)
    turn, stored = read_orientation(path), read_gray(path, upright=False)
    assert np.array_equal(turned_image(stored, turn), read_gray(path)), "the two frames do not fit"


def texts(folder: Path) -> list[bytes]:
    written = ("a.jpg b.jpg\n", "1 0 5\n0 1 -3\n0 0 1\n", "x,y\n1.5,2\n", "stage: export-detections\nresize: 64\n")
    return [text.encode(each) for text in written for each in ("utf-8", "utf-8-sig", "utf-16")]


def read_texts(path: Path) -> None:
    failed: list[UserError] = []
    for read in (read_pairs, read_homography, read_points, lambda file: load_config(LabellingConfig, file)):
        try:
            read(path)
        except UserError as error:
            failed.append(error)
    if len(failed) == 4:
        raise failed[0]


def inside_zip(content: bytes, random: np.random.Generator) -> bytes:
    """The pickle within a checkpoint damaged, with checksums that fit: the unpickler gets to see it."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, mutate(data, random) if name.endswith("data.pkl") else data)
    return target.getvalue()


def exploit(place: Path, random: np.random.Generator) -> bytes:
    """A pickle that would execute something, plain or in torch's zip, among what a checkpoint holds."""
    state = {"format": 1, **{str(key): None for key in REQUIRED_KEYS}, "config": "model: {}"}
    state[str(random.choice(list(state)))] = Exploit(place)
    if random.random() < 0.3:
        return pickle.dumps(state, protocol=int(random.integers(0, 6)))
    target = io.BytesIO()
    torch.save(state, target, _use_new_zipfile_serialization=bool(random.random() < 0.7))
    return target.getvalue()


def main(kind: str, folder: Path, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    place = folder / "executed"
    suffix = {"features": "h5", "weights": "safetensors", "images": "tif", "texts": "txt"}.get(kind, "ckpt")
    made = {"features": features, "weights": weights, "images": images, "texts": texts}.get(kind, checkpoint)(folder)
    every = made if isinstance(made, list) else [made]
    readers: dict[str, Callable[[Path], object]] = {
        "features": read_features, "images": read_all_ways, "texts": read_texts
    }  # fmt: skip
    read = readers.get(kind, load_network)
    for content in every:
        (folder / f"good.{suffix}").write_bytes(content)
        read(folder / f"good.{suffix}")
    path, counts = folder / f"case.{suffix}", {"result": 0, "error": 0}
    failures: list[str] = []
    for number in range(first, first + count):
        random = np.random.default_rng([sum(kind.encode()), number])
        good = every[number % len(every)]
        content = (
            {"pickle": inside_zip}.get(kind, mutate)(good, random) if kind != "exploit" else exploit(place, random)
        )
        path.write_bytes(content)
        (folder / "case").write_text(str(number))
        signal.alarm(SECONDS)
        try:
            read(path)
            counts["result"] += 1
        except UserError as error:
            message = str(error)
            if "\n" in message or len(message) > 600:
                failures.append(f"case {number}: not one clear line: {message[:900]}")
            counts["error"] += 1
        except BaseException:
            failures.append(f"case {number}: {traceback.format_exc(limit=-4)}")
        finally:
            signal.alarm(0)
        if place.exists():
            failures.append(f"case {number}: code of the file was executed")
            place.unlink()
    print(json.dumps({**counts, "failures": failures}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
