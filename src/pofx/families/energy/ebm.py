"""A neural energy: log p(x) = f(x) - |z|²/2s² - log Z, with z the standardised item and f any network.

Six objectives. `noise`: against draws of the broad normal by logistic regression, which also learns log Z
(Gutmann and Hyvärinen, 2010); right in few dimensions, where the normal meets the data. `contrastive`: against
persistent chains (Du and Mordatch, 2019, arXiv 1903.08689). `score`: its slope points from noisy items to clean ones
(Vincent, 2011; Hyvärinen, 2005). `levels`: so it does at every level of noise, with an energy for each (Song and Ermon,
2019, arXiv 1907.05600): no chains, so that images are learned in minutes. `recovery`: an energy for every level of
noise, each given the next noisier item, which is nearly a normal, so that a few moves from there suffice (Gao et al.,
2021, arXiv 2012.08125). `matching`: far from the data the slope is the velocity that carries noise to them, near the
data chains make it that of log p (Balcerak et al., 2025, arXiv 2504.10612), so that the energy has a transport of its
own.

Under classes f has one output for each: a classifier of the same network learns beside (Grathwohl et al., 2020, arXiv
1912.03263).
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Condition, Continuous, Discrete, Event, dims
from pofx.core.generative import Classifying
from pofx.core.model import Batch, Default, Density, OnePhase, Recipe, Stepwise
from pofx.core.options import Count, Depth, NonNegative, OneOf, Positive, Range, Width
from pofx.core.random import Streams
from pofx.families.energy.normalised import Normalised
from pofx.maths.annealing import anneal, log_mean_weight
from pofx.maths.distributions import near_items
from pofx.maths.pairing import coupled
from pofx.nets.image.autoencoder import ImageEncoder
from pofx.nets.vector.fourier import waves
from pofx.nets.vector.groups import group_count, groups
from pofx.nets.vector.mlp import MLP

SMALL_GRID = 1024  # numbers of an image up to which `levels` has a perceptron, which learns sooner than convolutions
FEW = 3  # numbers of an item up to which a perceptron sees waves of them
NORMALISED = 8  # dimensions up to which log Z is estimated
LEVELS = (0.0, 0.15, 0.3, 0.6, 1.2, 2.5)  # standard deviations of the noise of `recovery`, in those of the data
NOISES = [0.03 * (4.0 / 0.03) ** (k / 23) for k in range(24)]  # of `levels`, each 1.24 times the one before
STRIDE = 0.25  # of its moves, in those of the noise between two levels
STEEPEST = 3.0  # slope, in standardised units per root of the dimensions, beyond which chains are held back
RESTARTED = 0.05  # share of the persistent chains that begin anew in each step
NEARBY = 0.8  # time of a path from noise to data after which `matching` leaves the slope to its chains
WIDE = 0.5  # share of its chains from noise that begin in the broad normal, so that no energy is left to itself
CARRIED = 0.2  # weight of its velocity beside them: where both act, the chains are to win


class EBM(OnePhase, Normalised, Classifying, Stepwise):
    """Energy-based model: a network whose output is log p up to a constant, which is estimated in few dimensions.

    Args:
        objective: noise, contrastive, score, levels, recovery or matching (see the module); None is noise up to 8
            dimensions, then levels for images and recovery for all else.
        network: mlp, or conv for images; auto is mlp for `levels` up to 1,024 numbers.
        width, depth: of the network; None is 128 units, 1,024 beyond 256 numbers, or 32 channels.
        octaves: sines and cosines of the standardised numbers that a perceptron also sees; None is 5 for at most 3
            numbers, where edges must be sharp, else none.
        spread: standard deviation s of the broad normal, in those of the data.
        chains: persistent chains of `contrastive`.
        moves: Langevin moves of a chain in one step, or from one level of noise to the next.
        stride: of a Langevin move of `contrastive` and `matching`, in standard deviations.
        sigma: of the noise of `score`.
        smooth: weight of f² in `contrastive`, `recovery` and `matching`, in `levels` of the square of its mean, which
            keeps energies near zero.
        heat: temperature of `matching`: the velocity that carries noise to data is the slope of log p times this.
        classifier: weight of the classifier's loss under classes.
        temperatures, runs: steps and runs of annealed importance sampling.
        sampler_steps: temperatures of `sample`, from the broad normal; of `matching` the steps of its transport, and as
            many Langevin moves.
    """

    name = "ebm"
    source = "Gutmann and Hyvärinen, 2010; Du and Mordatch, 2019, arXiv 1903.08689; Gao et al., 2021, arXiv 2012.08125"
    events = (Bounded, Continuous)
    conditions = (Discrete,)
    best_density = Density.ESTIMATE
    default_for = (Default(Continuous, 1, family=True),)
    adjustable = ("temperatures", "runs", "sampler_steps")
    trains_with = {"lr": 1e-3, "batch_size": 256, "least_batch": 32, "precision": "fp32"}
    recipes = (
        Recipe(
            "energy-matching",
            "Balcerak et al., 2025, arXiv 2504.10612",
            {"objective": "matching"},
            summary="One energy: carries noise to data, then is log p.",
        ),
    )
    small = {"width": 32, "chains": 64, "temperatures": 20, "runs": 128, "sampler_steps": 10, "moves": 4}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        objective: Annotated[str, OneOf("noise", "contrastive", "score", "levels", "recovery", "matching")]
        | None = None,
        network: Annotated[str, OneOf("auto", "mlp", "conv")] = "auto",
        width: Width | None = None,
        depth: Depth | None = None,
        octaves: Annotated[int, Range(0, 16)] | None = None,
        spread: Positive = 2.0,
        chains: Count = 4096,
        moves: Annotated[int, Range(1, 10_000)] = 20,
        stride: Positive = 0.1,
        sigma: Positive = 0.1,
        smooth: NonNegative = 0.001,
        heat: Positive = 0.2,
        classifier: NonNegative = 1.0,
        temperatures: Count = 300,
        runs: Count = 2000,
        sampler_steps: Count = 100,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.objective, self.network, self.width, self.depth, self.spread = objective, network, width, depth, spread
        self.chains, self.moves, self.stride, self.sigma = chains, moves, stride, sigma
        self.smooth, self.heat, self.classifier = smooth, heat, classifier
        self.temperatures, self.runs, self.sampler_steps = temperatures, runs, sampler_steps
        self.size = dims(event)
        grid = len(event.shape) == 3
        self.chosen = objective or ("noise" if self.size <= NORMALISED else "levels" if grid else "recovery")
        self.keep_log_z(group_count(condition, self.label))
        if network == "mlp" or (network == "auto" and self.chosen == "levels" and self.size <= SMALL_GRID):
            grid = False
        depth = depth or (2 if self.chosen == "levels" else 3)
        width = width or (32 if grid else 1024 if self.size > 256 else 128)
        if grid and octaves:
            raise UsageError(f"convolutions see no waves of their numbers (got octaves={octaves}): pass network=mlp")
        self.octaves = 0 if grid else (5 if self.size <= FEW else 0) if octaves is None else octaves
        self.rungs = {"levels": len(NOISES), "recovery": len(LEVELS) - 1}.get(self.chosen, 0)
        levels = 0 if not self.rungs else 4 if grid else 32
        self.level = nn.Embedding(self.rungs, levels) if levels else None
        self.net = (
            ImageEncoder((event.shape[0] + levels, *event.shape[1:]), self.groups, width)  # the level is more channels
            if grid
            else MLP(self.size * (1 + 2 * self.octaves), self.groups, (width,) * depth, context=levels)
        )
        self.constant = nn.Parameter(torch.zeros(self.groups)) if self.chosen == "noise" else None
        self.mean: Tensor
        self.scale: Tensor
        self.particles: Tensor
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("scale", torch.ones(self.size))
        self.register_buffer(
            "particles", spread * torch.randn(chains if self.chosen == "contrastive" else 0, self.size)
        )
        self.latest: dict[str, Tensor] = {}

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Before there was `levels`, images had convolutions of 128 channels and `recovery`."""
        if "network" not in options:
            objective = options.get("objective") or ("recovery" if "level.weight" in weights else "noise")
            options = {"width": 128, "depth": 3, **options, "network": "conv", "objective": objective}
        options = cls.recognised(options, {})
        return name, options, weights

    @classmethod
    def recognised(cls, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
        return {"octaves": 0, **options}  # there were none at first

    @property
    def density(self) -> Density:
        """Levels of noise leave the energy of clean items free where no data are near, so that it has no known Z."""
        known = self.size <= NORMALISED and not self.rungs
        return Density.ESTIMATE if known else Density.RELATIVE

    # ── the energy; z is standardised and flat ──

    def logits(self, z: Float[Tensor, "n size"], level: Int[Tensor, "n"] | None = None) -> Float[Tensor, "n groups"]:
        """f(z) for every class of the condition, or the one."""
        x, context = z, None
        if self.level is not None:
            context = self.level(torch.zeros(len(z), dtype=torch.int64, device=z.device) if level is None else level)
        if isinstance(self.net, ImageEncoder):
            x = z.reshape(len(z), *self.event.shape)  # type: ignore[union-attr]
            if context is not None:
                x, context = torch.cat((x, context[:, :, None, None].expand(-1, -1, *x.shape[2:])), 1), None
        elif self.octaves:
            x = waves(z, self.octaves).flatten(1)
        out: Tensor = self.net(x, context)
        return out

    def log_f(
        self, z: Float[Tensor, "n size"], g: Int[Tensor, "n"], level: Int[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n"]:
        """log p(z) up to its constant.

        Under `levels` the normal is that of standardised data with the noise of the level, and the slope of the network
        is in units of that noise (after Karras et al., 2022, arXiv 2206.00364).
        """
        if self.chosen == "levels":
            sigma = self._sigma(torch.zeros_like(g) if level is None else level)
            shrink = (1 + sigma.square()).rsqrt()
            picked = self.logits(z * shrink, level).gather(1, g[:, None]) / (sigma * shrink)
            return picked[:, 0] - 0.5 * (z * shrink).square().sum(1)
        picked = self.logits(z, level).gather(1, g[:, None])[:, 0]
        return picked - 0.5 * (z / self.spread).square().sum(1)

    def _sigma(self, level: Tensor) -> Tensor:
        """The noise of levels of `levels`: (n, 1)."""
        return torch.tensor(NOISES, dtype=self.mean.dtype, device=self.mean.device)[level, None]

    def _slope(self, z: Tensor, log_f: Callable[[Tensor], Tensor], *, create: bool = False) -> Tensor:
        """The gradient of a log density."""
        with torch.inference_mode(False), torch.enable_grad():
            at = z if create and z.requires_grad else z.detach().clone().requires_grad_()
            (found,) = torch.autograd.grad(log_f(at).sum(), at, create_graph=create)
        return found

    # ── training ──

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Take the mean and spread of the data; dimensions that do not vary keep the mean spread."""
        x = take(10_000).x.flatten(1).float()
        std = x.std(0)
        if self.chosen == "levels" and len(self.event.shape) == 3:  # type: ignore[union-attr]  # one noise for all places
            std = std.square().mean().sqrt().expand_as(std)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(torch.where(std > 1e-3 * std.mean(), std, std.mean().clamp(min=1e-6)))

    def standardised(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n size"]:
        return (x.flatten(1).float() - self.mean) / self.scale

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z, g = self.standardised(batch.x), groups(batch.condition, len(batch), batch.x.device)
        losses = {
            "noise": self._noise,
            "contrastive": self._contrast,
            "score": self._score,
            "levels": self._levels,
            "recovery": self._recovery,
            "matching": self._matching,
        }
        parts = losses[self.chosen](z, g)
        if self.groups > 1 and self.classifier:
            parts["class"] = self.classifier * cross_entropy(self.logits(z), g)
        return parts

    def _noise(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """Data or a draw of the broad normal? In logits log f - log Z - log normal, as many of each."""
        log_z = self.constant
        assert log_z is not None
        other = self.spread * torch.randn_like(z)

        def logit(x: Tensor) -> Tensor:
            base = -0.5 * (x / self.spread).square().sum(1) - self.size * math.log(self.spread * math.sqrt(2 * math.pi))
            return self.log_f(x, g) - log_z[g] - base

        return {"noise": softplus(-logit(z)).mean() + softplus(logit(other)).mean()}

    def _contrast(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """f of data less f of chains, whose gradient is that of - log p; half the batch's chains are moved on."""
        n = min(len(z), self.chains)
        at = torch.randperm(self.chains, device=z.device)[:n]
        start, h = self.particles[at], g[:n]
        if self.training:
            fresh = torch.rand(n, 1, device=z.device) < RESTARTED
            start = torch.where(fresh, self.spread * torch.randn_like(start), start)
            start = self._langevin(start, lambda x: self.log_f(x, h), torch.full((n, 1), self.stride).to(z))
            self.particles[at] = start
        data, model = self.log_f(z, g), self.log_f(start, h)
        gap = data.mean() - model.mean()
        self.latest = {"gap": gap.detach()}
        return {"contrast": -gap, "smooth": self.smooth * (data.square().mean() + model.square().mean())}

    def _score(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """The slope at a noisy item is that of the normal around the clean one, on average."""
        noise = torch.randn_like(z)
        with torch.enable_grad():
            at = (z + self.sigma * noise).requires_grad_()
            slope = self._slope(at, lambda x: self.log_f(x, g), create=True)
        return {"score": (self.sigma * slope + noise).square().mean()}

    def _levels(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """`_score` at a level of noise drawn for each item."""
        level, noise = torch.randint(len(NOISES), (len(z),), device=z.device), torch.randn_like(z)
        sigma = self._sigma(level)
        with torch.enable_grad():
            at = (z + sigma * noise).requires_grad_()
            slope = self._slope(at, lambda x: self.log_f(x, g, level), create=True)
        free = self.logits(z, torch.zeros_like(level)).mean()  # the constant, of which no slope depends
        return {"score": (sigma * slope + noise).square().mean(), "smooth": self.smooth * free.square()}

    def _recovery(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """f at a level of noise, given the next noisier item, of data less of short chains that start there."""
        level = torch.randint(len(LEVELS) - 1, (len(z),), device=z.device)
        ladder = torch.tensor(LEVELS, dtype=z.dtype, device=z.device)
        clean = z + ladder[level, None] * torch.randn_like(z)
        jump = (ladder[level + 1].square() - ladder[level].square()).sqrt()[:, None]
        noisy = clean + jump * torch.randn_like(z)
        made = self._langevin(noisy, lambda x: self._given(x, noisy, jump, g, level), STRIDE * jump)
        data, model = self.log_f(clean, g, level), self.log_f(made, g, level)
        gap = data.mean() - model.mean()
        self.latest = {"gap": gap.detach()}
        return {"contrast": -gap, "smooth": self.smooth * (data - model).square().mean()}

    def _matching(self, z: Tensor, g: Tensor) -> dict[str, Tensor]:
        """The slope times `heat` is the velocity of paths from noise to their nearest data, until they are nearby; and
        f of data less f of chains, half of which the slope itself carried from noise, half of which start at data."""
        noise = coupled(z, torch.randn_like(z), g)
        t = NEARBY * torch.rand(len(z), 1, device=z.device)
        with torch.enable_grad():
            at = (t * z + (1 - t) * noise).requires_grad_()
            slope = self._slope(at, lambda x: self.log_f(x, g), create=True)
        flow = CARRIED * (self.heat * slope - (z - noise)).square().mean()
        half = len(z) // 2
        wide = torch.where(torch.rand(half, 1, device=z.device) < WIDE, self.spread, 1.0)  # finds hollows far away
        start = torch.cat((self._carried(wide * torch.randn_like(z[:half]), g[:half], self.moves), z[half:]))
        made = self._langevin(start, lambda x: self.log_f(x, g), torch.full((len(z), 1), self.stride).to(z))
        data, model = self.log_f(z, g), self.log_f(made, g)
        gap = data.mean() - model.mean()
        self.latest = {"gap": gap.detach(), "flow": flow.detach()}
        return {"flow": flow, "contrast": -gap, "smooth": self.smooth * (data - model).square().mean()}

    def _carried(self, z: Tensor, g: Tensor, steps: int) -> Tensor:
        """Where the slope carries noise in unit time: no randomness is added."""
        for _ in range(steps):
            z = z.detach() + self.heat / steps * self._slope(z, lambda x: self.log_f(x, g))
        return z.detach()

    def _given(self, x: Tensor, noisy: Tensor, jump: Tensor, g: Tensor, level: Tensor) -> Tensor:
        """log p of an item at a level given the next noisier one, up to its constant."""
        return self.log_f(x, g, level) - 0.5 * ((noisy - x) / jump).square().sum(1)

    def _langevin(
        self,
        z: Tensor,
        log_f: Callable[[Tensor], Tensor],
        stride: Tensor,
        noise: Callable[[], Tensor] | None = None,
        moves: int | None = None,
    ) -> Tensor:
        """`moves` steps z + s²/2 ∇log f + s ε, steep slopes held back."""
        steepest = STEEPEST * self.size**0.5 / stride
        for _ in range(moves or self.moves):
            slope = self._slope(z, log_f)
            slope = slope * (steepest / slope.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1)
            z = (
                z.detach()
                + 0.5 * stride.square() * slope
                + stride * (torch.randn_like(z) if noise is None else noise())
            )
        return z.detach()

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """The loss of classifying data against noise, or else how well slopes undo noise of `sigma`."""
        z, g = self.standardised(batch.x), groups(batch.condition, len(batch), batch.x.device)
        if self.chosen == "noise":
            return self._noise(z, g)["noise"].detach()
        return (self._levels if self.chosen == "levels" else self._score)(z, g)["score"].detach()

    def telemetry(self) -> dict[str, Tensor]:
        return self.latest

    # ── the questions ──

    def starts(self) -> tuple[Tensor, ...]:
        return (self.mean, self.scale)

    def _annealed(
        self, g: Int[Tensor, "n"], temperatures: int, *, seed: int = 0, streams: Streams | None = None
    ) -> tuple[Tensor, Tensor]:
        """Chains from the broad normal to the model: z and log-weights, over the normal's own constant."""

        def base(z: Tensor) -> Tensor:
            return -0.5 * (z / self.spread).square().sum(1) - self.size * math.log(self.spread * math.sqrt(2 * math.pi))

        def target(z: Tensor) -> Tensor:
            return self.log_f(z, g if len(z) == len(g) else g[:1].expand(len(z)))

        return anneal(
            lambda s: self.spread * s.normal(self.size), base, target, n=len(g), temperatures=temperatures,
            seed=seed, device=self.mean.device, streams=streams,
        )  # fmt: skip

    def anneal(self, group: int, temperatures: int, runs: int, seed: int = 0) -> tuple[float, float]:
        """log Z of a class of the condition, of standardised items, and its standard error."""
        g = torch.full((runs,), group, dtype=torch.int64, device=self.mean.device)
        return log_mean_weight(self._annealed(g, temperatures, seed=seed)[1])

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p in nats with the estimated log Z; beyond 8 dimensions and of `recovery` up to a constant: (n,)."""
        self.check_condition(len(x), condition)
        near, far = near_items(x)
        g = groups(condition, len(x), x.device)
        value = self.log_f(self.standardised(near), g)
        if self.density is Density.ESTIMATE:
            value = (value.double() - self.normaliser()[g] - self.scale.double().log().sum()).to(value.dtype)
        return value.masked_fill(far, -math.inf)

    def log_prob_error(self) -> float | None:  # type: ignore[override]
        """Standard error of log Z where there is one."""
        return super().log_prob_error() if self.density is Density.ESTIMATE else None

    def log_posterior(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n groups"]:
        """log p(class | x) of the classifier within: (n, classes)."""
        return self.logits(self.standardised(x)).log_softmax(1)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """Hamiltonian chains annealed from the broad normal; of `recovery` Langevin moves from level to level, of
        `matching` the transport of its own slope and Langevin moves."""
        self.check_condition(n, condition)
        with torch.inference_mode(False), torch.no_grad():  # slopes are needed
            g = groups(condition, n, self.mean.device).clone()
            if self.chosen == "levels":
                z = self._denoised(g, generator)
            elif self.chosen == "recovery":
                z = self._descended(g, generator)
            elif self.chosen == "matching":
                z = self._carried(generator.normal(self.size), g, self.sampler_steps)
                stride, noise = torch.full((n, 1), self.stride).to(z), lambda: generator.normal(self.size)
                z = self._langevin(z, lambda x: self.log_f(x, g), stride, noise, self.sampler_steps)
            else:
                z = self._annealed(g, self.sampler_steps, streams=generator)[0]
        x = (self.mean + self.scale * z).reshape(n, *self.event.shape)  # type: ignore[union-attr]
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x

    def _descended(self, g: Int[Tensor, "n"], generator: Streams) -> Float[Tensor, "n size"]:
        z = (1 + LEVELS[-1] ** 2) ** 0.5 * generator.normal(self.size)
        for k in reversed(range(len(LEVELS) - 1)):
            jump = torch.full((len(g), 1), (LEVELS[k + 1] ** 2 - LEVELS[k] ** 2) ** 0.5).to(z)
            level, noisy = torch.full_like(g, k), z
            z = self._langevin(
                z,
                lambda x, noisy=noisy, jump=jump, level=level: self._given(x, noisy, jump, g, level),  # type: ignore[misc]
                STRIDE * jump,
                lambda: generator.normal(self.size),
            )
        return z

    def _denoised(self, g: Int[Tensor, "n"], generator: Streams) -> Float[Tensor, "n size"]:
        """Down the levels of `levels`: the mean of clean items, with the noise of the next (Ho et al., 2020)."""
        z = (1 + NOISES[-1] ** 2) ** 0.5 * generator.normal(self.size)
        for k in reversed(range(len(NOISES))):
            level = torch.full_like(g, k)
            clean = z + NOISES[k] ** 2 * self._slope(z, lambda x, level=level: self.log_f(x, g, level))  # type: ignore[misc]
            if not k:
                return clean
            share = (NOISES[k - 1] / NOISES[k]) ** 2
            z = clean + share * (z - clean) + NOISES[k - 1] * (1 - share) ** 0.5 * generator.normal(self.size)
        return z
