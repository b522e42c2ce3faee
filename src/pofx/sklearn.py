"""Any density of pofx as an estimator of scikit-learn: score and draw rows, classify by Bayes' rule, encode.

    log p(c | x) = log p(x | c) + log p(c) - log p(x)

A generative classifier that fits its densities well is still overconfident where their columns are not independent of
what they leave out: one temperature on log p(x | c), chosen on held-out rows, calibrates it (Guo et al., 2017, arXiv
1706.04599), beside a share of rows that are like no class, whose log p would otherwise rule the temperature. Estimators
take arrays and DataFrames, are cloned, stored and searched over like any other, and give back DataFrames where they
were fitted to them. Columns of words and truth values need a DataFrame.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from pofx.artifact import Artifact
from pofx.core.errors import PofxError
from pofx.core.event import Discrete
from pofx.core.items import Items
from pofx.data.conditions import named_labels
from pofx.data.dataset import dataset
from pofx.data.kind import take
from pofx.data.kinds.table import table
from pofx.data.weights import with_weight
from pofx.runs.fitting import fit
from pofx.runs.models import model_entry

__all__ = ["DensityEstimator", "Encoder", "GenerativeClassifier"]

HELD = 0.1  # share of the rows that choose weights
CALIBRATING = 0.2  # of those of a classifier that choose its temperature
REFIT = 0.05  # of those that choose its weights afterwards
RIDGES = (0.01, 0.1, 0.3)  # that a classifier by `gmm` tries beside its own choice
FEWEST = 10  # rows of a class from which some are held out
MINUTES = 0.5  # where no budget is given


class Learner(BaseEstimator):
    """What the estimators share: the model with its options and budget, and rows as items."""

    def __init__(
        self,
        model: str = "gmm",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        random_state: int | None = 0,
    ) -> None:
        """Args:
        model: a name of `pofx models`.
        options: of the model, the trainer and the view, by name.
        minutes: the budget of training time; half a minute where neither this nor steps is given.
        steps: the budget in steps, instead.
        random_state: of the split, the training and the draws; None draws one.
        """
        self.model, self.options, self.minutes, self.steps = model, options, minutes, steps
        self.random_state = random_state

    def _rows(self, X: Any, y: Any = None, *, reset: bool) -> tuple[Any, Any]:
        """Rows as a float64 array or, with words or gaps among them, as a DataFrame; and y, checked with them."""
        frame = isinstance(X, pd.DataFrame)
        if reset:
            self.tabular_ = frame and (
                not all(map(pd.api.types.is_numeric_dtype, X.dtypes)) or bool(X.isna().any(axis=None))
            )
        if frame and self.tabular_:
            _check_feature_names(self, X, reset=reset)
            _check_n_features(self, X, reset=reset)
            if len(X) < 1 + reset:
                raise ValueError(f"X must have at least {1 + reset} rows (got {len(X)}): give more")
            return X.reset_index(drop=True), None if y is None else np.asarray(y)
        if y is None:
            return validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=1 + reset), None
        return validate_data(self, X, y, reset=reset, dtype=np.float64, ensure_min_samples=1 + reset)

    def _weighted(self, items: Items, x: Any, sample_weight: Any) -> Items:
        """Items with weights, without those of weight zero."""
        if sample_weight is None:
            return items
        weight = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        try:
            return with_weight(items, weight)
        except PofxError as error:
            raise ValueError(str(error)) from error

    def _learn(self, items: Items, held: np.ndarray, model: str) -> Artifact:
        """A run on items, of which those at `held` choose the weights."""
        rest = np.setdiff1d(np.arange(len(items)), held)
        first = take(items, rest)
        chosen = take(items, held) if len(held) else first
        budget: dict[str, Any] = {"minutes": self.minutes, "steps": self.steps}
        if self.minutes is None and self.steps is None:
            budget["minutes"] = MINUTES
        try:
            splits = (first, chosen, chosen)
            data = dataset(*splits, "rows", source="an estimator", licence="that of the rows", count_overlaps=False)
            return fit(
                data, model, seed=self.seed_, progress=False, **budget, **{**(self.options or {}), **self.chosen_}
            )
        except PofxError as error:
            raise ValueError(str(error)) from error

    def _begin(self, X: Any) -> None:
        self.seed_ = (
            int(check_random_state(self.random_state).randint(1 << 31))
            if self.random_state is None
            else int(self.random_state)
        )
        self.columns_ = list(X.columns) if isinstance(X, pd.DataFrame) else None
        self.chosen_: dict[str, Any] = {}  # options that held-out rows chose


def items_of(x: Any) -> Items:
    """Rows as items: points of real coordinates, or a table where there are words."""
    return table(x) if isinstance(x, pd.DataFrame) else Items("points", x)


def held_out(n: int, share: float, seed: int, labels: np.ndarray | None = None) -> np.ndarray:
    """Which rows choose the weights: this share of every class, none of what is rare."""
    order = np.random.default_rng(seed).permutation(n)
    of = np.zeros(n, int) if labels is None else labels
    groups = [order[of[order] == k] for k in np.unique(of)]
    return np.sort(np.concatenate([g[: int(share * len(g))] if len(g) >= FEWEST else g[:0] for g in groups]))


class DensityEstimator(DensityMixin, Learner):
    """log p of rows, and new rows, by any model with a density."""

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the density of the rows X (n, d), each as if it were there `sample_weight` times."""
        x, _ = self._rows(X, reset=True)
        self._begin(X)
        items = self._weighted(items_of(x), x, sample_weight)
        self.run_ = self._learn(items, held_out(len(items), HELD, self.seed_), self.model)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """log p of each row in nats: (n,)."""
        check_is_fitted(self)
        return self.run_.log_prob(items_of(self._rows(X, reset=False)[0]))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: int | None = None) -> Any:
        """New rows: a DataFrame where the estimator was fitted to one."""
        check_is_fitted(self)
        drawn = self.run_.sample(n_samples, seed=self.seed_ if random_state is None else random_state)
        if self.columns_ is None or isinstance(drawn, pd.DataFrame):
            return drawn
        return pd.DataFrame(drawn, columns=self.columns_)


