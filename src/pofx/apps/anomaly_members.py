"""The members of an anomaly detector: each scores rows by what it learned from others, on one scale for all.

Neighbours in standard deviations and in normal ranks, local density (Breunig et al., 2000), isolation forests (Liu,
Ting and Zhou, 2008), and any model with a density. Where rows hold anomalies already, these can have each other as
neighbours: as many neighbours are counted as there may be anomalies, among few rows.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from scipy.special import ndtri
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from pofx.core.errors import Unsupported

NEIGHBOURS, LOCAL = 5, 20
AMONG, BATCH = 2_000, 4_000  # rows among which neighbours of a contaminated table are sought; rows scored at once
SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
OPTIONS: dict[str, dict[str, Any]] = {
    "gmm": {"components": 10, "covariance": "full", "ridge": 1e-3},
    "circuit": {"states": 32, "steps": 60, "validations": 6},
}
REPEATED = "columns? x.*no density"  # the warning of a view that indicators of words bring about
Scores = Callable[[np.ndarray], np.ndarray]


class Tail:
    """Scores on the scale - log P(a training row scores as much), continued beyond the last tenth as exponential."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = np.nan_to_num(scores, posinf=1e12, neginf=-1e12)
        self.middle = float(np.median(self.scores))
        self.spread = max(float(np.quantile(self.scores, 0.95)) - self.middle, 1e-9)
        body = self._log(self.scores)
        self.body = np.sort(body)
        self.edge = float(np.quantile(body, 0.9))
        beyond = body[body > self.edge] - self.edge
        self.rate = max(float(beyond.mean()) if len(beyond) else 0.0, 1e-6)

    def _log(self, scores: np.ndarray) -> np.ndarray:
        z = (scores - self.middle) / self.spread
        return np.asarray(np.sign(z) * np.log1p(np.abs(z)))

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        z = self._log(np.nan_to_num(scores, nan=1e12, posinf=1e12, neginf=-1e12))
        n = len(self.body)
        inside = -np.log((1 + n - np.searchsorted(self.body, z)) / (n + 1))
        return np.where(z > self.edge, -np.log(0.1) + (z - self.edge) / self.rate, np.minimum(inside, -np.log(0.1)))


