"""The stage as a user runs it, on tiny runs: the table, the JSON, the files, the exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import superpoint.diagnostics.doctor as stage
from superpoint.cli import main
from superpoint.commands.conclusion import write_run_report
from superpoint.config import MagicPointConfig, load_config
from superpoint.data.samples import SyntheticShapes
from superpoint.diagnostics.diagnosis import CHECKS, diagnose, verdict
from superpoint.diagnostics.doctor import doctor
from superpoint.diagnostics.finding import Finding, Status
from superpoint.diagnostics.reading import read_case
from superpoint.engine import make_fabric
from superpoint.training.detector_validation import DetectorValidation
from superpoint.training.magicpoint import fit_detector
from tests.conftest import TINY_TRAINING

SETTINGS = [*TINY_TRAINING, "data.curriculum=0", "train.precision=fp32"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is far too short to find anything, at a rate that throws it off course."""
    folder = tmp_path_factory.mktemp("doctor") / "run"
    config = load_config(MagicPointConfig, None, [*SETTINGS, f"run={folder}", "train.steps=24", "optimizer.lr=3"])
    dataset = SyntheticShapes(config.data, config.seed)
    fit_detector(config, make_fabric(config.train), dataset, lambda model: {"selected_by": "AP", "AP": 0.0})
    return folder


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", *arguments])
    return int(stopped.value.code or 0)


def test_all_files_and_the_range_test(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings = doctor(trained, quiet=True)
    assert capsys.readouterr().out == ""
    assert [finding.check for finding in findings] == list(CHECKS)
    content = json.loads((trained / "doctor/findings.json").read_text())
    assert content["step"] == 24
    assert content["run"] == str(trained)
    assert content["findings"] == json.loads(json.dumps([finding.as_dict() for finding in findings]))
    assert "range test" in next(finding.evidence for finding in findings if finding.check == "learning_rate")
    with Image.open(trained / "doctor/lr_finder.png") as picture:
        assert min(picture.size) > 300


def test_json_and_nothing_else(trained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command(str(trained), "--json", "--out", str(tmp_path)) == 1
    content = json.loads(capfd.readouterr().out)
    assert content == json.loads((tmp_path / "findings.json").read_text())
    statuses = {finding["check"]: finding["status"] for finding in content["findings"]}
    assert statuses["learning_rate"] == "FAIL"
    assert statuses["labels"] == "PASS"
    assert set(content["versions"]) == {"superpoint", "torch"}
    assert content["summary"].endswith(" FAIL: first look at gradient_jump")


def test_piped_output_is_plain_and_whole(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(trained), "--no-range-test", "--out", str(tmp_path)) == 1
    assert not (tmp_path / "lr_finder.png").exists()
    lines = capsys.readouterr().out.splitlines()
    for number, finding in enumerate(json.loads((tmp_path / "findings.json").read_text())["findings"], 1):
        assert f"{number:2} {finding['check']:17} {finding['status']:4} {finding['evidence']}" in lines
        if finding["status"] != "PASS":
            assert f"{'':20} remedy: {finding['remedy']}" in lines
    assert "first look at" in lines[-1]


def test_a_narrow_terminal_cuts_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    findings = doctor(trained, range_test=False, out=tmp_path)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert max(len(line) for line in text.splitlines() if "written to" not in line and str(trained) not in line) <= 80
    words = " ".join(text.split())
    for finding in findings:
        assert finding.check in words
        assert " ".join(finding.evidence.split()[-2:]).replace(" ", "") in words.replace(" ", "")


def test_a_healthy_network_exits_with_zero(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fine(*_: object) -> list[Finding]:
        return [Finding("input", Status.PASS, "Fine."), Finding("labels", Status.WARN, "Odd.", "Why.", "What.")]

    monkeypatch.setattr(stage, "diagnose", fine)
    assert command(str(trained), "--no-range-test", "--out", str(tmp_path)) == 0
    assert "1 PASS, 1 WARN: first look at labels" in capsys.readouterr().out


def test_errors_are_one_line(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(tmp_path / "nowhere")) == 2
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert command(str(trained), "--out", str(occupied / "below")) == 2
    error = capsys.readouterr().err
    assert str(occupied) in error
    assert error.count("\n") == 1
    copy = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("doctor"))
    (copy / "doctor").write_text("in the way")
    assert command(str(copy)) == 2
    assert "--out" in capsys.readouterr().err


def test_runs_without_usable_weights_are_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "doctor"))
    assert command(str(without), "--no-range-test") == 2
    error = capsys.readouterr().err
    assert "found no checkpoint, expected checkpoints/last.ckpt or checkpoints/best.ckpt" in error
    assert error.count("\n") == 1
    other = shutil.copytree(trained, tmp_path / "other", ignore=shutil.ignore_patterns("doctor"))
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("head_channels: 16", "head_channels: 24"))
    assert command(str(other), "--no-range-test") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {other / 'checkpoints/last.ckpt'}")
    assert error.count("\n") == 1
    assert not (other / "doctor").exists()


def test_a_run_is_complete_without_its_findings(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report that cannot be made is a warning at the end of a training, not its failure."""
    without = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "doctor"))
    write_run_report(str(without))
    assert "warning: no findings or report" in capsys.readouterr().out


@pytest.mark.slow
def test_a_healthy_short_run_passes_all_checks(tmp_path: Path, project: Path) -> None:
    """A minute of the quick recipe, its schedule and all, without the curriculum, which is longer than that."""
    budget = ["train.minutes=null", "train.steps=1200", "train.validate_every=400", "data.curriculum=0"]
    small = ["data.workers=0", "validation.images=60", f"run={tmp_path / 'run'}"]
    config = load_config(MagicPointConfig, project / "configs/magicpoint/quick.yaml", [*budget, *small])
    fabric = make_fabric(config.train)
    fit_detector(config, fabric, SyntheticShapes(config.data, config.seed), DetectorValidation(config))
    findings = doctor(config.run, quiet=True)
    assert {finding.check: finding.evidence for finding in findings if finding.status is not Status.PASS} == {}
    assert len(findings) == 15


def test_damage_to_the_log_is_mentioned(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(trained, tmp_path / "run")
    path = copy / "metrics.jsonl"
    path.write_text("half a line\n" + path.read_text())
    command(str(copy), "--no-range-test", "--json")
    captured = capsys.readouterr()
    assert "1 damaged line" in captured.err
    json.loads(captured.out)


def test_diagnose_announces_each_check(trained: Path) -> None:
    announced: list[str] = []
    findings = diagnose(read_case(trained), announced.append)
    assert announced == list(CHECKS) == [finding.check for finding in findings]


def test_the_verdict_names_a_cause_before_its_symptoms() -> None:
    def finding(check: str, status: Status) -> Finding:
        return Finding(check, status, "")

    symptoms = [finding("border", Status.FAIL), finding("learning_rate", Status.FAIL), finding("labels", Status.WARN)]
    assert verdict(symptoms) == "1 WARN, 2 FAIL: first look at learning_rate"
    assert verdict([finding("input", Status.PASS)]) == "1 PASS"
