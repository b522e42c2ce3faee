"""A run as a `torch.distributions.Distribution`, for code that expects one: `log_prob` with gradients, `sample`."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from pofx.artifact import Artifact, run_of
from pofx.conditioned import condition_events, raw_condition
from pofx.core.entry import public
from pofx.core.errors import DataError, Unsupported
from pofx.core.event import select
from pofx.core.model import Density, Explicit
from pofx.core.random import Streams
from pofx.drawing import streams

PUBLIC = ("as_distribution",)


class RunDistribution(Distribution):
    """p(x) of a run over its raw items: points (d,), pixel levels (c, h, w), codes of rows or texts.

    `log_prob` is in nats with the kind of density of the run; noise of a bound is a function of the item. Sampling
    draws its seed from torch's generator.
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(self, run: Artifact, condition: Any = None) -> None:
        self.run, self.condition = run, condition
        with torch.inference_mode():
            one = self._drawn(1, 0)
        self.dtype = one.dtype
        super().__init__(torch.Size(), one.shape[1:], validate_args=False)

    @property
    def support(self) -> Any:
        numbers = constraints.real if self.dtype.is_floating_point else constraints.nonnegative_integer
        return constraints.independent(numbers, len(self.event_shape))

    def __repr__(self) -> str:
        return f"<RunDistribution: {self.run.name}, {self.run.density.name.lower()}, of {tuple(self.event_shape)}>"

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = torch.Size(sample_shape)
        seed = int(torch.randint(1 << 62, ()))
        return self._drawn(max(shape.numel(), 1), seed)[: shape.numel()].reshape(*shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = value.shape[: value.ndim - len(self.event_shape)]
        if value.shape[len(lead) :] != self.event_shape:
            raise DataError(f"value must end in shape {tuple(self.event_shape)} (got {tuple(value.shape)})")
        raw = value.reshape(-1, *self.event_shape).to(self.run.device)
        c = self._events(len(raw), 0)
        view = self.run.representation.under(c)
        x, ladj = view.encode(raw, Streams.of_items(1, raw))
        assert isinstance(self.run.model, Explicit)
        return (self.run.model.log_prob(x, c).double() + ladj.double()).reshape(lead)

    def _events(self, n: int, seed: int) -> Any:
        return condition_events(self.run, raw_condition(self.run, self.condition, n, seed))

    def _drawn(self, n: int, seed: int) -> Tensor:
        c = self._events(n, seed)
        events, inside = streams(seed, n, self.run.device)
        found = []
        for i in range(0, n, 500):
            at = slice(i, i + 500)
            given = None if c is None else select(c, at)
            x = self.run.model.sample(len(events[at]), given, generator=events[at])
            found.append(self.run.representation.under(given).drawn(x, inside[at]))
        return torch.cat(found)


@public
def as_distribution(run: Any, condition: Any = None) -> RunDistribution:
    """A run as a torch Distribution over raw tensors, given one condition where it was trained with any.

    Raises:
        Unsupported: the run has no density, or was trained with a condition and none is given.
    """
    run = run_of(run)
    if run.density is Density.NONE:
        raise Unsupported(f"{run.name} has no density: a distribution needs one")
    if run.conditioning is not None and condition is None:
        raise Unsupported(f"{run.name} was trained with a condition: pass condition=, one value")
    return RunDistribution(run, condition)
