"""Program of tests/test_fuzz.py: damage files and read them; a result or a `UserError` is fine, all else a failure.

python tests/fuzz_readers.py KIND FOLDER FIRST COUNT

Each case is a function of its number. The number is written to FOLDER/case before the case runs, so that a crash or a
hang (an alarm ends the process) can be traced; then a JSON line with the counts and the failures.
"""

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

import numpy as np
import torch

from superpoint.config import ModelConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.models import build_model, load_network
from superpoint.models.checkpoint import REQUIRED_KEYS, save_checkpoint
from superpoint.models.weights import save_weights

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
    suffix = {"features": "h5", "weights": "safetensors"}.get(kind, "ckpt")
    good = {"features": features, "weights": weights}.get(kind, checkpoint)(folder)
    read = read_features if kind == "features" else load_network
    read(folder / f"good.{suffix}")
    path, counts = folder / f"case.{suffix}", {"result": 0, "error": 0}
    failures: list[str] = []
    for number in range(first, first + count):
        random = np.random.default_rng([sum(kind.encode()), number])
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
