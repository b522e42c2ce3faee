"""A measured number: what it is, how uncertain it is, which direction is better and where it was measured.

Standard errors come from splitting the items into halves, *without* replacement. The usual bootstrap draws with
replacement; the duplicates it makes look like copies to every nearest-neighbour, kernel or Fréchet statistic, so that
its interval may exclude the very number it was built around. Only the difference of the two halves is used: their level
is that of n/2, more biased. After McCarthy (1969, "Pseudo-replication: half samples") and Shao and Wu (1989, "A general
theory for jackknife variance estimation").
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from pofx.core.errors import UsageError

Better = Literal["lower", "higher", "none"]
Statistic = Callable[..., float]
HALF = 300  # items of the largest half of a half-sampling error


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
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    if isinstance(value, np.ndarray):
        plain = value.tolist()
        return plain if value.dtype.kind in "biu" else finite(plain)
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
    repeats: int = 12,
    seed: int = 0,
) -> float:
    """The standard error of statistic(x, y), both sides being samples: float.

    Each repeat splits x and y into two halves. These are two draws that know nothing of one another, whatever the
    statistic: a quarter of the square of the difference of what they read is on average half the variance at n/2, the
    variance at n of all that falls as 1/n. Where the statistic is of second order (a Fréchet distance at equality), it
    is too large by 2; see `vanishing`.

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
    repeats: int = 12,
    seed: int = 0,
) -> float:
    """The standard error of the mean of statistic(x, y) over pairs of blocks; see `halved`."""
    return halved(lambda x, y: {"value": statistic(x, y)}, pairs, repeats, seed)["value"]


def halved(
    statistics: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    repeats: int = 12,
    seed: int = 0,
) -> dict[str, float]:
    """The standard errors of several statistics, of each the mean over pairs of blocks, from the same halves.

    A block that is part of several pairs (the same array object) is split once per repeat, so that what the pairs share
    is not averaged away. Of blocks of more than 2 × HALF items the halves are two disjoint draws of HALF of the largest
    and as large a share of the others; the error is scaled to the full n as one that falls as 1 / √n (Politis and
    Romano, 1994), so that its cost does not grow with n.
    """
    share = min(0.5, HALF / max(len(block) for pair in pairs for block in pair))
    odd, _ = _splits(statistics, pairs, repeats, seed, share)
    return {name: float(np.sqrt(np.mean(np.square(of)) * 2 * share)) for name, of in odd.items()}


def vanishing(
    statistics: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    x: np.ndarray,
    y: np.ndarray,
    repeats: int = 12,
    seed: int = 0,
) -> dict[str, float]:
    """The standard errors of squared distances, whose first-order part vanishes where x and y are alike.

    What a distance reads on two halves that make up the whole is its value there, plus and minus a part that is linear
    in their difference, plus a quadratic part that is the same for both. The linear part's variance is too large by
    twice that of the quadratic part, for it starts from the estimate, not from the truth; the quadratic one is right.
    """
    odd, even = _splits(statistics, [(x, y)], repeats, seed, 0.5)
    found = {}
    for name in odd:
        linear, quadratic = float(np.mean(np.square(odd[name]))), float(np.var(even[name], ddof=1))
        found[name] = float(np.sqrt(max(linear - quadratic, quadratic)))
    return found


def _splits(
    statistics: Callable[[np.ndarray, np.ndarray], Mapping[str, float]],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    repeats: int,
    seed: int,
    share: float,
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Half the difference and half the sum of the values on the two parts of each split, by name.

    A part is a share (at most a half) of each block.
    """
    if repeats < 2:
        raise UsageError(f"repeats must be at least 2 (got {repeats})")
    if min(min(len(x), len(y)) for x, y in pairs) < 4:
        raise UsageError("half-sampling needs at least 4 items on each side: give more items")
    generator = np.random.default_rng(seed)
    odd: dict[str, list[float]] = {}
    even: dict[str, list[float]] = {}
    for _ in range(repeats):
        orders: dict[int, np.ndarray] = {}
        for block in (block for pair in pairs for block in pair):
            if id(block) not in orders:
                orders[id(block)] = generator.permutation(len(block))
        read = []
        for side in (0, 1):
            halves = {key: order[side::2][: max(int(share * len(order)), 2)] for key, order in orders.items()}
            values = [statistics(x[halves[id(x)]], y[halves[id(y)]]) for x, y in pairs]
            read.append({name: float(np.mean([v[name] for v in values])) for name in values[0]})
        for name in read[0]:
            odd.setdefault(name, []).append((read[0][name] - read[1][name]) / 2)
            even.setdefault(name, []).append((read[0][name] + read[1][name]) / 2)
    return odd, even
