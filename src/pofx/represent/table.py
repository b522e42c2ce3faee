"""Rows of numbers as standardised real vectors: y = (x - mean) / std, with log|det| = -sum log std.

Columns on a grid (whole numbers, or few distinct values with the same number of decimals) are counted in steps k of the
grid and dequantised (k + u, u uniform in (0, 1)), so that a density gives a lower bound on the log-mass of a value and
never grows without limit on the grid. Columns that never vary are kept aside and put back.
"""

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError
from pofx.core.event import Continuous
from pofx.core.model import Density
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation
from pofx.data.items import check_points, check_table

EDGE = 2.0**-11  # noise keeps this far from its ends, so that float32 does not round k + u up to k + 1
FINEST = 4  # decimals of the finest grid that is looked for
REAL = -1  # decimals of a column without a grid


class Columns(Representation):
    """What tables and points share: raw float64 (n, d) of the varying columns ↔ standardised float32 (n, d).

    Raw values of a column on a grid are whole numbers, its value times 10^decimals; decimals is -1 where there is no
    grid. They come back exactly while their standard deviation is below about 400,000 steps, the limit of float32.
    """

    unit = "nats"

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        constants: dict[str, float],
        mean: list[float],
        std: list[float],
        decimals: list[int],
    ) -> None:
        self.columns, self.dtypes, self.constants = columns, dtypes, constants
        self.mean, self.std, self.decimals = mean, std, decimals
        self.varying = [c for c in columns if c not in constants]
        self.event = Continuous((len(self.varying),))
        self._shift, self._scale = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self._grid = torch.tensor(decimals) != REAL
        self._edge = (self._scale * 2.0**-20).clamp(EDGE, 0.4).float()

    @classmethod
    def _statistics(cls, frame: pd.DataFrame, grids: bool) -> dict[str, Any]:
        x = frame.to_numpy(dtype=np.float64)
        constant = (x == x[:1]).all(0)
        if constant.all():
            raise DataError("every column is constant: there is nothing to learn; give columns that vary")
        decimals = [_decimals(column) if grids else REAL for column in x[:, ~constant].T]
        kept, grid = _steps(x[:, ~constant], decimals), np.asarray(decimals) != REAL
        return {
            "columns": list(frame.columns),
            "dtypes": [str(d) for d in frame.dtypes],
            "constants": {c: float(v) for c, v, k in zip(frame.columns, x[0], constant, strict=True) if k},
            "mean": (kept.mean(0) + 0.5 * grid).tolist(),
            "std": np.sqrt(kept.var(0) + grid / 12).tolist(),
            "decimals": decimals,
        }

    def _checked(self, frame: pd.DataFrame) -> Tensor:
        for column, value in self.constants.items():
            differs = frame[column].to_numpy(dtype=np.float64) != value
            if differs.any():
                row = int(np.flatnonzero(differs)[0])
                raise DataError(
                    f"column {column} was always {value:g} in training, but row {row} differs: a density of it does "
                    "not exist; drop the column or train on data in which it varies"
                )
        x = _steps(frame[self.varying].to_numpy(dtype=np.float64), self.decimals)
        off = ~_whole(x) & (np.asarray(self.decimals) != REAL)
        if off.any():
            row, column = np.argwhere(off)[0]
            name, places = self.varying[column], self.decimals[column]
            held = f"at most {places} decimals" if places else "whole numbers"
            raise DataError(
                f"column {name} held {held} in training, but row {row} is {frame[name].iloc[row]}: round it, or "
                "train on data like it"
            )
        return torch.from_numpy(np.where(np.asarray(self.decimals) == REAL, x, np.round(x)))

    def _restored(self, raw: Tensor) -> np.ndarray:
        """Every column again: float64 (n, all)."""
        full = np.empty((len(raw), len(self.columns)))
        values = raw.detach().to("cpu", torch.float64).numpy() / 10.0 ** np.maximum(self.decimals, 0)
        for i, column in enumerate(self.columns):
            constant = column in self.constants
            full[:, i] = self.constants[column] if constant else values[:, self.varying.index(column)]
        return full

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        if bool(self._grid.any()):
            edge = self._edge.to(raw.device)
            noise = edge + (1 - 2 * edge) * generator.uniform(self.dims)
            raw = raw + noise * self._grid.to(raw.device)
        y = (raw - self._shift.to(raw.device)) / self._scale.to(raw.device)
        ladj = -float(self._scale.log().sum())
        return y.float(), torch.full((len(raw),), ladj, device=raw.device)

    def decode(self, x: Tensor) -> Tensor:
        raw = x.double() * self._scale.to(x.device) + self._shift.to(x.device)
        return torch.where(self._grid.to(x.device), raw.floor(), raw)

    @property
    def dims(self) -> int:
        return len(self.varying)


