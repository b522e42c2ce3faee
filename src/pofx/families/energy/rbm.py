"""The restricted Boltzmann machine: visible and binary hidden units that meet only each other.

    E(v, h) = - w(v) - Σ_j c_j h_j - Σ_ij φ(v_i)ᵀ W_ij h_j,    p(v) = Σ_h e^{-E} / Z = e^{-F(v)} / Z

Smolensky, 1986 (harmonium); Hinton, 2002 (contrastive divergence, "items"); Tieleman, 2008 ("persistent" chains);
Desjardins et al., 2010, and Cho, Raiko and Ilin, 2010 ("tempered": chains at several temperatures that change places).
The visible units, their log weight w and φ are those of `visible`. log Z after Salakhutdinov and Murray, 2008, is low
on average; the same walk from the model's own draws back to the start is high (Burda, Grosse and Salakhutdinov, 2015,
arXiv 1412.8566), and the distance of both is part of the stated error. Small machines are enumerated.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn
from torch.nn.functional import softplus

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Default, Density, Encoding, Infilling, OnePhase
from pofx.core.options import Count, OneOf, Range, Unit, Width
from pofx.core.random import Streams
from pofx.families.energy.normalised import Normalised, Sweeping
from pofx.families.energy.visible import Classes, Reals, Units, Visible
from pofx.maths.annealing import annealed_log_weights, log_mean_weight
from pofx.maths.distributions import near_items, normal_log_prob
from pofx.nets.vector.groups import group_count, groups

MOST_CLASSES = 64  # its Gibbs moves visit every class of every dimension
MOST_STATES = 1 << 14  # of the hidden or of the visible units, up to which log Z is their sum
AT_ONCE = 1024  # of these
CHAINS = ("persistent", "items", "tempered")


class RBM(OnePhase, Normalised, Encoding, Infilling, Sweeping):
    """Restricted Boltzmann machine with softmax or Gaussian visible units; log Z by annealed importance sampling.

    A condition (one class number) chooses the biases; each class then has its own log Z. Classes have softmax units,
    binary ones Bernoulli's; numbers have Gaussian units. Its codes are the probabilities of the hidden units.

    Args:
        hidden: binary hidden units.
        features: functions of a class that the weights see: as many as there are classes means indicators, fewer means
            the first cosines over ordered classes; 0 chooses 1 for two classes, at most 4 for images, else indicators.
        begin: where the chains of training begin: where they were ("persistent"), at the items ("items": contrastive
            divergence), or where they were, at several temperatures between which they change places ("tempered").
        chains, moves: chains of training, and Gibbs moves of each per step.
        rungs: temperatures of "tempered"; the chains are shared out over them.
        decay: weight of the squared weights in the loss.
        temperatures, runs: steps and runs of annealed importance sampling (runs per class of the condition).
        sweeps: Gibbs moves of `sample`, the first half of them annealed from the base rates.
    """

    name = "rbm"
    default_for = (Default(),)
    source = "Smolensky, 1986; Hinton, 2002; Tieleman, 2008; Salakhutdinov and Murray, 2008"
    events = (Discrete, Continuous)
    ranks = (1, 2, 3)
    conditions = (Discrete,)
    best_density = Density.ESTIMATE
    lossless = False
    adjustable = ("temperatures", "runs", "sweeps")
    trains_with = {"lr": 2e-3, "clip": 0.0, "precision": "fp32"}
    small = {"hidden": 12, "chains": 64, "decay": 0.0, "temperatures": 200, "runs": 64, "sweeps": 60}
    exempt = {"reconstruction": "a code is the hidden units' probabilities, so x is recovered only roughly"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        hidden: Width = 128,
        features: Annotated[int, Range(0, 64)] = 0,
        begin: Annotated[str, OneOf(*CHAINS)] = "persistent",
        chains: Count = 256,
        moves: Count = 1,
        rungs: Annotated[int, Range(2, 256)] = 8,
        decay: Unit = 1e-3,
        temperatures: Count = 1000,
        runs: Count = 100,
        sweeps: Count = 600,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete | Continuous)
        if isinstance(event, Discrete) and event.largest > MOST_CLASSES:
            raise Unsupported(
                f"rbm takes at most {MOST_CLASSES} classes (got {event.largest}): binarise the items (binarise=dynamic)"
            )
        largest = event.largest if isinstance(event, Discrete) else 0
        if not 0 <= features <= largest:
            raise UsageError(f"features must be 0 to {largest} (got {features})")
        if begin == "tempered" and chains % rungs:
            raise UsageError(f"chains must be a multiple of rungs, {rungs} (got {chains}): pass chains={16 * rungs}")
        self.hidden, self.features, self.chains, self.moves = hidden, features, chains, moves
        self.begin, self.rungs = begin, rungs
        self.decay, self.temperatures, self.runs, self.sweeps = decay, temperatures, runs, sweeps
        self.code = Continuous((hidden,))
        self.keep_log_z(group_count(condition, self.label))
        size = math.prod(event.shape)
        self.units: Units = Classes(size, largest, features, ordered=len(event.shape) == 3) if largest else Reals(size)
        self.weight = nn.Parameter(0.01 * torch.randn(size * self.units.features, hidden))
        self.visible_bias = nn.Parameter(torch.zeros(self.groups, size, self.units.numbers))
        self.hidden_bias = nn.Parameter(torch.zeros(self.groups, hidden))
        # the base rates, where annealing starts, and the persistent chains
        self.base: Tensor
        self.particles: Tensor
        self.particle_groups: Tensor
        self.betas: Tensor  # of each chain
        each = rungs if begin == "tempered" else 1
        ladder = torch.linspace(1.0, 0.0, each + 1)[:-1] if each > 1 else torch.ones(1)
        self.register_buffer("base", torch.zeros(self.groups, size, self.units.numbers))
        self.register_buffer(
            "particles", torch.randint(largest, (chains, size)) if largest else torch.zeros(chains, size)
        )
        self.register_buffer("particle_groups", torch.arange(chains) // each % self.groups)
        self.register_buffer("betas", ladder.repeat(chains // each)[:, None], persistent=False)

    # ── the two conditionals; v is flat: (n, size), g the class of the condition: int64 (n,) ──

    @property
    def phi(self) -> Float[Tensor, "classes features"]:
        """The functions of a class that the weights see."""
        assert isinstance(self.units, Classes)
        return self.units.phi

    def hidden_input(self, v: Visible, g: Int[Tensor, "n"]) -> Float[Tensor, "n hidden"]:
        """Input of the hidden units from the visibles: (n, hidden)."""
        return self.units.seen(v) @ self.weight + self.hidden_bias[g]

    def visible_logits(self, h: Float[Tensor, "n hidden"], g: Int[Tensor, "n"]) -> Float[Tensor, "n size numbers"]:
        """Parameters of the visibles given the hidden units, logits or means: (n, size, classes or 1)."""
        field = (h @ self.weight.T).reshape(len(h), -1, self.units.features)
        return self.units.given(field, self.given(self.visible_bias, g))

    def given(self, table: Float[Tensor, "groups *rest"], g: Int[Tensor, "n"]) -> Float[Tensor, "_ *rest"]:
        """The part of a table (groups, …) that belongs to each item; (1, …) where all share it."""
        return table if self.groups == 1 else table[g]

    def free_energy(self, v: Visible, g: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """F(v) = - w(v) - Σ_j softplus(c_j + …): (n,)."""
        own = self.units.log_weight(v, self.given(self.visible_bias, g))
        return -own - softplus(self.hidden_input(v, g)).sum(1)

    def move(
        self,
        v: Visible,
        g: Int[Tensor, "n"],
        u: Float[Tensor, "n uniforms"],
        beta: float | Tensor = 1.0,
        inputs: Float[Tensor, "n hidden"] | None = None,
    ) -> Visible:
        """One Gibbs move at inverse temperatures beta, one number or (n, 1), with uniforms u (n, hidden + size);
        `inputs` of the hidden units where they are known."""
        inputs = self.hidden_input(v, g) if inputs is None else inputs
        h = (u[:, : self.hidden] < (beta * inputs).sigmoid()).to(self.weight.dtype)
        given = self.visible_logits(h, g)
        if isinstance(beta, Tensor) or beta < 1.0:
            b = beta[..., None] if isinstance(beta, Tensor) else beta
            given = b * given + (1.0 - b) * self.given(self.base, g)
        return self.units.draw(given, u[:, self.hidden :])

    def tempered(self, v: Visible, g: Int[Tensor, "n"], beta: Float[Tensor, "n 1"]) -> Float[Tensor, "n"]:
        """log of the unnormalised density at inverse temperatures beta, of the base rates at 0."""
        own, base = (self.units.log_weight(v, self.given(table, g)) for table in (self.visible_bias, self.base))
        b = beta[:, 0]
        return b * own + (1 - b) * base + softplus(beta * self.hidden_input(v, g)).sum(1)

    # ── training ──

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the visible biases and the chains from the base rates of the data."""
        batch = take(10_000)
        x = batch.x.flatten(1)
        with torch.no_grad():
            self.units.observe(x)
            every = self.units.rates(x)
            for k in range(self.groups):
                self.base[k] = self.units.rates(x if batch.condition is None else x[batch.condition == k], every)
            self.visible_bias.copy_(self.base)
            if batch.condition is not None:
                each = self.rungs if self.begin == "tempered" else 1
                self.particle_groups.copy_(batch.condition[torch.arange(self.chains) // each % len(x)])
            u = torch.rand(self.chains, x.shape[1], dtype=torch.float32, device=x.device)
            self.particles.copy_(self.units.draw(self.base[self.particle_groups], u))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """A scalar whose gradient is that of - mean log p, with the chains as the model's samples."""
        v, g = self.flat(batch.x, batch.condition)
        with torch.no_grad():
            x, groups_of = (v, g) if self.begin == "items" else (self.particles, self.particle_groups)
            if self.training or self.begin == "items":
                for _ in range(self.moves):
                    x = self._moved(x, groups_of)
            if self.training and self.begin != "items":
                self.particles.copy_(x)
            if self.begin == "tempered":
                cold = self.betas[:, 0] == 1.0
                x, groups_of = x[cold], groups_of[cold]
        model = self.free_energy(x, groups_of).mean()
        return {"contrast": self.free_energy(v, g).mean() - model, "decay": self.decay * self.weight.square().sum()}

    def _moved(self, v: Visible, g: Int[Tensor, "n"]) -> Visible:
        """A move of the chains of training, after which neighbouring temperatures may change places."""
        u = torch.rand(len(v), self.hidden + v.shape[1], dtype=torch.float32, device=v.device)
        if self.begin != "tempered":
            return self.move(v, g, u)
        v = self.move(v, g, u, self.betas)
        for first in (0, 1):
            lower = torch.arange(len(v), device=v.device)
            lower = lower[(lower % self.rungs % 2 == first) & (lower % self.rungs < self.rungs - 1)]
            both = torch.cat((lower, lower + 1))
            crossed = torch.cat((lower + 1, lower))
            stay = self.tempered(v[both], g[both], self.betas[both]).reshape(2, -1).sum(0)
            change = self.tempered(v[crossed], g[both], self.betas[both]).reshape(2, -1).sum(0)
            swapped = lower[torch.rand(len(lower), device=v.device).log() < change - stay]
            v = v.index_copy(0, torch.cat((swapped, swapped + 1)), torch.cat((v[swapped + 1], v[swapped])))
        return v

    def flat(self, x: Shaped[Tensor, "n *event"], condition: Condition | None) -> tuple[Visible, Int[Tensor, "n"]]:
        """Events and conditions as the conditionals want them."""
        g = groups(condition, len(x), x.device)
        return x.flatten(1), g

    def pseudo(self, v: Int[Tensor, "n size"], g: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """log Π_i p(v_i | all others), exact: (n,) (Besag, 1975)."""
        inputs = self.hidden_input(v, g)
        table = self.weight.reshape(v.shape[1], -1, self.hidden)
        found = torch.zeros(len(v), dtype=torch.float32, device=v.device)
        for i in range(v.shape[1]):
            change = (self.phi[None] - self.phi[v[:, i]][:, None]) @ table[i]  # n, classes, hidden
            logits = self.visible_bias[g, i] + softplus(inputs[:, None] + change).sum(-1)
            found += logits.log_softmax(-1).gather(1, v[:, i : i + 1])[:, 0]
        return found

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """Minus the pseudo-likelihood of classes; of numbers minus log p of each given the hidden units' means."""
        v, g = self.flat(batch.x, batch.condition)
        if isinstance(self.units, Classes):
            return -self.pseudo(v, g).mean()
        mean = self.visible_logits(self.hidden_input(v, g).sigmoid(), g)[..., 0]
        return -normal_log_prob(v, mean, self.units.std.log()).sum(1).mean()

    # ── the questions ──

    def enumerated(self, group: int) -> float | None:
        """log Z of a class of the condition by a sum, where the hidden or the visible units have few states."""
        device, dtype = self.weight.device, self.weight.dtype
        if self.hidden <= MOST_STATES.bit_length() - 1:
            total, bias = [], self.visible_bias[[group]]
            for states in torch.arange(2**self.hidden, device=device).split(AT_ONCE):
                h = (states[:, None] >> torch.arange(self.hidden, device=device) & 1).to(dtype)
                g = torch.full((len(h),), group, dtype=torch.int64, device=device)
                given = self.units.log_sum(self.visible_logits(h, g), bias)
                total.append((h @ self.hidden_bias[group] + given).double())
            return float(torch.cat(total).logsumexp(0))
        if isinstance(self.units, Reals) or self.units.size * math.log(self.units.numbers) > math.log(MOST_STATES):
            return None
        powers = self.units.numbers ** torch.arange(self.units.size, device=device)
        states = torch.arange(self.units.numbers**self.units.size, device=device)
        v = states[:, None] // powers % self.units.numbers
        g = torch.full((len(v),), group, dtype=torch.int64, device=device)
        return float((-self.free_energy(v, g)).double().logsumexp(0))

    def anneal(self, group: int, temperatures: int, runs: int, seed: int = 0) -> tuple[float, float]:
        """log Z of a class of the condition and its error, by annealed importance sampling there and back; exact, and
        without error, where it can be enumerated."""
        with torch.no_grad():
            known = self.enumerated(group)
            if known is not None:
                return known, 0.0
            low, error = self.annealed(group, temperatures, runs, seed)
            high, _ = self.annealed(group, temperatures, runs, seed + 1, back=True)
        return low, math.hypot(error, max(high - low, 0.0) / 2)

    def annealed(
        self, group: int, temperatures: int, runs: int, seed: int = 0, *, back: bool = False
    ) -> tuple[float, float]:
        """log Z by annealing from the base rates, low on average, or `back` to them from chains of the model, which are
        as good as they have mixed: high on average; and the standard error over the runs."""
        stream = Streams(seed, runs, device=self.base.device)
        g = torch.full((runs,), group, dtype=torch.int64, device=self.base.device)
        bias, base = self.visible_bias[[group]], self.base[[group]]

        known = list[Tensor]()  # the inputs of the hidden units for the items that are weighted, and moved next

        def gap(v: Tensor, before: float, after: float) -> Tensor:
            known[:] = [inputs := self.hidden_input(v, g)]
            change = self.units.log_weight(v, bias) - self.units.log_weight(v, base)
            return (after - before) * change + (softplus(after * inputs) - softplus(before * inputs)).sum(1)

        def move(v: Tensor, beta: float) -> Tensor:
            return self.move(v, g, stream.uniform(self.hidden + v.shape[1]), beta, *known)

        ladder = torch.linspace(0.0, 1.0, temperatures + 1, dtype=torch.float64).tolist()
        with torch.no_grad():
            start = float(self.units.log_sum(base, base).double()) + self.hidden * math.log(2.0)
            if back:
                v = self._drawn(g, stream)
                ratio, error = log_mean_weight(annealed_log_weights(v, ladder[::-1], gap, move))
                return start - ratio, error
            v = self.units.draw(self.base[g], stream.uniform(self.base.shape[1]))
            ratio, error = log_mean_weight(annealed_log_weights(v, ladder, gap, move))
        return start + ratio, error

    def _drawn(
        self,
        g: Int[Tensor, "n"],
        stream: Streams,
        x: Visible | None = None,
        known: Bool[Tensor, "n size"] | None = None,
    ) -> Visible:
        """Ends of Gibbs chains that start at the base rates and are cooled for the first half of their `sweeps`; units
        that are `known` stay as in x."""
        v = self.units.draw(self.base[g], stream.uniform(self.base.shape[1]))
        for i in range(self.sweeps):
            v = v if x is None or known is None else torch.where(known, x, v)
            beta = min(1.0, 2.0 * (i + 1) / self.sweeps)
            v = self.move(v, g, stream.uniform(self.hidden + v.shape[1]), beta)
        return v if x is None or known is None else torch.where(known, x, v)

    def starts(self) -> tuple[Tensor, ...]:
        return (self.base,)

    def log_prob(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """- F(x) - log Z in nats, with the estimated log Z: (n,)."""
        self.check_condition(len(x), condition)
        far = None
        if isinstance(self.units, Reals):
            x, far = near_items(x.to(self.weight.dtype))
        v, g = self.flat(x, condition)
        log_z = self.normaliser()[g]
        value = (-self.free_energy(v, g).double() - log_z).to(self.weight.dtype)
        return value if far is None else value.masked_fill(far, -math.inf)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Shaped[Tensor, "{n} *event"]:
        """Ends of Gibbs chains that start at the base rates and are cooled for the first half of their `sweeps`."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete | Continuous)
        return self._drawn(groups(condition, n, self.base.device), generator).reshape(n, *self.event.shape)

    def complete(
        self,
        x: Shaped[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Shaped[Tensor, "n *event"]:
        """x where `known`, and elsewhere the ends of the chains of `sample` with the known units held."""
        self.check_condition(len(x), condition)
        v, g = self.flat(x, condition)
        return self._drawn(g, generator, v, known.expand_as(x).flatten(1)).reshape(x.shape)

    def encode(self, x: Shaped[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n hidden"]:
        """Probabilities of the hidden units given x."""
        self.check_condition(len(x), condition)
        v, g = self.flat(near_items(x.to(self.weight.dtype))[0] if isinstance(self.units, Reals) else x, condition)
        return self.hidden_input(v, g).sigmoid()

    def decode(self, z: Float[Tensor, "n hidden"], condition: Condition | None = None) -> Shaped[Tensor, "n *event"]:
        """The most probable class of each place, or the mean of each number, given probabilities of the hidden
        units."""
        self.check_condition(len(z), condition)
        assert isinstance(self.event, Discrete | Continuous)
        given = self.visible_logits(z, groups(condition, len(z), z.device))
        found = given.argmax(-1) if isinstance(self.units, Classes) else given[..., 0]
        return found.reshape(len(z), *self.event.shape)
