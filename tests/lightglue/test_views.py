"""Views' features and the truth about pairs of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from superpoint.config import dump_config
from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError
from superpoint.geometry.homography import warp_points
from superpoint.lightglue.views import PART, ViewPairs, extract_views, open_views, true_matches
from superpoint.losses.assignment import IGNORED, UNMATCHABLE
from tests.conftest import CommandLine
from tests.lightglue.scenes import matcher_config

SHIFT = np.array([[1, 0, 10], [0, 1, 0], [0, 0, 1]], float)


def test_matches_by_the_exact_mapping() -> None:
    first = np.array([[0, 0], [20, 0], [40, 0], [60, 0], [80, 0]], float)
    second = np.array([[12, 0], [34.5, 0], [50, 1], [52, 0], [200, 0]], float)  # 2 px off, 4.5 px, two rivals, none
    truth = true_matches(first, second, SHIFT)
    assert truth[0].tolist() == [0, IGNORED, 2, UNMATCHABLE, UNMATCHABLE]
    assert truth[1].tolist() == [0, IGNORED, 2, IGNORED, UNMATCHABLE]

    # 2.5 px in a view at a quarter of the size are 10 px in the other.
    truth = true_matches(np.array([[40.0, 0]]), np.array([[12.5, 0]]), np.diag([0.25, 0.25, 1.0]))
    assert (truth[0].tolist(), truth[1].tolist()) == ([IGNORED], [UNMATCHABLE])
    truth = true_matches(np.zeros((0, 2)), np.ones((2, 2)), SHIFT)
    assert (len(truth[0]), truth[1].tolist()) == (0, [UNMATCHABLE, UNMATCHABLE])


def test_pairs_are_functions_of_seed_and_index(tmp_path: Path) -> None:
    config = matcher_config(tmp_path)
    file = open_views(config)
    pairs, again = (ViewPairs(file, config.data, 0) for _ in range(2))
    held_out = ViewPairs(file, config.data, 0, held_out=True)
    assert not {pairs.names(k)[0][:5] for k in range(9)} & {held_out.names(k)[0][:5] for k in range(9)}
    sample, same = pairs[5], again[5]
    assert all(torch.equal(sample[key], same[key]) for key in sample)
    assert not sample["filled0"][-1]
    assert sample["keypoints0"].shape == (config.data.keypoints + 1, 2)
    start = torch.nonzero(sample["matches0"] >= 0).squeeze(1)
    mapped = warp_points(sample["keypoints0"][start].numpy(), sample["h_0_1"].double().numpy())
    assert len(start) > 8
    assert np.abs(mapped - sample["keypoints1"][sample["matches0"][start]].numpy()).max() <= 3.01
    assert not torch.equal(pairs[6]["h_0_1"], sample["h_0_1"])


def test_extraction_goes_on_where_it_was_killed(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = matcher_config(tmp_path)
    images = shutil.copytree(photographs, tmp_path / "images")
    (images / "zzz.png").write_bytes(b"no image")
    whole = replace(config, data=replace(config.data, images=str(images), features=str(tmp_path / "whole.h5")))
    monkeypatch.setattr("superpoint.lightglue.views.PART", 3)
    assert PART > 3
    assert extract_views(whole) is None
    killed = replace(whole, data=replace(whole.data, features=str(tmp_path / "killed.h5")))
    calls = []

    def third(*arguments: object) -> dict[str, object]:
        calls.append(arguments)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return found(*arguments)  # type: ignore[arg-type]

    from superpoint.lightglue.views import view_features as found

    monkeypatch.setattr("superpoint.lightglue.views.view_features", third)
    with pytest.raises(KeyboardInterrupt):
        extract_views(killed)
    extract_views(killed)
    assert len(calls) == 5 + 8 - 3  # the first part of three photographs was kept
    with FeatureFile(whole.features) as one, FeatureFile(killed.features) as other:
        assert one.names() == other.names()
        assert len(one) == 8 * 3
        assert list(one.skipped()) == ["zzz.png"]
        first = one.read(one.names()[0])
        assert first.warp is not None
        np.testing.assert_array_equal(first.keypoints, other.read(one.names()[0]).keypoints)
    assert not list(tmp_path.glob("*.shards"))


def test_files_of_other_networks_and_settings(tmp_path: Path) -> None:
    config = matcher_config(tmp_path)
    with pytest.raises(UserError, match=r"features\.h5: found features made with network \w+, expected \w+; remove it"):
        extract_views(replace(config, network="superpoint-lite"))
    with pytest.raises(UserError, match=r"features\.h5: found features made with zoom 1\.5, expected 2\.0; remove it"):
        extract_views(replace(config, data=replace(config.data, zoom=2.0)))
    with pytest.raises(UserError, match="network=magicpoint: has no descriptors"):
        extract_views(replace(config, network="magicpoint"))
    missing = replace(config, data=replace(config.data, features=str(tmp_path / "none.h5")))
    with pytest.raises(UserError, match=r"none\.h5: no such file, expected it, or data\.images"):
        extract_views(missing)


def test_a_damaged_file_is_refused_before_training(tmp_path: Path, cli: CommandLine) -> None:
    config = matcher_config(tmp_path)
    file = Path(config.features)
    whole = file.read_bytes()
    content = bytearray(whole)
    with FeatureFile(file) as features:
        values = features.group("0.png/000")["descriptors"]
        start = values.id.get_offset()
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"features\.h5: 0\.png/000: its checksum is not that of its content"):
        extract_views(config)
    train = ("train-matcher", "--config", tmp_path / "recipe.yaml", f"run={tmp_path}/other")
    (tmp_path / "recipe.yaml").write_text(dump_config(config))
    for damaged in (whole[: len(whole) // 2], bytes(len(whole)), b""):
        file.write_bytes(damaged)
        assert "not a readable HDF5 file" in cli.fails(*train)
    for name, words in (("descriptors", "its checksum is not that"), ("keypoints", "features.h5: holds 239 images")):
        file.write_bytes(whole)
        with h5py.File(file, "a") as edited:
            del edited[f"0.png/000/{name}"]
        assert words in cli.fails(*train)
    file.write_bytes(whole)
    with h5py.File(file, "a") as edited:
        for name in ViewPairs(FeatureFile(file), config.data, 0).views[0]:
            del edited[name].attrs["warp"]
    with pytest.raises(UserError, match="found views without 'warp'"):
        [ViewPairs(FeatureFile(file), config.data, 0)[index] for index in range(80)]


def test_without_photographs(tmp_path: Path, cli: CommandLine) -> None:
    config = matcher_config(tmp_path)
    (tmp_path / "recipe.yaml").write_text(dump_config(config))
    train = ("train-matcher", "--config", tmp_path / "recipe.yaml", f"run={tmp_path}/other")
    images = tmp_path / "images"
    images.mkdir()
    keys = (f"data.images={images}", f"data.features={tmp_path}/new.h5")
    assert "images: found no image" in cli.fails(*train, *keys)
    (images / "a.png").write_text("no image")
    assert "found views of 0 photograph(s), expected two or more" in cli.fails(*train, *keys)
