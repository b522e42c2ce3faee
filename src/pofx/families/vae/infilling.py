"""Drawing unknown dimensions of x given the known ones: a chain over codes, with the unknown ones marginalised.

A code is proposed by q(z | x filled up) and accepted by Metropolis' rule for p(z | x filled up), then the unknown
dimensions are drawn from p(x | z) (Mattei and Frellsen, 2018, arXiv 1802.04826; without the rule it is Rezende et al.,
2014, arXiv 1401.4082, which leaves the conditional). In turn with it, draws of the prior are accepted for
p(z | x known), where the unknown dimensions are summed out.
"""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.event import count
from pofx.core.model import X
from pofx.core.random import Streams
from pofx.families.vae.embedded import Given
from pofx.families.vae.observation import Observation
from pofx.maths.distributions import normal_log_prob
from pofx.maths.sandwich import lower_bound

ROUNDS = 24
FILLINGS = 3  # whose posteriors are proposals of `marginal_bound`


@runtime_checkable
class Normally(Protocol):
    """An autoencoder of which the posterior is a normal, perhaps bent."""

    likelihood: Observation
    bend: Any

    def infer(self, x: X, condition: Given = None) -> tuple[Tensor, Tensor, Tensor]: ...
    def draw_prior(self, n: int, generator: Streams, k: int = 1, condition: Given = None) -> Tensor: ...
    def log_prior(self, z: Float[Tensor, "n k d"], condition: Given = None) -> Tensor: ...
    def log_likelihood(self, x: X, condition: Given, z: Float[Tensor, "n k d"], known: X | None = None) -> Tensor: ...
    def outputs(self, z: Float[Tensor, "n d"], condition: Given = None) -> Tensor: ...


def completed(model: Normally, x: X, known: X, condition: Given, generator: Streams) -> X:
    """x where known, and draws of the rest given that after `ROUNDS` rounds."""

    def joint(z: Tensor, x: X, known: X | None) -> Float[Tensor, "n"]:
        of = z[:, None]
        return (model.log_likelihood(x, condition, of, known) + model.log_prior(of, condition))[:, 0]

    def filled(z: Tensor) -> X:
        return _where(known, x, model.likelihood.draw(model.outputs(z, condition), generator))

    n = count(x)
    z = model.draw_prior(n, generator, 1, condition)[:, 0]
    full = filled(z)
    for turn in range(ROUNDS):
        if turn % 2 == 0 and model.bend is None:
            mean, log_std, _ = model.infer(full, condition)
            other = mean + log_std.exp() * generator.normal(mean.shape[1])
            gain = joint(other, full, None) - joint(z, full, None)
            gain = gain + _log_q(z, mean, log_std) - _log_q(other, mean, log_std)
        else:
            other = model.draw_prior(n, generator, 1, condition)[:, 0]
            both = model.log_likelihood(x, condition, torch.stack((other, z), 1), known)
            gain = both[:, 0] - both[:, 1]
        accepted = generator.uniform().log() < gain
        z = torch.where(accepted[:, None], other, z)
        full = filled(z)
    return full


def marginal_bound(
    model: Normally, x: X, known: X, condition: Given, particles: int, generator: Streams
) -> Float[Tensor, "n"]:
    """The importance-weighted bound on log p of the known dimensions: the unknown ones are summed out of p(x | z), and
    codes come in equal parts from the prior and from q(z | x filled up) of several fillings, weighted against the
    mixture of all. A bent posterior has no density at given codes: then the prior alone."""
    n, fillings = count(x), FILLINGS if model.bend is None else 0
    each = -(-particles // (fillings + 1))
    codes = [model.draw_prior(n, generator, each, condition)]
    laws = []
    for _ in range(fillings):
        mean, log_std, _ = model.infer(completed(model, x, known, condition, generator), condition)
        laws.append((mean[:, None], log_std[:, None]))
        codes.append(mean[:, None] + log_std.exp()[:, None] * generator.normal(each, mean.shape[1]))
    z = torch.cat(codes, 1)
    log_prior = model.log_prior(z, condition)
    near = [normal_log_prob(z, mean, log_std).sum(-1) for mean, log_std in laws]
    log_q = torch.stack([log_prior, *near]).logsumexp(0) - math.log(1 + fillings)
    return lower_bound(model.log_likelihood(x, condition, z, known) + log_prior - log_q)


def _log_q(z: Float[Tensor, "n d"], mean: Float[Tensor, "n d"], log_std: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    return normal_log_prob(z, mean, log_std).sum(-1)


def _where(known: X, x: X, y: X) -> X:
    if isinstance(x, dict):
        return {key: _where(known[key], x[key], y[key]) for key in x}
    return torch.where(known, x, y)
