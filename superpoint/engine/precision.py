"""Where a run computes and in which number format: device, processes, bfloat16 or float32."""

from __future__ import annotations

import atexit
import os
from typing import Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from superpoint.backends.cpu import native_bf16_instructions
from superpoint.config import TrainConfig
from superpoint.engine.memory import keep_freed_memory
from superpoint.engine.processes import disconnect
from superpoint.errors import UserError

Precision = Literal["bf16-mixed", "32-true"]


def make_fabric(config: TrainConfig) -> Fabric:
    """Launch Fabric for one plain process, or for the processes that torchrun started (on one or several machines).

    Under torchrun the numbers of machines and of processes per machine are read from its environment; they talk by gloo
    on CPUs and NCCL on GPUs. Raises UserError if the device asked for is absent.
    """
    device = choose_device(config.device)
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


def choose_device(name: str) -> str:
    """Return the device for `train.device`; "auto" is a CUDA GPU if there is one, else the CPU (never MPS)."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device: found 'cuda', but torch sees no CUDA GPU; use 'cpu' or 'auto'")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UserError("train.device: found 'mps', but torch sees no Apple GPU; use 'cpu' or 'auto'")
    return name


def choose_precision(name: str, device: str) -> tuple[Precision, str]:
    """Return Fabric's name of the precision for `train.precision` on `device`, and the reason in words.

    "auto" is bfloat16 autocast where the hardware multiplies bfloat16 natively. Emulated bfloat16 does run, but on a
    CPU with AVX-512 and no AVX512_BF16 it was 2.5 times slower than float32, which is why oneDNN's own "is bf16
    supported" (it says yes there) is not asked.
    """
    if name == "fp32":
        return "32-true", "as configured"
    if name == "bf16":
        return "bf16-mixed", "as configured"
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16-mixed", "the GPU has native bf16"
        return "32-true", "the GPU has no native bf16"
    if device == "cpu":
        instructions = native_bf16_instructions()
        if instructions:
            return "bf16-mixed", f"the CPU has native bf16: {', '.join(instructions)}"
        return "32-true", "the CPU has no native bf16 instructions"
    return "32-true", f"bf16 is not chosen by itself on {device}"
