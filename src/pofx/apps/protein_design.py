"""Variants of a protein proposed under a model of fitness: what an assay measured, helped by what the family allows.

Fitness is a ridge regression on the changes of a variant and on the score of a density of the family ("augmented", Hsu
et al., 2022), whose rank correlation is printed for mutants and for whole columns that were held out, beside that of
the density alone. Proposals follow CbAS (Brookes, Park and Listgarten, 2019, arXiv 1901.10060) over combinations of at
most a few substitutions: a threshold rises to a quantile of the predictions, and what lies above it, weighted by prior
over proposal, is learned. The prior is the profile of the family. Predictions are not measurements.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.tolerance import HYDROPATHY
from pofx.core.errors import DataError
from pofx.data.alignments import LETTERS, Alignment, codes

FOLDS, RIDGES = 5, (1.0, 10.0, 100.0)
ROUNDS, DRAWS, KEEP = 12, 1500, 0.2  # of the search: rounds, variants of a round, share that is learned from
RATIO = 2.0  # nats at which the log of prior over proposal is cut
SHARE = 5  # at most a fifth of the designs change the same columns
VOLUME = dict(zip("ARNDCQEGHILKMFPSTWYV", (88.6, 173.4, 114.1, 111.1, 108.5, 143.8, 138.4, 60.1, 153.2, 166.7,
                                           166.7, 168.6, 162.9, 189.9, 112.7, 89.0, 116.1, 227.8, 193.6,
                                           140.0), strict=True))  # fmt: skip
CHARGE = {"K": 1.0, "R": 1.0, "D": -1.0, "E": -1.0}

Scorer = Callable[[Sequence[str]], np.ndarray]


@dataclass
class Fitness:
    """A model of fitness; made by `fitted`.

    Attributes:
        checks: rank correlations on held-out mutants and columns, a row each for the model and the density alone.
    """

    focus: str
    density: Scorer
    models: list[Any]
    middle: np.ndarray
    scale: np.ndarray
    checks: pd.DataFrame

    def __call__(self, sequences: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Predictions (n,), and how far those of the folds differ: their standard deviation (n,)."""
        x, _ = features(self.focus, sequences, self.density, self.middle, self.scale)
        found = np.stack([model.predict(x) for model in self.models])
        return found.mean(0), found.std(0)


def features(
    focus: str, sequences: Sequence[str], density: Scorer, middle: np.ndarray | None, scale: np.ndarray | None
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]:
    """What is known of variants, as sparse rows, and the middle and scale of their numbers: each change, its column,
    its residue; the score of the density, the number of changes, and what they do to hydropathy, volume and charge."""
    from scipy.sparse import csr_matrix, hstack

    x, first = codes(sequences), codes([focus])[0]
    size, kinds = len(focus), len(LETTERS)
    rows, at = np.nonzero(x != first)
    new = x[rows, at]
    columns = (at * kinds + new, size * kinds + at, size * (kinds + 1) + new)
    width = size * (kinds + 1) + kinds
    hot = csr_matrix(
        (np.ones(3 * len(rows)), (np.tile(rows, 3), np.concatenate(columns))), shape=(len(x), width), dtype=float
    )
    numbers = [np.asarray(density([focus, *sequences]))[1:] - np.asarray(density([focus]))[0], (x != first).sum(1)]
    for of in (HYDROPATHY, VOLUME, CHARGE):
        values = np.array([of.get(letter, 0.0) for letter in LETTERS])
        numbers.append((values[x] - values[first]).sum(1))
    dense = np.stack(numbers, 1).astype(float)
    middle = dense.mean(0) if middle is None else middle
    scale = dense.std(0) + 1e-9 if scale is None else scale
    together = hstack((hot, csr_matrix(3 * (dense - middle) / scale))).tocsr()  # of what is known of all variants more
    return together, (middle, scale)


def fitted(focus: str, sequences: Sequence[str], truth: np.ndarray, density: Scorer, seed: int = 0) -> Fitness:
    """A model of measured fitness of variants over the columns of an alignment.

    Raises:
        DataError: fewer than 50 variants, or measurements that are all alike.
    """
    from scipy.stats import spearmanr
    from sklearn.linear_model import Ridge

    truth = np.asarray(truth, float)
    if len(truth) < 50 or np.ptp(truth) == 0:
        raise DataError(f"a model of fitness needs 50 measured variants that differ (got {len(truth)})")
    x, (middle, scale) = features(focus, sequences, density, None, None)
    generator = np.random.default_rng(seed)
    by_mutant = generator.permutation(len(truth)) % FOLDS
    column = np.argmax(codes(sequences) != codes([focus])[0], 1)
    by_column = (generator.permutation(len(focus)) % FOLDS)[column]

    def held(folds: np.ndarray, ridge: float) -> tuple[float, list[Any]]:
        found, models = np.zeros(len(truth)), []
        for k in range(FOLDS):
            test = folds == k
            if test.all() or not test.any():
                continue
            model = Ridge(alpha=ridge, solver="lsqr").fit(x[~test], truth[~test])
            found[test] = model.predict(x[test])
            models.append(model)
        return float(spearmanr(found, truth).statistic), models

    ridge = max(RIDGES, key=lambda r: held(by_mutant, r)[0])
    mutants, models = held(by_mutant, ridge)
    alone = float(spearmanr(np.asarray(density(list(sequences))), truth).statistic)
    checks = pd.DataFrame(
        {"held-out mutants": [mutants, alone], "held-out columns": [held(by_column, ridge)[0], alone]},
        index=["fitness model", "density alone"],
    )
    return Fitness(focus, density, models, middle, scale, checks)


