"""The times at which a bound on log p is estimated: uniform, or learned by a monotone network that minimises variance.

The bound in continuous time does not depend on the schedule between its ends, the variance of its estimate does
(Kingma et al., 2021, arXiv 2107.00630, section 5 and appendix I). With r in (0, 1) the place in log
sin(angle) between pure noise and data, a network gives the time t = c(r), c increasing from 0 to 1; its inverse is the
noise level at a uniform time, and an integrand e(r) is estimated by e / c'. The gradient of the second moment,
-E (e / c')² grad log c', needs no derivative of the denoiser. Both ends are fixed, where their losses vanish.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from pofx.maths.noise_bound import likelihood_angles

UNITS = 48
UNIFORM = 0.1  # share of uniform times: no weight is above 10
HALVINGS = 22
STRENGTH = 0.05  # of its gradient beside the denoiser's, where they are clipped together


class NoiseSchedule(nn.Module):
    """c and its inverse: a sum of increasing sigmoids (…,) → (…,), uniform before training."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.full((UNITS,), 1.5 * UNITS))
        self.centers = nn.Parameter(torch.linspace(-0.05, 1.05, UNITS))
        self.heights = nn.Parameter(torch.zeros(UNITS))

    def _parts(self, r: Float[Tensor, "n"]) -> tuple[Tensor, Tensor, Tensor]:
        slopes, heights = softplus(self.slopes), softplus(self.heights)
        return slopes, heights, slopes * (r[:, None] - self.centers)

    def times(self, r: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """c(r)."""
        ends = torch.tensor([0.0, 1.0], device=r.device)
        _, heights, inner = self._parts(torch.cat((ends, r)))
        total = (heights * inner.sigmoid()).sum(1)
        return (1 - UNIFORM) * (total[2:] - total[0]) / (total[1] - total[0]) + UNIFORM * r

    def speed(self, r: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """c'(r)."""
        slopes, heights, inner = self._parts(torch.cat((torch.tensor([0.0, 1.0], device=r.device), r)))
        total = (heights * inner[:2].sigmoid()).sum(1)
        density = (heights * slopes * inner[2:].sigmoid() * (-inner[2:]).sigmoid()).sum(1)
        return (1 - UNIFORM) * density / (total[1] - total[0]) + UNIFORM

    @torch.no_grad()
    def levels(self, t: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """r = c^-1(t), by bisection."""
        low, high = torch.zeros_like(t), torch.ones_like(t)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = self.times(middle) < t
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    @torch.no_grad()
    def drawn(self, t: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The angles at uniform times, and the weights of their errors in the bound."""
        r = self.levels(t)
        return likelihood_angles(r), 1 / self.speed(r)

    def surrogate(self, r: Float[Tensor, "n"], estimates: Float[Tensor, "n"]) -> Float[Tensor, ""]:
        """A function with the value 0, whose gradient is that of the second moment of the estimates e / c' at levels r,
        in units of that moment."""
        square = estimates.detach().square()
        found = -STRENGTH * (square / square.mean().clamp(min=1e-12) * self.speed(r.detach()).log()).mean()
        return found - found.detach()
