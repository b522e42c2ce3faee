"""Tables under differential privacy: rows as classes of a domain that is public, and a private model of them.

The model is a tree or graph of noisy counts, or any model of classes with a loss per item, trained by DP-SGD.

Whatever is read from the rows is measured with noise or stated by the user. The ranges of numbers and the lists of
categories are the domain: what is not stated is read from the rows, and reported as such, for it is then not private.
Cells of a number depend on its range alone: whole values where they are few, else steps that grow with the magnitude,
and zero is a cell of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from pofx.core import config
from pofx.core.errors import DataError, UsageError
from pofx.core.event import Discrete
from pofx.core.model import Batch, Model
from pofx.core.random import Streams, seeded
from pofx.data.kinds.table import numeric
from pofx.data.schema import describe
from pofx.maths.privacy import multiplier_of, spent
from pofx.represent.tokens import Tokens
from pofx.runs.options import sort_options
from pofx.train.feed import Feed
from pofx.train.loop import train
from pofx.train.options import Budget, TrainOptions

CELLS = 64  # of a number
WHOLE = 128  # whole values up to which each is a cell
BATCH, STEPS = 512, 600  # rows of a batch of DP-SGD, in the mean, and its steps
DRAWN = 10_000  # rows drawn at once
WIDE = 1000.0  # ranges from which on cells grow with the magnitude


@dataclass
class Domain:
    """What a column can hold: cells of a number between edges, or categories; the last class is what is missing."""

    edges: np.ndarray | None = None  # of cells [a, b)
    categories: list[Any] = field(default_factory=list)
    places: int = 0  # decimals
    whole: bool = False
    gaps: bool = False  # whether missing is a class
    stated: bool = False
    dtype: str = "float64"

    @property
    def classes(self) -> int:
        own = len(self.categories) if self.edges is None else len(self.edges) - 1
        return own + self.gaps

    def encode(self, column: pd.Series) -> np.ndarray:
        missing = column.isna().to_numpy()
        if self.edges is None:
            number = {str(v): k for k, v in enumerate(self.categories)}
            x = column.astype(str).map(number).fillna(-1).to_numpy(np.int64)
        else:
            z = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            z = np.clip(np.nan_to_num(z), self.edges[0], np.nextafter(self.edges[-1], -np.inf))
            x = (np.searchsorted(self.edges, z, side="right") - 1).clip(0, len(self.edges) - 2)
        last = self.classes - 1
        if not self.gaps and missing.any():
            raise DataError(f"column {column.name} has missing values, and its domain none: state it with gaps")
        if (x[~missing] < 0).any():
            value = column[~missing][x[~missing] < 0].iloc[0]
            raise DataError(f"column {column.name}: '{value}' is not in its stated domain: add it")
        return np.where(missing, last, x)

    def decode(self, x: np.ndarray, u: np.ndarray) -> pd.Series:
        missing = (x == self.classes - 1) & self.gaps
        if self.edges is None:
            words = np.empty(len(self.categories) + 1, dtype=object)
            words[:-1], words[-1] = self.categories, None
            found = pd.Series(words[np.where(missing, len(self.categories), x)])
            plain = self.dtype in ("bool", "int64", "float64") and not missing.any()
            return found.astype(self.dtype) if plain else found  # type: ignore[call-overload]
        at = np.where(missing, 0, x)
        low, high = self.edges[at], self.edges[at + 1]
        step = 10.0**-self.places
        value = np.floor((low + u * (high - low)) / step + 1e-9) * step
        value = np.round(np.maximum(value, low), self.places)
        whole = self.whole and not missing.any()
        return pd.Series(np.where(missing, np.nan, value)).astype("int64" if whole else "float64")


def cells(low: float, high: float, places: int) -> np.ndarray:
    """The edges of the cells of a number, from its range and its decimals alone."""
    step = 10.0**-places
    if (high - low) / step < WHOLE:
        return low + step * np.arange(round((high - low) / step) + 2)
    if high - low < WIDE:
        return np.linspace(low, high + step, CELLS + 1)
    sides = []
    for end in (low, high):
        if end != 0:
            sign, first = (1 if end > 0 else -1), max(min(abs(low), abs(high)) if low * high > 0 else 0.0, 1.0, step)
            sides.append(sign * np.geomspace(first, abs(end) + step, CELLS // (1 if low * high >= 0 else 2)))
    edges = np.unique(np.concatenate([*sides, [low, high + step], [0.0, step] if low <= 0 <= high else []]))
    edges = edges[(edges >= low) & (edges <= high + step)]
    return np.unique(np.where(edges < high, np.round(edges / step) * step, edges))


def domains(frame: pd.DataFrame, stated: Mapping[str, Any] | None = None) -> dict[str, Domain]:
    """The domain of each column: (low, high) or a list of categories where stated, else as read from the rows."""
    stated = dict(stated or {})
    for name in stated:
        if name not in frame.columns:
            raise UsageError(f"the domain of '{name}' is stated, and there is no such column: leave it out")
    schema = describe(frame)
    found = {}
    for name in frame.columns:
        column, given = frame[name], stated.get(name)
        gaps = bool(column.isna().any())
        if isinstance(given, list) or (given is None and not numeric(column)):
            words = list(given) if isinstance(given, list) else sorted(column.dropna().unique(), key=str)
            if not words:
                raise DataError(f"column {name} has no values: drop it")
            dtype = "object" if isinstance(given, list) else str(column.dtype)
            found[name] = Domain(None, words, gaps=gaps, stated=given is not None, dtype=dtype)
            continue
        if not numeric(column):
            raise UsageError(f"the domain of '{name}' must be a list of categories, which its words are")
        x = column.to_numpy(np.float64, na_value=np.nan)
        if np.isnan(x).all():
            raise DataError(f"column {name} has no values: drop it")
        low, high = (float(np.nanmin(x)), float(np.nanmax(x))) if given is None else map(float, given)
        if not low <= high or not math.isfinite(high - low):
            raise UsageError(f"the range of {name} must be finite and ascending (got {low:g} to {high:g})")
        about = schema[name]
        whole = about["type"] in ("whole", "bool") or bool(np.all(x[~np.isnan(x)] % 1 == 0))
        places = 0 if whole else int(about.get("places", 3 if high - low > 1 else 6))
        found[name] = Domain(cells(low, high, places), places=places, whole=whole, gaps=gaps, stated=given is not None)
    return found


class PrivateTable:
    """A private model of a table: `fit` reads the rows under (ε, δ); whatever is drawn afterwards is free."""

    def __init__(
        self,
        epsilon: float,
        delta: float,
        *,
        model: str = "mst",
        target: str | None = None,
        domain: Mapping[str, Any] | None = None,
        steps: int = STEPS,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        model: one of counts with an `epsilon` of its own, or a model of classes that is trained by DP-SGD.
        steps: of DP-SGD.
        options: of the model and the trainer.
        """
        if not 0 < epsilon < math.inf or not 0 < delta < 1:
            raise UsageError(f"epsilon must be above 0 and delta between 0 and 1 (got {epsilon} and {delta})")
        self.epsilon, self.delta, self.name, self.target = epsilon, delta, model, target
        self.stated, self.steps, self.options, self.seed = domain, steps, dict(options or {}), seed
        self.spent = epsilon  # what the fit cost

    def fit(self, frame: pd.DataFrame) -> "PrivateTable":
        if self.delta * len(frame) >= 1:
            raise UsageError(
                f"delta must be below 1 / rows = {1 / len(frame):.1g} (got {self.delta:g}): pass delta=1e-6 or less"
            )
        self.domains = domains(frame, self.stated)
        self.unstated = [name for name, domain in self.domains.items() if not domain.stated]
        x = np.stack([domain.encode(frame[name]) for name, domain in self.domains.items()], 1)
        counts = tuple(max(domain.classes, 1) for domain in self.domains.values())
        target = -1 if self.target is None else list(self.domains).index(self.target)
        event = Discrete((len(counts),), counts)
        row = config.entry(self.name)
        self.model: Model
        if "epsilon" in config.defaults(row.model):
            own = {"epsilon": self.epsilon, "delta": self.delta, "target": target, **self.options}
            self.model = config.build(self.name, event, **own)
            self.model.prepare(lambda n: Batch(torch.from_numpy(x)))
        else:
            self._descend(row, event, x)
        return self

    def _descend(self, row: config.Entry, event: Discrete, x: np.ndarray) -> None:
        """DP-SGD with as much noise as makes `steps` steps (ε, δ)-private."""
        own = sort_options(row, self.options)
        with seeded(self.seed, 0):  # the weights to begin with are public
            model = config.build(self.name, event, **own.options)
        options = {**row.trains_with, "batch_size": min(BATCH, len(x)), "item_clip": 1.0, "ema_images": 0.0}
        options |= {"precision": "fp32", "validations": 0, "clip": 0.0, "skip_above": 0.0, **own.trainer}
        rate = min(1.0, options["batch_size"] / len(x))
        noise = multiplier_of(self.epsilon, self.delta, rate, self.steps)
        self.spent = spent(rate, noise, self.steps, self.delta)
        view = Tokens(list(event.counts), len(event.counts))
        feed = Feed(torch.from_numpy(x), None, view, seed=self.seed, device=torch.device("cpu"))
        train_options = TrainOptions.of({**options, "item_noise": noise})
        budget = Budget(steps=self.steps)
        self.model = train(model, feed, options=train_options, budget=budget, seed=self.seed, progress=False).model

    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        streams = Streams(seed, n)
        with torch.inference_mode():
            parts = [self.model.sample(len(part), generator=part) for part in _parts(streams)]
        x = torch.cat(parts).numpy()
        u = streams.uniform(len(self.domains)).double().numpy()
        columns = {name: d.decode(x[:, j], u[:, j]) for j, (name, d) in enumerate(self.domains.items())}
        return pd.DataFrame(columns)


def _parts(streams: Streams) -> list[Streams]:
    return [streams[i : i + DRAWN] for i in range(0, max(len(streams), 1), DRAWN)]
