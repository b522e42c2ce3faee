"""Numbers as classes and places inside them: quantile intervals with a uniform density, exponential tails, own values.

Within a class the density is fixed before training, so p(x) = P(class) f(x | class) is exact: a histogram whose cells
hold as many training rows each (Scott, 1992, "Multivariate density estimation", section 3.2.4), with the tails of an
exponential distribution and, on a grid, of a geometric one. On a grid steps are counted: a cell of one has its mass.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NARROWEST = 1e-9  # width of an interval, as a share of the spread


def intervals_of(
    x: np.ndarray, about: Mapping[str, Any], count: int, ends: Sequence[float | None] | None = None
) -> dict[str, Any]:
    """The classes of a column, of raw training values x (NaN where missing): own values, edges, scales of the tails.

    Args:
        count: intervals between the tails, at most.
        ends: of the support, None where there is none.
    """
    kind = about["type"]
    own = [*about.get("heavy", ()), *([None] if about.get("missing") and kind != "category" else [])]
    made: dict[str, Any] = {"own": own, "grid": kind != "real", "low": None, "high": None}
    closed = {"bool": 2, "category": len(about.get("categories", ())), "levels": len(about.get("values", ()))}
    x = np.sort(x[~np.isnan(x) & ~np.isin(x, about.get("heavy", ()))])
    if kind == "real":
        return made | _of_reals(x, count, ends or (None, None))
    if kind in ("bool", "category") or (kind == "levels" and closed[kind] <= count):
        return made | {"edges": list(range(closed[kind] + 1))}
    least, most = (0, closed[kind]) if kind == "levels" else _span(x)
    made["edges"] = list(range(least, most + 1)) if most - least <= count else _of_steps(x, least, most, count)
    if kind != "levels":
        made["low"], made["high"] = _beyond(made["edges"][:2]), _beyond(made["edges"][-2:])
    return made


def _span(x: np.ndarray) -> tuple[int, int]:
    return (int(x[0]), int(x[-1]) + 1) if len(x) else (0, 1)


def _beyond(edges: Sequence[float]) -> float:
    """The scale of a tail in which there are no training rows: half the width of the interval beside it."""
    return max(0.5 * (edges[1] - edges[0]), 0.5)


def _of_steps(x: np.ndarray, least: int, most: int, count: int) -> list[int]:
    """Edges between whole numbers; frequent ones lie in an interval of their own, the others in as many as are left."""
    values, counts = np.unique(x, return_counts=True)
    heavy = values[counts >= len(x) / count]
    rest, left = x[~np.isin(x, heavy)], max(count - len(heavy), 2)
    while True:
        edges = {least, most}
        if len(rest):
            edges |= set(
                np.quantile(rest, np.linspace(0, 1, left + 1)[1:-1], method="higher").astype(np.int64).tolist()
            )
        for value in heavy.astype(np.int64).tolist():
            edges |= {value, value + 1}
        over = len(edges) - 1 - count  # a frequent number within an interval cuts it in two
        if over <= 0 or left <= 2:
            return sorted(edges)
        left = max(left - over, 2)


def _of_reals(x: np.ndarray, count: int, ends: Sequence[float | None]) -> dict[str, Any]:
    if len(x) == 0:
        return {"edges": [-1.0, 1.0], "low": 1.0, "high": 1.0}
    spread = float(np.ptp(x)) or max(abs(float(x[0])), 1.0)
    shares = np.linspace(0, 1, count + 3)[1:-1]
    edges = np.unique(np.quantile(x, shares))
    edges = edges[np.insert(np.diff(edges) > NARROWEST * spread, 0, True)]
    if len(edges) < 2:
        edges = edges[0] + spread * np.array([-0.5, 0.5])
    found: dict[str, Any] = {}
    least, most = (None if end is None else float(end) for end in ends)
    if least is None:
        found["low"] = _excess(edges[0] - x[x < edges[0]], edges[1] - edges[0])
    else:
        edges = np.concatenate(([least], edges[edges > least]))
    if most is None:
        found["high"] = _excess(x[x >= edges[-1]] - edges[-1], edges[-1] - edges[-2])
    else:
        edges = np.concatenate((edges[edges < most], [most]))
    return found | {"edges": edges.tolist()}


def _excess(beyond: np.ndarray, width: float) -> float:
    """The scale of an exponential tail: the mean excess, shrunk towards the width beside it."""
    return float((beyond.sum() + width) / (len(beyond) + 1))


class Intervals:
    """Raw columns (n, d) ↔ classes int64 (n, d) with the log-density inside them."""

    def __init__(self, columns: Sequence[Mapping[str, Any]]) -> None:
        own = [[float("nan") if v is None else float(v) for v in c["own"]] for c in columns]
        self.edges = _padded([c["edges"] for c in columns], torch.inf)
        self.inner = torch.tensor([len(c["edges"]) - 1 for c in columns])
        self.own = _padded(own, torch.inf)
        self.states = torch.tensor([len(values) for values in own])
        self.low = torch.tensor([_scale(c["low"]) for c in columns], dtype=torch.float64)
        self.high = torch.tensor([_scale(c["high"]) for c in columns], dtype=torch.float64)
        self.grid = torch.tensor([bool(c["grid"]) for c in columns])
        self.first = self.states + self.low.isfinite()  # the class of the first interval
        self.counts = (self.first + self.inner + self.high.isfinite()).tolist()

    def to(self, device: torch.device) -> "Intervals":
        if self.edges.device != device:
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(self, name, value.to(device))
        return self

    def classes(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raw float64 (n, d) → classes int64 (n, d), and log f(x | class) (n, d)."""
        self.to(raw.device)
        x = raw + 0.5 * self.grid
        at = torch.searchsorted(self.edges, x.T.contiguous().nan_to_num(0.0), right=True).T - 1
        below, above = at < 0, at >= self.inner
        cell = at.clamp(min=0).minimum(self.inner - 1)
        left, right = self.edges.T.gather(0, cell), self.edges.T.gather(0, cell + 1)
        inside = -(right - left).log()
        scale = torch.where(below, self.low, self.high)
        away = torch.where(below, left - x, x - right)  # of a step, from its middle
        exponential = -scale.log() - away / scale
        ratio = scale / (1 + scale)  # geometric: mean `scale` steps beyond the first
        geometric = (away - 0.5).clamp(min=0) * ratio.log() - (1 + scale).log()
        tail = torch.where(self.grid, geometric, exponential)
        log_f = torch.where(below | above, tail, inside)
        found = self.first + torch.where(below, -1, torch.where(above, self.inner, cell))
        for k in range(int(self.states.max()) if len(self.states) else 0):
            own = self.own[:, k]
            here = (own.isnan() & raw.isnan()) | (own == raw)
            found, log_f = torch.where(here, k, found), log_f.masked_fill(here, 0.0)
        return found, log_f

    def values(self, classes: Tensor, u: Tensor) -> Tensor:
        """Classes int64 (n, d) and u in (0, 1) → raw float64 (n, d), drawn inside the class by u."""
        self.to(classes.device)
        at = classes - self.first
        below, above, own = at < 0, at >= self.inner, classes < self.states
        cell = at.clamp(min=0).minimum(self.inner - 1)
        left, right = self.edges.T.gather(0, cell), self.edges.T.gather(0, cell + 1)
        u = u.double()
        inside = left + u * (right - left)
        inside = torch.where(self.grid, inside.floor().minimum(right - 1), inside)
        scale = torch.where(below, self.low, self.high)
        steps = (u.log() / (scale / (1 + scale)).log()).floor()
        away = torch.where(self.grid, steps, -scale * u.log())
        outside = torch.where(below, left - away - self.grid.double(), right + away)
        found = torch.where(below | above, outside, inside)
        state = self.own.T.gather(0, classes.clamp(min=0).minimum((self.states - 1).clamp(min=0)))
        return torch.where(own, state, found)


def _scale(value: float | None) -> float:
    return torch.inf if value is None else float(value)


def _padded(rows: Sequence[Sequence[float]], with_: float) -> Tensor:
    wide = max([len(row) for row in rows] + [1]) + 1
    found = torch.full((len(rows), wide), with_, dtype=torch.float64)
    for i, row in enumerate(rows):
        found[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return found
