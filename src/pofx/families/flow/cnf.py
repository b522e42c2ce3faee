"""Continuous normalizing flows: z becomes x along dx/dt = v(x, t) from time 0 to 1; densities follow the divergence.

    log p(x) = log N(z) - ∫_0^1 div v dt   (Chen et al., 2018, arXiv 1806.07366, eq. 8), integrated from 1 back to 0

with the exact divergence, or the estimate u·J u with one vector u of random signs for the whole path (FFJORD, Grathwohl
et al., 2019, arXiv 1810.01367). Training follows the likelihood through a solver of few steps and may punish the
kinetic energy and the Jacobian of the field (Finlay et al., 2020, arXiv 2002.02798), which keeps the paths straight and
short to compute. Answers come from an adaptive solver in which every item takes its own steps (`maths.ode`).
"""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
import torchdiffeq
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Event, dims
from pofx.core.model import Batch, Density
from pofx.core.options import Depth, NonNegative, OneOf, OpenUnit, Range, Width
from pofx.core.random import Streams
from pofx.families.flow.composition import ActNorm, Bijection, Composition
from pofx.families.flow.flow import Flow
from pofx.maths.distributions import near_items, normal_log_prob
from pofx.maths.estimates import standard_error
from pofx.maths.ode import dopri5
from pofx.nets.vector.field import Field

EXACT_DIMS = 64  # up to here a density has the exact divergence
TRAINED_EXACTLY = 3  # up to here training has it too: beyond, an estimate is cheaper and as good
ROWS = 2**16  # items times tangents that are integrated at once
FIXED = ("euler", "midpoint", "rk4")
ADAPTIVE = ("adaptive_heun", "bosh3", "dopri5", "dopri8")
GRADIENTS = ("direct", "adjoint")

Signs = Float[Tensor, "k n d"]


class Transport(Bijection):
    """The path from x, at time 1, to z, at time 0, and back; `tolerance` is that of every step of every item."""

    def __init__(self, field: Field, features: int, tolerance: float) -> None:
        super().__init__()
        self.field, self.features, self.tolerance = field, features, tolerance
        self.evaluations = 0  # of the field, in the last solve, for the slowest item

    def axes(self, x: Float[Tensor, "n d"]) -> Signs:
        """The tangents that give the exact divergence."""
        eye = torch.eye(self.features, dtype=x.dtype, device=x.device)
        return eye[:, None, :].expand(-1, len(x), -1)

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        z, ladj = self.solve(x, context, 1.0, 0.0, self.axes(x))
        return z, ladj[0]

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        return self.solve(y, context, 0.0, 1.0)[0]

    def solve(
        self,
        x: Float[Tensor, "n d"],
        context: Float[Tensor, "n context"] | None,
        start: float,
        stop: float,
        tangents: Signs | None = None,
        *,
        apart: bool = False,
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "numbers n"]]:
        """Where x leads, and the integral of Σ u·J u over the tangents u: (1, n), or (k, n) with each u `apart`.

        Warns:
            RuntimeWarning: some steps missed the tolerance though they were as short as steps get.
        """
        d, numbers = self.features, 0 if tangents is None else len(tangents) if apart else 1

        def slope(state: Tensor, t: Tensor, items: Tensor) -> Tensor:
            given = None if context is None else context[items]
            if tangents is None:
                return self.field(state, t, given)[0]
            u = tangents[:, items]
            v, turned = self.field(state[:, :d], t, given, u)
            each = (turned * u).sum(-1).T
            return torch.cat((v, each if apart else each.sum(1, keepdim=True)), 1)

        state = torch.cat((x, x.new_zeros(len(x), numbers)), 1)
        state, evaluations, missed = dopri5(slope, state, start, stop, self.tolerance)
        self.evaluations = int(evaluations.max()) if len(x) else 0
        if bool((missed > 0).any()):
            late = int((missed > 0).sum())
            warnings.warn(f"the paths of {late} items missed the tolerance {self.tolerance:g}", RuntimeWarning)
        return state[:, :d], state[:, d:].T


