"""Scouts of an unnormalised density: points that show where its mass lies, found without any model.

Most are annealed from a broad normal. A narrow mode emerges too late for them, so that a second party climbs straight
up from the same normal; where the mass around a maximum exceeds what the annealed chains saw of it, draws of its normal
join them, as heavy as the difference.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.random import Streams
from pofx.maths.annealing import anneal, log_mean_weight, standard_normal
from pofx.maths.basins import Basins, basins
from pofx.maths.importance import effective_share

TEMPERATURES = 50
ENOUGH = 32  # effective scouts without which their weights are left aside
TRIED = 64  # draws per maximum that measure its mass
OVERLOOKED = 2.0  # times what the annealed chains saw of a maximum, from which on its mass is added
LEAST = 0.01  # share of all mass below which a maximum is left out
ANNEALED, CLIMBED, MEASURED = 1 << 42, (1 << 42) + 1, (1 << 42) + 2  # added to the seed


def scouted(
    log_density: Callable[[Tensor], Tensor], size: int, n: int, seed: int
) -> tuple[Float[Tensor, "m size"], Float[Tensor, "m"]]:
    """Points, at least n, and their weights, which sum to 1; float64. The broad normal is standard in these
    coordinates."""
    x, log_w = anneal(
        lambda streams: streams.normal(size),
        standard_normal,
        log_density,
        n=n,
        temperatures=TEMPERATURES,
        seed=seed + ANNEALED,
    )
    x = x.double()
    log_w = torch.where(log_w.isfinite(), log_w, -torch.inf)
    trusted = bool(log_w.isfinite().any()) and effective_share(log_w) * n >= ENOUGH
    w = (log_w if trusted else torch.zeros_like(log_w)).softmax(0)
    found = basins(log_density, Streams(seed + CLIMBED, n).normal(size))
    if found is None or not bool(log_w.isfinite().any()):
        return x, w
    return _joined(log_density, x, w, log_mean_weight(log_w)[0], found, seed)


def _joined(
    log_density: Callable[[Tensor], Tensor], x: Tensor, w: Tensor, log_z: float, found: Basins, seed: int
) -> tuple[Tensor, Tensor]:
    """The annealed points and, where they overlooked mass, draws around the maxima."""
    nearest, k = found.log_prob(x).max(1)
    seen = torch.zeros(len(found), dtype=torch.float64).index_add(0, k, w)
    points, weights = [x], [w]
    streams = Streams(seed + MEASURED, TRIED)
    for j in range(len(found)):
        one = Basins(found.means[j : j + 1], found.factors[j : j + 1], found.log_masses[j : j + 1])
        y = one.draw(streams)
        with torch.no_grad():
            log_v = log_density(y.float()).double() - one.mixture(y)
        log_v = torch.where((found.log_prob(y).argmax(1) == j) & log_v.isfinite(), log_v, -torch.inf)
        if not bool(log_v.isfinite().any()):
            continue
        share = float((log_mean_weight(log_v)[0] - torch.tensor(log_z, dtype=torch.float64)).exp())
        if share > max(LEAST, OVERLOOKED * float(seen[j])):
            points.append(y)
            weights.append((share - seen[j]) * log_v.softmax(0))
    every = torch.cat(weights)
    return torch.cat(points), every / every.sum()