def designs(
    fitness: Fitness, alignment: Alignment, profile: Any, n: int = 20, *, most: int = 5, seed: int = 0
) -> pd.DataFrame:
    """n variants of at most so many changes, those of the highest prediction less its spread, best first.

    Args:
        profile: log p of residues by column, (columns, 21): the prior of a change.
        most: changes of a variant.
    """
    generator = np.random.default_rng(seed)
    first = codes([alignment.focus])[0]
    prior = np.exp(np.asarray(profile, float))
    prior[:, 0] = 0.0  # no gaps
    prior[np.arange(len(first)), first] = 0.0
    prior /= prior.sum()
    q, threshold, seen = prior.copy(), -np.inf, dict[bytes, float]()
    for _ in range(ROUNDS):
        x = _variants(q, first, min(most, len(first)), generator)
        mean, spread = fitness([text(row) for row in x])
        score = mean - spread
        seen |= {row.tobytes(): float(s) for row, s in zip(x, score, strict=True)}
        threshold = max(threshold, float(np.quantile(score, 1 - KEEP)))
        elite = x[score >= threshold]
        if not len(elite):
            continue
        rows, at = np.nonzero(elite != first)
        new = elite[rows, at]
        ratio = np.clip(np.log(prior[at, new] + 1e-12) - np.log(q[at, new] + 1e-12), -RATIO, RATIO)
        counts = np.zeros_like(q)
        np.add.at(counts, (at, new), np.exp(ratio))
        q = 0.5 * q + 0.4 * counts / counts.sum() + 0.1 * prior
    chosen: list[np.ndarray] = []
    groups: dict[tuple[int, ...], int] = {}
    for key in sorted(seen, key=lambda k: -seen[k]):
        row = np.frombuffer(key, dtype=first.dtype)
        where = tuple(np.flatnonzero(row != first).tolist())
        if groups.get(where, 0) < max(1, n // SHARE):
            groups[where] = groups.get(where, 0) + 1
            chosen.append(row)
        if len(chosen) == n:
            break
    sequences = [text(row) for row in chosen]
    mean, spread = fitness(sequences)
    start = np.asarray(fitness.density([alignment.focus]))[0]
    return pd.DataFrame(
        {
            "mutant": [written(alignment, row) for row in chosen],
            "predicted": mean,
            "±": spread,
            "density": np.asarray(fitness.density(sequences)) - start,
            "sequence": sequences,
        }
    )


def _variants(q: np.ndarray, first: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """DRAWS variants: 1 to `most` changes, drawn from q, one a column."""
    x = np.tile(first, (DRAWS, 1))
    drawn = generator.choice(q.size, (DRAWS, 4 * most), p=q.ravel() / q.sum())
    for row, size, picks in zip(x, generator.integers(1, most + 1, DRAWS), drawn, strict=True):
        at = dict(zip((picks // q.shape[1]).tolist(), (picks % q.shape[1]).tolist(), strict=True))
        for column, letter in list(at.items())[:size]:
            row[column] = letter
    return np.unique(x[(x != first).any(1)], axis=0)


def text(row: np.ndarray) -> str:
    return "".join(LETTERS[k] for k in row)


def written(alignment: Alignment, row: np.ndarray) -> str:
    """A variant by its changes: V29A:K30R."""
    first = alignment.focus
    return ":".join(
        f"{first[i]}{alignment.numbers[i]}{LETTERS[k]}" for i, k in enumerate(row) if LETTERS[k] != first[i]
    )


def stacked(alignment: Alignment, sequences: Sequence[str], truth: np.ndarray, most: int) -> str:
    """The floor of designs: the best measured single changes of different columns, all at once."""
    first, best = codes([alignment.focus])[0], dict[int, int]()
    x = codes(sequences)
    for i in np.argsort(-np.asarray(truth), kind="stable"):
        at = np.flatnonzero(x[i] != first)
        if len(at) == 1 and int(at[0]) not in best:
            best[int(at[0])] = int(x[i, at[0]])
        if len(best) == most:
            break
    row = first.copy()
    for column, letter in best.items():
        row[column] = letter
    return text(row)
