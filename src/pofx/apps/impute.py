"""Imputation: any cells of a row given any others, as draws from the exact conditional of a circuit.

The rows are classes (`represent/table_bins`), the model answers for any subset of them (`Marginal`), so the law of what
is missing given what is known is a sum, not an approximation, whichever cells these are. Several draws show how much is
known (Rubin, 1987, multiple imputation); `transform` fills by their median or most frequent word. The floors are the
mean or mode of the column and the nearest rows, measured on cells that are known and were hidden.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
import typer
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    validate_data,
)

from pofx.core.errors import DataError, Unsupported
from pofx.core.model import Infilling, Marginal
from pofx.core.printed import aligned, show
from pofx.core.random import Streams
from pofx.data.columns import framed
from pofx.data.dated import Dated, in_days
from pofx.data.dates import plain_format
from pofx.declared import Csv, Seed, Table

GROUP = "Uses"
EXAMPLE = "pofx impute people.csv --out filled.csv"

DRAWS = 20  # of each missing cell, behind one value for it
MOST = 1_000  # completed tables that the verb writes, each into a file of its own
ATTEMPTS = 20  # draws for a cell that come out as missing, which a column with gaps can
BATCH = 250  # rows of one pass
STEPS = 100  # of training, where no budget is given
CHECKED = 400  # rows in which cells are hidden to measure the result
HIDDEN = 0.2  # share of their cells


class Imputer(TransformerMixin, BaseEstimator):
    """Missing cells of tables from the exact conditional, by a model that answers for any subset."""

    def __init__(
        self,
        model: str = "circuit",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        random_state: int = 0,
    ) -> None:
        """Args:
        model: a name of `pofx models` that answers for any subset of columns: circuit, or by a bound masked-diffusion.
        options: of the model, the trainer and the view, by name.
        minutes: the budget of training time.
        steps: the budget in steps, instead; 100 where no budget is given.
        random_state: of the training and the draws.
        """
        self.model, self.options, self.minutes, self.steps = model, options, minutes, steps
        self.random_state = random_state

    def fit(self, X: pd.DataFrame, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from rows, which may have missing cells, each as if it were there `sample_weight` times."""
        from pofx.runs.fitting import fit

        frame = self._rows(X, reset=True)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, frame, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise ValueError("sample_weight must be above 0 for some row (got 0 for all): leave it out")
        budget: dict[str, Any] = {"minutes": self.minutes, "steps": self.steps}
        if self.minutes is None and self.steps is None:
            budget["steps"] = STEPS
        options = dict(self.options or {})
        shared: dict[str, Any] = {"seed": self.random_state, "weight": sample_weight, "progress": False}
        self.run_ = fit(frame, self.model, **shared, **budget, **options)
        if (
            not isinstance(self.run_.model, Marginal)
            or not isinstance(self.run_.model, Infilling)
            or not hasattr(self.run_.representation, "places")
        ):
            raise Unsupported(f"{self.model} cannot answer for any subset of columns as classes: choose circuit")
        self.usual_ = {c: frame[c].dropna().iloc[0] for c in frame.columns if frame[c].notna().any()}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan, tags.transformer_tags.preserves_dtype = True, []
        return tags

    def _rows(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """A table: of a DataFrame columns are found by name, of an array by place."""
        if framed(X) is None:
            X = validate_data(
                self, X, reset=reset, dtype=None, ensure_all_finite=False, ensure_min_samples=1 + 2 * reset
            )
        elif reset:
            _check_feature_names(self, X, reset=True)
            _check_n_features(self, X, reset=True)
        return rows_of(X)

    @property
    def _view(self) -> Any:
        return self.run_.representation

    def _known(self, frame: pd.DataFrame) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows as classes, which dimensions are known, and log f inside the classes of known columns: (n,).

        Cells that no training row could have are taken as unknown, and log f is -inf there.
        """
        view = self._view
        lacking = [c for c in view.columns if c not in frame.columns]
        if lacking:
            raise DataError(f"the table lacks the columns {', '.join(lacking)}: add them, empty where unknown")
        missing = torch.from_numpy(np.array(frame[view.varying].isna()))
        filled = frame[view.columns].copy()
        for column in view.columns:
            if column in self.usual_ and filled[column].isna().any():
                given = filled[column].astype(object)
                filled[column] = given.where(given.notna(), self.usual_[column]).infer_objects()
        impossible: list[int] = []
        for column, at in self._strange(filled).items():
            filled[column] = filled[column].astype(object)
            filled.loc[at, column] = self.usual_.get(column)
            filled[column] = filled[column].infer_objects()
            impossible += at
            if column in view.varying:
                missing[at, view.varying.index(column)] = True
        x, inside = view.encode_columns(self.run_.placed(filled))
        missing = missing.to(x.device)
        widths = torch.from_numpy(np.diff([*view.places, x.shape[1]])).to(x.device)
        log_f = inside.masked_fill(missing, 0.0).sum(1)
        log_f[impossible] = -torch.inf
        return x, (~missing).repeat_interleave(widths, 1), log_f

    def _strange(self, filled: pd.DataFrame) -> dict[str, list[int]]:
        """The cells by column that no training row could have, which nothing can be concluded from: a new word."""
        found: dict[str, list[int]] = {}
        reasons = self._view.impossible(filled)
        rows = filled.iloc[list(reasons)]
        for column in self._view.columns if len(rows) else ():
            others = {c: self.usual_[c] for c in self._view.columns if c != column and c in self.usual_}
            alone = rows.assign(**others).astype({c: filled[c].dtype for c in others}).reset_index(drop=True)
            if at := [list(reasons)[i] for i in self._view.impossible(alone)]:
                found[column] = at
                warnings.warn(
                    f"column {column}: {reasons[at[0]]} (row {at[0]}, {len(at)} in all): these cells stay as they are, "
                    "and nothing is concluded from them",
                    stacklevel=4,
                )
        return found

    @torch.inference_mode()
    def log_prob(self, X: Any) -> np.ndarray:
        """log p of the known cells of each row in nats, -inf where one of them cannot occur: (n,)."""
        model = self.run_.model
        assert isinstance(model, Marginal)
        x, known, inside = self._known(self._rows(X, reset=False))
        return np.asarray((model.log_marginal(x, known).double() + inside).cpu().numpy())

    @torch.inference_mode()
    def draws(self, X: Any, n: int = DRAWS) -> list[pd.DataFrame]:
        """n tables in which every missing cell is drawn given the known ones of its row."""
        frame = self._rows(X, reset=False)
        x, known, _ = self._known(frame)
        index = _index(X, len(frame))
        return [self._drawn(frame, x, known, self.random_state + 1000 * k).set_axis(index) for k in range(n)]

    def _drawn(self, frame: pd.DataFrame, x: torch.Tensor, known: torch.Tensor, seed: int) -> pd.DataFrame:
        model, view = self.run_.model, self._view
        assert isinstance(model, Infilling)
        missing = frame[view.columns].isna().to_numpy(copy=True)
        missing[:, [c not in self.usual_ for c in view.columns]] = False  # nothing is known of these columns
        found = np.array(frame[view.columns].astype(object).to_numpy())
        rows = np.flatnonzero(missing.any(1))
        for attempt in range(ATTEMPTS):
            for part in np.array_split(rows, max(1, -(-len(rows) // BATCH))) if len(rows) else ():
                streams = Streams(seed + attempt, len(part), first=int(part[0]), device=x.device)
                done = model.complete(x[part], known[part], generator=streams)
                new = view.items(view.drawn(done, streams).cpu()).astype(object).to_numpy()
                found[part] = np.where(missing[part], new, found[part])
            again = pd.isna(found[rows]) & missing[rows]  # a column with gaps can be drawn as missing
            rows = rows[again.any(1)]
            if not len(rows):
                break
        for j, column in enumerate(view.columns):
            gaps = pd.isna(found[:, j])
            found[gaps, j] = self.usual_.get(column)
        whole = pd.DataFrame(found, columns=view.columns, index=frame.index)
        return frame.assign(**{c: _typed(whole[c], frame[c]) for c in view.columns})

    def transform(self, X: Any) -> pd.DataFrame:
        """The table with its missing cells filled by the median or the most frequent word of the draws."""
        frame = self._rows(X, reset=False)
        drawn, filled, dated = self.draws(frame), frame.copy(), Dated(frame)
        for column in self._view.columns:
            gaps = frame[column].isna()
            if gaps.any():
                values = pd.concat([d.loc[gaps, column] for d in drawn], axis=1)
                if values.isna().all(axis=None):
                    continue  # a column without any known cell: there is nothing to fill it with
                one = usual_of(values, dated.formats.get(column))
                filled[column] = _typed(filled[column].astype(object).where(~gaps, one), frame[column])
        return filled.set_axis(_index(X, len(filled)))


def usual_of(values: pd.DataFrame, form: str | None) -> pd.Series:
    """One value of each row of draws: the median of numbers and dates, one of the draws, else the most frequent word.

    Args:
        form: in which dates are written, None where they are dates or are none.
    """
    if all(map(pd.api.types.is_numeric_dtype, values.dtypes)):
        return values.quantile(0.5, axis=1, interpolation="nearest")
    plain = values.to_numpy(dtype=object)
    if form is not None:
        flat = pd.Series(plain.ravel(), dtype=object)
        moments: Any = pd.to_datetime(flat, format=plain_format(form), errors="coerce")
    elif all(dtype.kind == "M" for dtype in values.dtypes):
        moments = pd.to_datetime(pd.Series(plain.ravel(), dtype=object), utc=True)
    else:
        return values.mode(axis=1)[0]
    order = moments.rank(method="first").to_numpy().reshape(plain.shape)  # NaN where there is no date
    middle = ((~np.isnan(order)).sum(1) - 1).clip(min=0) // 2
    at = np.argsort(order, axis=1)[np.arange(len(plain)), middle]
    return pd.Series(plain[np.arange(len(plain)), at], index=values.index, dtype=object)


def _typed(values: pd.Series, given: pd.Series) -> pd.Series:
    """Filled values in the type that holds them, or in the column's own: categories, Int64, texts."""
    return values.infer_objects() if isinstance(given.dtype, np.dtype) else values.astype(given.dtype)


def _index(X: Any, n: int) -> Any:
    """The names of rows, which what is returned has too: joined to their table, rows meet their own."""
    given = framed(X)
    return pd.RangeIndex(n) if given is None else given.index


def rows_of(X: Any) -> pd.DataFrame:
    """A table with columns that are called by texts, and rows by numbers."""
    given = framed(X)
    frame = pd.DataFrame(np.asarray(X)) if given is None else given
    return frame.rename(columns=str).reset_index(drop=True)


def hidden(frame: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A table in which this share of the known cells is missing, and which those are."""
    at = (np.random.default_rng(seed).random(frame.shape) < share) & frame.notna().to_numpy()
    return frame.mask(pd.DataFrame(at, index=frame.index, columns=frame.columns)), at


def simple(train: pd.DataFrame, new: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """New rows filled by the mean or mode of each column, and by the five nearest training rows."""
    numbers = [c for c in train.columns if pd.api.types.is_numeric_dtype(train[c])]
    words = {c: sorted(train[c].dropna().astype(str).unique()) for c in train.columns if c not in numbers}

    def coded(frame: pd.DataFrame) -> np.ndarray:
        columns = [frame[c].to_numpy(np.float64, na_value=np.nan) for c in numbers]
        scaled = [(x - train[c].mean()) / (train[c].std() or 1.0) for x, c in zip(columns, numbers, strict=True)]
        for c, names in words.items():
            gaps = frame[c].isna().to_numpy()
            scaled += [np.where(gaps, np.nan, (frame[c].astype(str) == name) * 0.7) for name in names[:50]]
        return np.stack(scaled, 1)

    few, found = train.sample(min(len(train), 2000), random_state=0), {}
    for name, imputer in (("mean or mode", SimpleImputer()), ("5 nearest rows", KNNImputer(n_neighbors=5))):
        z = imputer.set_params(keep_empty_features=True).fit(coded(few)).transform(coded(new))
        filled = new.copy()
        for j, c in enumerate(numbers):
            value = pd.Series(z[:, j] * (train[c].std() or 1.0) + train[c].mean(), index=new.index)
            filled[c] = new[c].astype(float).where(new[c].notna(), value)
        at = len(numbers)
        for c, names in words.items():
            best = pd.Series(np.array(names[:50])[z[:, at : at + len(names[:50])].argmax(1)], index=new.index)
            filled[c] = new[c].where(new[c].notna(), best)
            at += len(names[:50])
        found[name] = filled
    return found


def compared(imputer: Imputer, train: pd.DataFrame, new: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Accuracy of words and CRPS of numbers, in standard deviations, on hidden cells: ours and the simple ones."""
    partial, at = hidden(new, HIDDEN, seed)
    draws = imputer.draws(partial)
    train, new, partial, point, *draws = in_days([train, new, partial, imputer.transform(partial), *draws], train)
    tables = {"circuit": (draws, point)}
    tables |= {name: ([table], table) for name, table in simple(train, partial).items()}
    rows = []
    for name, (samples, one) in tables.items():
        right, scores = [], []
        for j, c in enumerate(new.columns):
            truth = new.loc[at[:, j], c]
            if pd.api.types.is_numeric_dtype(new[c]):
                x = np.stack([s.loc[at[:, j], c].to_numpy(np.float64) for s in samples])
                near = np.abs(x - truth.to_numpy(np.float64)).mean(0)
                pairs = np.abs(x[:, None] - x[None]).mean((0, 1)) * (len(x) / max(len(x) - 1, 1))
                scores.append(((near - 0.5 * pairs) / (train[c].std() or 1.0)).mean())
            else:
                right.append((one.loc[at[:, j], c].astype(str) == truth.astype(str)).mean())
        rows.append({"method": name, "accuracy": np.nanmean(right or [np.nan]), "CRPS": np.nanmean(scores or [np.nan])})
    return pd.DataFrame(rows).set_index("method")


def impute(
    source: Table,
    out: Csv = Path("imputed.csv"),
    draws: Annotated[
        int, typer.Option(min=0, max=MOST, help="Also write so many completed tables, one after the other.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Steps of training.")] = STEPS,
    seed: Seed = 0,
) -> str:
    """Fill the empty cells of a table from what its rows have in common.

    The mean or mode and the nearest rows are measured beside, on cells that are known and were hidden.
    """
    from pofx.data.arrays import write_frame
    from pofx.data.frames import rows_in

    frame = rows_of(rows_in(source))
    order = np.random.default_rng(seed).permutation(len(frame))
    held, rest = order[: min(CHECKED, len(frame) // 5)], order[min(CHECKED, len(frame) // 5) :]
    imputer = Imputer(steps=steps, random_state=seed).fit(frame.iloc[np.sort(rest)])
    if len(held) >= 10:
        train, new = rows_of(frame.iloc[rest]), rows_of(frame.iloc[held])
        show(aligned(compared(imputer, train, new, seed), 4))
    filled = imputer.transform(frame)
    write_frame(filled, out)
    for k, table in enumerate(imputer.draws(frame, draws) if draws else ()):
        write_frame(table, out.with_name(f"{out.stem}_{k + 1}.csv"))
    return f"{int(frame.isna().sum().sum())} cells filled"
