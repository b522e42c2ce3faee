"""Oversampling of rare classes by a density of each, and a report of whether it helps at all.

On tables it often does not: weights of classes or a moved threshold do the same for less (Elor and Averbuch-Elor, 2022,
arXiv 2201.08528). The report therefore always lists doing nothing, class weights, a moved threshold, repeated rows and
SMOTE (Chawla et al., 2002) beside, on real test folds that no generated row has seen, with an interval of the gain.
`GenerativeOversampler` has the verb of imbalanced-learn; inside its pipelines it runs in training alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import typer
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_consistent_length,
    column_or_1d,
    validate_data,
)

from pofx.apps.plain_rows import Plain, learnable
from pofx.core.printed import aligned, show
from pofx.data.columns import framed
from pofx.declared import Csv, Seed, Table

GROUP = "Uses"
EXAMPLE = "pofx augment transactions.csv --label fraud --out more.csv"

MODELS: Mapping[str, tuple[str, dict[str, Any], int | None]] = {  # where none is stated, with options and steps
    "numbers": ("kde", {}, None),
    "mixed": ("circuit", {"states": 16}, 60),
}
FEWEST = 5  # rows of a class that a density is learned from; fewer are repeated
LEAST = 10  # rows of the rare class: two in each of five test folds
MINUTES = 0.5  # of training of each class of pictures, where no budget is given
SPARE = 2  # times the rows that are needed are drawn, where a filter chooses among them
LogP = Callable[[Any], np.ndarray]


class GenerativeOversampler(BaseEstimator):
    """Rows or pictures of rare classes drawn from a density of each class, until classes are equal in number."""

    def __init__(
        self,
        model: str | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        ratio: float = 1.0,
        keep: str = "all",
        random_state: int = 0,
    ) -> None:
        """Args:
        model: a name of `pofx models`; None takes `kde` of numbers and pictures, a small `circuit` of rows with words
            or gaps.
        options: of the model, the trainer and the view, by name.
        minutes: the budget of training time for each class.
        steps: the budget in steps, instead.
        ratio: rows of every class afterwards, as a share of the most frequent one.
        keep: which of twice as many draws are taken: "all" (no choice), "dense" (the most probable), "confident" (a
            classifier of the real rows agrees most), "near" (nearest to real rows of the class, against others).
        random_state: of trainings and draws.
        """
        self.model, self.options, self.minutes, self.steps = model, options, minutes, steps
        self.ratio, self.keep, self.random_state = ratio, keep, random_state

    def check(self) -> None:
        """Refuse values of the options that there are not.

        Raises:
            ValueError: which it is.
        """
        if self.keep not in ("all", "dense", "confident", "near"):
            raise ValueError(f"keep must be all, dense, confident or near (got {self.keep!r})")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"ratio must lie above 0 and at most at 1 (got {self.ratio}): pass ratio=1")

    def fit(self, X: Any, y: Any) -> Self:
        """Check rows and classes, and count the rows of each class that are lacking: `sampling_strategy_`."""
        self._taken(X, y)
        return self

    def _taken(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        """Rows and labels as they are drawn from."""
        self.check()
        if y is None:
            raise ValueError("GenerativeOversampler requires y to be passed, but the target y is None")
        labels = column_or_1d(y, warn=True)
        if pd.isna(labels).any():
            raise ValueError("y must name a class in every row (some are missing): drop these rows")
        check_classification_targets(labels)
        if framed(X) is not None:
            _check_feature_names(self, X.rename(columns=str), reset=True)
            _check_n_features(self, X, reset=True)
        elif not hasattr(X, "ndim") or X.ndim <= 2:
            whole = getattr(getattr(X, "dtype", None), "kind", "f") in "iub"
            X = validate_data(self, X, dtype=None if whole else np.float64, ensure_all_finite="allow-nan")
        check_consistent_length(X, labels)
        self.classes_, counts = np.unique(labels, return_counts=True)
        lacking = np.maximum(np.round(self.ratio * counts.max()) - counts, 0).astype(int)
        self.sampling_strategy_ = {c: int(k) for c, k in zip(self.classes_.tolist(), lacking, strict=True) if k}
        return X, labels

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required, tags.input_tags.allow_nan = True, True
        tags.input_tags.three_d_array = True
        return tags

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The rows X (n, d), or pictures (n, H, W) or (n, H, W, C), with their classes y (n,), and drawn ones of rare
        classes behind them."""
        X, labels = self._taken(X, y)
        parts, added = [X], [labels]
        for k, name in enumerate(self.classes_):
            if lacking := self.sampling_strategy_.get(name.item() if hasattr(name, "item") else name, 0):
                parts.append(self._drawn(X, labels, name, lacking, self.random_state + k))
                added.append(np.full(lacking, name))
        whole = np.concatenate(added)
        self.generated_ = np.arange(len(whole)) >= len(labels)
        if framed(X) is not None:
            rows: Any = pd.concat(parts, ignore_index=True)
        else:
            rows = np.concatenate([np.asarray(part) for part in parts])
        return rows, pd.Series(whole, name=y.name) if isinstance(y, pd.Series) else whole

    def _drawn(self, X: Any, labels: np.ndarray, name: Any, n: int, seed: int) -> Any:
        own = X[labels == name]
        if len(own) < FEWEST:
            return repeated(own, n, seed)
        pictures = framed(X) is None and np.ndim(X) > 2
        drawn, log_p = (self._pictures if pictures else self._rows)(own, n if self.keep == "all" else SPARE * n, seed)
        if self.keep == "all":
            return drawn
        x: Any
        new: Any
        x, new = (flat(X), flat(drawn)) if pictures else (X, drawn)
        if self.keep == "dense":
            value = log_p(drawn)
        elif self.keep == "confident":
            judge = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
            judge.fit(learnable(x, x), labels)
            value = judge.predict_proba(learnable(new, x))[:, list(judge.classes_).index(name)]
        elif framed(x) is not None:
            plain = Plain(x)
            value = nearness(plain(x), labels == name, plain(new))
        else:
            value = nearness(np.asarray(x, float), labels == name, np.asarray(new, float))
        best = np.sort(np.argsort(-value, kind="stable")[:n])
        return drawn.iloc[best] if framed(drawn) is not None else drawn[best]

    def _rows(self, own: Any, n: int, seed: int) -> tuple[Any, LogP]:
        """n rows like these, and the density of rows."""
        from pofx.sklearn import DensityEstimator  # here: it loads torch

        gaps = framed(own) is None and bool(np.isnan(np.asarray(own, dtype=np.float64)).any())

        def plain(rows: Any) -> Any:
            if framed(rows) is not None:
                return rows.rename(columns=str).reset_index(drop=True)
            found = np.asarray(rows, dtype=np.float64)
            return pd.DataFrame(found).rename(columns=str) if gaps else found

        known = plain(own)
        model, options, steps = self.model, dict(self.options or {}), self.steps
        if model is None:
            model, usual, usual_steps = MODELS["mixed" if mixed(known) else "numbers"]
            options = {**usual, **options}
            steps = usual_steps if steps is None and self.minutes is None else steps
        density = DensityEstimator(model, options=options, minutes=self.minutes, steps=steps, random_state=seed).fit(
            known
        )
        drawn = density.sample(int(n))
        if gaps:  # a column of gaps alone is in no density
            drawn = drawn.reindex(columns=known.columns).to_numpy(np.float64, na_value=np.nan)
        return as_given(drawn, own), lambda rows: density.score_samples(plain(rows))

    def _pictures(self, own: Any, n: int, seed: int) -> tuple[Any, LogP]:
        """n pictures like these, in their type and with their channels where they were, and the density of pictures."""
        from pofx.data.kinds.image import images
        from pofx.runs.fitting import fit

        own = np.asarray(own)
        budget: dict[str, Any] = {"minutes": self.minutes, "steps": self.steps}
        if self.minutes is None and self.steps is None:
            budget["minutes"] = MINUTES
        run = fit(
            images(own),
            self.model or MODELS["numbers"][0],
            seed=seed,
            progress=False,
            **budget,
            **dict(self.options or {}),
        )
        drawn = run.sample(int(n), seed=seed)
        first = own.ndim == 4 and drawn.shape[1:] != own.shape[1:]
        drawn = np.moveaxis(drawn, -1, 1) if first else drawn
        return (drawn / 255).astype(own.dtype) if own.dtype.kind == "f" else drawn.astype(own.dtype), run.log_prob


