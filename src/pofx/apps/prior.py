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

from pofx.apps.stored_priors import plain_of, source_of
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


STORED = "distributions"  # the only key of a stored prior that is not texts alone


class OfTorch:
    """A distribution of torch over numbers, as scipy has them."""

    def __init__(self, source: torch.distributions.Distribution) -> None:
        self.source = source

    def support(self) -> tuple[float, float]:
        return _bounds(self.source.support, 1)[0]

    def rvs(self, size: int, random_state: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_state.integers(1 << 62)))
            return np.asarray(self.source.sample((size,)).double().reshape(size).numpy())

    def logpdf(self, x: Any) -> np.ndarray:
        held = _within(torch.as_tensor(x).to(self._kind).reshape(-1, 1), [self.support()])
        return np.asarray(self.source.log_prob(held[:, 0]).double().reshape(-1).numpy())

    @property
    def _kind(self) -> torch.dtype:
        return self.source.sample().dtype


class Joint:
    """A joint distribution of scipy over vectors, such as `scipy.stats.multivariate_normal(mean, cov)`."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def sample(self, n: int, seed: int) -> np.ndarray:
        return np.asarray(self.source.rvs(size=n, random_state=np.random.default_rng(seed)), np.float64).reshape(n, -1)

    def log_prob(self, theta: np.ndarray) -> np.ndarray:
        return np.asarray(self.source.logpdf(theta), np.float64).reshape(len(theta))


class Prior:
    """A distribution over d named parameters.

    Attributes:
        names: of the parameters.
        bounds: (low, high) of each, with infinities where there is no end.
        written: the prior as plain values, from which `of` makes it again; None where it has none.
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
            if {*prior} == {STORED}:
                return cls.of(_unstored(prior[STORED]))
            each = {str(name): _marginal(one) for name, one in prior.items()}
            if not each:
                raise UsageError('a prior must be {"name": scipy.stats distribution or "uniform(0, 1)", …}')
            plain = {str(name): one if isinstance(one, str) else plain_of(one) for name, one in prior.items()}
            written = None if None in plain.values() else plain
            if written is not None and not all(isinstance(one, str) for one in prior.values()):
                written = {STORED: {"each": plain}}
            return cls(tuple(each), [one.support() for one in each.values()], each, written)
        if isinstance(prior, torch.distributions.Distribution):
            shape = tuple(prior.event_shape) or tuple(prior.batch_shape)
            if len(shape) != 1:
                raise UsageError(f"a torch prior must be over vectors (got event shape {shape})")
            if not prior.event_shape:
                prior = torch.distributions.Independent(prior, 1)
            names = [f"θ{i + 1}" for i in range(shape[0])]
            return cls(names, _bounds(prior.support, shape[0]), prior, _stored(prior))
        if hasattr(prior, "rvs") and hasattr(prior, "logpdf") and not hasattr(prior, "support"):
            count = _size(prior)
            return cls([f"θ{i + 1}" for i in range(count)], [(-math.inf, math.inf)] * count, Joint(prior),
                       _stored(prior))  # fmt: skip
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
            return np.stack([one.rvs(size=n, random_state=rng) for one in self._source.values()], 1).astype(np.float64)
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
                value[inside] = (
                    self._source.log_prob(_within(torch.from_numpy(held).float(), self.bounds)).double().numpy()
                )
        return value

    @property
    def support(self) -> dict[str, tuple[float | None, float | None]]:
        """The bounds as `pofx.points` takes them; parameters without bounds are left out."""
        ends = {
            f"x{i}": tuple(end if math.isfinite(end) else None for end in both) for i, both in enumerate(self.bounds)
        }
        return {name: both for name, both in ends.items() if both != (None, None)}  # type: ignore[misc]


