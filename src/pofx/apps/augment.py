"""Oversampling of rare classes by a density of each, and a report of whether it helps at all.

On tables it often does not: weights of classes or a moved threshold do the same for less (Elor and Averbuch-Elor, 2022,
arXiv 2201.08528). The report therefore always lists doing nothing, class weights, a moved threshold, repeated rows and
SMOTE (Chawla et al., 2002) beside, on real test folds that no generated row has seen, with an interval of the gain.
`GenerativeOversampler` has the verb of imbalanced-learn; inside its pipelines it runs in training alone.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from sklearn.base import BaseEstimator, clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, precision_recall_curve
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import NearestNeighbors

from pofx.core.printed import aligned, show
from pofx.data.columns import framed
from pofx.declared import Csv, Seed, Table

GROUP = "Uses"
EXAMPLE = "pofx augment transactions.csv --label fraud --out more.csv"

FEWEST = 5  # rows of a class that a density is learned from; fewer are repeated
LEAST = 10  # rows of the rare class: two in each of five test folds
MINUTES = 0.5  # of training of each class of pictures, where no budget is given
SPARE = 2  # times the rows that are needed are drawn, where a filter chooses among them
LogP = Callable[[Any], np.ndarray]


class GenerativeOversampler(BaseEstimator):
    """Rows or pictures of rare classes drawn from a density of each class, until classes are equal in number."""

    def __init__(
        self,
        model: str = "kde",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        ratio: float = 1.0,
        keep: str = "all",
        random_state: int = 0,
    ) -> None:
        """Args:
        model: a name of `pofx models`.
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

    def fit_resample(self, X: Any, y: Any) -> tuple[Any, Any]:
        """The rows X (n, d), or pictures (n, H, W) or (n, H, W, C), with their classes y (n,), and drawn ones of rare
        classes behind them."""
        self.check()
        labels = np.asarray(y)
        if pd.isna(labels).any():
            raise ValueError("y must name a class in every row (some are missing): drop these rows")
        classes, counts = np.unique(labels, return_counts=True)
        parts, added = [X], [labels]
        for k, (name, count) in enumerate(zip(classes, counts, strict=True)):
            lacking = int(round(self.ratio * int(counts.max())) - count)
            if lacking > 0:
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
        x, new = (flat(X), flat(drawn)) if pictures else (X, drawn)
        if self.keep == "dense":
            value = log_p(drawn)
        elif self.keep == "confident":
            judge = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0)
            value = judge.fit(x, labels).predict_proba(new)[:, list(judge.classes_).index(name)]
        else:
            value = nearness(np.asarray(x, float), labels == name, np.asarray(new, float))
        best = np.sort(np.argsort(-value, kind="stable")[:n])
        return drawn.iloc[best] if framed(drawn) is not None else drawn[best]

    def _rows(self, own: Any, n: int, seed: int) -> tuple[Any, LogP]:
        """n rows like these, and the density of rows."""
        from pofx.sklearn import DensityEstimator  # here: it loads torch

        if framed(own) is not None:
            known: Any = own.rename(columns=str).reset_index(drop=True)
        else:
            known = np.asarray(own, dtype=np.float64)
        density = DensityEstimator(
            self.model, options=self.options, minutes=self.minutes, steps=self.steps, random_state=seed
        ).fit(known)
        return as_given(density.sample(int(n)), own), density.score_samples

    def _pictures(self, own: Any, n: int, seed: int) -> tuple[Any, LogP]:
        """n pictures like these, in their type and with their channels where they were, and the density of pictures."""
        from pofx.data.kinds.image import images
        from pofx.runs.fitting import fit

        own = np.asarray(own)
        budget: dict[str, Any] = {"minutes": self.minutes, "steps": self.steps}
        if self.minutes is None and self.steps is None:
            budget["minutes"] = MINUTES
        run = fit(images(own), self.model, seed=seed, progress=False, **budget, **dict(self.options or {}))
        drawn = run.sample(int(n), seed=seed)
        first = own.ndim == 4 and drawn.shape[1:] != own.shape[1:]
        drawn = np.moveaxis(drawn, -1, 1) if first else drawn
        return (drawn / 255).astype(own.dtype) if own.dtype.kind == "f" else drawn.astype(own.dtype), run.log_prob


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


