"""What autoencoders with codes share: the importance-weighted bound on log p(x), and the density of a model of codes.

    log p(x) >= E log 1/K Σ_k p(x, z_k) / q(z_k | x)        (Burda et al., 2016, arXiv 1509.00519, eq. 8)

The noise is a function of the item, so that errors of items are independent and average out.
"""

import math
import warnings
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pofx.core.event import Condition, Continuous, count, select
from pofx.core.generative import Emitting
from pofx.core.model import Density, Weighted, X
from pofx.core.random import Streams
from pofx.families.vae.observation import Observation
from pofx.maths.distributions import near_items
from pofx.maths.sandwich import lower_bound

ROWS = 2**23  # decoder outputs held at once by log_prob
LOOSE = 0.3  # standard error of a bound, in nats, above which about a tenth or fewer of 100 weights count


class Decoded(Emitting):
    """A model whose codes meet an observation model p(x | z)."""

    likelihood: Observation

    @abstractmethod
    def given(self, z: Shaped[Tensor, "n *code"], condition: Condition | None) -> Float[Tensor, "n ..."]:
        """The observation model's numbers for codes."""

    @abstractmethod
    def inferred(
        self, x: X, condition: Condition | None, generator: Streams | None
    ) -> tuple[Shaped[Tensor, "n *code"], Float[Tensor, "n"]]:
        """A code of each item and log q(z | x), 0 where it is a function of x; the centre of q without a generator."""

    @property
    def volume(self) -> Density:
        return Density.BOUND

    @property
    def random_codes(self) -> bool:
        return True

    def encode(self, x: X, condition: Condition | None = None) -> Shaped[Tensor, "n *code"]:
        """The centre of q(z | x): where its noise is 0."""
        self.check_condition(count(x), condition)
        return self.inferred(x, condition, None)[0]

    def decode(self, z: Shaped[Tensor, "n *code"], condition: Condition | None = None) -> X:
        """The mode of p(x | z): (n, *shape)."""
        self.check_condition(len(z), condition)
        return self.likelihood.mode(self.given(z, condition))

    def draw_code(self, x: X, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "n *code"]:
        self.check_condition(count(x), condition)
        return self.inferred(x, condition, generator)[0]

    def weigh_code(
        self, x: X, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Shaped[Tensor, "n *code"], Float[Tensor, "n"]]:
        self.check_condition(count(x), condition)
        z, log_q = self.inferred(x, condition, generator)
        return z, self.likelihood.log_prob(self.given(z, condition), x) - log_q

    def log_given(
        self, x: X, z: Shaped[Tensor, "n *code"], condition: Condition | None = None, *, known: X | None = None
    ) -> Float[Tensor, "n"]:
        return self.likelihood.log_prob(self.given(z, condition), x, known)

    def draw_given(self, z: Shaped[Tensor, "n *code"], condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(len(z), condition)
        return self.likelihood.draw(self.given(z, condition), generator)


class ImportanceBound(Weighted):
    """log p(x) as the log of a mean of `importance` weights."""

    @abstractmethod
    def proposal_weights(
        self, x: X, condition: Condition | None, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Log-weights whose mean is p(x) on average, from whatever proposals."""

    @property
    @abstractmethod
    def row(self) -> int:
        """Numbers that the decoder gives for one item and one code."""

    def bound(self, x: X, condition: Condition | None, particles: int) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The importance-weighted bound on log p(x) in nats and its standard error, (n,) each."""
        values, errors = [], []
        streams, n = Streams.of_items(0, flat(x)), count(x)
        most = max(1, ROWS // (self.row * min(particles, 64)))
        for at in range(0, n, most):
            part = slice(at, at + most)
            given = None if condition is None else select(condition, part)
            log_w = self.proposal_weights(select(x, part), given, particles, streams[part])
            value = lower_bound(log_w)
            share = (log_w - value[:, None]).exp()
            values.append(value)
            errors.append(share.std(1) / particles**0.5 if particles > 1 else torch.full_like(value, math.nan))
        if not values:
            none = flat(x).new_zeros(0, dtype=torch.float32)
            return none, none
        return torch.cat(values), torch.cat(errors)

    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """A lower bound on log p(x) in nats, with `importance` samples: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: X, condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """The bound and its standard error, from the scatter of the weights of each item.

        Warns:
            RuntimeWarning: for many items few of the weights count, so that the bound is loose, its error too small.
        """
        n = count(x)
        self.check_condition(n, condition)
        x, far = nearby(self.event, x)
        value, error = self.bound(x, condition, self.importance)
        if n and float((error > LOOSE).float().mean()) > 0.1:
            warnings.warn(
                "few importance weights count for many items, so that their bound is loose: pass a larger importance",
                RuntimeWarning,
                stacklevel=2,
            )
        return value.masked_fill(far, -math.inf), error.masked_fill(far, 0.0)


def flat(x: X) -> Shaped[Tensor, "n size"]:
    """All numbers of an event, whatever its parts."""
    return torch.cat([flat(part).float() for part in x.values()], 1) if isinstance(x, dict) else x.flatten(1)


def nearby(event: Any, x: X) -> tuple[X, Tensor]:
    """x with zeros in the place of items too far away for the arithmetic, and which these are: (n,)."""
    if isinstance(event, dict):
        parts = {key: nearby(part, x[key]) for key, part in event.items()}
        return {key: part for key, (part, _) in parts.items()}, torch.stack([far for _, far in parts.values()]).any(0)
    return (
        near_items(x) if isinstance(event, Continuous) else (x, torch.zeros(len(x), dtype=torch.bool, device=x.device))
    )
