"""A learned likelihood beside a learned posterior: their logarithmic pool, drawn by weights.

q(θ | x) and prior × q(x | θ) err in different places: the first where the posterior is narrow or cut off by a bound,
the second where data are many. Their geometric mixture (Genest, 1984) is drawn by weighting draws of the first.
Densities that validation has selected are too sharp in many dimensions, as networks are: the evidence of both is raised
to a power at which regions of highest density hold as many held-out truths as they claim (one temperature, as Guo et
al., 2017, arXiv 1706.04599, have it for classes).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

from pofx.apps.coordinates import Coordinates
from pofx.artifact import Artifact, load
from pofx.core.errors import CorruptError

COORDINATES = "coordinates.npz"
CHOSEN_BY = 400  # held-out simulations that choose share and power, at most
POWERS = np.linspace(0.6, 1.3, 71).round(2)  # of the evidence
BELIEF = 0.15  # deviation of what is believed of a power before simulations are seen


def averaged(
    runs: Sequence[Artifact], coordinates: Coordinates | None, events: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Log-density float64 (n,) of events under what they are conditioned on, averaged over runs."""
    ladj = np.zeros(len(events))
    if coordinates is not None:
        given = coordinates.features(given)
        events, ladj = coordinates.forward(events, given)
    logs = [run.log_prob(events, condition=given) for run in runs]
    return np.asarray(logsumexp(np.stack(logs), axis=0) - math.log(len(logs)) + ladj)


@dataclass(frozen=True, eq=False)
class Likelihood:
    """q(x | θ), which weights draws of q(θ | x): the posterior is proportional to the prior times
    ((q(θ | x) / prior)^(1 - share) q(x | θ)^share)^power. Held-out simulations choose both numbers; a share of 0 leaves
    q(θ | x) alone.
    """

    runs: tuple[Artifact, ...]
    coordinates: Coordinates | None
    share: float
    power: float = 1.0

    def log_prob(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Log-density float64 (n,) of data (n, k) given parameters (n, d), perhaps without what depends on x alone."""
        return averaged(self.runs, self.coordinates, x, theta)

    def save(self, folder: Path) -> None:
        """Write runs and coordinates into a folder."""
        folder.mkdir(parents=True)
        for i, run in enumerate(self.runs):
            run.save(folder / f"run-{i}")
        if self.coordinates is not None:
            self.coordinates.save(folder / COORDINATES)

    @classmethod
    def load(cls, folder: Path, share: float, power: float = 1.0) -> "Likelihood":
        """What `save` wrote."""
        runs = tuple(load(path) for path in sorted(folder.glob("run-*"), key=lambda path: int(path.name[4:])))
        if not runs:
            raise CorruptError(f"{folder} holds no runs: learn the posterior again")
        file = folder / COORDINATES
        return cls(runs, Coordinates.load(file) if file.exists() else None, float(share), float(power))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the two densities find in held-out simulations: of n truths, (n,), and of k draws of q(θ | x) each, (n, k).

    Attributes:
        prior: its logarithm at the truths and at the draws.
        own: log q(θ | x).
        likelihood: log q(x | θ), perhaps without a constant of x.
    """

    prior: tuple[np.ndarray, np.ndarray]
    own: tuple[np.ndarray, np.ndarray]
    likelihood: tuple[np.ndarray, np.ndarray]

    def pooled(self, share: float, power: float) -> tuple[np.ndarray, np.ndarray]:
        """The logarithm of the pool at truths and draws, without a constant of x."""
        each = zip(self.prior, self.own, self.likelihood, strict=True)
        truth, drawn = (pooled(*part, share, power) for part in each)
        return truth, drawn

    def score(self, share: float) -> float:
        """The mean log-density of truths under the pool of power 1. Its constant is the mean weight of draws, of which
        the truth is one, so that no share wins by a lost constant."""
        truth, drawn = self.pooled(share, 1.0)
        own = truth - self.own[0]
        logs = np.concatenate([drawn - self.own[1], own[:, None]], 1)
        return float(np.mean(truth - logsumexp(logs, axis=1) + math.log(logs.shape[1])))

    def levels(self, share: float, power: float) -> np.ndarray:
        """The mass of the region of highest density on whose edge each truth lies: uniform where calibrated, (n,)."""
        truth, drawn = self.pooled(share, power)
        logs = drawn - self.own[1]
        weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
        return np.asarray((weights * (drawn > truth[:, None])).sum(1))

    def power(self, share: float) -> float:
        """The power at which levels are 1/2 in the mean, as far as so many simulations can decide it: the most probable
        one by their error and a prior belief that the power is near 1."""
        tried = [self.levels(share, power).mean() for power in POWERS]
        cost = (np.array(tried) - 0.5) ** 2 * 12 * len(self.prior[0]) + ((POWERS - 1) / BELIEF) ** 2
        return float(POWERS[cost.argmin()])


def pooled(prior: np.ndarray, own: np.ndarray, likelihood: np.ndarray, share: float, power: float) -> np.ndarray:
    """log of prior × ((q(θ | x) / prior)^(1 - share) q(x | θ)^share)^power, without a constant of x."""
    evidence = (1 - share) * (own - prior) if share < 1 else np.zeros_like(prior)
    if share > 0:  # a share of 0 is of -inf too
        evidence = evidence + share * likelihood
    return np.asarray(prior + power * evidence)


def truncated(log_weights: np.ndarray) -> np.ndarray:
    """Weights (n,) of mean 1, none above the root of their number (Ionides, 2008)."""
    weights = np.exp(log_weights - logsumexp(log_weights) + math.log(len(log_weights)))
    return np.minimum(weights, len(weights) ** 0.5)