def _wide(x: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Rows among which neighbours are sought: all, or few where a share of them may be anomalies."""
    if not share or len(x) <= AMONG:
        return np.arange(len(x))
    return np.sort(np.random.default_rng(seed).choice(len(x), AMONG, replace=False))


def _batched(scores: Scores) -> Scores:
    return partial(_in_batches, scores)


# scores are partial applications of the functions below, so that a detector can be saved by joblib


def _in_batches(scores: Scores, new: np.ndarray) -> np.ndarray:
    return np.concatenate([scores(new[i : i + BATCH]) for i in range(0, len(new), BATCH)])


def _distance(near: NearestNeighbors, k: int, new: np.ndarray) -> np.ndarray:
    return np.asarray(near.kneighbors(new, k)[0][:, -1])


def _minus(found: Any, new: np.ndarray) -> np.ndarray:
    return np.asarray(-found.score_samples(new))


def _normal_ranks(ordered: np.ndarray, new: np.ndarray) -> np.ndarray:
    sides = [[np.searchsorted(o, c, side) for o, c in zip(ordered.T, new.T, strict=True)] for side in SIDES]
    return np.asarray(ndtri((np.sum(sides, 0).T / 2 + 0.5) / (len(ordered) + 1)))


def _ranked(scores: Scores, ordered: np.ndarray, new: np.ndarray) -> np.ndarray:
    return scores(_normal_ranks(ordered, new))


def _error(run: Any, columns: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.asarray(np.square(run.reconstruct(new[:, columns]) - new[:, columns]).sum(1))


def _improbability(learner: Any, columns: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.asarray(-learner.score_samples(new[:, columns]))


def _noise(learner: Any, columns: np.ndarray, new: np.ndarray) -> np.ndarray:
    from pofx.core.random import Streams

    run = learner.run_
    raw = run.representation.tensor(new[:, columns])
    events = run.representation.encode(raw, Streams(0, len(raw)))[0].to(run.device)
    return np.asarray(run.model.expected_noise(events).detach().cpu().double())


def _atypical(scores: Scores, usual: float, new: np.ndarray) -> np.ndarray:
    return np.abs(scores(new) - usual)


def _difference(scores: Scores, others: Scores, new: np.ndarray) -> np.ndarray:
    return scores(new) - others(new)


def _knn(x: np.ndarray, seed: int, share: float = 0.0) -> tuple[Scores, np.ndarray]:
    among = _wide(x, share, seed)
    k = min(max(NEIGHBOURS, round(share * len(among))), len(among) - 1)
    near = NearestNeighbors(n_neighbors=k + 1).fit(x[among])
    scores = _batched(partial(_distance, near, k))
    own = scores(x)
    own[among] = _batched(partial(_distance, near, k + 1))(x[among])  # each is its own nearest
    return scores, own


def _ranks(x: np.ndarray, seed: int, share: float = 0.0) -> tuple[Scores, np.ndarray]:
    """Neighbours where every column is normal: a heavy tail is as long as a light one. Tied values share a rank."""
    ordered = np.sort(x, 0)
    scores, own = _knn(_normal_ranks(ordered, x), seed, share)
    return partial(_ranked, scores, ordered), own


def _lof(x: np.ndarray, seed: int, share: float = 0.0) -> tuple[Scores, np.ndarray]:
    among = _wide(x, share, seed)
    k = min(max(LOCAL, round(share * len(among))), len(among) - 1)
    found = LocalOutlierFactor(k, novelty=True).fit(x[among])
    scores = _batched(partial(_minus, found))
    own = scores(x)
    own[among] = -found.negative_outlier_factor_
    return scores, own


def _iforest(x: np.ndarray, seed: int, share: float = 0.0) -> tuple[Scores, np.ndarray]:
    found = IsolationForest(random_state=seed).fit(x)
    return partial(_minus, found), -found.score_samples(x)


NEAR = {"knn": _knn, "ranks": _ranks, "lof": _lof, "iforest": _iforest}


def member(name: str, x: np.ndarray, score: str, seed: int, share: float = 0.0) -> tuple[Scores, np.ndarray]:
    """The scores of new rows by one member fitted to x, of which a share may be anomalies, and those of x itself."""
    if name in NEAR:
        return NEAR[name](x, seed, share)
    from pofx.sklearn import DensityEstimator  # here: it loads torch

    varying = np.flatnonzero(np.ptp(x, axis=0) > 0)
    if not len(varying):
        return _knn(x, seed)
    learner = DensityEstimator(name, random_state=seed, options=options_for(name, len(x), len(varying)))
    if "steps" in OPTIONS.get(name, {}):
        learner.set_params(steps=OPTIONS[name]["steps"])
    with warnings.catch_warnings():  # repeated values and indicators: scores are ranked, no density is stated
        warnings.filterwarnings("ignore", message=REPEATED)
        learner.fit(x[:, varying])
    if score == "noise" and not _notices(learner):
        raise Unsupported(f"{name} has no levels of noise: pass score=density, or take noise-classifier")
    if score == "noise":
        noise = _batched(partial(_noise, learner, varying))
        return noise, noise(x)
    if score == "reconstruction":
        errors = partial(_error, learner.run_, varying)
        return errors, errors(x)
    scores = partial(_improbability, learner, varying)
    own = scores(x)
    if score == "typicality":
        usual = float(np.median(own))
        return partial(_atypical, scores, usual), np.abs(own - usual)
    if score == "ratio":
        alone = DensityEstimator("gmm", options={"components": 8, "covariance": "diag", "ridge": 1e-2})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=REPEATED)
            alone.fit(x[:, varying])
        background = partial(_improbability, alone, varying)
        return partial(_difference, scores, background), own - background(x)
    return scores, own


def _notices(learner: Any) -> bool:
    from pofx.core.generative import Noticing

    return isinstance(learner.run_.model, Noticing)


def options_for(name: str, n: int, d: int) -> dict[str, Any]:
    """The options of a member, smaller for few rows."""
    options = {k: v for k, v in OPTIONS.get(name, {}).items() if k != "steps"}
    if name == "gmm":
        options["components"] = int(np.clip(n // 20, 1, options["components"]))
    return options
