"""Which samples belong to which step, whatever the number of processes."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from superpoint.errors import UserError


class StepSampler(Sampler[list[int]]):
    """Endless batch sampler: step s owns the indices s * batch_size ... (s + 1) * batch_size - 1.

    Each process yields its contiguous share of a step as `accumulate` lists of equal length.
    Raises: UserError if `batch_size` cannot be shared out equally.
    """

    def __init__(
        self, batch_size: int, *, start_step: int = 0, rank: int = 0, world_size: int = 1, accumulate: int = 1
    ) -> None:
        parts = world_size * accumulate
        if batch_size % parts:
            raise UserError(
                f"train.batch_size: found {batch_size}, expected a multiple of {parts} "
                f"({world_size} processes x train.accumulate={accumulate})"
            )
        self.batch_size = batch_size
        self.start_step = start_step
        self.rank = rank
        self.accumulate = accumulate
        self.part_size = batch_size // parts

    def __iter__(self) -> Iterator[list[int]]:
        step = self.start_step
        while True:
            first = step * self.batch_size + self.rank * self.accumulate * self.part_size
            for part in range(self.accumulate):
                begin = first + part * self.part_size
                yield list(range(begin, begin + self.part_size))
            step += 1
