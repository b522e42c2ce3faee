"""Junction trees: exact inference of classes that depend on each other through overlapping cliques.

A graph is triangulated by greedy elimination, its cliques form a tree of largest overlaps, and two passes of messages
give the marginal of every clique: p(x) = ∏ p(x_clique) / ∏ p(x_separator) (Lauritzen and Spiegelhalter, 1988, "Local
computations with probabilities on graphical structures"). `fitted` finds the distribution of this form whose marginals
are nearest to noisy measurements, by mirror descent (McKenna, Sheldon and Miklau, 2019, arXiv 1901.09136).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp

Clique = tuple[int, ...]
Potentials = dict[Clique, Float[np.ndarray, "..."]]


class JunctionTree:
    """The cliques that hold these, each with its parent and the variables that both have."""

    def __init__(self, sizes: Sequence[int], cliques: Iterable[Clique]) -> None:
        self.sizes = list(sizes)
        self.cliques = triangulated(self.sizes, cliques)
        self.parent = [-1] * len(self.cliques)
        self.order = [0]  # a parent before its children
        rest = set(range(1, len(self.cliques)))
        while rest:
            overlaps = [(len(set(self.cliques[i]) & set(self.cliques[j])), i, j) for i in self.order for j in rest]
            _, i, j = max(overlaps)
            self.parent[j] = i
            self.order.append(j)
            rest.remove(j)

    def separator(self, k: int) -> Clique:
        """What a clique has in common with its parent."""
        return () if self.parent[k] < 0 else tuple(sorted(set(self.cliques[k]) & set(self.cliques[self.parent[k]])))

    def home(self, clique: Clique) -> int:
        """The number of the smallest clique that holds this one."""
        able = [k for k, c in enumerate(self.cliques) if set(clique) <= set(c)]
        return min(able, key=lambda k: math.prod(self.sizes[v] for v in self.cliques[k]))

    def calibrated(self, potentials: Mapping[Clique, Float[np.ndarray, "..."]]) -> list[Float[np.ndarray, "..."]]:
        """log p of every clique under p ∝ exp Σ potentials."""
        beliefs = [np.zeros([self.sizes[v] for v in clique]) for clique in self.cliques]
        for clique, theta in potentials.items():
            k = self.home(clique)
            beliefs[k] = beliefs[k] + wide(theta, clique, self.cliques[k])
        messages: dict[int, Float[np.ndarray, "..."]] = {}
        for k in reversed(self.order[1:]):
            messages[k] = log_marginal(beliefs[k], self.cliques[k], self.separator(k))
            p = self.parent[k]
            beliefs[p] = beliefs[p] + wide(messages[k], self.separator(k), self.cliques[p])
        for k in self.order[1:]:
            down = log_marginal(beliefs[self.parent[k]], self.cliques[self.parent[k]], self.separator(k))
            beliefs[k] = beliefs[k] + wide(np.asarray(down - messages[k]), self.separator(k), self.cliques[k])
        return [b - logsumexp(b) for b in beliefs]

    def drawn(self, log_p: Sequence[Float[np.ndarray, "..."]], n: int, generator: np.random.Generator) -> np.ndarray:
        """n draws of all variables in cliques: int64 (n, variables), 0 where a variable is in none."""
        x = np.zeros((n, len(self.sizes)), np.int64)
        for k in self.order:
            clique, above = self.cliques[k], self.separator(k)
            new = [v for v in clique if v not in above]
            table = np.exp(log_p[k]).transpose([clique.index(v) for v in (*above, *new)])
            flat = table.reshape(math.prod(self.sizes[v] for v in above), -1)
            row = np.ravel_multi_index([x[:, v] for v in above], [self.sizes[v] for v in above]) if above else 0
            cdf = flat.cumsum(1)
            cdf = cdf / np.maximum(cdf[:, -1:], 1e-300)
            u = generator.random(n)
            # rows of one table after the other, so that one search serves them all
            at = np.searchsorted((cdf + np.arange(len(cdf))[:, None]).ravel(), u + row, side="right")
            found = np.clip(at - row * flat.shape[1], 0, flat.shape[1] - 1)
            for v, value in zip(new, np.unravel_index(found, [self.sizes[v] for v in new]), strict=True):
                x[:, v] = value
        return x


def triangulated(sizes: Sequence[int], cliques: Iterable[Clique]) -> list[Clique]:
    """The maximal cliques after eliminating, one after the other, the variable whose clique is smallest."""
    near: dict[int, set[int]] = {}
    for clique in cliques:
        for v in clique:
            near.setdefault(v, set()).update(w for w in clique if w != v)
    found: list[set[int]] = []
    while near:
        v = min(near, key=lambda v: math.prod(sizes[w] for w in (v, *near[v])))
        around = near.pop(v)
        found.append({v, *around})
        for w in around:
            near[w] = (near[w] | around) - {v, w}
    whole = [c for i, c in enumerate(found) if not any(c < d or (c == d and i > j) for j, d in enumerate(found))]
    return [tuple(sorted(c)) for c in whole]


def cells_of(sizes: Sequence[int], cliques: Iterable[Clique]) -> int:
    """The cells of all tables of a junction tree that holds these cliques."""
    return sum(math.prod(sizes[v] for v in clique) for clique in triangulated(sizes, cliques))


def wide(table: Float[np.ndarray, "..."], of: Clique, into: Clique) -> Float[np.ndarray, "..."]:
    """A table of sorted variables in the axes of more of them."""
    return table.reshape([table.shape[of.index(v)] if v in of else 1 for v in into])


def log_marginal(log_p: Float[np.ndarray, "..."], of: Clique, onto: Clique) -> Float[np.ndarray, "..."]:
    axes = tuple(i for i, v in enumerate(of) if v not in onto)
    return np.asarray(logsumexp(log_p, axis=axes)) if axes else log_p


def fitted(
    tree: JunctionTree,
    measured: Sequence[tuple[Clique, Float[np.ndarray, "..."], float]],
    total: float,
    potentials: Potentials,
    rounds: int,
) -> tuple[Potentials, list[Float[np.ndarray, "..."]]]:
    """Potentials, and log p of the cliques, under which ½ Σ |total p - counts|² / σ² is small.

    Args:
        measured: cliques with their noisy counts and the standard deviation of the noise.
        potentials: to begin with.
    """
    theta = {r: potentials.get(r, np.zeros([tree.sizes[v] for v in r])) for r, _, _ in measured}

    def judged(theta: Potentials) -> tuple[list[Float[np.ndarray, "..."]], float, Potentials]:
        log_p, loss, slopes = tree.calibrated(theta), 0.0, dict[Clique, np.ndarray]()
        for r, y, sigma in measured:
            k = tree.home(r)
            excess = total * np.exp(log_marginal(log_p[k], tree.cliques[k], r)) - y
            loss += float(0.5 * np.square(excess).sum() / sigma**2)
            slopes[r] = slopes.get(r, 0.0) + total * excess / sigma**2
        return log_p, loss, slopes

    log_p, loss, slopes = judged(theta)
    step = 2.0 * min(sigma for _, _, sigma in measured) ** 2 / total**2
    for _ in range(rounds):
        tried = {r: theta[r] - step * slopes[r] for r in theta}
        found = judged(tried)
        if found[1] <= loss:
            theta, (log_p, loss, slopes), step = tried, found, 1.4 * step
        else:
            step *= 0.4
    return theta, log_p
