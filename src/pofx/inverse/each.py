"""Measurements that were made by an operator of their own each: other masks, kernels, coils, matrices or functions.

Those of one operator are restored together; draws come back in the order of the measurements.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx.core.entry import float32
from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kind import take
from pofx.inverse.item_posterior import Drawn, ItemPosterior, check_draws, measured, real_items
from pofx.inverse.operator import Known, Operator, as_numbers
from pofx.inverse.operators.grid import Identity, Mask
from pofx.inverse.restoration import Check, Restoration, checked

AXES = {"coils": 3, "kernel": 2, "matrix": 2, "angles": 1}  # of an option for one measurement
STRIDE = 7919  # between the seeds of groups


@dataclass(frozen=True, eq=False)
class EachPosterior:
    """p(item | measurement) for several measurements, each of its own operator; made by `posterior`.

    Attributes:
        parts: one for every operator, with its measurements.
        rows: which measurements these are.
    """

    parts: tuple[ItemPosterior, ...]
    rows: tuple[np.ndarray, ...]

    @property
    def method(self) -> str:
        """How draws are made."""
        return ", ".join(dict.fromkeys(part.method for part in self.parts))

    @property
    def count(self) -> int:
        """Measurements."""
        return sum(len(one) for one in self.rows)

    def sample(self, n: int = 16, *, seed: int = 0) -> Restoration:
        """n draws of the item behind each measurement; the same seed gives the same draws."""
        for part in self.parts:
            check_draws(n, part.y)
        found, made = [], []
        with float32(), torch.no_grad():
            for k, part in enumerate(self.parts):
                assert part.y is not None
                drawn = part.drawn(part.y, int(n), int(seed) + STRIDE * k)
                made.append(part.restored(part.y, drawn, int(n)))
                found.append(drawn)
            return self._together(found, made, int(n))

    def at(self, y: Any) -> "EachPosterior":
        """The same for other measurements, as many."""
        if len(y) != self.count:
            raise DataError(f"there must be a measurement for each of {self.count} operators (got {len(y)})")
        parts = tuple(part.at(chosen(y, rows)) for part, rows in zip(self.parts, self.rows, strict=True))
        return replace(self, parts=parts)

    def check(self, items: Any, *, draws: int = 39, seed: int = 0) -> Check:
        """Measure held-out items, one by each operator, restore them, and compare: see `ItemPosterior.check`."""
        truth = real_items(self.parts[0].run, items)
        if len(truth) != self.count:
            raise DataError(f"there must be a held-out item for each of {self.count} operators (got {len(truth)})")
        parts = []
        for k, (part, rows) in enumerate(zip(self.parts, self.rows, strict=True)):
            y = measured(part.operator, part.noise, truth[rows], seed + 1 + STRIDE * k)
            parts.append(part.at(y))
        return checked(replace(self, parts=tuple(parts)).sample(draws, seed=seed), truth.numpy())

    def _together(self, found: Sequence[Drawn], made: Sequence[Restoration], n: int) -> Restoration:
        order = np.argsort(np.concatenate(self.rows))
        x = torch.cat([one.x.reshape(-1, n, *one.x.shape[1:]) for one in found])[torch.from_numpy(order)]
        shown = [one.measurement for one in made]
        if len({one.shape[1:] for one in shown}) > 1:  # nothing of one shape to look at
            shown = [np.full_like(one.mean, np.nan) for one in made]
        levels = [one.level for one in made if one.level is not None]
        return replace(
            made[0],
            samples=np.concatenate([one.samples for one in made])[order],
            items=self.parts[0].in_data_space(x.flatten(0, 1)),
            measurement=np.concatenate(shown)[order],
            residual=np.concatenate([one.residual for one in made])[order],
            method=self.method,
            draws=min((one.draws for one in made), key=("point", "approximate", "exact").index),
            evaluations=max(one.evaluations for one in made),
            level=np.concatenate(levels)[order] if len(levels) == len(made) else None,
        )


def each_of(
    operator: Any, options: Mapping[str, Any], shape: Sequence[int]
) -> tuple[list[tuple[Any, dict[str, Any]]], list[np.ndarray]] | None:
    """Operators with their options, and which measurements are theirs; None where one operator made all.

    Several are a list of operators, or an array among the options that has an axis more than that of one measurement.
    """
    if isinstance(operator, list | tuple) and not in_numbers(operator):
        if not operator:
            raise UsageError("there must be an operator for each measurement (got none): pass a list of them")
        first = {id(one) if not isinstance(one, str) else one: one for one in operator}
        which = np.array([list(first).index(id(one) if not isinstance(one, str) else one) for one in operator])
        return [(one, dict(options)) for one in first.values()], [np.flatnonzero(which == k) for k in range(len(first))]
    several = {name: np.asarray(value) for name, value in options.items() if _of_each(name, value, operator, shape)}
    if not several:
        return None
    counts = {name: len(value) for name, value in several.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"options of each measurement must be as many (got {counts})")
    flat = [value.reshape(len(value), -1) for value in several.values()]
    alike: dict[bytes, list[int]] = {}
    for i in range(len(flat[0])):
        alike.setdefault(b"".join(one[i].tobytes() for one in flat), []).append(i)
    groups = [np.array(rows) for rows in alike.values()]
    made = [(operator, {**options, **{name: value[rows[0]] for name, value in several.items()}}) for rows in groups]
    return made, groups


def has_gaps(y: Any) -> bool:
    """Whether some of the numbers of measurements are NaN."""
    array = as_numbers(y)
    return (array.is_floating_point() or array.is_complex()) and bool(torch.isnan(array).any())


def known_parts(operator: Operator, y: Any) -> tuple[list[Operator], list[np.ndarray], np.ndarray]:
    """Operators of the numbers that are not NaN, which measurements are theirs, and all measurements (n, …).

    Raises:
        DataError: measurements of another shape, or one of which nothing is known.
    """
    array = as_numbers(y)
    masked = operator.mask if isinstance(operator, Mask) else None
    direct = masked is not None or isinstance(operator, Identity)
    whole = direct and array.numel() % math.prod(operator.shape) == 0 and array.shape[-1] == operator.shape[-1]
    shape = operator.shape if whole else operator.out
    if not whole and (array.numel() % math.prod(shape) or not operator.alike(tuple(array.shape))):
        raise DataError(f"measurements must have shape (n, {', '.join(map(str, shape))}) (got {tuple(array.shape)})")
    array = array.reshape(-1, *shape)
    known = ~torch.isnan(array)
    known = known & masked if whole and masked is not None else known
    groups: dict[bytes, list[int]] = {}
    for i, one in enumerate(known):
        if not bool(one.any()):
            raise DataError(f"measurement {i} has no number that is known: leave it out")
        groups.setdefault(one.numpy().tobytes(), []).append(i)
    rows = [np.array(at) for at in groups.values()]
    made: list[Operator] = [
        Mask(operator.shape, known[at[0]]) if whole else Known(operator, known[at[0]]) for at in rows
    ]
    return made, rows, array.numpy()


def in_numbers(operator: Any) -> bool:
    """Whether a list is a matrix, row by row."""
    rows = isinstance(operator, list | tuple) and operator and all(isinstance(row, list | tuple) for row in operator)
    return bool(rows) and all(isinstance(value, Real) for row in operator for value in row)


def _of_each(name: str, value: Any, operator: Any, shape: Sequence[int]) -> bool:
    """Whether an option of a named operator has an entry for each measurement."""
    if not isinstance(operator, str) or not isinstance(value, np.ndarray | Tensor | list | tuple):
        return False
    ndim, size = np.ndim(value), np.shape(value)
    if name == "mask" and operator == "inpaint":
        places = len(shape) > 1 and ndim == len(shape) and size[0] > 1 and size[1:] == tuple(shape)[1:]
        return ndim == len(shape) + 1 or (places and shape[0] == 1)
    if name == "mask" and operator == "mri":
        return ndim == 3
    return name in AXES and ndim == AXES[name] + 1


def several_of(
    make: Callable[[Any, dict[str, Any], Any, Any], ItemPosterior],
    operators: list[tuple[Any, dict[str, Any]]],
    rows: list[np.ndarray],
    y: Any,
    condition: Any,
) -> EachPosterior:
    """A posterior of several operators, each made by `make(operator, options, its measurements, its conditions)`.

    Raises:
        DataError: not as many measurements as operators.
    """
    count = sum(len(one) for one in rows)
    if y is not None and len(y) != count:
        raise DataError(f"there must be a measurement for each of {count} operators (got {len(y)})")
    parts = []
    for (operator, options), at in zip(operators, rows, strict=True):
        own = None if y is None else chosen(y, at)
        parts.append(make(operator, options, own, conditions_at(condition, at, count)))
    return EachPosterior(tuple(parts), tuple(rows))


def chosen(y: Any, rows: np.ndarray) -> Any:
    """Some of the measurements."""
    if isinstance(y, Tensor):
        return y[torch.from_numpy(rows)]
    some = [np.asarray(y[int(i)]) for i in rows]
    return np.stack(some)


def conditions_at(condition: Any, rows: np.ndarray, n: int) -> Any:
    """The conditions of some of n items, where there is one for each."""
    if isinstance(condition, Items):
        return take(condition, rows)
    each = isinstance(condition, np.ndarray | Tensor | list) and len(condition) == n
    return [condition[int(i)] for i in rows] if each else condition
