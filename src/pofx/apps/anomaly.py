"""Anomaly detection: rows that a density, or the rows around them, find improbable.

No single score is best on all tables, and none beats the distance to the fifth neighbour by much on average
(Livernoche et al., 2023, arXiv 2305.18593), so the default combines several: neighbours in standard deviations and in
normal ranks, local density (LOF), a mixture of normals and a circuit; among rows that hold anomalies already, wide
neighbourhoods and an isolation forest. Each is brought to one scale, minus the log of its tail probability among the
training rows. The score is the mean of the larger half: what is odd in one respect is odd, and two agree that it is
(after the average of maxima of Aggarwal and Sathe, 2015). Thresholds are a quantile of the training scores, a conformal
p-value (the false-alarm rate holds for any model; Bates et al., 2023) or a bound on the false discovery rate (Benjamini
and Hochberg, 1995). Scores have PyOD's sign.
"""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import typer
from scipy.special import erf
from scipy.stats import binom
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_is_fitted, validate_data

from pofx.apps.anomaly_members import NEAR, Tail, member
from pofx.apps.plain_rows import Plain
from pofx.core.errors import DataError
from pofx.core.printed import show
from pofx.data.columns import framed
from pofx.declared import Csv, Reads, Seed, Table

GROUP = "Uses"
EXAMPLE = "pofx anomaly transactions.csv --out scores.csv"

ROWS = 10_000  # training rows of a member, at most
CELLS = 2_000_000  # of the tables that attribution scores at once
FEWEST = 2  # training rows
HELD = 0.2  # share of the rows that conformal thresholds hold out
MEMBERS = {"one-class": ("knn", "ranks", "lof", "gmm", "circuit"), "contaminated": ("knn", "lof", "iforest")}


