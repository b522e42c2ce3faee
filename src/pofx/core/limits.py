"""Limits of what a constructor may build: memory and time are bounded before they are taken.

The number of tensors that modules register, their size together, and the size of every single tensor that is made on
DEBUG compared with a limit while the constructor runs; the first that exceeds it ends the construction.
"""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.overrides import TorchFunctionMode

from pofx.core.errors import UsageError

FACTORIES = frozenset({torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn})


@contextmanager
def limited(most_bytes: float, most_tensors: float, refuse: Callable[[str], Exception]) -> Iterator[None]:
    """Modules built here hold at most so many bytes in so many tensors; otherwise `refuse(reason)` is raised."""
    thread, total = threading.get_ident(), [0, 0, 0]

    def registered(_: nn.Module, name: str, tensor: Tensor | None) -> None:
        if threading.get_ident() == thread and tensor is not None:
            total[0] += tensor.numel() * tensor.element_size()
            total[1] += 1
            if total[0] > most_bytes:
                raise refuse(f"its tensors take more than {spoken_bytes(most_bytes)}")
            if total[1] > most_tensors:
                raise refuse(f"it has more than {most_tensors:,.0f} tensors")

    def nested(_: nn.Module, name: str, module: nn.Module | None) -> None:
        if threading.get_ident() == thread:
            total[2] += 1
            if total[2] > 16 * most_tensors + 1000:
                raise refuse(f"it has more than {16 * most_tensors + 1000:,.0f} parts")

    with ExitStack() as stack:
        for register, hook in (
            (register_module_parameter_registration_hook, registered),
            (register_module_buffer_registration_hook, registered),
            (register_module_module_registration_hook, nested),
        ):
            stack.callback(register(hook).remove)  # type: ignore[operator]
        stack.enter_context(_Sizes(most_bytes, refuse))
        yield


class _Sizes(TorchFunctionMode):
    """Refuses to make a tensor of more bytes than the limit: before it is made where its shape is an argument."""

    def __init__(self, most: float, refuse: Callable[[str], Exception]) -> None:
        super().__init__()
        self.most, self.refuse = most, refuse

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FACTORIES:
            shape = (kwargs or {}).get("size", args[0] if args and not isinstance(args[0], int) else args)
            if isinstance(shape, list | tuple) and all(isinstance(size, int) for size in shape):
                self._check(4 * math.prod(shape))
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else (out,):
            if isinstance(tensor, Tensor):
                self._check(tensor.numel() * tensor.element_size())
        return out

    def _check(self, size: int) -> None:
        if size > self.most:
            raise self.refuse(f"a tensor of {spoken_bytes(size)} is needed")


def check_room(size: float, what: str) -> None:
    """Refuse what would need more bytes than this machine has free; `what` is the beginning of the message.

    Raises:
        UsageError: it does not fit.
    """
    free = psutil.virtual_memory().available
    if size > free:
        raise UsageError(f"{what}: {spoken_bytes(size)}, {spoken_bytes(free)} are free): take a part at a time")


def spoken_bytes(size: float) -> str:
    """A size in words: "3.2 GB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"
