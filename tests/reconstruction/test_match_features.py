"""Matches of a set: what is in the file, the ways to choose pairs, interruptions, mistakes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from superpoint.config.inference import MatchingConfig
from superpoint.data.feature_file import FeatureFile
from superpoint.data.feature_writer import save_features
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.matching import Matches, match
from superpoint.matching.matchers import unit_length
from superpoint.reconstruction import match_features as stage
from superpoint.reconstruction.match_features import agreeing, match_features
from superpoint.reconstruction.match_file import read_all_matches, read_matches, write_matches
from superpoint.reconstruction.pairs import distinct, sequential
from superpoint.reconstruction.retrieval import retrieve_pairs
from tests.conftest import CommandLine

PLACES, VIEWS = 4, 3


def of_places(count: int = 40, length: int = 16) -> dict[str, Features]:
    """Features of VIEWS images of each of PLACES places; images of a place share most of their descriptors."""
    rng = np.random.default_rng(0)
    found = {}
    for place in range(PLACES):
        shared, points = rng.standard_normal((count, length)), rng.uniform(0, (99, 79), (count, 2))
        for view in range(VIEWS):
            described = shared + 0.1 * rng.standard_normal(shared.shape)
            described /= np.linalg.norm(described, axis=1, keepdims=True)
            found[f"place/{place}/{view}.jpg"] = Features(points + view, None, described, (110, 90))
    return found


@pytest.fixture
def features(tmp_path: Path) -> Path:
    save_features(tmp_path / "features.h5", of_places())
    return tmp_path / "features.h5"


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "PART", 5)


@pytest.mark.usefixtures("_small_parts")
def test_the_file_holds_what_match_finds(features: Path, tmp_path: Path) -> None:
    out = tmp_path / "matches.h5"
    assert match_features(features, out, MatchingConfig()) is None
    with FeatureFile(features) as file:
        images = dict(file)
    found = read_all_matches(out, images)
    assert len(found) == 12 * 11 / 2
    for pair in (("place/0/0.jpg", "place/0/1.jpg"), ("place/0/0.jpg", "place/3/2.jpg")):
        wanted = match(images[pair[0]], images[pair[1]], min_score=1 - 0.7**2 / 2)
        assert np.array_equal(np.sort(found[pair].indices, 0), np.sort(wanted.indices, 0))
    assert len(found["place/0/0.jpg", "place/0/1.jpg"]) == 40
    with h5py.File(out) as file:  # as hloc.utils.io.get_matches
        assert np.asarray(file["place-0-0.jpg/place-0-1.jpg/matches0"]).shape == (40,)
    assert not out.with_name("matches.h5.shards").exists()


def test_pairs(features: Path, tmp_path: Path) -> None:
    """All pairs are asked for in several ways; retrieval finds the images of a place."""
    names = list(of_places())
    assert sequential(names[:4], 2) == [(names[a], names[b]) for a, b in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))]
    assert distinct([("a", "b"), ("c", "a"), ("b", "a")]) == [("a", "b"), ("c", "a")]
    with FeatureFile(features) as file:
        pairs = retrieve_pairs(names, lambda name: unit_length(np.asarray(file.read(name).descriptors)), VIEWS - 1)
    assert {(one[:7], other[:7]) for one, other in pairs} == {
        (f"place/{place}", f"place/{place}") for place in range(4)
    }
    assert len(pairs) == PLACES * 3
    (tmp_path / "pairs.txt").write_text(f"{names[5]} {names[0]}\n{names[0]} {names[5]}\n")
    match_features(features, tmp_path / "m.h5", MatchingConfig(pairs=str(tmp_path / "pairs.txt"), sequential=1))
    assert set(read_all_matches(tmp_path / "m.h5", names)) == {(names[5], names[0]), *sequential(names, 1)}


@pytest.mark.usefixtures("_small_parts")
def test_a_match_that_breaks_off_goes_on(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "whole.h5", tmp_path / "broken.h5"
    match_features(features, whole, MatchingConfig())
    calls: list[object] = []
    original = stage._match_pair

    def fail(*given: object) -> Matches:
        calls.append(given)
        if len(calls) == 13:
            raise UserError("the disk is full")
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "_match_pair", fail)
    with pytest.raises(UserError, match="the disk is full"):
        match_features(features, broken, MatchingConfig())
    with pytest.raises(UserError, match="go on by --resume"):
        match_features(features, broken, MatchingConfig())
    with pytest.raises(UserError, match="matcher: found ratio"):
        match_features(features, broken, MatchingConfig(matcher="ratio"), resume=True)
    match_features(features, broken, MatchingConfig(), resume=True)
    assert len(calls) == 13 + 66 - 10  # two shards of five were there
    names = list(of_places())
    one, two = read_all_matches(whole, names), read_all_matches(broken, names)
    assert all(np.array_equal(one[pair].indices, two[pair].indices) for pair in one)
    match_features(features, broken, MatchingConfig(), resume=True)  # complete already
    with pytest.raises(UserError, match="other features or settings"):
        match_features(features, broken, MatchingConfig(ratio=0.7), resume=True)
    match_features(features, broken, MatchingConfig(sequential=1), overwrite=True)
    assert len(read_all_matches(broken, names)) == 11


def test_verification_keeps_what_agrees() -> None:
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.uniform(-1, 1, (60, 2)), rng.uniform(3, 6, (60, 1))], axis=1)
    seen = [300 * (points - (x, 0, 0))[:, :2] / points[:, 2:] + 160 for x in (0, 0.5)]
    seen[1][:20, 1] += rng.uniform(15, 60, 20)
    one, two = (Features(each, None, None, (320, 320)) for each in seen)
    every = Matches(np.stack([np.arange(60)] * 2, axis=1), np.ones(60))
    kept = agreeing(one, two, every)
    assert len(kept) >= 40
    assert np.isin(np.arange(20, 60), kept.indices[:, 0]).all()
    assert len(agreeing(one, two, Matches(every.indices[:10], every.scores[:10]))) == 0


def test_mistakes(cli: CommandLine, features: Path, tmp_path: Path) -> None:
    """Each is one line that says what was found; nothing is written."""
    out, images = tmp_path / "m.h5", of_places()
    name, first = next(iter(images.items()))

    def line(changed: dict[str, Features], *options: object) -> str:
        save_features(tmp_path / "changed.h5", changed)
        return cli.fails("match-features", tmp_path / "changed.h5", "--out", out, *options)

    assert "'place/0/0.jpg' has no descriptors" in line({**images, name: replace(first, descriptors=None)})
    assert "found descriptors of 16 numbers" in line({**images, "z.jpg": of_places(length=8)[name]})
    blank = Features(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 16)), (64, 64))
    assert "found 1 image(s) with keypoints" in line({name: first, "blank.jpg": blank}, "--retrieve", 1)
    assert "differ in '/' and '-' alone" in line({name: first, name.replace("/", "-"): first})
    (tmp_path / "pairs.txt").write_text("place/0/0.jpg place/0/9.jpg\n")
    found = line(images, "--pairs", tmp_path / "pairs.txt")
    assert "found 'place/0/9.jpg', expected one of the 12 images with features; did you mean" in found
    (tmp_path / "pairs.txt").write_text("\n")
    assert "pairs.txt: found no pair" in line(images, "--pairs", tmp_path / "pairs.txt")
    folder = tmp_path / "shards"
    folder.mkdir()
    for index, part in enumerate((list(images)[:6], list(images)[6:])):
        save_features(folder / f"{index}.h5", {key: images[key] for key in part}, {"model": f"network {index}"})
    assert "of different networks in 0.h5 and 1.h5" in cli.fails("match-features", folder, "--out", out)
    content = features.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    assert "cut.h5" in cli.fails("match-features", tmp_path / "cut.h5", "--out", out)
    assert not out.exists()
    out.write_bytes(b"mine")
    assert "exists already" in cli.fails("match-features", features, "--out", out)
    with pytest.raises(UserError, match="cannot be read as matches"):
        read_matches(out, "a", "b")
    write_matches(out, {("a", "b"): Matches([[0, 1]], [1.0])}, {"a": 2, "b": 2})
    with pytest.raises(UserError, match="found matches of 'a', expected images with features"):
        read_all_matches(out, images)


@pytest.mark.slow
def test_two_processes_share_the_pairs(features: Path, tmp_path: Path, project: Path) -> None:
    out, whole = tmp_path / "two.h5", tmp_path / "one.h5"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "superpoint"]
    environment = os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    command = [*launcher, "match-features", str(features), "--out", str(out)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    match_features(features, whole, MatchingConfig())
    one, two = (read_all_matches(path, of_places()) for path in (whole, out))
    assert list(one) == list(two)
    assert all(np.array_equal(one[pair].indices, two[pair].indices) for pair in one)
