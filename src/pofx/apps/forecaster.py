"""Possible futures of a time series: any conditional model of this library over what a linear forecast leaves open.

The next `block` steps are a ridge regression on the past plus correlated residuals, and the residuals, made
uncorrelated, are what the model learns given the past: p(future | past) with all its dependence. A spline flow is the
default (conditioned flows for forecasting: Rasul et al., 2021, arXiv 2002.06103); `model="flow-matching"` or "edm" is
the diffusion of TimeGrad (Rasul et al., 2021, arXiv 2101.12072). A block shorter than the horizon is repeated, each
time given what it drew before.
"""

import io
import operator
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.folders import folder_of
from pofx.apps.linear_forecast import LinearForecast, centred
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.files import read_json, whole, write_bytes, write_json
from pofx.data.arrays import write_arrays
from pofx.data.dataset import dataset
from pofx.data.kind import take
from pofx.data.kinds.points import points
from pofx.data.series import Series, several
from pofx.data.series import series as as_series
from pofx.data.times import after

PUBLIC = ("Forecaster",)

WIDEST = 256  # numbers of a block that are drawn at once
LATER = 0.15  # share of the windows, the last ones, for validation
WINDOWS = 20_000  # of training, at most
ENOUGH = 40  # windows that a past of the default length should leave, and as many as a block has steps
CYCLES = 1.5  # of a day, a week or a year that a series must have seen to learn from the calendar
SUMMARIES = 12  # principal components of a past that the model is given
ROWS = 5_000  # draws of one pass
SMALL: Mapping[str, Any] = {"layers": 2, "bins": 8, "width": 64, "blocks": 1}  # of the default model


