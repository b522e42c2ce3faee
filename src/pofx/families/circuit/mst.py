"""A tree of classes from noisy counts: differentially private, with exact probabilities.

All single columns are counted with noise, a spanning tree of large dependences is chosen by the exponential mechanism,
its pairs are counted with noise, and the counts are made consistent: p(x) = p(x_root) ∏ p(x_i | x_parent(i)). McKenna,
Miklau and Sheldon, 2021, "Winning the NIST contest", arXiv 2108.04978 (MST). With a `target` every count is split by
its classes, so that each column depends on the target and on one other column (Friedman, Geiger and Goldszmidt, 1997,
TAN): the workload of AIM (McKenna et al., 2022, arXiv 2201.12677) where one column is to be predicted. Classes with too
few items for the noise are counted together. Without noise it is the tree of Chow and Liu, 1968.

What is private is this fit. The view of the data, the choice of weights and any report read the rows as well.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import Condition, Discrete, Event, count
from pofx.core.model import Batch, Recipe, X
from pofx.core.options import NonNegative, OneOf, OpenUnit, Range
from pofx.core.random import Streams
from pofx.families.circuit.noisy_counts import NoisyCounts, drawn, grouped
from pofx.maths.privacy import chosen, noisy, on_simplex, rho_of

SHARES = {"target": 0.05, "columns": 0.25, "tree": 0.1, "pairs": 0.6}  # of the budget
OF_TARGET = 8  # groups of its classes
RAKING = 50  # rounds in which pairs are brought to their margins


class MST(NoisyCounts):
    """Tree of noisy counts: exact density, private by ε, δ.

    Args:
        epsilon: of differential privacy; 0 counts without noise.
        delta: of differential privacy, below one over the number of rows.
        target: the dimension on which all others may depend; -1: none.
        groups: of the classes of a dimension, at most.
        tree: whether pairs are counted; without them dimensions are independent.
        noise: "secret" (no seed repeats it) or "seeded", for tests alone: who knows the seed removes the noise.
    """

    name = "mst"
    source = "McKenna, Miklau and Sheldon, 2021, arXiv 2108.04978"
    recipes: ClassVar = (
        Recipe("chow-liu", "Chow and Liu, 1968", {"epsilon": 0.0}, summary="Tree of classes: exact density."),
        Recipe(
            "dp-independent",
            "Dwork, McSherry, Nissim and Smith, 2006",
            {"tree": False},
            summary="Independent classes from noisy counts.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        epsilon: NonNegative = 1.0,
        delta: OpenUnit = 1e-6,
        target: Annotated[int, Range(-1, 8191)] = -1,
        groups: Annotated[int, Range(2, 256)] = 32,
        tree: bool = True,
        noise: Annotated[str, OneOf("secret", "seeded")] = "secret",
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.epsilon, self.delta, self.target, self.groups = epsilon, delta, target, groups
        self.tree, self.noise = tree, noise
        self.keep_groups(event)
        self.width = min(groups, event.largest)  # groups of a dimension
        self.cases = min(OF_TARGET, self.counts[target]) if target >= 0 else 1
        d, g, y = self.size, self.width, self.cases
        self.parents: Tensor
        self.log_table: Tensor  # log p(group | group of the parent, case)
        self.log_case: Tensor
        self.register_buffer("parents", torch.full((d,), -1))
        start = torch.full((y, d, g, g), -torch.inf, dtype=torch.float64)
        start[..., 0] = 0.0
        self.register_buffer("log_table", start)
        self.register_buffer("log_case", torch.full((y,), -math.log(y), dtype=torch.float64))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Count once, with noise."""
        x, generator = self.counted_rows(take)
        rho = rho_of(self.epsilon, self.delta) if self.epsilon else math.inf
        _Fit(self, x, rho, generator).run()

    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x) in nats: (n,)."""
        self.check_condition(count(x), condition)
        flat = x.flatten(1)
        at = torch.arange(self.size, device=flat.device)
        group, found = self.grouped_log_prob(flat)
        parent = torch.where(self.parents < 0, 0, group[:, self.parents.clamp(min=0)])
        if self.target >= 0:
            case = group[:, self.target]
            found = found + self.log_case[case]
        else:
            case = torch.zeros(len(flat), dtype=torch.int64, device=flat.device)
        terms = self.log_table[case[:, None], at, parent, group]
        if self.target >= 0:
            terms[:, self.target] = 0.0
        return (found + terms.sum(1)).float()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(n, condition)
        u = generator.uniform(2, self.size).double()
        group = torch.zeros(n, self.size, dtype=torch.int64, device=u.device)
        case = torch.zeros(n, dtype=torch.int64, device=u.device)
        if self.target >= 0:
            case = drawn(self.log_case.expand(n, -1), u[:, 0, self.target])
            group[:, self.target] = case
        for i in _order(self.parents.tolist()):
            if i != self.target:
                parent = group[:, self.parents[i]] if self.parents[i] >= 0 else torch.zeros_like(case)
                group[:, i] = drawn(self.log_table[case, i, parent], u[:, 0, i])
        return self.inside(group, u[:, 1]).reshape(n, *self.event.shape)  # type: ignore[union-attr]


def _order(parents: list[int]) -> list[int]:
    """Nodes with every parent before its children."""
    found: list[int] = []
    while len(found) < len(parents):
        found += [i for i, p in enumerate(parents) if i not in found and (p < 0 or p in found)]
    return found


class _Fit:
    """One fit of a tree: counts with their noise, in the order in which the budget is spent."""

    def __init__(self, model: MST, x: np.ndarray, rho: float, generator: np.random.Generator) -> None:
        self.model, self.x, self.rho, self.generator = model, x, rho, generator
        self.free = [i for i in range(model.size) if i != model.target]
        spent = {k: v for k, v in SHARES.items() if (k != "target" or model.target >= 0)}
        if not model.tree or len(self.free) < 2:
            spent = {k: v for k, v in spent.items() if k in ("target", "columns")}
        self.share = {k: v / sum(spent.values()) for k, v in spent.items()}

    def counted(self, counts: np.ndarray, share: float) -> tuple[np.ndarray, float]:
        """Counts with noise for a share of the budget, and its standard deviation."""
        if math.isinf(self.rho):
            return counts.astype(np.float64), 0.0
        return noisy(counts.astype(np.float64), self.rho * share, self.generator)

    def run(self) -> None:
        model, d = self.model, self.model.size
        case = np.zeros(len(self.x), np.int64)
        total = None
        if model.target >= 0:
            of, sigma = self.counted(self.table(model.target), self.share["target"])
            total = max(float(of.sum()), 1.0)
            case = grouped(model, model.target, of[None], sigma, model.cases)[self.x[:, model.target]]
        each = self.share["columns"] / max(len(self.free), 1)
        singles, sigma = {}, 0.0
        for i in self.free:
            singles[i], sigma = self.counted(self.table(i, case), each)
        total = max(float(np.mean([s.sum() for s in singles.values()])), 1.0) if singles else float(total or 1.0)
        paired = model.tree and len(self.free) > 1
        noise = math.sqrt(len(self.free) / (2 * self.rho * self.share["pairs"])) if paired else 1.0
        few = math.sqrt(2 * max(noise, 1.0) * total * model.cases)  # so that cells of pairs exceed their noise
        for i in self.free:
            grouped(model, i, singles[i], sigma, model.width, 0.0 if not paired else few)
        groups = {i: model.group_of[i].cpu().numpy() for i in self.free}
        z = np.stack([groups[i][self.x[:, i]] if i in groups else case for i in range(d)], 1)
        margins = {i: _summed(singles[i], groups[i], model.width) for i in self.free}
        sizes = {i: np.bincount(groups[i][: model.counts[i]], minlength=model.width) for i in self.free}
        variance = {i: sigma**2 * sizes[i] for i in self.free}  # of the margins
        edges, joints, sigma_pairs = self.edges(z, case, margins, total) if paired else ([], [], 0.0)
        for (i, j), table in zip(edges, joints, strict=True):
            for k, axis in ((i, 2), (j, 1)):
                own, more = table.sum(axis), sigma_pairs**2 * (sizes[j if k == i else i] > 0).sum()
                if sigma_pairs > 0:  # two measurements of one margin, each by its precision
                    share = np.where(sizes[k] > 0, variance[k] / np.maximum(variance[k] + more, 1e-12), 0.0)
                    margins[k] = (1 - share) * margins[k] + share * own
                    variance[k] = (1 - share) * variance[k]
        self.store(margins, sizes, edges, joints, total)

    def table(self, i: int, case: np.ndarray | None = None) -> np.ndarray:
        """How often each class of a dimension occurs: (classes,), or by case (cases, classes)."""
        k, y = self.model.counts[i], self.model.cases
        if case is None:
            return np.bincount(self.x[:, i], minlength=k)
        return np.bincount(case * k + self.x[:, i], minlength=y * k).reshape(y, k)

    def edges(
        self, z: np.ndarray, case: np.ndarray, margins: dict[int, np.ndarray], total: float
    ) -> tuple[list[tuple[int, int]], list[np.ndarray], float]:
        """A spanning tree of the free dimensions and its counts (cases, groups, groups), both private."""
        model, free = self.model, self.free
        g, y = model.width, model.cases
        pairs = [(i, j) for a, i in enumerate(free) for j in free[a + 1 :]]
        shares = {
            i: np.maximum(margins[i], 0) / np.maximum(margins[i].clip(min=0).sum(1, keepdims=True), 1e-9) for i in free
        }
        rows = np.maximum(np.mean([m.sum(1) for m in margins.values()], 0), 0.0)
        rows = rows / max(rows.sum(), 1e-9) * total
        scores = []
        for i, j in pairs:
            true = self.pair(z, case, i, j)
            alone = rows[:, None, None] * shares[i][:, :, None] * shares[j][:, None, :]
            if math.isinf(self.rho):
                scores.append(_information(true))
            else:
                scores.append(float(np.abs(true - alone).sum()))
        component = {i: i for i in free}
        edges: list[tuple[int, int]] = []
        while len(edges) < len(free) - 1:
            able = [k for k, (i, j) in enumerate(pairs) if component[i] != component[j]]
            values = np.array([scores[k] for k in able])
            if math.isinf(self.rho):
                pick = int(values.argmax())
            else:
                pick = chosen(values, self.rho * self.share["tree"] / (len(free) - 1), self.generator)
            i, j = pairs[able[pick]]
            edges.append((i, j))
            old, new = component[j], component[i]
            component = {k: new if c == old else c for k, c in component.items()}
        each, joints, sigma = self.share["pairs"] / len(edges), [], 0.0
        for i, j in edges:
            true = self.pair(z, case, i, j)
            used = [model.group_of[k, : model.counts[k]].max().item() + 1 for k in (i, j)]
            table = np.zeros((y, g, g))
            table[:, : used[0], : used[1]], sigma = self.counted(true[:, : used[0], : used[1]], each)
            joints.append(table)
        return edges, joints, sigma

    def pair(self, z: np.ndarray, case: np.ndarray, i: int, j: int) -> np.ndarray:
        g, y = self.model.width, self.model.cases
        return np.bincount((case * g + z[:, i]) * g + z[:, j], minlength=y * g * g).reshape(y, g, g).astype(np.float64)

    def store(
        self,
        margins: dict[int, np.ndarray],
        sizes: dict[int, np.ndarray],
        edges: list[tuple[int, int]],
        joints: list[np.ndarray],
        total: float,
    ) -> None:
        """Consistent margins and pairs as conditional probabilities of the tree."""
        model, y = self.model, self.model.cases
        rows = (
            on_simplex(np.mean([m.sum(1) for m in margins.values()], 0), np.array(total))
            if margins
            else np.full(y, 1.0)
        )
        rows = rows + 1e-6 * total / y
        model.log_case.copy_(torch.from_numpy(np.log(rows / rows.sum())))
        single = {}
        for i, m in margins.items():
            used = sizes[i] > 0
            fitted = np.zeros_like(m)
            fitted[:, used] = on_simplex(m[:, used], rows)
            fitted[:, used] += rows[:, None] / rows.sum() / used.sum()  # one item, spread evenly
            single[i] = fitted / fitted.sum(1, keepdims=True) * rows[:, None]
        near: dict[int, list[tuple[int, np.ndarray]]] = {i: [] for i in margins}
        for (i, j), table in zip(edges, joints, strict=True):
            flat = on_simplex(table.reshape(y, -1), rows).reshape(table.shape)
            flat = flat + single[i][:, :, None] * single[j][:, None, :] / np.maximum(rows[:, None, None], 1e-9) / total
            for _ in range(RAKING):
                flat *= (single[i] / np.maximum(flat.sum(2), 1e-300))[:, :, None]
                flat *= (single[j] / np.maximum(flat.sum(1), 1e-300))[:, None, :]
            near[i].append((j, flat))
            near[j].append((i, flat.transpose(0, 2, 1)))
        parents, seen = np.full(model.size, -1), set()
        for root in margins:
            if root in seen:
                continue
            self.put(root, np.broadcast_to(single[root][:, None, :], (y, model.width, model.width)))
            seen.add(root)
            queue = [root]
            for i in queue:
                for j, table in near[i]:
                    if j not in seen:
                        seen.add(j)
                        parents[j] = i
                        self.put(j, np.where(table.sum(2, keepdims=True) > 0, table, single[j][:, None, :]))
                        queue.append(j)
        model.parents.copy_(torch.from_numpy(parents))

    def put(self, i: int, table: np.ndarray) -> None:
        with np.errstate(divide="ignore"):
            self.model.log_table[:, i] = torch.from_numpy(np.log(table / table.sum(2, keepdims=True)))


def _summed(counts: np.ndarray, group: np.ndarray, width: int) -> np.ndarray:
    found = np.zeros((len(counts), width))
    for k in range(counts.shape[1]):
        found[:, group[k]] += counts[:, k]
    return found


def _information(table: np.ndarray) -> float:
    """The mutual information of two dimensions within cases, in nats times items."""
    n = np.maximum(table.sum((1, 2), keepdims=True), 1e-300)
    alone = table.sum(2, keepdims=True) * table.sum(1, keepdims=True) / n
    there = table > 0
    return float((table[there] * np.log(table[there] / alone[there])).sum())
