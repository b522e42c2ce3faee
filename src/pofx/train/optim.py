"""Optimisers and the learning rate: one AdamW per distinct set of parameters, warm-up, then cosine.

A lazy phase (every k steps) shares the optimiser of the phase that owns the same parameters; its learning rate and
betas are then scaled by k / (k + 1), as the extra steps ask (Karras et al., 2020, arXiv 1912.04958, appendix B).
"""

import math

import torch

from pofx.core.model import Phase
from pofx.train.options import TrainOptions


def optimisers(phases: tuple[Phase, ...], options: TrainOptions) -> tuple[list[torch.optim.Optimizer], list[int]]:
    """The distinct optimisers, and for each phase the number of its own."""
    sets = [frozenset(map(id, phase.parameters)) for phase in phases]
    distinct = list(dict.fromkeys(sets))
    made: list[torch.optim.Optimizer] = []
    for members in distinct:
        mine = [phase for phase, s in zip(phases, sets, strict=True) if s == members]
        lazy = [phase.every for phase in mine if phase.every > 1]
        c = min(lazy) / (min(lazy) + 1) if lazy and len(mine) > 1 else 1.0
        made.append(
            torch.optim.AdamW(
                mine[0].parameters,
                lr=options.lr * c,
                betas=(options.betas[0] ** c, options.betas[1] ** c),
                weight_decay=options.weight_decay,
                fused=True,
            )
        )
    for optimiser in made:
        for group in optimiser.param_groups:
            group["full_lr"] = group["lr"]
    return made, [distinct.index(s) for s in sets]


def rate(step: int, progress: float, options: TrainOptions) -> float:
    """The factor on the learning rate at a step and a share of the budget."""
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    return warm * (0.5 * (1 + math.cos(math.pi * progress)) if options.schedule == "cosine" else 1.0)
