"""The healthy case that the tests of the diagnostics break."""

from dataclasses import replace
from typing import Any

import pytest

from superpoint.diagnostics.case import Case, Labelled
from tests.diagnostics.healthy import healthy_case


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
def healthy() -> Case:
    """The small pretrained network on 96x128 shapes, with a plausible history; change copies of it only."""
    case = healthy_case()
    return replace(case, dataset=Kept(case.dataset))
