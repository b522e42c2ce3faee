"""Priors over the parameters of a simulator, with names, bounds, samples and log-density.

Given as a dict or a list of distributions by parameter, frozen ones of scipy, torch's or texts for the command line
("uniform(-1, 1)"), or as a joint distribution over vectors, of torch or of scipy. Bounds are those of the distribution,
so that a posterior is never outside of them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.distributions import constraints

from pofx.core.errors import UsageError, unknown

WRITTEN = {
    "uniform": lambda low, high: stats.uniform(low, high - low),
    "normal": lambda mean, deviation: stats.norm(mean, deviation),
    "lognormal": lambda mean, deviation: stats.lognorm(deviation, scale=math.exp(mean)),
    "loguniform": lambda low, high: stats.loguniform(low, high),
    "halfnormal": lambda deviation: stats.halfnorm(scale=deviation),
    "truncnormal": lambda mean, deviation, low, high: stats.truncnorm(
        (low - mean) / deviation, (high - mean) / deviation, mean, deviation
    ),
    "student": lambda degrees, mean, scale: stats.t(degrees, mean, scale),
    "exponential": lambda rate: stats.expon(scale=1 / rate),
    "gamma": lambda shape, rate: stats.gamma(shape, scale=1 / rate),
    "beta": lambda a, b: stats.beta(a, b),
}


class OfTorch:
    """A distribution of torch over numbers, as scipy has them."""

    def __init__(self, source: torch.distributions.Distribution) -> None:
        self.source = source

    def support(self) -> tuple[float, float]:
        return _bounds(self.source.support, 1)[0]

    def rvs(self, n: int, random_state: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_state.integers(1 << 62)))
            return np.asarray(self.source.sample((n,)).double().reshape(n).numpy())

    def logpdf(self, x: Any) -> np.ndarray:
        return np.asarray(self.source.log_prob(torch.as_tensor(x).to(self._kind)).double().reshape(-1).numpy())

    @property
    def _kind(self) -> torch.dtype:
        return self.source.sample().dtype


class Joint:
    """A joint distribution of scipy over vectors, such as `scipy.stats.multivariate_normal(mean, cov)`."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def sample(self, n: int, seed: int) -> np.ndarray:
        return np.asarray(self.source.rvs(n, random_state=np.random.default_rng(seed)), np.float64).reshape(n, -1)

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        return np.asarray(self.source.logpdf(theta), np.float64).reshape(len(theta))


