"""Rows of numbers as standardised real vectors: y = (x - mean) / std, with log|det| = -sum log std.

Columns on a grid (whole numbers, or few distinct values with the same number of decimals) are counted in steps k of the
grid and dequantised (k + u, u uniform in (0, 1)), so that a density gives a lower bound on the log-mass of a value and
never grows without limit on the grid. Columns that never vary are kept aside and put back. A support that the user
states is opened to the whole space first, so that every model of real vectors keeps it, with an exact Jacobian.
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
from pofx.data.kinds.table import check_table
from pofx.data.numbers import check_points
from pofx.data.support import SIMPLEX, check_support, stated
from pofx.represent.support import REAL, Opening, kept_inside

EDGE = 2.0**-11  # noise keeps this far from its ends, so that float32 does not round k + u up to k + 1
FINEST = 4  # decimals of the finest grid that is looked for


class Columns(Representation):
    """What tables and points share: raw float64 (n, d) of the varying columns ↔ standardised float32 (n, d).

    Raw values of a column on a grid are whole numbers, its value times 10^decimals; decimals is -1 where there is no
    grid. They come back exactly while their standard deviation is below about 400,000 steps, the limit of float32.
    """

    unit = "nats"
    options = ("support",)

    def __init__(
        self,
        columns: list[str],
        dtypes: list[str],
        constants: dict[str, float],
        mean: list[float],
        std: list[float],
        decimals: list[int],
        support: Any = None,
    ) -> None:
        """mean and std are those of the unbounded values; support is in plain form (see `data/support.py`)."""
        self.columns, self.dtypes, self.constants = columns, dtypes, constants
        self.mean, self.std, self.decimals, self.support = mean, std, decimals, support
        self.varying = [c for c in columns if c not in constants]
        self._opening = Opening(support, self.varying, decimals)
        self.event = Continuous((self._opening.dims,))
        self._shift, self._scale = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self._grid = torch.tensor(decimals) != REAL
        if self._opening.simplex:
            self.measure = f"Lebesgue on the first {self.dims} coordinates"

    @classmethod
    def _statistics(cls, frame: pd.DataFrame, grids: bool, support: Any) -> dict[str, Any]:
        x = frame.to_numpy(dtype=np.float64)
        constant = (x == x[:1]).all(0)
        if constant.all():
            raise DataError("every column is constant: there is nothing to learn; give columns that vary")
        support = stated(support, list(frame.columns))
        if support == SIMPLEX and constant.any():
            raise DataError(
                f"column {frame.columns[constant][0]} of a simplex never varies: leave it out and divide each row of "
                "the others by its sum"
            )
        decimals = [_decimals(c) if grids and support != SIMPLEX else REAL for c in x[:, ~constant].T]
        kept, grid = _steps(x[:, ~constant], decimals), np.asarray(decimals) != REAL
        varying = list(frame.columns[~constant])
        check_support(x, list(frame.columns), support, _closed(frame.columns, varying, grid))
        opening = Opening(support, varying, decimals)
        middle = torch.from_numpy(kept + 0.5 * grid)
        y = opening.forward(middle)[0].numpy()
        width = opening.slopes(middle).square().mean(0).numpy() * grid if grid.any() else 0.0
        return {
            "columns": list(frame.columns),
            "dtypes": [str(d) for d in frame.dtypes],
            "constants": {c: float(v) for c, v, k in zip(frame.columns, x[0], constant, strict=True) if k},
            "mean": y.mean(0).tolist(),
            "std": np.sqrt(y.var(0) + width / 12).tolist(),
            "decimals": decimals,
            "support": support,
        }

    def _checked(self, frame: pd.DataFrame) -> Tensor:
        if self.support is not None:
            closed = _closed(self.columns, self.varying, self._grid.numpy())
            check_support(frame[self.columns].to_numpy(dtype=np.float64), self.columns, self.support, closed)
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

    def _typed(self, values: np.ndarray, column: str, dtype: str) -> np.ndarray:
        """A column of floats in its own type, where it is still inside its support."""
        places = REAL if column in self.constants else self.decimals[self.varying.index(column)]
        ends = [0.0, None] if self._opening.simplex else (self.support or {}).get(column)
        return values.astype(dtype) if ends is None or places != REAL else kept_inside(values, dtype, *ends)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        noise_ladj: Tensor | float = 0.0
        if bool(self._grid.any()):
            grid, scale = self._grid.to(raw.device), self._scale.to(raw.device)
            edge = (scale / self._opening.slopes(raw + 0.5 * grid) * 2.0**-20).clamp(EDGE, 0.4) * grid
            noise = edge + (1 - 2 * edge) * generator.uniform(self.dims)
            noise_ladj = (-2 * edge).log1p().sum(-1)  # the noise has the density 1 / (1 - 2 edge)
            raw = raw + noise * grid
        z, ladj = self._opening.forward(raw)
        y = (z - self._shift.to(raw.device)) / self._scale.to(raw.device)
        return y.float(), ladj + noise_ladj - float(self._scale.log().sum())

    def decode(self, x: Tensor) -> Tensor:
        raw = self.back(x.double())[0]
        return torch.where(self._grid.to(x.device), raw.floor(), raw)

    def back(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Events in their own type → raw items with their fractions of a step, and log|det d raw / d event| (n,).

        Differentiable, as `decode` is not on a grid.
        """
        scale = self._scale.to(x.device, x.dtype)
        raw, ladj = self._opening.back(x * scale + self._shift.to(x.device, x.dtype))
        return raw, ladj + scale.log().sum()

    @property
    def dims(self) -> int:
        return self._opening.dims


def _closed(columns: Any, varying: list[str], grid: np.ndarray) -> np.ndarray:
    """Where the ends of a support belong to it: on grids, and where a column never varies."""
    return np.array([c not in varying or bool(grid[varying.index(c)]) for c in columns])


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
        support: Any = None,
    ) -> None:
        super().__init__(columns, dtypes, constants, mean, std, decimals, support)
        if bool(self._grid.any()):
            self.volume = Density.BOUND
            self.measure = "counting" if bool(self._grid.all()) else "Lebesgue, counting on columns on a grid"

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        support = options.pop("support", items.facts.get("support"))
        return cls(**cls._statistics(check_table(items.values, "table"), grids=True, support=support), **options)

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
                columns[column] = values.round().clip(max(range_.min, -(2**62)), min(range_.max, 2**62)).astype(dtype)
            else:
                columns[column] = self._typed(values, column, dtype)
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
        support = options.pop("support", items.facts.get("support"))
        frame = _frame(check_points(items.values, "points"))
        return cls(**cls._statistics(frame, grids=False, support=support), **options)

    def tensor(self, values: Any) -> Tensor:
        array = check_points(values, "points")
        if array.shape[1] != len(self.columns):
            raise DataError(f"points must have shape (n, {len(self.columns)}) (got {array.shape})")
        return self._checked(_frame(array))

    def items(self, raw: Tensor) -> Any:
        full, dtype = self._restored(raw), self.dtypes[0]
        return np.stack([self._typed(full[:, i], c, dtype) for i, c in enumerate(self.columns)], 1)


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
