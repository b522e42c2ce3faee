"""Optimisers and the learning rate: AdamW, or Muon for hidden matrices beside it; warm-up, then decay.

Every distinct set of parameters has its own. A lazy phase (every k steps) shares the optimisers of the phase that owns
the same parameters; their learning rate and betas are then scaled by k / (k + 1), to make up for the extra steps
(Karras et al., 2020, arXiv 1912.04958, appendix B). Muon (Jordan et al., 2024) steps along the orthogonal matrix
nearest to the momentum of a matrix; scaled to the length of AdamW's step it takes the same rate and decay (Liu et al.,
2025, arXiv 2502.16982).
"""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import nn

from pofx.core.errors import UsageError
from pofx.core.model import Phase
from pofx.train.muon import Muon
from pofx.train.options import TrainOptions


def optimisers(
    phases: tuple[Phase, ...], options: TrainOptions, matrices: Iterable[nn.Parameter] = ()
) -> tuple[list[torch.optim.Optimizer], list[tuple[int, ...]]]:
    """The optimisers, and for each phase the numbers of its own; `matrices` are what Muon takes where it is chosen."""
    sets = [frozenset(map(id, phase.parameters)) for phase in phases]
    for i, j in itertools.combinations(range(len(phases)), 2):
        if sets[i] != sets[j] and sets[i] & sets[j]:
            raise UsageError(
                f"phases '{phases[i].name}' and '{phases[j].name}' share {len(sets[i] & sets[j])} of "
                f"{len(sets[i])} and {len(sets[j])} parameters: give them equal or disjoint parameters, else two "
                "optimisers move the same weights"
            )
    made: list[torch.optim.Optimizer] = []
    numbers: dict[frozenset[int], tuple[int, ...]] = {}
    hidden = set(map(id, matrices)) if options.optimizer == "muon" else set()
    for members in dict.fromkeys(sets):
        mine = [phase for phase, s in zip(phases, sets, strict=True) if s == members]
        lazy = [phase.every for phase in mine if phase.every > 1]
        c = min(lazy) / (min(lazy) + 1) if lazy and len(mine) > 1 else 1.0
        orthogonal = [p for p in mine[0].parameters if id(p) in hidden]
        others = [p for p in mine[0].parameters if id(p) not in hidden]
        first = len(made)
        lr, decay = options.lr * c, options.weight_decay
        if others or not orthogonal:
            betas = (options.betas[0] ** c, options.betas[1] ** c)
            made.append(torch.optim.AdamW(others, lr=lr, betas=betas, weight_decay=decay, fused=True))
        if orthogonal:
            made.append(Muon(orthogonal, lr=lr, weight_decay=decay))
        numbers[members] = tuple(range(first, len(made)))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["full_lr"] = group["lr"]
    return made, [numbers[members] for members in sets]


def rate(step: int, progress: float, options: TrainOptions) -> float:
    """The factor on the learning rate at a step and a share of the budget."""
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    decay = {"cosine": 0.5 * (1 + math.cos(math.pi * progress)), "linear": 1.0 - progress, "constant": 1.0}
    return warm * decay[options.schedule]
