"""The deep belief network: a restricted Boltzmann machine over the hidden units of others, which then only point down.

    p(v, h¹ … hᴸ) = p(v | h¹) p(h¹ | h²) … p(hᴸ⁻¹, hᴸ),    the last factor a restricted Boltzmann machine

Hinton, Osindero and Teh, 2006, "A fast learning algorithm for deep belief nets": every machine learns from samples of
the hidden units below it (greedily, all of them at once here, each on what the one below gives at present); then
wake–sleep with the top machine's own contrast ("up–down"). The bound on log p with log Z of the top machine is that of
Salakhutdinov and Murray, 2008.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Density, Encoding, Explicit, Phase
from pofx.core.options import Count, Range, Unit, Width
from pofx.core.random import Streams
from pofx.families.energy.normalised import Sweeping
from pofx.families.energy.rbm import RBM
from pofx.families.energy.visible import draw
from pofx.maths.sandwich import lower_bound
from pofx.nets.vector.groups import groups


class DBN(Explicit, Encoding, Sweeping):
    """Deep belief network: layers of binary units, the top two undirected; its bound by annealed importance sampling.

    Args:
        hidden: binary units of each layer.
        layers: of hidden units; one is a restricted Boltzmann machine.
        features: functions of a class that the lowest weights see, as of `rbm`.
        fine_tune: wake–sleep after the greedy training, with recognition weights of their own.
        greedy_items: items of greedy training before it.
        importance: draws of the hidden units in `log_prob`.
        chains, moves, decay, temperatures, runs, sweeps: of the machines, as of `rbm`.
    """

    name = "dbn"
    source = "Hinton, Osindero and Teh, 2006; Salakhutdinov and Murray, 2008"
    events = (Discrete,)
    ranks = (1, 2, 3)
    best_density = Density.BOUND
    lossless = False
    adjustable = ("importance", "temperatures", "runs", "sweeps")
    trains_with = {"lr": 2e-3, "clip": 0.0, "precision": "fp32"}
    small = {"hidden": 8, "chains": 64, "decay": 0.0, "importance": 16, "temperatures": 100, "runs": 64, "sweeps": 60}
    exempt = {"reconstruction": "a code is the hidden units' probabilities, so x is recovered only roughly"}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        hidden: Width = 256,
        layers: Annotated[int, Range(1, 16)] = 2,
        features: Annotated[int, Range(0, 64)] = 0,
        fine_tune: bool = False,
        greedy_items: Annotated[int, Range(0, 1_000_000_000)] = 500_000,
        importance: Count = 64,
        chains: Count = 256,
        moves: Count = 1,
        decay: Unit = 1e-3,
        temperatures: Count = 1000,
        runs: Count = 100,
        sweeps: Count = 600,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.hidden, self.layers, self.features = hidden, layers, features
        self.fine_tune, self.greedy_items, self.importance = fine_tune, greedy_items, importance
        self.chains, self.moves, self.decay = chains, moves, decay
        self._asked = {"temperatures": temperatures, "runs": runs, "sweeps": sweeps}
        events = [event, *[Discrete((hidden,), 2)] * (layers - 1)]
        self.machines = nn.ModuleList(
            RBM(
                below, hidden=hidden, features=features if k == 0 else 0, chains=chains, moves=moves, decay=decay,
                temperatures=temperatures, runs=runs, sweeps=sweeps,
            )
            for k, below in enumerate(events)
        )  # fmt: skip
        inputs = [math.prod(e.shape) * m.phi.shape[1] for e, m in zip(events, self.stack(), strict=True)]
        self.recognition = nn.ModuleList(nn.Linear(n, hidden) for n in inputs[:-1]) if fine_tune else None
        self.code = Continuous((hidden,))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def stack(self) -> list[RBM]:
        return [m for m in self.machines if isinstance(m, RBM)]

    @property
    def top(self) -> RBM:
        return self.stack()[-1]

    @property
    def temperatures(self) -> int:
        return self._asked["temperatures"]

    @temperatures.setter
    def temperatures(self, value: int) -> None:
        self._asked["temperatures"] = self.top.temperatures = value

    @property
    def runs(self) -> int:
        return self._asked["runs"]

    @runs.setter
    def runs(self, value: int) -> None:
        self._asked["runs"] = self.top.runs = value

    @property
    def sweeps(self) -> int:
        return self._asked["sweeps"]

    @sweeps.setter
    def sweeps(self, value: int) -> None:
        self._asked["sweeps"] = self.top.sweeps = value

    # ── up and down; layer 0 is the flat event ──

    def up(self, k: int, below: Int[Tensor, "n below"]) -> Float[Tensor, "n hidden"]:
        """Logits of q(hᵏ⁺¹ = 1 | hᵏ)."""
        machine = self.stack()[k]
        if self.recognition is not None and k < len(self.recognition):
            out: Tensor = self.recognition[k](nn.functional.embedding(below, machine.phi).flatten(1))
            return out
        return machine.hidden_input(below, groups(None, len(below), below.device))

    def down(self, k: int, above: Float[Tensor, "n hidden"]) -> Float[Tensor, "n below classes"]:
        """Logits of p(hᵏ | hᵏ⁺¹)."""
        return self.stack()[k].visible_logits(above, groups(None, len(above), above.device))

    def climbed(self, v: Int[Tensor, "n size"], uniforms: Callable[[], Tensor]) -> list[Int[Tensor, "n layer"]]:
        """A draw of every layer below the top machine's hidden units, from the event up."""
        found = [v]
        for k in range(self.layers - 1):
            found.append((uniforms() < self.up(k, found[-1]).sigmoid()).long())
        return found

    def fallen(self, h: Int[Tensor, "n hidden"], uniforms: Callable[[int], Tensor]) -> list[Int[Tensor, "n layer"]]:
        """A draw of every layer below h, from the event up, h itself last."""
        found = [h]
        for k in reversed(range(self.layers - 1)):
            logits = self.down(k, found[0].to(self.top.weight.dtype))
            found.insert(0, draw(logits, uniforms(logits.shape[1])))
        return found

    # ── training ──

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start every machine from the base rates of what it will see first."""
        x = take(10_000).x.flatten(1)
        for k, machine in enumerate(self.stack()):
            machine.prepare(lambda n, x=x, m=machine: Batch(x[:n].reshape(-1, *m.event.shape)))  # type: ignore[misc]
            if k < self.layers - 1:
                with torch.no_grad():
                    x = (torch.rand(len(x), self.hidden, device=x.device) < self.up(k, x).sigmoid()).long()

    @property
    def greedy(self) -> bool:
        """Whether every machine still learns for itself."""
        return self.recognition is None or int(self.seen) < self.greedy_items

    def phases(self) -> tuple[Phase, ...]:
        found = [Phase("model", tuple(self.machines.parameters()), self.loss)]
        if self.recognition is not None:
            found.append(Phase("recognition", tuple(self.recognition.parameters()), self.recognition_loss))
        return tuple(found)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Greedy: the contrast of every machine. Then (wake): that of the top machine, and - log p(hᵏ | hᵏ⁺¹) of the
        layers that recognition finds."""
        v, greedy = batch.x.flatten(1), self.greedy
        with torch.no_grad():
            if greedy:
                layers = [v]
                for machine in self.stack()[:-1]:
                    logits = machine.hidden_input(layers[-1], groups(None, len(v), v.device))
                    layers.append((torch.rand_like(logits) < logits.sigmoid()).long())
            else:
                layers = self.climbed(v, lambda: torch.rand(len(v), self.hidden, device=v.device))
        if self.training:
            self.seen += len(v)
        parts: dict[str, Tensor] = {}
        for k, (machine, x) in enumerate(zip(self.stack(), layers, strict=True)):
            if greedy or k == self.layers - 1:
                own = machine.loss(Batch(x.reshape(-1, *machine.event.shape)))  # type: ignore[union-attr]
                parts |= {f"{name} {k + 1}": value for name, value in own.items()}
            else:
                logits = self.down(k, layers[k + 1].to(machine.weight.dtype))
                parts[f"wake {k + 1}"] = -_picked(logits, x).mean()
        return parts

    def recognition_loss(self, batch: Batch) -> dict[str, Tensor]:
        """Greedy: recognition copies each machine's own hidden units. Then (sleep): - log q(hᵏ⁺¹ | hᵏ) of dreams that
        fall from the top machine's chains."""
        v, parts = batch.x.flatten(1), {}
        with torch.no_grad():
            if self.greedy:
                layers, goals = [v], []
                for machine in self.stack()[:-1]:
                    goals.append(machine.hidden_input(layers[-1], groups(None, len(v), v.device)).sigmoid())
                    layers.append((torch.rand_like(goals[-1]) < goals[-1]).long())
            else:
                chain = self.top.particles[: len(v)]
                layers = self.fallen(chain, lambda size: torch.rand(len(chain), size, device=v.device))
                goals = [layer.to(self.top.weight.dtype) for layer in layers[1:]]
        for k, goal in enumerate(goals):
            error = binary_cross_entropy_with_logits(self.up(k, layers[k]), goal, reduction="none")
            parts[f"sleep {k + 1}"] = error.sum(1).mean()
        return parts

    @torch.no_grad()
    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        """Minus the bound without log Z's constant: the top machine is judged by its pseudo-likelihood."""
        v = batch.x.flatten(1)
        layers = self.climbed(v, lambda: torch.rand(len(v), self.hidden, device=v.device))
        return -(self._below(layers) + self.top.pseudo(layers[-1], groups(None, len(v), v.device))).mean()

    # ── the questions ──

    def _below(self, layers: list[Tensor]) -> Float[Tensor, "n"]:
        """log p(v | h¹) … p(hᴸ⁻² | hᴸ⁻¹) - log q(h¹ … hᴸ⁻¹ | v)."""
        total = torch.zeros(len(layers[0]), device=layers[0].device)
        for k in range(self.layers - 1):
            above = layers[k + 1].to(self.top.weight.dtype)
            log_q = -binary_cross_entropy_with_logits(self.up(k, layers[k]), above, reduction="none").sum(1)
            total = total + _picked(self.down(k, above), layers[k]) - log_q
        return total

    def log_weights(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "n draws"]:
        """log p(v, h) - log q(h | v) of `importance` draws, their noise fixed by the item; without draws where there is
        one layer."""
        v, streams = x.flatten(1), Streams.of_items(0, x)
        log_z, found = self.top.normaliser()[0], []
        for _ in range(self.importance if self.layers > 1 else 1):
            layers = self.climbed(v, lambda: streams.uniform(self.hidden))
            free = self.top.free_energy(layers[-1], groups(None, len(v), v.device))
            found.append(self._below(layers).double() - free.double() - log_z)
        return torch.stack(found, 1)

    def log_prob(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        """A lower bound in nats, by importance weights, with the estimated log Z of the top machine: (n,)."""
        return self.log_prob_estimate(x, condition)[0]

    def log_prob_estimate(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"] | None]:
        self.check_condition(len(x), condition)
        log_w = self.log_weights(x)
        value, dtype = lower_bound(log_w), self.top.weight.dtype
        if log_w.shape[1] == 1:
            return value.to(dtype), None
        error = (log_w - value[:, None]).exp().std(1) / log_w.shape[1] ** 0.5
        return value.to(dtype), error.to(dtype)

    def log_prob_error(self) -> float:
        """Standard error of the top machine's log Z."""
        return self.top.log_prob_error()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Int[Tensor, "{n} *event"]:
        """Gibbs chains of the top machine, then one pass down."""
        self.check_condition(n, condition)
        assert isinstance(self.event, Discrete)
        top = self.top.sample(n, generator=generator).flatten(1)
        return self.fallen(top, lambda size: generator.uniform(size))[0].reshape(n, *self.event.shape)

    def encode(self, x: Int[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n hidden"]:
        """Probabilities of the topmost hidden units, each layer taking the probabilities of the one below."""
        self.check_condition(len(x), condition)
        h: Tensor = self.network()(nn.functional.embedding(x.flatten(1), self.stack()[0].phi).flatten(1))
        return h

    def decode(self, z: Float[Tensor, "n hidden"], condition: Condition | None = None) -> Int[Tensor, "n *event"]:
        """The most probable class of each place, given probabilities of the hidden units."""
        self.check_condition(len(z), condition)
        assert isinstance(self.event, Discrete)
        h = z
        for k in reversed(range(self.layers)):
            logits = self.down(k, h)
            h = logits.softmax(-1)[..., -1]
        return logits.argmax(-1).reshape(len(z), *self.event.shape)

    def network(self, outputs: int = 0) -> nn.Sequential:
        """A perceptron that starts as the upward pass (features of the classes → probabilities of the topmost units),
        with a last linear layer for `outputs` classes: the classifier of 2006, to be trained with labels."""
        parts: list[nn.Module] = []
        for k, machine in enumerate(self.stack()):
            weight, bias = machine.weight.T, machine.hidden_bias[0]
            if self.recognition is not None and k < len(self.recognition):
                own = self.recognition[k]
                assert isinstance(own, nn.Linear)
                weight, bias = own.weight, own.bias
            layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
            with torch.no_grad():
                layer.weight.copy_(weight)
                layer.bias.copy_(bias)
            parts += [layer, nn.Sigmoid()]
        if outputs:
            parts.append(nn.Linear(self.hidden, outputs, device=self.top.weight.device))
        return nn.Sequential(*parts)

    def inputs(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "n inputs"]:
        """Events as `network` takes them."""
        return nn.functional.embedding(x.flatten(1), self.stack()[0].phi).flatten(1)


def _picked(logits: Float[Tensor, "n size classes"], x: Int[Tensor, "n size"]) -> Float[Tensor, "n"]:
    """Σ_i log softmax(logits_i)[x_i]: (n,)."""
    return (logits.log_softmax(-1) * one_hot(x, logits.shape[-1])).sum((1, 2))
