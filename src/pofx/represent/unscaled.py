"""Points in the units that they have: for models that know them, such as circles with their periods."""

from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Continuous
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.numbers import check_points


class Unscaled(Representation):
    """Points float (n, d) ↔ the same in float32, nothing subtracted and nothing divided."""

    kind = "points"
    name = "unscaled"
    summary = "coordinates in their own units"
    unit = "nats"
    measure = "Lebesgue"
    volume = Density.EXACT

    def __init__(self, columns: int, dtype: str) -> None:
        self.columns, self.dtype = columns, dtype
        self.event = Continuous((columns,))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        array = check_points(items.values, "points")
        return cls(array.shape[1], str(array.dtype), **options)

    def tensor(self, values: Any) -> Tensor:
        array = check_points(values, "points")
        if array.shape[1] != self.columns:
            raise DataError(f"points must have shape (n, {self.columns}) (got {array.shape})")
        return torch.from_numpy(array.astype(np.float64))

    def items(self, raw: Tensor) -> Any:
        return raw.detach().to("cpu", torch.float64).numpy().astype(self.dtype)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.float(), torch.zeros(len(raw), device=raw.device)

    straight = True

    def decode(self, x: Tensor) -> Tensor:
        return x.double()

    def real(self, x: Tensor) -> Tensor:
        return x

    @property
    def dims(self) -> int:
        return self.columns
