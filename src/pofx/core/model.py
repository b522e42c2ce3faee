"""Models: what every family of p(x) must offer, and the capabilities that some of them have.

A model owns its losses (`phases`), the trainer owns the optimisers. A capability is an abstract class with the method
that proves it (`Explicit`, `Encoding`); `isinstance` finds it. Those of fewer models are in `generative`.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Condition, Discrete, Event, check, count, dims
from pofx.core.options import Checked, Temperature
from pofx.core.random import Streams

PUBLIC = ("Density",)

X = Any  # Tensor, or dict[str, Tensor] for a product event


class Density(IntEnum):
    """The kind of a log_prob. ESTIMATE: unbiased or converging, with an error; RELATIVE: up to a constant."""

    NONE = 0
    RELATIVE = 1
    ESTIMATE = 2
    BOUND = 3
    EXACT = 4


@dataclass(frozen=True)
class Batch:
    """n items: events `x`, their conditions, and one number (n,) for each where the objective compares with one."""

    x: X
    condition: X | None = None
    target: Tensor | None = None

    def __len__(self) -> int:
        return count(self.x)


@dataclass(frozen=True)
class Phase:
    """One descent: these parameters follow this loss.

    Args:
        loss: of a batch: a scalar, a mean over the batch, or named scalars whose sum is descended, logged one by one.
        every: steps between two descents.
        repeats: descents in a row, each on a fresh batch.
        rate: factor on the trainer's learning rate.
        after: called after each descent with the losses that led it, by name.

    Two phases have the same parameters, or none in common.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    loss: Callable[[Batch], Tensor | dict[str, Tensor]]
    every: int = 1
    repeats: int = 1
    rate: float = 1.0
    after: Callable[[Mapping[str, Tensor]], None] | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or self.repeats < 1:
            raise UsageError(
                f"every and repeats of phase '{self.name}' must be at least 1 (got {self.every} and {self.repeats})"
            )
        if not 0 < self.rate < math.inf:
            raise UsageError(f"rate of phase '{self.name}' must be positive (got {self.rate}): pass rate=1.0")


@dataclass(frozen=True)
class Default:
    """Where a model is taken though none is named: by `fit`, and for its family by `compare`, for events of this type
    with so many axes and at least so many dimensions; by `compare` alone with `family`. Without a type: for its
    family, for all events that it models. `mixed`: before others where the view of the items is one of mixed types."""

    event: type | None = None
    rank: int = 1
    least: int = 0
    family: bool = False
    mixed: bool = False

    def fits(self, event: Event) -> bool:
        if self.event is None:
            return False
        if isinstance(event, dict) or self.event is dict:
            return isinstance(event, self.event)
        return type(event) is self.event and len(event.shape) == self.rank and dims(event) >= self.least


@dataclass(frozen=True)
class Recipe:
    """A historical model that is a choice of parts: named constructor values of a core, with their source.

    `summary` and `density` are its line in `pofx models` and the kind of its log_prob where they are not the core's;
    `view` is the view of items that it takes where they have it.
    """

    name: str
    source: str
    values: Mapping[str, Any]
    trains_with: Mapping[str, Any] | None = None
    default_for: tuple[Default, ...] = ()
    summary: str = ""
    density: Density | None = None
    view: str = ""