class CNF(Flow):
    """Continuous normalizing flow (FFJORD): exact density up to 64 numbers, an unbiased estimate beyond; exact codes.

    Args:
        width, depth: of the field's perceptron; depth counts hidden layers.
        octaves: sines and cosines of the inputs that the field also sees; None is 3 for an event of at most 3
            dimensions, and 0 for a larger one.
        solver: of training, by torchdiffeq: "euler", "midpoint" or "rk4" with `training_steps` steps between times that
            are moved at random; "adaptive_heun", "bosh3", "dopri5" or "dopri8" with `training_tolerance`.
        gradient: "direct" goes back through the solver; "adjoint" solves a second equation, in constant memory.
        kinetic, jacobian: weights of ∫ |v|² dt and ∫ |∂v/∂x|² dt in training, in nats per unit: fields that are as
            smooth as the data lets them be (Finlay et al., 2020, arXiv 2002.02798).
        tolerance: of every step of an item in density, samples and codes (Dormand-Prince 5(4), float32 by default).
        probes: random vectors of the divergence estimate where the event has more than 64 numbers.
        context: width of the condition's embedding.
    """

    name = "cnf"
    source = "Grathwohl et al., 2019, arXiv 1810.01367; Chen et al., 2018, arXiv 1806.07366"
    adjustable = ("tolerance", "probes")
    trains_with = {"optimizer": "muon", "lr": 6e-3, "batch_size": 256}
    small = {"width": 16, "depth": 2, "octaves": 0, "training_steps": 2, "tolerance": 2e-4}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 64,
        depth: Depth = 3,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        solver: Annotated[str, OneOf(*FIXED, *ADAPTIVE)] = "rk4",
        training_steps: Depth = 14,
        training_tolerance: OpenUnit = 1e-3,
        gradient: Annotated[str, OneOf(*GRADIENTS)] = "direct",
        kinetic: NonNegative = 0.003,
        jacobian: NonNegative = 0.003,
        tolerance: OpenUnit = 1e-5,
        probes: Depth = 1,
        context: Width = 64,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.width, self.depth, self.octaves, self.solver = width, depth, octaves, solver
        self.training_steps, self.training_tolerance, self.gradient = training_steps, training_tolerance, gradient
        self.kinetic, self.jacobian = kinetic, jacobian
        self.tolerance, self.probes, self.context = tolerance, probes, context
        d, size = dims(event), context if condition is not None else 0
        waves = octaves if octaves is not None else (3 if d <= 3 else 0)
        transport = Transport(Field(d, width, depth, context=size, octaves=waves), d, tolerance)
        self.flow = Composition(event, condition, context, [ActNorm(d), transport])

    @property
    def density(self) -> Density:
        return Density.EXACT if dims(self.event) <= EXACT_DIMS else Density.ESTIMATE

    @property
    def transport(self) -> Transport:
        """The last bijection of the chain."""
        last = self.flow.parts[-1]
        assert isinstance(last, Transport)
        return last

    @property
    def evaluations(self) -> int:
        """Evaluations of the field in the last density, sample or code, for the slowest item of its last batch."""
        return self.transport.evaluations

    # training

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.transport.field.matrices

    def prepare(self, take: Callable[[int], Batch]) -> None:
        batch = take(2048)
        for part in self.flow.bijections[:-1]:
            part.start(batch.x.reshape(len(batch.x), self.flow.features))

    def loss(self, batch: Batch) -> Float[Tensor, ""] | dict[str, Float[Tensor, ""]]:  # type: ignore[override]
        x = batch.x
        with torch.autocast(x.device.type, enabled=False):
            context = self.flow.embed(batch.condition)
            flat, ladj = self._whitened(x, context)
            signs = 2.0 * torch.randint(0, 2, (1, *flat.shape), device=x.device).to(flat.dtype) - 1.0
            tangents = self.transport.axes(flat) if self.flow.features <= TRAINED_EXACTLY else signs
            z, way, energy, turning = self._train_way(flat, context, tangents)
            log_p = normal_log_prob(z).sum(-1) + ladj + way
        losses = {"nll": -log_p.mean()}
        if self.kinetic:
            losses["kinetic"] = self.kinetic * energy.mean()
        if self.jacobian:
            losses["jacobian"] = self.jacobian * turning.mean()
        return losses if len(losses) > 1 else losses["nll"]

    def _train_way(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None, tangents: Signs
    ) -> tuple[Tensor, ...]:
        """z, the log-determinant, ∫ |v|² dt and ∫ |∂v/∂x|² dt, by the solver of training."""
        field = self.transport.field

        def slope(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            v, turned = field(state[0], t[None], context, tangents)
            return v, (turned * tangents).sum((0, 2)), -v.square().sum(1), -turned.square().sum((0, 2))

        state = (x, *(x.new_zeros(len(x)) for _ in range(3)))
        how: dict[str, Any] = {"method": self.solver}
        if self.solver in FIXED:
            how["options"] = {"grid_constructor": lambda func, y0, t: self._grid(t)}
        else:
            how |= {"rtol": self.training_tolerance, "atol": self.training_tolerance}
        times = torch.tensor([1.0, 0.0], dtype=x.dtype, device=x.device)
        if self.gradient == "direct":
            ends = torchdiffeq.odeint(slope, state, times, **how)
        else:
            followed: list[Tensor] = [p for p in field.parameters() if p.requires_grad]
            followed += [context] if context is not None and context.requires_grad else []
            ends = torchdiffeq.odeint_adjoint(slope, state, times, adjoint_params=tuple(followed), **how)
        return tuple(end[-1] for end in ends)

    def _grid(self, ends: Float[Tensor, "2"]) -> Float[Tensor, "times"]:
        """The times between which training steps: inner ones move at random by up to half a step in either direction.

        Steps that always meet the same times are exploited: the field gains likelihood from the solver's error there.
        """
        share = torch.arange(self.training_steps + 1, dtype=ends.dtype, device=ends.device)
        share[1:-1] += torch.rand(self.training_steps - 1, dtype=ends.dtype, device=ends.device) - 0.5
        return ends[0] + (ends[1] - ends[0]) * share / self.training_steps

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The density as it will be evaluated, whatever solver trains."""
        return -self.log_prob(batch.x, batch.condition).mean()

    # use

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        with torch.autocast(x.device.type, enabled=False):
            context = self.flow.embed(condition)
            return self.transport.solve(self._whitened(x, context)[0], context, 1.0, 0.0)[0].reshape(x.shape)

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        exact: bool | None = None,
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """log p(x | condition) in nats and its standard error over the probes: 0 with the exact divergence.

        The probes are a function of the item, so that the same x has the same answer; one shows no error: nan.
        """
        exact = self.flow.features <= EXACT_DIMS if exact is None else exact
        x, far = near_items(x)
        with torch.autocast(x.device.type, enabled=False):
            context = self.flow.embed(condition)
            flat, ladj = self._whitened(x, context)
            if exact:
                tangents = self.transport.axes(flat)
            else:
                streams = Streams.of_items(0, x)
                signs = streams.integers(2, self.probes, self.flow.features).transpose(0, 1)
                tangents = 2.0 * signs.to(flat.dtype) - 1.0
            rows, values, errors, most = max(1, ROWS // (len(tangents) + 1)), [], [], 0
            for at in range(0, max(len(flat), 1), rows):
                part = slice(at, at + rows)
                given = None if context is None else context[part]
                z, ways = self.transport.solve(flat[part], given, 1.0, 0.0, tangents[:, part], apart=not exact)
                most = max(most, self.transport.evaluations)
                values.append(normal_log_prob(z).sum(-1) + ways.mean(0))
                errors.append(torch.zeros_like(values[-1]) if exact else standard_error(ways))
            self.transport.evaluations = most
        return (torch.cat(values) + ladj).masked_fill(far, -math.inf), torch.cat(errors)

    def _whitened(
        self, x: Float[Tensor, "n *event"], context: Float[Tensor, "n context"] | None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        """What comes before the transport: a shift and a scale of every dimension."""
        z, total = x.reshape(len(x), self.flow.features), torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for part in self.flow.bijections:
            if part is not self.transport:
                z, ladj = part(z, context)
                total = total + ladj
        return z, total
