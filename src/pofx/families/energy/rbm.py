"""The restricted Boltzmann machine: visible classes and binary hidden units that meet only each other.

    E(v, h) = - Σ_i b_i[v_i] - Σ_j c_j h_j - Σ_ij φ(v_i)ᵀ W_ij h_j,    p(v) = Σ_h e^{-E} / Z = e^{-F(v)} / Z

Smolensky, 1986 (harmonium); Hinton, 2002 (contrastive divergence); Salakhutdinov, Mnih and Hinton, 2007 (softmax
visibles); Tieleman, 2008 (persistent chains); log Z after Salakhutdinov and Murray, 2008. φ are fixed functions of the
class: indicators, or for ordered classes the first cosines, which share weights between neighbouring levels (an
exponential family harmonium; Welling, Rosen-Zvi and Hinton, 2005).
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Discrete, Event
from pofx.core.model import Batch, Default, Density, OnePhase
from pofx.core.options import Count, Range, Unit, Width
from pofx.core.random import Streams
from pofx.families.energy.normalised import Normalised, Sweeping
from pofx.maths.annealing import annealed_log_weights, log_mean_weight
from pofx.maths.distributions import class_counts
from pofx.nets.vector.groups import group_count, groups

MOST_CLASSES = 64  # its Gibbs moves visit every class of every dimension


class RBM(OnePhase, Normalised, Sweeping):
    """Restricted Boltzmann machine with softmax visible units; log Z by annealed importance sampling.

    A condition (one class number) chooses the biases; each class then has its own log Z.

    Args:
        hidden: binary hidden units.
        features: functions of a class that the weights see: as many as there are classes means indicators, fewer means
            the first cosines over ordered classes; 0 chooses 1 for two classes, at most 4 for images, else indicators.
        chains, moves: persistent chains of training, and Gibbs moves of each per step.
        decay: weight of the squared weights in the loss.
        temperatures, runs: steps and runs of annealed importance sampling (runs per class of the condition).
        sweeps: Gibbs moves of `sample`, the first half of them annealed from the base rates.
    """

    name = "rbm"
    default_for = (Default(),)
    source = "Smolensky, 1986; Hinton, 2002; Tieleman, 2008; Salakhutdinov and Murray, 2008"
    events = (Discrete,)
    ranks = (1, 2, 3)
    conditions = (Discrete,)
    best_density = Density.ESTIMATE
    adjustable = ("temperatures", "runs", "sweeps")
    trains_with = {"lr": 2e-3, "clip": 0.0, "precision": "fp32"}
    small = {"hidden": 12, "chains": 64, "decay": 0.0, "temperatures": 200, "runs": 64, "sweeps": 60}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        hidden: Width = 128,
        features: Annotated[int, Range(0, 64)] = 0,
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
                f"rbm takes at most {MOST_CLASSES} classes (got {event.largest}): binarise the items (binarise=dynamic)"
            )
        if not 0 <= features <= event.largest:
            raise UsageError(f"features must be 0 to {event.largest} (got {features})")
        self.hidden, self.features, self.chains, self.moves = hidden, features, chains, moves
        self.decay, self.temperatures, self.runs, self.sweeps = decay, temperatures, runs, sweeps
        self.keep_log_z(group_count(condition, self.label))
        size, classes = math.prod(event.shape), event.largest
        self.phi: Tensor
        self.register_buffer("phi", class_functions(classes, features, ordered=len(event.shape) == 3), persistent=False)
        self.weight = nn.Parameter(0.01 * torch.randn(size * self.phi.shape[1], hidden))
        self.visible_bias = nn.Parameter(torch.zeros(self.groups, size, classes))
        self.hidden_bias = nn.Parameter(torch.zeros(self.groups, hidden))
        # the base rates, where annealing starts, and the persistent chains
        self.base: Tensor
        self.particles: Tensor
        self.particle_groups: Tensor
        self.register_buffer("base", torch.zeros(self.groups, size, classes))
        self.register_buffer("particles", torch.randint(classes, (chains, size)))
        self.register_buffer("particle_groups", torch.arange(chains) % self.groups)

    # ── the two conditionals; v is flat: int64 (n, size), g the class of the condition: int64 (n,) ──

    def hidden_input(self, v: Int[Tensor, "n size"], g: Int[Tensor, "n"]) -> Float[Tensor, "n hidden"]:
        """Input of the hidden units from the visibles: (n, hidden)."""
        return nn.functional.embedding(v, self.phi).flatten(1) @ self.weight + self.hidden_bias[g]

    def visible_logits(self, h: Float[Tensor, "n hidden"], g: Int[Tensor, "n"]) -> Float[Tensor, "n size classes"]:
        """Input of the visibles from the hidden units: (n, size, classes)."""
        field = (h @ self.weight.T).reshape(len(h), -1, self.phi.shape[1])
        return field @ self.phi.T + self.given(self.visible_bias, g)

    def given(self, table: Float[Tensor, "groups *rest"], g: Int[Tensor, "n"]) -> Float[Tensor, "_ *rest"]:
        """The part of a table (groups, …) that belongs to each item; (1, …) where all share it."""
        return table if self.groups == 1 else table[g]

    def bias_energy(
        self, v: Int[Tensor, "n size"], g: Int[Tensor, "n"], bias: Float[Tensor, "groups size classes"]
    ) -> Float[Tensor, "n"]:
        """Σ_i b_i[v_i]: (n,)."""
        return bias[g[:, None], torch.arange(v.shape[1], device=v.device), v].sum(1)

    def free_energy(self, v: Int[Tensor, "n size"], g: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
        """F(v) = - Σ b_i[v_i] - Σ_j softplus(c_j + …): (n,)."""
        return -self.bias_energy(v, g, self.visible_bias) - softplus(self.hidden_input(v, g)).sum(1)

    def move(
        self, v: Int[Tensor, "n size"], g: Int[Tensor, "n"], u: Float[Tensor, "n uniforms"], beta: float = 1.0
    ) -> Int[Tensor, "n size"]:
        """One Gibbs move at inverse temperature beta with uniforms u (n, hidden + size)."""
        h = (u[:, : self.hidden] < (beta * self.hidden_input(v, g)).sigmoid()).to(self.weight.dtype)
        logits = self.visible_logits(h, g)
        if beta < 1.0:
            logits = beta * logits + (1.0 - beta) * self.given(self.base, g)
        return draw(logits, u[:, self.hidden :])

    # ── training ──

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start the visible biases and the chains from the base rates of the data."""
        batch = take(10_000)
        x = batch.x.flatten(1)
        with torch.no_grad():
            seen = class_counts(x, self.phi.shape[0])
            share = (seen + 0.5) / (seen + 0.5).sum(1, keepdim=True)
            for k in range(self.groups):
                mine = seen if batch.condition is None else class_counts(x[batch.condition == k], self.phi.shape[0])
                counts = mine + share * self.phi.shape[0] * 0.5  # a class is drawn towards the rates of all
                self.base[k] = (counts / counts.sum(1, keepdim=True)).log()
            self.visible_bias.copy_(self.base)
            if batch.condition is not None:
                self.particle_groups.copy_(batch.condition[torch.arange(self.chains) % len(x)])
            u = torch.rand(self.chains, x.shape[1], dtype=torch.float32, device=x.device)
            self.particles.copy_(draw(self.base[self.particle_groups], u))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """A scalar whose gradient is that of - mean log p, with the chains as the model's samples."""
        v, g = self.flat(batch.x, batch.condition)
        if self.training:
            with torch.no_grad():
                for _ in range(self.moves):
                    u = torch.rand(self.chains, self.hidden + v.shape[1], dtype=torch.float32, device=v.device)
                    self.particles.copy_(self.move(self.particles, self.particle_groups, u))
        model = self.free_energy(self.particles, self.particle_groups).mean()
        return {"contrast": self.free_energy(v, g).mean() - model, "decay": self.decay * self.weight.square().sum()}

    def flat(
        self, x: Int[Tensor, "n *event"], condition: Condition | None
    ) -> tuple[Int[Tensor, "n size"], Int[Tensor, "n"]]:
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
        return -self.pseudo(*self.flat(batch.x, batch.condition)).mean()

    # ── the questions ──

    def anneal(self, group: int, temperatures: int, runs: int, seed: int = 0) -> tuple[float, float]:
        """log Z of a class of the condition and its standard error, by annealed importance sampling."""
        stream = Streams(seed, runs, device=self.base.device)
        g = torch.full((runs,), group, dtype=torch.int64, device=self.base.device)
        v = draw(self.base[g], stream.uniform(self.base.shape[1]))

        change = (self.visible_bias - self.base).detach()

        def gap(v: Tensor, before: float, after: float) -> Tensor:
            inputs = self.hidden_input(v, g)
            bias = self.bias_energy(v, g, change)
            return (after - before) * bias + (softplus(after * inputs) - softplus(before * inputs)).sum(1)

        def move(v: Tensor, beta: float) -> Tensor:
            return self.move(v, g, stream.uniform(self.hidden + v.shape[1]), beta)

        ladder = torch.linspace(0.0, 1.0, temperatures + 1, dtype=torch.float64).tolist()
        with torch.no_grad():
            ratio, error = log_mean_weight(annealed_log_weights(v, ladder, gap, move))
            start = float(self.base[group].double().logsumexp(1).sum()) + self.hidden * math.log(2.0)
        return start + ratio, error

    def starts(self) -> tuple[Tensor, ...]:
        return (self.base,)

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """- F(x) - log Z in nats, with the estimated log Z: (n,)."""
        self.check_condition(len(x), condition)
        v, g = self.flat(x, condition)
        log_z = self.normaliser()[g]
        return (-self.free_energy(v, g).double() - log_z).to(self.weight.dtype)

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Int[Tensor, "{n} *event"]:
        """Ends of Gibbs chains that start at the base rates and are cooled for the first half of their `sweeps`."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        g = groups(condition, n, self.base.device)
        v = draw(self.base[g], generator.uniform(self.base.shape[1]))
        for i in range(self.sweeps):
            beta = min(1.0, 2.0 * (i + 1) / self.sweeps)
            v = self.move(v, g, generator.uniform(self.hidden + v.shape[1]), beta)
        return v.reshape(n, *self.event.shape)


def draw(logits: Float[Tensor, "*places classes"], u: Float[Tensor, "*places"]) -> Int[Tensor, "*places"]:
    """The class at which the cumulated weight passes u: logits (…, classes), u (…) → int64 (…); float32, for speed."""
    total = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1)
    return torch.searchsorted(total, (u * total[..., -1])[..., None].to(total.dtype))[..., 0]


def class_functions(classes: int, features: int, *, ordered: bool) -> Float[Tensor, "{classes} features"]:
    """φ: (classes, features)."""
    if not features:
        features = 1 if classes == 2 else min(4, classes) if ordered else classes
    if classes == 2 and features == 1:
        return torch.tensor([[0.0], [1.0]])
    if features == classes:
        return torch.eye(classes, dtype=torch.float32)
    level, order = torch.arange(classes) + 0.5, torch.arange(1, features + 1)
    return torch.cos(math.pi / classes * level[:, None] * order)
