"""A lock on a folder of results: one writer at a time, over processes and over machines that share the disk.

The lock is the kernel's (flock) on a small file: it is released however its holder ends, so that none is ever stale.
The file itself remains and names its last holder. A child that inherits the descriptor holds the lock, too.
"""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pofx.core.errors import PofxError, UsageError


@contextmanager
def lock(path: Path, what: str, *, wait: float = 0.0, waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
    """Hold the lock file `path`; yields its descriptor, which a child may inherit (`pass_fds`).

    Args:
        what: names the locked thing in the message for a second caller.
        wait: seconds to wait for another holder; `waiting` is called about ten times a second meanwhile.

    Raises:
        UsageError: another process holds the lock; it is named.
        PofxError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PofxError(f"could not lock {path}: {error}; choose another --out") from error
    try:
        end = time.monotonic() + wait
        while not _try(descriptor):
            if time.monotonic() >= end:
                holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip() or "another process"
                raise UsageError(f"{what} is in use by {holder}: wait for it, or choose another --out")
            waiting()
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
