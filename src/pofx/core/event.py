"""Events: what one x is, declared before any data is seen.

An event is a shape with a support: the real line, the interval [-1, 1], or a finite set of classes; a dict of events is
their product. Families see only these kinds; pixels, columns and letters become events in `represent/`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.options import OneOf, Range, Size, check_value

MOST_AXES, MOST_DIMS = 8, 1 << 31  # of an event that is read from a file
Classes = Annotated[int, Range(1, 1 << 24)]


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

    `classes` may be a tuple, a count for each dimension in row-major order: the categories of a table's columns.
    `end` is the class, if any, after which a sequence holds nothing but that class: texts of any length, filled up.
    """

    shape: tuple[int, ...]
    classes: int | tuple[int, ...]
    end: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.classes, int):
            object.__setattr__(self, "classes", tuple(int(k) for k in self.classes))
            if len(self.counts) != math.prod(self.shape) or not self.counts:
                raise DataError(
                    f"classes must be one number or one per dimension, {math.prod(self.shape)} of shape {self.shape} "
                    f"(got {len(self.counts)}): pass one count for each dimension"
                )
            if self.end is not None:
                raise DataError("a sequence with an end has one number of classes: pass classes as a whole number")
        if (self.classes if isinstance(self.classes, int) else min(self.classes)) < 1:
            raise DataError(f"classes must be at least 1 (got {self.classes}): pass the number of values that occur")

    @property
    def largest(self) -> int:
        """The largest number of classes of a dimension: the size of a table that serves all."""
        return self.classes if isinstance(self.classes, int) else max(self.classes)

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of classes of every dimension, in row-major order."""
        return (self.classes,) * math.prod(self.shape) if isinstance(self.classes, int) else self.classes

    @property
    def by_dimension(self) -> bool:
        """Whether the number of classes is stated for every dimension."""
        return not isinstance(self.classes, int)

    @property
    def uneven(self) -> bool:
        """Whether dimensions differ in their number of classes."""
        return not isinstance(self.classes, int) and len(set(self.classes)) > 1


Event = Continuous | Discrete | dict[str, "Event"]
Condition = Shaped[Tensor, "n *condition"] | dict[str, Shaped[Tensor, "n ..."]]  # values of a condition's event
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
        if x.numel() and (x.min() < 0 or x.max() >= event.largest):
            raise DataError(f"{what} must lie in 0 to {event.largest - 1} (got {int(x.min())} to {int(x.max())})")
        if event.uneven:
            over = (x.flatten(1) >= torch.tensor(event.counts, device=x.device)).any(0)
            if bool(over.any()):
                at = int(over.nonzero()[0])
                raise DataError(
                    f"{what} must lie in 0 to {event.counts[at] - 1} in dimension {at} "
                    f"(got {int(x.flatten(1)[:, at].max())})"
                )
        return
    if not x.is_floating_point():
        raise DataError(f"{what} must be floating point (got {x.dtype})")
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise DataError(f"{what} has {bad} values that are not finite: remove or fill them first")


def each(x: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The values of an event, a tensor or a dict of such, with every tensor changed."""
    return {key: each(part, change) for key, part in x.items()} if isinstance(x, dict) else change(x)


def count(x: Any) -> int:
    """The number of items in a tensor or a dict of tensors."""
    return count(next(iter(x.values()))) if isinstance(x, dict) else len(x)


def select(x: Any, index: Any) -> Any:
    """The items at these positions: a slice or an index tensor."""
    return each(x, lambda part: part[index])


def concatenated(parts: Sequence[Any]) -> Any:
    """Batches of the same event, one after the other."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: concatenated([part[key] for part in parts]) for key in first}
    return torch.cat(list(parts))


def event_to_json(event: Event | None) -> Any:
    """Plain values for JSON; `event_from_json` is the inverse."""
    if event is None:
        return None
    if isinstance(event, dict):
        return {"kind": "product", "parts": {key: event_to_json(part) for key, part in event.items()}}
    kind = next(name for name, cls in KINDS.items() if type(event) is cls)
    plain: dict[str, Any] = {"kind": kind, "shape": list(event.shape)}
    if not isinstance(event, Discrete):
        return plain
    classes = event.classes if isinstance(event.classes, int) else list(event.classes)
    return plain | {"classes": classes, "end": event.end}


def event_from_json(plain: Any) -> Event | None:
    """The event that `event_to_json` wrote.

    Raises:
        UsageError: values that no event has.
    """
    if plain is None:
        return None
    check_value("event", plain, dict)
    if plain.get("kind") == "product":
        check_value("event: parts", plain.get("parts"), dict[str, dict])
        parts: dict[str, Event] = {}
        for key, part in plain["parts"].items():
            event = event_from_json(part)
            assert event is not None
            parts[key] = event
        return parts
    check_value("event: kind", plain.get("kind"), Annotated[str, OneOf(*KINDS)])
    check_value("event: shape", plain.get("shape"), tuple[Size, ...])
    shape = tuple(plain["shape"])
    if len(shape) > MOST_AXES or math.prod(shape) > MOST_DIMS:
        raise UsageError(f"event: shape must have at most {MOST_AXES} axes and {MOST_DIMS} numbers (got {list(shape)})")
    if plain["kind"] == "discrete":
        classes, end = plain.get("classes"), plain.get("end")
        check_value("event: classes", classes, Classes | tuple[Classes, ...])
        event = Discrete(shape, classes if isinstance(classes, int) else tuple(classes), end)
        check_value("event: end", end, Annotated[int, Range(0, event.largest - 1)] | None)
        return event
    return KINDS[plain["kind"]](shape)  # type: ignore[call-arg]
