"""The deep Boltzmann machine: two layers of binary hidden units, undirected throughout, centred.

    -E(v, g, h) = Σ_i b_i[v_i] + (φ(v) - α)ᵀ W (g - ½) + (g - ½)ᵀ U (h - ½) + cᵀg + dᵀh

Salakhutdinov and Hinton, 2009: the posterior by mean field, the model by persistent chains, log Z by annealing over g
alone, since v and h are summed out given it; the bound is that of mean field. Units are centred (Montavon and Müller,
2012, "Deep Boltzmann machines and the centering trick"), so that both layers learn at once, without pre-training.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, Encoding, Infilling, OnePhase
from pofx.core.options import Count, Range, Unit, Width
from pofx.core.random import Streams
from pofx.families.energy.normalised import Normalised, Sweeping
from pofx.families.energy.rbm import MOST_CLASSES
from pofx.families.energy.visible import class_functions, draw
from pofx.maths.annealing import annealed_log_weights, log_mean_weight
from pofx.maths.distributions import class_counts

Layers = tuple[Tensor, Tensor, Tensor]


class DBM(OnePhase, Normalised, Encoding, Infilling, Sweeping):
    """Deep Boltzmann machine of two hidden layers; its mean-field bound with log Z by annealed importance sampling.

    Its codes are the probabilities of the first hidden layer in the mean field, to which the second contributes.

    Args:
        hidden, upper: binary units of the first and second layer.
        features: functions of a class that the weights see, as of `rbm`.
        updates: of the mean field, from the bottom up and back.
        chains, moves: persistent chains of training, and Gibbs moves of each per step.
        decay: weight of the squared weights in the loss.
        temperatures, runs: steps and runs of annealed importance sampling.
        sweeps: Gibbs moves of `sample`, the first half of them annealed from the base rates.
    """

    name = "dbm"
    source = "Salakhutdinov and Hinton, 2009; Montavon and Müller, 2012"
    events = (Discrete,)
    ranks = (1, 2, 3)
    best_density = Density.BOUND
    lossless = False
    adjustable = ("temperatures", "runs", "sweeps", "updates")
    trains_with = {"lr": 2e-3, "clip": 0.0, "precision": "fp32"}
    small = {"hidden": 12, "upper": 6, "chains": 64, "decay": 0.0, "temperatures": 200, "runs": 64, "sweeps": 60}
    exempt = {"reconstruction": "a code is the hidden units' probabilities, so x is recovered only roughly"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        hidden: Width = 256,
        upper: Width = 128,
        features: Annotated[int, Range(0, 64)] = 0,
        updates: Annotated[int, Range(1, 1000)] = 15,
        chains: Count = 256,
        moves: Count = 1,
        decay: Unit = 1e-3,
        temperatures: Count = 1000,
        runs: Count = 100,
        sweeps: Count = 600,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        if event.largest > MOST_CLASSES:
            raise Unsupported(
                f"dbm takes at most {MOST_CLASSES} classes (got {event.largest}): binarise the items (binarise=dynamic)"
            )
        self.hidden, self.upper, self.features, self.updates = hidden, upper, features, updates
        self.chains, self.moves, self.decay = chains, moves, decay
        self.temperatures, self.runs, self.sweeps = temperatures, runs, sweeps
        self.code = Continuous((hidden,))
        self.keep_log_z()
        size, classes = math.prod(event.shape), event.largest
        self.phi: Tensor
        self.register_buffer("phi", class_functions(classes, features, ordered=len(event.shape) == 3), persistent=False)
        self.weight = nn.Parameter(0.01 * torch.randn(size * self.phi.shape[1], hidden))
        self.second = nn.Parameter(0.01 * torch.randn(hidden, upper))
        self.visible_bias = nn.Parameter(torch.zeros(size, classes))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.upper_bias = nn.Parameter(torch.zeros(upper))
        self.base: Tensor
        self.centre: Tensor
        self.particles: Tensor
        self.particles_upper: Tensor
        self.register_buffer("base", torch.zeros(size, classes))
        self.register_buffer("centre", torch.zeros(size * self.phi.shape[1]))
        self.register_buffer("particles", torch.randint(classes, (chains, size)))
        self.register_buffer("particles_upper", torch.randint(2, (chains, upper)))

    def starts(self) -> tuple[Tensor, ...]:
        return (self.base, self.centre)

    # ── the conditionals ──

    def seen(self, v: Int[Tensor, "n size"]) -> Float[Tensor, "n inputs"]:
        """φ(v) - α."""
        return nn.functional.embedding(v, self.phi).flatten(1) - self.centre

    def to_hidden(self, v: Int[Tensor, "n size"], h: Float[Tensor, "n upper"]) -> Float[Tensor, "n hidden"]:
        """Input of the first hidden layer."""
        return self.seen(v) @ self.weight + (h - 0.5) @ self.second.T + self.hidden_bias

    def to_upper(self, g: Float[Tensor, "n hidden"]) -> Float[Tensor, "n upper"]:
        """Input of the second hidden layer."""
        return (g - 0.5) @ self.second + self.upper_bias

    def to_visible(self, g: Float[Tensor, "n hidden"]) -> Float[Tensor, "n size classes"]:
        """Logits of the visibles."""
        field = ((g - 0.5) @ self.weight.T).reshape(len(g), -1, self.phi.shape[1])
        return field @ self.phi.T + self.visible_bias

    def move(
        self, v: Int[Tensor, "n size"], h: Int[Tensor, "n upper"], u: Float[Tensor, "n uniforms"], beta: float = 1.0
    ) -> Layers:
        """One Gibbs move at inverse temperature beta, uniforms u (n, hidden + upper + size): v, g, h."""
        of_g, of_h, of_v = u.split((self.hidden, self.upper, v.shape[1]), 1)
        g = (of_g < (beta * self.to_hidden(v, h.to(u.dtype))).sigmoid()).to(self.weight.dtype)
        logits = self.to_visible(g)
        if beta < 1.0:
            logits = beta * logits + (1.0 - beta) * self.base
        return draw(logits, of_v), g, (of_h < (beta * self.to_upper(g)).sigmoid()).long()

    def uniforms(self) -> int:
        return self.hidden + self.upper + self.base.shape[0]

    # ── training ──

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the visible biases, the centre and the chains from the base rates of the data."""
        x = take(10_000).x.flatten(1)
        with torch.no_grad():
            counts = class_counts(x, self.phi.shape[0]) + 0.5
            share = counts / counts.sum(1, keepdim=True)
            self.base.copy_(share.log())
            self.visible_bias.copy_(self.base)
            self.centre.copy_((share.to(self.phi.dtype) @ self.phi).flatten())
            u = torch.rand(self.chains, x.shape[1], dtype=torch.float32, device=x.device)
            self.particles.copy_(draw(self.base.expand(self.chains, -1, -1), u))

    @torch.no_grad()
    def mean_field(self, v: Int[Tensor, "n size"]) -> tuple[Float[Tensor, "n hidden"], Float[Tensor, "n upper"]]:
        """The factorised posterior: the probabilities of both hidden layers."""
        below = self.seen(v) @ self.weight + self.hidden_bias
        h = torch.full((len(v), self.upper), 0.5, dtype=self.weight.dtype, device=v.device)
        for _ in range(self.updates):
            g = (below + (h - 0.5) @ self.second.T).sigmoid()
            h = self.to_upper(g).sigmoid()
        return g, h

    def energy(
        self, v: Int[Tensor, "n size"], g: Float[Tensor, "n hidden"], h: Float[Tensor, "n upper"]
    ) -> Float[Tensor, "n"]:
        """E(v, g, h), or its mean under independent units of these probabilities: (n,)."""
        bias = self.visible_bias[torch.arange(v.shape[1], device=v.device), v].sum(1)
        first = ((self.seen(v) @ self.weight + self.hidden_bias) * g).sum(1) - 0.5 * (self.seen(v) @ self.weight).sum(1)
        return -(bias + first + ((g - 0.5) @ self.second * (h - 0.5)).sum(1) + h @ self.upper_bias)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """A scalar whose gradient is that of minus the mean-field bound, with the chains as the model's samples."""
        v = batch.x.flatten(1)
        with torch.no_grad():
            x, h = self.particles, self.particles_upper
            for _ in range(self.moves):
                u = torch.rand(self.chains, self.uniforms(), dtype=torch.float32, device=v.device)
                x, g, h = self.move(x, h, u)
            if self.training:
                self.particles.copy_(x)
                self.particles_upper.copy_(h)
        model = self.energy(x, g, h.to(g.dtype)).mean()
        squares = self.weight.square().sum() + self.second.square().sum()
        return {"contrast": self.energy(v, *self.mean_field(v)).mean() - model, "decay": self.decay * squares}

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """Minus log p of each place given the mean field of the whole: how well items are reconstructed."""
        v = batch.x.flatten(1)
        logits = self.to_visible(self.mean_field(v)[0]).log_softmax(-1)
        return -logits.gather(2, v[..., None]).sum((1, 2)).mean()

    # ── the questions ──

    def anneal(self, group: int, temperatures: int, runs: int, seed: int = 0) -> tuple[float, float]:
        """log Z and its standard error, from the base rates, by annealing g."""
        streams = Streams(seed, runs, device=self.base.device)
        g = (streams.uniform(self.hidden) < 0.5).to(self.weight.dtype)

        def log_f(g: Tensor, beta: float) -> Tensor:
            field = self.to_visible(g)
            visible = (beta * field + (1 - beta) * self.base).logsumexp(-1).sum(1)
            offset = ((g - 0.5) @ self.weight.T) @ self.centre
            across = (g - 0.5) @ self.second
            upper = softplus(beta * (across + self.upper_bias)).sum(1) - 0.5 * beta * across.sum(1)
            return visible - beta * offset + upper + beta * (g @ self.hidden_bias)

        def gap(g: Tensor, before: float, after: float) -> Tensor:
            return log_f(g, after) - log_f(g, before)

        def move(g: Tensor, beta: float) -> Tensor:
            of_v, of_h, of_g = streams.uniform(self.uniforms()).split((self.base.shape[0], self.upper, self.hidden), 1)
            v = draw(beta * self.to_visible(g) + (1 - beta) * self.base, of_v)
            h = (of_h < (beta * self.to_upper(g)).sigmoid()).to(g.dtype)
            return (of_g < (beta * self.to_hidden(v, h)).sigmoid()).to(g.dtype)

        ladder = torch.linspace(0.0, 1.0, temperatures + 1, dtype=torch.float64).tolist()
        with torch.no_grad():
            ratio, error = log_mean_weight(annealed_log_weights(g, ladder, gap, move))
            start = float(self.base.double().logsumexp(1).sum()) + (self.hidden + self.upper) * math.log(2.0)
        return start + ratio, error

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """A lower bound in nats by mean field, with the estimated log Z: (n,)."""
        self.check_condition(len(x), condition)
        v = x.flatten(1)
        g, h = self.mean_field(v)
        entropy = _entropy(g) + _entropy(h)
        return (entropy.double() - self.energy(v, g, h).double() - self.normaliser()[0]).to(self.weight.dtype)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Int[Tensor, "{n} *event"]:
        """Ends of Gibbs chains that start at the base rates and are cooled for the first half of their `sweeps`."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        nothing = torch.zeros(n, *self.event.shape, dtype=torch.int64, device=self.base.device)
        return self.complete(nothing, nothing.bool(), condition, generator=generator)

    def complete(
        self,
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Int[Tensor, "n *event"]:
        """x where `known`, and elsewhere the ends of the chains of `sample` with the known units held."""
        self.check_condition(len(x), condition)
        there, held = known.expand_as(x).flatten(1), x.flatten(1)
        v = draw(self.base.expand(len(x), -1, -1), generator.uniform(self.base.shape[0]))
        h = (generator.uniform(self.upper) < 0.5).long()
        for i in range(self.sweeps):
            v = torch.where(there, held, v)
            v, _, h = self.move(v, h, generator.uniform(self.uniforms()), min(1.0, 2.0 * (i + 1) / self.sweeps))
        return torch.where(there, held, v).reshape(x.shape)

    def encode(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n hidden"]:
        """Probabilities of the first hidden layer in the mean field of x."""
        self.check_condition(len(x), condition)
        return self.mean_field(x.flatten(1))[0]

    def decode(self, z: Float[Tensor, "n hidden"], condition: Condition | None = None) -> Int[Tensor, "n *event"]:
        """The most probable class of each place, given probabilities of the first hidden layer."""
        self.check_condition(len(z), condition)
        assert isinstance(self.event, Discrete)
        return self.to_visible(z).argmax(-1).reshape(len(z), *self.event.shape)


def _entropy(p: Float[Tensor, "n units"]) -> Float[Tensor, "n"]:
    """Of independent binary units, nats: (n,)."""
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)).sum(1)
