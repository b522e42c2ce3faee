"""Analytic targets for every kind of event: known samplers with known entropy, shifted by the condition."""

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from pofx.core.event import Bounded, Continuous, Discrete, Event, dims
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation

CLASSES = 3  # of the condition


@dataclass(frozen=True)
class Truth:
    """A distribution over an event: draw(n, condition, seed) and, where known, its entropy in nats."""

    event: Event

    def mean(self, condition: Tensor | None) -> Tensor:
        n = 1 if condition is None else len(condition)
        shift = torch.zeros(n) if condition is None else condition.float() - 1
        return shift.reshape(n, *[1] * len(self.event.shape))

    def draw(self, n: int, condition: Tensor | None = None, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if isinstance(self.event, Discrete):
            states, probabilities = self.table(0 if condition is None else None)
            if condition is None:
                return states[torch.multinomial(probabilities, n, True, generator=generator)]
            drawn = torch.stack([self.draw_class(int(c), generator) for c in condition])
            return drawn
        z = torch.randn(n, *self.event.shape, generator=generator)
        if self.event.shape == (2,):  # correlated
            z = torch.stack((z[:, 0], 0.6 * z[:, 0] + 0.5 * z[:, 1]), 1)
            return z + self.mean(condition)
        x = 0.3 * z + 0.3 * self.mean(condition)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x

    def draw_class(self, c: int, generator: torch.Generator) -> Tensor:
        states, probabilities = self.table(c)
        return states[torch.multinomial(probabilities, 1, True, generator=generator)[0]]

    def table(self, c: int | None) -> tuple[Tensor, Tensor]:
        return _table(self.event, c or 0)

    @property
    def entropy(self) -> float | None:
        if isinstance(self.event, Discrete):
            p = self.table(0)[1]
            return float(-(p * p.log()).sum())
        if self.event.shape == (2,):
            return math.log(2 * math.pi * math.e) + math.log(0.5)
        return None


@cache
def enumerate_states(event: Discrete) -> Tensor:
    """Every x of a tiny discrete event: int64 (classes^dims, *shape)."""
    flat = list(itertools.product(range(event.largest), repeat=dims(event)))
    return torch.tensor(flat).reshape(-1, *event.shape)


@cache
def _table(event: Discrete, c: int) -> tuple[Tensor, Tensor]:
    """Every state and its probability under condition c: neighbours like to agree, and like class c."""
    states = enumerate_states(event)
    flat = states.flatten(1)
    agree = (flat[:, 1:] == flat[:, :-1]).float().sum(1)
    energy = agree + (flat == min(c, event.largest - 1)).float().sum(1) * 0.7
    return states, energy.softmax(0)


def grid(half: float = 9.0, points: int = 161) -> tuple[Tensor, float]:
    """Points of a square grid in the plane and the area of a cell."""
    axis = torch.linspace(-half, half, points)
    xy = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    return xy, float((axis[1] - axis[0]) ** 2)


def lattice(radius: float = 4.6, step: float = 0.7) -> tuple[Tensor, float, Tensor]:
    """Few points in an ellipse of that many standard deviations of the truth in the plane, which has more than 0.9999
    of it under any condition; the area of a cell, and which points are the checkerboard of half as many.

    The trapezoid rule's error for a normal density of unit width is 2 exp(-2 π² / step²): below 1e-13, and 1e-6 on the
    checkerboard.
    """
    steps = int(radius / step)
    whole = torch.arange(-steps, steps + 1)
    at = torch.stack(torch.meshgrid(whole, whole, indexing="ij"), -1).reshape(-1, 2)
    at = at[(at * step).square().sum(1) <= radius**2]
    factor = torch.tensor([[1.0, 0.6], [0.0, 0.5]])  # of `draw`: (z0, 0.6 z0 + 0.5 z1)
    return step * at.float() @ factor, step**2 * 0.5, at.sum(1) % 2 == 0


class Identity(Representation):
    """Events as they are: the representation under which tests train on truths."""

    kind: ClassVar[str] = "event"
    name: ClassVar[str] = "identity"
    measure: ClassVar[str] = "own"
    volume: ClassVar[Density] = Density.EXACT

    def __init__(self, event: Any) -> None:
        self.event = event

    @classmethod
    def fit(cls, items: Items, **options: Any) -> "Identity":
        raise NotImplementedError

    def tensor(self, values: Any) -> Tensor:
        return values

    def items(self, raw: Tensor) -> Any:
        return raw

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw, torch.zeros(len(raw))

    def decode(self, x: Tensor) -> Tensor:
        return x

    @property
    def dims(self) -> int:
        return dims(self.event)


def events_for(events: tuple[type, ...], ranks: tuple[int, ...]) -> list[Event]:
    """The tiny events on which a model class is tested, one per kind and rank that it accepts."""
    found: list[Event] = []
    if any(issubclass(kind, Discrete) for kind in events):
        found += [Discrete((3,), 3)] if 1 in ranks else []
        found += [Discrete((1, 3, 2), 2)] if 3 in ranks else []
    if any(issubclass(kind, Continuous) for kind in events):
        found += [Continuous((2,))] if 1 in ranks and Continuous in events else []
        if 3 in ranks:
            found += [Bounded((1, 4, 4))] if Bounded in events else [Continuous((1, 4, 4))]
    return found