class Prior:
    """A distribution over d named parameters.

    Attributes:
        names: of the parameters.
        bounds: (low, high) of each, with infinities where there is no end.
    """

    def __init__(self, names: Sequence[str], bounds: Sequence[tuple[float, float]], source: Any, written: Any) -> None:
        self.names, self.bounds = tuple(names), tuple((float(a), float(b)) for a, b in bounds)
        self._source, self.written = source, written

    @classmethod
    def of(cls, prior: Any) -> "Prior":
        """A prior, whatever a user gives.

        Raises:
            UsageError: something else, or a text that is no distribution; those that exist are named.
        """
        if isinstance(prior, cls):
            return prior
        if isinstance(prior, Sequence) and not isinstance(prior, str):
            prior = {f"θ{i + 1}": one for i, one in enumerate(prior)}
        if isinstance(prior, Mapping):
            written = {name: one for name, one in prior.items() if isinstance(one, str)}
            each = {str(name): _marginal(one) for name, one in prior.items()}
            if not each:
                raise UsageError('a prior must be {"name": scipy.stats distribution or "uniform(0, 1)", …}')
            return cls(tuple(each), [one.support() for one in each.values()], each,
                       written if len(written) == len(each) else None)  # fmt: skip
        if isinstance(prior, torch.distributions.Distribution):
            shape = tuple(prior.event_shape) or tuple(prior.batch_shape)
            if len(shape) != 1:
                raise UsageError(f"a torch prior must be over vectors (got event shape {shape})")
            if not prior.event_shape:
                prior = torch.distributions.Independent(prior, 1)
            return cls([f"θ{i + 1}" for i in range(shape[0])], _bounds(prior.support, shape[0]), prior, None)
        if hasattr(prior, "rvs") and hasattr(prior, "logpdf") and not hasattr(prior, "support"):
            count = np.size(prior.rvs(1, random_state=np.random.default_rng(0)))
            return cls([f"θ{i + 1}" for i in range(count)], [(-math.inf, math.inf)] * count, Joint(prior), None)
        raise UsageError(
            "a prior must be a dict or a list of distributions, or a joint one of torch or scipy (got "
            f"{type(prior).__name__}): pass {{'name': 'uniform(0, 1)', …}}"
        )

    @property
    def parts(self) -> tuple[Any, ...]:
        """The distribution of each parameter, as scipy has it; none of a prior that is one torch Distribution."""
        return tuple(self._source.values()) if isinstance(self._source, Mapping) else ()

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, n: int, seed: int = 0) -> np.ndarray:
        """Parameters float64 (n, d)."""
        if isinstance(self._source, Mapping):
            rng = np.random.default_rng(seed)
            return np.stack([one.rvs(n, random_state=rng) for one in self._source.values()], 1).astype(np.float64)
        if isinstance(self._source, Joint):
            return self._source.sample(n, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return np.asarray(self._source.sample((n,)).double().numpy())

    def log_prob(self, theta: Any) -> np.ndarray:
        """Log-density float64 (n,); -inf outside the bounds."""
        theta = np.atleast_2d(np.asarray(theta, np.float64))
        if theta.shape[1] != len(self):
            raise UsageError(
                f"parameters must have {len(self)} columns, {', '.join(self.names)} (got {theta.shape[1]})"
            )
        inside = np.all([(theta[:, i] >= a) & (theta[:, i] <= b) for i, (a, b) in enumerate(self.bounds)], 0)
        value = np.full(len(theta), -np.inf)
        if inside.any():
            held = theta[inside]
            if isinstance(self._source, Mapping):
                value[inside] = sum(one.logpdf(held[:, i]) for i, one in enumerate(self._source.values()))
            elif isinstance(self._source, Joint):
                value[inside] = self._source.log_prob(held)
            else:
                value[inside] = self._source.log_prob(torch.from_numpy(held).float()).double().numpy()
        return value

    @property
    def support(self) -> dict[str, tuple[float | None, float | None]]:
        """The bounds as `pofx.points` takes them; parameters without bounds are left out."""
        ends = {
            f"x{i}": tuple(end if math.isfinite(end) else None for end in both) for i, both in enumerate(self.bounds)
        }
        return {name: both for name, both in ends.items() if both != (None, None)}  # type: ignore[misc]


def _marginal(one: Any) -> Any:
    """The distribution of one parameter, as scipy has it.

    Raises:
        UsageError: no distribution, or one over several numbers.
    """
    if isinstance(one, str):
        return _parsed(one)
    if isinstance(one, torch.distributions.Distribution):
        if int(np.prod((*one.batch_shape, *one.event_shape))) != 1:
            raise UsageError(f"each parameter must have a distribution of its own (got {one}): pass one number's")
        return OfTorch(one)
    if not hasattr(one, "logpdf") or not hasattr(one, "support"):
        raise UsageError(
            f"a prior must be {{'name': scipy.stats distribution or 'uniform(0, 1)', …}} (got {type(one).__name__})"
        )
    return one


def _parsed(text: str) -> Any:
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", text)
    if match is None:
        raise UsageError(f"a distribution must be written as uniform(0, 1) (got {text!r}): choose {', '.join(WRITTEN)}")
    if match[1] not in WRITTEN:
        raise unknown("distribution", match[1], WRITTEN)
    try:
        made = WRITTEN[match[1]](*(float(part) for part in match[2].split(",")))  # type: ignore[operator]
        if not np.isfinite(made.logpdf(made.mean())):
            raise ValueError
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"{text!r} is no distribution: check the number and the range of its parameters") from None
    return made


def _bounds(support: Any, d: int) -> list[tuple[float, float]]:
    inner = support.base_constraint if isinstance(support, constraints.independent) else support
    if isinstance(inner, constraints.interval):
        low, high = (torch.as_tensor(end).expand(d).tolist() for end in (inner.lower_bound, inner.upper_bound))
        return list(zip(low, high, strict=True))
    if isinstance(inner, constraints.greater_than):
        return [(float(b), math.inf) for b in torch.as_tensor(inner.lower_bound).expand(d).tolist()]
    return [(-math.inf, math.inf)] * d
