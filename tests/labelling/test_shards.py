import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from superpoint.data.feature_file import FeatureFile
from superpoint.errors import UserError
from superpoint.features import Features
from superpoint.labelling.shards import Collected, ShardFolder

ATTRIBUTES = {"key": "k"}
PLAN: dict[str, Any] = {
    "config": {"resize": 320, "decode": {"threshold": 0.015}},
    "model": "abc",
    "source": {"kind": "files", "names": ["a.jpg", "b.jpg"], "sizes": [10, None]},
}


def labelled(*names: str, **skipped: str) -> Collected:
    found = {name: Features(np.ones((3, 2), np.float32)) for name in names}
    return Collected(found, {f"{name}.jpg": reason for name, reason in skipped.items()}, len(names) + len(skipped))


@pytest.fixture
def shards(tmp_path: Path) -> Iterator[ShardFolder]:
    with closing(ShardFolder(tmp_path / "out/labels.h5")) as folder:
        folder.start(PLAN, resume=False)
        yield folder


def test_finished_parts_are_told_by_names(shards: ShardFolder) -> None:
    for part, shard, end in [(0, 0, True), (3, 0, False), (3, 1, False), (5, 0, False), (5, 1, True), (7, 1, True)]:
        shards.write(part, shard, labelled(f"{part}-{shard}.jpg"), end=end, attributes=ATTRIBUTES)
    (shards.path / "000009-000000.h5.123.tmp").write_bytes(b"half")
    finished = {0: (1, True), 3: (2, False), 5: (2, True)}  # the first of part 7 is missing
    assert shards.finished() == finished
    for part, shard in ((0, 0), (3, 1), (3, 2), (4, 0), (8, 0)):  # of shards finished since, and in progress
        shards.keep(part, shard, labelled("new.jpg", old="bad"))
    kept = shards.kept(range(8), finished)
    assert sorted(kept) == [3, 4]
    assert (list(kept[3].features), kept[3].skipped, kept[3].count) == (["new.jpg"], {"old.jpg": "bad"}, 2)


def test_merge(shards: ShardFolder) -> None:
    shards.write(0, 0, labelled("a.jpg", x="bad"), end=True, attributes=ATTRIBUTES)
    shards.write(1, 0, labelled("b.jpg", y="worse"), end=True, attributes=ATTRIBUTES)
    assert FeatureFile(shards.path).names() == ["a.jpg", "b.jpg"]  # usable before
    shards.merge(ATTRIBUTES)
    labels = FeatureFile(shards.out)
    assert labels.names() == ["a.jpg", "b.jpg"]
    assert labels.skipped() == {"x.jpg": "bad", "y.jpg": "worse"}
    shards.remove()
    assert not shards.path.exists()


def test_shards_of_other_settings_are_not_merged(shards: ShardFolder) -> None:
    shards.write(0, 0, labelled("a.jpg"), end=True, attributes={"key": "other"})
    with pytest.raises(UserError, match=r"000000-000000-end\.h5: found a shard of other settings"):
        shards.merge(ATTRIBUTES)


def test_a_disk_without_room_for_both_is_told_before(shards: ShardFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    shards.write(0, 0, labelled("a.jpg"), end=True, attributes=ATTRIBUTES)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("superpoint.labelling.shards.shutil.disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"merging needs .* are complete: make room, then --resume"):
        shards.merge(ATTRIBUTES)
    assert FeatureFile(shards.path).names() == ["a.jpg"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"resize": 640, "decode": {"threshold": 0.015}}}, "resize: found 640, .* were made with 320"),
        ({"config": {"resize": 320, "decode": {"threshold": 0.1}}}, r"decode\.threshold: found 0\.1, .* with 0\.015"),
        ({"model": "xyz"}, "weights: found hash xyz, .* made with abc"),
        ({"masks": "m"}, "masks: found hash m, .* made with none"),
        ({"source": {"kind": "tar", "urls": ["a.tar"]}}, "other inputs"),
        (
            {"source": {"kind": "files", "names": ["b.jpg", "a.jpg"], "sizes": [7, 11]}},
            r"found 'a\.jpg' with 11 bytes, .* began with one of 10",
        ),
        ({"source": {"kind": "files", "names": ["z.jpg"], "sizes": [10]}}, "found none of the 2"),
    ],
)
def test_a_resume_that_does_not_fit_is_refused(shards: ShardFolder, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shards.start({**PLAN, **change}, resume=True)


def test_one_export_at_a_time(shards: ShardFolder) -> None:
    with pytest.raises(UserError, match="go on by --resume"):
        shards.start(PLAN, resume=False)
    assert shards.start(PLAN, resume=True)["model"] == "abc"
    with closing(ShardFolder(shards.out)) as other:
        with pytest.raises(UserError, match=r"labels\.h5\.shards: this process exports into it"):
            other.start(PLAN, resume=True)
        shards.close()
        assert other.start(PLAN, resume=True)["model"] == "abc"


def test_damaged_plans(shards: ShardFolder) -> None:
    shards.plan_file.write_text("{")
    with pytest.raises(UserError, match=r"plan\.json: cannot be read"):
        shards.start(PLAN, resume=True)
    shards.plan_file.write_text(json.dumps({"version": 9}))
    with pytest.raises(UserError, match="found version 9, expected 4"):
        shards.start(PLAN, resume=True)
    shards.plan_file.unlink()
    shards.write(0, 0, labelled("a.jpg"), end=True, attributes=ATTRIBUTES)
    with pytest.raises(UserError, match=r"holds shards but no plan\.json"):
        shards.start(PLAN, resume=True)


def test_leftovers_of_a_kill_are_swept(shards: ShardFolder) -> None:
    leftovers = [shards.path / "000000-000000.h5.99.tmp", shards.out.with_name("labels.h5.99.tmp")]
    for path in leftovers:
        path.write_bytes(b"half")
    other = shards.out.with_name("other.h5.99.tmp")
    other.write_bytes(b"somebody else's")
    shards.start(PLAN, resume=True)
    assert not any(path.exists() for path in leftovers)
    assert other.exists()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        ShardFolder(tmp_path / "file/labels.h5").start(PLAN, resume=False)
    if Path("/proc/version").exists():
        with pytest.raises(UserError, match="cannot be written"):
            ShardFolder("/proc/labels.h5").start(PLAN, resume=False)
