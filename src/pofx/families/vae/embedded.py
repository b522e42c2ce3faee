"""A condition that is read once: its embedding, for encoder, decoder and prior, however many codes items have."""

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Event
from pofx.families.vae.networks import LARGEST

WIDTH, OF_PICTURES = 32, 128  # numbers of an embedding; of pictures that perceptrons read


@dataclass(frozen=True)
class Embedded:
    """The embedding of the conditions of n items, None where there is no condition."""

    vector: Float[Tensor, "n context"] | None

    def repeated(self, k: int) -> "Embedded":
        """For k codes of each item, next to one another."""
        return self if self.vector is None or k == 1 else Embedded(self.vector.repeat_interleave(k, 0))


Given = Condition | Embedded | None


def flattened(net: str, beside: str, event: Event, condition: Event | None) -> bool:
    """Whether perceptrons read the pictures of a condition: as requested by `net`, or by "auto" where they model a
    picture (`beside` is no convolution) and those of the condition have as few positions."""
    found = [part for part in parts_of(condition) if len(part.shape) == 3]
    if net != "auto" or not found:
        return bool(found) and net == "mlp"
    grid = not isinstance(event, dict) and len(event.shape) == 3
    return grid and beside != "conv" and max(math.prod(part.shape[1:]) for part in found) <= LARGEST


def parts_of(condition: Event | None) -> list[Any]:
    """The plain events within a condition."""
    if isinstance(condition, dict):
        return [part for own in condition.values() for part in parts_of(own)]
    return [] if condition is None else [condition]
