"""Diffusion and flow matching: learn to remove noise, then walk from noise to data along a path.

One network (`denoiser`) learns E[x | x_t] for x_t = alpha x + sigma noise. Path, prediction type and distribution of
times are the weights of the loss (Karras et al., 2022, arXiv 2206.00364); every sampler works with every trained
model, since all of them need nothing but E[x | x_t]. Codes and log p come from its probability flow.
"""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Event, dims, select
from pofx.core.model import Batch, Default, Denoising, Density, Encoding, Explicit, OnePhase, Recipe, Stepwise
from pofx.core.options import Count, Depth, Dropout, OneOf, Range, Real, Unit
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import Denoiser
from pofx.families.diffusion.probability_flow import NOISE, FlowLikelihood, carried, likelihood
from pofx.maths.distributions import near_items
from pofx.maths.paths import PATHS, PREDICTIONS, angle, loss_weight
from pofx.maths.solvers import SAMPLERS
from pofx.nets.vector.conditioner import CONDITIONS

TIMES = ("uniform", "logit-normal")
NETWORKS = ("auto", "mlp", "unet")
SPACINGS = ("even", "squared")
FEW = 3  # numbers in an event up to which waves, repeated noises and shorter last steps pay off
EXACT_DIMS = 16  # up to here the divergence is an exact trace
TOLERANCE = 2e-3  # nats per number within which a density is integrated
MOVED = ("net.", "time.", "conditioner.", "center", "scale")  # weights of runs before there was a `denoiser`


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
        sampler_steps: of the sampler; Heun's evaluate the network twice.
        spacing: of the sampler's times: "even", or "squared", whose steps become shorter towards the data.
        guidance: w in unconditional + w (conditional - unconditional): 1 is plain conditional sampling, 0 ignores the
            condition (Ho and Salimans, 2022, arXiv 2207.12598). It touches `sample` alone.
        probes: random vectors of the divergence estimate where the event has more than 16 numbers; two or more show its
            standard error.
        ode_steps: Runge-Kutta steps of `encode` and `decode`.
        octaves: waves of each number that the perceptron sees beside it.
        noises: noise levels per item and step.

    `octaves`, `noises` and `spacing` are chosen by the size of the event where they are None, and saved as chosen.
    """

    source = "Song et al., 2021, arXiv 2011.13456; Karras et al., 2022, arXiv 2206.00364"
    events = (Bounded, Continuous)
    ranks = (1, 2, 3)
    conditions = CONDITIONS
    best_density = Density.ESTIMATE
    lossless = True
    adjustable = ("sampler", "sampler_steps", "spacing", "guidance", "probes", "ode_steps")
    trains_with = {"precision": "auto", "ema_images": 50_000, "validations": 8, "validation_items": 500}
    small = {"network": "mlp", "width": 64, "depth": 2}
    former = {"steps": "sampler_steps"}
    recipes = (
        Recipe(
            "flow-matching",
            "Lipman et al., 2023, arXiv 2210.02747; Liu et al., 2023, arXiv 2209.03003",
            {"path": "linear", "prediction": "velocity", "sampler": "heun", "sampler_steps": 16},
            summary="Straight paths from noise to data, sampled in few steps.",
            default_for=(Default(Bounded, 3), Default()),
        ),
        Recipe(
            "ddpm",
            "Ho et al., 2020, arXiv 2006.11239",
            {"path": "vp-linear", "prediction": "epsilon", "sampler": "ancestral", "sampler_steps": 100},
            summary="Predicts the noise; random sampler of many small steps.",
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
        sampler_steps: Count = 16,
        spacing: Annotated[str, OneOf(*SPACINGS)] | None = None,
        guidance: Annotated[Real, Range(-100, 100)] = 1.0,
        probes: Depth = 2,
        ode_steps: Count = 32,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        noises: Depth | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        if network == "unet" and len(event.shape) != 3:
            raise UsageError(f"network 'unet' takes events with three axes (got {event.shape}): pass network='mlp'")
        count = dims(event)
        few = count <= FEW
        convolves = network == "unet" or (network == "auto" and len(event.shape) == 3 and count >= 256)
        self.path, self.prediction, self.times, self.network = path, prediction, times, network
        self.width, self.depth, self.dropout, self.condition_dropout = width, depth, dropout, condition_dropout
        self.sampler, self.sampler_steps, self.guidance = sampler, sampler_steps, guidance
        self.spacing = spacing or ("squared" if few or sampler == "ancestral" else "even")
        self.probes, self.ode_steps = probes, ode_steps
        self.octaves = (3 if few else 0) if octaves is None else octaves
        self.noises = (4 if few else 1) if noises is None else noises
        self.shape, self.code = event.shape, Continuous(event.shape)
        self.denoiser = Denoiser(
            event,
            condition,
            network="unet" if convolves else "mlp",
            width=width or (64 if convolves else 128 if few else 256 if count <= 16 else 512),
            depth=depth,
            dropout=dropout,
            octaves=self.octaves,
        )

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Weights had no prefix before there was a `denoiser`."""
        weights = {f"denoiser.{k}" if k.startswith(MOVED) else k: v for k, v in weights.items()}
        return super().upgraded(name, options, weights)

    @property
    def steps(self) -> int:
        """Steps of the sampler."""
        return self.sampler_steps

    @steps.setter
    def steps(self, value: int) -> None:
        self.sampler_steps = value

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis."""
        self.denoiser.measure(take(10_000))

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """alpha(t), and sigma(t) in units of the event: the noise is as wide as the data along its first axis."""
        point, axes = PATHS[self.path](t), [1] * len(self.shape)
        return point.alpha.reshape(*t.shape, *axes), point.sigma.reshape(*t.shape, *axes) * self.denoiser.scale

    def denoise(
        self,
        x_t: Float[Tensor, "n *event"],
        t: Float[Tensor, "*n"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "n *event"]:
        """E[x | x_t, condition] without guidance: (n, *event)."""
        net = self.denoiser
        context = net.free(len(x_t)) if condition is None else net.embed(condition)
        return net(x_t, t, PATHS[self.path], context)  # type: ignore[no-any-return]

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
        x = self.denoiser.standardised(x.float())
        out = self.denoiser.velocity(cos * x + sin * noise, angles, self.denoiser.embed(condition, drop))
        error = (out.float() - (cos * noise - sin * x)) ** 2
        return loss_weight(self.prediction, point) * error.flatten(1).mean(1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The mean squared error of the prediction, in units of its variance; small events meet several noises each."""
        x, condition = batch.x, batch.condition
        if self.noises > 1:
            again = torch.arange(len(x), device=x.device).repeat(self.noises)
            x, condition = x[again], None if condition is None else select(condition, again)
        n = len(x)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, dtype=torch.float32, device=x.device)) / n  # stratified
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
        """n events by `sampler` in `sampler_steps` steps, from noise of `generator` alone: (n, *event)."""
        self.check_condition(n, condition)
        x = generator.normal(*self.shape)
        times = torch.linspace(1.0, 0.0, self.sampler_steps + 1, dtype=torch.float32, device=x.device)
        if self.spacing == "squared":  # narrow modes keep their width
            times = times**2
        path, bounded = PATHS[self.path], isinstance(self.event, Bounded)
        denoise = self.denoiser.guided(condition, path, guidance=float(self.guidance), clip=bounded)
        x = SAMPLERS[self.sampler](denoise, x, times, path, lambda: generator.normal(*self.shape))
        return self.denoiser.restored(x)

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The noise from which the probability flow leads to x: (n, *event)."""
        return self._carried(self.denoiser.standardised(x), condition, 0.0, NOISE)

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """Where the probability flow leads from the noise z; inverts `encode` up to the error of the integration."""
        return self.denoiser.restored(self._carried(z, condition, NOISE, 0.0))

    def _carried(self, x: Tensor, condition: Condition | None, start: float, stop: float) -> Tensor:
        self.check_condition(len(x), condition)
        return carried(self.denoiser, x, self.denoiser.embed(condition), start, stop, self.ode_steps)

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats by the probability flow: (n,); an estimate, see `log_prob_estimate`."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """log p and its error, both (n,): that of the integration, whose steps are doubled item by item until it is
        below 0.002 nats per number, and that of the probes beyond 16 numbers."""
        found = self.likelihood(x, condition, tolerance=TOLERANCE * dims(self.event))
        error = found.integration if found.sampling is None else found.integration.hypot(found.sampling)
        return found.value, error

    def likelihood(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        tolerance: float,
        exact: bool | None = None,
    ) -> FlowLikelihood:
        """log p in units of the event, with its errors and the number of network evaluations.

        Warns:
            RuntimeWarning: some items did not reach the tolerance.
        """
        self.check_condition(len(x), condition)
        exact = dims(self.event) <= EXACT_DIMS if exact is None else exact
        net, (x, far) = self.denoiser, near_items(x)
        with torch.no_grad():
            standardised, context = net.standardised(x.float()), net.embed(condition)
        found = likelihood(net, standardised, context, tolerance=tolerance, exact=exact, probes=self.probes)
        if len(x) and float(found.integration.max()) > tolerance:
            late, worst = int((found.integration > tolerance).sum()), float(found.integration.max())
            warnings.warn(f"log_prob of {late} items is known to ±{worst:.2g} nats only", RuntimeWarning)
        value = (found.value - net.scale.log().expand(self.shape).sum()).masked_fill(far, -math.inf)
        return FlowLikelihood(value, found.integration, found.sampling, found.evaluations)
