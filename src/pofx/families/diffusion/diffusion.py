"""Diffusion and flow matching: learn to remove noise, then walk from noise to data along a path.

One network (`denoiser`) learns E[x | x_t] for x_t = alpha x + sigma noise. Path, prediction type and distribution of
times are the weights of the loss (Karras et al., 2022, arXiv 2206.00364); every sampler works with every trained
model, since all of them need nothing but E[x | x_t]. Codes and log p come from its probability flow, a bound on log p
from its loss at all levels of noise.
"""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Discrete, Event, dims, select
from pofx.core.generative import Decoding, Smoothed
from pofx.core.model import Batch, Density, OnePhase, Stepwise
from pofx.core.options import Count, Depth, Dropout, NonNegative, OneOf, Positive, Range, Real, Unit
from pofx.core.random import Streams
from pofx.families.diffusion.denoiser import OUTPUTS, Denoiser, width_of
from pofx.families.diffusion.guided import GuidedWalk
from pofx.families.diffusion.probability_flow import NOISE, FlowLikelihood, carried, likelihood
from pofx.families.diffusion.recipes import RECIPES
from pofx.families.diffusion.schedule import NoiseSchedule
from pofx.families.diffusion.training import COUPLINGS, TIMES, WEIGHTS, noise_levels, variance_loss, weight_of
from pofx.maths.distributions import near_items
from pofx.maths.multistep import RANDOM, SAMPLERS
from pofx.maths.noise_bound import likelihood_bound, predictable, uniform_times
from pofx.maths.pairing import coupled
from pofx.maths.paths import PATHS, PREDICTIONS
from pofx.maths.samplers import Walk, times_of
from pofx.maths.solvers import SMALL
from pofx.nets.image.grid_input import GridCondition, grid_condition_of
from pofx.nets.image.unet import UNet
from pofx.nets.vector.conditioner import CONDITIONS

NETWORKS = ("auto", "mlp", "unet", "dit")
SPACINGS = ("even", "squared", "shifted", "karras")
THRESHOLDS = ("none", "static", "dynamic")
SCORINGS = ("ode", "bound")
TRACES = ("hutchinson", "hutch++")
FEW = 3  # numbers in an event up to which waves, repeated noises and shorter last steps pay off
FINE = 9  # octaves down to a step of 8-bit levels, which a bound resolves (Kingma et al., 2021, arXiv 2107.00630)
GRID = 256  # numbers in an event from which on it has a network for grids
EXACT_DIMS = 16  # up to here the divergence is an exact trace
TOLERANCE = 2e-3  # nats per number within which a density is integrated
FEWEST = 8  # steps below which codes of the flow are no codes
VALIDATED, MOST = 512, 64  # numbers of an item in all draws of a validation, and draws at most
MOVED = ("net.", "time.", "conditioner.", "center", "scale")  # weights of runs before there was a `denoiser`


