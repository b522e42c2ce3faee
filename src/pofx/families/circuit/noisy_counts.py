"""What models of noisy counts share: groups of classes, the shares inside them, and the noise that keeps rows private.

Classes with too few items for the noise are counted together, and what is inside a group is drawn by the noisy shares
of its classes; how the groups of different columns depend on each other is what `mst` and `aim` state (McKenna,
Miklau and Sheldon, 2021, arXiv 2108.04978).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Discrete, Event, dims
from pofx.core.model import Batch, Density, Explicit, Phase
from pofx.maths.privacy import on_simplex, secret_generator

EVERY = 1_000_000_000  # items: a private count must count all


class NoisyCounts(Explicit):
    """A model that is counted once, with noise; its loss has no gradient.

    Call `keep_groups` in the constructor, once `target` and `noise` are set.
    """

    events: Any = (Discrete,)
    ranks: Any = (1,)
    unequal = True
    best_density = Density.EXACT
    target: int
    noise: str

    def keep_groups(self, event: Event) -> None:
        """The sizes, and room for the groups of the classes of each dimension.

        Raises:
            UsageError: a target that is no dimension.
        """
        assert isinstance(event, Discrete)
        self.size, self.counts = dims(event), list(event.counts)
        if self.target >= self.size:
            raise UsageError(f"target must be below {self.size}, the number of dimensions (got {self.target}): pass -1")
        there = torch.arange(event.largest) < torch.tensor(self.counts)[:, None]
        self.group_of: Tensor  # of each class, by dimension
        self.within: Tensor  # log p of a class in its group
        self.register_buffer("group_of", torch.zeros(self.size, event.largest, dtype=torch.int64))
        self.register_buffer("within", torch.where(there, 0.0, -torch.inf).double().log_softmax(1))

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    def counted_rows(self, take: Callable[[int], Batch]) -> tuple[Int[np.ndarray, "n dims"], np.random.Generator]:
        """All rows, and the source of the noise: one that no seed repeats, unless the noise is "seeded"."""
        x = take(EVERY).x.detach().cpu().flatten(1).numpy()
        seed = int(torch.randint(1 << 60, ()))
        return x, secret_generator() if self.noise == "secret" else np.random.default_rng(seed)

    def grouped_log_prob(self, x: Int[Tensor, "n dims"]) -> tuple[Int[Tensor, "n dims"], Float[Tensor, "n"]]:
        """The groups of classes, and log p(classes | groups): (n, dims), (n,)."""
        at = torch.arange(self.size, device=x.device)
        return self.group_of[at, x], self.within[at, x].sum(1)

    def inside(self, group: Int[Tensor, "n dims"], u: Float[Tensor, "n dims"]) -> Int[Tensor, "n dims"]:
        """A class of each group, by one uniform number each."""
        found = []
        for i in range(self.size):
            same = self.group_of[i][None] == group[:, i, None]
            found.append(drawn(self.within[i].masked_fill(~same, -torch.inf), u[:, i]))
        return torch.stack(found, 1)


def drawn(log_p: Float[Tensor, "n k"], u: Float[Tensor, "n"]) -> Int[Tensor, "n"]:
    """A class of each row by the inverse of its distribution function."""
    cdf = log_p.exp().cumsum(1)
    return (cdf <= u[:, None] * cdf[:, -1:]).sum(1).clamp(max=log_p.shape[1] - 1)


def grouped(
    model: NoisyCounts, i: int, counts: Float[np.ndarray, "cases classes"], sigma: float, most: int, few: float = 0.0
) -> np.ndarray:
    """Groups of neighbouring classes with enough items each, and the shares inside them, for the model."""
    total = np.maximum(counts.sum(0), 0.0)
    least = max(3 * sigma * math.sqrt(len(counts)), few) if len(total) > 2 else 0.0
    group = _runs(total, least)
    while group.max() + 1 > most:
        least = max(1.2 * least, total.sum() / (4 * most), 1e-9)
        group = _runs(total, least)
    model.group_of[i, : len(group)] = torch.from_numpy(group)
    model.group_of[i, len(group) :] = -1
    inside = np.full(model.group_of.shape[1], -np.inf)
    for k in range(group.max() + 1):
        own = group == k
        share = on_simplex(counts.sum(0)[own], np.array(max(float(total[own].sum()), 1e-9)))
        share = share + 1e-3 * max(share.sum(), 1e-9) / own.sum()
        inside[: len(group)][own] = np.log(share / share.sum())
    model.within[i] = torch.from_numpy(inside)
    return group


def _runs(total: np.ndarray, least: float) -> np.ndarray:
    """Numbers of groups of neighbouring classes, each with at least so many items; frequent classes stay alone."""
    group, at, held = np.zeros(len(total), np.int64), 0, 0.0
    for k, value in enumerate(total):
        if held and (held >= least or value >= least):
            at, held = at + 1, 0.0
        group[k] = at
        held += max(float(value), 1e-12)
    if at and held < least and total[group == at - 1].sum() < least + held:
        group[group == at] = at - 1
    return group
