"""A divergence head: log p of a diffusion or flow-matching run in a few passes, without a gradient.

Along the probability flow log p changes by the trace of the Jacobian J of the velocity, which costs a gradient for
every probe and step. Here a second network beside the frozen run learns the diagonal of J, number by number, from one
random probe per item (Hutchinson's estimate is unbiased, so that the mean is learned); after Ai et al., 2025, arXiv
2512.02636, whose head gives the trace over a step. With w = log tan(angle), log p(x) = log N(x_1) + ∫ sum_i g_i dw,
g = J_ii sin cos <= cos², which vanishes at both ends: equal steps in w converge fast (Trefethen and Weideman, 2014).
The gap to the adaptive solver is measured on a few draws of the run, and stated.
"""

import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.companion import Foundation
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.generative import Smoothed
from pofx.core.model import Batch, Density, OnePhase, Stepwise
from pofx.core.options import Depth, OneOf, Range
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import Context, Denoiser
from pofx.families.diffusion.diffusion import EXACT_DIMS, FEW, GRID, NETWORKS, TOLERANCE, Diffusion
from pofx.families.diffusion.probability_flow import NOISE, carried, likelihood
from pofx.maths.distributions import near_items, normal_log_prob, sum_event
from pofx.nets.image.grid_input import GridCondition, grid_condition_of
from pofx.nets.vector.conditioner import CONDITIONS

FIRST, LAST = -9.0, 2.0  # log ratios of noise to data between which the volume changes
SMALL = 0.02  # share of the most that a number's volume can change, below which the beginning is not looked at
FEWEST = 4  # steps
DROPPED = 0.1  # share of conditions that are left out in training
DRAWS = 16  # of the run, on which the gap to the adaptive solver is measured
EDGES = (3 / 8, 7 / 6, 23 / 24)  # Gregory's rule at the end of an interval


