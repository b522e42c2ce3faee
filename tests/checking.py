"""The checker of the import hook: a whole number is a float (PEP 484), as mypy reads it.

To check a call costs about as much as a layer of a tiny network. So a function is wrapped when it is first called, and
in each test its first calls are checked and then one in many: a training repeats the same shapes at every step.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

FIRST, THEN = 16, 50  # calls of a function in a test that are checked, and one in so many after them

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
_calls: dict[str, int] = {}  # of each function since the test began


def begin() -> None:
    """Another test begins."""
    _calls.clear()


def sparing(jaxtyped: Callable) -> Callable:
    """The decorator that the import hook puts on every class and function, for some calls."""

    def decorate(fn: Any = None, *, typechecker: Any) -> Any:
        if fn is None:
            return functools.partial(decorate, typechecker=typechecker)
        if inspect.isclass(fn):
            if dataclasses.is_dataclass(fn) and "__init__" in vars(fn):
                fn.__init__ = decorate(fn.__init__, typechecker=typechecker)
            return fn
        name, checked = f"{fn.__module__}.{fn.__qualname__}", None  # one count for all closures of one definition

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal checked
            _calls[name] = n = _calls.get(name, 0) + 1
            if n > FIRST and n % THEN:
                return fn(*args, **kwargs)
            if checked is None:
                checked = jaxtyped(fn, typechecker=typechecker)
            return checked(*args, **kwargs)

        return call

    return decorate


jaxtyping.jaxtyped = sparing(jaxtyping.jaxtyped)
