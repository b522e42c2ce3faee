"""The root of a rising function of one number, elementwise: Newton's method in a bracket that bisection closes."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_MOST = 200  # bisection alone needs 64 halvings in float64; Newton's steps are far fewer


def rising_root(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    low: Float[Tensor, "*items"],
    high: Float[Tensor, "*items"],
) -> Float[Tensor, "*items"]:
    """Where function(x) = 0, to the precision of its type, for low ≤ x ≤ high.

    Args:
        function: x → its value, which rises from at most 0 at `low` to at least 0 at `high`, and its slope > 0.

    The result has the gradient of the implicit function: x' = -(∂ function) / slope.
    """
    with torch.no_grad():
        x, low, high = (low + high) / 2, low.clone(), high.clone()
        moved, rests = high - low, torch.zeros_like(x, dtype=torch.bool)
        for _ in range(_MOST):
            value, slope = function(x)
            low, high = torch.where(value <= 0, x, low), torch.where(value >= 0, x, high)
            guess = x - value / slope
            good = (guess >= low) & (guess <= high) & ((guess - x).abs() <= moved / 2)  # else it may circle for long
            found = torch.where(rests, x, torch.where(good, guess, (low + high) / 2))
            moved = (found - x).abs()
            rests = rests | (moved <= 2 * torch.finfo(x.dtype).eps * x.abs().clamp(min=1.0))
            x = found
            if bool(rests.all()):
                break
    if not torch.is_grad_enabled():
        return x
    value, slope = function(x.detach())
    return x.detach() - value / slope.detach()
