from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint.data.sampler import StepSampler
from superpoint.errors import UserError


def test_step_owns_consecutive_indices() -> None:
    assert list(islice(StepSampler(4), 3)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_parts_of_two_processes() -> None:
    first = StepSampler(8, rank=0, world_size=2, accumulate=2)
    second = StepSampler(8, rank=1, world_size=2, accumulate=2)
    assert list(islice(first, 4)) == [[0, 1], [2, 3], [8, 9], [10, 11]]
    assert list(islice(second, 4)) == [[4, 5], [6, 7], [12, 13], [14, 15]]


@given(
    size=st.integers(1, 4),
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    start=st.integers(0, 1000),
    steps=st.integers(1, 5),
)
def test_every_step_is_covered_once_for_any_world_size(
    size: int, world: int, accumulate: int, start: int, steps: int
) -> None:
    batch = size * world * accumulate
    samplers = [
        StepSampler(batch, start_step=start, rank=rank, world_size=world, accumulate=accumulate)
        for rank in range(world)
    ]
    shares = [list(islice(sampler, steps * accumulate)) for sampler in samplers]
    for step in range(steps):
        seen = [index for share in shares for part in share[step * accumulate :][:accumulate] for index in part]
        assert seen == list(range((start + step) * batch, (start + step + 1) * batch))


def test_indivisible_batch_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"train.batch_size: found 6, expected a multiple of 4 \(2 processes x .*=2\)"):
        StepSampler(6, world_size=2, accumulate=2)
