"""Generative adversarial networks: a critic learns to separate data from samples, a generator learns to deceive it.

Goodfellow et al., 2014 (arXiv 1406.2661). Losses (`maths.adversarial`), penalties, architectures (`players`) and kinds
of conditioning are independent choices; the historical models are recipes of them, each with its paper. Penalties are
lazy: every few steps, times as much (Karras et al., 2020, arXiv 1912.04958).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pofx.core.errors import Unsupported
from pofx.core.event import Bounded, Condition, Continuous, Discrete, Event, concatenated, select
from pofx.core.generative import Control, Steerable
from pofx.core.model import Batch, Phase, Tempered
from pofx.core.options import Depth, NonNegative, OneOf, Positive, Range, Temperature, Unit, Width
from pofx.core.random import Streams
from pofx.families.gan import control
from pofx.families.gan.candidates import Odds, chosen
from pofx.families.gan.health import TRANSLATION, UNGUIDED, growing, mends, symptoms
from pofx.families.gan.inversion import KINDS, Inverting, Steps
from pofx.families.gan.mismatch import differing, others_of
from pofx.families.gan.players import ARCHITECTURES, UPSAMPLING, Build, Critic, Generator
from pofx.families.gan.recipes import RECIPES
from pofx.maths import adversarial
from pofx.maths.augmentation import OPERATIONS
from pofx.maths.augmentation import augment as augmented
from pofx.maths.checkerboard import evened, overlap_imbalance
from pofx.nets.image.style import StyleFeatures, StyleSynthesis
from pofx.nets.vector.conditioner import CONDITIONS
from pofx.nets.vector.mlp import ACTIVATIONS

PENALTIES = ("none", "r1", "r2", "r1+r2", "gradient", "clip")
WEIGHTS = {"none": 0.0, "gradient": 10.0, "clip": 0.01}  # of a penalty by default; for r1 and r2 see GAN
VIEWS = ("flip", "translation")  # the changes under which consistency is required
CANDIDATES = 8  # of vectors
PREPARED = 512  # items whose conditions are looked at before training
ADAPTING = 100_000  # items in which the probability of augmentation can go from 0 to 1


class GAN(Tempered, Inverting, Steerable):
    """GAN: one-step samples from a duel with a critic, no density.

    Args:
        architecture: networks for grids; vectors get perceptrons whatever it is.
        latent: dimensions of the code z.
        width: channels of the networks for grids.
        units: of each layer of perceptrons.
        blocks: residual blocks per resolution, hidden layers less two, or layers of a mapping network; None takes 1 for
            grids and 2 for vectors.
        loss: a name of `maths.adversarial.LOSSES`.
        penalty: of the critic: its squared slope on data, samples or both (r1, r2), slope 1 between pairs (gradient),
            clipped weights (clip), or none.
        gamma: weight of the penalty; None takes 1 for grids and 0.01 for vectors, ten times as much for "gradient",
            0.01 for "clip".
        every: steps between penalties, which count as many times.
        differences: above 0, r1 and r2 by finite differences along the slope, without second derivatives: the size of
            the step per number of an item. 0.05 suits most critics.
        activation: of perceptrons; straight pieces bend as sharply as data with modes far apart needs.
        octaves: waves of each number that the critic of vectors sees beside it.
        critic_steps: steps of the critic for one of the generator.
        critic_rate: factor on the critic's learning rate.
        spectral: which layers keep a spectral norm of 1.
        norm: of the transposed critic.
        centre_features: the critic's features are less their running mean.
        saturated: style generators of bounded events end in tanh, so that samples reach the bounds exactly.
        attention: a layer of self-attention in spectral networks.
        tapered: spectral networks have fewer channels at finer resolutions, so that none costs much more than another.
        upsampling: of the transposed generator: by transposed convolutions, or by resizing and convolving.
        overlap: weight of the uneven overlap of transposed convolutions, which draws checkerboards; above 0 they begin
            without any.
        shuffle: places by which the critic of signals moves what it hears at random.
        group: items of the minibatch deviation that style critics see; 0 leaves it out.
        auxiliary: a classifier instead of projection brings the condition to the critic.
        matching: weight with which real items under the conditions of others count as samples (Reed et al., 2016, arXiv
            1605.05396); None takes 1 for grids under classes and texts. What a condition does to samples grows with it.
        augment: changes under which the critic sees items.
        adaptive: share of sign(D(x)) that the probability of these changes follows; 0 makes it 1.
        consistency: weight of the change of logits under flips and translations.
        l1: weight of the absolute difference of a sample from the item that has its condition.
        transport: weight of the distance between noise and samples.
        centring: weight of the squared sum of a pair's logits.
        normalise: divide the critic's gradient by its running norm.
        mixing: share of steps with two codes w in one sample.
        path_length: weight of the path-length penalty.
        growth: items after which a progressive net adds a resolution; 0 starts at full size.
        inversion: how items get codes: a learned encoder, or optimisation from the middle of the noise.
        inversion_steps: steps of optimisation per item, after the encoder where there is one; None is 0 with an
            encoder and 100 without.
        mix_levels: samples take coarse, middle, fine or all styles from a second code.
        directions: unsupervised directions of the code: singular vectors of the layers that read it (sefa), or
            principal components of codes w (ganspace).
        direction: number of the direction along which samples move; 0 leaves them.
        plus: a class towards whose mean w samples move; -1 leaves it out.
        minus: a class from whose mean w they move away; -1 leaves it out.
        strength: how far, in standard deviations of the code, or in differences of the classes.
        calibrate: learn the scale at which the critic's logits are log odds of real items, which `candidates` need.
        candidates: draws among which each sample is chosen by these odds, against what lies between modes; None takes
            8 for vectors and 1 for grids.
    """

    source = "Goodfellow et al., 2014, arXiv 1406.2661"
    events = (Bounded, Continuous)
    conditions = CONDITIONS
    former = {"balance": "overlap"}
    unstated: ClassVar = {
        "activation": "silu", "matching": 0.0, "saturated": False, "centre_features": False, "tapered": False,
        "calibrate": False, "candidates": 1,
    }  # fmt: skip
    adjustable = ("inversion_steps", "mix_levels", "directions", "direction", "plus", "minus", "strength",
                  "candidates")  # fmt: skip
    small: ClassVar[dict[str, Any]] = {
        "latent": 4, "width": 32, "units": 32, "every": 1, "critic_steps": 1, "growth": 0,
        "group": 0,  # a deviation over the batch is no mean over it
    }  # fmt: skip
    trains_with: ClassVar[dict[str, Any]] = {
        "batch_size": 64,
        "least_batch": 16,
        "enough_steps": 10_000,
        "lr": 1e-3,
        "betas": [0.0, 0.99],
        "clip": 0.0,
        "precision": "auto",
    }
    recipes = RECIPES
    probability: Tensor
    mean_length: Tensor
    slope_square: Tensor
    seen: Tensor

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        architecture: Annotated[str, OneOf(*ARCHITECTURES)] = "residual",
        latent: Width = 64,
        width: Width = 64,
        units: Width = 128,
        blocks: Depth | None = None,
        loss: Annotated[str, OneOf.keys(adversarial.LOSSES)] = "relativistic",
        penalty: Annotated[str, OneOf(*PENALTIES)] = "r1+r2",
        gamma: NonNegative | None = None,
        every: Depth = 8,
        differences: NonNegative = 0.0,
        activation: Annotated[str, OneOf.keys(ACTIVATIONS)] = "relu",
        octaves: Annotated[int, Range(0, 16)] = 0,
        critic_steps: Depth = 1,
        critic_rate: Positive = 1.0,
        spectral: Annotated[str, OneOf("none", "critic", "both")] = "none",
        norm: Annotated[str, OneOf("none", "batch")] = "none",
        centre_features: bool = False,
        saturated: bool = True,
        attention: bool = False,
        tapered: bool = False,
        upsampling: Annotated[str, OneOf(*UPSAMPLING)] = "transposed",
        overlap: NonNegative = 0.0,
        shuffle: Annotated[int, Range(0, 1024)] = 2,
        group: Annotated[int, Range(0, 1024)] = 0,
        auxiliary: bool = False,
        matching: NonNegative | None = None,
        augment: Sequence[Annotated[str, OneOf(*OPERATIONS)]] = (),
        adaptive: Unit = 0.0,
        consistency: NonNegative = 0.0,
        l1: NonNegative = 0.0,
        transport: NonNegative = 0.0,
        centring: NonNegative = 0.0,
        normalise: bool = False,
        mixing: Unit = 0.0,
        path_length: NonNegative = 0.0,
        growth: Annotated[int, Range(0, 1_000_000_000)] = 0,
        inversion: Annotated[str, OneOf(*KINDS)] = "encoder",
        inversion_steps: Steps | None = None,
        mix_levels: Annotated[str, OneOf("none", *control.MIXES)] = "none",
        directions: Annotated[str, OneOf(*control.DIRECTIONS)] = "sefa",
        direction: Annotated[int, Range(0, 8192)] = 0,
        plus: Annotated[int, Range(-1, 1 << 24)] = -1,
        minus: Annotated[int, Range(-1, 1 << 24)] = -1,
        strength: Annotated[float | int, Range(-1000, 1000)] = 1.0,
        calibrate: bool = True,
        candidates: Annotated[int, Range(1, 10_000)] | None = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        if auxiliary and not (condition is None or (isinstance(condition, Discrete) and condition.shape == ())):
            raise Unsupported("an auxiliary classifier needs classes as its condition: pass auxiliary=false")
        if auxiliary and architecture == "unet":
            raise Unsupported("a critic of patches has no classifier of whole items: pass auxiliary=false")
        if differences and shuffle and architecture == "wave" and len(event.shape) == 1:
            raise Unsupported("phase shuffle differs on both sides of a finite difference: pass shuffle=0")
        self.architecture, self.latent, self.width, self.units = architecture, latent, width, units
        self.loss, self.penalty, self.gamma, self.every, self.differences = loss, penalty, gamma, every, differences
        self.critic_steps, self.critic_rate = critic_steps, critic_rate
        self.spectral, self.norm, self.attention, self.group = spectral, norm, attention, group
        self.centre_features, self.saturated, self.tapered = centre_features, saturated, tapered
        self.auxiliary, self.augment, self.adaptive = auxiliary, list(augment), adaptive
        self.matching, self.mismatches = matching, matching or 0.0
        self.l1, self.upsampling, self.overlap, self.shuffle = l1, upsampling, overlap, shuffle
        self.consistency, self.transport, self.centring = consistency, transport, centring
        self.normalise, self.mixing, self.path_length, self.growth = normalise, mixing, path_length, growth
        self.mix_levels, self.directions, self.direction = mix_levels, directions, direction
        self.plus, self.minus, self.strength, self.octaves, self.activation = plus, minus, strength, octaves, activation
        self.calibrate, self.candidates, self.is_grid = calibrate, candidates, len(event.shape) == 3
        self.is_vector = not self.is_grid and architecture != "wave"
        self.blocks = blocks or (2 if self.is_vector else 1)
        if matching is None and self.is_grid and architecture != "unet" and isinstance(condition, Discrete):
            self.mismatches = 1.0
        if (augment or consistency) and not self.is_grid:
            raise Unsupported("augment and consistency change grids (C, H, W): leave them out for vectors")
        usual = WEIGHTS if self.is_grid else {**WEIGHTS, "gradient": 0.1}
        self.weight = usual.get(penalty, 1.0 if self.is_grid else 0.01) if gamma is None else gamma
        build = Build(
            architecture, latent, width, units, self.blocks, attention, spectral, norm, upsampling, shuffle, group,
            activation, saturated, centre_features, tapered, octaves,
        )  # fmt: skip
        self.generator = Generator(event, condition, build)
        if overlap:  # balanced from the start: a penalty alone moves weights by a rate a step
            for layer in self._transposed():
                with torch.no_grad():
                    layer.weight.copy_(evened(layer.weight, layer.stride))
        self.critic = Critic(event, condition, build, auxiliary=auxiliary)
        if transport and self.generator.inputs != event.shape[0]:
            raise Unsupported(
                f"transport compares noise with events: latent must be {event.shape[0]} for vectors of that length"
            )
        self.give_codes(inversion, inversion_steps, latent, width if self.is_grid else units)
        self.duel = adversarial.LOSSES[loss]
        self.odds = Odds() if calibrate else None
        self.latest: dict[str, Tensor] = {}
        for name, start in (("probability", 0.0), ("mean_length", 0.0), ("slope_square", 0.0)):
            self.register_buffer(name, torch.full((), start))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @classmethod
    def upgraded(
        cls, name: str, options: Mapping[str, Any], weights: Mapping[str, Tensor]
    ) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor]]:
        """Before there were recipes, "gan" was today's r3gan, and nothing was counted."""
        if name == "gan" and "architecture" not in options:
            counters = {k: torch.zeros(()) for k in ("probability", "mean_length", "slope_square")}
            weights = {**counters, "seen": torch.zeros((), dtype=torch.int64), **weights}
            name = "r3gan"
        if "inversion" not in options:  # there was none
            options = {**options, "inversion": "optimisation", "units": options.get("width", 64)}
        return name, options, weights

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Texts and pictures as conditions begin as different from one another for the generator as classes are."""
        conditioner = self.generator.conditioner
        if conditioner.event is not None:
            condition = take(PREPARED).condition
            assert condition is not None
            given = condition if self.generator.placed is None else self.generator.placed.beside(condition)
            if given is not None:
                conditioner.standardise(given)

    def suited(self) -> Mapping[str, Any]:
        """Of vectors a shorter average of weights, and no smaller batches."""
        return {"ema_images": 2000, "least_batch": 64} if self.is_vector else {}

    # phases

    def phases(self) -> tuple[Phase, ...]:
        generator, critic = tuple(self.generator.parameters()), tuple(self.critic.parameters())
        rate = self.critic_rate
        found = [
            Phase("generator", generator, self.generator_loss, every=self.critic_steps),
            Phase("critic", critic, self.critic_loss, rate=rate, after=self._after_critic),
        ]
        if self.penalty in ("r1", "r2", "r1+r2", "gradient"):
            found.append(Phase("regulariser", critic, self.regulariser_loss, every=self.every, rate=rate))
        if self.path_length and self.generator.styled:
            found.append(Phase("path", generator, self.path_loss, every=4))
        return (*found, *self.inversion_phases())

    def forward(self, phase: str, batch: Batch) -> Tensor | dict[str, Tensor]:
        """The loss of a phase, without gathering the parameters of all of them at every step."""
        loss: Tensor | dict[str, Tensor] = getattr(self, f"{phase}_loss")(batch)
        return loss

    @torch.no_grad()
    def _after_critic(self, losses: Any) -> None:
        for p in self.critic.parameters() if self.penalty == "clip" else ():
            p.clamp_(-self.weight, self.weight)

    @property
    def stage(self) -> float | None:
        """How many resolutions a progressive net has grown by: each is added in `growth` items and held as long."""
        if self.architecture != "progressive" or not self.growth:
            return None
        held, share = divmod(float(self.seen) / self.growth, 2)
        return held + max(share - 1, 0.0)

    def draw(self, batch: Batch) -> tuple[Float[Tensor, "n *event"], Float[Tensor, "n inputs"]]:
        """As many samples as the batch has items, under its condition, and the noise they come from."""
        n, device = len(batch), batch.x.device
        z = torch.randn(n, self.generator.inputs, dtype=torch.float32, device=device)
        mixed, crossover = None, 0
        if self.mixing and self.generator.styled and self.training and torch.rand(()) < self.mixing:
            mixed = torch.randn(n, self.latent, dtype=torch.float32, device=device)
            crossover = int(torch.randint(1, max(self.generator.levels, 2), ()))
        x = self.generator(z, batch.condition, mixed=mixed, span=(crossover, None), stage=self.stage)
        return x, z

    def seen_as(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        """Items as the critic sees them: randomly changed, with the present probability."""
        if not self.augment:
            return x
        return augmented(x, self.augment, self.probability if self.adaptive else 1.0)

    def generator_loss(self, batch: Batch) -> dict[str, Tensor]:
        x, z = self.draw(batch)
        seen = adversarial.normalised_gradient(x, self.slope_square) if self.normalise else x
        phi = self.critic.phi(self.seen_as(seen), batch.condition, stage=self.stage)
        fake = self.critic.judge(phi, None if self.auxiliary else batch.condition)
        real = fake.detach()
        if self.duel.paired:
            with torch.no_grad():
                real = self._logits(self.seen_as(batch.x), batch)
        parts = {"generator": self.duel.generator(real, fake)}
        if self.critic.classes is not None and batch.condition is not None:
            parts["class"] = cross_entropy(self.critic.classes(phi), batch.condition)
        if self.overlap:
            uneven = [overlap_imbalance(layer.weight.float(), layer.stride) for layer in self._transposed()]
            parts["overlap"] = self.overlap * torch.stack(uneven).sum() if uneven else x.new_zeros(())
        if self.l1:
            parts["l1"] = self.l1 * (x - batch.x).abs().mean()
        if self.transport:
            parts["transport"] = self.transport * adversarial.transport_cost(x, z)
        return parts

    def critic_loss(self, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            fake = self.draw(batch)[0]
        seen, c = (self.seen_as(batch.x), self.seen_as(fake)), batch.condition
        phi = self._features(seen, c)
        condition = None if self.auxiliary or c is None else concatenated((c, c))
        real, fake_logits = self.critic.judge(phi, condition).chunk(2)
        parts = {"critic": self.duel.critic(real, fake_logits)}
        if self.critic.classes is not None and c is not None:
            parts["class"] = cross_entropy(self.critic.classes(phi[: len(batch)]), c)
        if self.mismatches and c is not None and not self.auxiliary:
            parts["matching"] = self.mismatches * self._mismatched(seen[0], phi[: len(real)], real, c)
        if self.centring:
            parts["centring"] = self.centring * adversarial.logit_centring(real, fake_logits)
        if self.consistency:
            again = self._logits(augmented(batch.x, VIEWS), batch)
            parts["consistency"] = self.consistency * (again - real).square().mean()
        if self.training:
            self._learn(real.detach(), len(batch))
            if self.odds is not None:
                self.odds.follow(real.detach().float(), fake_logits.detach().float())
            self._observe(real.detach().float(), fake_logits.detach().float())
        return parts

    def _transposed(self) -> list[nn.ConvTranspose2d]:
        return [m for m in self.generator.modules() if isinstance(m, nn.ConvTranspose2d)]

    def _features(self, parts: tuple[Tensor, ...], c: Condition | None) -> Float[Tensor, "logits width"]:
        """Of several batches under one condition: at once, or one by one where the critic couples items, for what is
        fake must not show by what lies beside it."""
        if self.critic.couples:
            return torch.cat([self.critic.phi(x, c, stage=self.stage) for x in parts])
        each = None if c is None else concatenated([c] * len(parts))
        return self.critic.phi(torch.cat(parts), each, stage=self.stage)

    def _mismatched(self, x: Tensor, phi: Tensor, real: Tensor, c: Condition) -> Tensor:
        """Half the critic's loss of real items beside the same items under the conditions of others."""
        others = select(c, others_of(c, len(x), x.device))
        there = differing(c, others).repeat_interleave(len(phi) // len(x))  # of each logit of an item
        if self.critic.placed is None:
            wrong = self.critic.judge(phi, others)
        else:  # the condition is a part of what the features are computed from
            wrong = self._logits(x, Batch(x, others))
        return self.duel.critic(real[there], wrong[there]) / 2 if bool(there.any()) else wrong.sum() * 0.0

    def _observe(self, real: Tensor, fake: Tensor) -> None:
        """Remember what telemetry reports; the accuracy as a running mean, for one batch states little."""
        accuracy = (real[:256, None] > fake[None, :256]).float().mean()
        before = self.latest.get("critic accuracy", accuracy)
        self.latest = {"D(real)": real.mean(), "D(fake)": fake.mean(), "critic accuracy": before.lerp(accuracy, 0.02)}
        if self.adaptive:
            self.latest["augmentation"] = self.probability.clone()

    def telemetry(self) -> Mapping[str, Tensor]:
        return self.latest

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        alone = {"condition": UNGUIDED} if self.l1 and self.condition is None else {}
        own = mends(vars(self), grid=self.is_grid, styled=isinstance(self.critic.features, StyleFeatures))
        sizes = self.generator.net.sizes if isinstance(self.generator.net, StyleSynthesis) else ()
        small = growing(self.stage, sizes, float(self.seen), numbers.get("share", 0.0))
        return {**alone, **small, **symptoms(numbers, TRANSLATION if self.l1 else own)}

    def _learn(self, real: Tensor, n: int) -> None:
        """Count items; lead the probability of augmentation by how sure the critic is of real ones."""
        self.seen += n
        if self.adaptive:
            step = (real.sign().mean() - self.adaptive).sign() * n / ADAPTING
            self.probability.add_(step).clamp_(0, 0.85)

    def _logits(self, x: Tensor, batch: Batch) -> Tensor:
        logits: Tensor = self.critic(x, None if self.auxiliary else batch.condition, stage=self.stage)
        return logits

    def regulariser_loss(self, batch: Batch) -> dict[str, Tensor]:
        """every · γ · penalty (γ/2 for R1 and R2), on items as the critic sees them."""
        with torch.no_grad():
            fake = self.draw(batch)[0]

        def critic(x: Tensor) -> Tensor:
            phi = self._features(x.split(len(batch)), batch.condition)
            k, c = len(x) // len(batch), None if self.auxiliary else batch.condition
            return self.critic.judge(phi, None if c is None else concatenated([c] * k))

        def changed(x: Tensor) -> Tensor:
            return critic(self.seen_as(x))

        def slope(x: Tensor) -> Tensor:
            if self.differences:  # of what was changed alike
                return adversarial.finite_difference_penalty(critic, self.seen_as(x), self.differences)
            return adversarial.squared_gradient(changed, x)

        if self.penalty == "gradient":
            return {"gradient": self.every * self.weight * adversarial.gradient_penalty(changed, batch.x, fake)}
        weight = self.every * self.weight / 2
        sides = {"r1": batch.x, "r2": fake}
        return {name: weight * slope(x) for name, x in sides.items() if name in self.penalty}

    def path_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """4 · weight · the path-length penalty on a quarter of the batch."""
        n = max(len(batch) // 4, 1)
        net = self.generator.net
        z = torch.randn(n, self.generator.inputs, dtype=torch.float32, device=batch.x.device)
        c = None if batch.condition is None else select(batch.condition, slice(n))
        code, *noises = z.split([net.latent, *net.cells], 1)  # type: ignore[misc, list-item]
        w = net.mapping(code, self.generator.conditioner(c))  # type: ignore[operator]
        w = w if w.requires_grad else w.requires_grad_()
        x = net.synthesise([w] * net.levels, noises)  # type: ignore[operator]
        return 4 * self.path_length * adversarial.path_length(x.float(), w, self.mean_length)

    # sampling and codes

    def sample(
        self,
        n: int,
        condition: Condition | None = None,
        *,
        generator: Streams,
        temperature: Temperature = 1.0,
        truncation: Temperature = 1.0,
    ) -> Float[Tensor, "{n} *event"]:
        """One pass, cut to the bounds of a bounded event: float32 (n, *event.shape).

        Args:
            temperature: a factor on the noise (the truncation of Brock et al., 2019, by scale), and on the distance of
                codes w from their mean.
            truncation: a factor on that distance alone (Karras et al., 2019, app. B); the mean is that under the
                condition.

        Raises:
            UsageError: truncation for a generator without codes w, temperature for one that norms its noise.
        """
        self.check_condition(n, condition)
        control.check_steering(self.generator, truncation, self.mix_levels, temperature)
        control.check_steps(self.direction, self.directions, self.plus, self.minus, self.strength)
        closeness = truncation * temperature if self.generator.styled else 1.0  # w is computed from normed noise
        centre = control.centre_of(self.generator, condition) if closeness != 1.0 and condition is not None else None
        span, shift = control.span(self.mix_levels, self.generator.levels), self._shift()

        def draw() -> Tensor:
            z = generator.normal(self.generator.inputs) * temperature
            mixed = generator.normal(self.latent) * temperature if self.mix_levels != "none" else None
            x: Tensor = self.generator(
                z, condition, truncation=closeness, mixed=mixed, span=span, centre=centre, shift=shift, stage=self.stage
            )
            return self.bounded(x)

        usual, logits = CANDIDATES if self.is_vector else 1, lambda x: self._logits(x, Batch(x, condition))
        return chosen(
            draw, logits, self.candidates or usual, self.odds, generator,
            stated=self.candidates is not None, single=not self.critic.grouped,
        )  # fmt: skip

    def controls(self) -> tuple[Control, ...]:
        return control.controls(self.generator, self.condition)

    def _shift(self) -> Tensor | None:
        """What is added to every code: a direction, and the difference of two classes."""
        shift = None
        if self.direction:
            shift = self.strength * control.direction_of(self.generator, self.directions, self.direction)
        if self.plus >= 0 or self.minus >= 0:
            moved = self.strength * control.class_shift(self.generator, self.condition, self.plus, self.minus)
            shift = moved if shift is None else shift + moved
        return shift