class GenerativeClassifier(ClassifierMixin, Learner):
    """Bayes' rule over class-conditional densities, with a temperature chosen on held-out rows, and the ridge of `gmm`
    unless it is stated."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn p(x | class) of the rows X (n, d) with their classes y (n,), and how much to trust it; `sample_weight`
        is how often each row counts."""
        x, y = self._rows(X, y, reset=True)
        if y is not None and pd.isna(y).any():
            raise ValueError("y must name a class in every row (some are missing): drop these rows")
        check_classification_targets(y)
        self._begin(X)
        weight: np.ndarray | None = None
        if sample_weight is not None:
            of = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
            x, y, weight = x[of > 0], y[of > 0], of[of > 0]
            if not len(y):
                raise ValueError("sample_weight must be above 0 for some row (got 0 for all): leave it out")
            x = x.reset_index(drop=True) if isinstance(x, pd.DataFrame) else x
        self.classes_, labels = np.unique(y, return_inverse=True)
        counts = np.bincount(labels, weight)
        self.log_prior_ = np.log(counts / counts.sum())
        held = held_out(len(x), CALIBRATING, self.seed_, labels)
        self.constant_ = {}
        if not isinstance(x, pd.DataFrame):
            still = np.flatnonzero(np.ptp(np.delete(x, held, 0), axis=0) == 0)
            first = np.delete(x, held, 0)[0]
            self.constant_ = {int(j): float(first[j]) for j in still} if len(still) < x.shape[1] else {}
        items, names = items_of(self._plain(x)), [str(k) for k in range(len(self.classes_))]
        given = named_labels(np.array(names, dtype=object)[labels], names)
        conditioned = Items(items.kind, items.values, facts=items.facts, condition=given)
        if weight is not None:
            conditioned = with_weight(conditioned, weight)
        self.temperature_, self.doubt_, self.chosen_ = 1.0, 0.0, {}
        if len(held) >= FEWEST and len(self.classes_) > 1:
            best, of = np.inf, weight if weight is None else weight[held]
            for tried in self._tried():
                self.chosen_ = tried
                self.runs_ = self._learned(conditioned, labels, held)
                density = self._densities(take(items, held).values)
                temperature, doubt, loss = calibrated(density, self.log_prior_, labels[held], of)
                if loss < best:
                    best, self.temperature_, self.doubt_, chosen = loss, temperature, doubt, tried
            self.chosen_ = chosen
        self.runs_ = self._learned(conditioned, labels, held_out(len(x), REFIT, self.seed_, labels))
        return self

    def _tried(self) -> list[dict[str, Any]]:
        """Options among which the held-out rows choose: ridges that are best for densities are too small for classes,
        of which a column may never have varied in one."""
        free = self.model == "gmm" and "ridge" not in (self.options or {})
        return [{}, *({"ridge": ridge} for ridge in RIDGES if free)]

    def _learned(self, items: Items, labels: np.ndarray, held: np.ndarray) -> list[Artifact]:
        """A run with the class as its condition, or where the model takes none a run for each class."""
        if issubclass(Discrete, model_entry(self.model).model.conditions or ()):
            return [self._learn(items, held, self.model)]
        classes = [np.flatnonzero(labels == k) for k in range(len(self.classes_))]
        plain = replace(items, condition=None)
        return [self._learn(take(plain, of), np.flatnonzero(np.isin(of, held)), self.model) for of in classes]

    def _plain(self, x: Any) -> Any:
        """Rows in which columns that never varied are as they were: what is new there is no sign of a class."""
        if not self.constant_:
            return x
        x = x.copy()
        x[:, list(self.constant_)] = list(self.constant_.values())
        return x

    def _densities(self, x: Any) -> np.ndarray:
        """log p(x | class): (n, classes); 0 for all where it is impossible under every class."""
        if self.runs_[0].conditioning is None:
            found = np.stack([run.log_prob(x) for run in self.runs_], 1)
        else:
            found = np.stack([self.runs_[0].log_prob(x, [str(k)]) for k in range(len(self.classes_))], 1)
        found[~np.isfinite(found).any(1)] = 0.0
        return np.nan_to_num(found, nan=-1e30, neginf=-1e30)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(class | x): (n, classes), in the order of `classes_`."""
        check_is_fitted(self)
        x, _ = self._rows(X, reset=False)
        density = self._densities(items_of(self._plain(x)).values)
        return log_classes(density, self.log_prior_, self.temperature_, self.doubt_)

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | x): (n, classes)."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row."""
        check_is_fitted(self)
        return self.classes_[self.predict_log_proba(X).argmax(1)]


