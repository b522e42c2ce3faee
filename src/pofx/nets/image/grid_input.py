"""Grids in a condition as channels beside the grid that a network reads, so that it knows them place by place.

For super-resolution, colourisation or sketches the condition is brought to the sides of the event and concatenated to
the input (Saharia et al., 2021, arXiv 2104.07636, section 2.1; Saharia et al., 2022, arXiv 2111.05826). One more
channel is 1 where there is a condition: without it, as classifier-free guidance needs, all of the channels are 0.
"""

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, interpolate, one_hot

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.options import OneOf
from pofx.nets.image.patches import gathered

GridCondition = Annotated[str, OneOf("concatenate", "embed")]
FEW_CLASSES = 16  # up to which a grid of classes has a channel for each
MOST_CHANNELS = 64  # that a finer grid may have when its squares of places become channels
GROWN = {1: "linear", 2: "bilinear", 3: "trilinear"}
SHRUNK = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}


def grids_of(event: Continuous, condition: Event | None) -> dict[str, Continuous | Discrete]:
    """The grids in a condition that have as many axes as the event, by part; "" where a grid is all of it."""
    parts = condition if isinstance(condition, dict) else {"": condition}
    return {key: part for key, part in parts.items() if isinstance(part, Continuous | Discrete) and _sides(part, event)}


def _sides(part: Continuous | Discrete, event: Continuous) -> tuple[int, ...]:
    """The sides of a grid beside an event; of classes it may lack the axis of channels. () where it is no such grid."""
    axes, shape = len(event.shape) - 1, part.shape
    if axes < 1 or 0 in shape:
        return ()
    if isinstance(part, Discrete):
        if not isinstance(part.classes, int) or axes < 2:  # of one axis: texts
            return ()
        return shape if len(shape) == axes else shape[1:] if len(shape) == axes + 1 else ()
    return shape[1:] if len(shape) == axes + 1 else ()


def grid_condition_of(choice: str | None, event: Continuous, condition: Event | None) -> str:
    """How grids in the condition enter: as chosen, or where that is None "concatenate" if there are some, of two or
    three axes and all of the proportions of the event, else "embed".

    Raises:
        UsageError: "concatenate" without a grid of as many axes as the event.
    """
    found = grids_of(event, condition)
    if choice == "concatenate" and not found:
        raise UsageError(
            f"grid_condition='concatenate' needs a grid of {len(event.shape) - 1} axes in the condition (got "
            f"{'none' if condition is None else 'another condition'}): pass grid_condition='embed'"
        )
    if choice is not None:
        return choice
    sides = event.shape[1:]
    alike = all(
        own[i] * sides[0] == own[0] * sides[i]
        for own in (_sides(part, event) for part in found.values())
        for i in range(len(sides))
    )
    return "concatenate" if found and len(sides) > 1 and alike else "embed"


class GridInput(nn.Module):
    """The grids of a condition, standardised, at the sides of an event: (n, channels, *sides).

    Coarser grids are interpolated; the squares of finer ones become channels where the sides divide, else they are
    averaged. `rest` is the event of what is no grid, to be embedded; None where nothing is left.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, event: Continuous, condition: Event | None) -> None:
        super().__init__()
        self.sides = event.shape[1:]
        self.events = grids_of(event, condition)
        left = {k: v for k, v in condition.items() if k not in self.events} if isinstance(condition, dict) else {}
        self.rest: Event | None = (left if len(left) > 1 else next(iter(left.values()))) if left else None
        self.finer = {key: self._finer(part, event) for key, part in self.events.items()}
        own = sum(self._count(part) * self.finer[key] ** len(self.sides) for key, part in self.events.items())
        self.channels = own + 1
        self.register_buffer("center", torch.zeros(own, *[1] * len(self.sides)))
        self.register_buffer("scale", torch.ones(own, *[1] * len(self.sides)))

    def _count(self, part: Continuous | Discrete) -> int:
        """Channels of a grid at its own sides."""
        channels = part.shape[0] if len(part.shape) > len(self.sides) else 1
        return channels * part.largest if isinstance(part, Discrete) and part.largest <= FEW_CLASSES else channels

    def _finer(self, part: Continuous | Discrete, event: Continuous) -> int:
        """How many places of a grid lie along a side of each place of the event, 1 where that is no whole number."""
        own = _sides(part, event)
        times = own[0] // self.sides[0]
        whole = times > 1 and all(a == times * b for a, b in zip(own, self.sides, strict=True))
        return times if whole and self._count(part) * times ** len(own) <= MOST_CHANNELS else 1

    def _read(self, key: str, x: Tensor) -> Float[Tensor, "n some *sides"]:
        part, axes = self.events[key], len(self.sides)
        x = x[:, None] if len(part.shape) == axes else x
        if isinstance(part, Discrete) and part.largest <= FEW_CLASSES:
            x = one_hot(x, part.largest).movedim(-1, 2).flatten(1, 2)
        x = x.to(self.center.dtype)
        if isinstance(part, Discrete) and part.largest > FEW_CLASSES:
            x = x * (2.0 / (part.largest - 1)) - 1.0
        if self.finer[key] > 1:
            return gathered(x, self.finer[key])
        own = tuple(x.shape[2:])
        if own == self.sides:
            return x
        if math.prod(own) > math.prod(self.sides):
            return SHRUNK[axes](x, self.sides)  # type: ignore[operator, arg-type, no-any-return]
        return interpolate(x, size=self.sides, mode=GROWN[axes], align_corners=False)

    def _grids(self, condition: Condition) -> Float[Tensor, "n own *sides"]:
        parts: Mapping[str, Tensor] = condition if isinstance(condition, dict) else {"": condition}
        return torch.cat([self._read(key, parts[key]) for key in self.events], 1)

    def measure(self, condition: Condition | None) -> None:
        """Take the mean and standard deviation of every channel from conditions of the data."""
        if condition is None:
            return
        rows = self._grids(condition).transpose(0, 1).flatten(1)
        deviation = rows.std(1, correction=0)
        self.center.copy_(rows.mean(1).reshape(self.center.shape))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0).reshape(self.scale.shape))

    def forward(
        self, condition: Condition, drop: Bool[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n channels *sides"]:
        """The channels of conditions; zeros where `drop` is true."""
        grid = (self._grids(condition) - self.center) / self.scale
        grid = torch.cat((grid, grid.new_ones(len(grid), 1, *self.sides)), 1)
        return grid if drop is None else grid.masked_fill(drop.reshape(-1, *[1] * (grid.ndim - 1)), 0.0)

    def absent(self, n: int) -> Float[Tensor, "{n} channels *sides"]:
        """The channels of no condition."""
        return self.center.new_zeros(n, self.channels, *self.sides)

    def beside(self, condition: Condition | None) -> Condition | None:
        """What is no grid of conditions; None where nothing is."""
        if self.rest is None or not isinstance(condition, dict):
            return None
        left = {key: part for key, part in condition.items() if key not in self.events}
        return left if isinstance(self.rest, dict) else next(iter(left.values()))
