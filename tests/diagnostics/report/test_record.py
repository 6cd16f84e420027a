import json
import math
from pathlib import Path

import numpy as np
import pytest

from superpoint.config import MagicPointConfig, dump_config
from superpoint.diagnostics.report.facts import default_config
from superpoint.diagnostics.report.record import RunRecord, date, parse_config, read_record
from superpoint.engine.run import History
from superpoint.errors import UserError


def make_run(folder: Path, *lines: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(MagicPointConfig()))
    if lines:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def train_line(step: int, **values: object) -> dict[str, object]:
    return {"step": step, "event": "train", "loss": 1.0, "elapsed": float(step), **values}


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    record = read_record(make_run(tmp_path / "run"))
    assert (record.history.entries, record.state, record.best, record.elapsed) == ([], "crashed", None, 0.0)
    assert record.resume is not None
    assert len(record.missing) == 5
    assert record.config == default_config()


def test_damaged_files_become_notes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", train_line(20))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 40, "event": "tra')
    damaged = {
        "config.yaml": b"a: [1",
        "environment.json": b"\xff\xfe\x00",
        "doctor/findings.json": b'{"findings": 3}',
        "evaluation/synthetic.json": b"[]",
        "evaluation/generated_pairs.json": b'{"network": 3}',
    }
    for name, content in damaged.items():
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(content)
    record = read_record(run)
    assert [entry["step"] for entry in record.history.entries] == [20]
    assert record.history.truncated
    assert record.missing.keys() == damaged.keys()
    assert all("cannot be read" in words and "\n" not in words for words in record.missing.values())
    assert not any((record.config, record.environment, record.findings, record.evaluation, record.pairs))


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_the_last_line_tells_how_it_ended(tmp_path: Path, state: str) -> None:
    record = read_record(make_run(tmp_path / "run", train_line(8), {"step": 9, "event": state}))
    assert record.state == state
    assert (record.resume is None) == (state == "finished")


def test_curves_keep_gaps_where_a_number_was_not_finite() -> None:
    history = [train_line(1), train_line(2, loss=None), train_line(3, loss="text"), {"step": 4, "event": "probe"}]
    steps, values = RunRecord(Path("run"), "run", History(history)).curve("train", "loss")
    assert steps == [1, 2]
    np.testing.assert_equal(values, [1.0, math.nan])


def test_best_score_and_keys_of_average_precision() -> None:
    precisions = {"clean/ap@2": 0.5, "noisy/ap@4/pooled": 0.6, "clean/f1@2": 1}
    history = [
        {"step": step, "event": "validate", "selected_by": "AP", "AP": score, **precisions}
        for step, score in ((5, 0.2), (10, 0.9), (15, 0.9), (20, None))
    ]
    record = RunRecord(Path("run"), "run", History(history))
    assert record.best == ("AP", 0.9, 10)  # the first of the highest
    assert record.ap_keys == [("clean/ap@2", "clean", "2"), ("noisy/ap@4/pooled", "noisy", "4")]


def test_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "file", tmp_path):
        with pytest.raises(UserError, match=r"no such run folder|not a run folder"):
            read_record(path)


def test_configurations_and_dates() -> None:
    found = {"a.b": "[1, 2]", "c": "null", "d": "x", "e": "true"}
    assert parse_config("{a: {b: [1, 2]}, c: null, d: x, e: true}") == found
    assert date("2026-11-22T14:42:13+00:00") == "2026-11-22 14:42 UTC"
    assert date("yesterday") == "yesterday"