def mixed(rows: Any) -> bool:
    """Whether rows have words, dates or gaps."""
    frame = pd.DataFrame(rows)
    return any(not pd.api.types.is_numeric_dtype(frame[c].dtype) or frame[c].isna().any() for c in frame.columns)


def flat(pictures: Any) -> np.ndarray:
    """Pictures as rows of numbers."""
    return np.asarray(pictures, dtype=np.float64).reshape(len(pictures), -1)


def as_given(drawn: Any, own: Any) -> Any:
    """Drawn rows in the types, the range and the decimals of the rows that they are to be like.

    A density of real numbers draws 2.7 for a count and 0.4 for a truth value, which no row of the table could be.
    """
    if framed(own) is None:
        own = np.asarray(own)
        if own.dtype.kind not in "iub":
            return drawn
        return np.clip(np.round(drawn), own.min(0), own.max(0)).astype(own.dtype)
    found = {}
    generator = np.random.default_rng(len(drawn))
    for name in own.columns:
        column = own[name]
        if str(name) not in drawn.columns:  # left out of the density, as ids and texts are: values of the class
            found[name] = column.iloc[generator.integers(len(own), size=len(drawn))].set_axis(drawn.index)
            continue
        x = drawn[str(name)]
        if not pd.api.types.is_numeric_dtype(column.dtype) or not pd.api.types.is_numeric_dtype(x.dtype):
            found[name] = x
            continue
        known = column.to_numpy(np.float64, na_value=np.nan)
        places = next((k for k in range(5) if np.array_equal(np.round(known, k), known, equal_nan=True)), None)
        values = x.to_numpy(np.float64)
        if places is not None:
            values = np.clip(np.round(values, places), np.nanmin(known), np.nanmax(known))
        found[name] = pd.Series(values, index=x.index).astype(column.dtype)
    return pd.DataFrame(found, columns=own.columns)


