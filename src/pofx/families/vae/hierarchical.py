"""The hierarchical autoencoder: groups of codes from coarse to fine, each with a prior given those above it.

    p(x, z) = p(x | z) Π_l p(z_l | z_above),   q(z | x) = Π_l q(z_l | z_above, x)

Inference is bidirectional: features of x go up once, then prior and posterior go down together and share the path
(Sønderby et al., 2016, arXiv 1602.02282; Kingma et al., 2016, arXiv 1606.04934; Child, 2021, arXiv 2011.10650). The
posterior is stated relative to the prior, m_p + s_p Δm and s_p exp(Δs), under which the KL term of a group that knows
nothing is 0 (Vahdat and Kautz, 2020, arXiv 2007.03898, eq. 2), with softly bounded scales.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, OnePhase, Phase, X
from pofx.core.options import Count, NonNegative, OneOf, Range, Width
from pofx.core.random import Streams
from pofx.families.vae.bounds import ImportanceBound
from pofx.families.vae.infilling import Filling
from pofx.families.vae.networks import LARGEST
from pofx.families.vae.observation import observation_model, of_then
from pofx.maths.distributions import normal_log_prob
from pofx.nets.image.autoencoder import sizes
from pofx.nets.image.ladder import Convolution, Normalised, Rung, UpwardLadder
from pofx.nets.vector.conditioner import CONDITIONS, Conditioner

LEAST, BOUND = 1e-2, 4.0  # nats of a group that is in use; of the log scales
YOUNG = 0.25  # share of the budget before which groups may be unused
DEEP, FLAT = (4, 3, 2), (24, 2, 1)  # numbers of a code, levels, groups; of perceptrons on grids
AT_ONCE = 16  # importance samples decoded together


@dataclass
class Path:
    """What one descent gives: log p(z), log q(z | x), the KL term of each group and item, the codes, the features."""

    h: Tensor
    codes: list[Tensor]
    log_prior: Tensor
    log_q: Tensor
    kl: list[Tensor]


class HVAE(OnePhase, ImportanceBound, Filling):
    """Hierarchical VAE: codes from coarse to fine.

    Args:
        latent: numbers of a code at each place of a group; None takes 4, or 24 for perceptrons on grids.
        width: channels of convolutions, or units of perceptrons; None takes 32, or 128, or 256 on grids.
        network: "conv", a hierarchy of sizes (grids only), "mlp", one of vectors, or "auto": mlp for grids of at
            most 1,024 positions, where products of matrices learn more in the same time, as for `vae`.
        stem: halvings of height and width before the first size that has codes; the work grows by four with each less.
        halvings: sizes of the hierarchy, each half of the one before; of perceptrons its levels; None takes 3, or 2 for
            perceptrons on grids.
        groups: of codes at each size; None takes 2, or 1 for perceptrons on grids.
        normalised: by group: "all" layers, "blocks" (not the outputs' input), "none", or "auto": blocks of
            convolutions. Before the outputs it hides from them how far a code lies from others.
        inner: layers within a block; None takes 2, or none for perceptrons, whose blocks are then as wide as the rest.
        observation: "bernoulli", "categorical", "logistic" or "auto" for Discrete events (auto: bernoulli for two
            classes, logistic from 8 on in images); Continuous events have a Gaussian.
        components: of the logistic mixture.
        beta: weight of the KL term in training.
        kl_warmup: steps over which the KL weight rises from 0 in training.
        free_bits: nats of each group, averaged over the batch, that the KL term does not punish.
        importance: importance samples in `log_prob`.
    """

    name = "hvae"
    source = "Sønderby et al., 2016, arXiv 1602.02282; Child, 2021, arXiv 2011.10650"
    events = (dict, Discrete, Continuous)
    ranks = (1, 2, 3)
    unequal = True
    conditions = CONDITIONS
    best_density = Density.BOUND
    lossless = False
    adjustable = ("importance",)
    trains_with = {"lr": 2e-3, "skip_above": 20.0}
    small = {"latent": 1, "width": 16, "stem": 1, "halvings": 2, "groups": 1, "importance": 16}
    exempt = {"reconstruction": "a code holds what lowers the loss, so x is recovered only roughly"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        latent: Width | None = None,
        width: Width | None = None,
        network: Annotated[str, OneOf("auto", "mlp", "conv")] = "auto",
        stem: Annotated[int, Range(1, 4)] = 2,
        halvings: Annotated[int, Range(1, 8)] | None = None,
        groups: Annotated[int, Range(1, 64)] | None = None,
        inner: Annotated[int, Range(0, 16)] | None = None,
        normalised: Annotated[str, OneOf("auto", "all", "blocks", "none")] = "auto",
        observation: Annotated[str, OneOf("auto", "bernoulli", "categorical", "logistic")] = "auto",
        components: Annotated[int, Range(1, 256)] = 3,
        beta: NonNegative = 1.0,
        kl_warmup: Annotated[int, Range(0, 1_000_000_000)] = 0,
        free_bits: NonNegative = 0.0,
        importance: Count = 64,
    ) -> None:
        super().__init__(event, condition)
        self.network = network_of(event, network)
        self.grid = self.network == "conv"
        flattened = not self.grid and not isinstance(event, dict) and len(event.shape) == 3
        width = width or (32 if self.grid else 256 if flattened else 128)
        latent, halvings, groups = (
            b if a is None else a for a, b in zip((latent, halvings, groups), FLAT if flattened else DEEP, strict=True)
        )
        inner = (2 if self.grid else 0) if inner is None else inner
        normalised = ("blocks" if self.grid else "none") if normalised == "auto" else normalised
        self.inner, self.normalised = inner, normalised
        self.latent, self.width, self.halvings, self.groups = latent, width, halvings, groups
        self.stem, self.observation, self.components = stem, observation, components
        self.beta, self.kl_warmup, self.free_bits, self.importance = beta, kl_warmup, free_bits, importance
        self.likelihood = observation_model(event, observation, components)
        self.conditioner = Conditioner(condition, 32)
        context = self.conditioner.width
        if self.grid and not isinstance(event, dict):
            every = sizes(event.shape[1], event.shape[2], stem + halvings - 1)
            places = [every[0], *every[stem:]]
            inputs, outputs = event.shape[0], 4**stem * self.likelihood.outputs * event.shape[0]
        else:
            places = [(1, 1)] * (halvings + 1)
            inputs, outputs = self.likelihood.inputs, math.prod(self.likelihood.numbers)
        self.places = places
        self.up = UpwardLadder(
            inputs, places, width, 1, context=context, first=2**stem, inner=inner, norm=normalised != "none"
        )
        self.top = nn.Parameter(torch.zeros(width, *places[-1]))
        self.rungs = nn.ModuleList(
            Rung(
                places[level],
                level - 1,
                latent,
                width,
                context=context,
                share=(halvings * groups) ** -0.5,
                inner=inner,
                norm=normalised != "none",
            )  # fmt: skip
            for level in range(halvings, 0, -1)
            for _ in range(groups)
        )
        self.norm = Normalised(math.gcd(8, width), width) if normalised == "all" else nn.Identity()
        self.last = Convolution(width, outputs, 3 if self.grid else 1, padding=1 if self.grid else 0)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
        self.marginals = nn.Parameter(torch.zeros(self.likelihood.numbers))
        self.shapes = [(latent, *rung.size) for rung in self._rungs()]
        self.size = sum(map(math.prod, self.shapes))
        self.code = Continuous((self.size,))
        self.steps: Tensor
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._latest: dict[str, float] = {}

    @classmethod
    def recognised(cls, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Any]:
        first = shapes.get("up.steps.0.weight", ())
        if "network" not in options and len(first) == 4:  # grids had convolutions, whatever their size; all blocks two
            options = {**options, "network": "conv" if first[-1] > 1 else "mlp", "inner": 2, "normalised": "all"}
        return of_then(options, shapes, "up.steps.0.weight")

    def _rungs(self) -> list[Rung]:
        return list(self.rungs)  # type: ignore[arg-type]

    # ── up and down ──

    def features(self, x: X, context: Float[Tensor, "n context"] | None) -> list[Tensor]:
        """The features of x at every size, from the largest down."""
        seen = self.likelihood.seen(x, self.marginals, self.grid)
        found: list[Tensor] = self.up(seen if self.grid else seen[:, :, None, None], context)
        return found

    def descend(
        self,
        context: Float[Tensor, "n context"] | None,
        noise: Float[Tensor, "n size"],
        features: list[Tensor] | None = None,
        codes: Float[Tensor, "n size"] | None = None,
    ) -> Path:
        """Down the ladder with given codes, or codes from noise: of q where there are features of x, else of p."""
        n, of = len(noise), [math.prod(shape) for shape in self.shapes]
        noises = [part.reshape(n, *shape) for part, shape in zip(noise.split(of, 1), self.shapes, strict=True)]
        given = None if codes is None else codes.split(of, 1)
        h = self.top.expand(n, -1, -1, -1)
        found = Path(h, [], noise.new_zeros(n), noise.new_zeros(n), [])
        for k, rung in enumerate(self._rungs()):
            if h.shape[-2:] != rung.size:
                h = nn.functional.interpolate(h, size=rung.size, mode="nearest")
            raw, extra = rung.prior(h, context).split((2 * self.latent, self.width), 1)
            mean, log_std = _normal(raw)
            q_mean, q_log_std = mean, log_std
            if features is not None:
                shift, wider = _normal(rung.posterior(torch.cat((h, features[rung.level]), 1), context))
                q_mean, q_log_std = mean + log_std.exp() * shift, log_std + wider
                found.kl.append((0.5 * (shift**2 + (2 * wider).exp() - 1) - wider).flatten(1).sum(1))
            z = q_mean + q_log_std.exp() * noises[k] if given is None else given[k].reshape(n, *self.shapes[k])
            found.log_prior = found.log_prior + normal_log_prob(z, mean, log_std).flatten(1).sum(1)
            found.log_q = found.log_q + normal_log_prob(z, q_mean, q_log_std).flatten(1).sum(1)
            found.codes.append(z)
            h = rung.after(h + extra + rung.code(z), context)
        found.h = h
        return found

    def outputs(self, h: Float[Tensor, "n width H W"]) -> Float[Tensor, "n ..."]:
        """The observation model's numbers, from the features at the end of the ladder."""
        raw: Tensor = self.last(nn.functional.silu(self.norm(h))).float()
        if not self.grid:
            return raw.reshape(len(h), *self.likelihood.numbers) + self.marginals
        height, breadth = self.places[0]
        raw = nn.functional.pixel_shuffle(raw, 2**self.stem)[..., :height, :breadth]
        channels, every = self.likelihood.numbers[0], self.likelihood.outputs
        return raw.reshape(len(h), channels, every, height, breadth).movedim(2, -1) + self.marginals

    def descents(
        self, condition: Condition | None, noise: Float[Tensor, "n k size"], x: X | None = None, *, given: bool = False
    ) -> Iterator[Path]:
        """Descents with k codes of each item, a few at a time, side by side in the rows: from noise, or with the codes
        `noise` where these are given; of q(z | x) where there is an x."""
        context = self.conditioner(condition)
        features = None if x is None else self.features(x, context)
        for part in noise.split(AT_ONCE, 1):
            k, z = part.shape[1], part.flatten(0, 1)
            wide = None if context is None else context.repeat_interleave(k, 0)
            seen = None if features is None else [f.repeat_interleave(k, 0) for f in features]
            yield self.descend(wide, z, seen, z if given else None)

    # ── training ──

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss, after=self.advance),)

    def advance(self, losses: Mapping[str, Tensor]) -> None:
        """Count a step, for the warm-up."""
        self.steps += 1

    def kl_weight(self) -> float:
        """The KL weight at this step of training."""
        return self.beta * min(1.0, (int(self.steps) + 1) / self.kl_warmup) if self.kl_warmup else self.beta

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        context = self.conditioner(batch.condition)
        noise = torch.randn_like(self.marginals.new_empty(len(batch), self.size))
        path = self.descend(context, noise, self.features(batch.x, context))
        each_kl = torch.stack([kl.float().mean() for kl in path.kl])
        if self.training:
            self._last = each_kl.detach()
        kl = each_kl.clamp(min=self.free_bits).sum() if self.free_bits else each_kl.sum()
        distortion = -self.likelihood.log_prob(self.outputs(path.h), batch.x).mean()
        return {"distortion": distortion, "rate": self.kl_weight() * kl}

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the decoder from the marginals of the data."""
        with torch.no_grad():
            self.marginals.copy_(self.likelihood.start(take(10_000).x))

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """The negative bound, with one draw, whatever the training weights are."""
        return -self.bound(batch.x, batch.condition, 1)[0].mean()

    def telemetry(self) -> dict[str, Tensor | float]:
        """The KL term of every group, from the top down, and how many are in use."""
        last = self.__dict__.pop("_last", None)
        if last is not None:
            self._latest = {f"KL of group {k + 1}": float(v) for k, v in enumerate(last)}
            self._latest |= {"KL": float(last.sum()), "active groups": float((last > LEAST).sum())}
        return dict(self._latest)

    def health(self, numbers: Mapping[str, float]) -> Mapping[str, str]:
        active, count = numbers.get("active groups"), len(self.rungs)
        if active is None or numbers.get("share", 1.0) < YOUNG or 2 * active >= count:
            return {}
        return {
            "collapse": (
                f"the hierarchy collapses: {active:.0f} of {count} groups of codes hold anything about x. Pass "
                "free_bits=0.5 or kl_warmup=1000, or fewer groups or halvings"
            )
        }

    # ── the questions ──

    @property
    def row(self) -> int:
        height, breadth = self.places[1]
        return self.marginals.numel() + 8 * self.width * height * breadth

    def proposal_weights(
        self, x: X, condition: Condition | None, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        """Log-weights of codes from the posterior."""
        found, n = [], len(generator)
        for path in self.descents(condition, generator.normal(particles, self.size), x):
            log_x = self.likelihood.log_prob_of_many(self.outputs(path.h).unflatten(0, (n, -1)), x)
            found.append(log_x + (path.log_prior - path.log_q).reshape(n, -1))
        return torch.cat(found, 1)

    def draw_prior(
        self, n: int, generator: Streams, k: int = 1, condition: Condition | None = None
    ) -> Float[Tensor, "{n} {k} size"]:
        return _codes(n, self.descents(condition, generator.normal(k, self.size)))

    def log_prior(self, z: Float[Tensor, "n k size"], condition: Condition | None = None) -> Float[Tensor, "n k"]:
        paths = self.descents(condition, z, given=True)
        return torch.cat([path.log_prior.reshape(len(z), -1) for path in paths], 1)

    def log_likelihood(
        self, x: X, condition: Condition | None, z: Float[Tensor, "n k size"], known: X | None = None
    ) -> Float[Tensor, "n k"]:
        raws = (self.outputs(path.h).unflatten(0, (len(z), -1)) for path in self.descents(condition, z, given=True))
        return torch.cat([self.likelihood.log_prob_of_many(raw, x, known) for raw in raws], 1)

    def proposal(self, x: X, condition: Condition | None) -> "Descending":
        return Descending(self, x, condition)

    def importance_weights(
        self, x: X, condition: Condition | None = None, *, particles: int, generator: Streams
    ) -> Float[Tensor, "n {particles}"]:
        return self.proposal_weights(x, condition, particles, generator)

    def simulate(
        self, n: int, condition: Condition | None = None, *, generator: Streams
    ) -> tuple[X, Float[Tensor, "{n}"]]:
        self.check_condition(n, condition)
        context = self.conditioner(condition)
        path = self.descend(context, generator.normal(self.size))
        raw = self.outputs(path.h)
        x = self.likelihood.draw(raw, generator)
        z = torch.cat([part.flatten(1) for part in path.codes], 1)
        again = self.descend(context, z, self.features(x, context), z)
        return x, self.likelihood.log_prob(raw, x) + again.log_prior - again.log_q

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(n, condition)
        path = self.descend(self.conditioner(condition), generator.normal(self.size))
        return self.likelihood.draw(self.outputs(path.h), generator)

    def given(self, z: Shaped[Tensor, "n *code"], condition: Condition | None) -> Float[Tensor, "n ..."]:
        return self.outputs(self.descend(self.conditioner(condition), z, codes=z).h)

    def inferred(
        self, x: X, condition: Condition | None, generator: Streams | None
    ) -> tuple[Float[Tensor, "n *code"], Float[Tensor, "n"]]:
        context = self.conditioner(condition)
        features = self.features(x, context)
        n = len(features[0])
        noise = torch.zeros(n, self.size, device=features[0].device)
        path = self.descend(context, noise if generator is None else generator.normal(self.size), features)
        return torch.cat([part.flatten(1) for part in path.codes], 1), path.log_q


@dataclass(frozen=True)
class Descending:
    """q(z | x) of n items."""

    model: HVAE
    x: X
    condition: Condition | None

    def draw(self, k: int, generator: Streams) -> Float[Tensor, "n {k} size"]:
        noise = generator.normal(k, self.model.size)
        return _codes(len(noise), self.model.descents(self.condition, noise, self.x))

    def log_prob(self, z: Float[Tensor, "n k size"]) -> Float[Tensor, "n k"]:
        paths = self.model.descents(self.condition, z, self.x, given=True)
        return torch.cat([path.log_q.reshape(len(z), -1) for path in paths], 1)


def _codes(n: int, paths: Iterable[Path]) -> Float[Tensor, "{n} k size"]:
    """The codes of descents in a row for each of n items."""
    each = [torch.cat([part.flatten(1) for part in path.codes], 1).unflatten(0, (n, -1)) for path in paths]
    return torch.cat(each, 1)


def network_of(event: Event, network: str) -> str:
    """The network, "mlp" or "conv", where it is left open.

    Raises:
        UsageError: convolutions of an event without a grid.
    """
    grid = not isinstance(event, dict) and len(event.shape) == 3
    if network == "conv" and not grid:
        raise UsageError("network=conv needs an event with height and width: pass network=mlp")
    if network != "auto" or isinstance(event, dict):
        return "mlp" if network == "auto" else network
    return "conv" if grid and math.prod(event.shape[1:]) > LARGEST else "mlp"


def _normal(raw: Float[Tensor, "n two_latent H W"]) -> tuple[Tensor, Tensor]:
    """Mean and softly bounded log standard deviation."""
    mean, log_std = raw.float().chunk(2, 1)
    return mean, BOUND * torch.tanh(log_std / BOUND)
