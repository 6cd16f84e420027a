"""How many views fit into the memory, and the return of freed memory to the system."""

import ctypes
import platform
from pathlib import Path

import torch

from superpoint.errors import UserError

BYTES_PER_PIXEL = 700  # of a view: two fp32 activations of 64 channels at full resolution, grid, maps; VGG encoder
SHARE = 4  # a quarter of the free memory is used
MOST = {"cpu": 512 << 20, "cuda": 4 << 30}  # bytes; more at once is no faster
WHOLE = 3 << 30  # bytes: larger images go through the network in tiles, wherever there is more memory
TILE = 1024  # px
UNKNOWN = 2 << 30  # bytes that are taken to be free where the system does not say


class NoRoomError(UserError):
    """An image whose views do not fit into the memory; others may."""


def largest_chunk(megabytes: int, size: tuple[int, int], device: torch.device, name: str) -> int:
    """Return how many pixels of views go through the network together.

    Args:
        megabytes: for them; 0 = a quarter of what is free on `device`, at most 512 MB on a CPU and 4 GB on a GPU.
        size: (height, width) of the largest view.

    Raises: NoRoomError if not even one view fits.
    """
    height, width = size
    free, needed = free_memory(device), height * width * BYTES_PER_PIXEL
    if needed > free:
        raise NoRoomError(
            f"{name}: a view of {width}x{height} pixels needs about {needed / 2**30:.1f} GB, but {free / 2**30:.1f} GB "
            "are free; resize the image"
        )
    budget = megabytes << 20 if megabytes else min(free // SHARE, MOST.get(device.type, MOST["cpu"]))
    return budget // BYTES_PER_PIXEL


def fitting_tile(tile: int | str, size: tuple[int, int], device: torch.device, name: str) -> int:
    """Return the side in pixels of the tiles that an image of `size` (height, width) is seen in, 0 = whole.

    "auto" is TILE where the whole image would take more than WHOLE, or than half of what is free.

    Raises: NoRoomError if not even a tile fits, or the image with `tile` 0.
    """
    if tile == "auto":
        needed = size[0] * size[1] * BYTES_PER_PIXEL
        tile = TILE if needed > WHOLE or needed > free_memory(device) // 2 else 0
    side = int(tile)
    largest_chunk(0, (min(size[0], side), min(size[1], side)) if side else size, device, name)
    return side


def give_back_freed_memory() -> bool:
    """Return freed memory to the system; return whether the C library is glibc, which else keeps it.

    Images of ever other sizes leave gaps that fit none of the next: 448 MB after 300 images with torch.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def free_memory(
    device: torch.device, meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")
) -> int:
    """Return the free bytes of the GPU, or of the machine or its container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _entries(meminfo).get("MemAvailable:", UNKNOWN >> 10) << 10
    # Control groups of version 2, then 1. Inactive pages of files count as used, but are given up on demand.
    for limit, used, stat, reclaimable in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        if (cgroup / limit).is_file() and (cgroup / limit).read_text().strip().isdigit():
            rest = int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
            free = min(free, rest + _entries(cgroup / stat).get(reclaimable, 0))
    return max(free, 0)


def _entries(path: Path) -> dict[str, int]:
    """Lines "name number ..." of a file, {} if there is none."""
    lines = (line.split() for line in path.read_text().splitlines()) if path.is_file() else ()
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
