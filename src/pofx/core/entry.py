"""Entry points: the functions that users call. One decorator checks their arguments and makes torch's default dtype
float32 while they run, whatever it is in the program around them; `theirs` brings that back for a user's own function.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from pofx.core.errors import UsageError
from pofx.core.options import check_call, own_number, short

F = TypeVar("F", bound=Callable[..., Any])
REASON = 100  # characters of torch's own words
_changing = threading.Lock()  # the default dtype belongs to the whole process
_depth, _outer = 0, torch.float32


def public(function: F) -> F:
    """A function whose arguments are checked against their annotations, and which runs under float32."""

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        check_call(function, args, options)
        with float32():
            return function(*map(own_number, args), **{name: own_number(value) for name, value in options.items()})

    return cast(F, wrapper)


@contextmanager
def float32() -> Iterator[None]:
    """Events and weights are float32, whatever torch's default dtype in this process."""
    global _depth, _outer
    with _changing:
        if _depth == 0:
            _outer = torch.get_default_dtype()
            torch.set_default_dtype(torch.float32)
        _depth += 1
    try:
        yield
    finally:
        with _changing:
            _depth -= 1
            if _depth == 0:
                torch.set_default_dtype(_outer)


@contextmanager
def theirs() -> Iterator[torch.dtype]:
    """The default dtype of the program around an entry point, while a function of that program runs."""
    before, outer = torch.get_default_dtype(), _outer if _depth else torch.get_default_dtype()
    torch.set_default_dtype(outer)
    try:
        yield outer
    finally:
        torch.set_default_dtype(before)


def device_of(name: str | torch.device) -> torch.device:
    """The device of this name: "cpu", "cuda", "cuda:1", "mps"; "auto" is the GPU where there is one.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    name = name.lower() if isinstance(name, str) else name
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        about = f": {reason}" if len(reason) < REASON else ""  # some are the list of all that torch has heard of
        raise UsageError(
            f"device must be auto, cpu or one that is here (got {short(name)}{about}): pass device='auto'"
        ) from error
    return found
