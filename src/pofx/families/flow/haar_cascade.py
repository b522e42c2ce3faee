"""A cascade over the scales of a grid, each by any model: the Haar wavelet makes log p an exact sum.

The wavelet is a rotation x ↔ (coarse, details), so that log p(x) = log p(coarse) + log p(details | coarse), and the
coarse grid may be split again: Li, Basri and Kluger, 2025, arXiv 2501.06999. A small convolutional network reads the
coarse grid and gives each detail a mean and a spread, by its own normal likelihood; a model of the house learns what is
left, given the coarse grid where it takes conditions. Its log p less the logarithms of the spreads is that of the
details: the density is of the kind that the weakest part has.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.config import build, defaults, entries, entry
from pofx.core.errors import Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.model import Batch, Density, Explicit, Model, Phase
from pofx.core.options import OneOf, Range, Width
from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob, sum_event, zero_when_far
from pofx.maths.haar import haar, unhaar
from pofx.nets.image.grid_input import GridCondition
from pofx.nets.vector.conditioner import CONDITIONS

NARROWEST = 7.0  # log of how much narrower than all details those of a place can be, and wider
STARTS = 10_000  # items from which spreads are taken


class Checked(OneOf):
    """Any name or value, in words: the model of the part checks it."""

    def __contains__(self, value: object) -> bool:
        return True


Name = Annotated[str, Checked("a name of `pofx models`")]
Options = Mapping[Annotated[str, Checked("an option of that model")], Annotated[Any, Checked("its value")]]


class Predictor(nn.Module):
    """Coarse grids → mean and log spread of every detail, of standardised numbers; none at first."""

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, 2 * outputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        first, second = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), last)
        self.register_buffer("inner", torch.ones(()))
        self.inner: Tensor
        self.center: Tensor
        self.spread: Tensor
        self.register_buffer("center", torch.zeros(outputs, 1, 1))
        self.register_buffer("spread", torch.ones(outputs, 1, 1))

    def start(self, coarse: Float[Tensor, "n c h w"], details: Float[Tensor, "n outputs h w"]) -> None:
        """Take the spreads of both."""
        self.inner.fill_(float(coarse.std().clamp(min=1e-6)))
        self.center.copy_(details.mean((0, 2, 3))[:, None, None])
        self.spread.copy_(details.std((0, 2, 3)).clamp(min=1e-6)[:, None, None])

    def forward(
        self, coarse: Float[Tensor, "n c h w"]
    ) -> tuple[Float[Tensor, "n outputs h w"], Float[Tensor, "n outputs h w"]]:
        """Means and log spreads in units of the details."""
        mean, free = self.layers(coarse / self.inner).float().chunk(2, 1)
        log_std = NARROWEST * torch.tanh(free / NARROWEST) + self.spread.log()
        return self.center + self.spread * mean, log_std


class HaarCascade(Explicit):
    """One model per scale of a grid, the finer ones given the coarser: exact sum of their log p.

    Args:
        scales: how often the grid is halved; its sides must be divisible so often.
        coarse, details: models of real grids with a density, by name: of the coarsest grid, and of the details of every
            scale given the coarser grid.
        coarse_options, details_options: of these models, by name: {"width": 32}.
        width: channels of the network that predicts details.
        grid_condition: how the coarser grid enters a diffusion of the details, and a grid that is the condition:
            "concatenate" or "embed", where their options have none.
    """

    name: ClassVar[str] = "haar-cascade"
    source: ClassVar[str] = "Li, Basri and Kluger, 2025, arXiv 2501.06999; Haar, 1910"
    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (3,)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.EXACT
    unstated: ClassVar = {"grid_condition": "embed"}
    trains_with: ClassVar = {"batch_size": 64, "optimizer": "muon", "lr": 4e-3, "weight_decay": 0.05, "validations": 16}
    small: ClassVar = {
        "width": 16,
        "coarse_options": {"width": 32, "layers": 1, "components": 4},
        "details_options": {"width": 32, "layers": 1, "components": 4},
    }

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        scales: Annotated[int, Range(1, 8)] = 1,
        coarse: Name = "continuous-gpt",
        details: Name = "continuous-gpt",
        coarse_options: Options | None = None,
        details_options: Options | None = None,
        width: Width = 64,
        grid_condition: GridCondition = "concatenate",
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        channels, high, across = event.shape
        if high % 2**scales or across % 2**scales:
            raise UsageError(
                f"sides must be divisible by {2**scales} for scales={scales} (got {high} and {across}): pass fewer "
                "scales, or pad the grid"
            )
        self.scales, self.coarse, self.details, self.width = scales, coarse, details, width
        self.coarse_options, self.details_options = coarse_options, details_options
        self.grid_condition = grid_condition
        self.parts = nn.ModuleDict()
        self.predictors = nn.ModuleList()
        for k in range(scales):  # the finest first
            shape = (3 * channels, high >> (k + 1), across >> (k + 1))
            given: Event = Continuous((channels, *shape[1:]))
            if condition is not None:
                given = {"coarse": given, "given": condition}
            self.parts[f"details{k}"] = self._built(details, Continuous(shape), given, details_options or {})
            self.predictors.append(Predictor(channels, shape[0], width))
        rest = Continuous((channels, high >> scales, across >> scales))
        self.parts["coarse"] = self._built(coarse, rest, condition, coarse_options or {})

    def _built(self, name: str, event: Event, given: Event | None, options: Mapping[str, Any]) -> Model:
        """A model of a part, given the condition where it takes such ones; the coarsest grid must take it."""
        known = [row.name for row in entries().values() if _fits(row.model)]
        if name not in known:
            raise unknown("model of real grids with a density", name, known)
        row = entry(name)
        takes = given is not None and issubclass(type(given), row.model.conditions or ())
        if given is self.condition and given is not None and not takes:
            raise Unsupported(
                f"{name} takes no {type(given).__name__} condition: choose another model of the coarse grid"
            )
        if "grid_condition" in defaults(row.model):  # None concatenates where there is a grid
            options = {"grid_condition": None if self.grid_condition == "concatenate" else "embed", **options}
        model = build(name, event, given if takes else None, **options)
        if not isinstance(model, Explicit) or model.density < Density.ESTIMATE:
            raise Unsupported(
                f"{name} has no density of real grids: choose one of the flows, continuous-gpt or a diffusion"
            )
        return model

    # scales

    def split(self, x: Float[Tensor, "n c h w"]) -> tuple[list[Tensor], Tensor]:
        """The details of every scale, the finest first, and the coarsest grid."""
        found = []
        for _ in range(self.scales):
            x, details = haar(x)
            found.append(details)
        return found, x

    def seen(self, batch: Batch) -> dict[str, Batch]:
        """What the model of every part learns from: the left details under the coarser grid, and the coarsest grid."""
        x = batch.x.float()
        found = {}
        for k in range(self.scales):
            x, details = haar(x)
            left, _ = self._left(k, x, details)
            found[f"details{k}"] = Batch(left.detach(), self._given(k, x, batch.condition))
        found["coarse"] = Batch(x, batch.condition)
        return found

    def _left(self, k: int, coarse: Tensor, details: Tensor) -> tuple[Tensor, Float[Tensor, "n"]]:
        """Details less what is predicted of them, in predicted spreads, and the log volume of that map."""
        mean, log_std = self.predictors[k](coarse)
        return (details - mean) * (-log_std).exp(), -sum_event(log_std)

    def _given(self, k: int, coarse: Tensor, condition: Condition | None) -> Condition | None:
        wanted = self.part(f"details{k}").condition
        if isinstance(wanted, dict):
            assert condition is not None
            return {"coarse": coarse, "given": condition}  # type: ignore[dict-item]
        return None if wanted is None else coarse

    def part(self, name: str) -> Explicit:
        """The model of a part: "coarse", or "details" with the number of the scale, 0 the finest."""
        model = self.parts[name]
        assert isinstance(model, Explicit)
        return model

    @property
    def density(self) -> Density:
        """Of the kind that the weakest part has."""
        return min(self.part(name).density for name in self.parts)

    # training

    def phases(self) -> tuple[Phase, ...]:
        """The predictors by their normal likelihood, and those of every part, on what it sees."""
        found = [Phase("predictors", tuple(self.predictors.parameters()), self._predicting)]
        for name in self.parts:
            for one in self.part(name).phases():

                def loss(batch: Batch, name: str = name, one: Phase = one) -> Tensor | dict[str, Tensor]:
                    return one.loss(self.seen(batch)[name])

                label = f"{name} {one.name}"
                found.append(Phase(label, one.parameters, loss, one.every, one.repeats, one.rate, one.after))
        return tuple(found)

    def _predicting(self, batch: Batch) -> Float[Tensor, ""]:
        """-log of the normal density of the details, in nats per number."""
        x, total = batch.x.float(), torch.zeros((), device=batch.x.device)
        for k in range(self.scales):
            x, details = haar(x)
            left, volume = self._left(k, x, details)
            total = total - (sum_event(normal_log_prob(left)) + volume).mean()
        return total / dims(self.event)

    def matrices(self) -> Iterable[nn.Parameter]:
        return [p for name in self.parts for p in self.part(name).matrices()]

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Take the spreads of all scales, then start every part on what it will see."""
        x = take(STARTS).x.float()
        for predictor in self.predictors:
            x, details = haar(x)
            assert isinstance(predictor, Predictor)
            predictor.start(x, details)
        for name in self.parts:
            with torch.no_grad():
                self.part(name).prepare(lambda n, name=name: self.seen(take(n))[name])  # type: ignore[misc]

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The sum of those of the parts in proportion to their numbers, and the volume of what is predicted."""
        x, total, size = batch.x.float(), torch.zeros((), device=batch.x.device), dims(self.event)
        for name, one in self.seen(batch).items():
            found = self.part(name).validation(one)
            if found is None:
                return None
            total = total + found * dims(self.part(name).event) / size
        for k in range(self.scales):
            x, details = haar(x)
            total = total - self._left(k, x, details)[1].mean() / size
        return total

    # use

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """The sum of log p of the parts in nats: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """log p and its standard error where a part has one: (n,), (n,) or None."""
        self.check_condition(len(x), condition)
        variances: list[Tensor] = []

        def near(at: Tensor) -> Tensor:
            coarse, total = at.float(), torch.zeros(len(at), device=at.device)
            for k in range(self.scales):
                coarse, details = haar(coarse)
                left, volume = self._left(k, coarse, details)
                value, error = self.part(f"details{k}").log_prob_estimate(left, self._given(k, coarse, condition))
                total = total + value + volume
                variances.extend([] if error is None else [error.square()])
            value, error = self.part("coarse").log_prob_estimate(coarse, condition)
            variances.extend([] if error is None else [error.square()])
            return total + value

        value = zero_when_far(near, x)
        return value, torch.stack(variances).sum(0).sqrt() if variances else None

    def log_prob_error(self) -> float | None:
        """What all values share: that of every part together."""
        errors = [self.part(name).log_prob_error() for name in self.parts]
        shared = [e for e in errors if e is not None]
        return math.hypot(*shared) if shared else None

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """The coarsest grid, then the details of scale after scale: (n, *event)."""
        self.check_condition(n, condition)
        x = self.part("coarse").sample(n, condition, generator=generator)
        for k in reversed(range(self.scales)):
            left = self.part(f"details{k}").sample(n, self._given(k, x, condition), generator=generator)
            mean, log_std = self.predictors[k](x)
            x = unhaar(x, mean + log_std.exp() * left)
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x


def _fits(model: type[Model]) -> bool:
    return issubclass(model, Explicit) and Continuous in model.events and 3 in model.ranks