def log_classes(density: np.ndarray, log_prior: np.ndarray, temperature: float, doubt: float) -> np.ndarray:
    """log p(class | x) by Bayes' rule; a share `doubt` of the rows is like none of the classes and has the prior."""
    found = log_softmax(density / temperature + log_prior, axis=1)
    return np.logaddexp(np.log1p(-doubt) + found, np.log(doubt) + log_prior) if doubt else found


def calibrated(
    density: np.ndarray, log_prior: np.ndarray, labels: np.ndarray, weight: np.ndarray | None = None
) -> tuple[float, float, float]:
    """The temperature of log p(x | class) and the share of doubt under which the classes of held-out rows are most
    probable, and the mean of -log p(class | x) then. One row in as many as these is doubtful at least."""
    least = 1 / (len(labels) + 2)

    def loss(log_temperature: float, doubt: float) -> float:
        log_p = log_classes(density, log_prior, float(np.exp(log_temperature)), doubt)
        return -float(np.average(log_p[np.arange(len(labels)), labels], weights=weight))

    tried = []
    for doubt in np.geomspace(least, max(0.3, least), 10):
        found = minimize_scalar(loss, bounds=(-0.7, 8.0), args=(doubt,), method="bounded")
        tried.append((float(found.fun), float(np.exp(found.x)), float(doubt)))
    least_loss, temperature, doubt = min(tried)
    return temperature, doubt, least_loss


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Learner):
    """Codes of rows as features, by any model that encodes: a flow, a VAE, a diffusion model."""

    def __init__(
        self,
        model: str = "realnvp",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        random_state: int | None = 0,
    ) -> None:
        super().__init__(model, options=options, minutes=minutes, steps=steps, random_state=random_state)

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn to encode the rows X (n, d), each as if it were there `sample_weight` times."""
        x, _ = self._rows(X, reset=True)
        self._begin(X)
        items = self._weighted(items_of(x), x, sample_weight)
        self.run_ = self._learn(items, held_out(len(items), HELD, self.seed_), self.model)
        self._n_features_out = self._codes(x[:1]).shape[1]
        return self

    def _codes(self, x: Any) -> np.ndarray:
        try:
            codes = self.run_.encode(items_of(x))
        except PofxError as error:
            raise ValueError(str(error)) from error
        return codes.reshape(len(codes), -1).astype(np.float64)

    def transform(self, X: Any) -> np.ndarray:
        """The code of each row, flat: (n, codes)."""
        check_is_fitted(self)
        return self._codes(self._rows(X, reset=False)[0])

    def inverse_transform(self, codes: Any) -> Any:
        """The row of each code."""
        check_is_fitted(self)
        z = np.asarray(codes).reshape(len(codes), *self.run_.model.code.shape)
        return self.run_.decode(z)
