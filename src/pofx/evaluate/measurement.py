"""A measured number: what it is, how uncertain it is, which direction is better and where it was measured.

Standard errors come from half-sampling *without* replacement. The usual bootstrap draws with replacement; the
duplicates it makes look like copies to every nearest-neighbour, kernel or Fréchet statistic, so that its interval may
exclude the very number it was built around. Only the spread of the halves is used: their level is
that of n/2, more biased. Source: the delete-half jackknife (Shao and Wu, 1989, "A general theory for
jackknife variance estimation").
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from pofx.core.errors import UsageError

Better = Literal["lower", "higher", "none"]
Statistic = Callable[..., float]


@dataclass(frozen=True)
class Measurement:
    """One number of a report. `space` is the feature space's name and hash; `n` the number of items it rests on."""

    metric: str
    value: float
    stderr: float | None = None
    better: Better = "none"
    space: str | None = None
    n: int = 0
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher", "none"):
            raise UsageError(f"better is 'lower', 'higher' or 'none' (got '{self.better}')")

    def json(self) -> dict[str, Any]:
        """Plain values; numbers that are not finite become None, for JSON has none."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


def finite(value: Any) -> Any:
    """The value with numpy scalars as Python's and with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.ndarray):
        return finite(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    json.dumps(value)  # anything else must be plain already
    return value


def half_sampling(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    x: np.ndarray,
    y: np.ndarray,
    repeats: int = 20,
    seed: int = 0,
) -> float:
    """The standard error of statistic(x, y), both sides being samples: float.

    Each repeat computes the statistic on half of x and half of y, drawn without replacement. For a statistic whose
    variance goes as 1/n, a sample of b out of n has the variance (1/b - 1/n) · n around the full one; the factor
    sqrt(b / (n - b)), which is 1 for even n, brings it to size n.

    Args:
        statistic: (a, b) arrays of items → a number.
        x, y: items, (n, …) and (m, …).

    Raises:
        UsageError: fewer than 4 items on a side, or fewer than 2 repeats.
    """
    return blocked_half_sampling(statistic, [(x, y)], repeats, seed)


def blocked_half_sampling(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    repeats: int = 20,
    seed: int = 0,
) -> float:
    """The standard error of the mean of statistic(x, y) over pairs of blocks; see `halved`."""
    return halved(lambda x, y: {"value": statistic(x, y)}, pairs, repeats, seed)["value"]


def halved(
    statistics: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    repeats: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """The standard errors of several statistics, of each the mean over pairs of blocks, from the same halves.

    A block that stands in several pairs (the same array object) is halved once per repeat, so that what the pairs share
    is not averaged away.
    """
    if repeats < 2:
        raise UsageError(f"repeats must be at least 2 (got {repeats})")
    if min(min(len(x), len(y)) for x, y in pairs) < 4:
        raise UsageError("half-sampling needs at least 4 items on each side: give more items")
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(repeats):
        halves: dict[int, np.ndarray] = {}

        def half(block: np.ndarray, halves: dict[int, np.ndarray] = halves) -> np.ndarray:
            if id(block) not in halves:
                halves[id(block)] = block[generator.permutation(len(block))[: len(block) // 2]]
            return halves[id(block)]

        values = [statistics(half(x), half(y)) for x, y in pairs]
        for name in values[0]:
            drawn.setdefault(name, []).append(float(np.mean([v[name] for v in values])))
    n = len(pairs[0][0])
    scale = np.sqrt((n // 2) / (n - n // 2))
    return {name: float(np.std(of, ddof=1) * scale) for name, of in drawn.items()}
