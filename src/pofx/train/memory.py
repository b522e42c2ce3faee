"""Memory between the steps of a training on the CPU."""

import torch

_BYTES = 2**24  # glibc learns from blocks below 32 MiB


def keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next step, instead of giving it back and asking again.

    glibc raises its thresholds for both to the size of the largest block that was freed so far, so one block of
    16 MiB, never touched, is enough; without it a small model's step can meet a thousand page faults, a seventh of its
    time. Elsewhere it does nothing.
    """
    torch.empty(_BYTES, dtype=torch.uint8)
