"""Synthetic tables: rows like those of a table, under constraints, given values, or differential privacy.

The default model is `made` on the rows as classes (docs/benchmarks.md has the numbers): words, numbers and gaps alike.
Rows given values need a `circuit`. With `epsilon` it is a private tree of counts (`mst`), usually the most useful of
private methods on tables (Tao et al., 2021, arXiv 2112.09238), whose noise no seed repeats. Every number of the report
is beside that of independent columns, of a Gaussian copula, and of real held-out rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, _check_n_features, validate_data

from pofx.apps.constraint_texts import constraints_of
from pofx.apps.constraints import Inequality, Sum, Together
from pofx.apps.plain_rows import learnable
from pofx.core.errors import DataError, UsageError, unknown
from pofx.data.columns import framed, left_out
from pofx.data.dated import Dated, days, moments
from pofx.data.dates import plain_format
from pofx.data.kinds.table import numeric
from pofx.data.schema import describe

PUBLIC = ("Synthesizer",)

STEPS = 500  # of training, where no budget is given
OTHER = "other"
FEWEST = 10  # rows
MOST_CLASSES, LEAST_OF_CLASS = 30, 20  # of a target that trees draw: classes, rows of each
TRIES = 40  # times that rows which break a constraint are drawn anew
FLOOR_ROWS = 20_000  # rows that floors are fitted to


class Synthesizer(BaseEstimator):
    """Learns the rows of a table, and draws others."""

    trees: "TargetTrees | None" = None
    accepted = 1.0

    def __init__(
        self,
        model: str | None = None,
        *,
        constraints: Sequence[str] = (),
        epsilon: float | None = None,
        delta: float = 1e-6,
        domain: Mapping[str, Any] | None = None,
        target: str | None = None,
        target_trees: bool = True,
        k: int = 1,
        weight: Any = None,
        balance: str | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        model: a name of `pofx models`: "made" (the most useful rows), "circuit" (rows given any values, the fastest
            draws) …; "made" where none is named. With `epsilon` "mst" (the usual choice), "aim", "dp-independent",
            or a model of classes with one loss per row, which is trained by DP-SGD.
        constraints: such as "end >= start", "total = net + tax", "city, country", "18 <= age <= 90", "plan in a | b".
        epsilon: of differential privacy: the fit is (epsilon, delta)-private for tables that differ in one row.
        delta: below one over the number of rows.
        domain: what columns can hold, of public knowledge: (low, high) or a list of categories.
        target: the column that others are to predict, which private trees take into account.
        target_trees: whether a target of categories is drawn by boosted trees of the real rows, given the other columns
            of a drawn row: what predicts it is learned best by what will predict it. Not with `epsilon`.
        k: categories that fewer rows hold are merged into "other".
        weight: how much each row counts: a column, or one number per row.
        balance: groups that count the same: a column.
        minutes, steps: the budget of training.
        options: of the model, the trainer and the view, by name.
        seed: of the training and the draws; private noise has none.
        """
        self.model, self.constraints, self.epsilon, self.delta = model, constraints, epsilon, delta
        self.domain, self.target, self.k, self.weight, self.balance = domain, target, k, weight, balance
        self.target_trees, self.minutes, self.steps, self.seed = target_trees, minutes, steps, seed
        self.options = options
        self._check()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    @property
    def named(self) -> str:
        """The name of the model."""
        return self.model or ("made" if self.epsilon is None else "mst")

    def _check(self) -> None:
        """Refuse options that exclude each other.

        Raises:
            UsageError: which do.
        """
        if self.epsilon is not None:
            if not 0 < self.epsilon < math.inf:
                raise UsageError(f"epsilon must be a number above 0 (got {self.epsilon}): pass 1, or leave it out")
            if not 0 < self.delta < 1:
                raise UsageError(f"delta must lie between 0 and 1, below 1 / rows (got {self.delta}): pass 1e-6")
            _check_private(self.named)
            if self.weight is not None or self.balance is not None:
                raise UsageError("a private count counts each row once: leave weight and balance out with epsilon")
            if self.k > 1:
                raise UsageError("k reads the rows: with epsilon rare categories are merged privately; leave k out")
        if self.k < 1:
            raise UsageError(f"k must be at least 1 (got {self.k}): pass k=5")

    def fit(self, frame: Any, y: Any = None) -> "Synthesizer":
        """Learn from rows, a DataFrame or an array; `y` is not read.

        Raises:
            DataError: too few rows, or rows that break a constraint.
        """
        self._check()
        if isinstance(frame, str | Path):
            raise DataError(f"rows are a DataFrame or an array (got the path '{frame}'): read it by pandas first")
        if framed(frame) is None:
            frame = validate_data(self, frame, dtype=None, ensure_all_finite=False, ensure_min_samples=FEWEST)
            frame = pd.DataFrame(frame, columns=[f"x{i}" for i in range(frame.shape[1])])
        else:
            _check_feature_names(self, frame.rename(columns=str), reset=True)
            _check_n_features(self, frame, reset=True)
        frame, self.left_out = modelled(frame)
        self.dated = Dated(frame)
        frame = self.dated.forward(frame)
        if self.target is not None and self.target not in frame.columns:
            raise UsageError(f"target must be a column (got '{self.target}'): choose one of {', '.join(frame.columns)}")
        if isinstance(self.weight, str) and self.weight in frame.columns:
            weights = frame.pop(self.weight).to_numpy()
        else:
            weights = self.weight
        self.columns, self.numeric = list(frame.columns), {c: numeric(frame[c]) for c in frame.columns}
        self.dtypes = {c: frame[c].dtype for c in frame.columns if self.numeric[c]}
        self.rules = constraints_of(self.constraints, frame)
        rows, self.merged = merged(frame, self.k)
        for constraint in self.rules:
            rows = constraint.forward(rows)
        if self.epsilon is not None:
            self._fit_private(rows)
            return self
        from pofx.runs.fitting import fit

        budget: dict[str, Any] = {"minutes": self.minutes, "steps": self.steps}
        if self.minutes is None and self.steps is None:
            budget["steps"] = STEPS
        joint = {c.name: "category" for c in self.rules if isinstance(c, Together)}
        if joint:
            rows = rows.astype(joint)
        shared: dict[str, Any] = {"weight": weights, "balance": self.balance, "seed": self.seed, "progress": False}
        options = {**({"represent": "bins"} if self.named == "made" else {}), **(self.options or {})}
        self.run = fit(rows, self.named, **shared, **budget, **options)
        self.trees = None
        if self.target_trees and self.target is not None and self.balance is None:
            constrained = any(self.target in c.names for c in self.rules)
            learned = merged(frame, self.k)[0]
            count = None if weights is None else np.asarray(weights, np.float64)
            self.trees = None if constrained else TargetTrees.fit(learned, self.target, count, self.seed)
        return self

    def _fit_private(self, rows: pd.DataFrame) -> None:
        from pofx.apps.private_table import PrivateTable

        if any(isinstance(c, Together) for c in self.rules):
            raise UsageError("fixed combinations list the pairs of the rows, which is not private: leave them out")
        if self.delta * len(rows) >= 1:
            raise UsageError(
                f"delta must be below 1 / rows, {1 / len(rows):.2g} (got {self.delta:g}): pass a smaller one"
            )
        dates = [c for c in rows.columns if rows[c].dtype.kind in "mM"]
        counted = rows.assign(**{c: days(rows[c]) for c in dates})
        target = self.target if self.target in rows.columns else None
        assert self.epsilon is not None
        own = {k: v for k, v in (self.options or {}).items() if k != "represent"}
        shared: dict[str, Any] = {"target": target, "domain": self._public(rows), "options": own, "seed": self.seed}
        if self.steps is not None:
            shared["steps"] = self.steps
        self.moments = {c: rows[c].dtype for c in dates}
        self.private = PrivateTable(self.epsilon, self.delta, model=self.named, **shared).fit(counted)

    def _public(self, rows: pd.DataFrame) -> dict[str, Any]:
        """The stated domains of what is modelled: dates in days, gaps from the ranges of both of their ends."""
        stated = dict(self.domain or {})
        for name in stated:
            if name not in self.columns and name not in rows.columns:
                raise unknown("column of the domain", name, self.columns)
        for name, value in stated.items():
            dates = name in self.dated.formats or (name in rows.columns and rows[name].dtype.kind == "M")
            if isinstance(value, tuple) and dates:
                ends, form = pd.Series([str(v) for v in value]), self.dated.formats.get(name)
                found = pd.to_datetime(ends, format=plain_format(form), errors="coerce")
                found = found.where(found.notna(), pd.to_datetime(ends, errors="coerce", format="mixed"))
                if found.isna().any():
                    raise UsageError(f"the range of {name} must be two dates (got {value[0]} to {value[1]})")
                stated[name] = tuple(days(found))
            elif isinstance(value, tuple) and any(isinstance(v, str) for v in value):
                raise UsageError(f"the range of {name} must be two numbers (got {value[0]} to {value[1]})")
        for c in self.rules:
            if isinstance(c, Inequality) and c.low in stated and c.high in stated and c.gap in rows.columns:
                stated[c.gap] = (0.0, max(float(stated[c.high][1]) - float(stated[c.low][0]), 0.0))
        return {name: value for name, value in stated.items() if name in rows.columns}

    @property
    def unstated(self) -> list[str]:
        """The columns whose domain was read from the rows, which ε does not cover."""
        if self.epsilon is None:
            return []
        gaps = {c.gap: c.high for c in self.rules if isinstance(c, Inequality)}
        return [gaps.get(name, name) for name in self.private.unstated]

    def sample(self, n: int, *, given: Any = None, seed: int | None = None) -> pd.DataFrame:
        """n rows that obey the constraints; with `given`, known values by column, rows given these.

        Rows that break a range are drawn again: their law is that of the model given the constraint. `accepted` is the
        share of draws that obeyed.

        Raises:
            UsageError: values of columns that the model cannot take as known.
            DataError: hardly any draw obeys.
        """
        if not hasattr(self, "columns"):
            raise UsageError("the synthesizer must learn before it draws: call fit(frame) first")
        seed = self.seed if seed is None else seed
        known = None if given is None else self._known(given, n)
        each = known is not None and len(known) > 1  # values of every row
        left, parts, drawn, obeyed = np.arange(n), list[pd.DataFrame](), 0, 0
        for attempt in range(TRIES):
            share = max(obeyed / drawn, 0.02) if drawn else 1.0
            some = len(left)
            if attempt and not each:
                some = int(min(max(some * 1.1 / share, 16), 20 * n + 64))
            wanted = known.iloc[left].reset_index(drop=True) if known is not None and each else known
            rows = self._drawn(some, wanted, seed + 7919 * attempt)
            good = self._good(rows, wanted)
            drawn, obeyed = drawn + len(rows), obeyed + int(good.sum())
            at = left[good] if each else left[: int(good.sum())]
            parts.append(rows[good].head(len(at)).set_axis(at))
            left = np.setdiff1d(left, at)
            if not len(left):
                break
        self.accepted = obeyed / max(drawn, 1)
        if len(left):
            sums = {name for c in self.rules if isinstance(c, Sum) for name in c.builds}
            given_sums = sums & set(known.columns) if known is not None else set()
            mend = f", or solve the sum for another column than {min(given_sums)}" if given_sums else ""
            raise DataError(
                f"only {n - len(left):,} of {n:,} rows obey the constraints and known values ({self.accepted:.2%} of "
                f"the draws): relax them{mend}"
            )
        return self.dated.backward(pd.concat(parts).sort_index())

    def _known(self, given: Any, n: int) -> pd.DataFrame:
        """Known values as one row, or as n, of the types of the table.

        Raises:
            UsageError: a column that there is not, or another number of rows.
            DataError: values that no row can have.
        """
        frame = pd.DataFrame(given if framed(given) is not None else {str(k): [v] for k, v in dict(given).items()})
        frame = frame.rename(columns=str).reset_index(drop=True)
        for name in frame.columns:
            if name not in self.columns:
                raise unknown("known column", name, self.columns)
        if len(frame) not in (1, n):
            raise UsageError(f"known values must be one row, or one for each of {n:,} (got {len(frame):,})")
        known = self.dated.forward(frame)
        for name in frame.columns:
            lost = known[name].isna() & frame[name].notna()
            if lost.any():
                raise DataError(f"{name} must be a date as the table has (got '{frame[name][lost].iloc[0]}')")
            if self.numeric[name] and not numeric(known[name]):
                try:
                    known[name] = pd.to_numeric(known[name])
                except ValueError as error:
                    raise DataError(f"{name} must be a number (got '{known[name].iloc[0]}')") from error
            if self.numeric[name] and self.dtypes[name].kind == "f":
                known[name] = known[name].astype(self.dtypes[name])  # 5 is 5.0 in a column of fractions
        for c in self.rules:
            if set(c.names) <= set(known.columns) and not c.holds(known).all():
                raise DataError(f"the known values break the constraint '{c.text}': mend them")
        return known

    def _good(self, rows: pd.DataFrame, known: pd.DataFrame | None) -> np.ndarray:
        """Which rows obey the constraints, and have the known values that the model was not given."""
        good = np.ones(len(rows), bool)
        for constraint in self.rules:
            good &= constraint.holds(rows)
        for name in known.columns if known is not None else ():
            assert known is not None
            wanted = known[name].to_numpy() if len(known) > 1 else known[name].iloc[0]
            same = rows[name].isna() if np.ndim(wanted) == 0 and pd.isna(wanted) else rows[name] == wanted
            if self.numeric[name]:
                same |= np.isclose(rows[name].to_numpy(np.float64, na_value=np.nan), np.asarray(wanted, np.float64))
            else:
                same |= rows[name].astype(str) == pd.Series(wanted, index=rows.index).astype(str)
            good &= np.asarray(same, dtype=bool)
        return good

    def _drawn(self, n: int, known: pd.DataFrame | None, seed: int) -> pd.DataFrame:
        """Rows of the table's columns: those of the model given what it can be given."""
        if self.epsilon is not None:
            rows = self.private.sample(n, seed)
            rows = rows.assign(**{c: moments(rows[c], dtype) for c, dtype in self.moments.items() if c in rows})
        else:
            for constraint in self.rules if known is not None else ():
                built = set(constraint.builds)
                assert known is not None
                if built & set(known.columns):
                    all_known = set(constraint.names) <= set(known.columns)
                    known = constraint.forward(known) if all_known else known.drop(columns=list(built), errors="ignore")
            given: Any = None if known is None or known.shape[1] == 0 else known
            if given is not None and len(given) == 1:
                given = given.iloc[0].to_dict()
            rows = self.run.sample(n, given=given, seed=seed)
        for constraint in reversed(self.rules):
            rows = constraint.backward(rows)
        rows = rows[self.columns]
        if self.trees is not None and (known is None or self.target not in known.columns):
            rows = rows.assign(**{self.trees.target: self.trees.draw(rows, seed)})
        return rows


