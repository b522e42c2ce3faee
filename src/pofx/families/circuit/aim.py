"""A graph of classes from noisy counts, chosen as it grows: differentially private, with exact probabilities.

After every single column, the set of columns is counted on which the model so far is worst, by the exponential
mechanism, and the model is fitted anew; where a count taught less than its noise, the noise is halved (McKenna,
Mullins, Sheldon and Miklau, 2022, "AIM", arXiv 2201.12677). The distribution is that of `junction`, of at most `cells`
cells. The sets are all pairs and, with a `target`, all triples that hold it: how two columns depend on each other given
it. Errors of sets that no clique holds are those of draws of the model, less what the draws alone would show.
"""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Discrete, Event, count
from pofx.core.model import Batch, X
from pofx.core.options import OneOf, OpenUnit, Positive, Range
from pofx.core.random import Streams
from pofx.families.circuit.junction import Clique, JunctionTree, Potentials, cells_of, fitted, log_marginal
from pofx.families.circuit.noisy_counts import NoisyCounts, drawn, grouped
from pofx.maths.privacy import chosen, noisy, rho_of

ROUNDS, LAST = 30, 300  # of mirror descent after each count, and in the end
CHOOSING = 0.1  # share of the budget of a round that chooses
DRAWS = 20_000  # rows that show the model's errors
EACH = 4  # rounds for each column with which the noise begins


class AIM(NoisyCounts):
    """Graph of noisy counts: exact density, private by ε, δ.

    Args:
        epsilon: of differential privacy.
        delta: of differential privacy, below one over the number of rows.
        target: the dimension of which triples are counted too; -1: none.
        groups: of the classes of a dimension, at most.
        cells: of all tables together, at most.
        noise: "secret" (no seed repeats it) or "seeded", for tests alone: who knows the seed removes the noise.
    """

    name = "aim"
    source = "McKenna, Mullins, Sheldon and Miklau, 2022, arXiv 2201.12677"
    small = {"noise": "seeded"}  # laws repeat a fit

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        epsilon: Positive = 1.0,
        delta: OpenUnit = 1e-6,
        target: Annotated[int, Range(-1, 8191)] = -1,
        groups: Annotated[int, Range(2, 256)] = 32,
        cells: Annotated[int, Range(16, 10_000_000)] = 30_000,
        noise: Annotated[str, OneOf("secret", "seeded")] = "secret",
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.epsilon, self.delta, self.target, self.groups = epsilon, delta, target, groups
        self.cells, self.noise = cells, noise
        self.keep_groups(event)
        d = self.size
        self.members: Tensor  # which variables are in each clique, in an order in which parents come first
        self.parents: Tensor  # of cliques; -2: no clique
        self.sizes: Tensor  # groups of each variable
        self.log_table: Tensor  # log p of each clique, one after the other
        self.register_buffer("members", torch.eye(d, dtype=torch.bool))
        self.register_buffer("parents", torch.full((d,), -1))
        self.register_buffer("sizes", torch.ones(d, dtype=torch.int64))
        self.register_buffer("log_table", torch.zeros(max(cells, d * groups), dtype=torch.float64))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Count, with noise, until the budget is spent."""
        x, generator = self.counted_rows(take)
        tree, log_p = _Growth(self, x, rho_of(self.epsilon, self.delta), generator).run()
        self.members.zero_()
        self.parents.fill_(-2)
        place = {k: at for at, k in enumerate(tree.order)}
        start = 0
        for at, k in enumerate(tree.order):
            self.members[at, list(tree.cliques[k])] = True
            self.parents[at] = -1 if tree.parent[k] < 0 else place[tree.parent[k]]
            flat = torch.from_numpy(log_p[k].ravel())
            self.log_table[start : start + len(flat)] = flat.clamp(min=-700.0)
            start += len(flat)
        self.sizes.copy_(torch.tensor(tree.sizes))

    def _cliques(self) -> list[tuple[list[int], list[int], Float[Tensor, "..."]]]:
        """Variables of each clique, those that its parent has too, and log p of it."""
        found: list[tuple[list[int], list[int], Tensor]] = []
        sizes, start = self.sizes.tolist(), 0
        for at, parent in enumerate(self.parents.tolist()):
            if parent == -2:
                break
            own = self.members[at].nonzero()[:, 0].tolist()
            above = [] if parent < 0 else [v for v in own if bool(self.members[parent, v])]
            shape = [sizes[v] for v in own]
            table = self.log_table[start : start + math.prod(shape)].reshape(shape)
            found.append((own, above, table))
            start += math.prod(shape)
        return found

    def _given(self, own: list[int], above: list[int], table: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """log p(others | those of the parent), all in the axes of the clique."""
        others = [i for i, v in enumerate(own) if v not in above]
        return table - table.logsumexp(others, keepdim=True)

    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x) in nats: (n,)."""
        self.check_condition(count(x), condition)
        group, found = self.grouped_log_prob(x.flatten(1))
        for own, above, table in self._cliques():
            found = found + self._given(own, above, table)[tuple(group[:, v] for v in own)]
        return found.float()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(n, condition)
        u = generator.uniform(2, self.size).double()
        group = torch.zeros(n, self.size, dtype=torch.int64, device=u.device)
        sizes = self.sizes.tolist()
        for own, above, table in self._cliques():
            new = [v for v in own if v not in above]
            given = self._given(own, above, table).permute([own.index(v) for v in (*above, *new)])
            for k, v in enumerate(new):  # one variable after the other, by the chain rule
                rest = tuple(range(len(above) + k + 1, len(own)))
                log_p = given.logsumexp(rest) if rest else given
                rows = (
                    log_p[tuple(group[:, w] for w in (*above, *new[:k]))] if above or k else log_p.expand(n, sizes[v])
                )
                group[:, v] = drawn(rows, u[:, 0, v])
        return self.inside(group, u[:, 1]).reshape(n, *self.event.shape)  # type: ignore[union-attr]


