"""Posteriors q(z | x) beyond the normal: one that a flow bends, given what the encoder sees in x.

Planar, radial, Sylvester and inverse autoregressive steps are `nets.vector.posterior`; here any flow of the flow
family takes their place (Rezende and Mohamed, 2015, arXiv 1505.05770; splines: Durkan et al., 2019, arXiv 1906.04032).
Draws go through its inverse, and its density follows at the drawn codes: cheap where both are, as in couplings.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.model import Latent
from pofx.families.vae.prior import FLOWS, flow_of
from pofx.maths.distributions import normal_log_prob
from pofx.nets.vector.posterior import KINDS, PosteriorFlow

POSTERIORS = ("normal", *KINDS, *(name for name in FLOWS if name not in KINDS))
_STEERING = 32  # numbers of the encoder that the flow is given


class FamilyPosterior(nn.Module):
    """z (n, k, d) and what the encoder gives for each of the n items → the bent z and log|det|."""

    size = _STEERING

    def __init__(self, name: str, features: int, steps: int) -> None:
        super().__init__()
        flow = flow_of(name, features, _STEERING, steps)
        assert isinstance(flow, Latent)
        self.flow = flow

    def forward(
        self, z: Float[Tensor, "n k d"], given: Float[Tensor, "n size"]
    ) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k"]]:
        n, k, _ = z.shape
        flat, steering = z.flatten(0, 1), given.repeat_interleave(k, 0)
        with torch.autocast(z.device.type, enabled=False):
            bent = self.flow.decode(flat, steering)
            ladj = normal_log_prob(flat).sum(-1) - self.flow.log_prob(bent, steering)  # type: ignore[operator]
        return bent.reshape(z.shape), ladj.reshape(n, k)


def bend_of(kind: str, features: int, steps: int) -> PosteriorFlow | FamilyPosterior | None:
    """The flow of a name in `POSTERIORS`; None for the normal."""
    if kind == "normal":
        return None
    return PosteriorFlow(kind, features, steps) if kind in KINDS else FamilyPosterior(kind, features, steps)
