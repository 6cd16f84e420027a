"""A tiny matcher learns, resumes with the same bits, matches by its weights and says what is wrong with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from superpoint import pretrained
from superpoint.commands.conclusion import other_reports
from superpoint.config import dump_config
from superpoint.diagnostics.diagnosis import diagnose, verdict
from superpoint.diagnostics.finding import Status
from superpoint.diagnostics.report.write import write_report
from superpoint.errors import UserError
from superpoint.lightglue.checks import MATCHER_CHECKS, MatcherCase, read_matcher_run
from superpoint.lightglue.training import MatcherValidation, train_matcher
from superpoint.lightglue.views import ViewPairs
from superpoint.matching import match
from superpoint.matching.lightglue import load_matcher
from superpoint.models.lightglue import build_matcher
from tests.conftest import CommandLine
from tests.lightglue.scenes import DIM, matcher_config

TRAINED = 150  # steps


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learnt one pair, and finds matches of others."""
    config = matcher_config(tmp_path_factory.mktemp("matcher"), steps=TRAINED, validate_every=50)
    train_matcher(config)
    return Path(config.run)


@pytest.fixture
def healthy(run: Path) -> MatcherCase:
    case = read_matcher_run(run).case
    assert isinstance(case, MatcherCase)
    return replace(case, history=[])  # without a history no run is too young to judge


def test_it_learns_and_passes_all_checks(run: Path, healthy: MatcherCase) -> None:
    reading = read_matcher_run(run)
    history = reading.history
    lines = history.events("validate")
    assert lines[-1]["loss"] < 0.5 * history.events("initial_loss")[0]["loss"]
    assert lines[-1]["recall"] > 0.5
    assert lines[-1]["precision"] > 0.8
    assert "validation loss" in MATCHER_CHECKS["overfitting"](reading.case).evidence.lower()
    findings = diagnose(healthy, MATCHER_CHECKS)
    assert verdict(findings) == f"{len(MATCHER_CHECKS)} PASS", [each.as_dict() for each in findings]


class Changed(ViewPairs):
    """Pairs with a planted fault."""

    def __init__(self, pairs: ViewPairs, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
        self.__dict__ |= vars(pairs)
        self.change = change

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample = super().__getitem__(index)
        self.change(sample)
        return sample


def transposed(sample: dict[str, torch.Tensor]) -> None:
    sample["matches0"], sample["matches1"] = sample["matches1"], sample["matches0"]


def of_another_network(sample: dict[str, torch.Tensor]) -> None:
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0)))[0]
    sample["descriptors1"] = sample["descriptors1"] @ turn


def in_pixels(sample: dict[str, torch.Tensor]) -> None:
    sample["size0"] = sample["size1"] = torch.tensor([2.0, 2.0])


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        (transposed, "labels", "labels are transposed"),
        (of_another_network, "features", "not of the same network"),
        (in_pixels, "positions", "not normalised"),
    ],
)
def test_a_planted_fault_is_named(
    healthy: MatcherCase, fault: Callable[[dict[str, torch.Tensor]], object], check: str, words: str
) -> None:
    findings = diagnose(replace(healthy, dataset=Changed(healthy.dataset, fault)), MATCHER_CHECKS)
    assert verdict(findings).endswith(f"first look at {check}")
    found = next(each for each in findings if each.check == check)
    assert found.status is Status.FAIL
    assert words in found.cause


def test_faults_of_the_network_are_named(healthy: MatcherCase) -> None:
    collapsed = build_matcher(DIM, 16, 2, 2, seed=1).eval()
    for head in collapsed.log_assignment:
        torch.nn.init.zeros_(head.get_submodule("final_proj").get_parameter("weight"))
    found = diagnose(replace(healthy, model=collapsed), MATCHER_CHECKS)
    assert {each.check for each in found if each.status is Status.FAIL} >= {"assignment", "unmatchable"}
    blind = build_matcher(DIM, 16, 2, 2).eval()
    blind.load_state_dict(healthy.model.state_dict())
    torch.nn.init.zeros_(blind.posenc.Wr.weight)
    assert MATCHER_CHECKS["positions"](replace(healthy, model=blind)).status is Status.FAIL
    assert "another network" in MATCHER_CHECKS["features"](replace(healthy, network="0" * 16)).cause


