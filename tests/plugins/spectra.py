"""A data type in one file: spectra, positive numbers (n, channels), with the view by which models see them and a
feature space of their own. tests/test_new_kind.py takes it through the whole library."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Continuous
from pofx.core.items import Items
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Representation
from pofx.data.kind import Kind, Shown
from pofx.evaluate.space import Space


class Spectra(Kind):
    name = "spectrum"
    summary = "positive spectra"
    reads = (".spec",)

    def read(self, path: Path, **options: Any) -> Items:
        return Items(self.name, checked(np.loadtxt(path)), facts={"channels": 8})

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        return np.exp(np.log(values) + level * np.log(known).std(0) * generator.standard_normal(values.shape))

    def plan(self, items: Items) -> dict[str, Any]:
        return {"scaling": "standard"}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        return np.log(values)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=["brightest", "sum"], lines=[[int(v.argmax()), float(v.sum())] for v in values])


class Logarithm(Representation):
    """Spectra ↔ their logarithms."""

    kind = "spectrum"
    name = "log"
    measure = "Lebesgue"
    volume = Density.EXACT

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.event = Continuous((channels,))

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        return cls(checked(items.values).shape[1])

    def tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(checked(values))

    def items(self, raw: Tensor) -> Any:
        return raw.numpy()

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.log().float(), -raw.log().sum(1)

    def decode(self, x: Tensor) -> Tensor:
        return x.double().exp()

    @property
    def dims(self) -> int:
        return self.channels


class Bands(Space):
    """The logarithm of the sums of the lower and the upper half."""

    name: ClassVar = "bands"
    kinds: ClassVar = ("spectrum",)
    order: ClassVar = -1  # the main one

    @classmethod
    def default_for(cls, train: Items) -> bool:
        return train.kind == "spectrum"

    @classmethod
    def fit(cls, train: Items, *, given: str = "", seed: int = 0, folder: Path | None = None) -> Self:
        return cls({"dims": 2}, folder=folder)

    def features(self, values: Any) -> np.ndarray:
        half = values.shape[1] // 2
        return np.log(np.stack((values[:, :half].sum(1), values[:, half:].sum(1)), 1))


def checked(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float64)
    if array.ndim != 2 or not (array > 0).all():
        raise DataError(f"spectra must be positive (n, channels) (got shape {array.shape}): drop the others")
    return array
