"""Memory that requests have freed goes back to the system: glibc holds it in pieces between blocks that are in use, so
that a server under load grows by more than what is in use (measured: docs/benchmarks.md)."""

import ctypes
import sys
import time

EVERY = 15.0  # seconds


class Heap:
    """Gives freed memory back, at most once in `EVERY` seconds; other C libraries than glibc do so by themselves."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tidy(self) -> bool:
        """Give back what is free, where it is time to; whether it was."""
        now = time.monotonic()
        if now - self.last < EVERY:
            return False
        self.last = now
        if sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)
        return True