class _Growth:
    """One fit: counts with their noise, and the graph that they make."""

    def __init__(self, model: AIM, x: np.ndarray, rho: float, generator: np.random.Generator) -> None:
        self.model, self.x, self.rho, self.generator = model, x, rho, generator
        self.spent = 0.0
        self.measured: list[tuple[Clique, np.ndarray, float]] = []

    def run(self) -> tuple[JunctionTree, list[np.ndarray]]:
        d = self.model.size
        share = (1 - CHOOSING) * self.rho / (EACH * d)  # of a count, to begin with
        sigma = self._singles(share)
        sets = self._sets()
        tree = JunctionTree(self.sizes, [(i,) for i in range(d)])
        potentials, log_p = fitted(tree, self.measured, self.total, {}, ROUNDS)
        if not sets:
            return tree, log_p
        truth = {r: self._table(self.z, r) for r in sets}
        weights = {r: float(sum(len(set(r) & set(s)) for s in sets)) for r in sets}
        choosing = CHOOSING * self.rho / (EACH * d)
        done = False
        while not done:
            share = 0.5 / sigma**2
            if self.rho - self.spent <= 2 * (share + choosing):  # the last round takes what is left
                left, done = max(self.rho - self.spent, 1e-12), True
                share, choosing = (1 - CHOOSING) * left, CHOOSING * left
                sigma = math.sqrt(0.5 / share)
            room = max(self.model.cells * min((self.spent + share + choosing) / self.rho, 1.0), 1.0)
            able = [r for r in sets if cells_of(self.sizes, [*(m[0] for m in self.measured), r]) <= room]
            if not able:
                break  # no larger table fits
            errors = self._errors(tree, log_p, truth, able)
            lost = {r: math.sqrt(2 / math.pi) * sigma * truth[r].size for r in able}
            scores = np.array([weights[r] * (errors[r] - lost[r]) for r in able])
            r = able[chosen(scores, choosing, self.generator, max(weights[r] for r in able))]
            counts, sigma_now = noisy(truth[r], share, self.generator)
            self.spent += share + choosing
            before = errors[r]
            tree = self._grown(r)
            self.measured.append((r, counts, sigma_now))
            old = self._marginal(tree, tree.calibrated(potentials), r)
            potentials, log_p = fitted(tree, self.measured, self.total, potentials, LAST if done else ROUNDS)
            new = self._marginal(tree, log_p, r)
            if before >= 0 and float(np.abs(new - old).sum()) <= math.sqrt(2 / math.pi) * sigma * counts.size:
                sigma, choosing = sigma / 2, 4 * choosing
        return tree, log_p

    def _singles(self, share: float) -> float:
        """Count every column, group its classes; returns the standard deviation of the noise."""
        model, sigma = self.model, 0.0
        counted = []
        for i in range(model.size):
            table = np.bincount(self.x[:, i], minlength=model.counts[i]).astype(np.float64)
            counts, sigma = noisy(table, share, self.generator)
            counted.append(counts)
        self.spent += share * model.size
        precision = np.array([1 / (len(c) * sigma**2) for c in counted])
        self.total = max(float(np.average([c.sum() for c in counted], weights=precision)), 1.0)
        self.sizes, columns = [], []
        for i, counts in enumerate(counted):
            group = grouped(model, i, counts[None], sigma, model.groups)
            self.sizes.append(int(group.max()) + 1)
            sums = np.bincount(group, counts, minlength=self.sizes[-1])
            sizes = np.bincount(group, minlength=self.sizes[-1])
            self.measured.append(((i,), sums, sigma * math.sqrt(float(sizes.mean()))))
            columns.append(group[self.x[:, i]])
        self.z = np.stack(columns, 1)
        return sigma

    def _sets(self) -> list[Clique]:
        d, y = self.model.size, self.model.target
        pairs: list[Clique] = [r for r in combinations(range(d), 2) if self.sizes[r[0]] > 1 and self.sizes[r[1]] > 1]
        if y < 0 or self.sizes[y] == 1:
            return pairs
        return pairs + [tuple(sorted((*r, y))) for r in pairs if y not in r]

    def _table(self, z: np.ndarray, r: Clique) -> np.ndarray:
        shape = [self.sizes[v] for v in r]
        flat = np.ravel_multi_index([z[:, v] for v in r], shape)
        return np.bincount(flat, minlength=math.prod(shape)).reshape(shape).astype(np.float64)

    def _grown(self, r: Clique) -> JunctionTree:
        return JunctionTree(self.sizes, [*(m[0] for m in self.measured), r])

    def _marginal(self, tree: JunctionTree, log_p: list[np.ndarray], r: Clique) -> np.ndarray:
        k = tree.home(r)
        return np.asarray(self.total * np.exp(log_marginal(log_p[k], tree.cliques[k], r)))

    def _errors(
        self, tree: JunctionTree, log_p: list[np.ndarray], truth: Potentials, able: list[Clique]
    ) -> dict[Clique, float]:
        """|counts - the model's|, summed, of each set."""
        z = tree.drawn(log_p, DRAWS, np.random.default_rng(0))
        found = {}
        for r in able:
            share = self._table(z, r) / DRAWS
            by_chance = math.sqrt(2 / math.pi / DRAWS) * float(np.sqrt(share * (1 - share)).sum())
            found[r] = float(np.abs(truth[r] - self.total * share).sum()) - self.total * by_chance
        return found