class Model(Checked, nn.Module, ABC):
    """A distribution over an event, perhaps given a condition.

    Subclasses state their class variables, call `super().__init__(event, condition)`, and keep every other constructor
    argument, a plain value, under its own name: together these are the configuration that is saved.
    """

    name: ClassVar[str] = ""  # as users write it; empty when only the recipes have names
    source: ClassVar[str] = ""  # authors, year, arXiv number
    events: ClassVar[tuple[type, ...]] = ()  # event kinds it can model, the preferred one first
    ranks: ClassVar[tuple[int, ...]] = (1, 3)  # lengths of event.shape it can model
    unequal: ClassVar[bool] = False  # whether discrete events may differ in their classes by dimension
    conditions: ClassVar[tuple[type, ...]] = ()  # condition kinds it accepts
    adjustable: ClassVar[tuple[str, ...]] = ()  # constructor values that may change after training
    trains_with: ClassVar[Mapping[str, Any]] = {}  # trainer options under which it trains well
    small: ClassVar[Mapping[str, Any]] = {}  # constructor values of the smallest useful size, for tests
    recipes: ClassVar[tuple[Recipe, ...]] = ()
    default_for: ClassVar[tuple[Default, ...]] = ()  # where it is taken though no model is named
    baseline: ClassVar[bool] = False  # a classical model that every comparison holds, beside those of the families
    former: ClassVar[Mapping[str, str]] = {}  # constructor values by the names that earlier versions saved
    unstated: ClassVar[Mapping[str, Any]] = {}  # constructor values of saved runs from before they were options
    exempt: ClassVar[Mapping[str, str]] = {}  # laws of the conformance suite that cannot hold → the reason

    def __init__(self, event: Event, condition: Event | None = None) -> None:
        super().__init__()
        kind = type(event)
        if not issubclass(kind, self.events):
            wanted = " or ".join(e.__name__ for e in self.events)
            raise Unsupported(f"{self.label} models {wanted} events (got {kind.__name__}): choose another model")
        if not isinstance(event, dict) and len(event.shape) not in self.ranks:
            raise Unsupported(
                f"{self.label} models events with {' or '.join(map(str, self.ranks))} axes (got shape {event.shape})"
            )
        if isinstance(event, Discrete) and event.uneven and not self.unequal:
            raise Unsupported(
                f"{self.label} needs as many classes in every dimension (got {_some(event.counts)}): "
                "choose another model"
            )
        if condition is not None and not issubclass(type(condition), self.conditions or ()):
            wanted = " or ".join(e.__name__ for e in self.conditions) or "no"
            raise Unsupported(f"{self.label} takes {wanted} conditions: train it without --condition")
        self.event, self.condition = event, condition

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """The name, constructor values and weights of a run of format 1 as they are today (`former` follows)."""
        return name, options, weights

    @classmethod
    def recognised(cls, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
        """The constructor values of stored weights of these shapes, where a choice left open was another one then."""
        return options

    @property
    def label(self) -> str:
        return self.name or type(self).__name__

    @abstractmethod
    def phases(self) -> Iterable[Phase]:
        """Which parameters descend which loss, and how often."""

    @abstractmethod
    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        """n events, the i-th drawn from stream i of `generator` alone; `len(condition)` must be n."""

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start from the data, once before training: `take(n)` gives at most n training items. Default: nothing."""

    def matrices(self) -> Iterable[nn.Parameter]:
        """The weights (a, b) of maps between hidden layers, which the optimiser "muon" may take. Default: none."""
        return ()

    def suited(self) -> Mapping[str, Any]:
        """Options of the trainer that suit the network as it was built, over those of `trains_with`. Default: none."""
        return {}

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """A number to select weights by, lower is better, a batch mean; None if no loss is informative (as in GANs)."""
        return None

    def telemetry(self) -> Mapping[str, Tensor | float]:
        """Numbers about the last step beside its losses, never descended: for the log and the report. Default: none."""
        return {}

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        """What is wrong with a training, by name: sentences that each name a fix, given its latest numbers; an empty
        one where an earlier fault of this name is over.

        Args:
            numbers: telemetry and validation by name, with "share" of the budget that is spent. Default: nothing.
        """
        return {}

    def forward(self, phase: str, batch: Batch) -> Tensor | dict[str, Tensor]:
        """The loss of a phase: the one entry for training, so that wrappers (DDP, FSDP, compile) see every loss."""
        return next(p for p in self.phases() if p.name == phase).loss(batch)

    def check_condition(self, n: int, condition: Condition | None) -> None:
        """Refuse a condition that is missing, undeclared or not of length n."""
        if self.condition is None and condition is not None:
            raise Unsupported(f"{self.label} was trained without a condition: sample it without one")
        if self.condition is not None:
            if condition is None:
                raise Unsupported(f"{self.label} was trained with a condition: give one value per item")
            if count(condition) != n:
                raise DataError(f"n must equal len(condition): n is {n}, the condition has {count(condition)}")
            check(self.condition, condition, "condition")


class OnePhase(Model):
    """A model whose parameters all descend one loss."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        """The mean loss of a batch."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss),)

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        loss = self.loss(batch)
        return sum(loss.values()) if isinstance(loss, dict) else loss  # type: ignore[return-value]


class Explicit(Model):
    """A model with a density."""

    best_density: ClassVar[Density]  # the kind at best, for tables of models

    @property
    def density(self) -> Density:
        """The kind of this instance's density, which may be less than the best (an estimate in many dimensions)."""
        return self.best_density

    @abstractmethod
    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: float (n,). Same x, same answer: internal noise has a fixed seed."""

    def log_prob_estimate(
        self, x: X, condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """`log_prob` and its Monte Carlo standard error in nats per item: (n,), (n,), or None where there is no noise.

        The noise is independent between items; what they share is `log_prob_error`.
        """
        return self.log_prob(x, condition), None

    def log_prob_error(self) -> float | None:
        """Standard error in nats that all values share (that of an estimated log Z), or None; no mean reduces it."""
        return None

    def log_prob_evaluations(self) -> int:
        """Evaluations of the network for the slowest item in the last call of `log_prob`."""
        return 1

    def log_prob_note(self) -> str:
        """What a reader of the last values of `log_prob` has to know, in a few words; empty where there is nothing."""
        return ""


class Reparameterised(Explicit):
    """A model whose draws are differentiable in its parameters, and its log_prob in x: one that can be fitted to an
    unnormalised density without data."""

    @abstractmethod
    def rsample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n draws as `sample` makes them, through which gradients flow to the parameters."""


class Weighted(Explicit):
    """A model whose log p(x) is the log of a mean of importance weights over a code that it integrates out."""

    importance: int  # draws in `log_prob`, a constructor value; more of them tighten the bound

    @abstractmethod
    def importance_weights(
        self, x: X, condition: Condition | None = None, *, particles: int, generator: Streams
    ) -> Float[Tensor, "n particles"]:
        """Log-weights log p(x, z) - log q(z | x) of draws z ~ q(z | x): the mean weight is p(x) on average."""

    @abstractmethod
    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[X, Float[Tensor, "n"]]:
        """n events as `sample` draws them, each with the log-weight of the very code that made it: (n,).

        Raises:
            Unsupported: q(z | x) has no density at a given code.
        """


class Factored(Explicit):
    """A model whose log p(x) is a sum of one term per dimension."""

    @property
    def in_order(self) -> bool:
        """Whether each term is given exactly the dimensions before it, in the order of the event."""
        return False

    @abstractmethod
    def log_prob_terms(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The terms of log p(x | condition) in nats, each in the place of its dimension: (n, *event.shape)."""


class Completing(Model):
    """A model that can complete an event of which the first dimensions, in its order of drawing, are known."""

    @abstractmethod
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        prefix: Shaped[Tensor, "n *event"] | None = None,
    ) -> X:
        """n events that equal `prefix` where it is not -1, and are drawn given that elsewhere."""


class Infilling(Model):
    """A model that draws the unknown dimensions of an event given the known ones, whichever these are."""

    @abstractmethod
    def complete(self, x: X, known: X, condition: Condition | None = None, *, generator: Streams) -> X:
        """x where `known`, bool in the shape of x, and draws given that elsewhere."""


class Marginal(Explicit):
    """A model that knows the density of any subset of the dimensions, of the same kind as that of all: `density`.

    Where it is exact the conditional is a difference: log p(a | b) = log p(a, b) - log p(b).
    """

    @abstractmethod
    def log_marginal(self, x: X, known: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p of the known dimensions in nats, the others integrated out; `known` is bool in the shape of x."""


class Tempered(Model):
    """A model whose samples can trade diversity for quality; at other values than the defaults they leave p(x)."""

    @abstractmethod
    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
    ) -> X:
        """As `Model.sample`; a temperature below 1 draws nearer to the modes."""

    @property
    def tempers(self) -> tuple[str, ...]:
        """The names of these options: the keyword arguments of `sample` whose defaults are numbers."""
        arguments = inspect.signature(self.sample).parameters.values()
        return tuple(a.name for a in arguments if type(a.default) in (int, float))


class Stepwise(Model):
    """A model whose sampler takes steps, of which more cost time and bring its draws nearer to the model's p(x)."""

    sampler_steps: int

    @property
    def steps(self) -> int:
        """Evaluations of the network, or sweeps of the chain, for a sample; may be set after training."""
        return self.sampler_steps

    @steps.setter
    def steps(self, value: int) -> None:
        self.sampler_steps = value


class Denoising(Model):
    """A model that estimates x from x_t = alpha(t) x + sigma(t) noise, with t from 0 (data) to 1 (noise).

    Samplers, guidance, distillation and inverse problems need nothing else.
    """

    @abstractmethod
    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """alpha(t) and sigma(t) for a scalar t or one per item (n,), each in a shape that broadcasts over events."""

    @abstractmethod
    def denoise(self, x_t: X, t: Float[Tensor, "*n"], condition: Condition | None = None) -> X:
        """E[x | x_t, condition], in the units of the event, differentiable in x_t; t is a scalar or (n,).

        Without a condition it is E[x | x_t], for models that were trained with conditions left out too.
        """

    @property
    @abstractmethod
    def spread(self) -> Float[Tensor, "..."]:
        """The standard deviation of the data, in a shape that broadcasts over events; sigma is a multiple of it."""


class Encoding(Model):
    """A model with codes."""

    code: Event
    lossless: bool  # whether decode(encode(x)) is x, up to rounding

    @property
    def reads_condition(self) -> bool:
        """Whether codes depend on the condition; where they do not, items are encoded and decoded without one."""
        return True

    @abstractmethod
    def encode(self, x: X, condition: Condition | None = None) -> Shaped[Tensor, "n *code"]:
        """The code of x, deterministic: (n, *code.shape)."""

    @abstractmethod
    def decode(self, z: Shaped[Tensor, "n *code"], condition: Condition | None = None) -> X:
        """The event of a code."""


class Latent(Encoding):
    """An encoding model whose codes carry the density of x: for every density p of codes, E[w p(z)] is at most p(x).

    w is log p(x | z) - log q(z | x) where a code has many x, or log|det dz/dx| where it has one. So a model of its
    codes and this model together have a log p(x).
    """

    @property
    @abstractmethod
    def volume(self) -> Density:
        """EXACT where w p(z) is p(x); BOUND where its mean over codes of x is at most p(x); at least of that kind."""

    @property
    @abstractmethod
    def random_codes(self) -> bool:
        """Whether q(z | x) has many codes of x, so that more draws tighten a bound."""

    @abstractmethod
    def draw_code(self, x: X, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "n *code"]:
        """z ~ q(z | x): what a model of codes is trained on."""

    @abstractmethod
    def weigh_code(
        self, x: X, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[Shaped[Tensor, "n *code"], Float[Tensor, "n"]]:
        """The z of `draw_code`, and log w in nats."""

    @abstractmethod
    def draw_given(self, z: Shaped[Tensor, "n *code"], condition: Condition | None = None, *, generator: Streams) -> X:
        """x ~ p(x | z)."""


def _some(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts[:6])) + (", …" if len(counts) > 6 else "")
