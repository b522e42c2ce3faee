"""A flow that bends a posterior: z ~ q(z | x) goes through steps whose parameters the encoder gives for each x.

Planar and radial steps: Rezende and Mohamed, 2015, arXiv 1505.05770; Sylvester: van den Berg et al., 2018, arXiv
1803.05649 (both in `maths.elementary`); inverse autoregressive: Kingma et al., 2016, arXiv 1606.04934, eqs. 13, 14. An
elementary step's parameters come whole from the encoder, added to learned ones; an autoregressive step has a masked
network that a short vector from the encoder steers. Only this direction is needed: q is evaluated at its own draws
alone.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.maths.elementary import STEPS, step_of
from pofx.nets.causal.masked import MaskedResidual

KINDS = (*STEPS, "iaf")
_STEERING = 32  # numbers that steer the autoregressive networks


class PosteriorFlow(nn.Module):
    """z (n, k, d) and what the encoder gives for each of the n items (n, `size`) → the bent z and log|det|."""

    def __init__(self, kind: str, features: int, steps: int) -> None:
        super().__init__()
        self.steps, self.features = steps, features
        self.nets = nn.ModuleList()
        if kind == "iaf":
            self.size, self.learned = _STEERING, None
            width = max(64, 4 * features)
            self.nets.extend(MaskedResidual(features, 1, 2, width, blocks=1, context=_STEERING) for _ in range(steps))
        else:
            self.step = step_of(kind, features)
            self.size = steps * self.step.size
            self.learned = nn.Parameter(0.3 * torch.randn(steps, self.step.size))

    def forward(
        self, z: Float[Tensor, "n k d"], given: Float[Tensor, "n size"]
    ) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k"]]:
        total = torch.zeros(z.shape[:2], dtype=z.dtype, device=z.device)
        with torch.autocast(z.device.type, enabled=False):
            if self.learned is None:
                return self._autoregressive(z, given)
            for learned, part in zip(self.learned, given.chunk(self.steps, -1), strict=True):
                z, ladj = self.step(z, (learned + part)[:, None])
                total = total + ladj
        return z, total

    def _autoregressive(
        self, z: Float[Tensor, "n k d"], given: Float[Tensor, "n size"]
    ) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k"]]:
        """z_i → s_i z_i + (1 - s_i) m_i, where s_i in (0, 1) and m_i see the z before i; the order turns each time."""
        n, k, d = z.shape
        flat, steering = z.flatten(0, 1), given.repeat_interleave(k, 0)
        place, total = torch.arange(d, device=z.device), z.new_zeros(n * k)
        for net in self.nets:
            mean, gate = net(flat[..., None], place, steering).unbind(-1)
            log_gate = nn.functional.logsigmoid(gate + 2.0)  # nearly open at first
            flat = log_gate.exp() * flat - torch.expm1(log_gate) * mean
            total, place = total + log_gate.sum(-1), place.flip(0)
        return flat.unflatten(0, (n, k)), total.unflatten(0, (n, k))
