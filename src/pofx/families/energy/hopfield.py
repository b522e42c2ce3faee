"""Hopfield networks: associative memories whose energy has a valley at every stored pattern.

    quadratic:    -E(s) = β/2 Σ_ij s_i J_ij s_j
    exponential:  -E(s) = log Σ_μ exp(β Σ_i δ(s_i, ξ^μ_i))

Hopfield, 1982; Demircigil et al., 2017, arXiv 1702.01929; Ramsauer et al., 2021, arXiv 2008.02217. J holds the memories
by Hebb's rule, or projects on their span (Personnaz, Guyon and Dreyfus, 1986), which stores any d independent ones. The
exponential network stores exponentially many, and its Boltzmann distribution is a mixture: each memory with independent
errors. Its density and any conditional are therefore exact, and β, the rate of errors, is chosen by the likelihood of
memories that are left out in turn.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Discrete, Event
from pofx.core.generative import Recalling
from pofx.core.model import Batch, Density, Infilling, Marginal, Phase
from pofx.core.options import Count, NonNegative, OneOf
from pofx.core.random import Streams
from pofx.families.energy.normalised import Sweeping
from pofx.families.energy.visible import draw

LEFT_OUT = 1_000  # memories left out in turn, at most
ERRORS = (0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.6)  # shares of wrong places that are tried
PAIRS = 20_000_000  # agreements held at once


class Hopfield(Infilling, Marginal, Recalling, Sweeping):
    """Associative memory: stored items, recalled from damaged or partial ones.

    Args:
        interaction: exponential (modern, an exact density) or quadratic (classical, up to a constant).
        rule: of the classical couplings.
        memories: items stored, at most.
        sharpness: β; 0 chooses it.
        sweeps: of the classical network, in `sample` and `complete`.
    """

    name = "hopfield"
    source = "Hopfield, 1982; Ramsauer et al., 2021, arXiv 2008.02217"
    events = (Discrete,)
    ranks = (1, 2, 3)
    best_density = Density.EXACT
    adjustable = ("sweeps",)
    small = {"memories": 500}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        interaction: Annotated[str, OneOf("exponential", "quadratic")] = "exponential",
        rule: Annotated[str, OneOf("projection", "hebb")] = "projection",
        memories: Count = 10_000,
        sharpness: NonNegative = 0.0,
        sweeps: Count = 30,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.interaction, self.rule, self.memories = interaction, rule, memories
        self.sharpness, self.sweeps = sharpness, sweeps
        self.size, self.classes = math.prod(event.shape), event.largest
        self.patterns: Tensor
        self.count: Tensor
        self.beta: Tensor
        self.register_buffer("patterns", torch.zeros(memories, self.size, dtype=torch.int64))
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        self.register_buffer("beta", torch.ones(()))

    @property
    def density(self) -> Density:
        return Density.EXACT if self.interaction == "exponential" else Density.RELATIVE

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Store the items, and choose β."""
        x = take(self.memories).x.flatten(1)[: self.memories]
        self.patterns.zero_()
        self.patterns[: len(x)] = x
        self.count.fill_(len(x))
        if self.sharpness:
            self.beta.fill_(self.sharpness)
        elif self.interaction == "quadratic":
            self.beta.fill_(4.0)  # of couplings whose valleys are about one nat per place deep
        else:
            self.beta.fill_(max((self.left_out(x, beta), beta) for beta in map(self.beta_of, ERRORS))[1])

    def beta_of(self, share: float) -> float:
        """β at which a place is wrong with this probability."""
        return math.log((1 - share) * (self.classes - 1) / share)

    def left_out(self, x: Int[Tensor, "n size"], beta: float) -> float:
        """Mean log p of stored items, each given all others; of a single item nothing is known."""
        if len(x) < 2:
            return -self.size * math.log(self.classes)
        agree = beta * self.agreements(x[:LEFT_OUT], x)
        agree.fill_diagonal_(-math.inf)
        return float((agree.logsumexp(1) - math.log(len(x) - 1)).mean()) - self.log_z(beta)

    def log_z(self, beta: float) -> float:
        """log Σ_s exp(β × agreements with one memory)."""
        return self.size * math.log(math.exp(beta) + self.classes - 1)

    def agreements(self, x: Int[Tensor, "n size"], y: Int[Tensor, "m size"]) -> Float[Tensor, "n m"]:
        """In how many places they agree."""
        a, b = (one_hot(v, self.classes).flatten(1).float() for v in (x, y))
        return a @ b.T

    @property
    def stored(self) -> Int[Tensor, "m size"]:
        return self.patterns[: int(self.count)]

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    # ── the questions ──

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p in nats, exact; of the classical network minus the energy, up to a constant."""
        return self.log_marginal(x, torch.ones_like(x, dtype=torch.bool), condition)

    def log_marginal(
        self, x: Int[Tensor, "n *event"], known: Bool[Tensor, "n *event"], condition: Condition | None = None
    ) -> Float[Tensor, "n"]:
        """log p of the known places; the classical network has none unless all are known."""
        self.check_condition(len(x), condition)
        v, k = x.flatten(1), known.flatten(1)
        if self.interaction == "quadratic":
            if not bool(k.all()):
                raise Unsupported("a quadratic network has no density of some places: pass interaction=exponential")
            return 0.5 * self.beta * (self._signs(v) * self._field(v)).sum((1, 2))
        return self._log_weights(v, k).logsumexp(1) - math.log(len(self.stored))

    def _log_weights(self, v: Int[Tensor, "n size"], known: Bool[Tensor, "n size"]) -> Float[Tensor, "n m"]:
        """log p of the known places given each memory."""
        beta, memory = float(self.beta), one_hot(self.stored, self.classes).flatten(1).float()
        each = math.log(math.exp(beta) + self.classes - 1)
        found = []
        for a, k in zip(v.split(self._rows()), known.split(self._rows()), strict=True):
            seen = (one_hot(a, self.classes) * k[..., None]).flatten(1).float()
            found.append(beta * (seen @ memory.T) - each * k.sum(1, keepdim=True))
        return torch.cat(found)

    def _rows(self) -> int:
        return max(1, PAIRS // len(self.stored))

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Int[Tensor, "{n} *event"]:
        """A memory with independent errors; of the classical network the end of its sweeps from a random state."""
        nothing = torch.zeros(n, *self.event.shape, dtype=torch.int64, device=self.patterns.device)  # type: ignore[union-attr]
        return self.complete(nothing, nothing.bool(), condition, generator=generator)

    def complete(
        self,
        x: Int[Tensor, "n *event"],
        known: Bool[Tensor, "n *event"],
        condition: Condition | None = None,
        *,
        generator: Streams,
    ) -> Int[Tensor, "n *event"]:
        self.check_condition(len(x), condition)
        v, k = x.flatten(1), known.flatten(1)
        if self.interaction == "quadratic":
            start = (generator.uniform(self.size) * self.classes).long().clamp(max=self.classes - 1)
            found = self._swept(torch.where(k, v, start), k, generator)
        else:
            which = draw(self._log_weights(v, k), generator.uniform())
            logits = self.beta * one_hot(self.stored[which], self.classes)
            found = draw(logits, generator.uniform(self.size))
        return torch.where(k, v, found).reshape(x.shape)

    @torch.no_grad()
    def recall(self, x: Int[Tensor, "n *event"], updates: int = 20) -> Int[Tensor, "n *event"]:
        """Where the state x falls: repeated moves to the most probable state, without chance, until none changes."""
        v = x.flatten(1)
        for _ in range(updates):
            if self.interaction == "quadratic":
                new = self._swept(v, torch.zeros_like(v, dtype=torch.bool), None)
            else:
                weight = self._log_weights(v, torch.ones_like(v, dtype=torch.bool)).softmax(1)
                votes = torch.einsum("nm,mic->nic", weight, one_hot(self.stored, self.classes).float())
                new = votes.argmax(-1)
            if torch.equal(new, v):
                break
            v = new
        return v.reshape(x.shape)

    # ── the classical network: classes as centred indicators, of which two are ±½ ──

    def _signs(self, v: Int[Tensor, "n size"]) -> Float[Tensor, "n size classes"]:
        return one_hot(v, self.classes).float() - 1.0 / self.classes

    def _couplings(self) -> Float[Tensor, "inputs inputs"]:
        """J without couplings of a place with itself."""
        memory = self._signs(self.stored).flatten(1)
        if self.rule == "hebb":
            j = memory.T @ memory / self.size
        else:
            j = torch.linalg.pinv(memory) @ memory
        blocks = j.reshape(self.size, self.classes, self.size, self.classes).clone()
        index = torch.arange(self.size, device=j.device)
        blocks[index, :, index] = 0
        return blocks.reshape(j.shape)

    def _field(self, v: Int[Tensor, "n size"]) -> Float[Tensor, "n size classes"]:
        return (self._signs(v).flatten(1) @ self._couplings()).reshape(len(v), self.size, self.classes)

    def _swept(
        self, v: Int[Tensor, "n size"], known: Bool[Tensor, "n size"], generator: Streams | None
    ) -> Int[Tensor, "n size"]:
        """Sweeps over the places one by one: Gibbs moves, or one sweep to the most probable class without chance."""
        j = self._couplings().reshape(self.size, self.classes, -1)
        v, state = v.clone(), self._signs(v)
        for _ in range(self.sweeps if generator is not None else 1):
            u = None if generator is None else generator.uniform(self.size)
            for i in range(self.size):
                logits = self.beta * (state.flatten(1) @ j[i].T)
                new = logits.argmax(1) if u is None else draw(logits, u[:, i])
                v[:, i] = torch.where(known[:, i], v[:, i], new)
                state[:, i] = self._signs(v[:, i : i + 1])[:, 0]
        return v