class Table(Columns):
    """Tables of numeric columns, standardised; columns on a grid dequantised."""

    kind = "table"
    name = "standard"
    summary = "columns standardised; whole numbers and decimal grids dequantised"
    measure: ClassVar[str] = "Lebesgue"  # replaced below where there are columns on a grid
    volume = Density.EXACT

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        constants: dict[str, float],
        mean: list[float],
        std: list[float],
        decimals: list[int],
    ) -> None:
        super().__init__(columns, dtypes, constants, mean, std, decimals)
        if bool(self._grid.any()):
            self.volume = Density.BOUND
            self.measure = "counting" if bool(self._grid.all()) else "Lebesgue, counting on columns on a grid"

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        return cls(**cls._statistics(check_table(items.values, "table"), grids=True), **options)

    def tensor(self, values: Any) -> Tensor:
        frame = check_table(values, "table")
        if set(frame.columns) != set(self.columns):
            missing, extra = set(self.columns) - set(frame.columns), set(frame.columns) - set(self.columns)
            raise DataError(
                f"the table must have the columns it was trained on (missing: {', '.join(sorted(missing)) or 'none'}; "
                f"unknown: {', '.join(sorted(extra)) or 'none'})"
            )
        return self._checked(frame[self.columns])

    def items(self, raw: Tensor) -> Any:
        full = self._restored(raw)
        columns: dict[str, np.ndarray] = {}
        for i, (column, dtype) in enumerate(zip(self.columns, self.dtypes, strict=True)):
            values = full[:, i]
            if np.issubdtype(np.dtype(dtype), np.integer):
                range_ = np.iinfo(dtype)
                values = values.round().clip(max(range_.min, -(2**62)), min(range_.max, 2**62))
            columns[column] = values.astype(dtype)
        return pd.DataFrame(columns)


class Points(Columns):
    """Points of real coordinates, standardised."""

    kind = "points"
    name = "standard"
    summary = "coordinates standardised"
    measure: ClassVar[str] = "Lebesgue"
    volume = Density.EXACT

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        return cls(**cls._statistics(_frame(check_points(items.values, "points")), grids=False), **options)

    def tensor(self, values: Any) -> Tensor:
        array = check_points(values, "points")
        if array.shape[1] != len(self.columns):
            raise DataError(f"points must have shape (n, {len(self.columns)}) (got {array.shape})")
        return self._checked(_frame(array))

    def items(self, raw: Tensor) -> Any:
        return self._restored(raw).astype(self.dtypes[0])


def _frame(array: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def _decimals(x: np.ndarray) -> int:
    """Decimals of a column on a grid: 0 for whole numbers, more where a value occurs twice on average, else -1."""
    if _whole(x).all():
        return 0
    if len(np.unique(x)) <= len(x) / 2:
        for places in range(1, FINEST + 1):
            if _whole(x * 10.0**places).all():
                return places
    return REAL


def _whole(x: np.ndarray) -> np.ndarray:
    """Where x is whole, but for the rounding of decimal fractions to binary ones."""
    return np.asarray(np.abs(x - np.round(x)) <= 3e-7 * np.abs(x))


def _steps(x: np.ndarray, decimals: list[int]) -> np.ndarray:
    """Columns in steps of their grids."""
    return np.asarray(x * 10.0 ** np.maximum(decimals, 0))