@dataclass(frozen=True)
class TargetTrees:
    """p(target | other columns) by boosted trees, their number chosen by held-out rows."""

    target: str
    model: Any
    known: pd.DataFrame  # rows by whose words others are coded
    values: pd.Series  # of the classes, in their order

    @classmethod
    def fit(cls, frame: pd.DataFrame, target: str, weight: np.ndarray | None, seed: int) -> "TargetTrees | None":
        """None where the target is no category, or one of too many."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        column = frame[target]
        codes, values = pd.factorize(column, use_na_sentinel=False)
        counts = np.bincount(codes)
        if not 2 <= len(counts) <= MOST_CLASSES or counts.min() < LEAST_OF_CLASS or column.dtype.kind == "f":
            return None
        known = frame.drop(columns=target)
        model = HistGradientBoostingClassifier(
            categorical_features="from_dtype", early_stopping=True, learning_rate=0.06, max_iter=400, random_state=seed
        )
        model.fit(learnable(known, known), codes, sample_weight=weight)
        return cls(target, model, known, pd.Series(values))

    def draw(self, rows: pd.DataFrame, seed: int) -> pd.Series:
        """A value of the target for each row, of its type."""
        p = self.model.predict_proba(learnable(rows, self.known))
        u = np.random.default_rng([seed, 11]).random((len(rows), 1))
        at = (p.cumsum(1) < u * p.sum(1, keepdims=True)).sum(1).clip(max=p.shape[1] - 1)
        drawn = self.values.iloc[self.model.classes_[at]].set_axis(rows.index)
        return drawn.astype(rows[self.target].dtype)


def _check_private(model: str) -> None:
    """Refuse a model that is not private: it counts without noise, or has no loss per row of classes.

    Raises:
        UsageError: which is private.
    """
    from pofx.core import config
    from pofx.core.event import Discrete
    from pofx.core.model import OnePhase

    row = config.entry(model)
    counts = "epsilon" in config.defaults(row.model) and row.values.get("epsilon", 1.0) != 0
    descends = issubclass(row.model, OnePhase) and Discrete in row.model.events and row.model.unequal
    if not counts and not (descends and row.traits.family != "circuit"):
        raise UsageError(f"{model} is not private: with epsilon choose mst, aim, dp-independent or made")


def modelled(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns that can be learned, and why others are left out: ids, free text, columns of nothing."""
    frame = frame.rename(columns=str).reset_index(drop=True)
    if frame.columns.duplicated().any():
        raise DataError(f"two columns are called '{frame.columns[frame.columns.duplicated()][0]}': rename one")
    if len(frame) < FEWEST:
        raise DataError(f"the table has {len(frame)} rows: at least {FEWEST} are needed to learn from")
    infinite = [
        c for c in frame.columns if numeric(frame[c]) and np.isinf(frame[c].to_numpy(np.float64, na_value=0)).any()
    ]
    if infinite:
        raise DataError(f"column {infinite[0]} has infinite values: make them missing or drop their rows")
    words = [c for c in frame.columns if not numeric(frame[c])]
    found = left_out(describe(frame[words]), {}, len(frame)) if words else {}
    found |= {c: "all of its values are missing" for c in frame.columns if frame[c].isna().all()}
    frame = frame.drop(columns=list(found))
    if frame.shape[1] == 0:
        raise DataError("no column is left to learn from: give columns of numbers or categories")
    return frame, found


