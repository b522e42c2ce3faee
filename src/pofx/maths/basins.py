"""The maxima of a density and the mass around them: what annealing loses when a mode is narrow.

A narrow mode of equal mass is invisible at high temperatures, so that chains annealed from a broad start end elsewhere
(a first-order transition). Straight ascent from the same starts still ends in it as often as its basin is wide. Around
each maximum a normal with the curvature there (Laplace, 1774) proposes draws, whose importance weights measure the
mass. A mixture of all proposals with the balance heuristic (Veach and Guibas, 1995) keeps that measure unbiased.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.random import Streams

ASCENTS = 150  # steps straight up, of a length that adapts
LONGEST = 0.3  # step, in the coordinates where the starts are standard normal
POLISHES = 8  # Newton steps at the end
NEAR = 4.0  # standard deviations between two ends that are the same maximum
MOST = 64  # maxima that remain, those of the greatest mass
LIMIT = 64  # dimensions up to which curvatures are computed

LogDensity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Basins:
    """Normals around the k maxima of a density: means (k, d), Cholesky factors (k, d, d), log masses (k,); float64."""

    means: Tensor
    factors: Tensor
    log_masses: Tensor

    def __len__(self) -> int:
        return len(self.means)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """The log density of every normal at x."""
        gaps = x.double()[:, None] - self.means
        z = torch.linalg.solve_triangular(self.factors, gaps.permute(1, 2, 0), upper=False)
        logdet = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        return (-0.5 * (z**2).sum(1) - logdet[:, None] - x.shape[1] / 2 * math.log(2 * math.pi)).T

    def mixture(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """The log density of all of them, each as heavy as its mass."""
        return torch.logsumexp(self.log_prob(x) + self.log_masses.log_softmax(0), 1)

    def draw(self, streams: Streams) -> Float[Tensor, "n d"]:
        """Draws of the mixture, the normals taken evenly in turn by mass."""
        n = len(streams)
        at = torch.searchsorted(self.log_masses.softmax(0).cumsum(0), (torch.arange(n).double() + 0.5) / n)
        at = at.clamp(max=len(self) - 1)
        z = streams.normal(self.means.shape[1]).cpu().double()
        return self.means[at] + (self.factors[at] @ z[..., None])[..., 0]


def basins(log_density: LogDensity, starts: Float[Tensor, "n d"]) -> Basins | None:
    """The maxima in which straight ascent from the starts ends, heaviest first; None beyond `LIMIT` dimensions or where
    no end has a curvature downwards in every direction."""
    if starts.shape[1] > LIMIT:
        return None
    x = _ascended(log_density, starts)
    for _ in range(POLISHES):
        value, slope, curvature = _derivatives(log_density, x)
        spectrum, axes = torch.linalg.eigh(curvature)
        step = axes @ ((axes.mT @ slope[..., None]) / spectrum.abs().clamp(min=1e-6)[..., None])
        tried = x + _shortened(step[..., 0])
        better = _values(log_density, tried) > value
        x = torch.where(better[:, None], tried, x)
    value, slope, curvature = _derivatives(log_density, x)
    spectrum, axes = torch.linalg.eigh(-curvature)
    size = x.shape[1]
    good = value.isfinite() & (spectrum > 1e-8).all(1)
    if not bool(good.any()):
        return None
    x, value, spectrum, axes = x[good], value[good], spectrum[good], axes[good]
    log_masses = value + size / 2 * math.log(2 * math.pi) - 0.5 * spectrum.log().sum(1)
    kept: list[int] = []
    whitened = axes.mT * spectrum.sqrt()[..., None]
    for i in log_masses.argsort(descending=True).tolist():
        gaps = [(whitened[j] @ (x[i] - x[j])).norm() for j in kept]
        if all(float(gap) > NEAR for gap in gaps):
            kept.append(i)
        if len(kept) == MOST:
            break
    covariances = axes[kept] @ (axes[kept].mT / spectrum[kept][..., None])
    return Basins(x[kept], torch.linalg.cholesky(covariances), log_masses[kept])


def _values(log_density: LogDensity, x: Tensor) -> Tensor:
    with torch.no_grad():
        return log_density(x.float()).double().nan_to_num(nan=-math.inf)


def _shortened(step: Tensor) -> Tensor:
    length = step.norm(dim=1, keepdim=True)
    return step * (LONGEST / length.clamp(min=LONGEST))


def _ascended(log_density: LogDensity, starts: Tensor) -> Tensor:
    """Gradient ascent, item by item: a step that gains is lengthened, one that does not is undone and halved."""
    x, rate = starts.double(), torch.full((len(starts), 1), 0.1, dtype=torch.float64)
    value, slope = _slopes(log_density, x)
    for _ in range(ASCENTS):
        tried = x + _shortened(rate * slope)
        new, new_slope = _slopes(log_density, tried)
        better = (new > value)[:, None]
        x, slope = torch.where(better, tried, x), torch.where(better, new_slope, slope)
        value = torch.where(better[:, 0], new, value)
        rate = torch.where(better, rate * 1.4, rate * 0.4).clamp(1e-12, 1e6)
    return x


def _slopes(log_density: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        at = x.float().requires_grad_(True)
        value = log_density(at)
        (slope,) = torch.autograd.grad(value.sum(), at)
    return value.detach().double().nan_to_num(nan=-math.inf), slope.double().nan_to_num()


def _derivatives(log_density: LogDensity, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value (n,), slope (n, d) and curvature (n, d, d) by central differences of slopes, a hair apart."""
    value, slope = _slopes(log_density, x)
    columns = []
    for i in range(x.shape[1]):
        hair = torch.zeros_like(x)
        hair[:, i] = 1e-3
        columns.append((_slopes(log_density, x + hair)[1] - _slopes(log_density, x - hair)[1]) / 2e-3)
    curvature = torch.stack(columns, 2)
    return value, slope, (curvature + curvature.mT) / 2
