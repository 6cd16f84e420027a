import platform
import resource
from pathlib import Path

import pytest
import torch

from superpoint.errors import UserError
from superpoint.labelling import memory
from superpoint.labelling.memory import (
    BYTES_PER_PIXEL,
    TILE,
    NoRoomError,
    fitting_tile,
    free_memory,
    give_back_freed_memory,
    largest_chunk,
)

CPU = torch.device("cpu")


def test_the_machine(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert free_memory(CPU, meminfo, tmp_path) == 2 << 30  # unknown
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert free_memory(CPU, meminfo, tmp_path) == 5000 << 10
    (tmp_path / "memory.max").write_text("max\n")  # a container without a limit
    assert free_memory(CPU, meminfo, tmp_path) == 5000 << 10


@pytest.mark.parametrize(
    ("limit", "used", "stat", "cache"),
    [
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ],
)
def test_the_container(tmp_path: Path, limit: str, used: str, stat: str, cache: str) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemAvailable:    5000 kB\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("3000000\n")
    (tmp_path / used).write_text("2000000\n")
    (tmp_path / stat).write_text(f"anon 5\n{cache} 400000\n")
    assert free_memory(CPU, meminfo, tmp_path) == 1_400_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to")
def test_freed_memory_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    blocks = [torch.zeros(25_000) for _ in range(600)]  # 100 kB each: below the size that is mapped on its own
    del blocks[::2]
    before = resident()
    assert give_back_freed_memory()
    assert before - resident() > 15e6
    assert len(blocks) == 300


def test_elsewhere_there_is_nothing_to_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert not give_back_freed_memory()


def test_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 400 << 20)
    assert largest_chunk(0, (240, 320), CPU, "x") == (100 << 20) // BYTES_PER_PIXEL
    assert largest_chunk(30, (240, 320), CPU, "x") == (30 << 20) // BYTES_PER_PIXEL
    monkeypatch.setattr(memory, "free_memory", lambda device: 64 << 30)
    assert largest_chunk(0, (240, 320), CPU, "x") == (512 << 20) // BYTES_PER_PIXEL
    with pytest.raises(UserError, match=r"x: a view of 12000x9000 pixels needs about 70\.4 GB, but 64\.0 GB are free"):
        largest_chunk(0, (9000, 12000), CPU, "x")


def test_tiles_where_the_memory_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 64 << 30)
    assert fitting_tile("auto", (2000, 2000), CPU, "x") == 0
    assert fitting_tile("auto", (12_000, 17_000), CPU, "x") == TILE
    assert fitting_tile(512, (100, 100), CPU, "x") == fitting_tile("512", (9000, 9000), CPU, "x") == 512
    with pytest.raises(NoRoomError, match="a view of 17000x12000 pixels needs"):
        fitting_tile("0", (12_000, 17_000), CPU, "x")
    monkeypatch.setattr(memory, "free_memory", lambda device: 1 << 30)
    assert fitting_tile("auto", (1000, 1000), CPU, "x") == TILE
    with pytest.raises(NoRoomError):
        fitting_tile(2048, (12_000, 17_000), CPU, "x")
