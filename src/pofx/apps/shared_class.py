"""Arrays of an event through a class that they share: found, and each part given a model that suits it.

A part of few values (a caption, a label) is the class itself, and the other parts are models given it, with Bayes' rule
back; else the class is a cluster of what parts have in common (`shared_code`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from pofx.apps.shared_code import shared_code
from pofx.apps.shared_parts import SharedParts
from pofx.core.errors import DataError
from pofx.core.items import Items
from pofx.data.in_memory import as_part
from pofx.data.kinds.levels import levels

FEW = 256  # values of a part that is a class, at most
OFTEN = 8  # events of each of them, on average, at least
SHARED = 16  # clusters, where no part is a class
TILES = "".join(chr(0x100 + k) for k in range(255))  # names of the classes of a grid
OWN: Mapping[str, Mapping[str, Any]] = {
    "gpt": {"width": 96, "layers": 3, "batch_size": 64},
    "nsf": {"layers": 3, "bins": 8, "width": 64},
}


def through_class(
    parts: Mapping[str, Any],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    progress: Any = False,
    seed: int = 0,
) -> SharedParts:
    """A model of parts by name, item i of each belonging together: whole numbers by `gpt`,
    floats (n, d) by `nsf`.

    Args:
        options: of the model of a part and its trainer, by part.
        minutes: of training, of all parts together; one by default.

    Raises:
        DataError: fewer than two parts, or not one of each for every event.
    """
    parts = {name: _checked(part, name) for name, part in parts.items()}
    if len(parts) < 2 or len({len(of) for of in parts.values()}) > 1:
        found = ", ".join(f"{name}: {len(of)}" for name, of in parts.items())
        raise DataError(f"parts must be at least two, equally many (got {found or 'none'}): give one of each")
    chosen = [(name, *of) for name, part in parts.items() if (of := few_values(part)) is not None]
    if chosen:
        name, rows, code = max(chosen, key=lambda one: len(one[1]))
        values, others = {name: rows}, {key: part for key, part in parts.items() if key != name}
    else:
        values, others = {}, dict(parts)
        first, *rest = (part.reshape(len(part), -1).astype(np.float64) for part in parts.values())
        code = shared_code(first, np.concatenate(rest, 1), SHARED, seed)
    items = {key: _items(part, key) for key, part in others.items()}
    models = {key: "nsf" if others[key].dtype.kind == "f" else "gpt" for key in items}
    own = {key: {**OWN[model], **(options or {}).get(key, {})} for key, model in models.items()}
    return SharedParts(models, options=own, minutes=minutes, steps=steps, progress=progress, seed=seed).fit(
        items, code, values
    )


def few_values(part: np.ndarray) -> tuple[np.ndarray, Int[np.ndarray, "n"]] | None:
    """The different values of a part (classes, …) and which of them each event has; None: they are many, or no whole
    numbers."""
    if part.dtype.kind == "f":
        return None
    rows, code = np.unique(part.reshape(len(part), -1), axis=0, return_inverse=True)
    if len(rows) > FEW or len(part) < OFTEN * len(rows):
        return None
    return rows.reshape(len(rows), *part.shape[1:]), np.asarray(code.reshape(-1), np.int64)


def _checked(part: Any, name: str) -> np.ndarray:
    """A part as an array: whole numbers from 0 with one to three axes, or floats with two."""
    array = np.asarray(part)
    array = array.astype(np.int64) if array.dtype.kind in "iub" else array
    numbers = array.dtype.kind == "f" and array.ndim == 2
    if not numbers and not (array.dtype.kind == "i" and 1 <= array.ndim <= 3 and array.size and array.min() >= 0):
        raise DataError(
            f"part {name} must be whole numbers from 0, (n,), (n, d) or (n, h, w), or floats (n, d) (got "
            f"{array.dtype} {array.shape}): learn a Joint of others"
        )
    return array


def _items(part: np.ndarray, name: str) -> Items:
    """A part as items: a grid of classes as tiles, which have two axes, other classes as tokens."""
    if part.ndim == 3 and part.max() < len(TILES):
        return levels(part, TILES[: int(part.max()) + 1], name=name)
    if part.ndim == 1:
        raise DataError(f"part {name} has more than {FEW} values, or each of them too rarely: learn a Joint")
    return as_part(part, name)
