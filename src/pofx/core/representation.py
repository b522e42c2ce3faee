"""Representations: from the user's items to event tensors and back, with the change of volume.

A representation has two steps. `tensor` checks items in data space and stacks them into a raw tensor that lives on the
device; `encode` turns a batch of raw items into events, anew at each step where it draws noise. What the two do to a
density travels as `volume` and as the log-determinant that `encode` returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Event
from pofx.core.items import Items
from pofx.core.model import Density, X
from pofx.core.options import Checked
from pofx.core.random import Streams

__all__ = ["Items", "Representation"]


class Representation(Checked, ABC):
    """Items ↔ events. Constructor arguments are plain values, stored under their own names: they are what is saved."""

    kind: ClassVar[str]  # of the items
    name: ClassVar[str]  # of this view of them
    summary: ClassVar[str] = ""
    unit: ClassVar[str] = "nats"
    options: ClassVar[tuple[str, ...]] = ()  # constructor arguments that a user may set

    on_request: ClassVar[bool] = False  # only for users who name it, or set an option that no other view has

    conditional: ClassVar[bool] = False  # a view of conditions only, the first choice for them

    measure: str  # of the density in data space: "counting" or "Lebesgue"
    volume: Density  # EXACT: identity or invertible; BOUND: dequantised; NONE: no density survives

    noisy: bool = True  # a bound by its noise, which more draws tighten

    no_density: str = ""  # why, where the volume is NONE

    mixed: bool = False  # whether parts of an item are classes, gaps or single values beside or among its numbers

    event: Event

    @classmethod
    @abstractmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        """The representation for these training items: shapes from their facts, statistics from their values."""

    @abstractmethod
    def tensor(self, values: Any) -> Tensor:
        """Items in data space → a raw tensor (n, …), checked.

        Raises:
            DataError: empty, not finite, or of another shape, type or range than the representation was fitted to.
        """

    @abstractmethod
    def items(self, raw: Tensor) -> Any:
        """A raw tensor → items in data space, as a user expects them (uint8 array, DataFrame, strings)."""

    @abstractmethod
    def encode(self, raw: Tensor, generator: Streams) -> tuple[X, Tensor]:
        """Raw items → events, and log|det d event / d item| per item: (n,)."""

    @abstractmethod
    def decode(self, x: X) -> Tensor:
        """Events → raw items; the inverse of `encode` up to its noise."""

    def drawn(self, x: X, generator: Streams) -> Tensor:
        """Events of samples → raw items: `decode`, where what the event leaves open is drawn from `generator`."""
        return self.decode(x)

    half: float = 0.0  # of the width of the interval of a level whose middle is the event; no density without its noise

    straight: bool = False  # whether `real` is an affine map

    def real(self, x: X) -> Tensor:
        """Events → items as real numbers without rounding, differentiable: pictures from 0 to 1, others in their units.

        Raises:
            Unsupported: such items are no real numbers.
        """
        raise Unsupported(f"{self.kind} items seen as {self.name} are no real numbers: choose another view or model")

    def under(self, condition: X | None) -> "Representation":
        """This view of items that have these conditions, events of their own; most views do not depend on them."""
        return self

    def events(self, raw: Tensor, generator: Streams) -> X:
        """The events of `encode` alone, where no density is needed: in training."""
        return self.encode(raw, generator)[0]

    def impossible(self, values: Any) -> Mapping[int, str]:
        """The items whose probability is zero under every model of this representation: number → reason.

        `tensor` accepts them, with any valid value in their place.
        """
        return {}

    def as_batch(self, values: Any) -> Any:
        """One item given by itself as a batch of one; batches unchanged."""
        return values

    def unfamiliar(self, raw: Tensor) -> str:
        """A warning about valid items that training never showed the like of; empty where there is none."""
        return ""

    def draw(self, streams: Streams) -> Tensor | None:
        """Raw items as often as they occur in the training items, or None where that is not known."""
        return None

    def written(self, text: str) -> Any:
        """Items written on a command line: labels with commas between them, a text, columns as age=30,plan=pro.

        Raises:
            UsageError: items of this kind are not written as text.
        """
        raise UsageError(f"{self.kind} items are not written on a command line: give a file or folder of them")

    def training(self, values: Any) -> Tensor:
        """Items in data space → the raw tensor (n, …) to train on; by default that of `tensor`.

        Items that follow one another may be offered as overlapping windows: a view, which takes no more memory.
        """
        return self.tensor(values)

    def counted(self, values: Any) -> Tensor | None:
        """Which places of the events of `tensor(values)` are the items: bool (n, *event.shape), or None for all.

        The others are what comes before an item, given which it is scored, and what nothing is known about behind it.
        """
        return None

    def prefix(self, values: Any) -> Tensor:
        """The beginnings of items → int64 events (n, *event.shape) with -1 in the places that are not known.

        Raises:
            Unsupported: this representation has no partial items.
            DataError: values that are not the beginnings of items.
        """
        raise Unsupported(
            f"{self.kind} items seen as {self.name} cannot be completed: choose a view with discrete parts"
        )

    def state(self) -> dict[str, Tensor]:
        """The tensors of a learned view, which are saved beside those of the model. Default: none."""
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave, of the same names and shapes."""

    def to(self, device: torch.device | str) -> Self:
        """Move its tensors, if any, to a device."""
        return self

    @property
    @abstractmethod
    def dims(self) -> int:
        """The number of scalars in one item, for bits per dimension."""
