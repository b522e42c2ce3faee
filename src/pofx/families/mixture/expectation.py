"""Expectation maximisation of a mixture of Gaussians, in float64, from a start that need not fit the ridge at hand.

Dempster, Laird and Rubin, 1977, "Maximum likelihood from incomplete data via the EM algorithm". The ridge, a number
added to every variance, is no part of the parameters: a mixture found with a large one is where the search goes on
with the next smaller one, which costs a few iterations instead of a whole fit and meets fewer singular components.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 100
TOLERANCE = 1e-3  # nats an item, up to 16 dimensions: a fit ends when an iteration gains less (as in scikit-learn)
_NEGLIGIBLE = 1e-8  # responsibility below which an item is left out of a component's covariance


@dataclass(frozen=True)
class Mixture:
    """log-weights (m,), means (m, d), and covariances (m, d, d) or variances (m, d) without the ridge; float64."""

    log_weights: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def full(self) -> bool:
        return self.covariances.ndim == 3

    def with_ridge(self, ridge: Float[Tensor, "d"]) -> Tensor:
        """Covariances or variances with the ridge of each dimension added."""
        return self.covariances + (ridge.diag() if self.full else ridge)

    def log_joint(self, x: Float[Tensor, "n d"], ridge: Float[Tensor, "d"]) -> Float[Tensor, "n m"]:
        """log p(x, component): (n, m).

        Raises:
            torch.linalg.LinAlgError: a covariance is singular in float64.
        """
        d = x.shape[1]
        columns = []
        for log_weight, mean, covariance in zip(self.log_weights, self.means, self.with_ridge(ridge), strict=True):
            if self.full:
                factor = torch.linalg.cholesky(covariance)
                whiten = torch.linalg.solve_triangular(factor, torch.eye(d).to(x), upper=False).T
                z, log_det = x @ whiten - mean @ whiten, factor.diagonal().log().sum()
            else:
                z, log_det = (x - mean) * covariance.rsqrt(), 0.5 * covariance.log().sum()
            log_normal = -0.5 * z.square().sum(1) - log_det - 0.5 * d * math.log(2 * math.pi)
            columns.append(log_weight + log_normal)
        return torch.stack(columns, 1)

    def log_prob(self, x: Float[Tensor, "n d"], ridge: Float[Tensor, "d"]) -> Float[Tensor, "n"]:
        return self.log_joint(x, ridge).logsumexp(1)


def clustered(x: Float[Tensor, "n d"], m: int, *, full: bool) -> Mixture:
    """The mixture of m clusters of k-means."""
    labels = torch.zeros(len(x), dtype=torch.int64)
    if m > 1:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct items than clusters
            labels = torch.from_numpy(KMeans(m, n_init=1, random_state=0).fit(x.numpy()).labels_).long()
    return maximised(x, torch.nn.functional.one_hot(labels, m).double(), full=full)


def maximised(x: Float[Tensor, "n d"], share: Float[Tensor, "n m"], *, full: bool) -> Mixture:
    """The mixture of the largest likelihood given each item's shares in the components."""
    count = share.sum(0) + 10 * torch.finfo(x.dtype).eps
    means = share.T @ x / count[:, None]
    if not full:
        parts = zip(means, share.T, strict=True)
        variances = torch.stack([((x - mean).square() * s[:, None]).sum(0) for mean, s in parts])
        return Mixture(count.log() - math.log(len(x)), means, variances / count[:, None])
    covariances = []
    for mean, s, n in zip(means, share.T, count, strict=True):
        mine = s > _NEGLIGIBLE
        y = (x[mine] - mean) * s[mine, None].sqrt()
        covariances.append(y.T @ y / n)
    return Mixture(count.log() - math.log(len(x)), means, torch.stack(covariances))


def improved(
    x: Float[Tensor, "n d"], mixture: Mixture, ridge: Float[Tensor, "d"], iterations: int = ITERATIONS
) -> Mixture:
    """The mixture after as many iterations, or when the likelihood hardly rises any more."""
    before = -math.inf
    for _ in range(iterations):
        joint = mixture.log_joint(x, ridge)
        total = joint.logsumexp(1)
        mixture = maximised(x, (joint - total[:, None]).exp(), full=mixture.full)
        now = float(total.mean())
        if abs(now - before) < tolerance(x):
            break
        before = now
    return mixture


def tolerance(x: Float[Tensor, "n d"]) -> float:
    """The gain of the mean log-likelihood at which a fit ends, which grows with the dimensions."""
    return TOLERANCE * max(1.0, x.shape[1] / 16)