def nearness(x: np.ndarray, own: np.ndarray, new: np.ndarray) -> np.ndarray:
    """How much nearer new rows are to the rows of their class than to those of others, in standard deviations."""
    scale = np.where(x.std(0) > 0, x.std(0), 1.0)
    distances = [
        NearestNeighbors(n_neighbors=1).fit(x[of] / scale).kneighbors(new / scale)[0][:, 0] for of in (own, ~own)
    ]
    return np.asarray(distances[1] - distances[0])


def repeated(own: Any, n: int, seed: int) -> Any:
    """n of these rows, drawn with replacement."""
    at = np.random.default_rng(seed).integers(len(own), size=n)
    return own.iloc[at].reset_index(drop=True) if framed(own) is not None else own[at]


def smote(own: Any, n: int, seed: int, k: int = 5) -> Any:
    """n rows between a row and one of its k nearest of the same class; words and gaps are those of one of both."""
    g = np.random.default_rng(seed)
    k = min(k, len(own) - 1)
    if k < 1:
        return repeated(own, n, seed)
    if framed(own) is None and np.ndim(own) > 2:  # pictures
        between = smote(np.asarray(own, np.float64).reshape(len(own), -1), n, seed, k).reshape(n, *own.shape[1:])
        return between.round().astype(own.dtype) if own.dtype.kind in "iu" else between.astype(own.dtype)
    z = own / np.where(own.std(0) > 0, own.std(0), 1.0) if framed(own) is None else Plain(own)(own)
    near = NearestNeighbors(n_neighbors=k + 1).fit(z).kneighbors(z)[1][:, 1:]
    a = g.integers(len(own), size=n)
    b, u = near[a, g.integers(k, size=n)], g.random((n, 1))
    if framed(own) is None:
        return np.asarray(own[a] + u * (own[b] - own[a]))
    found = own.iloc[np.where(u[:, 0] < 0.5, a, b)].reset_index(drop=True)
    for c in own.columns:
        if pd.api.types.is_numeric_dtype(own[c].dtype) and not pd.api.types.is_bool_dtype(own[c].dtype):
            x = own[c].to_numpy(np.float64, na_value=np.nan)
            between = x[a] + u[:, 0] * (x[b] - x[a])
            found[c] = np.where(np.isnan(between), found[c].to_numpy(np.float64, na_value=np.nan), between)
    return found