class AnomalyDetector(BaseEstimator):
    """Scores of rows by an ensemble of densities and neighbours; higher is more anomalous, 1 is an anomaly."""

    _own: np.ndarray  # scores of the rows that the members learned from

    def __init__(
        self,
        members: Sequence[str] | None = None,
        *,
        score: str = "auto",
        contamination: float = 0.1,
        protocol: str = "one-class",
        threshold: str = "quantile",
        seeds: int = 1,
        random_state: int = 0,
    ) -> None:
        """Args:
        members: "knn", "ranks" (knn of normal ranks), "lof", "iforest", or names of `pofx models`; None takes those
            of the protocol.
        score: of members that are models: "auto" ("density"), "density" (- log p), "noise" (the level of noise that
            `noise-classifier` expects in a row, for columns without repeated values), "typicality" (distance of log p
            from its usual value), "ratio" (log p against that of independent columns) or "reconstruction".
        contamination: share of anomalies that is flagged, the significance level, or the false discovery rate.
        protocol: "one-class" (training rows are normal) or "contaminated" (the most anomalous share of them is left
            out of a second fit).
        threshold: "quantile", "conformal" or "fdr".
        seeds: trainings of each model, whose scores are averaged.
        random_state: of the trainings.
        """
        self.members, self.score, self.contamination, self.protocol = members, score, contamination, protocol
        self.threshold, self.seeds, self.random_state = threshold, seeds, random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _rows(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Rows of any content, as a DataFrame."""
        if framed(X) is not None and not all(map(pd.api.types.is_numeric_dtype, X.dtypes)):
            _check_feature_names(self, X, reset=reset)
            _check_n_features(self, X, reset=reset)
            return X.reset_index(drop=True)
        x = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=1 + reset)
        return pd.DataFrame(x, columns=getattr(self, "feature_names_in_", None))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn what is normal from rows X (n, d)."""
        for name, value, known in (
            ("score", self.score, ("auto", "noise", "density", "typicality", "ratio", "reconstruction")),
            ("protocol", self.protocol, ("one-class", "contaminated")),
            ("threshold", self.threshold, ("quantile", "conformal", "fdr")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be {', '.join(known[:-1])} or {known[-1]} (got {value!r})")
        if self.members is not None and not len(self.members) or self.seeds < 1:
            raise ValueError(f"members and seeds must be at least 1 (got {self.members} and {self.seeds})")
        if not 0 < self.contamination < 1:
            raise ValueError(f"contamination must lie between 0 and 1 (got {self.contamination}): pass 0.1")
        frame = self._rows(X, reset=True)
        if len(frame) < FEWEST:
            raise ValueError(f"X must have at least {FEWEST} rows to learn what is usual (got {len(frame)})")
        self.plain_ = Plain(frame)
        x = self.plain_(frame)
        order = np.random.default_rng(self.random_state).permutation(len(x))
        held = order[: int(HELD * len(x))] if self.threshold != "quantile" else order[:0]
        rest = np.sort(order[len(held) :])
        self._fit_members(x[rest])
        if self.protocol == "contaminated":
            scores = self._combined(x[rest])
            usual = scores <= np.quantile(scores, 1 - self.contamination)
            self._fit_members(x[rest[usual]])
            if not usual.all():  # of all rows a share is flagged
                self._own = np.concatenate((self._own, self._combined(x[rest[~usual]])))
        self.reference_ = np.sort(self._combined(x[held])) if len(held) else np.sort(self._own)
        self.decision_scores_ = self._combined(x)
        self.threshold_ = float(np.quantile(self.reference_, 1 - self.contamination))
        self.labels_ = self._labels(self.decision_scores_)
        return self

    def _fit_members(self, x: np.ndarray) -> None:
        if len(x) > ROWS:
            x = np.random.default_rng(self.random_state).choice(x, ROWS, replace=False)
        self.scorers_ = []
        members = MEMBERS[self.protocol] if self.members is None else self.members
        share = self.contamination if self.protocol == "contaminated" else 0.0
        for name in [members] if isinstance(members, str) else members:
            for seed in range(self.seeds if name not in NEAR else 1):
                scores, own = member(name, x, self.score, self.random_state + seed, share)
                self.scorers_.append((scores, Tail(own)))
        self._own = larger_half([tail(tail.scores) for _, tail in self.scorers_])

    def _combined(self, x: np.ndarray) -> np.ndarray:
        return larger_half([tail(scores(x)) for scores, tail in self.scorers_])

    def decision_function(self, X: Any) -> np.ndarray:
        """The anomaly score of each row, higher is more anomalous: (n,)."""
        check_is_fitted(self)
        return self._combined(self.plain_(self._rows(X, reset=False)))

    def partial(self, X: Any) -> pd.DataFrame:
        """Score the next rows of a stream, and let the reference follow it: score, p_value and anomaly of each.

        Rows are scored before they change anything. The scores of rows that are not flagged then take the place of the
        oldest of the reference, so that thresholds and p-values follow a slow drift, and a burst of anomalies does not
        become normal; the members stay as they are.
        """
        scores = self.decision_function(X)
        p, labels = self._p_values(scores), self._labels(scores)
        if not hasattr(self, "recent_"):
            order = np.random.default_rng(self.random_state).permutation(len(self.reference_))
            self.recent_, self.allowed_ = self.reference_[order], 0.0
        usual, flagged = scores[labels == 0], np.sort(scores[labels == 1])
        share = self.contamination if self.threshold != "fdr" else 0.0  # of usual rows that are flagged by chance:
        self.allowed_ += 2 * share / (1 - share) * len(usual)  # without them thresholds would sink; twice, to follow
        border = flagged[: int(self.allowed_)]
        self.allowed_ = min(self.allowed_ - len(border), max(0.2 * share * len(self.recent_), 1.0))
        self.recent_ = np.concatenate((self.recent_, usual, border))[-len(self.recent_) :]
        self.reference_ = np.sort(self.recent_)
        self.threshold_ = float(np.quantile(self.reference_, 1 - self.contamination))
        return pd.DataFrame({"score": scores, "p_value": p, "anomaly": labels}, index=_index(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """The opposite of `decision_function`, as scikit-learn has it: higher is more normal."""
        return -self.decision_function(X)

    def p_values(self, X: Any) -> np.ndarray:
        """The share of reference rows that are at least as anomalous; of held-out ones with a conformal threshold."""
        return self._p_values(self.decision_function(X))

    def _p_values(self, scores: np.ndarray) -> np.ndarray:
        n = len(self.reference_)
        return np.asarray((1 + n - np.searchsorted(self.reference_, scores)) / (n + 1))

    def _labels(self, scores: np.ndarray) -> np.ndarray:
        if self.threshold == "quantile":
            return (scores > self.threshold_).astype(int)
        p = self._p_values(scores)
        if self.threshold == "conformal":
            return (p <= self.contamination).astype(int)
        order = np.argsort(p)
        passed = np.flatnonzero(p[order] <= self.contamination * np.arange(1, len(p) + 1) / len(p))
        found = np.zeros(len(p), int)
        found[order[: passed[-1] + 1 if len(passed) else 0]] = 1
        return found

    def predict(self, X: Any, return_confidence: bool = False) -> Any:
        """1 for anomalies, 0 for the others; with `return_confidence` also how sure each label is, from 0 to 1: the
        probability that it were the same had other rows been learned from (Perini et al., 2020)."""
        scores = self.decision_function(X)
        labels = self._labels(scores)
        if not return_confidence:
            return labels
        n = len(self.reference_)
        below = (1 + np.searchsorted(self.reference_, scores, side="right")) / (2 + n)
        flagged = binom.sf(n - int(n * self.contamination), n, below)
        return labels, np.where(labels == 1, flagged, 1 - flagged)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Learn from rows, and their labels: 1 for anomalies, 0 for the others."""
        return self.fit(X).labels_

    def predict_proba(self, X: Any, method: str = "linear") -> np.ndarray:
        """Scores as (n, 2), normal first: "linear" on the scale from the least to the most anomalous training row, or
        "unify", the error function of their deviations from the mean (Kriegel et al., 2011)."""
        if method not in ("linear", "unify"):
            raise ValueError(f"method must be linear or unify (got {method!r})")
        scores, known = self.decision_function(X), self.decision_scores_
        if method == "linear":
            outlier = np.clip((scores - known.min()) / max(known.max() - known.min(), 1e-12), 0, 1)
        else:
            outlier = np.clip(erf((scores - known.mean()) / max(known.std(), 1e-12) / 2**0.5), 0, 1)
        return np.stack((1 - outlier, outlier), 1)

    def attribution(self, X: Any) -> pd.DataFrame:
        """How much each column adds to the score of each row: the score minus that with a usual value in its place."""
        frame, whole = self._rows(X, reset=False), self.decision_function(X)
        columns, found = list(self.plain_.usual), dict[Any, np.ndarray]()
        at_once = max(1, CELLS // max(frame.size, 1))  # columns: of thousands a call each takes minutes
        for i in range(0, len(columns), at_once):
            part = columns[i : i + at_once]
            changed = []
            for column in part:
                one = frame.copy()
                one[column] = self.plain_.usual[column]
                changed.append(one)
            scores = self._combined(self.plain_(pd.concat(changed, ignore_index=True)))
            found |= dict(zip(part, whole - scores.reshape(len(part), len(frame)), strict=True))
        return pd.DataFrame(found).set_axis(pd.RangeIndex(len(whole)) if _index(X) is None else _index(X))


def larger_half(scores: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of the larger half of the scores of each row, of two at least where there are two."""
    return np.asarray(np.sort(scores, 0)[-max(2, len(scores) // 2) :].mean(0))


def _index(X: Any) -> Any:
    given = framed(X)
    return None if given is None else given.index


def floors(train: Any, new: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of new rows by the usual simple detectors: the 5th neighbour, ten normals, an isolation forest."""
    named = {"kNN": "knn", "GMM-10": "gmm", "IForest": "iforest"}
    detectors = {name: AnomalyDetector((of,), random_state=seed) for name, of in named.items()}
    return {name: detector.fit(train).decision_function(new) for name, detector in detectors.items()}


def anomaly(
    source: Table,
    new: Annotated[Path | None, typer.Option(help="Rows to score; by default those of the table."), Reads()] = None,
    label: Annotated[
        str | None, typer.Option(help="Known anomalies, to judge the scores: a column of 0 and 1, or COLUMN=VALUE.")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Columns to leave out: id,name.")] = None,
    contamination: Annotated[float, typer.Option(help="Share that is flagged, or level of p-values and FDR.")] = 0.1,
    threshold: Annotated[str, typer.Option(help="quantile, conformal or fdr.")] = "quantile",
    protocol: Annotated[str, typer.Option(help="one-class or contaminated.")] = "contaminated",
    members: Annotated[
        str | None, typer.Option(help="Of the ensemble: knn, ranks, lof, iforest or models, with commas between.")
    ] = None,
    score: Annotated[
        str, typer.Option(help="Of models: auto, noise, density, typicality, ratio or reconstruction.")
    ] = "auto",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each model, averaged.")] = 1,
    top: Annotated[int, typer.Option(min=0, max=1_000_000, help="Show this many of the most anomalous rows.")] = 5,
    out: Csv = Path("anomalies.csv"),
    seed: Seed = 0,
) -> str:
    """Score the rows of a table as anomalies, with the columns that make them so.

    The usual simple detectors are reported beside: where one of them is better on labelled rows, use it.
    """
    from pofx.core.errors import UsageError
    from pofx.data.arrays import write_table
    from pofx.data.columns import listed, selected
    from pofx.data.frames import rows_in
    from pofx.data.labels import positives

    frame = selected(rows_in(source), None, drop, source.name)
    rows = frame if new is None else rows_in(new).drop(columns=listed(drop), errors="ignore")
    truth = None
    if label is not None and label in frame.columns and label not in rows.columns:
        frame = frame.drop(columns=label)  # of the training rows alone: nothing to judge by
    elif label is not None:
        label, truth = positives(rows, label)
        frame, rows = frame.drop(columns=label, errors="ignore"), rows.drop(columns=label)
    rows = alike(rows, frame)
    detector = AnomalyDetector(
        listed(members) or None, score=score, contamination=contamination, protocol=protocol, threshold=threshold,
        seeds=seeds, random_state=seed,
    )  # fmt: skip
    try:
        detector.fit(frame)
    except ValueError as error:
        raise UsageError(str(error)) from error
    scores = detector.decision_function(rows)
    simple = floors(frame, rows, seed)
    labels, p = detector.predict(rows), detector.p_values(rows)
    order = np.argsort(-scores)[:top]
    why = detector.attribution(rows.iloc[order]) if top else pd.DataFrame()
    table = [
        {"index": i, "score": float(s), "anomaly": int(a), "p_value": float(q)}
        for i, (s, a, q) in enumerate(zip(scores, labels, p, strict=True))
    ]
    write_table(table, out)
    for k, i in enumerate(order):
        causes = why.iloc[k].sort_values(ascending=False).index[:3]
        cells = ", ".join(f"{c}={_short(rows.iloc[i][c])}" for c in causes)
        show(f"row {i}: score {scores[i]:.2f}, by {cells}")
    show(judged(scores, simple, truth))
    return f"{int(labels.sum())} of {len(rows)} rows flagged"


def _short(value: Any) -> str:
    """A cell in a sentence."""
    if pd.isna(value):
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else textwrap.shorten(str(value), 40, placeholder=" …")


def alike(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns of a table, in its order and of its types.

    Raises:
        DataError: a column is missing, or holds words in one table and numbers in the other.
    """
    lacking = [str(c) for c in known.columns if c not in rows.columns]
    if lacking:
        mend = "add them, empty where unknown, or leave them out of both tables (--drop)"
        raise DataError(f"the new rows lack the columns {', '.join(lacking)}: {mend}")
    more = [str(c) for c in rows.columns if c not in known.columns]
    if more:
        warnings.warn(f"{', '.join(more)} of the new rows is in no training row: left out", stacklevel=2)
    found = {}
    for c in known.columns:
        column, number = rows[c], pd.api.types.is_numeric_dtype(known[c].dtype)
        if number and not pd.api.types.is_numeric_dtype(column.dtype) and column.notna().any():
            word = column.dropna().iloc[0]
            raise DataError(f"column {c} holds numbers in the table, and '{word}' in the new rows: mend it")
        found[c] = column if number else column.astype(object).where(column.isna(), column.astype(str))
    return pd.DataFrame(found, columns=known.columns)


def judged(scores: np.ndarray, simple: dict[str, np.ndarray], truth: np.ndarray | None) -> str:
    """A line on the scores beside those of the simple detectors: against labels, or their agreement without."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if truth is None or len(np.unique(truth)) < 2:
        ranks = pd.DataFrame({"ours": scores, **simple}).corr("spearman")["ours"]
        return "rank correlation with " + ", ".join(f"{name} {ranks[name]:.2f}" for name in simple)
    both = {"ensemble": scores, **simple}
    parts = [
        f"{name} {roc_auc_score(truth, s):.3f} / {average_precision_score(truth, s):.3f}" for name, s in both.items()
    ]
    return "AUROC / average precision: " + ", ".join(parts)
