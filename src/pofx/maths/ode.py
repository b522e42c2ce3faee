"""An adaptive integrator in which every item of a batch takes its own steps: no answer depends on its neighbours.

The pair of orders 5 and 4 of Dormand and Prince (1980), J. Comp. Appl. Math. 6; step control as in Hairer, Nørsett and
Wanner (1993), "Solving ordinary differential equations I", section II.4. Solvers that share one step size over a batch
tie an item's density and samples to the batch that they are in.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]  # y (m, d), t (m,), which items (m,) → dy/dt (m, d)

_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_TIMES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_SHORTEST = 2.0**-12  # of the whole interval; a step this short is taken whatever its error


def dopri5(
    slope: Slope, y: Float[Tensor, "n d"], start: float, stop: float, tolerance: float
) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"], Int[Tensor, "n"]]:
    """Carries y (n, d) from time start to stop, each item by its own steps.

    Args:
        slope: (y, t, items) → dy/dt of those items; an item's slope depends on that item alone.
        tolerance: on the estimated error of every number in every step, absolute below 1 and relative above.

    Returns:
        y at `stop` (n, d), evaluations of the slope per item (n,), and how many steps per item missed the tolerance at
        the shortest step, 2^-12 of the interval (n,). Gradients flow through y; the choice of the steps has none.
    """
    n, span = len(y), stop - start
    done, evaluations = y.clone(), torch.zeros(n, dtype=torch.int64, device=y.device)
    missed = torch.zeros_like(evaluations)
    items = torch.arange(n, device=y.device)
    at, step = y.new_zeros(n), y.new_full((n,), 1 / 16)  # shares of the interval
    if n == 0 or span == 0:
        return done, evaluations, missed
    first = slope(y, at + start, items)
    evaluations += 1
    while len(items):
        step = torch.minimum(step, 1 - at)
        slopes, h = [first], (step * span)[:, None]
        reached = y
        for weights, share in zip(_STAGES, _TIMES, strict=True):
            move = torch.stack([w * k for w, k in zip(weights, slopes, strict=True) if w], 0).sum(0)
            reached = y + h * move
            slopes.append(slope(reached, start + span * (at + share * step), items))
        evaluations[items] += 6
        error = (
            (h.detach() * torch.stack([w * k for w, k in zip(_ERROR, slopes, strict=True) if w], 0).sum(0))
            .detach()
            .abs()
        )
        ratio = (error / (tolerance * torch.maximum(y.abs(), reached.abs()).detach().clamp(min=1.0))).amax(1)
        ratio = torch.where(torch.isfinite(ratio), ratio, 1e9)
        short = step <= _SHORTEST * 1.001
        taken = (ratio <= 1) | short
        missed[items] += (short & (ratio > 1)).long()
        y = torch.where(taken[:, None], reached, y)
        first = torch.where(taken[:, None], slopes[-1], first)
        at = torch.where(taken, at + step, at)
        at = torch.where(taken & (at > 1 - 1e-6), 1.0, at)
        step = (step * (0.9 * ratio.clamp(min=1e-9) ** -0.2).clamp(0.2, 5.0)).clamp(min=_SHORTEST)
        over = at >= 1
        if bool(over.any()):
            done[items[over]] = y[over]
            left = ~over
            items, y, first, at, step = items[left], y[left], first[left], at[left], step[left]
    return done, evaluations, missed