def report(
    X: Any,
    y: np.ndarray,
    oversampler: GenerativeOversampler,
    *,
    classifier: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Average precision, F1, Brier score of each treatment of a rare class 1, and its gain over doing nothing.

    Thresholds of F1 are chosen on a fifth of the training rows, but for "nothing", which cuts at one half. The gain is
    that of average precision over the folds, with the half-width of its 95 % interval. X is an array, or a table with
    words and gaps, which the classifier sees as categories.
    """
    classifier = classifier or HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
    part = (lambda at: X.iloc[at].reset_index(drop=True)) if framed(X) is not None else (lambda at: X[at])
    joined = (lambda rows: pd.concat(rows, ignore_index=True)) if framed(X) is not None else np.concatenate
    seen = lambda rows: learnable(rows, X)  # noqa: E731
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for fold, (train, test) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, y)):
        fit, held = train_test_split(train, test_size=0.2, stratify=y[train], random_state=seed)
        lacking = int((y[fit] == 0).sum() - (y[fit] == 1).sum())
        own, known = part(fit[y[fit] == 1]), part(fit)
        made = clone(oversampler).set_params(random_state=seed + fold)
        extra = {
            "nothing": None,
            "class weights": None,
            "moved threshold": None,
            "repeated rows": repeated(own, lacking, fold),
            "SMOTE": smote(own, lacking, fold),
            "generated": made.fit_resample(known, y[fit])[0][len(fit) :],
        }
        for name, more in extra.items():
            model = clone(classifier)
            if name == "class weights":
                model.set_params(class_weight="balanced")
            x, labels = known, y[fit]
            if more is not None:
                x, labels = joined((x, more)), np.concatenate((labels, np.ones(len(more), labels.dtype)))
            model.fit(seen(x), labels)
            p, chosen = model.predict_proba(seen(part(test)))[:, 1], 0.5
            if name != "nothing":
                chosen = best_threshold(y[held], model.predict_proba(seen(part(held)))[:, 1])
            scores = average_precision_score(y[test], p), f1_score(y[test], p >= chosen), brier_score_loss(y[test], p)
            rows.setdefault(name, []).append(scores)
    base = np.array(rows["nothing"])
    found = []
    for name, values in rows.items():
        v = np.array(values)
        gain = v[:, 0] - base[:, 0]
        half = 2.0 * gain.std(ddof=1) / folds**0.5
        mean = v.mean(0)
        found.append(
            {"treatment": name, "AP": mean[0], "F1": mean[1], "Brier": mean[2], "gain": gain.mean(), "±": half}
        )
    return pd.DataFrame(found).set_index("treatment")


def best_threshold(y: np.ndarray, p: np.ndarray) -> float:
    """The threshold of the largest F1."""
    precision, recall, thresholds = precision_recall_curve(y, p)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[min(int(f1.argmax()), len(thresholds) - 1)])


def augment(
    source: Table,
    label: Annotated[
        str, typer.Option(help="The column of classes, whose rarer value is drawn, or COLUMN=VALUE to name it.")
    ],
    out: Csv = Path("augmented.csv"),
    model: Annotated[
        str | None, typer.Option(help="A model of `pofx models` (default: kde of numbers, circuit of mixed rows).")
    ] = None,
    keep: Annotated[str, typer.Option(help="Which draws are taken: all, dense, confident or near.")] = "all",
    ratio: Annotated[float, typer.Option(help="Rows of the class afterwards, as a share of the most frequent.")] = 1.0,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, help="Steps of training of each model.")
    ] = None,
    seed: Seed = 0,
) -> str:
    """Draw more rows of a rare class, and report whether a classifier gains by them.

    Doing nothing, class weights, a moved threshold, repeated rows and SMOTE are listed beside.
    """
    from pofx.core.errors import UsageError
    from pofx.data.arrays import write_frame
    from pofx.data.frames import rows_in
    from pofx.runs.models import model_entry

    frame = rows_in(source)
    column, y = rare_rows(frame, label)
    rest = frame.drop(columns=column)
    if model is not None:
        model_entry(model)
    oversampler = GenerativeOversampler(model, keep=keep, ratio=ratio, steps=steps, random_state=seed)
    try:
        oversampler.check()
        table = report(rest if mixed(rest) else rest.to_numpy(np.float64), y, oversampler, seed=seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    show(f"{column} = {frame[column][y == 1].iloc[0]} in {int(y.sum()):,} of {len(y):,} rows\n{aligned(table, 4)}")
    gain, half = map(float, table.loc[["generated"], ["gain", "±"]].to_numpy()[0])
    show("generated rows help here" if gain > half else "no gain by generated rows: do without them")
    often = frame[column].where(y == 0).value_counts().index[0]
    both = np.flatnonzero((y == 1) | (frame[column] == often).to_numpy())  # of several classes the most frequent counts
    rows, labels = oversampler.fit_resample(rest.iloc[both].reset_index(drop=True), frame[column].iloc[both].to_numpy())
    new = rows.assign(**{column: labels})[oversampler.generated_]
    whole = pd.concat((frame, new[list(frame.columns)]), ignore_index=True)
    write_frame(whole, out)
    return f"{len(new)} rows of {len(whole)} are generated"


def rare_rows(frame: pd.DataFrame, label: str) -> tuple[str, np.ndarray]:
    """The column of classes, and which rows are of the rare one: the named one, or the rarer of two.

    Raises:
        UsageError: no such column.
        DataError: rows without a class, more than two classes and none named, or too few rows of it.
    """
    from pofx.core.errors import DataError
    from pofx.data.labels import positives

    counts = frame[label].value_counts() if label in frame.columns else pd.Series(dtype=int)
    if len(counts) > 2:
        raise DataError(
            f"{label} has {len(counts)} values: name the rare one, as in --label {label}={counts.index[-1]}"
        )
    column, y = positives(frame, f"{label}={counts.index[-1]}" if len(counts) == 2 else label)
    if frame[column].isna().any():
        raise DataError(f"{column} is missing in {int(frame[column].isna().sum())} rows: fill or drop these rows")
    rare, others = int((y == 1).sum()), int((y == 0).sum())
    if rare < LEAST or not others:
        what = f"{LEAST} rows at least, and others in some (got {rare} of {rare + others})"
        raise DataError(f"the rare value of {column} must occur in {what}: collect more")
    if rare > others:
        raise DataError(f"the value must be rare (got {rare} of {rare + others} rows): name another")
    return column, y
