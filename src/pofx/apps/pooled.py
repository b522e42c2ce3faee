"""A learned likelihood beside a learned posterior: their logarithmic pool, drawn by weights.

q(θ | x) and prior × q(x | θ) err in different places: the first where the posterior is narrow or cut off by a bound,
the second where data are many. Their geometric mixture (Genest, 1984) is drawn by weighting draws of the first.
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
    """q(x | θ), which weights draws of q(θ | x): the posterior is proportional to q(θ | x)^(1 - share) times
    (prior × q(x | θ))^share. A share of 0 leaves q(θ | x) alone, as held-out simulations choose where that is better.
    """

    runs: tuple[Artifact, ...]
    coordinates: Coordinates | None
    share: float

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
    def load(cls, folder: Path, share: float) -> "Likelihood":
        """What `save` wrote."""
        runs = tuple(load(path) for path in sorted(folder.glob("run-*"), key=lambda path: int(path.name[4:])))
        if not runs:
            raise CorruptError(f"{folder} holds no runs: learn the posterior again")
        file = folder / COORDINATES
        return cls(runs, Coordinates.load(file) if file.exists() else None, float(share))


def truncated(log_weights: np.ndarray) -> np.ndarray:
    """Weights (n,) of mean 1, none above the root of their number (Ionides, 2008)."""
    weights = np.exp(log_weights - logsumexp(log_weights) + math.log(len(log_weights)))
    return np.minimum(weights, len(weights) ** 0.5)
