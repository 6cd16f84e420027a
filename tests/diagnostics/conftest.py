"""The healthy case that the tests of the diagnostics break."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from superpoint.diagnostics.case import Case, Labelled

PROGRAM = Path(__file__).with_name("faults.py")


@pytest.fixture(scope="session")
def faults() -> ModuleType:
    """Module tests/diagnostics/faults.py."""
    specification = importlib.util.spec_from_file_location("faults", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["faults"] = module  # where dataclasses and copies look for its classes
    specification.loader.exec_module(module)
    return module


class Kept:
    """A data set that draws each sample once: the checks of all tests look at the same few."""

    def __init__(self, base: Labelled) -> None:
        self.base = base
        self.kept: dict[tuple[str, int], Any] = {}

    def __getitem__(self, index: int) -> Any:
        if ("sample", index) not in self.kept:
            self.kept["sample", index] = self.base[index]
        return dict(self.kept["sample", index])

    def draw(self, index: int) -> Any:
        if ("drawn", index) not in self.kept:
            self.kept["drawn", index] = self.base.draw(index)
        return self.kept["drawn", index]


@pytest.fixture(scope="session")
def healthy(faults: ModuleType) -> Case:
    """The released small network on 96x128 shapes with a plausible history; do not change it, `dataclasses.replace`."""
    case = faults.healthy_case()
    return replace(case, dataset=Kept(case.dataset))
