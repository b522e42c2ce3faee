"""Any dimensions of x given any others, by an autoencoder: draws by a chain over codes, densities by weights of them.

A code is proposed by q(z | x filled up) and accepted by Metropolis' rule for p(z | x filled up), then the unknown
dimensions are drawn from p(x | z) (Mattei and Frellsen, 2018, arXiv 1802.04826; without the rule it is Rezende et al.,
2014, arXiv 1401.4082, which leaves the conditional). In turn with it, draws of the prior are accepted for
p(z | x known), where the unknown dimensions are summed out. The chain begins at one of a few codes, chosen by weight.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pofx.core.event import Condition, Continuous, Discrete, count
from pofx.core.model import Infilling, Marginal, X
from pofx.core.random import Streams
from pofx.families.vae.bounds import Decoded, flat
from pofx.maths.distributions import categorical_draw, normal_log_prob
from pofx.maths.sandwich import lower_bound

ROUNDS = 24
FILLINGS = 3  # whose posteriors are proposals of the density of what is known
BEGUN = 8  # codes of each proposal, of which one begins a chain


@runtime_checkable
class Proposal(Protocol):
    """q(z | x) of n items."""

    def draw(self, k: int, generator: Streams) -> Shaped[Tensor, "n {k} *code"]: ...
    def log_prob(self, z: Shaped[Tensor, "n k *code"]) -> Float[Tensor, "n k"]: ...


@dataclass(frozen=True)
class Normals:
    """q(z | x) as a normal of independent dimensions for each item."""

    mean: Tensor  # (n, size)
    log_std: Tensor

    def draw(self, k: int, generator: Streams) -> Float[Tensor, "n {k} size"]:
        return self.mean[:, None] + self.log_std.exp()[:, None] * generator.normal(k, self.mean.shape[1])

    def log_prob(self, z: Float[Tensor, "n k size"]) -> Float[Tensor, "n k"]:
        return normal_log_prob(z, self.mean[:, None], self.log_std[:, None]).sum(-1)


class Filling(Decoded, Infilling, Marginal):
    """An autoencoder that fills up items: a prior of codes that can be drawn, and a q(z | x) with a density.

    Codes are in a row here, k for each of n items; a condition is as `conditioned` gives it.
    """

    importance: int

    def conditioned(self, condition: Condition | None) -> Any:
        """A condition in the form that the methods below take; by default as it is."""
        return condition

    @abstractmethod
    def draw_prior(self, n: int, generator: Streams, k: int = 1, condition: Any = None) -> Shaped[Tensor, "n k size"]:
        """k draws of p(z) for each of n streams."""

    @abstractmethod
    def log_prior(self, z: Shaped[Tensor, "n k size"], condition: Any = None) -> Float[Tensor, "n k"]:
        """log p(z)."""

    @abstractmethod
    def log_likelihood(
        self, x: X, condition: Any, z: Shaped[Tensor, "n k size"], known: X | None = None
    ) -> Float[Tensor, "n k"]:
        """log p(x | z) of k codes for each item; of the known dimensions alone where these are given."""

    @abstractmethod
    def proposal(self, x: X, condition: Any) -> Proposal | None:
        """q(z | x); None where it has no density at given codes: then the prior alone proposes."""

    def complete(self, x: X, known: X, condition: Condition | None = None, *, generator: Streams) -> X:
        """x where `known`, and draws given that elsewhere after `ROUNDS` rounds of the chain."""
        self.check_condition(count(x), condition)
        return self._completed(x, known, self.conditioned(condition), generator)

    def log_marginal(self, x: X, known: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The importance-weighted bound on log p of the known dimensions: the others are summed out of p(x | z), and
        codes come in equal parts from the prior and from q(z | x filled up) of several fillings."""
        self.check_condition(count(x), condition)
        given, generator = self.conditioned(condition), Streams.of_items(0, flat(x))
        laws = []
        for _ in range(FILLINGS):
            law = self.proposal(self._completed(x, known, given, generator), given)
            if law is None:
                break
            laws.append(law)
        each = -(-self.importance // (len(laws) + 1))
        return lower_bound(self._weighted(x, known, given, each, laws, generator)[1])

    def _weighted(
        self, x: X, known: X, condition: Any, each: int, laws: Sequence[Proposal], generator: Streams
    ) -> tuple[Shaped[Tensor, "n k size"], Float[Tensor, "n k"]]:
        """Equally many codes of the prior and of each law, and the logarithms of their weights for p(z | x known),
        whose mean is p(x known), against the mixture of all."""
        codes = [self.draw_prior(count(x), generator, each, condition)]
        z = torch.cat([*codes, *(law.draw(each, generator) for law in laws)], 1)
        log_prior = self.log_prior(z, condition)
        log_q = torch.stack([log_prior, *(law.log_prob(z) for law in laws)]).logsumexp(0) - math.log(1 + len(laws))
        return z, self.log_likelihood(x, condition, z, known) + log_prior - log_q

    def _completed(self, x: X, known: X, condition: Any, generator: Streams) -> X:
        n = count(x)

        def filled(z: Tensor) -> X:
            assert isinstance(self.code, Continuous | Discrete)
            raw = self.given(z.reshape(n, *self.code.shape), condition)
            return where(known, x, self.likelihood.draw(raw, generator))

        full = filled(self.draw_prior(n, generator, 1, condition)[:, 0])
        law = self.proposal(full, condition)
        many, log_w = self._weighted(x, known, condition, BEGUN, [] if law is None else [law], generator)
        z = many[torch.arange(n, device=many.device), categorical_draw(log_w, generator.uniform())]
        full = filled(z)
        for turn in range(ROUNDS):
            law = self.proposal(full, condition) if turn % 2 == 0 else None
            if law is not None:
                other = law.draw(1, generator)[:, 0]
                both = torch.stack((other, z), 1)
                log_w = self.log_likelihood(full, condition, both) + self.log_prior(both, condition)
                log_w = log_w - law.log_prob(both)
            else:
                other = self.draw_prior(n, generator, 1, condition)[:, 0]
                log_w = self.log_likelihood(x, condition, torch.stack((other, z), 1), known)
            accepted = generator.uniform().log() < log_w[:, 0] - log_w[:, 1]
            z = torch.where(accepted[:, None], other, z)
            full = filled(z)
        return full


def where(known: X, x: X, y: X) -> X:
    """x where known, else y, part by part."""
    if isinstance(x, dict):
        return {key: where(known[key], x[key], y[key]) for key in x}
    return torch.where(known, x, y)
