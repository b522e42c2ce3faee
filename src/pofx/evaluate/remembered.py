"""Results of functions of arrays, cached by the arrays' content: what several metrics need of one reference costs once.

The key is a hash of the bytes (about a millisecond a megabyte), so that an array changed in place is another one.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def remembered(most: int = 256) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that keeps the last `most` results of a pure function of arrays and hashable values."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        results: OrderedDict[Any, R] = OrderedDict()

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            key = tuple(map(_key, args)), tuple((name, _key(value)) for name, value in sorted(kwargs.items()))
            if key in results:
                results.move_to_end(key)
                return results[key]
            results[key] = found = function(*args, **kwargs)
            if len(results) > most:
                results.popitem(last=False)
            return found

        return call

    return decorate


def _key(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if not isinstance(value, np.ndarray):
        return value
    content = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16).digest()
    return value.dtype.str, value.shape, content
