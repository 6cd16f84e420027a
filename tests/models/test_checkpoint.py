from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from superpoint.errors import UserError
from superpoint.models.checkpoint import REQUIRED_KEYS, load_checkpoint, save_checkpoint, write_nonfinite


def make_state(**changes: Any) -> dict[str, Any]:
    state = dict.fromkeys(REQUIRED_KEYS, 0) | {"model": {"weight": torch.arange(1000.0)}, "best": -float("inf")}
    return state | changes


def test_round_trip_without_pickled_code(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.ckpt", make_state(step=7, config="x: 1\n"))
    loaded = load_checkpoint(tmp_path / "a.ckpt")
    assert (loaded["step"], loaded["config"]) == (7, "x: 1\n")
    assert torch.equal(loaded["model"]["weight"], torch.arange(1000.0))
    assert set(torch.load(tmp_path / "a.ckpt", weights_only=True)) >= set(REQUIRED_KEYS)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.99])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, make_state())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(UserError, match=r"a.ckpt: not a readable checkpoint \(truncated"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"broken", b"\x80\x02]q\x00.", b"PK\x03\x04", b"a longer text\n" * 99])
def test_other_bytes_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ckpt: not a"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"format": 1, "model": Evil()}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "harm").exists()


def test_missing_file_other_format_and_missing_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(UserError, match=r"a.ckpt: no such checkpoint"):
        load_checkpoint(path)
    for content, message in (
        ({"weight": torch.zeros(2)}, "not a training checkpoint"),
        ({"format": 99}, "found checkpoint format 99, expected 1"),
        ({"format": 1, "model": {}}, "lacks ema, optimizer"),
    ):
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            load_checkpoint(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, make_state(step=1))
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, make_state(step=2, model=lambda: None))
    assert load_checkpoint(path)["step"] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ckpt"]


def test_write_nonfinite(tmp_path: Path) -> None:
    found = {"step": 5, "loss": float("nan"), "gradient_norm": 1.0}
    path = write_nonfinite(tmp_path, 1, found, [{"image": torch.ones(2)}], nn.Linear(1, 1))
    assert path.name == "nonfinite_step_5_rank_1.pt"
    content = torch.load(path, weights_only=True)
    assert torch.equal(content["batches"][0]["image"], torch.ones(2))
    assert list(content["model"]) == ["weight", "bias"]
