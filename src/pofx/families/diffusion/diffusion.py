"""Diffusion and flow matching: learn to remove noise, then walk from noise to data along a path.

One network F learns, for x_t = alpha x + sigma noise, what x_t does not tell linearly about x and the noise: with both
at unit variance its input and its target have unit variance at every time (Karras et al., 2022, arXiv 2206.00364). In
the angle of the quarter circle (see `maths.paths`) F is the velocity of the probability flow itself:

    d x / d angle = F(x, angle),   log p(x_0) = log N(x_1) + ∫ div F d angle   (Song et al., 2021, 2011.13456, eq. 39)

Path, prediction type and distribution of times say how the loss weighs the times; every sampler works with every
trained model, since all of them ask for nothing but E[x | x_t].
"""

import math
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Event, dims, each, select
from pofx.core.model import Batch, Denoising, Density, Encoding, Explicit, OnePhase, Recipe, Stepwise
from pofx.core.options import Count, Depth, Dropout, OneOf, Range, Real, Unit
from pofx.core.random import Streams
from pofx.maths.distributions import normal_log_prob, sum_event
from pofx.maths.divergence import divergence
from pofx.maths.paths import PATHS, PREDICTIONS, angle, loss_weight
from pofx.maths.solvers import SAMPLERS, State, converged, rk4
from pofx.nets.image.unet import UNet
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.mlp import ResidualMLP
from pofx.nets.vector.time import TimeEmbedding

TIMES = ("uniform", "logit-normal")
NETWORKS = ("auto", "mlp", "unet")
NOISE = math.pi / 2  # the angle of pure noise; a path that ends a little earlier is led on to it
FEW = 3  # events of at most so many numbers: what is cheap and sharp there is not so beyond
EXACT_DIMS = 16  # up to here the divergence is an exact trace


