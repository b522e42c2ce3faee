"""Floors of discovery, at as many calls of the test: random designs, a Gaussian process, TPE; of sequences draws of the
run as they come, and draws that a Gaussian process picks."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.design_loop import POOL, Design, Sequences, Vectors, space_of
from pofx.apps.surrogate import Gaussian, improvement, latin, tpe

COMPONENTS = 8  # of features of sequences, for a Gaussian process


class Random(Vectors):
    """Designs drawn evenly: the floor."""

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        return self.first(n, seed)


class GaussianProcess(Vectors):
    """Expected improvement of a Gaussian process among even candidates and neighbours of the five best designs: the
    usual method in few dimensions (Snoek et al., 2012)."""

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        x, generator = self._unit(np.stack(designs)), np.random.default_rng(seed)
        best = x[np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")[:5]]
        some = best[generator.integers(len(best), size=POOL // 3)]
        near = np.clip(some + 0.05 * generator.normal(size=some.shape), 0, 1)
        pool = np.concatenate((latin(POOL - len(near), x.shape[1], seed), near))
        return list(self._real(improvement(Gaussian(seed), x, scores, pool, n)))


class TPE(Vectors):
    """Tree-structured Parzen estimator: candidates of the density of good designs, by its ratio to the others'."""

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        return list(self._real(tpe(self._unit(np.stack(designs)), scores, n, seed)))


class Draws(Sequences):
    """Fresh draws of the run: the floor of sequences."""

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        from pofx.apps.steered import new_items

        return new_items(self.run, n, set(designs), self.clean, seed)


class Screened(Sequences):
    """Fresh draws of the run, as many as `Sequences` looks at, picked by the expected improvement of a Gaussian process
    on principal components of their features."""

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        from sklearn.decomposition import PCA

        from pofx.apps.steered import new_items

        pool, there = new_items(self.run, max(30 * n, 300), set(designs), self.clean, seed), np.isfinite(scores)
        if there.sum() < 5 or len(pool) <= n:
            return pool[:n]
        x = self.features([*(d for d, t in zip(designs, there, strict=True) if t), *pool])
        codes = PCA(min(COMPONENTS, len(x) - 1), random_state=seed % (1 << 31)).fit_transform(x)
        codes = (codes - codes.min(0)) / (np.ptp(codes, axis=0) + 1e-9)
        known, others = codes[: there.sum()], codes[there.sum() :]
        chosen = improvement(Gaussian(seed), known, scores[there], others, n)
        return [pool[int(np.argmin(((others - row) ** 2).sum(1)))] for row in chosen]


METHODS: dict[str, type[Vectors]] = {"pofx": Vectors, "random": Random, "GP": GaussianProcess, "TPE": TPE}
OF_SEQUENCES: dict[str, type[Sequences]] = {"pofx": Sequences, "random": Draws, "GP": Screened}


def compared(
    test: Callable[[list[Any]], Any],
    over: Any,
    *,
    rounds: int = 5,
    batch: int = 10,
    seeds: int = 3,
    minimise: bool = False,
) -> pd.DataFrame:
    """The best score after equal calls, by method: mean over seeds, its standard error, and each seed's.

    Args:
        over: bounds of numbers by name, or a run of sequences, among whose draws a Gaussian process picks likewise.
    """
    vectors = isinstance(over, Mapping)
    spaces = {name: kind(over) for name, kind in METHODS.items()} if vectors else {
        name: space_of(over, kind=kind) for name, kind in OF_SEQUENCES.items()
    }  # fmt: skip
    rows = {}
    for name, space in spaces.items():
        best = []
        for seed in range(seeds):
            loop = Design(space, batch=batch, minimise=minimise, seed=seed).run(test, rounds)
            best.append(float(loop.progress()["so far"].iloc[-1]))
        spread = float(np.std(best, ddof=1) / seeds**0.5) if seeds > 1 else np.nan
        rows[name] = {"best": float(np.mean(best)), "±": spread, **{f"seed {i}": b for i, b in enumerate(best)}}
    return pd.DataFrame(rows).T
