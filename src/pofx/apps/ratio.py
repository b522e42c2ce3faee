"""The likelihood-to-evidence ratio p(x | θ) / p(x) by a classifier of pairs from shuffled pairs.

Hermans, Begy and Louppe, 2020, "Likelihood-free MCMC with amortized approximate ratio estimators", arXiv 1903.04057:
the logit of the best classifier is the logarithm of the ratio. Any classifier will do; this one is scikit-learn's
perceptron, and its weights are what is saved.
"""

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pofx.core.errors import CorruptError
from pofx.data.arrays import write_arrays

UNITS, ITERATIONS, NEGATIVES = (128, 128), 60, 2
FAR = 8.0  # standard deviations at which inputs are cut off


@dataclass(frozen=True, eq=False)
class Ratio:
    """log p(x | θ) - log p(x) as a network of parameters and flat data, both standardised.

    Attributes:
        weights: of each layer, then its biases.
        centre: of parameters and data, (d + k,).
        scale: of the same.
    """

    weights: tuple[np.ndarray, ...]
    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(
        cls, theta: np.ndarray, x: np.ndarray, *, seed: int = 0, steps: int | None = None, units: Sequence[int] = UNITS
    ) -> "Ratio":
        """Learned from simulations: parameters (n, d) and their data (n, …).

        Args:
            steps: passes over the pairs, at most; fewer where held-out pairs get no better.
            units: of the hidden layers.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        rng, flat = np.random.default_rng([seed, 11]), x.reshape(len(x), -1)
        both = np.concatenate([theta, flat], 1)
        centre, scale = both.mean(0), both.std(0)
        scale = np.where(scale > 1e-12, scale, 1.0)
        shuffled = [np.concatenate([theta[_moved(len(theta), rng)], flat], 1) for _ in range(NEGATIVES)]
        pairs = np.concatenate([*[both] * NEGATIVES, *shuffled])
        inputs = ((pairs - centre) / scale).clip(-FAR, FAR)
        truth = np.repeat([1, 0], NEGATIVES * len(theta))
        net = MLPClassifier(
            tuple(units), alpha=1e-4, batch_size=min(256, len(pairs)), max_iter=steps or ITERATIONS, random_state=seed,
            early_stopping=len(pairs) >= 200, n_iter_no_change=8,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is a choice
            net.fit(inputs, truth)
        weights = [part for pair in zip(net.coefs_, net.intercepts_, strict=True) for part in pair]
        return cls(tuple(np.asarray(w, np.float64) for w in weights), centre, scale)

    def log_ratio(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Of parameters (n, d) with one observation: (n,)."""
        flat = np.broadcast_to(np.asarray(x).reshape(1, -1), (len(theta), np.size(x)))
        h = ((np.concatenate([theta, flat], 1) - self.centre) / self.scale).clip(-FAR, FAR)
        layers = len(self.weights) // 2
        for k in range(layers):
            h = h @ self.weights[2 * k] + self.weights[2 * k + 1]
            h = np.maximum(h, 0) if k < layers - 1 else h
        return np.asarray(h[:, 0])

    def save(self, path: Path) -> None:
        """Write the arrays into an .npz."""
        layers = {f"arr_{i}": w for i, w in enumerate(self.weights)}
        write_arrays(path, {**layers, "centre": self.centre, "scale": self.scale})

    @classmethod
    def load(cls, path: Path) -> "Ratio":
        """What `save` wrote.

        Raises:
            CorruptError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                count = len(file.files) - 2
                return cls(tuple(file[f"arr_{i}"] for i in range(count)), file["centre"], file["scale"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise CorruptError(f"{path} is missing or damaged ({error}): learn the posterior again") from error


def _moved(n: int, rng: np.random.Generator) -> np.ndarray:
    """A random order in which nothing stays in its place."""
    order = rng.permutation(n)
    places = np.empty(n, np.int64)
    places[order] = np.roll(order, 1)
    return places