def _within(x: torch.Tensor, bounds: Sequence[tuple[float, float]]) -> torch.Tensor:
    """Numbers (n, d) strictly inside of their bounds, where rounding to torch's numbers has put them on an end: outside
    of an interval, for torch."""
    low, high = (torch.tensor([both[k] for both in bounds], dtype=x.dtype) for k in (0, 1))
    inner = [torch.nextafter(end, torch.full_like(end, -sign * math.inf)) for end, sign in ((low, -1), (high, 1))]
    return torch.minimum(torch.maximum(x, inner[0]), inner[1])


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
    bare = isinstance(one, stats.rv_continuous) and one.numargs > 0  # of scipy, without the numbers that it needs
    if bare or not hasattr(one, "logpdf") or not hasattr(one, "support"):
        raise UsageError(
            "a prior must be {'name': scipy.stats distribution of real numbers, such as stats.norm(0, 1), or "
            f"'uniform(0, 1)', …}} (got {_kind_of(one)})"
        )
    if np.size(one.support()) != 2:
        raise UsageError(f"each parameter must have a distribution of its own (got {one.support()} as its bounds)")
    return one


def _kind_of(one: Any) -> str:
    """What was given in place of a distribution."""
    name = getattr(getattr(one, "dist", one), "name", None)
    if name is None:
        return f"{one!r}" if isinstance(one, int | float | tuple | list) else type(one).__name__
    return f"{name} without its numbers" if isinstance(one, stats.rv_continuous) else f"{name}, of whole numbers"


def _size(joint: Any) -> int:
    """The numbers of a draw of a joint distribution of scipy, whose density is tried on two.

    Raises:
        UsageError: no density of free numbers, in rows.
    """
    try:
        drawn = np.asarray(joint.rvs(size=2, random_state=np.random.default_rng(0)), np.float64).reshape(2, -1)
        tried = np.asarray(joint.logpdf(drawn), np.float64)
        if tried.shape != (2,):
            raise ValueError(f"its density of two rows has the shape {tried.shape}")
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a joint prior must draw rows of numbers and have a density of them ({error}): pass "
            "scipy.stats.multivariate_normal(mean, cov), a distribution of torch, or one for each parameter"
        ) from None
    return drawn.shape[1]


def _stored(joint: Any) -> Any:
    """A joint distribution as plain values; None where it has none."""
    plain = plain_of(joint)
    return None if plain is None else {STORED: {"joint": plain}}


def _unstored(plain: Any) -> Any:
    """What was stored, as a user gives it."""
    if "joint" in plain:
        return source_of(plain["joint"])
    return {name: one if isinstance(one, str) else source_of(one) for name, one in plain["each"].items()}


def _parsed(text: str) -> Any:
    match = re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*", text)
    if match is None:
        raise UsageError(f"a distribution must be written as uniform(0, 1) (got {text!r}): choose {', '.join(WRITTEN)}")
    if match[1] not in WRITTEN:
        raise unknown("distribution", match[1], WRITTEN)
    try:
        made = WRITTEN[match[1]](*(float(part) for part in match[2].split(",")))  # type: ignore[operator]
        if not np.isfinite(made.logpdf(made.median())):
            raise ValueError
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"{text!r} is no distribution: check the number and the range of its parameters") from None
    return made


def _bounds(support: Any, d: int) -> list[tuple[float, float]]:
    """The ends of each of d numbers that a constraint of torch allows.

    Raises:
        UsageError: whole numbers, or numbers that depend on one another, as on a simplex.
    """
    inner = support
    while isinstance(inner, constraints.independent):
        inner = inner.base_constraint
    if isinstance(inner, constraints.cat | constraints.stack):
        sizes = inner.lengths if isinstance(inner, constraints.cat) else [1] * len(inner.cseq)
        return [both for one, size in zip(inner.cseq, sizes, strict=True) for both in _bounds(one, size)]
    if getattr(inner, "is_discrete", False) or isinstance(inner, _TIED):
        raise UsageError(
            f"a prior must have a density over free real numbers (got one on {inner}): parameters that are whole "
            "numbers or depend on one another cannot be learned"
        )
    low, high = getattr(inner, "lower_bound", -math.inf), getattr(inner, "upper_bound", math.inf)
    ends = (torch.as_tensor(end, dtype=torch.float64).reshape(-1).expand(d).tolist() for end in (low, high))
    return list(zip(*ends, strict=True))


_TIED = tuple(type(one) for one in (constraints.simplex, constraints.corr_cholesky, constraints.lower_cholesky,
                                    constraints.positive_definite))  # fmt: skip
