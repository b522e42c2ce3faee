"""Data and parameters of a simulator as users have them, the shape of observations, and whether they are like what was
simulated."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError

LEAST_SEEN, BEYOND = 20, 0.5  # simulations that have a range, and shares of it beyond which an observation is odd


def names_of(value: Any) -> tuple[str, ...]:
    """The names of the numbers of a dict, a Series or a DataFrame, in their order; none of others."""
    found = value.keys() if isinstance(value, Mapping) else getattr(value, "columns", getattr(value, "index", None))
    named = found is not None and not callable(found) and len(found) > 0 and all(isinstance(n, str) for n in found)
    return tuple(found) if named else ()  # type: ignore[arg-type]


def numbers(value: Any, names: Sequence[str] = ()) -> np.ndarray:
    """Numbers float64 of an array, a tensor, lists, a dict, a Series or a DataFrame: of one row (d,) or several (n, d).

    Values that have names come in the order of `names`, where that is given. Those of a dict whose sizes differ, as
    of a spectrum and a count, are put one behind the other.

    Raises:
        DataError: values that are no real numbers, or other names.
    """
    own = names_of(value)
    if own and names and {*own} != {*names}:
        raise DataError(f"values must have the names {', '.join(names)} (got {', '.join(own)})")
    order = names if own and names else own
    if isinstance(value, Mapping):
        value = [value[name] for name in order] if order else list(value.values())
        if len({np.size(part) for part in value}) > 1:
            value = np.concatenate([numbers(part).reshape(-1) for part in value])
    elif own:
        value = (value[list(order)]).to_numpy()
        value = value[0] if value.ndim == 2 and len(value) == 1 else value
    elif hasattr(value, "detach"):  # of torch, with a gradient or on another device
        value = value.detach().cpu()
    try:
        found = np.asarray(value)
        if found.dtype.kind == "c":
            raise DataError("data are complex: return real and imaginary part")
        if found.dtype.kind in "USMm":
            raise TypeError(f"values of {found.dtype}")
        return found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"data must be real numbers, as many in every row ({error}): return an array") from None


def in_columns(value: Any) -> Any:
    """A dict of columns, numbers (n,) by name, as a DataFrame; others as they are."""
    if not isinstance(value, Mapping) or len({np.shape(column) for column in value.values()}) != 1:
        return value
    return pd.DataFrame({name: numbers(column).reshape(-1) for name, column in value.items()})


def in_rows(x: np.ndarray) -> np.ndarray:
    """Data (n,) as (n, 1), and those of more than two axes as (n, first, others)."""
    return x[:, None] if x.ndim == 1 else x.reshape(*x.shape[:2], -1) if x.ndim > 3 else x


def checked(x: Any, shape: tuple[int, ...], names: Sequence[str] = ()) -> np.ndarray:
    """An observation as the simulator's data are, whose numbers may have names.

    Raises:
        DataError: another shape, or values that are not finite.
    """
    found = numbers(x, names)
    if found.shape == (1, *shape) or found.size == math.prod(shape) == 1:
        found = found.reshape(shape)
    if found.shape != shape and len(shape) == 2 and found.size == math.prod(shape):
        found = in_rows(found[None])[0]
    if found.shape[1:] == shape:
        raise DataError(
            f"one observation has the shape {shape} (got {len(found)} of them): take one after the other, or "
            "`posterior.sample_batched`"
        )
    if found.shape != shape:
        raise DataError(f"the observation must have the shape {shape} of the simulated data (got {found.shape})")
    if not np.isfinite(found).all():
        raise DataError("the observation has values that are not finite: remove or fill them first")
    return found


def warn_beyond(x: np.ndarray, seen: np.ndarray) -> None:
    """Warn of an observation unlike all simulations: its posterior would be an extrapolation, however sure it looks."""
    if len(seen) < LEAST_SEEN:
        return
    low, high = seen.min(0), seen.max(0)
    beyond = np.maximum(low - x, x - high) / np.maximum(high - low, 1e-300)
    if (far := float(beyond.max())) > BEYOND:
        warnings.warn(
            f"the observation lies {far:.1f} times the range of the simulated data beyond it: the posterior is an "
            "extrapolation, check the simulator and the prior",
            stacklevel=4,
        )
