"""Posteriors in closed form: mixtures of normals under linear measurements, and models that complete any known part.

An unknown deviation of the noise is integrated over a grid of its logarithm, weighted by the evidence.
"""

from typing import Any

import torch
from torch import Tensor

from pofx.core.errors import DataError, Unsupported
from pofx.core.event import Discrete, select
from pofx.core.generative import NormalComponents
from pofx.core.model import Completing, Infilling, Model
from pofx.core.random import Streams
from pofx.inverse.operators.grid import Mask
from pofx.inverse.problem import Problem
from pofx.maths.normals import LinearPosterior

LEVELS = tuple(0.003 * 1.4**k for k in range(18))  # the grid of an unknown deviation


def linear_posteriors(
    problem: Problem, model: NormalComponents, condition: Any, level: float = 1.0
) -> list[tuple[list[int], LinearPosterior]]:
    """Posteriors of the rows of a problem, those of one condition together, with their rows."""
    of = [0] * len(problem.y) if condition is None else [int(c) for c in condition]
    found = []
    for group in sorted(set(of)):
        mine = [i for i, g in enumerate(of) if g == group]
        one = None if condition is None else condition[mine[:1]]
        parts = model.normals(one)
        if len(problem.deviation) == 1:
            matrix, target = problem.matrix / level, problem.target[mine].double() / level
            found.append((mine, LinearPosterior.of(*parts, matrix, target)))
            continue
        for i in mine:  # noise of its own for each measurement
            row = problem.rows(torch.tensor([i]))
            found.append(([i], LinearPosterior.of(*parts, row.matrix / level, row.target.double() / level)))
    return found


def exact_draws(
    problem: Problem, model: NormalComponents, condition: Any, n: int, seed: int
) -> tuple[Tensor, Tensor | None]:
    """Draws (rows · n, *shape) of the events of every row, n after n, and the mean deviation of the noise of each row
    where it is unknown."""
    if not problem.noise.unknown:
        return _drawn(problem, linear_posteriors(problem, model, condition), n, seed), None
    grid = list(LEVELS)
    every = [linear_posteriors(problem, model, condition, level) for level in grid]
    evidence = torch.zeros(len(problem.y), len(grid), dtype=torch.float64)
    m = problem.y.shape[1]
    for k, (level, parts) in enumerate(zip(grid, every, strict=True)):
        for rows, part in parts:
            evidence[rows, k] = part.log_evidence.cpu() - m * torch.tensor(level).log()
    edges = evidence.softmax(1).cumsum(1)
    out = []
    drawn = [_drawn(problem, parts, n, seed) for parts in every]
    for i in range(len(problem.y)):
        u = torch.tensor([(j + 0.5) / n for j in range(n)], dtype=torch.float64) * edges[i, -1]
        pick = torch.searchsorted(edges[i], u).clamp(max=len(grid) - 1)
        out.append(torch.stack([drawn[k][i * n + j] for j, k in enumerate(pick.tolist())]))
    return torch.cat(out), evidence.softmax(1) @ torch.tensor(grid, dtype=torch.float64)


def _drawn(problem: Problem, parts: list[tuple[list[int], LinearPosterior]], n: int, seed: int) -> Tensor:
    found: list[Tensor] = [torch.empty(0)] * len(problem.y)
    d = int(torch.tensor(problem.shape).prod())
    for rows, part in parts:
        for k, row in enumerate(rows):
            streams = Streams(seed, n, first=row << 20, device=problem.y.device)
            u, normal, noise = streams.uniform(), streams.normal(d), streams.normal(part.y.shape[1])
            found[row] = part.draw(k, u, normal, noise)
    return torch.cat(found).float().reshape(-1, *problem.shape)


def completed(model: Model, classes: Tensor, operator: Mask, condition: Any, n: int, seed: int, name: str) -> Tensor:
    """Events (rows · n, *shape) of a discrete model that equal `classes` where the mask is true.

    Raises:
        Unsupported: the model cannot complete such a part.
    """
    if not isinstance(model.event, Discrete) or operator.shape != model.event.shape:
        raise Unsupported(f"{name} completes classes in the places of an item: choose another view or model")
    rows = torch.arange(len(classes), device=classes.device).repeat_interleave(n)
    x, known = classes[rows], operator.mask.to(classes.device).expand(len(rows), *operator.shape)
    streams = Streams(seed, len(rows), device=x.device)
    streams.ids = (rows << 20) + torch.arange(n, device=x.device).repeat(len(classes))
    given = None if condition is None else select(condition, rows)
    if isinstance(model, Infilling):
        return model.complete(x, known, given, generator=streams)  # type: ignore[no-any-return]
    if not isinstance(model, Completing):
        raise Unsupported(f"{name} cannot complete a part of an item: choose circuit, or an autoregressive model")
    order = operator.mask.flatten().long()
    if bool((order.diff() > 0).any()):
        raise DataError(
            f"{name} draws places in their order, given those before: the mask must be true first and false after, "
            "or choose circuit or masked-diffusion"
        )
    return model.sample(len(rows), given, generator=streams, prefix=torch.where(known, x, -1))  # type: ignore[no-any-return]
