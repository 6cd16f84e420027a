"""Pairs a second and peak memory of joint training: a naive dense hinge against ours, in one run.

    python benchmarks/joint_training.py [--encoder lite] [--batch 2] [--steps 4]

naive         the network in contiguous fp32, and the paper's hinge over all pairs of cells as published code writes it:
              descriptors broadcast to [B, D, N, N] and multiplied
dense hinge   the same loss by one product of matrices, channels_last, bf16 where the CPU has it
dual softmax  ours by default: 192 correspondences a pair, channels_last, bf16 where the CPU has it

Each variant runs in a process of its own, as the peak of memory is one of a process; what it holds before the first
step is taken off. The last table is the loss alone (forward and backward) at the paper's 240x320.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import default_collate

from superpoint.config import DescriptorLossConfig, ModelConfig, PairDataConfig
from superpoint.data.training_set import training_pairs
from superpoint.engine.fabric import choose_precision
from superpoint.geometry.cells import CELL
from superpoint.losses import dense_hinge_loss, detector_loss
from superpoint.losses.descriptor import cell_centres, map_points
from superpoint.models import build_model
from superpoint.training.objectives import JointObjective

WARM_UP = 1  # steps that are not counted
DIM = 256
VARIANTS = ("naive", "dense hinge", "dual softmax")
LOSS_BATCH, LOSS_HEIGHT, LOSS_WIDTH = 8, 240, 320
NAIVE_BATCH = 1  # of the naive loss at that size: 1.5 GB for each of the tensors it keeps a pair


def naive_hinge(first: Tensor, second: Tensor, h_a_b: Tensor, valid_a: Tensor, valid_b: Tensor) -> Tensor:
    """The hinge as it is usually published: every descriptor of a against every one of b, by broadcasting."""
    batch, dim, rows, columns = first.shape
    count = rows * columns
    centres = cell_centres(first)
    mapped = map_points(centres[None], h_a_b)
    same = (mapped[:, :, None] - centres[None, None]).norm(dim=-1) <= CELL  # [B, N, N]
    similarity = (first.reshape(batch, dim, count, 1) * second.reshape(batch, dim, 1, count)).sum(dim=1)
    cost = torch.where(same, 250 * (1 - similarity).clamp_min(0), (similarity - 0.2).clamp_min(0))
    counted = valid_a.flatten(1)[:, :, None] & valid_b.flatten(1)[:, None, :]
    return (cost * counted).sum() / counted.sum()


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train_steps(variant: str, encoder: str, batch: int, steps: int) -> dict[str, float]:
    """Steps on pairs of synthetic shapes, drawn beforehand: what is compared is network and loss."""
    dataset = training_pairs(PairDataConfig(curriculum=0), 0)
    pairs = default_collate([dataset[index] for index in range(batch)])
    model = build_model(
        ModelConfig(encoder=encoder, head_channels=256 if encoder == "vgg" else 128, descriptor_dim=DIM)
    )
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    objective = JointObjective(descriptor=DescriptorLossConfig(variant.replace(" ", "_")))
    ours, half = variant != "naive", choose_precision("auto", "cpu")[0] == "bf16-mixed"
    if ours:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def naive_loss() -> Tensor:
        both = {key: torch.cat([pairs[f"{key}_a"], pairs[f"{key}_b"]]) for key in ("image", "target", "valid")}
        output = model(both["image"].float() / 255)
        maps = output["descriptors"].chunk(2)
        detector = detector_loss(output["logits"], both["target"], both["valid"])[0]
        return detector + naive_hinge(maps[0], maps[1], pairs["h_a_b"], pairs["valid_a"], pairs["valid_b"])

    before, start = megabytes(), 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            start = time.perf_counter()
        optimizer.zero_grad()
        if ours:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = objective(model, pairs)["loss"]
        else:
            loss = naive_loss()
        loss.backward()
        optimizer.step()
    return {"pairs_per_s": steps * batch / (time.perf_counter() - start), "mb": megabytes() - before}


def loss_alone(variant: str, batch: int) -> dict[str, float]:
    """Forward and backward of the dense hinge on descriptors of 240x320."""
    generator = torch.Generator().manual_seed(0)
    shape = batch, DIM, LOSS_HEIGHT // CELL, LOSS_WIDTH // CELL
    first, second = (F.normalize(torch.randn(shape, generator=generator), dim=1).requires_grad_() for _ in range(2))
    h_a_b, valid = torch.eye(3).expand(batch, 3, 3), torch.ones(batch, *shape[2:], dtype=torch.bool)
    before, start = megabytes(), time.perf_counter()
    if variant == "naive":
        loss = naive_hinge(first, second, h_a_b, valid, valid)
    else:
        loss = dense_hinge_loss(first, second, h_a_b, valid, valid)[0]
    loss.backward()
    return {"seconds": time.perf_counter() - start, "mb": megabytes() - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--encoder", default="lite")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, variant = arguments.child.split("/")
        if kind == "loss":
            found = loss_alone(variant, arguments.batch)
        else:
            found = train_steps(variant, arguments.encoder, arguments.batch, arguments.steps)
        print(json.dumps(found))
        return

    def child(name: str, batch: int) -> dict[str, float]:
        command = [sys.executable, __file__, "--child", name, "--encoder", arguments.encoder]
        command += ["--batch", str(batch), "--steps", str(arguments.steps)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(output.splitlines()[-1])

    print(f"training steps: {arguments.encoder}, {DIM}-D, views of 192x192, {arguments.batch} pairs a step")
    reference = 0.0
    for variant in VARIANTS:
        found = child(f"train/{variant}", arguments.batch)
        reference = reference or found["pairs_per_s"]
        ratio = found["pairs_per_s"] / reference
        print(f"  {variant:13s} {found['pairs_per_s']:7.2f} pairs/s  x {ratio:5.2f}  {found['mb']:7.0f} MB", flush=True)
    print(f"dense hinge alone, forward and backward, {LOSS_HEIGHT}x{LOSS_WIDTH}, {DIM}-D")
    for variant, batch in (("naive", NAIVE_BATCH), ("ours", NAIVE_BATCH), ("ours", LOSS_BATCH)):
        found = child(f"loss/{variant}", batch)
        print(f"  {variant:13s} batch {batch}: {found['seconds']:6.2f} s, {found['mb']:7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
