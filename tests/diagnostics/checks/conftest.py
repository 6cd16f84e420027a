"""Real runs, made once for all tests of the checks."""

from collections.abc import Callable

import pytest

from superpoint.diagnostics.case import Case
from tests.diagnostics.real_runs import RUNS


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Case]:
    made: dict[str, Case] = {}

    def get(name: str) -> Case:
        if name not in made:
            made[name] = RUNS[name](tmp_path_factory.mktemp(name) / "run")
        return made[name]

    return get
