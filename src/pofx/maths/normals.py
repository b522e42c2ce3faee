"""Mixtures of normal distributions under noise and under linear measurements: both stay mixtures, in closed form.

With x ~ Σ w_k N(m_k, Σ_k) and x_t = alpha x + sigma noise, E[x | x_t] is a mean of Wiener filters. With y = B x and
noise of unit covariance, x given y is the mixture of N(m_k + G_k (y - B m_k), Σ_k - G_k B Σ_k), where
G_k = Σ_k Bᵀ (B Σ_k Bᵀ + I)⁻¹, weighted by w_k N(y; B m_k, B Σ_k Bᵀ + I) (Bishop, 2006, section 2.3). Draws are draws
of x, moved by the gain of a drawn measurement (Matheron's rule).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@dataclass(frozen=True)
class Spectra:
    """Components by eigenvalues (m, d) and eigenvectors (m, d, d, as columns), for many levels of noise."""

    log_weights: Tensor
    means: Tensor
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(
        cls, log_weights: Float64[Tensor, "m"], means: Float64[Tensor, "m d"], factors: Float64[Tensor, "m d d"]
    ) -> "Spectra":
        """Of covariances factor factorᵀ, by singular values of the factors."""
        vectors, roots, _ = torch.linalg.svd(factors)
        return cls(log_weights, means, roots.square(), vectors)

    def denoised(
        self, x: Float[Tensor, "n d"], alpha: Float[Tensor, "#n"], sigma: Float[Tensor, "#n"]
    ) -> Float[Tensor, "n d"]:
        """E[x | x_t], differentiable in x_t: (n, d), computed in float64."""
        at, alpha, sigma = x.double()[:, None], alpha.double()[:, None, None], sigma.double()[:, None, None]
        inside = torch.einsum("nmd,mde->nme", at - alpha * self.means, self.vectors)
        spread = alpha**2 * self.values + sigma**2
        spread = spread.clamp(min=torch.finfo(torch.float64).tiny)
        logs = self.log_weights - 0.5 * (inside.square() / spread + spread.log()).sum(-1)
        back = torch.einsum("nme,mde->nmd", inside * alpha * self.values / spread, self.vectors) + self.means
        return (logs.softmax(1)[..., None] * back).sum(1).to(x.dtype)


@dataclass(frozen=True)
class LinearPosterior:
    """The posterior of x given flat measurements y = B x + noise of unit covariance: exact for one y or many.

    log_weights (n, m), means (n, m, d), gains (m, d, k); prior means and factors as given.
    """

    matrix: Tensor
    y: Tensor
    log_weights: Tensor
    log_evidence: Tensor
    means: Tensor
    gains: Tensor
    prior_means: Tensor
    factors: Tensor

    @classmethod
    def of(
        cls,
        log_weights: Float64[Tensor, "m"],
        means: Float64[Tensor, "m d"],
        factors: Float64[Tensor, "m d d"],
        matrix: Float64[Tensor, "k d"],
        y: Float64[Tensor, "n k"],
    ) -> "LinearPosterior":
        """Of the components of the prior, the matrix B and measurements, all in units of the noise."""
        k = len(matrix)
        logs, found, gains = [], [], []
        for log_weight, mean, factor in zip(log_weights, means, factors, strict=True):
            seen = matrix @ factor
            root = torch.linalg.cholesky(seen @ seen.T + torch.eye(k, dtype=y.dtype, device=y.device))
            gain = torch.cholesky_solve(seen @ factor.T, root).T
            gap = y - matrix @ mean
            white = torch.linalg.solve_triangular(root, gap.T, upper=False)
            log_det = root.diagonal().log().sum()
            logs.append(log_weight - 0.5 * white.square().sum(0) - log_det - 0.5 * k * math.log(2 * math.pi))
            found.append(mean + gap @ gain.T)
            gains.append(gain)
        joint = torch.stack(logs, 1)
        evidence = joint.logsumexp(1)
        return cls(
            matrix, y, joint - evidence[:, None], evidence, torch.stack(found, 1), torch.stack(gains), means, factors
        )

    @property
    def mean(self) -> Float64[Tensor, "n d"]:
        return (self.log_weights.exp()[..., None] * self.means).sum(1)

    def covariance(self, i: int = 0) -> Float64[Tensor, "d d"]:
        """Of the posterior of measurement i."""
        total = torch.zeros_like(self.factors[0])
        for k, weight in enumerate(self.log_weights[i].exp()):
            if float(weight) < 1e-12:
                continue
            own = self.factors[k] - self.gains[k] @ (self.matrix @ self.factors[k])
            centred = self.means[i, k] - self.mean[i]
            total = total + weight * (own @ self.factors[k].T + torch.outer(centred, centred))
        return 0.5 * (total + total.T)

    def draw(
        self,
        at: int,
        uniform: Float[Tensor, "s"],
        normal: Float[Tensor, "s d"],
        noise: Float[Tensor, "s k"],
    ) -> Float64[Tensor, "s d"]:
        """Draws of the posterior of measurement `at` from a uniform and standard normals for each."""
        edges = self.log_weights[at].exp().cumsum(0)
        pick = torch.searchsorted(edges, uniform.double() * edges[-1]).clamp(max=len(edges) - 1)
        x = torch.empty(len(pick), self.matrix.shape[1], dtype=torch.float64, device=self.matrix.device)
        for k in pick.unique().tolist():
            mine = pick == k
            prior = self.prior_means[k] + normal[mine].double() @ self.factors[k].T
            measured = prior @ self.matrix.T + noise[mine].double()
            x[mine] = prior + (self.y[at] - measured) @ self.gains[k].T
        return x