class Diffusion(OnePhase, Explicit, Encoding, Denoising, Stepwise):
    """Denoiser along a noising path: fast deterministic or random samplers, a density estimate, invertible codes.

    Args:
        path: "linear", "cosine" or "vp-linear" (maths.paths).
        prediction: "velocity", "epsilon", "x0" or "v": whose squared error the loss is.
        times: "uniform" or "logit-normal" (Esser et al., 2024, arXiv 2403.03206), stratified over the batch.
        network: "mlp" (on the flattened event), "unet" (events with three axes), or "auto": unet from 256 numbers on.
        width: of the network; 0 takes 64 channels (unet) or 512 units (mlp; 256 up to 16 numbers, 128 up to 3).
        depth: residual blocks of the perceptron, or at each resolution of the U-Net.
        dropout: share of hidden channels dropped in training (U-Net only).
        condition_dropout: share of conditions dropped in training, so that `guidance` has something to lean on.
        sampler: "heun", "euler", "ddim", "dpm++2m" or "ancestral".
        steps: of the sampler; Heun's evaluate the network twice.
        guidance: w in unconditional + w (conditional - unconditional): 1 is plain conditional sampling, 0 ignores the
            condition (Ho and Salimans, 2022, arXiv 2207.12598). It touches `sample` alone.
        probes: random vectors of the divergence estimate where the event has more than 16 numbers.
        ode_steps: Runge-Kutta steps of `encode` and `decode`.
    """

    source = "Song et al., 2021, arXiv 2011.13456; Karras et al., 2022, arXiv 2206.00364"
    events = (Bounded, Continuous)
    ranks = (1, 2, 3)
    conditions = CONDITIONS
    best_density = Density.ESTIMATE
    lossless = True
    adjustable = ("sampler", "steps", "guidance", "probes", "ode_steps")
    trains_with = {"precision": "auto", "ema_images": 50_000, "validations": 8, "validation_items": 500}
    small = {"network": "mlp", "width": 64, "depth": 2}
    recipes = (
        Recipe(
            "flow-matching",
            "Lipman et al., 2023, arXiv 2210.02747; Liu et al., 2023, arXiv 2209.03003",
            {"path": "linear", "prediction": "velocity", "sampler": "heun", "steps": 16},
            role="default",
        ),
        Recipe(
            "ddpm",
            "Ho et al., 2020, arXiv 2006.11239",
            {"path": "vp-linear", "prediction": "epsilon", "sampler": "ancestral", "steps": 100},
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        path: Annotated[str, OneOf(*PATHS)] = "linear",
        prediction: Annotated[str, OneOf(*PREDICTIONS)] = "velocity",
        times: Annotated[str, OneOf(*TIMES)] = "uniform",
        network: Annotated[str, OneOf(*NETWORKS)] = "auto",
        width: Annotated[int, Range(0, 8192)] = 0,
        depth: Depth = 2,
        dropout: Dropout = 0.0,
        condition_dropout: Unit = 0.1,
        sampler: Annotated[str, OneOf(*SAMPLERS)] = "heun",
        steps: Count = 16,
        guidance: Annotated[Real, Range(-100, 100)] = 1.0,
        probes: Depth = 1,
        ode_steps: Count = 32,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        if network == "unet" and len(event.shape) != 3:
            raise UsageError(f"network 'unet' takes events with three axes (got {event.shape}): pass network='mlp'")
        self.path, self.prediction, self.times, self.network = path, prediction, times, network
        self.width, self.depth, self.dropout, self.condition_dropout = width, depth, dropout, condition_dropout
        self.sampler, self.steps, self.guidance = sampler, steps, guidance
        self.probes, self.ode_steps = probes, ode_steps
        self.shape, self.code = event.shape, Continuous(event.shape)
        count = dims(event)
        context = 128
        self.few = count <= FEW
        self.octaves, self.draws = (3, 4) if self.few else (0, 1)  # waves that the perceptron sees; noises per item
        self.time = TimeEmbedding(context)
        self.conditioner = Conditioner(condition, context, null=True)
        self.net: nn.Module
        if network == "unet" or (network == "auto" and len(event.shape) == 3 and count >= 256):
            channels, height, wide = event.shape
            sides = (channels, height, wide)
            self.net = UNet(sides, channels, context, width=width or 64, blocks=depth, dropout=dropout)
        else:
            units = width or (128 if self.few else 256 if count <= 16 else 512)
            self.net = ResidualMLP(count * (1 + 2 * self.octaves), count, units, depth, context=context, zero=True)
        first = event.shape[0] if event.shape else 1
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.zeros(first, *[1] * (len(event.shape) - 1)))
        self.register_buffer("scale", torch.ones(first, *[1] * (len(event.shape) - 1)))

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis: channels, or columns."""
        x = take(10_000).x.float()
        rows = x.transpose(0, 1).flatten(1)
        deviation = rows.std(1, correction=0)
        self.center.copy_(rows.mean(1).reshape(self.center.shape))
        self.scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0).reshape(self.scale.shape))

    # the network and what follows from it; x is standardised here and divided by sqrt(alpha² + sigma²)

    def velocity(
        self,
        x: Float[Tensor, "n *event"],
        angles: Float[Tensor, "n"],
        context: Float[Tensor, "n context"] | None = None,
    ) -> Float[Tensor, "n *event"]:
        """F: d x / d angle of the probability flow. x (n, *event), angles (n,) in [0, π/2], context from `embed`."""
        convolves = isinstance(self.net, UNet)
        with nullcontext() if convolves else torch.autocast(x.device.type, enabled=False):
            embedded = self.time(angles * (2 / math.pi))
            if context is not None:
                embedded = embedded + context
            if convolves:
                out: Tensor = self.net(x, embedded)
            else:  # hardly slower in float32, and densities need its digits
                seen = waves(x.float().flatten(1), self.octaves).flatten(1)
                out = self.net(seen, nn.functional.silu(embedded.float())).reshape(x.shape)
        return out.to(x.dtype)

    def embed(
        self, condition: Condition | None, drop: Bool[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n context"] | None:
        """The context of a condition; where `drop` is true, that of no condition."""
        return self.conditioner(condition, drop)  # type: ignore[no-any-return]

    def free(self, n: int) -> Float[Tensor, "{n} context"] | None:
        """The context of no condition, which a conditional model met in training."""
        null = self.conditioner.null
        return None if null is None else null.expand(n, -1)

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """alpha(t), and sigma(t) in units of the event: the noise is as wide as the data along its first axis."""
        point, axes = PATHS[self.path](t), [1] * len(self.shape)
        return point.alpha.reshape(*t.shape, *axes), point.sigma.reshape(*t.shape, *axes) * self.scale

    def denoise(
        self,
        x_t: Float[Tensor, "n *event"],
        t: Float[Tensor, "*n"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t, condition] without guidance: (n, *event)."""
        point = PATHS[self.path](t)
        phi = angle(point)
        alpha, size, cos, sin = (
            v.reshape(*t.shape, *[1] * len(self.shape))
            for v in (point.alpha, (point.alpha**2 + point.sigma**2).sqrt(), phi.cos(), phi.sin())
        )
        x = (x_t - alpha * self.center) / (self.scale * size)
        out = self.velocity(x, phi.expand(len(x)), self.free(len(x)) if condition is None else self.embed(condition))
        return (cos * x - sin * out) * self.scale + self.center

    def denoiser(self, condition: Condition | None, *, clip: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
        """denoise(x_t, t) = E[x | x_t], guided, of standardised x; `clip` keeps it in the bounds of the event."""
        path, w = PATHS[self.path], self.guidance if condition is not None else 1.0
        wanted = self.embed(condition)
        free = None
        if w != 1.0 and wanted is not None:
            free = self.embed(condition, torch.ones(len(wanted), dtype=torch.bool, device=wanted.device))

        def denoise(x: Float[Tensor, "n *event"], t: Float[Tensor, ""]) -> Float[Tensor, "n *event"]:
            point = path(t)
            phi = angle(point)
            angles = phi.expand(len(x))
            x = x / (point.alpha**2 + point.sigma**2).sqrt()
            if w == 1.0:
                out = self.velocity(x, angles, wanted)
            else:
                out = self.velocity(x, angles, free)
                if w != 0.0:
                    out = out + w * (self.velocity(x, angles, wanted) - out)
            data = phi.cos() * x - phi.sin() * out
            if clip:
                data = ((data * self.scale + self.center).clamp(-1, 1) - self.center) / self.scale
            return data

        return denoise

    # training

    def _losses(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None,
        u: Float[Tensor, "n"],
        noise: Float[Tensor, "n *event"],
        drop: Bool[Tensor, "n"] | None,
    ) -> Float[Tensor, "n"]:
        t = u.clamp(1e-5, 1 - 1e-5)
        if self.times == "logit-normal":
            t = torch.special.ndtri(t).sigmoid()
        point = PATHS[self.path](t)
        angles = angle(point)
        shape = (-1, *[1] * (x.ndim - 1))
        cos, sin = angles.cos().reshape(shape), angles.sin().reshape(shape)
        x = (x.float() - self.center) / self.scale
        out = self.velocity(cos * x + sin * noise, angles, self.embed(condition, drop))
        error = (out.float() - (cos * noise - sin * x)) ** 2
        return loss_weight(self.prediction, point) * error.flatten(1).mean(1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The mean squared error of the prediction, in units of its variance; small events meet several noises each."""
        x, condition = batch.x, batch.condition
        if self.draws > 1:
            again = torch.arange(len(x), device=x.device).repeat(self.draws)
            x, condition = x[again], None if condition is None else select(condition, again)
        n = len(x)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n  # stratified
        drop = None
        if condition is not None:
            drop = torch.rand(n, device=x.device) < self.condition_dropout
        return self._losses(x, condition, u, torch.randn_like(x, dtype=torch.float32), drop).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss at fixed times and noises, two of each per item, so that its changes are the weights'."""
        x, n = batch.x, len(batch)
        streams = Streams(0, n, device=x.device)
        order = torch.arange(n, device=x.device)
        parts = []
        for k in range(2):
            u = ((order * 0.6180339887498949 + k / 2) % 1.0).float()
            parts.append(self._losses(x, batch.condition, u, streams.normal(*x.shape[1:]), None).mean())
        return torch.stack(parts).mean()

    # use

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n events by `sampler` in `steps` steps, from noise of `generator` alone: (n, *event)."""
        self.check_condition(n, condition)
        shape = self.shape
        x = generator.normal(*shape)
        grid = torch.linspace(1.0, 0.0, self.steps + 1, device=x.device)
        if self.sampler == "ancestral" or self.few:  # shorter steps near the data: narrow modes keep their width
            grid = grid**2
        denoise = self.denoiser(condition, clip=isinstance(self.event, Bounded))
        x = SAMPLERS[self.sampler](denoise, x, grid, PATHS[self.path], lambda: generator.normal(*shape))
        return x * self.scale + self.center

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The noise from which the probability flow leads to x: (n, *event)."""
        return self._flow((x - self.center) / self.scale, condition, 0.0, NOISE)

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """Where the probability flow leads from the noise z; inverts `encode` up to the error of the integration."""
        return self._flow(z, condition, NOISE, 0.0) * self.scale + self.center

    def _flow(
        self, x: Float[Tensor, "n *event"], condition: Condition | None, start: float, stop: float
    ) -> Float[Tensor, "n *event"]:
        self.check_condition(len(x), condition)
        context = self.embed(condition)

        def field(state: State, phi: Tensor) -> State:
            return (self.velocity(state[0], phi.expand(len(x)), context),)

        return rk4(field, (x,), start, stop, self.ode_steps)[0]

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats by the probability flow: (n,); an estimate.

        Integrated with steps doubled item by item until the error that this shows is below 0.002 nats per number. Up to
        16 numbers the divergence is exact; beyond, it is estimated with `probes` vectors that are a function of x.
        """
        return self.log_prob_within(x, condition, tolerance=2e-3 * dims(self.event))[0]

    def log_prob_within(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        tolerance: float,
        exact: bool | None = None,
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"], int]:
        """log_prob with its integration error estimates (n,) and the number of network evaluations of the slowest item.

        Warns:
            RuntimeWarning: some items did not reach the tolerance.
        """
        self.check_condition(len(x), condition)
        exact = dims(self.event) <= EXACT_DIMS if exact is None else exact
        with torch.inference_mode(False):  # inference tensors have no gradient, and the divergence is made of them
            x = (x.detach().clone().float() - self.center) / self.scale
            context = self.embed(None if condition is None else each(condition, Tensor.clone))
            context = None if context is None else context.detach()
            probes = None
            if not exact:
                streams = Streams.of_items(0, x)
                probes = torch.stack([2.0 * streams.integers(2, *x.shape[1:]) - 1.0 for _ in range(self.probes)])

            def solve(items: Tensor, steps: int) -> Tensor:
                items = items.to(x.device)
                part = None if context is None else context[items]
                vectors = None if probes is None else probes[:, items]

                def field(state: State, phi: Tensor) -> State:
                    angles = phi.expand(len(items))
                    return divergence(lambda y: self.velocity(y, angles, part), state[0], vectors)

                start = (x[items], torch.zeros(len(items), device=x.device))
                z, volume = rk4(field, start, 0.0, NOISE, steps)
                return sum_event(normal_log_prob(z)) + volume

            values, errors, steps = converged(solve, len(x), tolerance)
        if len(x) and float(errors.max()) > tolerance:
            late = int((errors > tolerance).sum())
            warnings.warn(f"log_prob of {late} items is known to ±{float(errors.max()):.2g} nats only", RuntimeWarning)
        return values - self.scale.log().expand(self.shape).sum(), errors, 4 * steps