def test_its_weights_match_features(run: Path, healthy: MatcherCase, photographs: Path, cli: CommandLine) -> None:
    matcher = load_matcher(run)
    first, second, _ = healthy.dataset.draw(0)
    matches = match(first, second, f"lightglue:{run}")
    truth = healthy.dataset[0]["matches0"].numpy()
    assert np.mean(truth[matches.indices[:, 0]] == matches.indices[:, 1]) > 0.7
    assert first.network == healthy.network  # as the feature file says
    assert len(match(replace(first, network=""), second, f"lightglue:{run}")) == len(matches)  # unknown passes
    with pytest.raises(UserError, match=f"found features of network 00, expected {healthy.network}"):
        matcher(first, replace(second, network="00"))
    with pytest.raises(UserError, match="features1: found descriptors of length 3"):
        matcher(first, replace(second, descriptors=np.ones((len(second), 3))))


def test_features_of_another_network_are_refused(
    run: Path, photographs: Path, tmp_path: Path, cli: CommandLine
) -> None:
    here, two = f"lightglue:{run}", sorted(photographs.glob("*.*"))[:2]
    cli.succeeds("detect", *two, "--out", tmp_path / "features.h5", "--model", "superpoint-lite", "--resize", "160")
    for command in (
        ("match", *two, "--out", tmp_path / "m.json", "--matcher", here),
        ("match-features", tmp_path / "features.h5", "--out", tmp_path / "m.h5", "--matcher", here),
        ("evaluate", "pairs", "--images", photographs, "--out", tmp_path / "pairs", f"matcher={here}"),
        ("reconstruct", *two, "--out", tmp_path / "model", "--matcher", here),
        ("demo", "--matcher", here),
    ):
        code, _, error = cli(*command)  # `evaluate pairs` may have told of its progress before
        assert code == 2
        assert "found features of network" in error.splitlines()[-1]


def test_an_unknown_matcher_is_named_before_anything_is_loaded(cli: CommandLine) -> None:
    assert "--matcher: found 'nearest'" in cli.fails("demo", "--matcher", "nearest")


def test_pretrained_weights_are_found_by_the_network(
    run: Path, healthy: MatcherCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: CommandLine
) -> None:
    monkeypatch.setattr(pretrained, "PRETRAINED", tmp_path)
    first, second, _ = healthy.dataset.draw(0)
    with pytest.raises(UserError, match=r"no pretrained matcher for .* \(there is none\); train one by"):
        match(first, second, "lightglue")
    file = tmp_path / "lightglue-tiny.safetensors"
    cli.succeeds("export-weights", "--model", run, "--out", file, "--half")
    assert pretrained.pretrained_names() == []
    found = match(first, second, "lightglue")
    assert len(found) > 5
    for source in ("lightglue-tiny", file):
        assert np.array_equal(match(first, second, f"lightglue:{source}").indices, found.indices)
    with pytest.raises(UserError, match="features of network unknown"):
        match(replace(first, network=""), second, "lightglue")
    drawn = cli.fails("detect-samples", "--model", file, "--out", tmp_path / "drawn")
    assert "found a matcher, expected a network" in drawn


def test_the_report_shows_its_curves(run: Path) -> None:
    page = write_report(run, others=other_reports()).read_text()
    assert "Confidence loss" in page


def test_a_killed_run_resumes_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = matcher_config(tmp_path)
    train_matcher(whole)
    killed, calls = replace(whole, run=str(tmp_path / "killed")), []
    with monkeypatch.context() as patch:

        def second_kills(*arguments: object) -> dict[str, object]:
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return validate(*arguments)  # type: ignore[arg-type]

        validate = MatcherValidation.__call__
        patch.setattr(MatcherValidation, "__call__", second_kills)
        with pytest.raises(KeyboardInterrupt):
            train_matcher(killed)
    train_matcher(killed, resume=True)
    first, second = (
        torch.load(Path(each.run, "checkpoints/last.ckpt"), weights_only=True)["model"] for each in (whole, killed)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_one_pair_by_heart(tmp_path: Path, cli: CommandLine) -> None:
    config = matcher_config(tmp_path, batch_size=2, validate_every=20, report=False)
    (tmp_path / "recipe.yaml").write_text(dump_config(config))
    keys = ("--config", tmp_path / "recipe.yaml", "data.overfit=1")
    passed = cli.succeeds("train-matcher", *keys, "train.steps=300", f"run={tmp_path}/right")
    assert "PASS: " in passed
    assert MATCHER_CHECKS["features"](read_matcher_run(tmp_path / "right").case).status is Status.PASS
    assert "superpoint train-matcher --config" in cli.fails("overfit", "--config", tmp_path / "recipe.yaml")
    code, output, _ = cli("train-matcher", *keys, "train.steps=4", "optimizer.lr=10", f"run={tmp_path}/wrong")
    assert code == 1
    assert "FAIL: " in output
