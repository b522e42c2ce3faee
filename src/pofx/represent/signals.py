"""Signals of real numbers in frames, as they are: what a sound is conditioned on, frame by frame."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Continuous
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation


class Signals(Representation):
    """Arrays float32 (n, *shape) ↔ the same."""

    kind = "signal"
    name = "plain"
    summary = "signals as they are"
    measure: ClassVar[str] = "Lebesgue"
    volume = Density.EXACT

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.event = Continuous(self.shape)

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        return cls(np.shape(items.values)[1:])

    def as_batch(self, values: Any) -> Any:
        return np.asarray(values)[None] if np.shape(values) == self.shape else values

    def tensor(self, values: Any) -> Tensor:
        array = np.asarray(values, dtype=np.float32)
        if array.shape[1:] != self.shape or array.ndim != len(self.shape) + 1:
            raise DataError(f"signals must have shape (n, {', '.join(map(str, self.shape))}) (got {array.shape})")
        if not np.isfinite(array).all():
            raise DataError("signals have values that are not finite: remove or fill them first")
        return torch.from_numpy(array)

    def items(self, raw: Tensor) -> Any:
        return raw.cpu().numpy()

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.float(), torch.zeros(len(raw), device=raw.device)

    straight = True

    def decode(self, x: Tensor) -> Tensor:
        return x.float()

    def real(self, x: Tensor) -> Tensor:
        return x

    @property
    def dims(self) -> int:
        return int(np.prod(self.shape))
