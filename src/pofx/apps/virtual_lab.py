"""A virtual laboratory: p(cell | perturbation, dose, covariates), and what would happen under others.

Real measurements are modelled by a spline flow whose map is triangular in the order of the columns. Where that is the
causal order and each column rises with a noise of its own, a counterfactual is the code of a cell decoded under another
condition, and it is identified (Khemakhem et al., 2021, arXiv 2011.02268). Counts are modelled by a variational
autoencoder with negative binomials (Lopez et al., 2018); its code carries the size of the library, and counterfactuals
are those of the code. Experiments are chosen by what an ensemble disagrees on: the mutual information of outcome and
member (Houlsby et al., 2011, arXiv 1112.5745).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from pofx.apps.folders import folder_of
from pofx.apps.untried import distance, untried_cells
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.files import read_json, whole, write_json
from pofx.data.conditions import rows
from pofx.data.dataset import split
from pofx.data.kinds.points import points
from pofx.data.kinds.tokens import tokens
from pofx.runs.fitting import fit

PUBLIC = ("VirtualLab",)

LOOKED = 1000  # cells of each condition that an untried one is made of, at least
ZEROS = 0.1  # share of measurements that are 0, from which on they look like counts
SPARE = 4  # times the greatest count of training that counts may reach
FLOW: Mapping[str, Any] = {"layers": 1, "bins": 16, "width": 64, "dropout": 0.0}  # one layer: a triangular map
CELLS: Mapping[str, Any] = {"latent": 24, "width": 128, "depth": 1, "dropout": 0.1, "importance": 64}


@dataclass(eq=False)
class VirtualLab:
    """A conditional model of cells; made by `VirtualLab.fit`.

    Attributes:
        runs: trained models, members of an ensemble.
        columns: of the cells, by name.
        conditions: of the training cells.
        counts: whether cells are counts.
    """

    runs: tuple[Artifact, ...]
    columns: tuple[str, ...]
    conditions: pd.DataFrame
    counts: bool

    @classmethod
    def fit(
        cls,
        cells: Any,
        conditions: Any,
        *,
        columns: Sequence[str] | None = None,
        members: int = 1,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> "VirtualLab":
        """Learn from cells (n, d), real or counts, and a row of conditions for each (perturbation, dose, covariates).

        Args:
            cells: an array, a DataFrame, or an AnnData, whose X may be sparse.
            conditions: a table, or the names of columns of `obs` of an AnnData.
            columns: names of the columns of cells, for real values best in causal order.
            members: trainings; `design` needs at least 2.
            options: of the model, the trainer and the view.
            minutes: of each training; one by default.
            progress: of training, as of `pofx.fit`.
        """
        if hasattr(cells, "obs") and hasattr(cells, "X"):
            cells, conditions = of_annotated(cells, conditions)
        if columns is None and hasattr(cells, "columns"):
            columns = [str(c) for c in cells.columns]
        x = np.asarray(cells)
        given = pd.DataFrame(conditions).reset_index(drop=True)
        if x.ndim != 2 or len(x) != len(given):
            raise DataError(f"cells must be (n, d) with a row of conditions each (got {x.shape} and {len(given)})")
        if (lacking := given.isna().any(axis=1).to_numpy()).any():
            raise DataError(
                f"{int(lacking.sum())} of {len(given)} cells have a condition without a value: name it (control), or "
                "leave them out"
            )
        counts = x.dtype.kind in "iu"
        if counts and x.min() < 0:
            raise DataError(f"counts must be 0 or more (got {x.min()}): give measurements as floats")
        if not counts and x.dtype.kind == "f" and x.min() >= 0 and (x == 0).mean() > ZEROS:
            warnings.warn(
                f"{(x == 0).mean():.0%} of the measurements are exactly 0, as of counts that were normalised or taken "
                "the logarithm of: give the raw counts, which are modelled as such",
                stacklevel=2,
            )
        items = tokens(x, classes=max(1024, SPARE * (int(x.max()) + 1))) if counts else points(x)
        data = split(replace(items, condition=rows(given)), "cells", seed=seed)
        own = dict(CELLS if counts else FLOW) | dict(options or {})
        runs = tuple(
            fit(data, "vae" if counts else "nsf", seed=seed + k, progress=progress, minutes=minutes, steps=steps, **own)
            for k in range(members)
        )
        names = tuple(columns) if columns is not None else tuple(f"x{i}" for i in range(x.shape[1]))
        return cls(runs, names, given, counts)

    def save(self, folder: str | Path) -> Path:
        """Write the lab into a folder: its runs, its columns, and the conditions that were seen."""
        seen = self.conditions.drop_duplicates()
        plain = {"columns": list(self.columns), "counts": self.counts, "members": len(self.runs)}
        with whole(Path(folder)) as aside:
            for k, run in enumerate(self.runs):
                run.save(aside if len(self.runs) == 1 else aside / f"member {k}")
            write_json(aside / "lab.json", {**plain, "conditions": {str(c): seen[c].tolist() for c in seen.columns}})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "VirtualLab":
        """The lab that `save` wrote, or that of a folder of `pofx lab`."""
        path = folder_of(folder, "lab.json", "a virtual laboratory")
        plain = read_json(path / "lab.json")
        many = plain["members"] > 1
        runs = tuple(load(path / f"member {k}" if many else path) for k in range(plain["members"]))
        return cls(runs, tuple(plain["columns"]), pd.DataFrame(plain["conditions"]), plain["counts"])

    def _given(self, condition: Any, n: int) -> pd.DataFrame:
        """Conditions of n cells: a mapping for all, or a row each; what is left out is as in the first training cell.

        Raises:
            UsageError: a condition that the lab does not have.
        """
        frame = pd.DataFrame([dict(condition)] * n) if isinstance(condition, Mapping) else pd.DataFrame(condition)
        for name in frame.columns:
            if name not in self.conditions.columns:
                raise unknown("condition of the lab", str(name), list(self.conditions.columns))
        usual = self.conditions.iloc[0]
        filled = {name: frame.get(name, pd.Series([usual[name]] * len(frame))) for name in self.conditions.columns}
        found = pd.DataFrame(filled).reset_index(drop=True)
        if len(found) != n:
            raise DataError(f"there must be a condition for each of {n} cells (got {len(found)})")
        return found

    def do(self, condition: Any, n: int = 200, *, seed: int = 0) -> np.ndarray:
        """n cells (n, d) under a condition, such as {"dose": 2.0}, or under one each."""
        given = self._given(condition, n)
        parts = np.array_split(np.arange(n), len(self.runs))
        drawn = [
            run.sample(len(at), condition=given.iloc[at], seed=seed + k, with_condition=False)
            for k, (run, at) in enumerate(zip(self.runs, parts, strict=True))
            if len(at)
        ]
        return np.concatenate(drawn)

    def untried(self, among: str, control: Any, n: int = 200, *, seed: int = 0) -> tuple[np.ndarray, dict[str, float]]:
        """n cells (n, d) under a value of the condition `among` that nobody has tried: cells of the control, cells
        under the other values, and cells of the control with random effects like those that were seen, in shares that
        are returned too (`apps.untried`).

        Raises:
            UsageError: no such condition, or fewer than 3 of its values were tried beside the control.
        """
        usual = self._given(control, 1).iloc[0].to_dict()
        if among not in usual:
            raise unknown("condition of the lab", among, list(map(str, usual)))
        tried = [v for v in self.conditions[among].unique() if v != usual[among]]
        if len(tried) < 3:
            raise UsageError(f"{among} has {len(tried)} values beside the control: at least 3 must have been tried")
        each = max(n, LOOKED)
        base = self.do(usual, each, seed=seed)
        drawn = [self.do({**usual, among: v}, each, seed=seed + 1 + k) for k, v in enumerate(tried)]
        return untried_cells(base, drawn, n, seed)

    def log_prob(self, cells: Any, condition: Any) -> np.ndarray:
        """log p(cell | condition) in nats, of the average of the members; for counts a bound: (n,)."""
        x = np.asarray(cells)
        given = self._given(condition, len(x))
        return np.asarray(logsumexp([run.log_prob(x, given) for run in self.runs], axis=0) - np.log(len(self.runs)))

    def counterfactual(self, cells: Any, condition: Any, to: Any) -> np.ndarray:
        """What these cells, seen under a condition, would be under another: (n, d).

        The mean over the members; for counts the expected counts of the same code.
        """
        x = np.asarray(cells)
        before, after = self._given(condition, len(x)), self._given(to, len(x))
        found = [run.decode(run.encode(x, before), after) for run in self.runs]
        return np.asarray(np.mean(found, 0))

    def differential(self, a: Any, b: Any, n: int = 500, *, least: float = 0.25, seed: int = 0) -> pd.DataFrame:
        """What differs between two conditions, by column: the log2 fold change (of counts) or shift in standard
        deviations, its 95 % interval and the probability that it is larger than `least`, greatest changes first."""
        g = np.random.default_rng(seed)
        x, y = self.do(a, n, seed=seed), self.do(b, n, seed=seed + 1)
        changes = []
        for _ in range(200):
            means = [v[g.integers(len(v), size=len(v))].mean(0) for v in (x, y)]
            if self.counts:
                changes.append(np.log2((means[1] + 0.01) / (means[0] + 0.01)))
            else:
                changes.append((means[1] - means[0]) / (x.std(0) + 1e-12))
        low, middle, high = np.quantile(changes, (0.025, 0.5, 0.975), axis=0)
        sure = (np.abs(changes) > least).mean(0)
        frame = pd.DataFrame({"change": middle, "low": low, "high": high, "probability": sure}, index=self.columns)
        return frame.loc[frame["change"].abs().sort_values(ascending=False).index]

    def design(self, candidates: Any, n: int = 200, *, seed: int = 0) -> pd.DataFrame:
        """Candidate conditions by the expected information about which member is right, in nats a cell, best first.

        H(mean of the members) - mean of their H, from draws of each.
        """
        if len(self.runs) < 2:
            raise UsageError("design needs an ensemble: fit with members=3")
        frame, gains = pd.DataFrame(candidates), []
        for _, row in frame.iterrows():
            gain = []
            for k, run in enumerate(self.runs):
                given = self._given(row.to_dict(), n)
                x = run.sample(n, condition=given, seed=seed + k, with_condition=False)
                logs = np.stack([other.log_prob(x, given) for other in self.runs])
                gain.append((logs[k] - logsumexp(logs, axis=0) + np.log(len(self.runs))).mean())
            gains.append(max(0.0, float(np.mean(gain))))
        return frame.assign(information=gains).sort_values("information", ascending=False)


def of_annotated(cells: Any, conditions: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of an AnnData, whole numbers as counts, and their conditions.

    Raises:
        UsageError: `obs` has no such column.
    """
    x = np.asarray(cells.X.toarray() if hasattr(cells.X, "toarray") else cells.X)
    if x.dtype.kind == "f" and bool((x == np.round(x)).all()):
        x = x.astype(np.int64)
    if isinstance(conditions, str) or (
        isinstance(conditions, list | tuple) and all(isinstance(c, str) for c in conditions)
    ):
        names = [conditions] if isinstance(conditions, str) else list(conditions)
        for name in names:
            if name not in cells.obs.columns:
                raise unknown("column of obs", name, list(map(str, cells.obs.columns)))
        conditions = cells.obs[names]
    given = pd.DataFrame(conditions).reset_index(drop=True)
    words = [c for c in given.columns if isinstance(given[c].dtype, pd.CategoricalDtype)]
    return pd.DataFrame(x, columns=list(map(str, cells.var_names))), given.astype(dict.fromkeys(words, object))


