from pathlib import Path

import pytest
import torch

from superpoint.backends.choice import native_bf16_instructions


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n", ["avx512_bf16", "amx_bf16"]),
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_vnni\n", []),  # AVX-512 alone only emulates bf16
        ("processor\t: 0\nFeatures\t: fp asimd i8mm bf16\n", ["bf16"]),
        (None, []),
    ],
)
def test_from_cpuinfo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpuinfo: str | None, expected: list[str]
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert native_bf16_instructions(tmp_path / "cpuinfo") == expected


def test_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    assert native_bf16_instructions() == ["avx512_bf16"]