@dataclass(frozen=True, eq=False)
class Forecast:
    """Draws of the future, (draws, horizon, channels)."""

    samples: np.ndarray
    names: tuple[str, ...]
    times: pd.DatetimeIndex | None = None

    def __repr__(self) -> str:
        begin = "" if self.times is None else f" from {self.times[0]} on"
        return f"{len(self.samples)} futures of {self.samples.shape[1]} steps{begin}: {', '.join(self.names)}"

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.samples.mean(0))

    def quantile(self, q: float) -> np.ndarray:
        """(horizon, channels)."""
        return np.asarray(np.quantile(self.samples, q, axis=0))

    def probability(self, event: str | Callable[[np.ndarray], Any]) -> float:
        """The share of futures in which an event happens; its standard error is √(p (1 - p) / draws).

        Args:
            event: of one future (horizon, channels) → bool, or of all of them (draws, horizon, channels) → bool
                (draws,); or a text such as "load>900": that a channel passes a value at some step.

        Raises:
            UsageError: a text of another form, or no truth value for each future.
        """
        if isinstance(event, str):
            channel, happens = event_of(event, self.names)
            found = happens(self.samples[:, :, channel]).any(1)
        else:
            found = self._happened(event)
        return float(found.mean())

    def _happened(self, event: Callable[[np.ndarray], Any]) -> np.ndarray:
        """Whether an event happens in each future: bool (draws,)."""
        for values in (self.samples, None):
            try:
                found = np.asarray(event(values) if values is not None else [event(one) for one in self.samples])
            except (IndexError, TypeError, ValueError):  # written for the other form
                continue
            found = found.reshape(len(found), -1)[:, 0] if values is None and found.size == len(found) else found
            if found.shape == self.samples.shape[:1] and found.dtype.kind in "biuf":
                return found.astype(bool)
        raise UsageError(
            f"an event must be true or false for each future, of {self.samples.shape[1]} steps and the channels "
            f"{', '.join(self.names)}: such as lambda x: x[:, 0].max() > 1, or '{self.names[0]}>1'"
        )

    def plot(self, path: str | Path, history: Series | None = None, channels: int = 4) -> None:
        """A picture: the end of the history, a few futures, and where half and nine tenths of them lie."""
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        shown = min(channels, len(self.names))
        figure = Figure(figsize=(8, 2.2 * shown), layout="constrained")
        steps: Any = np.arange(self.samples.shape[1])
        before: Any = np.arange(-3 * len(steps), 0)
        dated = self.times is not None and (history is None or history.times is not None)
        if dated:
            steps, before = self.times, None if history is None else history.times
        for j, axes in enumerate(figure.subplots(shown, squeeze=False)[:, 0]):
            if history is not None:
                past = history.values[-3 * len(steps) :, j]
                at = before[-len(past) :]
                axes.plot(at, past, color="black", lw=1, label="past")
                if np.isfinite(past[-1]):  # to where futures begin
                    axes.plot([at[-1], steps[0]], [past[-1], self.mean[0, j]], color="black", lw=0.7, ls=":")
            for level, alpha in ((0.9, 0.2), (0.5, 0.35)):
                low, high = self.quantile((1 - level) / 2)[:, j], self.quantile((1 + level) / 2)[:, j]
                axes.fill_between(steps, low, high, color="tab:blue", alpha=alpha, lw=0, label=f"{level:.0%}")
            few = axes.plot(steps, self.samples[:5, :, j].T, color="tab:blue", lw=0.7)
            few[0].set_label("futures")
            axes.set_title(self.names[j], loc="left", fontsize=9)
            if j == 0:
                axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, fontsize=8)
            places = AutoDateLocator(minticks=3, maxticks=8) if dated else MaxNLocator(integer=True)
            axes.xaxis.set_major_locator(places)
            if dated:
                axes.xaxis.set_major_formatter(ConciseDateFormatter(places))
        if not dated:
            axes.set_xlabel("steps from now" if self.times is None else f"steps from {self.times[0]}", fontsize=9)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=110)
        write_bytes(Path(path), stream.getvalue())

    def frame(self, levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> pd.DataFrame:
        """A row per step: mean and quantiles of every channel."""
        columns = {}
        for j, name in enumerate(self.names):
            columns[f"{name} mean"] = self.mean[:, j]
            columns |= {f"{name} {q:g}": self.quantile(q)[:, j] for q in levels}
        return pd.DataFrame(columns, index=self.times)


def event_of(text: str, names: Sequence[str]) -> tuple[int, Callable[[Any], Any]]:
    """The channel of an event NAME>NUMBER (or <, >=, <=), and what happens: values → bool.

    Raises:
        UsageError: another form, no such column, or no number.
    """
    found = re.fullmatch(r"(.*?)\s*(>=|<=|>|<)\s*([^<>=]+)", text.strip())
    try:
        limit = float(found[3]) if found else np.nan
    except ValueError:
        limit = np.nan
    if found is None or not np.isfinite(limit):
        raise UsageError(f"event must be NAME>NUMBER or NAME<NUMBER (got '{text}'): such as '{names[0]}>10'")
    if found[1] not in names:
        raise unknown("column of the series", found[1], list(names))
    compare = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}[found[2]]
    return list(names).index(found[1]), lambda x: compare(x, limit)


def told_by_calendar(found: Sequence[Series]) -> list[float]:
    """Which of the calendar's numbers the series can state: 1 for those whose cycle (a day, a week, a year) it has seen
    CYCLES times, 0 for others, which would be a trend that goes on."""
    spans = [one.times[-1] - one.times[0] for one in found if one.times is not None and len(one)]
    longest = max(spans, default=pd.Timedelta(0))
    cycles = (pd.Timedelta(days=1), pd.Timedelta(days=7), pd.Timedelta(days=365.25))
    return [float(longest >= CYCLES * cycle) for cycle in cycles for _ in range(2)]


