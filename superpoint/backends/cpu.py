"""What this CPU can do."""

from __future__ import annotations

from pathlib import Path

import torch

X86_BF16 = ("avx512_bf16", "amx_bf16")
ARM_BF16 = "bf16"


def native_bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Names of the bfloat16 instruction sets of this CPU, [] if it has none or none can be detected.

    Asks `torch.cpu.get_capabilities` (torch >= 2.12) and, where torch is older, the flags in `/proc/cpuinfo`.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        flags = {key for key, value in torch.cpu.get_capabilities().items() if value is True}
    else:
        flags = _cpuinfo_flags(cpuinfo)
    return [flag for flag in (*X86_BF16, ARM_BF16) if flag in flags]


def _cpuinfo_flags(cpuinfo: Path) -> set[str]:
    """Flags of the first processor: the line "flags" on x86, "Features" on ARM. Empty where there is no such file."""
    if not cpuinfo.is_file():
        return set()
    for line in cpuinfo.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return set(value.split())
    return set()
