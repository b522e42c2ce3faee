"""What the loss requires of a batch of codes beside their KL term, each a choice of `regulariser`.

- "tc": the total correlation of q(z), estimated within the batch (Chen et al., 2018, arXiv 1802.04942).
- "factor": the same by a critic that separates codes from codes with shuffled dimensions (Kim and Mnih, 2018, arXiv
  1802.05983); the critic descends its own loss in a phase of its own.
- "dip-i", "dip-ii": the covariance of the posterior means, or of the codes, is the identity (Kumar et al., 2018, arXiv
  1711.00848, eqs. 6 and 7).
- "mmd": q(z) is the prior by maximum mean discrepancy (Tolstikhin et al., 2018, arXiv 1711.01558).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.maths.adversarial import LOSSES
from pofx.maths.mmd import mmd_square
from pofx.maths.total_correlation import kl_parts
from pofx.nets.vector.mlp import MLP

REGULARISERS = ("none", "tc", "factor", "dip-i", "dip-ii", "mmd")
DIAGONAL = 10.0  # weight of variances against covariances in "dip-i"; 1 in "dip-ii"


def covariance_distance(kind: str, mean: Float[Tensor, "n d"], log_std: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """The squared distance of a covariance of the batch from the identity, weighted on its diagonal."""
    centred = mean - mean.mean(0)
    cov = centred.T @ centred / len(mean)
    if kind == "dip-ii":
        cov = cov + torch.diag((2 * log_std).exp().mean(0))
    diagonal = cov.diagonal()
    off = cov.square().sum() - diagonal.square().sum()
    return off + (DIAGONAL if kind == "dip-i" else 1.0) * (diagonal - 1).square().sum()


class Regulariser(nn.Module):
    """The term of a batch's codes z (n, d), drawn from normals, in nats or the unit of its source."""

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        self.kind = kind
        self.critic = MLP(features, 1, (256, 256)) if kind == "factor" else None

    def forward(
        self,
        z: Float[Tensor, "n d"],
        mean: Float[Tensor, "n d"],
        log_std: Float[Tensor, "n d"],
        log_prior: Float[Tensor, "n"],
        prior: Float[Tensor, "m d"],
        items: int,
    ) -> Float[Tensor, ""]:
        """The term to descend; `prior` are draws of p(z), `items` the size of the data set."""
        if self.kind == "tc":
            return kl_parts(z, mean, log_std, log_prior, items)[1]
        if self.critic is not None:
            logits: Tensor = self.critic(z)
            return logits.mean()
        if self.kind == "mmd":
            scale = z.shape[1] ** 0.5
            return mmd_square(z / scale, prior / scale)
        return covariance_distance(self.kind, mean, log_std)

    def critic_loss(self, z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Codes against codes whose dimensions were shuffled over the batch, each by itself."""
        assert self.critic is not None
        order = torch.rand(z.shape, device=z.device).argsort(0)
        real, shuffled = self.critic(torch.cat((z, z.gather(0, order)))).chunk(2)
        return LOSSES["non-saturating"].critic(real[:, 0], shuffled[:, 0])
