"""The stage as a user runs it, on tiny runs: the table, the JSON, the files, the exit codes."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import superpoint.diagnostics.doctor as stage
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
from tests.conftest import CommandLine
from tests.diagnostics.real_runs import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("doctor") / "run", "train.batch_size=2", "train.steps=24", "optimizer.lr=3")


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("doctor"))


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


def test_json_and_nothing_else(trained: Path, tmp_path: Path, cli: CommandLine) -> None:
    code, output, _ = cli("doctor", trained, "--json", "--out", tmp_path)
    content = json.loads(output)
    assert code == 1
    assert content == json.loads((tmp_path / "findings.json").read_text())
    statuses = {finding["check"]: finding["status"] for finding in content["findings"]}
    assert (statuses["learning_rate"], statuses["labels"]) == ("FAIL", "PASS")
    assert set(content["versions"]) == {"superpoint", "torch"}
    assert content["summary"].endswith(" FAIL: first look at gradient_jump")


def test_piped_output_is_plain_and_whole(trained: Path, tmp_path: Path, cli: CommandLine) -> None:
    code, output, _ = cli("doctor", trained, "--no-range-test", "--out", tmp_path)
    assert code == 1
    assert not (tmp_path / "lr_finder.png").exists()
    for finding in json.loads((tmp_path / "findings.json").read_text())["findings"]:
        assert f"{finding['status']:4} {finding['evidence']}\n" in output
        assert f"{finding['remedy']}\n" in output


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
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    def fine(*_: object) -> list[Finding]:
        return [Finding("input", Status.PASS, "Fine."), Finding("labels", Status.WARN, "Odd.", "Why.", "What.")]

    monkeypatch.setattr(stage, "diagnose", fine)
    assert "1 PASS, 1 WARN" in cli.succeeds("doctor", trained, "--no-range-test", "--out", tmp_path)


def test_errors_are_one_line(copied: Path, tmp_path: Path, cli: CommandLine) -> None:
    assert str(tmp_path / "nowhere") in cli.fails("doctor", tmp_path / "nowhere")
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert str(occupied) in cli.fails("doctor", copied, "--out", occupied / "below")
    (copied / "doctor").write_text("in the way")
    assert "--out" in cli.fails("doctor", copied)


def test_a_run_without_usable_weights_is_one_line(
    copied: Path, cli: CommandLine, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copied / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("head_channels: 16", "head_channels: 24"))
    assert str(copied / "checkpoints/last.ckpt") in cli.fails("doctor", copied, "--no-range-test")
    assert not (copied / "doctor").exists()
    config.write_text(text)
    shutil.rmtree(copied / "checkpoints")
    assert "found no checkpoint" in cli.fails("doctor", copied, "--no-range-test")
    write_run_report(str(copied))  # at the end of a training a warning, not its failure
    assert "warning: no findings or report" in capsys.readouterr().out


@pytest.mark.slow
def test_a_healthy_short_run_passes_all_checks(tmp_path: Path, project: Path) -> None:
    budget = ["train.minutes=null", "train.steps=1200", "train.validate_every=400", "data.curriculum=0"]
    small = ["data.workers=0", "validation.images=60", f"run={tmp_path / 'run'}"]
    config = load_config(MagicPointConfig, project / "configs/magicpoint/quick.yaml", [*budget, *small])
    fabric = make_fabric(config.train)
    fit_detector(config, fabric, SyntheticShapes(config.data, config.seed), DetectorValidation(config))
    findings = doctor(config.run, quiet=True)
    assert {finding.check: finding.evidence for finding in findings if finding.status is not Status.PASS} == {}
    assert len(findings) == 15


def test_damage_to_the_log_is_mentioned(copied: Path, cli: CommandLine) -> None:
    path = copied / "metrics.jsonl"
    path.write_text("half a line\n" + path.read_text())
    _, output, error = cli("doctor", copied, "--no-range-test", "--json")
    assert "1 damaged line" in error
    json.loads(output)


def test_diagnose_makes_each_check(trained: Path) -> None:
    assert [finding.check for finding in diagnose(read_case(trained))] == list(CHECKS)


def test_the_verdict_names_a_cause_before_its_symptoms() -> None:
    def finding(check: str, status: Status) -> Finding:
        return Finding(check, status, "")

    symptoms = [finding("border", Status.FAIL), finding("learning_rate", Status.FAIL), finding("labels", Status.WARN)]
    assert verdict(symptoms) == "1 WARN, 2 FAIL: first look at learning_rate"
    assert verdict([finding("input", Status.PASS)]) == "1 PASS"
