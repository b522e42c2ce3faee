"""The grid in a condition, which networks read place by place (a sketch, a small picture), and what is beside it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.nets.image.translation import to_size


@dataclass(frozen=True)
class Placed:
    """A condition that holds one grid.

    event: of the grid, (channels, H, W); part: its name among the parts of the condition, None where it is all of it;
    rest: the event of the other parts, which are embedded as a vector.
    """

    event: Continuous | Discrete
    part: str | None = None
    rest: Event | None = None

    @property
    def channels(self) -> int:
        """Of the grid."""
        return self.event.shape[0]

    def grid(self, condition: Condition, sides: tuple[int, ...] | None = None) -> Float[Tensor, "n channels H W"]:
        """The grid of conditions, classes from -1 to 1, at these sides."""
        x = condition[self.part] if isinstance(condition, dict) and self.part is not None else condition
        assert isinstance(x, Tensor)
        x = x.to(torch.float32)
        if isinstance(self.event, Discrete):
            x = x * (2.0 / max(self.event.largest - 1, 1)) - 1.0
        return x if sides is None else to_size(x, (sides[0], sides[1]))

    def beside(self, condition: Condition | None) -> Condition | None:
        """The conditions without the grid; None where there is nothing else."""
        if self.rest is None or not isinstance(condition, dict):
            return None
        left = {key: part for key, part in condition.items() if key != self.part}
        return left if isinstance(self.rest, dict) else next(iter(left.values()))


def placed(condition: Event | None, *, classes: bool = True) -> Placed | None:
    """The one grid in a condition, of numbers or where `classes` is true of classes; None where there is none."""
    kinds = (Continuous, Discrete) if classes else (Continuous,)
    if not isinstance(condition, dict):
        fits = isinstance(condition, kinds) and len(condition.shape) == 3
        return Placed(condition) if fits else None  # type: ignore[arg-type]
    grids = [key for key, part in condition.items() if isinstance(part, kinds) and len(part.shape) == 3]
    if not grids:
        return None
    rest = {key: part for key, part in condition.items() if key != grids[0]}
    event = condition[grids[0]]
    assert isinstance(event, Continuous | Discrete)
    return Placed(event, grids[0], (rest if len(rest) > 1 else next(iter(rest.values()))) if rest else None)