def mean_shift(x: np.ndarray, y: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The floor of counterfactuals: cells moved by the difference of the means of two conditions."""
    return np.asarray(cells + y.mean(0) - x.mean(0))


def held_out(
    lab: VirtualLab, cells: np.ndarray, condition: Mapping[str, Any], train: np.ndarray, control: np.ndarray,
    seed: int = 0, usual: Mapping[str, Any] | None = None,
) -> pd.Series:  # fmt: skip
    """How far draws under a condition that was not trained on are from its cells, beside the floors: the cells of the
    control ("no change"), all training cells ("pooled"), and half of the cells against the other half ("noise").

    Args:
        usual: the condition of the control: a word that training never had is drawn from it by `untried`.
    """
    g = np.random.default_rng(seed)
    words = {name: set(lab.conditions[name]) for name in condition if lab.conditions[name].dtype.kind not in "iuf"}
    new = [name for name, seen in words.items() if condition[name] not in seen]
    if len(new) == 1 and new[0] in (usual or {}) and lab.conditions[new[0]].nunique() > 3:
        warnings.warn(f"{new[0]}={condition[new[0]]} was never trained on: drawn by `untried`", stacklevel=2)
        drawn = lab.untried(new[0], {**condition, new[0]: (usual or {})[new[0]]}, len(cells), seed=seed)[0]
    else:
        drawn = lab.do(condition, len(cells), seed=seed)
    order = g.permutation(len(cells))
    halves = cells[order[: len(order) // 2]], cells[order[len(order) // 2 :]]
    return pd.Series(
        {
            "ours": distance(drawn, cells),
            "no change": distance(control, cells),
            "pooled": distance(train, cells),
            "noise": distance(*halves),
        }
    )


def nb_floor(train: np.ndarray, test: np.ndarray) -> float:
    """Nats per cell of test counts under a negative binomial per gene, fitted by maximum likelihood."""
    from scipy.optimize import minimize_scalar
    from scipy.special import gammaln

    def nats(x: np.ndarray, mean: float, size: float) -> np.ndarray:
        both = np.log(size + mean)
        gammas = gammaln(x + size) - gammaln(size) - gammaln(x + 1)
        return np.asarray(-(gammas + size * (np.log(size) - both) + x * (np.log(mean) - both)))

    total = 0.0
    for column, new in zip(train.T, test.T, strict=True):
        mean = column.mean() + 1e-3
        fitted = minimize_scalar(
            lambda s, c=column, m=mean: nats(c, m, np.exp(s)).mean(), bounds=(-9, 6), method="bounded"
        )
        total += float(nats(new, mean, float(np.exp(fitted.x))).mean())
    return total


def normal_floor(train: np.ndarray, test: np.ndarray) -> float:
    """Nats per cell of test measurements under one normal with a full covariance, of all training cells."""
    from scipy.stats import multivariate_normal

    covariance = np.atleast_2d(np.cov(train.T)) + 1e-6 * np.diag(np.atleast_1d(train.var(0)) + 1e-12)
    return -float(np.mean(multivariate_normal(train.mean(0), covariance, allow_singular=True).logpdf(test)))


def beyond(conditions: pd.DataFrame, wanted: Mapping[str, Any]) -> str:
    """Which numbers of a condition lie outside of those that were trained on, as a sentence; empty: none."""
    found = []
    for name, value in wanted.items():
        known = conditions[name]
        if known.dtype.kind in "iuf" and not known.min() <= value <= known.max():
            found.append(f"{name}={value:g} lies outside of the training cells ({known.min():g} to {known.max():g})")
    return "; ".join(found)


def read_condition(text: str, conditions: pd.DataFrame) -> dict[str, Any]:
    """NAME=VALUE,… as values of the types of the conditions.

    Raises:
        UsageError: a name that is no condition, or a value of another type.
    """
    found: dict[str, Any] = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if not sign:
            raise UsageError(f"a condition must be NAME=VALUE,… (got '{text}')")
        name, value = name.strip(), value.strip()
        if name not in conditions.columns:
            raise unknown("condition of the lab", name, list(conditions.columns))
        if name in found:
            raise UsageError(f"{name} has two values in '{text}': give one")
        known = conditions[name]
        if known.dtype.kind in "iuf":
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = math.nan
            if not math.isfinite(found[name]):
                raise UsageError(f"{name} must be a number (got '{value}'): such as {name}={known.iloc[0]}")
            continue
        values = {str(v): v for v in known.unique()}
        if value not in values:
            raise unknown(f"value of {name}", value, values)
        found[name] = values[value]
    return found
