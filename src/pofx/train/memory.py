"""Memory between the steps of a training on the CPU."""

import torch

_BYTES = 2**24  # glibc learns from blocks below 32 MiB


def reuse_freed_memory() -> None:
    """Raise glibc's thresholds so that memory freed by a step is reused by the next, not returned to the system.

    It sets them to the size of the largest block that was freed so far, so one block of 16 MiB, never touched, is
    enough; without it a small model's step can meet a thousand page faults, a seventh of its time. Other C libraries
    ignore it.
    """
    torch.empty(_BYTES, dtype=torch.uint8)
