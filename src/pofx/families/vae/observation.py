"""Observation models p(x | z): of each scalar of x, given a decoder's outputs. Each sums or integrates to 1.

`outputs` numbers per scalar come in as (n, *shape, outputs), those of a product event in a row (`numbers` is the shape
of one item's); `start` turns the data's marginals into the biases with which training begins, so that the decoder only
has to learn the differences. `seen` is x as an encoder takes it, `inputs` numbers or, on a grid, in the shape of x.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete, Event, each
from pofx.core.model import X
from pofx.core.random import Streams
from pofx.maths import discretised_logistic
from pofx.maths.counts import gamma_draw, poisson_draw
from pofx.maths.distributions import (
    bernoulli_draw,
    categorical_draw,
    categorical_log_prob,
    class_counts,
    normal_log_prob,
)

MANY = 1024  # classes from which on those of a vector are counts
CERTAIN = 16.0  # logits of two classes beyond which none is more certain
SELDOM = 5e-3  # share of items below which a pixel that is lit is no deviation from a mean
ONE_HOT = 32  # classes up to which an encoder that is no convolution sees them apart


def _total(terms: Float[Tensor, "n *event"], known: Bool[Tensor, "n *event"] | None) -> Float[Tensor, "n"]:
    """The sum over the dimensions, or over the known ones: the others are marginalised."""
    return (terms if known is None else torch.where(known, terms, 0.0)).flatten(1).sum(1)


class Observation(nn.Module, ABC):
    """p(x | z) of an event, by numbers of the decoder."""

    inputs: int
    plain_inputs: int  # numbers of `plain`
    outputs: int
    numbers: tuple[int, ...]

    @abstractmethod
    def seen(self, x: X, marginals: Float[Tensor, "..."], grid: bool = False) -> Float[Tensor, "n ..."]:
        """x as an encoder takes it."""

    @abstractmethod
    def start(self, x: X) -> Float[Tensor, "..."]:
        """The numbers under which the dimensions of x are independent: of one item."""

    @abstractmethod
    def log_prob(self, raw: Float[Tensor, "n ..."], x: X, known: X | None = None) -> Float[Tensor, "n"]:
        """log p(x | z) in nats; of the dimensions that are `known` where these are given."""

    def log_prob_of_many(self, raw: Float[Tensor, "n k ..."], x: X, known: X | None = None) -> Float[Tensor, "n k"]:
        """The same of n items under k codes each."""
        n, k = raw.shape[:2]

        def repeated(part: Shaped[Tensor, "n *shape"]) -> Shaped[Tensor, "many *shape"]:
            return part.repeat_interleave(k, 0)

        given = None if known is None else each(known, repeated)
        return self.log_prob(raw.flatten(0, 1), each(x, repeated), given).reshape(n, k)

    @abstractmethod
    def draw(self, raw: Float[Tensor, "n ..."], generator: Streams) -> X:
        """x ~ p(x | z)."""

    @abstractmethod
    def mode(self, raw: Float[Tensor, "n ..."]) -> X:
        """Where p(x | z) is greatest, dimension by dimension."""

    @abstractmethod
    def mean(self, raw: Float[Tensor, "n ..."]) -> X:
        """The mean of p(x | z), of classes that of their numbers: differentiable."""

    def expected(self, raw: Float[Tensor, "n ..."], grid: bool = False) -> Float[Tensor, "n ..."]:
        """The mean in the form and scale of `plain`, for critics."""
        return self.plain(self.mean(raw), grid)

    @abstractmethod
    def plain(self, x: X, grid: bool = False) -> Float[Tensor, "n ..."]:
        """x in numbers of a scale near 1: in the shape of the event on a grid, else in a row."""


class Classes(Observation):
    """What observation models of classes share: how an encoder sees x."""

    def __init__(self, event: Discrete, outputs: int) -> None:
        super().__init__()
        self.event, self.outputs, self.numbers = event, outputs, (*event.shape, outputs)
        self.apart = event.largest <= ONE_HOT or event.uneven
        self.plain_inputs = math.prod(event.shape)
        self.inputs = self.plain_inputs * (event.largest if self.apart else 1)

    def seen(
        self, x: Int[Tensor, "n *event"], marginals: Float[Tensor, "*event outputs"], grid: bool = False
    ) -> Float[Tensor, "n ..."]:
        if self.apart and not grid:
            return nn.functional.one_hot(x, self.event.largest).flatten(1).to(marginals.dtype)
        scaled = x.to(marginals.dtype) * (2.0 / max(self.event.largest - 1, 1)) - 1.0
        return scaled if grid else scaled.flatten(1)

    def plain(self, x: Shaped[Tensor, "n *event"], grid: bool = False) -> Float[Tensor, "n ..."]:
        scaled = x.to(torch.float32) * (2.0 / max(self.event.largest - 1, 1)) - 1.0
        return scaled if grid else scaled.flatten(1)


class Categorical(Classes):
    """A softmax over the classes of each dimension, however many it has."""

    def __init__(self, event: Discrete) -> None:
        super().__init__(event, event.largest)
        self.absent: Tensor | None
        counts = torch.tensor(event.counts).reshape(*event.shape, 1)
        absent = torch.arange(event.largest) >= counts if event.uneven else None
        self.register_buffer("absent", absent, persistent=False)

    def logits(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event outputs"]:
        return raw if self.absent is None else raw.masked_fill(self.absent, -1e9)

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        counts = class_counts(x, self.event.largest).float()
        return ((counts + 0.1) / (counts + 0.1).sum(-1, keepdim=True)).log()

    def log_prob(
        self,
        raw: Float[Tensor, "n *event outputs"],
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n"]:
        return _total(categorical_log_prob(self.logits(raw), x), known)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        return categorical_draw(self.logits(raw).float(), generator.uniform(*self.event.shape))

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        return self.logits(raw).argmax(-1)

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        return self.logits(raw).float().softmax(-1) @ torch.arange(self.outputs, dtype=torch.float32, device=raw.device)


class Bernoulli(Classes):
    """Two classes by one logit each; the encoder sees their distance from the mean of the data.

    Logits end at ±16: those of pixels that training never lights fall without end, as nothing holds them. As inputs
    these are exactly 0: a number near it would have weights that drift, for Adam's steps do not shrink with the
    gradient, and the first item in which such a pixel is lit would lose thousands of nats.
    """

    def __init__(self, event: Discrete) -> None:
        super().__init__(event, 1)
        if event.largest != 2 or event.uneven:
            raise UsageError(
                f"observation=bernoulli needs two classes everywhere (got {event.largest}): pass observation=auto, or "
                "binarise=dynamic for images"
            )
        self.inputs = self.plain_inputs

    @staticmethod
    def logits(raw: Float[Tensor, "*n 1"]) -> Float[Tensor, "*n"]:
        return raw.float()[..., 0].clamp(-CERTAIN, CERTAIN)

    def seen(
        self, x: Int[Tensor, "n *event"], marginals: Float[Tensor, "*event outputs"], grid: bool = False
    ) -> Float[Tensor, "n ..."]:
        often = marginals[..., 0].detach().sigmoid()
        centred = 2.0 * (x - torch.where(often > SELDOM, often, 0.0))
        return centred if grid else centred.flatten(1)

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        ones = x.float().sum(0)
        return ((ones + 0.1).log() - (len(x) - ones + 0.1).log())[..., None]

    def log_prob(
        self,
        raw: Float[Tensor, "n *event outputs"],
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n"]:
        logits = self.logits(raw)
        lost = nn.functional.binary_cross_entropy_with_logits(logits, x.to(logits.dtype), reduction="none")
        return _total(-lost, known)

    def log_prob_of_many(
        self,
        raw: Float[Tensor, "n k *event outputs"],
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n k"]:
        """x · l - softplus(l), summed by products of matrices, so that no item is repeated."""
        logits = self.logits(raw).flatten(2)
        on, counted = x.flatten(1).to(logits.dtype), torch.ones_like(logits[:, 0])
        if known is not None:
            counted = known.flatten(1).to(logits.dtype)
            on = on * counted
        with torch.autocast(logits.device.type, enabled=False):
            softened = nn.functional.softplus(logits)
            given = logits @ on[..., None] - softened @ counted[..., None]
        return given[..., 0]

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        return bernoulli_draw(self.logits(raw), generator)

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        return (raw[..., 0] > 0).long()

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        return torch.sigmoid(self.logits(raw))


class LogisticMixture(Classes):
    """A mixture of discretised logistics: many ordered classes for few numbers."""

    def __init__(self, event: Discrete, components: int) -> None:
        super().__init__(event, 3 * components)
        self.components = components

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        scaled = 2.0 * x.float() / (self.event.largest - 1) - 1.0
        spread = torch.linspace(-1.0, 1.0, self.components + 2, dtype=torch.float32)[1:-1].to(x.device)
        means = scaled.mean(0)[..., None] + scaled.std(0, unbiased=False)[..., None] * spread
        log_scales = (scaled.std(0, unbiased=False)[..., None] * 0.5 + 1e-2).log().expand_as(means)
        return torch.cat((torch.zeros_like(means), means, log_scales), -1)

    def log_prob(
        self,
        raw: Float[Tensor, "n *event outputs"],
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n"]:
        return _total(discretised_logistic.log_mass(raw, x, self.event.largest), known)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        return discretised_logistic.draw(raw, generator.uniform(*self.event.shape, 2), self.event.largest)

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        return discretised_logistic.mode(raw, self.event.largest)

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        logits, means, _ = raw.float().chunk(3, -1)
        return ((logits.softmax(-1) * means.clamp(-1, 1)).sum(-1) + 1) * 0.5 * (self.event.largest - 1)


class NegativeBinomial(Classes):
    """Counts: a negative binomial with mean and dispersion from the decoder, perhaps with more zeros than it has.

    log p(x) = log Γ(x + r) - log Γ(r) - log x! + r log(r / (r + m)) + x log(m / (r + m)); the mass of counts from
    `event.largest` on is lost to the density, as a bound may lose it, and draws are cut there. After Lopez, Regier,
    Cole, Jordan and Yosef (2018), "Deep generative modeling for single-cell transcriptomics", whose library size is
    here a part of the code.
    """

    def __init__(self, event: Discrete, zeros: bool = False) -> None:
        super().__init__(event, 3 if zeros else 2)
        self.zeros, self.inputs = zeros, self.plain_inputs

    def seen(
        self, x: Int[Tensor, "n *event"], marginals: Float[Tensor, "*event outputs"], grid: bool = False
    ) -> Float[Tensor, "n ..."]:
        """Logarithms of the counts, in about unit range."""
        return self.plain(x, grid).to(marginals.dtype)

    def plain(self, x: Shaped[Tensor, "n *event"], grid: bool = False) -> Float[Tensor, "n ..."]:
        scaled = torch.log1p(x.to(torch.float32)) / 3.0
        return scaled if grid else scaled.flatten(1)

    def start(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        values = x.double()
        mean, variance = values.mean(0) + 1e-3, values.var(0, unbiased=False)
        size = (mean**2 / (variance - mean).clamp(min=1e-6 * mean)).clamp(1e-3, 1e3)  # by moments
        parts = [mean.log(), size.log()]
        if self.zeros:
            parts.append(torch.full_like(mean, -3.0))
        return torch.stack(parts, -1).to(torch.float32)

    def laws(
        self, raw: Float[Tensor, "n *event outputs"]
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"]]:
        """log of the mean and of the size r."""
        raw = raw.float()
        return raw[..., 0].clamp(-15, 15), raw[..., 1].clamp(-10, 10)

    def log_prob(
        self,
        raw: Float[Tensor, "n *event outputs"],
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n"]:
        log_mean, log_size = self.laws(raw)
        size, count = log_size.exp(), x.float()
        both = torch.logaddexp(log_mean, log_size)
        gammas = torch.lgamma(count + size) - torch.lgamma(size) - torch.lgamma(count + 1)
        value = gammas + size * (log_size - both) + count * (log_mean - both)
        if self.zeros:
            gate = raw[..., 2].float()
            more, less = nn.functional.logsigmoid(gate), nn.functional.logsigmoid(-gate)
            value = torch.where(x == 0, torch.logaddexp(more, less + value), less + value)
        return _total(value, known)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Int[Tensor, "n *event"]:
        log_mean, log_size = self.laws(raw)
        rate = gamma_draw(log_size.exp(), generator) * (log_mean - log_size).exp()
        x = poisson_draw(rate, generator)
        if self.zeros:
            x = x * (generator.uniform(*self.event.shape) > torch.sigmoid(raw[..., 2].float())).long()
        return x.clamp(max=self.event.largest - 1)

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Int[Tensor, "n *event"]:
        """The rounded mean."""
        return self.mean(raw).round().long().clamp(max=self.event.largest - 1)

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        mean = self.laws(raw)[0].exp()
        return mean * torch.sigmoid(-raw[..., 2].float()) if self.zeros else mean


class Gaussian(Observation):
    """A normal with mean and log-scale from the decoder, in units of the data's own spread; the scale has a floor.

    On a Bounded event the little mass beyond [-1, 1] is lost to the density (which then integrates to less than 1, as a
    bound may), and draws are clamped.
    """

    lowest = -5.0

    def __init__(self, event: Continuous) -> None:
        super().__init__()
        self.event, self.outputs, self.numbers = event, 2, (*event.shape, 2)
        self.inputs = self.plain_inputs = math.prod(event.shape)
        self.spread: Tensor
        self.register_buffer("spread", torch.ones(event.shape))

    def seen(
        self, x: Float[Tensor, "n *event"], marginals: Float[Tensor, "*event outputs"], grid: bool = False
    ) -> Float[Tensor, "n ..."]:
        scaled = x / self.spread - marginals[..., 0].detach()
        return scaled if grid else scaled.flatten(1)

    def plain(self, x: Float[Tensor, "n *event"], grid: bool = False) -> Float[Tensor, "n ..."]:
        scaled = x / self.spread
        return scaled if grid else scaled.flatten(1)

    def start(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "*event outputs"]:
        self.spread.copy_(x.std(0, unbiased=False).clamp(min=1e-3))
        return torch.stack((x.mean(0) / self.spread, torch.full_like(self.spread, -0.5)), -1)

    def normal(self, raw: Float[Tensor, "n *event 2"]) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"]]:
        """Mean and log-scale in the data's unit, the log-scale smoothly above its floor."""
        mean, free = raw.float().unbind(-1)
        log_std = self.lowest + torch.nn.functional.softplus(free - self.lowest)
        return mean * self.spread, log_std + self.spread.log()

    def log_prob(
        self,
        raw: Float[Tensor, "n *event outputs"],
        x: Float[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"] | None = None,
    ) -> Float[Tensor, "n"]:
        mean, log_std = self.normal(raw)
        return _total(normal_log_prob(x, mean, log_std), known)

    def draw(self, raw: Float[Tensor, "n *event outputs"], generator: Streams) -> Float[Tensor, "n *event"]:
        mean, log_std = self.normal(raw)
        x = mean + log_std.exp() * generator.normal(*self.event.shape)
        return x.clamp(-1.0, 1.0) if isinstance(self.event, Bounded) else x

    def mode(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        mean = self.normal(raw)[0]
        return mean.clamp(-1.0, 1.0) if isinstance(self.event, Bounded) else mean

    def mean(self, raw: Float[Tensor, "n *event outputs"]) -> Float[Tensor, "n *event"]:
        return self.mode(raw)


class Product(Observation):
    """An observation model for each part of a product event, such as the columns of a mixed table."""

    def __init__(self, event: Mapping[str, Event], kind: str, components: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({key: observation_model(part, kind, components) for key, part in event.items()})
        self.inputs = sum(part.inputs for part in self._each())
        self.plain_inputs = sum(part.plain_inputs for part in self._each())
        self.outputs = sum(math.prod(part.numbers) for part in self._each())
        self.numbers = (self.outputs,)

    def _each(self) -> list[Observation]:
        return list(self.parts.values())  # type: ignore[arg-type]

    def split(self, raw: Float[Tensor, "*n outputs"]) -> dict[str, Tensor]:
        """The numbers of each part, in its shape."""
        sizes = [math.prod(part.numbers) for part in self._each()]
        pieces = raw.split(sizes, -1)
        return {
            key: piece.reshape(*piece.shape[:-1], *part.numbers)
            for key, piece, part in zip(self.parts, pieces, self._each(), strict=True)
        }

    def seen(self, x: dict[str, Any], marginals: Float[Tensor, "outputs"], grid: bool = False) -> Float[Tensor, "n _"]:
        of = self.split(marginals)
        return torch.cat([part.seen(x[key], of[key]) for key, part in zip(self.parts, self._each(), strict=True)], 1)

    def mean(self, raw: Float[Tensor, "n outputs"]) -> dict[str, Any]:
        return {key: self.parts[key].mean(part) for key, part in self.split(raw).items()}  # type: ignore[operator]

    def plain(self, x: dict[str, Any], grid: bool = False) -> Float[Tensor, "n _"]:
        return torch.cat([part.plain(x[key]) for key, part in zip(self.parts, self._each(), strict=True)], 1)

    def start(self, x: dict[str, Any]) -> Float[Tensor, "outputs"]:
        return torch.cat([part.start(x[key]).flatten() for key, part in zip(self.parts, self._each(), strict=True)])

    def log_prob(
        self, raw: Float[Tensor, "n outputs"], x: dict[str, Any], known: dict[str, Any] | None = None
    ) -> Float[Tensor, "n"]:
        return torch.stack(
            [
                self.parts[key].log_prob(part, x[key], None if known is None else known[key])  # type: ignore[operator]
                for key, part in self.split(raw).items()
            ]
        ).sum(0)

    def draw(self, raw: Float[Tensor, "n outputs"], generator: Streams) -> dict[str, Any]:
        return {key: self.parts[key].draw(part, generator) for key, part in self.split(raw).items()}  # type: ignore[operator]

    def mode(self, raw: Float[Tensor, "n outputs"]) -> dict[str, Any]:
        return {key: self.parts[key].mode(part) for key, part in self.split(raw).items()}  # type: ignore[operator]


def observation_model(event: Event, kind: str, components: int) -> Observation:
    """The observation model of an event; `kind` is that of classes, "auto" one that suits them."""
    if isinstance(event, dict):
        return Product(event, "of a row" if kind == "auto" else kind, components)
    if isinstance(event, Continuous):
        return Gaussian(event)
    free = kind in ("auto", "of a row")  # columns of two classes have two numbers, like those of more
    counts = kind in ("nb", "zinb") or (free and len(event.shape) == 1 and event.largest >= MANY)
    if counts and not event.uneven:
        return NegativeBinomial(event, kind == "zinb")
    if kind == "bernoulli" or (kind == "auto" and event.largest == 2 and not event.uneven):
        return Bernoulli(event)
    ordered = kind == "logistic" or (free and len(event.shape) >= 3 and event.largest >= 8)
    return LogisticMixture(event, components) if ordered and not event.uneven else Categorical(event)


def of_then(options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], first: str) -> Mapping[str, Any]:
    """The options under which weights of these shapes arose: "auto" took two numbers for two classes before.

    `first` is the name of the first weights of an encoder that is no convolution: they then have a column for each of
    the two classes.
    """
    numbers, seen = shapes.get("marginals", ()), shapes.get(first, ())
    if options.get("observation", "auto") != "auto" or not numbers or numbers[-1] != 2:
        return options
    if "likelihood.spread" in shapes:  # of a Gaussian: mean and scale
        return options
    convolution = len(numbers) == 4 and len(seen) != 2
    pairs = len(seen) > 1 and seen[1] == math.prod(numbers)
    return {**options, "observation": "categorical"} if convolution or pairs else options
