"""Marginals and conditionals of mixtures of normals, in closed form (Bishop, 2006, sections 2.3.1 and 2.3.2).

Of x = (a, b) with component m's mean μ and covariance C: log p(a) sums N(a; μ_a, C_aa) over components, and b given a
is a mixture with weights of m given a, means μ_b + C_ba C_aa⁻¹ (a - μ_a) and covariances C_bb - C_ba C_aa⁻¹ C_ab.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PARTICLES = 128  # candidates, of which one is drawn by weight, where dimensions are known as intervals
LEAST = 1e-9  # mass of proposals inside an interval, below which they are uniform there
JITTER = 1e-12  # of a conditional covariance, as a share of its variances

Components = tuple[Float[Tensor, "m"], Float[Tensor, "m d"], Float[Tensor, "m d d"]]  # log-weights, means, covariances


def log_each(components: Components, a: Float[Tensor, "n k"], known: Bool[Tensor, "d"]) -> Float[Tensor, "m n"]:
    """log of each component's weight times its density of the known dimensions a."""
    log_weights, means, covariances = components
    factor = torch.linalg.cholesky(covariances[:, known][:, :, known])
    z = torch.linalg.solve_triangular(factor, (a - means[:, None, known]).transpose(1, 2), upper=False)
    log_det = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = 0.5 * a.shape[1] * math.log(2 * math.pi)
    return (log_weights - log_det - constant)[:, None] - 0.5 * z.square().sum(1)


def log_marginal(components: Components, a: Float[Tensor, "n k"], known: Bool[Tensor, "d"]) -> Float[Tensor, "n"]:
    """log p of the known dimensions."""
    return log_each(components, a, known).logsumexp(0)


def drawn_within(
    components: Components,
    known: Bool[Tensor, "d"],
    low: Float[Tensor, "n d"],
    high: Float[Tensor, "n d"],
    noise: Float[Tensor, "n d"],
    spread: Float[Tensor, "n d particles"],
    pick: Float[Tensor, "n 2"],
) -> Float[Tensor, "n d"]:
    """Draws whose known dimensions, one at least, lie between low and high; equal ends are a value.

    Of values, or of one interval of one normal, the draw is exact. Candidates inside intervals are drawn dimension by
    dimension, and chosen by the density of all (sampling-importance resampling; Rubin, 1988).

    Args:
        noise, spread, pick: standard normal and uniform numbers.
    """
    _, means, covariances = components
    candidates, log_q = _candidates(components, low[:, known], high[:, known], known, spread[:, known])
    n, k, particles = candidates.shape
    logs = log_each(components, candidates.transpose(1, 2).reshape(-1, k), known).unflatten(1, (n, particles))
    rows = torch.arange(n, device=low.device)
    chosen = _index(logs.logsumexp(0) - log_q, pick[:, 0])
    component = _index(logs[:, rows, chosen].T, pick[:, 1])
    x, given = torch.empty_like(noise), candidates[rows, :, chosen]
    x[:, known] = given
    if bool(known.all()):
        return x
    for m in component.unique().tolist():
        mine, c = component == m, covariances[m]
        gain = torch.linalg.solve(c[known][:, known], c[known][:, ~known])  # (known, free)
        rest = c[~known][:, ~known] - c[~known][:, known] @ gain
        factor = torch.linalg.cholesky(0.5 * (rest + rest.T) + JITTER * torch.diag(c.diagonal()[~known]))
        mean = means[m, ~known] + ((given[mine] - means[m, known])[:, :, None] * gain).sum(1)
        free = x[mine]
        free[:, ~known] = mean + (factor * noise[mine][:, ~known][:, None, :]).sum(-1)
        x[mine] = free
    return x


def log_mass(a: Float[Tensor, "*n"], b: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """log(Φ(b) - Φ(a)) of ends a < b, which may be infinite, far out too."""
    low, high = torch.where(a > 0, -b, a), torch.where(a > 0, -a, b)  # where Φ is small and precise
    top, bottom = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return top + torch.log1p(-(bottom - top).clamp(max=-1e-300).exp())


def normal_between(a: Float[Tensor, "*n"], b: Float[Tensor, "*n"], u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Standard normal numbers between a and b from uniform ones; equal ends are the number."""
    flipped = a > 0
    low, high = torch.where(flipped, -b, a), torch.where(flipped, -a, b)
    p, q = torch.special.ndtr(low), torch.special.ndtr(high)
    z = torch.special.ndtri((p + (q - p) * torch.where(flipped, 1 - u, u)).clamp(1e-300, 1 - 1e-16))
    z = torch.where(flipped, -z, z)
    return z.maximum(a).minimum(b)


def _candidates(
    components: Components,
    low: Float[Tensor, "n k"],
    high: Float[Tensor, "n k"],
    known: Bool[Tensor, "d"],
    u: Float[Tensor, "n k particles"],
) -> tuple[Float[Tensor, "n k particles"], Float[Tensor, "n particles"]]:
    """Numbers between low and high, of normals with the mixture's mean and deviation in each dimension, and the
    logarithm of their density up to a constant; uniform ones where that normal is hardly inside."""
    log_weights, means, covariances = components
    weights = log_weights.softmax(0)[:, None]
    means, variances = means[:, known], covariances.diagonal(dim1=1, dim2=2)[:, known]
    centre = (weights * means).sum(0)
    scale = (weights * (variances + (means - centre).square())).sum(0).sqrt()
    a, b = (torch.special.ndtr((x - centre) / scale) for x in (low, high))
    z = torch.special.ndtri((a[..., None] + (b - a)[..., None] * u).clamp(1e-300, 1 - 1e-16))
    inside = centre[:, None] + scale[:, None] * z
    ends = low.where(low.isfinite(), high - scale), high.where(high.isfinite(), low + scale)
    even = ends[0][..., None] + (ends[1] - ends[0])[..., None] * u
    far = ((b - a) < LEAST)[..., None]
    log_q = torch.where(far, 0.0, -0.5 * z.square()).sum(1)
    return torch.where(far, even, inside), log_q


def _index(logs: Float[Tensor, "n k"], u: Float[Tensor, "n"]) -> Tensor:
    """Categorical draws by unnormalised log-weights."""
    below = (logs.softmax(1).cumsum(1) < u[:, None]).sum(1)
    return below.clamp(max=logs.shape[1] - 1)