def smote(own: np.ndarray, n: int, seed: int, k: int = 5) -> np.ndarray:
    """n rows between a row and one of its k nearest of the same class."""
    g = np.random.default_rng(seed)
    k = min(k, len(own) - 1)
    if k < 1:
        return np.asarray(repeated(own, n, seed))
    scale = np.where(own.std(0) > 0, own.std(0), 1.0)
    near = NearestNeighbors(n_neighbors=k + 1).fit(own / scale).kneighbors(own / scale)[1][:, 1:]
    a = g.integers(len(own), size=n)
    b = near[a, g.integers(k, size=n)]
    return np.asarray(own[a] + g.random((n, 1)) * (own[b] - own[a]))


def report(
    X: np.ndarray,
    y: np.ndarray,
    oversampler: GenerativeOversampler,
    *,
    classifier: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Average precision, F1, Brier score of each treatment of a rare class 1, and its gain over doing nothing.

    Thresholds of F1 are chosen on a fifth of the training rows, but for "nothing", which cuts at one half. The gain is
    that of average precision over the folds, with the half-width of its 95 % interval.
    """
    classifier = classifier or HistGradientBoostingClassifier(random_state=0)
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for fold, (train, test) in enumerate(StratifiedKFold(folds, shuffle=True, random_state=seed).split(X, y)):
        fit, held = train_test_split(train, test_size=0.2, stratify=y[train], random_state=seed)
        lacking = int((y[fit] == 0).sum() - (y[fit] == 1).sum())
        own = X[fit][y[fit] == 1]
        made = clone(oversampler).set_params(random_state=seed + fold)
        extra = {
            "nothing": None,
            "class weights": None,
            "moved threshold": None,
            "repeated rows": repeated(own, lacking, fold),
            "SMOTE": smote(own, lacking, fold),
            "generated": np.asarray(made.fit_resample(X[fit], y[fit])[0])[len(fit) :],
        }
        for name, more in extra.items():
            model = clone(classifier)
            if name == "class weights":
                model.set_params(class_weight="balanced")
            x, labels = X[fit], y[fit]
            if more is not None:
                x, labels = np.concatenate((x, more)), np.concatenate((labels, np.ones(len(more), labels.dtype)))
            model.fit(x, labels)
            p, chosen = model.predict_proba(X[test])[:, 1], 0.5
            if name != "nothing":
                chosen = best_threshold(y[held], model.predict_proba(X[held])[:, 1])
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
    label: Annotated[str, typer.Option(help="The column of 0 and 1, of which 1 is rare.")],
    out: Csv = Path("augmented.csv"),
    model: Annotated[str, typer.Option(help="A model of `pofx models`.")] = "kde",
    keep: Annotated[str, typer.Option(help="Which draws are taken: all, dense, confident or near.")] = "all",
    seed: Seed = 0,
) -> str:
    """Draw more rows of a rare class, and report whether a classifier gains by them.

    Doing nothing, class weights, a moved threshold, repeated rows and SMOTE are listed beside.
    """
    from pofx.core.errors import DataError, UsageError, unknown
    from pofx.data.arrays import write_frame
    from pofx.data.frames import rows_in
    from pofx.data.labels import truth_values
    from pofx.runs.models import model_entry

    frame = rows_in(source)
    if label not in frame.columns:
        raise unknown("label column", label, map(str, frame.columns))
    rest = frame.drop(columns=label)
    words = [c for c in rest.columns if not pd.api.types.is_numeric_dtype(rest[c]) or rest[c].isna().any()]
    if words:
        raise DataError(f"columns must be numbers without gaps (got {', '.join(words)}): drop or encode them")
    y = truth_values(frame[label], label)
    rare, often = int((y == 1).sum()), int((y == 0).sum())
    if rare < LEAST or rare > often:
        raise DataError(
            f"{label} must be 1 in {LEAST} rows at least, and rarely (got {rare} of {rare + often}): "
            + ("swap 0 and 1" if rare > often else "collect more")
        )
    model_entry(model)
    oversampler = GenerativeOversampler(model, keep=keep, random_state=seed)
    try:
        oversampler.check()
        table = report(rest.to_numpy(np.float64), y, oversampler, seed=seed)
    except ValueError as error:
        raise UsageError(str(error)) from error
    show(aligned(table, 4))
    gain, half = map(float, table.loc[["generated"], ["gain", "±"]].to_numpy()[0])
    show("generated rows help here" if gain > half else "no gain by generated rows: do without them")
    rows, labels = oversampler.fit_resample(rest, frame[label])
    write_frame(rows.assign(**{label: labels})[list(frame.columns)], out)
    return f"{len(rows) - len(frame)} rows of {len(rows)} are generated"