def unbroken(values: Sequence[np.ndarray], block: int) -> int:
    """The longest block, halved as often as it takes, of which enough stretches have no gap."""
    whole = [~np.isnan(v).any(1) for v in values]

    def stretches(size: int) -> int:
        return sum(int((np.convolve(w, np.ones(size), "valid") > size - 0.5).sum()) for w in whole if len(w) >= size)

    size = block
    while size > 1 and stretches(size) < 2 * ENOUGH:
        size = max(1, size // 2)
    if size < block:
        warnings.warn(
            f"gaps leave few stretches of {block} steps: {size} are drawn at a time, each given those before",
            stacklevel=3,
        )
    return size


class Forecaster:
    """p(next steps | past) of one or several series."""

    def __init__(
        self,
        horizon: int = 24,
        *,
        context: int | None = None,
        model: str = "nsf",
        block: int | None = None,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        horizon: steps of a future.
        context: steps of the past that are seen; 4 horizons by default, at most 168, fewer of short series.
        model: a conditional model of vectors of `pofx models`.
        block: steps drawn at once; by default all, or as many as hold 256 numbers.
        options: of the model, the trainer and the view, by name.
        minutes: of training; one by default.
        progress: of training, as of `pofx.fit`.
        steps: of training, instead.
        seed: of the training.
        """
        if horizon < 1:
            raise UsageError(f"horizon must be at least 1 step (got {horizon}): pass horizon=24")
        self.horizon, self.model, self.seed = horizon, model, seed
        self.context, self.stated = context or min(4 * horizon, 168), context is not None
        self.block, self.options, self.minutes, self.steps = block, options, minutes, steps
        self.progress = progress
        self.known: list[str] = []
        self.calendar: list[float] = [1.0] * 6
        self.covariates: int | None = None
        self.run: Artifact | None = None

    # ── learning ──

    def fit(
        self,
        data: Any,
        *,
        known: Sequence[str] = (),
        columns: Sequence[str] | None = None,
        by: str | None = None,
    ) -> "Forecaster":
        """Learn from one series or several, as `pofx.data.series.several` reads them; NaN is what is missing.

        Windows whose future has gaps are left out; gaps of the past are filled by the value before, and counted.

        Args:
            known: columns that are known in advance.
            columns: the channels, if not all others.
            by: the column of a long table that names the series of a row.
        """
        found = several(data, known=known, columns=columns, by=by)
        self.known, self.covariates = list(known), found[0].covariates.shape[1]
        self.names, width = found[0].names, found[0].values.shape[1]
        together = np.concatenate([one.values for one in found])
        self.middle, self.scale = np.nanmean(together, 0), np.nanstd(together, 0)
        self.scale = np.where(self.scale > 1e-12, self.scale, 1.0)
        stated = self.block
        self.block = min(self.horizon, self.block or max(1, WIDEST // width))
        self.gappy = bool(np.isnan(together).any())
        self.calendar = told_by_calendar(found)
        if stated is None and self.gappy:
            self.block = unbroken([one.values for one in found], self.block)
        if not self.stated:  # a short series is seen by a shorter past
            room = sum(map(len, found)) - len(found) * (self.block - 1) - self.block - ENOUGH
            self.context = max(1, min(self.context, room // len(found)))
        rows = [self._windows(one) for one in found]
        cuts = [self._cut(len(r[0])) for r in rows]
        train = [np.concatenate([r[k][:cut] for r, (cut, _) in zip(rows, cuts, strict=True)]) for k in range(4)]
        later = [np.concatenate([r[k][at:] for r, (_, at) in zip(rows, cuts, strict=True)]) for k in range(4)]
        if len(train[0]) < 20 or len(later[0]) < 5:
            raise DataError(
                f"there are {len(train[0]) + len(later[0])} windows of {self.context} + {self.block} steps without "
                "gaps in their future, at least 30 are needed: give a longer series, or a smaller context or horizon"
            )
        if len(train[0]) > WINDOWS:
            at = np.sort(np.random.default_rng(self.seed).choice(len(train[0]), WINDOWS, replace=False))
            train = [part[at] for part in train]
        self.linear = LinearForecast.fit(train[0], train[2], train[3], (later[0], later[2], later[3]))
        self._summarise(train[0])
        self.run = self._learn(train, later)
        return self

    def _cut(self, n: int) -> tuple[int, int]:
        """How many of n windows are trained on, and the first that is validated: their futures share no step."""
        block, cut = int(self.block or 1), int((1 - LATER) * n)
        few = max(5, round(0.1 * n))
        if n - cut - block < few:  # blocks are long beside the series
            cut = n - block - few
        return (cut, cut + block) if cut >= few else (n, n)

    def _windows(self, one: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pasts, their gaps, covariates at the first step of the future, futures."""
        size = self.context + int(self.block or 1)
        if len(one) < size:
            shape = (0, self.context, len(self.names))
            width = self._given(one.covariates[None, :1], one).shape[1]
            empty = np.zeros(shape)
            return empty, empty[:, 0], np.zeros((0, width)), np.zeros((0, size - self.context, len(self.names)))
        z, gaps = self._filled(one.values)
        raw = (one.values - self.middle) / self.scale
        view = np.lib.stride_tricks.sliding_window_view
        future = view(raw, size, 0)[:, :, self.context :].transpose(0, 2, 1)
        whole = ~np.isnan(future).any((1, 2))
        past = view(z, size, 0)[:, :, : self.context].transpose(0, 2, 1)
        missing = view(gaps, size, 0)[:, :, : self.context].mean(2)
        ahead = view(one.covariates, size, 0)[:, :, self.context :].transpose(0, 2, 1)
        return past[whole], missing[whole], self._given(ahead[whole], one), future[whole]

    def _given(self, ahead: np.ndarray, one: Series) -> np.ndarray:
        """What is known in advance of a block: its known covariates at every step, its calendar at the first."""
        width = 0 if one.known is None else one.known.shape[1]
        calendar = ahead[:, 0, width:] * np.asarray(self.calendar[: ahead.shape[2] - width])
        return np.concatenate((ahead[:, :, :width].reshape(len(ahead), ahead.shape[1] * width), calendar), 1)

    def _filled(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values in standard units with gaps filled by the value before, and where the gaps were."""
        frame = pd.DataFrame((values - self.middle) / self.scale)
        gaps = frame.isna().to_numpy()
        return frame.ffill().fillna(0.0).to_numpy(), gaps

    def _summarise(self, past: np.ndarray) -> None:
        flat = centred(past, "last")[0].reshape(len(past), -1)
        few = flat[:: max(1, len(flat) // 4000)]
        size = min(SUMMARIES, flat.shape[1] - past.shape[2] if flat.shape[1] > past.shape[2] else 0, len(few) - 1)
        self.directions = np.linalg.svd(few - few.mean(0), full_matrices=False)[2][: max(size, 0)].T
        spread = (flat @ self.directions).std(0) + 1e-9
        self.directions = self.directions / spread

    def _condition(self, past: np.ndarray, gaps: np.ndarray, given: np.ndarray) -> np.ndarray:
        """What the model is given of a past: (n, k)."""
        moved = centred(past, "last")[0].reshape(len(past), -1)
        parts = [moved @ self.directions, given]
        if self.linear.centre != "last":  # else levels may be ones that training never saw
            parts.append(past[:, -1])
        if self.context > 2:
            recent = np.diff(past[:, -min(self.context, 2 * self.horizon + 1) :], axis=1)
            parts.append(np.log(np.sqrt(np.square(recent).mean(1)) + 1e-3))
        if self.gappy:
            parts.append(gaps)
        return np.concatenate(parts, 1).astype(np.float32)

    def _learn(self, train: list[np.ndarray], later: list[np.ndarray]) -> Artifact:
        from pofx.runs.fitting import fit

        parts = []
        for past, gaps, given, future in (train, later):
            residuals = self.linear.standard(future, self.linear(past, given)).astype(np.float32)
            parts.append(replace(points(residuals), condition=points(self._condition(past, gaps, given))))
        data = dataset(
            parts[0], parts[1], take(parts[1], np.arange(min(5, len(parts[1])))), "futures",
            source="given by the caller", licence="unknown", count_overlaps=False,
        )  # fmt: skip
        options = {**(SMALL if self.model == "nsf" else {}), **(self.options or {})}
        return fit(
            data, self.model, seed=self.seed, progress=self.progress, minutes=self.minutes, steps=self.steps, **options
        )

    # ── futures ──

    def simulate(
        self, history: Any, n: int = 100, horizon: int | None = None, *, known: Any = None, seed: int = 0
    ) -> Forecast:
        """n possible futures of a history.

        Args:
            history: a series as for `fit`, of which the last `context` steps are seen.
            horizon: steps; that of the training by default, any number is possible.
            known: of the covariates that are known in advance, (horizon, k) in the order of `fit`, or a table or
                mapping with columns of their names.

        Raises:
            UsageError: n or a horizon below 1, or covariates that are missing.
            DataError: a history that is too short or has other channels, or covariates of another shape.
        """
        horizon = self.horizon if horizon is None else horizon
        for name, value in (("n", n), ("horizon", horizon)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
                raise UsageError(f"{name} must be a whole number of at least 1 (got {value!r}): pass {name}=24")
        one = self._history(history)
        ahead = one.following(horizon, self._by_name(known))
        samples = self._draw([one], ahead[None], n, horizon, seed)[0]
        times = None
        if one.times is not None:
            times = after(one.times, horizon)
        return Forecast(samples, self.names, times)

    def _by_name(self, known: Any) -> Any:
        """Known covariates in the order of the training, where they have names."""
        if not isinstance(known, Mapping) and not hasattr(known, "columns"):
            return known
        lacking = [name for name in self.known if name not in known]
        if lacking:
            raise UsageError(
                f"known has no column {', '.join(lacking)}: give {', '.join(self.known)} of the coming steps"
            )
        if not self.known:
            raise UsageError("no columns were named as known in fit: give an array, or leave known out")
        return np.stack([np.asarray(known[name], np.float64).reshape(-1) for name in self.known], 1)

    def _history(self, history: Any) -> Series:
        if self.run is None:
            raise UsageError("the forecaster is not fitted: call fit first")
        table = hasattr(history, "columns")
        known = [c for c in self.known if c in history.columns] if table else []
        one = as_series(history, columns=self.names if table else None, known=known)
        if one.values.shape[1] != len(self.names):
            raise DataError(f"a history must have the channels {', '.join(self.names)} (got {one.values.shape[1]})")
        width = one.covariates.shape[1]
        if self.covariates is not None and width != self.covariates:
            raise DataError(
                f"a history must have {self.covariates} covariates: those known in advance "
                f"({', '.join(self.known) or 'not named'}) and six of its times (got {width}): give it as for fit"
            )
        if len(one) < self.context:
            raise DataError(f"a history must have at least {self.context} steps (got {len(one)})")
        return one

    def _draw(self, histories: list[Series], ahead: np.ndarray, n: int, horizon: int, seed: int) -> np.ndarray:
        """Futures (histories, n, horizon, channels) of covariates (histories, horizon, k)."""
        assert self.run is not None
        filled = [self._filled(one.values[-self.context :]) for one in histories]
        past = np.repeat(np.stack([z for z, _ in filled]), n, 0)
        gaps = np.repeat(np.stack([g for _, g in filled]).mean(1), n, 0)
        block, found = int(self.block or 1), []
        for k, start in enumerate(range(0, horizon, block)):
            part = ahead[:, start : start + block]
            part = np.concatenate((part, np.repeat(part[:, -1:], block - part.shape[1], 1)), 1)
            given = np.repeat(self._given(part, histories[0]), n, 0)
            mean, condition = self.linear(past, given), self._condition(past, gaps, given)
            drawn = [
                self.run.sample(len(c), condition=c, seed=seed + 7919 * k + 31 * i, with_condition=False)
                for i, c in enumerate(np.array_split(condition, -(-len(condition) // ROWS)))
            ]
            future = self.linear.inverse(np.concatenate(drawn).astype(np.float64), mean)
            found.append(future)
            past = np.concatenate((past, future), 1)[:, -self.context :]
            gaps = gaps * max(0.0, 1 - block / self.context)
        paths = np.concatenate(found, 1)[:, :horizon] * self.scale + self.middle
        return np.asarray(paths.reshape(len(histories), n, horizon, -1))

    def rolling(self, data: Any, starts: Sequence[int], n: int = 100, *, seed: int = 0) -> np.ndarray:
        """Futures (starts, n, horizon, channels) that begin at these steps of a series, each given the past before."""
        one = as_series(data)
        covariates = one.covariates
        histories = [self._history(one[max(0, at - self.context) : at]) for at in starts]
        ahead = np.stack([covariates[at : at + self.horizon] for at in starts])
        per = max(1, 20_000 // n)
        parts = [
            self._draw(histories[i : i + per], ahead[i : i + per], n, self.horizon, seed + 104_729 * i)
            for i in range(0, len(starts), per)
        ]
        return np.concatenate(parts)

    def given(self, one: Series, starts: Sequence[int]) -> np.ndarray:
        """What is known in advance of the blocks that begin at these steps: (starts, k)."""
        block, covariates = int(self.block or 1), one.covariates
        ahead = np.stack([covariates[np.minimum(np.arange(at, at + block), len(one) - 1)] for at in starts])
        return self._given(ahead, one)

    # ── files ──

    def save(self, folder: str | Path) -> Path:
        """Write the forecaster into a folder: the run and what surrounds it."""
        if self.run is None:
            raise UsageError("the forecaster is not fitted: call fit first")
        linear = self.linear
        arrays = {
            "middle": self.middle, "scale": self.scale, "directions": self.directions,
            "inputs_middle": linear.middle, "inputs_scale": linear.scale, "weights": linear.weights,
            "root": linear.root,
        }  # fmt: skip
        plain = {
            "horizon": self.horizon, "context": self.context, "model": self.model, "block": self.block,
            "seed": self.seed, "names": list(self.names), "gappy": self.gappy, "centre": linear.centre,
            "degree": linear.degree, "penalty": linear.penalty, "shape": list(linear.shape), "known": self.known,
            "covariates": self.covariates, "calendar": self.calendar,
        }  # fmt: skip
        with whole(Path(folder)) as aside:
            self.run.save(aside)
            write_arrays(aside / "forecast.npz", arrays)
            write_json(aside / "forecast.json", plain)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Forecaster":
        """The forecaster that `save` wrote."""
        folder = folder_of(folder, "forecast.json", "a forecaster")
        plain = read_json(folder / "forecast.json")
        own = {key: plain[key] for key in ("context", "model", "block", "seed")}
        made = cls(plain["horizon"], **own)
        made.names, made.gappy, made.run = tuple(plain["names"]), plain["gappy"], load(folder)
        made.known, made.covariates = list(plain.get("known", ())), plain.get("covariates")
        made.calendar = list(plain.get("calendar", made.calendar))
        with np.load(folder / "forecast.npz", allow_pickle=False) as arrays:
            a = {key: arrays[key] for key in arrays.files}
        made.middle, made.scale, made.directions = a["middle"], a["scale"], a["directions"]
        shape = (plain["shape"][0], plain["shape"][1])
        made.linear = LinearForecast(
            plain["centre"], plain["degree"], plain["penalty"], shape, a["inputs_middle"], a["inputs_scale"],
            a["weights"], a["root"],
        )  # fmt: skip
        return made
