"""What ranks designs before they are tested: a Gaussian process, a random forest, densities of good and other ones."""

import warnings
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, qmc

Points = Float[np.ndarray, "n d"]


def latin(n: int, d: int, seed: int) -> Points:
    """n points of the unit cube, one in each of n slices of every axis (McKay, Beckman and Conover, 1979)."""
    return np.asarray(qmc.LatinHypercube(d, rng=seed).random(n))


class Gaussian:
    """A Gaussian process of points of the unit cube, Matérn 5/2, a length for every axis (Snoek et al., 2012)."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.kernel: Any = None

    def fit(self, x: Points, y: np.ndarray, *, again: bool = False) -> Self:
        """Lengths are those of largest likelihood; with `again` those found before."""
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self.mean, self.scale = float(y.mean()), max(float(y.std()), 1e-9)
        start = (
            self.kernel
            if again
            else ConstantKernel(1.0, (1e-2, 1e2)) * Matern(np.full(x.shape[1], 0.4), (0.03, 10.0), nu=2.5)
            + WhiteKernel(1e-4, (1e-6, 1e-1))
        )
        self.model = GaussianProcessRegressor(
            start, optimizer=None if again else "fmin_l_bfgs_b", n_restarts_optimizer=0 if again else 1,
            random_state=self.seed % (1 << 31),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # lengths at their bounds
            self.model.fit(x, (y - self.mean) / self.scale)
        self.kernel = self.model.kernel_
        return self

    def predict(self, x: Points) -> tuple[np.ndarray, np.ndarray]:
        mean, spread = self.model.predict(x, return_std=True)
        return mean * self.scale + self.mean, spread * self.scale


def improvement(model: Gaussian, x: Points, y: np.ndarray, pool: Points, n: int) -> Points:
    """n candidates of largest expected improvement, each picked as if those before it had scored what was predicted
    (the kriging believer of Ginsbourger, Le Riche and Carraro, 2010)."""
    chosen = []
    there = np.isfinite(y)
    x, y = x[there], y[there]
    for k in range(n):
        model.fit(x, y, again=k > 0)
        mean, spread = model.predict(pool)
        z = (mean - y.max()) / np.maximum(spread, 1e-12)
        gain = spread * (z * norm.cdf(z) + norm.pdf(z))
        at = int(np.argmax(gain))
        chosen.append(pool[at])
        x, y = np.concatenate((x, pool[at : at + 1])), np.append(y, mean[at])
        pool = np.delete(pool, at, 0)
    return np.stack(chosen)


def tpe(x: Points, y: np.ndarray, n: int, seed: int, share: float = 0.25, candidates: int = 64) -> Points:
    """n points by the tree-structured Parzen estimator (Bergstra et al., 2011): axes by themselves, the good quarter
    and the rest as mixtures of normals with a uniform one; of draws of the good ones the largest ratio."""
    generator = np.random.default_rng(seed)
    there = np.isfinite(y)
    order = np.argsort(-y[there])
    cut = max(2, round(share * there.sum()))
    good, rest = x[there][order[:cut]], x[there][order[cut:]]
    found = np.empty((n, x.shape[1]))
    for k in range(n):
        for axis in range(x.shape[1]):
            a, b = good[:, axis], rest[:, axis]
            width = max(1.0 / (1 + len(a)), 0.05)
            pick = generator.integers(len(a) + 1, size=candidates)
            centre = np.append(a, 0.5)[pick]
            drawn = np.where(
                pick < len(a), centre + width * generator.normal(size=candidates), generator.random(candidates)
            )
            drawn = np.clip(drawn, 0, 1)
            ratio = parzen(drawn, a, width) / parzen(drawn, b, max(1.0 / (1 + len(b)), 0.05))
            found[k, axis] = drawn[int(np.argmax(ratio))]
    return found


def parzen(x: np.ndarray, centres: np.ndarray, width: float) -> np.ndarray:
    """The density of normals at the centres and a uniform one on [0, 1], all of equal weight."""
    each = norm.pdf(x[:, None], centres[None], width).sum(1) if len(centres) else 0.0
    return np.asarray((each + 1.0) / (len(centres) + 1))


class Forest:
    """A random forest, whose trees' spread is its uncertainty (Hutter, Hoos and Leyton-Brown, 2011)."""

    def __init__(self, seed: int = 0) -> None:
        from sklearn.ensemble import RandomForestRegressor

        self.model = RandomForestRegressor(100, min_samples_leaf=2, n_jobs=1, random_state=seed % (1 << 31))

    def fit(self, x: Points, y: np.ndarray) -> Self:
        self.model.fit(x, y)
        return self

    def predict(self, x: Points) -> tuple[np.ndarray, np.ndarray]:
        each = np.stack([tree.predict(np.asarray(x, np.float32)) for tree in self.model.estimators_])
        return each.mean(0), each.std(0)
