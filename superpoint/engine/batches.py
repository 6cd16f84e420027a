"""Batches for the loop: loader processes that cannot disturb it."""

import signal
from collections.abc import Iterator

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from superpoint.data.sampler import StepSampler
from superpoint.engine.interrupt import SIGNALS

GPU_WORKERS = 8


def step_batches(
    dataset: Dataset[dict[str, Tensor]], sampler: StepSampler, *, workers: int, device: torch.device, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Yield batches on the host without end, in the order of `sampler`.

    Args:
        device: where the batches will go; decides about pinned memory and the default of `workers`.
        workers: loader processes; 0 = load in this process, -1 = one on a CPU, up to 8 beside a GPU.
        seed: of the loader's own generator; no sample depends on it.
    """
    if workers < 0:
        workers = 1 if device.type == "cpu" else min(GPU_WORKERS, torch.multiprocessing.cpu_count())
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        prefetch_factor=4 if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator().manual_seed(seed),
    )  # one endless epoch: the workers live as long as the iterator
    return iter(loader)


def _prepare_worker(_: int) -> None:
    """One thread, and deaf to stop signals: the training process still needs batches to end its step."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