def merged(frame: pd.DataFrame, k: int) -> tuple[pd.DataFrame, dict[str, int]]:
    """A table whose categories of fewer than k rows are one, and how many were merged by column."""
    frame, found = frame.copy(), {}
    for name in frame.columns if k > 1 else ():
        if not numeric(frame[name]) and frame[name].dtype.kind not in "mMb":
            counts = frame[name].value_counts()
            rare = set(counts.index[counts < k])
            if rare:
                column = frame[name].astype(object)
                frame[name], found[name] = column.where(~column.isin(rare), OTHER), len(rare)
    return frame, found


def floors(train: pd.DataFrame, n: int, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Rows of the simple methods: columns drawn independently from the real ones, and a Gaussian copula."""
    from pofx.runs.fitting import fit

    generator = np.random.default_rng(seed)
    alone = {c: train[c].iloc[generator.integers(len(train), size=n)].reset_index(drop=True) for c in train.columns}
    found = {"independent": pd.DataFrame(alone)}
    try:
        few = train.head(FLOOR_ROWS)
        run = fit(few, "copula", steps=1, seed=seed, progress=False)
        found["copula"] = run.sample(n, seed=seed)
    except (DataError, UsageError):  # a table that a copula cannot be fitted to has one floor less
        pass
    return found
