"""Where a run computes and in which number format: device, processes, bfloat16 or float32."""

import atexit
import ctypes
import os
import platform
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from superpoint.backends.choice import choose_device, native_bf16
from superpoint.config import TrainConfig
from superpoint.engine.processes import disconnect
from superpoint.errors import UserError

Precision = Literal["bf16-mixed", "32-true"]

# mallopt parameters of glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_MMAP_MAX = -4


def make_fabric(config: TrainConfig) -> Fabric:
    """Launch Fabric for one plain process, or for those of torchrun: by gloo on CPUs, NCCL on GPUs.

    Raises: UserError if the device asked for is absent.
    """
    device = choose_device(config.device, "train.device")
    memory = ""
    if device == "cpu":
        memory = ", freed memory kept" if keep_freed_memory() else ", freed memory given back (needs glibc)"
    precision, reason = choose_precision(config.precision, device)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        machines = int(os.environ["WORLD_SIZE"]) // processes
        cluster = TorchElasticEnvironment()
    else:
        processes, machines, cluster = 1, 1, LightningEnvironment()
    if device == "cuda" and processes > torch.cuda.device_count():
        raise UserError(f"torchrun: {processes} processes per machine, but {torch.cuda.device_count()} GPUs")
    fabric = Fabric(
        accelerator=device,
        devices=processes,
        num_nodes=machines,
        strategy="ddp" if processes * machines > 1 else "auto",
        precision=precision,
        plugins=[cluster],
    )
    fabric.launch()
    if fabric.world_size > 1 and device == "cpu":  # NCCL's processes Fabric itself disconnects
        atexit.register(disconnect)
    fabric.print(f"device {device} x {fabric.world_size}, precision {precision} ({reason}){memory}")
    return fabric


def choose_precision(name: str, device: str) -> tuple[Precision, str]:
    """Return Fabric's name of the precision for `train.precision` on `device`, and the reason in words.

    "auto" is bfloat16 autocast where the hardware multiplies it natively: emulated it was 2.5 times slower than fp32.
    """
    if name != "auto":
        return "bf16-mixed" if name == "bf16" else "32-true", "as configured"
    native = native_bf16(device)
    return ("bf16-mixed", f"native bf16: {native}") if native else ("32-true", "no native bf16")


def keep_freed_memory() -> bool:
    """Stop glibc from giving freed blocks back to the kernel, for the rest of this process.

    Each step allocates the same activations anew; faulting in and zeroing their pages took half of a VGG step on 2
    cores. The process keeps its peak size until it ends.

    Returns: whether it was done; False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # Before glibc 2.35 the threshold may not exceed 32 MB; then no block at all is mapped on its own.
    unmapped = libc.mallopt(M_MMAP_THRESHOLD, 1 << 30) or libc.mallopt(M_MMAP_MAX, 0)
    return bool(libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1) and unmapped)
