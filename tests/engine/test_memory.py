"""Freed memory stays with the process, so a step seldom faults its pages in again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from superpoint.engine.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    blocks = [torch.ones(12_000_000) for _ in range(2)]  # 48 MB each, above any default threshold
for _ in range(4):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_fewer_pages_are_faulted_in_again() -> None:
    faults = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", PROGRAM, mode]
        faults[mode] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # Where the heap's blocks lie differs from run to run, so that now and then one of the 16 needs new pages; how many
    # pages a fault brings depends on transparent huge pages. So the two are compared, not counted.
    assert faults["default"] > 0
    assert faults["keep"] < 0.5 * faults["default"]
