"""What an export keeps at a stop, and every few seconds."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.config import AdaptationConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.labelling import export, shards
from superpoint.labelling.export import export_detections
from tests.conftest import CommandLine, write_photographs
from tests.data.recipes.test_unpack import make_tar
from tests.labelling.export_program import CONFIG as KILLED

CONFIG = replace(KILLED, adaptation=AdaptationConfig(homographies=0), shard_size=3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photographs and one that cannot be read."""
    folder = write_photographs(tmp_path_factory.mktemp("photos"), 7)
    (folder / "brick2.jpg").write_bytes(b"no image")
    return folder


def at_image(monkeypatch: pytest.MonkeyPatch, count: int, act: Any) -> list[str]:
    """Call `act` when image number `count` of the next session is labelled; return the names that are labelled."""
    labelled: list[str] = []
    make = export.labeller

    def labeller(*arguments: Any) -> Any:
        label = make(*arguments)

        def counted(image: Any, name: str) -> Any:
            labelled.append(name)
            if len(labelled) == count:
                act()
            return label(image, name)

        return counted

    monkeypatch.setattr(export, "labeller", labeller)
    return labelled


def crash() -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("kind", ["folder", "tar"])
@pytest.mark.parametrize("kill", [False, True])
def test_no_image_is_labelled_twice_and_the_file_is_the_same(
    kind: str, kill: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = photos
    if kind == "tar":
        members = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
        source = make_tar(tmp_path / "photos.tar", members, "w")
    whole = export_detections(CONFIG, [str(source)], tmp_path / "whole.h5")
    monkeypatch.setattr(shards, "KEEP_SECONDS", -1.0 if kill else 1e9)
    for count in range(1, 8):
        out = tmp_path / f"{count}.h5"
        with monkeypatch.context() as patch:
            first = at_image(patch, count, crash if kill else lambda: os.kill(os.getpid(), signal.SIGTERM))
            if kill:
                with pytest.raises(ZeroDivisionError):
                    export_detections(CONFIG, [str(source)], out)
            else:
                assert export_detections(CONFIG, [str(source)], out).signal == signal.SIGTERM
        with monkeypatch.context() as patch:
            second = at_image(patch, 0, crash)
            assert export_detections(CONFIG, [str(source)], out, resume=True).signal is None
        assert [*first[: -1 if kill else None], *second] == FeatureFile(out).names()
        assert out.read_bytes() == whole.path.read_bytes()
        one, other = (json.loads(Path(f"{path}.summary.json").read_text()) for path in (out, whole.path))
        np.testing.assert_allclose(one.pop("coverage"), other.pop("coverage"))
        assert one == other


def test_a_stopped_command_says_what_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    command = ("export-detections", photos, "--out", tmp_path / "l.h5", "--model", "magicpoint-lite", "adaptation=none")
    with monkeypatch.context() as patch:
        at_image(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
        code, _, error = cli(*command, "--overwrite", "resize=64")
    assert code == 130
    kept, again = error.splitlines()[-2:]
    assert kept == f"5 of 8 images are kept in {tmp_path}/l.h5.shards"  # one of them as skipped
    words = again.partition("go on by: superpoint ")[2].split()
    assert words == [*map(str, command), "resize=64", "--resume"]
    cli.succeeds(*words)
    assert len(FeatureFile(tmp_path / "l.h5")) == 7
