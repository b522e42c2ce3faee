"""Events: what one x is, declared before any data is seen.

An event is a shape with a support: the real line, the interval [-1, 1], or a finite set of classes; a dict of events is
their product. Families see only these kinds; pixels, columns and letters become events in `represent/`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.core.errors import DataError


@dataclass(frozen=True)
class Continuous:
    """Real values: a float tensor of shape (n, *shape)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Bounded(Continuous):
    """Real values in [-1, 1]: a float tensor of shape (n, *shape)."""


@dataclass(frozen=True)
class Discrete:
    """Values in {0, …, classes - 1}: an int64 tensor of shape (n, *shape).

    `end` is the class, if any, after which a sequence holds nothing but that class: texts of any length, filled up.
    """

    shape: tuple[int, ...]
    classes: int
    end: int | None = None


Event = Continuous | Discrete | dict[str, "Event"]
KINDS: dict[str, type[Continuous] | type[Discrete]] = {
    "continuous": Continuous,
    "bounded": Bounded,
    "discrete": Discrete,
}


def dims(event: Event) -> int:
    """The number of scalars in one x."""
    if isinstance(event, dict):
        return sum(dims(part) for part in event.values())
    return math.prod(event.shape)


def check(event: Event, x: Any, what: str = "x") -> None:
    """Refuse a batch that is not of the event.

    Raises:
        DataError: wrong type, shape or dtype, values that are not finite or not in the support.
    """
    if isinstance(event, dict):
        if not isinstance(x, dict) or set(x) != set(event):
            raise DataError(f"{what} must be a dict with the keys {sorted(event)}")
        for key, part in event.items():
            check(part, x[key], f"{what}[{key!r}]")
        return
    if not isinstance(x, Tensor):
        raise DataError(f"{what} must be a tensor (got {type(x).__name__})")
    if tuple(x.shape[1:]) != event.shape or x.ndim == 0:
        raise DataError(f"{what} must have shape (n, {', '.join(map(str, event.shape))}) (got {tuple(x.shape)})")
    if isinstance(event, Discrete):
        if x.dtype != torch.int64:
            raise DataError(f"{what} must be int64 class indices (got {x.dtype})")
        if x.numel() and (x.min() < 0 or x.max() >= event.classes):
            raise DataError(f"{what} must lie in 0 to {event.classes - 1} (got {int(x.min())} to {int(x.max())})")
        return
    if not x.is_floating_point():
        raise DataError(f"{what} must be floating point (got {x.dtype})")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise DataError(f"{what} has {bad} values that are not finite: remove or fill them first")


def event_to_json(event: Event | None) -> Any:
    """Plain values for JSON; `event_from_json` is the inverse."""
    if event is None:
        return None
    if isinstance(event, dict):
        return {"kind": "product", "parts": {key: event_to_json(part) for key, part in event.items()}}
    kind = next(name for name, cls in KINDS.items() if type(event) is cls)
    plain: dict[str, Any] = {"kind": kind, "shape": list(event.shape)}
    return plain | {"classes": event.classes, "end": event.end} if isinstance(event, Discrete) else plain


def event_from_json(plain: Any) -> Event | None:
    """The event that `event_to_json` wrote."""
    if plain is None:
        return None
    if plain["kind"] == "product":
        parts: dict[str, Event] = {}
        for key, part in plain["parts"].items():
            event = event_from_json(part)
            assert event is not None
            parts[key] = event
        return parts
    shape = tuple(plain["shape"])
    if plain["kind"] == "discrete":
        return Discrete(shape, plain["classes"], plain.get("end"))
    return KINDS[plain["kind"]](shape)  # type: ignore[call-arg]