class Diffusion(OnePhase, Smoothed, Decoding, Stepwise):
    """Denoiser along a noising path: fast deterministic or random samplers, a density, invertible codes.

    Args:
        path: by which data become noise, of `maths.paths`.
        prediction: "velocity", "epsilon", "x0", "v" or "score": whose squared error the loss is.
        weighting: "prediction", or "min-snr": at most 5 times the squared error of x0 (Hang et al., 2023, 2303.09556).
        times: "uniform", "shifted" (more of them near the noise) or "logit-normal" on the path, "log-normal" in the
            ratio of noise to data, or "likelihood", where the loss is the bound on log p, or "learned", where a network
            chooses them so that this loss has the least variance; stratified over the batch.
        coupling: "ot" pairs the noises of a batch with the items nearest to them, within each class: straighter paths,
            for deterministic samplers.
        network: "mlp" (on the flattened event), "unet" or "dit", a transformer of patches (events with two to four
            axes), or "auto": unet for grids of 256 numbers and more. A U-Net learns by Muon at a rate of 2e-3 unless
            `optimizer` is stated.
        output: what the network gives, "velocity" on the circle, or the "data", for a transformer of large patches.
        variance: "fixed", or "learned": that of the steps of the ancestral sampler.
        width: of the network; None takes 64 channels (unet; 32 up to 2,048 numbers), 128 features (dit) or 512 units
            (mlp; 256 up to 16 numbers, 128 up to 3), and is saved as chosen.
        depth: residual blocks of the perceptron, or at each resolution of the U-Net; layers of the transformer.
        patch: side of the transformer's patches; 0 takes a seventh of the longest side.
        dropout: share of hidden channels dropped in training (not in the perceptron).
        condition_dropout: share of conditions dropped in training, so that `guidance` has something to lean on.
        grid_condition: how grids in the condition enter: "concatenate", as channels beside x at its sides, or "embed",
            as a vector; None concatenates those of two or three axes that have the proportions of the event.
        sampler: how samples are drawn, of `maths.multistep`; None takes "dpm++2m" for grids on the linear path, else
            "heun", which evaluates the network twice a step.
        sampler_steps: of the sampler; None takes 20 for "dpm++2m", 16 for others.
        spacing: of the sampler's times: "even"; "squared", whose steps become shorter towards the data; "shifted",
            longer; or "karras".
        eta: random share of "ddim"; 1 is the ancestral sampling of Ho et al.
        churn: noise that "heun" adds on its walk (Karras et al., 2022, algorithm 2).
        tolerance: of the steps of "adaptive", per number.
        threshold: estimates of bounded events are cut off at 1 ("static"), or scaled to it ("dynamic").
        guidance: w in unconditional + w (conditional - unconditional): 1 is plain conditional sampling, 0 ignores the
            condition (Ho and Salimans, 2022, arXiv 2207.12598). It touches `sample` alone.
        guidance_rescale: share by which a guided estimate gets the spread of the plain one (Lin et al., 2024).
        guidance_interval: times between which guidance acts (Kynkäänniemi et al., 2024, arXiv 2404.07724).
        scoring: "ode", the probability flow's log p (an estimate), or "bound", the variational bound.
        bound_draws: levels of noise at which the bound of an item is estimated.
        probes: random vectors of the divergence estimate where the event has more than 16 numbers; two or more show its
            standard error.
        trace: how they estimate it, "hutchinson" or "hutch++", which is less noisy at three times the cost.
        likelihood_steps: Runge-Kutta steps of log p, an even number from 8; 0 takes as many as each item needs.
        ode_steps: Runge-Kutta steps of `encode` and `decode`.
        octaves: waves of each number that the perceptron or the U-Net sees beside it; None is 3 up to 3 numbers, 9 in a
            U-Net of bounded events that learns a bound, else 0.
        noises: noise levels per item and step.

    `octaves`, `noises`, `spacing` and `grid_condition` are chosen by the event where they are None and saved so.
    """

    source = "Song et al., 2021, arXiv 2011.13456; Karras et al., 2022, arXiv 2206.00364"
    events = (Bounded, Continuous)
    ranks = (1, 2, 3, 4)
    conditions = CONDITIONS
    best_density = Density.ESTIMATE
    lossless = True
    adjustable = (
        "sampler",
        "sampler_steps",
        "spacing",
        "eta",
        "churn",
        "tolerance",
        "threshold",
        "guidance",
        "guidance_rescale",
        "guidance_interval",
        "scoring",
        "bound_draws",
        "probes",
        "trace",
        "likelihood_steps",
        "ode_steps",
    )
    trains_with = {
        "enough_steps": 10_000,
        **{"precision": "auto", "ema_images": 50_000, "validations": 8, "validation_items": 500},
    }
    small = {"network": "mlp", "width": 64, "depth": 2}
    former = {"steps": "sampler_steps", "weight": "weighting"}
    unstated = {"grid_condition": "embed"}
    recipes = RECIPES

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        path: Annotated[str, OneOf(*PATHS)] = "linear",
        prediction: Annotated[str, OneOf(*PREDICTIONS)] = "velocity",
        weighting: Annotated[str, OneOf(*WEIGHTS)] = "prediction",
        times: Annotated[str, OneOf(*TIMES)] = "uniform",
        coupling: Annotated[str, OneOf(*COUPLINGS)] = "independent",
        network: Annotated[str, OneOf(*NETWORKS)] = "auto",
        output: Annotated[str, OneOf(*OUTPUTS)] = "velocity",
        variance: Annotated[str, OneOf("fixed", "learned")] = "fixed",
        width: Annotated[int, Range(0, 8192)] | None = None,
        depth: Depth = 2,
        patch: Annotated[int, Range(0, 1024)] = 0,
        dropout: Dropout = 0.0,
        condition_dropout: Unit = 0.1,
        grid_condition: GridCondition | None = None,
        sampler: Annotated[str, OneOf(*SAMPLERS)] | None = None,
        sampler_steps: Count | None = None,
        spacing: Annotated[str, OneOf(*SPACINGS)] | None = None,
        eta: Unit = 0.0,
        churn: NonNegative = 0.0,
        tolerance: Positive = 1e-3,
        threshold: Annotated[str, OneOf(*THRESHOLDS)] = "static",
        guidance: Annotated[Real, Range(-100, 100)] = 1.0,
        guidance_rescale: Unit = 0.0,
        guidance_interval: Sequence[Unit] = (0.0, 1.0),
        scoring: Annotated[str, OneOf(*SCORINGS)] = "ode",
        bound_draws: Annotated[int, Range(2, 100_000)] = 32,
        probes: Depth = 2,
        trace: Annotated[str, OneOf(*TRACES)] = "hutchinson",
        likelihood_steps: Annotated[int, Range(0, 100_000)] = 0,
        ode_steps: Annotated[int, Range(FEWEST, 1_000_000)] = 32,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        noises: Depth | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        rank, count = len(event.shape), dims(event)
        if network in ("unet", "dit") and rank < 2:
            raise UsageError(
                f"network '{network}' takes events with two to four axes (got {event.shape}): pass network='mlp'"
            )
        if coupling == "ot" and (sampler in RANDOM or eta or churn):
            raise UsageError("coupling 'ot' has no random sampler (got one): pass sampler=heun, eta=0 and churn=0")
        if coupling == "ot" and not (condition is None or (isinstance(condition, Discrete) and not condition.shape)):
            raise UsageError("coupling 'ot' pairs within classes (got another condition): pass coupling='independent'")
        if condition is None and guidance != 1.0:
            raise UsageError(
                f"guidance needs a condition (got {guidance:g} without one): train with a condition, or pass guide=RUN"
            )
        if len(guidance_interval) != 2:
            raise UsageError(f"guidance_interval must be two times (got {guidance_interval}): pass (0.0, 1.0)")
        if likelihood_steps % 2 or 0 < likelihood_steps < FEWEST:
            raise UsageError(
                f"likelihood_steps must be an even number from {FEWEST}, or 0 (got {likelihood_steps}): fewer steps "
                f"give no log p; pass likelihood_steps={FEWEST}"
            )
        few, network_taken = count <= FEW, network
        if network == "auto":
            network_taken = "unet" if rank > 1 and count >= GRID and min(event.shape[1:]) > 1 else "mlp"
        self.path, self.prediction, self.weighting, self.times = path, prediction, weighting, times
        self.coupling, self.network, self.output, self.variance = coupling, network, output, variance
        self.width = width_of(network_taken, count, None) if width is None else width
        self.depth, self.patch, self.dropout = depth, patch, dropout
        self.condition_dropout = condition_dropout
        self.grid_condition = grid_condition_of(grid_condition, event, condition)
        grid = path == "linear" and rank > 1  # vectors may have modes that long steps would narrow
        self.sampler = sampler or ("dpm++2m" if grid and not churn else "heun")
        self.sampler_steps = sampler_steps or (20 if self.sampler == "dpm++2m" else 16)
        self.eta, self.churn = eta, churn
        own = path in ("ve", "edm")  # times of these paths are short towards the data already
        usual = "shifted" if grid else "even"
        self.spacing = spacing or (usual if own or not (few or self.sampler in RANDOM) else "squared")
        self.tolerance, self.threshold, self.guidance = tolerance, threshold, guidance
        self.guidance_rescale, self.guidance_interval = guidance_rescale, tuple(guidance_interval)
        self.scoring, self.bound_draws, self.probes, self.ode_steps = scoring, bound_draws, probes, ode_steps
        self.trace, self.likelihood_steps = trace, likelihood_steps
        fine = network_taken == "unet" and isinstance(event, Bounded) and times in ("likelihood", "learned")
        self.octaves = (3 if few else FINE if fine else 0) if octaves is None else octaves
        self.noises = (4 if few else 1) if noises is None else noises
        self.shape, self.code = event.shape, Continuous(event.shape)
        self.evaluated = 1  # times, for the slowest item whose density was computed last
        self.noise_schedule = NoiseSchedule() if times == "learned" else None
        self.denoiser = Denoiser(
            event,
            condition,
            network=network_taken,
            width=width_of(network_taken, count, self.width),
            depth=depth,
            dropout=dropout,
            octaves=self.octaves,
            patch=patch or max(1, -(-max(event.shape[1:], default=1) // 7)),
            output=output,
            spreads=variance == "learned",
            grid_condition=self.grid_condition,
        )

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Weights had no prefix before there was a `denoiser`, and "auto" took the perceptron for two axes."""
        weights = {f"denoiser.{k}" if k.startswith(MOVED) else k: v for k, v in weights.items()}
        first = weights.get("denoiser.net.first.weight")
        if not {"weight", "weighting"} & set(options) and first is not None and first.ndim == 2:
            options = {**options, "network": "mlp"}
        return super().upgraded(name, options, weights)

    @property
    def density(self) -> Density:
        """A bound or an estimate, by `scoring`."""
        return Density.BOUND if self.scoring == "bound" else Density.ESTIMATE

    def matrices(self) -> Iterable[nn.Parameter]:
        return self.denoiser.matrices

    def suited(self) -> Mapping[str, Any]:
        """Muon, by which a U-Net learns in half of the time; a perceptron of few numbers does not. Its steps gain less
        from smaller batches."""
        return {"optimizer": "muon", "lr": 2e-3, "least_batch": 32} if isinstance(self.denoiser.net, UNet) else {}

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Measure the mean and standard deviation of the data along its first axis."""
        self.denoiser.measure(take(10_000))

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """alpha(t), and sigma(t) in units of the event: the noise is as wide as the data along its first axis."""
        point, axes = PATHS[self.path](t), [1] * len(self.shape)
        return point.alpha.reshape(*t.shape, *axes), point.sigma.reshape(*t.shape, *axes) * self.denoiser.scale

    @property
    def spread(self) -> Float[Tensor, "..."]:
        return self.denoiser.scale

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
        schedule = self.noise_schedule
        u = u if schedule is None else schedule.levels(u)
        angles, point = noise_levels(self.times, u, self.path)
        shape = (-1, *[1] * (x.ndim - 1))
        cos, sin = angles.cos().reshape(shape), angles.sin().reshape(shape)
        x = self.denoiser.standardised(x.float())
        if self.coupling == "ot":
            noise = coupled(x, noise, condition if isinstance(condition, Tensor) else None)
        context = self.denoiser.embed(condition, drop)
        out, spread = self.denoiser.estimate(cos * x + sin * noise, angles, context)
        error = out.float() - (cos * noise - sin * x)
        weight = weight_of(self.weighting, self.prediction, angles, point, self.path)
        if self.times in ("likelihood", "learned"):
            loss = weight * predictable(error, noise, angles)
        else:
            loss = weight * error.square().flatten(1).mean(1)
        if schedule is not None:
            loss = loss / schedule.speed(u).detach()
            loss = loss + schedule.surrogate(u, loss)
        return loss if spread is None else loss + variance_loss(spread, error, angles, self.path)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The mean squared error of the prediction, in units of its variance; small events meet several noises each."""
        x, condition = batch.x, batch.condition
        if self.noises > 1:
            again = torch.arange(len(x), device=x.device).repeat(self.noises)
            x, condition = x[again], None if condition is None else select(condition, again)
        n = len(x)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, dtype=torch.float32, device=x.device)) / n
        drop = None
        if condition is not None:
            drop = torch.rand(n, device=x.device) < self.condition_dropout
        return self._losses(x, condition, u, torch.randn_like(x, dtype=torch.float32), drop).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The loss at fixed times and noises, two of each per item and more of small events, so that its changes are
        the weights': a noisy one takes early weights for the best."""
        x, n = batch.x, len(batch)
        streams = Streams(0, n, device=x.device)
        order = torch.arange(n, device=x.device)
        parts, draws = [], min(max(VALIDATED // dims(self.event), 2), MOST)
        for k in range(draws):
            u = ((order * 0.6180339887498949 + k / draws) % 1.0).float()
            parts.append(self._losses(x, batch.condition, u, streams.normal(*x.shape[1:]), None).mean())
        return torch.stack(parts).mean()

    # use

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """n events by `sampler` in `sampler_steps` steps, from noise of `generator` alone: (n, *event)."""
        self.check_condition(n, condition)
        path = PATHS[self.path]
        first = path(torch.ones((), device=generator.device))
        x = (first.alpha**2 + first.sigma**2).sqrt() * generator.normal(*self.shape)
        guided = GuidedWalk(
            self.denoiser,
            condition,
            path,
            weight=float(self.guidance),
            rescale=float(self.guidance_rescale),
            interval=self.guidance_interval,
            threshold=self.threshold if isinstance(self.event, Bounded) else "none",
        )
        walk = Walk(
            path,
            times_of(path, self.sampler_steps, self.spacing, x.device),
            lambda: generator.normal(*self.shape),
            eta=float(self.eta),
            churn=float(self.churn),
            tolerance=float(self.tolerance),
            spread=guided.spread if self.variance == "learned" else None,
        )
        return self.denoiser.restored(SAMPLERS[self.sampler](guided, x, walk))

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
        below 0.002 nats per number, 1e-5 of the value or a tenth of that of the probes, which there are beyond 16
        numbers; or the bound."""
        if self.scoring == "bound":
            return self.bound(x, condition)
        return self.log_prob_smoothed(x, 0.0, condition)

    def log_prob_smoothed(
        self, x: Float[Tensor, "n *event"], noise: float, condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        """By the probability flow, from the angle on its circle at which noise and data have this ratio."""
        found = self.likelihood(x, condition, tolerance=TOLERANCE * dims(self.event), noise=noise)
        error = found.integration if found.sampling is None else found.integration.hypot(found.sampling)
        return found.value, error

    def likelihood(
        self,
        x: Float[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        tolerance: float,
        exact: bool | None = None,
        noise: float = 0.0,
    ) -> FlowLikelihood:
        """log p in units of the event, with its errors and the number of network evaluations; `noise`: that of the
        items, in units of the data's spread.

        Warns:
            RuntimeWarning: some items did not reach the tolerance.
        """
        self.check_condition(len(x), condition)
        exact = dims(self.event) <= EXACT_DIMS if exact is None else exact
        net, (x, far) = self.denoiser, near_items(x)
        with torch.no_grad():
            standardised, context = net.standardised(x.float()), net.embed(condition)
        phi = math.atan(noise)
        found = likelihood(
            net,
            math.cos(phi) * standardised,
            context,
            tolerance=tolerance,
            exact=exact,
            probes=self.probes,
            start=phi,
            deflated=self.trace == "hutch++",
            fixed=self.likelihood_steps,
        )
        missed = (found.integration > found.wanted) & (found.integration > SMALL * found.value.abs())
        if bool(missed.any()):
            late, worst = int(missed.sum()), float(found.integration[missed].max())
            warnings.warn(f"log_prob of {late} items is known to ±{worst:.2g} nats only", RuntimeWarning)
        self.evaluated = found.evaluations
        volume = dims(self.event) * math.log(math.cos(phi)) - net.scale.log().expand(self.shape).sum()
        value = (found.value + volume).masked_fill(far, -math.inf)
        return replace(found, value=value)

    def bound(
        self, x: Float[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """The variational bound on log p in nats, and its standard error, by `bound_draws` evaluations: (n,), (n,)."""
        self.check_condition(len(x), condition)
        net, (x, far) = self.denoiser, near_items(x)
        context = net.embed(condition)

        def velocity(y: Tensor, phi: Tensor) -> Tensor:
            return net.velocity(y, phi, context)

        times = uniform_times if self.noise_schedule is None else self.noise_schedule.drawn
        value, error = likelihood_bound(velocity, net.standardised(x.float()), self.bound_draws, times)
        value, self.evaluated = value - net.scale.log().expand(self.shape).sum(), self.bound_draws
        return value.masked_fill(far, -math.inf), error.masked_fill(far, 0.0)

    def log_prob_evaluations(self) -> int:
        return self.evaluated