class DivergenceHead(OnePhase, Smoothed, Stepwise):
    """log p of a frozen diffusion run in few passes: a network of the divergence.

    Args:
        run: a diffusion or flow-matching run, which stays as it is; samples are its own.
        network: of the head: "mlp", "unet", "dit" or "auto", as in `flow-matching`.
        width: of the network; 0 takes 32 channels (unet), 128 features (dit) or 256 units (mlp; 128 up to 3 numbers).
        depth: residual blocks, or layers.
        patch: side of the transformer's patches; 0 takes a seventh of the longest side.
        grid_condition: how grids in the condition enter the head: "concatenate" or "embed", as in `flow-matching`; None
            is chosen by their sides, and saved as chosen.
        likelihood_steps: passes of the run and of the head for log p.
    """

    name: ClassVar[str] = "divergence-head"
    source: ClassVar[str] = "Ai et al., 2025, arXiv 2512.02636"
    events: ClassVar = (Bounded, Continuous)
    ranks: ClassVar = (1, 2, 3, 4)
    conditions: ClassVar = CONDITIONS
    best_density: ClassVar = Density.ESTIMATE
    adjustable: ClassVar = ("likelihood_steps",)
    trains_with: ClassVar = {"ema_images": 50_000, "validations": 8, "validation_items": 500}
    small: ClassVar = {"network": "mlp", "width": 64, "depth": 2}
    unstated: ClassVar = {"grid_condition": "embed"}

    begin: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        run: Foundation | None = None,
        network: Annotated[str, OneOf(*NETWORKS)] = "auto",
        width: Annotated[int, Range(0, 8192)] = 0,
        depth: Depth = 2,
        patch: Annotated[int, Range(0, 1024)] = 0,
        grid_condition: GridCondition | None = None,
        likelihood_steps: Annotated[int, Range(FEWEST, 100_000)] = 8,
    ) -> None:
        super().__init__(event, condition)
        if run is None:
            raise UsageError(f"{self.label} is trained beside a diffusion run: pass run=, the folder of the run")
        run.having(Diffusion)
        self.run = run
        assert isinstance(event, Continuous)
        rank, count = len(event.shape), dims(event)
        taken = network
        if network == "auto":
            taken = "unet" if rank > 1 and count >= GRID and min(event.shape[1:]) > 1 else "mlp"
        self.network, self.width, self.depth, self.patch = network, width, depth, patch
        self.likelihood_steps, self.shape = likelihood_steps, event.shape
        self.grid_condition = grid_condition_of(grid_condition, event, condition)
        self.head = Denoiser(
            event,
            condition,
            network=taken,
            width=width or {"unet": 32, "dit": 128, "mlp": 128 if count <= FEW else 256}[taken],
            depth=depth,
            dropout=0.0,
            octaves=3 if count <= FEW else 0,
            patch=patch or max(1, -(-max(event.shape[1:], default=1) // 7)),
            grid_condition=self.grid_condition,
        )
        self.register_buffer("begin", torch.tensor(FIRST))
        self._gaps: dict[tuple[int, float], tuple[float, float]] = {}  # of passes and noise
        self._ratio = 0.0  # of noise to data, in the last log p

    # the run

    @property
    def base(self) -> Diffusion:
        """The model of the run; frozen, and no part of this one's weights."""
        return self.run.having(Diffusion)

    @property
    def steps(self) -> int:
        """Steps of the sampler of the run."""
        return self.base.steps

    @steps.setter
    def steps(self, value: int) -> None:
        self.base.steps = value

    @property
    def spread(self) -> Tensor:
        return self.base.spread

    def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """That of the run."""
        return self.base.schedule(t)

    def denoise(self, x_t: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """That of the run."""
        return self.base.denoise(x_t, t, self._own(condition))

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Tensor:
        """As the run draws."""
        self.check_condition(n, condition)
        return self.base.sample(n, self._own(condition), generator=generator)

    def _own(self, condition: Condition | None) -> Condition | None:
        return condition if self.base.condition == self.condition else None

    def _context(self, n: int, condition: Condition | None, drop: Tensor | None = None) -> Context | None:
        net, own = self.base.denoiser, self._own(condition)
        with torch.no_grad():
            return net.free(n) if own is None else net.embed(own, drop)

    # training

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Find the level of noise below which the volume no longer changes: the finest scale of the run."""
        batch = take(min(2000, max(64, 20_000 // dims(self.event))))
        if self.head.grids is not None:
            self.head.grids.measure(batch.condition)
        x = self.base.denoiser.standardised(batch.x.float())
        context, streams = self._context(len(x), batch.condition), Streams(0, len(x), device=x.device)
        for w in torch.arange(LAST - 3, FIRST, -0.5):
            y, phi = _noised(x, w.expand(len(x)).to(x), streams.normal(*self.shape))
            _, diagonal = self._diagonal(y, phi, context, 2.0 * streams.integers(2, *self.shape) - 1.0)
            if abs(float(diagonal.mean())) < SMALL:
                self.begin.fill_(float(w))
                return

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared error of the diagonal of the Jacobian, from one probe per item."""
        self._gaps.clear()
        n, device = len(batch), batch.x.device
        u = (torch.randperm(n, device=device) + torch.rand(n, dtype=torch.float32, device=device)) / n
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        drop = None if batch.condition is None else torch.rand(n, device=device) < DROPPED
        return self._loss(batch, u, noise, 2.0 * torch.randint_like(noise, 2) - 1.0, drop)

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss at fixed levels, noises and probes; the spread of the probes is a part of it that cannot fall."""
        streams = Streams(0, len(batch), device=batch.x.device)
        u = ((torch.arange(len(batch), device=batch.x.device) * 0.6180339887498949 + 0.5) % 1.0).float()
        signs = 2.0 * streams.integers(2, *self.shape) - 1.0
        return self._loss(batch, u, streams.normal(*self.shape), signs)

    def _loss(
        self, batch: Batch, u: Tensor, noise: Tensor, signs: Tensor, drop: Tensor | None = None
    ) -> Float[Tensor, ""]:
        x = self.base.denoiser.standardised(batch.x.float())
        begin = float(self.begin) - 0.5
        y, phi = _noised(x, begin + (LAST + 0.5 - begin) * u, noise)
        _, wanted = self._diagonal(y, phi, self._context(len(x), batch.condition, drop), signs)
        found = self.head.velocity(y, phi, self.head.embed(batch.condition, drop))
        return (found.float() - wanted).square().mean()

    def _diagonal(
        self, y: Tensor, phi: Tensor, context: Context | None, signs: Float[Tensor, "n *event"]
    ) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n *event"]]:
        """The velocity of the run, and an unbiased estimate of g, the diagonal of its Jacobian times sin cos."""
        with torch.inference_mode(False), torch.enable_grad():
            at, angles = y.detach().clone().requires_grad_(), phi.clone()
            given = None if context is None else context.copied()
            velocity = self.base.denoiser.velocity(at, angles, given)
            (pulled,) = torch.autograd.grad(velocity, at, signs)
        return velocity.detach(), pulled * signs * _wide(phi.sin() * phi.cos(), y)

    # log p

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats, by `likelihood_steps` passes: (n,); see `gap`."""
        return self.log_prob_smoothed(x, 0.0, condition)[0]

    def log_prob_smoothed(
        self, x: Float[Tensor, "n *event"], noise: float, condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], None]:
        """From the angle on the circle at which noise and data have this ratio: (n,), and no error per item."""
        self.check_condition(len(x), condition)
        net, (x, far) = self.base.denoiser, near_items(x)
        phi, self._ratio = math.atan(noise), noise
        with torch.no_grad():
            y = math.cos(phi) * net.standardised(x.float())
            value = self._along(y, self._context(len(x), condition), self.head.embed(condition), noise)
        volume = dims(self.event) * math.log(math.cos(phi)) - net.scale.log().expand(self.shape).sum()
        return (value + volume).masked_fill(far, -math.inf), None

    def _along(
        self, y: Float[Tensor, "n *event"], context: Context | None, own: Context | None, noise: float = 0.0
    ) -> Float[Tensor, "n"]:
        """log p of standardised items: a two-step exponential rule for the path, equal weights for the volume."""
        n, count = len(y), self.likelihood_steps
        start = math.log(noise) if noise else float(self.begin)
        levels = torch.linspace(start, LAST, count, device=y.device)
        h = float(levels[1] - levels[0])
        tail = 1 / (1 - math.exp(-2 * h))  # beyond both ends g falls by exp(-2 h) a step
        weights = torch.full((count,), h)
        weights[-1] *= tail
        if noise:
            weights[: len(EDGES)] = h * torch.tensor(EDGES)
        else:
            weights[0] *= tail
        total, data, before = torch.zeros(n, device=y.device), y, y
        for k in range(count):
            phi = torch.atan(levels[k].exp())
            sin, cos = float(phi.sin()), float(phi.cos())
            velocity = self.base.denoiser.velocity(y, phi.expand(n), context).float()
            total = total + weights[k] * sum_event(self.head.velocity(y, phi.expand(n), own).float())
            if k == 0 and not noise:
                y = y + 0.5 * float(phi) * velocity  # which has grown in proportion to the angle
            before, data = data, cos * y - sin * velocity  # E[x | x_t], which changes slowly
            if k == count - 1:
                break
            ahead = data if k == 0 else 1.5 * data - 0.5 * before
            following = torch.atan(levels[k + 1].exp())
            ratio = float(following.sin()) / sin
            y = ratio * y + (float(following.cos()) - ratio * cos) * ahead
        cot = cos / sin  # on to pure noise, where it is linear in the cotangent
        end = y / sin - cot * (data - 0.5 * (before - data) / (math.exp(h) - 1))
        return sum_event(normal_log_prob(end)) + total

    def gap(self, n: int = DRAWS, noise: float = 0.0) -> tuple[float, float]:
        """The head's log p less that by the adaptive solver: mean and standard deviation over n draws of the run, in
        nats. They are drawn without the condition, if any, and have noise of this ratio to data."""
        net, run, phi = self.base.denoiser, self.base, math.atan(noise)
        with torch.no_grad():
            context, own, streams = net.free(n), self.head.free(n), Streams(0, n, device=self.begin.device)
            x = carried(net, streams.normal(*self.shape), context, NOISE, 0.0, run.ode_steps)
            y = math.cos(phi) * x + math.sin(phi) * streams.normal(*self.shape)
            mine = self._along(y, context, own, noise)
            count = dims(self.event)
            true = likelihood(
                net, y, context, tolerance=TOLERANCE * count, exact=count <= EXACT_DIMS, probes=max(2, run.probes),
                start=phi,
            ).value  # fmt: skip
        apart = (mine - true).double()
        return float(apart.mean()), float(apart.std())

    def _gap(self) -> tuple[float, float]:
        """`gap` at the noise of the last log p, computed once."""
        key = (self.likelihood_steps, self._ratio)
        if key not in self._gaps:
            self._gaps[key] = self.gap(DRAWS, self._ratio)
        return self._gaps[key]

    def log_prob_error(self) -> float:
        """What all values share: the gap to the adaptive solver, with its own error."""
        mean, std = self._gap()
        return math.hypot(mean, std / DRAWS**0.5)

    def log_prob_note(self) -> str:
        mean, std = self._gap()
        return f"{mean:+.3g} ± {std / DRAWS**0.5:.2g} nats from the adaptive solver on {DRAWS} draws of the run"


def _noised(x: Tensor, w: Float[Tensor, "n"], noise: Tensor) -> tuple[Tensor, Float[Tensor, "n"]]:
    """Standardised items under noise, and their angles."""
    phi = torch.atan(w.exp())
    return _wide(phi.cos(), x) * x + _wide(phi.sin(), x) * noise, phi


def _wide(v: Float[Tensor, "n"], x: Tensor) -> Tensor:
    return v.reshape(-1, *[1] * (x.ndim - 1))
