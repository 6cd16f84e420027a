"""What finetune, adapt and pipeline refuse alike, before anything is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from superpoint.config import AdaptConfig, ChainConfig, FinetuneConfig, PipelineConfig
from superpoint.errors import UserError
from superpoint.training.adapt import adapt
from superpoint.training.chain import begin, check_photographs, keep, write_settings
from superpoint.training.finetune import finetune
from superpoint.training.pipeline import pipeline

CHAINS = [(FinetuneConfig, finetune), (AdaptConfig, adapt), (PipelineConfig, pipeline)]


@pytest.mark.parametrize(("kind", "run"), CHAINS)
def test_every_chain_checks_processes_and_photographs_first(
    kind: type[ChainConfig], run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = kind(run=str(tmp_path / "run"), images=str(tmp_path / "nope"))
    with pytest.raises(UserError, match=r"images: found '.*nope', expected a folder of photographs"):
        run(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"found several processes \(torchrun\), expected one"):
        run(config)
    assert not (tmp_path / "run").exists()


def test_photographs(photographs: Path, tmp_path: Path) -> None:
    assert check_photographs(str(photographs), 8) == photographs
    with pytest.raises(UserError, match="images: not set"):
        check_photographs(None, 2)
    with pytest.raises(UserError, match="no image"):
        check_photographs(str(tmp_path), 2)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "c.png").write_bytes(next(photographs.iterdir()).read_bytes())
    with pytest.raises(UserError, match=r"found 1 of 3 photographs readable \(a\.png: .*expected at least 2") as caught:
        check_photographs(str(tmp_path), 2)
    assert "\n" not in str(caught.value)


def test_settings_bind_once_there_are_results(tmp_path: Path) -> None:
    def start(*, resume: bool = True, **settings: Any) -> Path:
        return begin(AdaptConfig(run=str(tmp_path / "run"), **settings), resume=resume, remedy=keep)

    assert start(resume=False) == tmp_path / "run"
    write_settings(AdaptConfig(run=str(tmp_path / "run")))
    start(resume=False, seed=1)  # after a command that failed before its first step
    (tmp_path / "run/labels1.h5").touch()
    with pytest.raises(UserError, match="the folder is not empty; go on with it by --resume"):
        start(resume=False)
    start()
    with pytest.raises(UserError, match=r"adapt\.yaml: seed: found 1, but the run was begun with 0; set it back"):
        start(seed=1)
    settings = tmp_path / "run/adapt.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("rounds: 1\n", ""))
    with pytest.raises(UserError, match=r"rounds: found 1, but the run was begun with nothing \(another version\)"):
        start()
    settings.write_text("rounds: [")
    with pytest.raises(UserError, match="not valid YAML"):
        start()
    settings.unlink()
    with pytest.raises(UserError, match="holds no adapt to resume"):
        start()
