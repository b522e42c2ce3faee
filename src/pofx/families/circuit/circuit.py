"""The probabilistic circuit of a hidden Chow–Liu tree: exact log p(x), and exact answers for any subset of x.

Behind each variable is a state, the states form the tree of largest mutual information between the variables:

    p(x) = Σ_z p(z_root) ∏_i p(z_i | z_parent(i)) p(x_i | z_i)

Liu and Van den Broeck, 2021, arXiv 2106.02264; Choi, Vergari and Van den Broeck, 2020, "Probabilistic circuits".
Sums over unknown variables are 1 at their leaves, so marginals cost what log p costs. A condition is a variable of the
tree: log p(x | c) = log p(x, c) - log p(c), and the posterior over classes is exact too. Learning is expectation
maximisation on mini-batches, whose counts are gradients (`maximisation`), or descent ("tabpc", 2026, arXiv 2603.23016).
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event, count, dims, each
from pofx.core.generative import Classifying
from pofx.core.model import Batch, Default, Density, Infilling, Marginal, OnePhase, Phase, Recipe, X
from pofx.core.options import NonNegative, OneOf, Range, Unit
from pofx.core.random import Streams
from pofx.families.circuit.leaves import Classes, Known, Leaf, Normals
from pofx.families.circuit.maximisation import maximise
from pofx.families.circuit.passes import LogProb, upward
from pofx.families.circuit.tree import Level, Tree, binned, bins_for, levels, mutual_information, rooted, spanning_tree

LOOKED_AT = 5_000  # training items that make the tree and where the states begin
BASES, MANY = 64, 64  # shared distributions of tables of more than so many ordered classes
ITEMS = 256  # of one pass without gradients
LAST = 0.04  # share of a batch in the running counts, in the end
NIL = 1e-30  # rate of the optimiser under expectation maximisation, which moves the tables itself
Values = list[tuple[Num[Tensor, "n _"], Bool[Tensor, "n _"] | None]]  # of each part, with what is known


class Circuit(OnePhase, Infilling, Marginal, Classifying):
    """Hidden Chow–Liu tree: exact density of any subset.

    Args:
        states: of each hidden variable.
        learning: "em" (expectation maximisation on mini-batches) or "gradient" (by the optimiser, at a high rate).
        leaf: of discrete variables: "table", or "logistic" for ordered classes, which needs learning="gradient".
        bases: distributions over classes that all tables share; 0 chooses 64 where events have several axes and more
            than 64 classes, else none.
        prior: items that are added evenly to every row of a table.
        floor: least standard deviation of normal leaves, in units of each variable's own.
        update: share of a batch in the running counts of expectation maximisation; 0 decays from 1/2 to 1/25.
    """

    name = "circuit"
    role = "default"
    source = "Liu and Van den Broeck, 2021, arXiv 2106.02264"
    events = (Discrete, dict, Continuous)
    ranks = (1, 2, 3)
    unequal = True
    conditions = (Discrete, dict, Continuous)
    best_density = Density.EXACT
    trains_with: ClassVar = {"batch_size": 1000, "clip": 0.0, "precision": "fp32"}
    default_for: ClassVar = (Default(Continuous, 1, mixed=True), Default())
    small: ClassVar = {"states": 6}
    recipes: ClassVar = (
        Recipe(
            "tabpc",
            "TabPC, 2026, arXiv 2603.23016",
            {"learning": "gradient"},
            {"batch_size": 256, "lr": 0.1},
            summary="Hidden Chow–Liu tree, learned by gradients.",
        ),
    )

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        states: Annotated[int, Range(1, 1024)] = 64,
        learning: Annotated[str, OneOf("em", "gradient")] = "em",
        leaf: Annotated[str, OneOf("table", "logistic")] = "table",
        bases: Annotated[int, Range(0, 512)] = 0,
        prior: NonNegative = 1.0,
        floor: Unit = 0.02,
        update: Unit = 0.0,
    ) -> None:
        super().__init__(event, condition)
        if leaf == "logistic" and learning == "em":
            raise UsageError("logistic leaves have no step of expectation maximisation: pass learning=gradient")
        self.states, self.learning, self.leaf, self.bases = states, learning, leaf, bases
        self.prior, self.floor, self.update = prior, floor, update
        self.parts = list(parts_of(event))
        self.given = [] if condition is None else list(parts_of(condition))
        self.leaves: nn.ModuleList = nn.ModuleList(self._leaf(part) for _, part in (*self.parts, *self.given))
        self.sizes = [dims(part) for _, part in (*self.parts, *self.given)]
        size = sum(self.sizes)
        self.root = nn.Parameter(torch.full((states,), -math.log(states)))
        self.edges = nn.Parameter(torch.rand(size - 1, states, states).add(0.5).log().log_softmax(2))
        self.parents: Tensor
        self.updates: Tensor
        self.items: Tensor
        self.root_rows: Tensor
        self.edge_rows: Tensor
        self.register_buffer("parents", (torch.arange(size) - 1).div(2, rounding_mode="floor"))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("items", torch.ones((), dtype=torch.int64))
        self.register_buffer("root_rows", torch.zeros(1))
        self.register_buffer("edge_rows", torch.zeros(size - 1, states, 1))
        self._tree: tuple[Any, Tree] | None = None
        self._held: tuple[Any, tuple[Tensor, Tensor, Tensor, list[Tensor | None]]] | None = None

    def _leaf(self, part: Event) -> Leaf:
        if isinstance(part, Discrete):
            ordered = len(part.shape) > 1 and part.largest > MANY
            bases = self.bases or (BASES if ordered else 0)
            return Classes(
                part, self.states, bases if not part.uneven else 0, self.leaf == "logistic" and not part.uneven
            )
        return Normals(dims(part), self.states, self.floor)

    @property
    def _leaves(self) -> list[Leaf]:
        return list(self.leaves)  # type: ignore[arg-type]

    # --- the tree

    @property
    def tree(self) -> Tree:
        key = (self.parents.device, tuple(self.parents.tolist()))
        if self._tree is None or self._tree[0] != key:
            self._tree = key, levels(key[1], self.parents.device)
        return self._tree[1]

    @torch.no_grad()
    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Find the tree, and begin the states near training items."""
        batch = take(LOOKED_AT)
        values = self._values(batch.x, None, batch.condition)
        filled = [_filled(x, known) for x, known in values]
        bins = bins_for(sum(self.sizes))
        columns = []
        for x, (_, part) in zip(filled, (*self.parts, *self.given), strict=True):
            ordered = not isinstance(part, Discrete) or len(part.shape) > 1
            columns += [binned(x[:, i], bins, ordered=ordered) for i in range(x.shape[1])]
        if len(columns) > 1:
            weights = mutual_information(torch.stack(columns, 1), bins)
            self.parents.copy_(torch.tensor(rooted(spanning_tree(weights), len(columns))))
        self.items.fill_(len(batch))
        chosen = torch.randperm(len(batch))[torch.arange(self.states) % len(batch)].to(self.parents.device)
        for leaf, x, (_, known) in zip(self._leaves, filled, values, strict=True):
            leaf.start(x, known, x[chosen])
        same = 0.5 * torch.eye(self.states).to(self.edges) + 0.5 * torch.rand_like(self.edges) / self.states
        self.edges.copy_((same / same.sum(2, keepdim=True)).log())

    # --- values and passes

    def _values(self, x: X, known: X | None, condition: X | None) -> Values:
        """The values of each part (n, d), and which are known: not NaN, negative classes, or where `known` is False."""
        found: Values = []
        for path, part in self.parts:
            value = at(x, path).flatten(1)
            seen = value >= 0 if isinstance(part, Discrete) else ~value.isnan()
            if known is not None:
                seen = seen & at(known, path).flatten(1)
            found.append((value, None if bool(seen.all()) else seen))
        n = count(x)
        for path, part in self.given:
            if condition is None:
                value = torch.zeros(n, dims(part), device=self.parents.device)
                value = value.long() if isinstance(part, Discrete) else value
                found.append((value, torch.zeros_like(value, dtype=torch.bool)))
            else:
                found.append((at(condition, path).reshape(n, -1), None))
        return found

    def _leaf_values(
        self, values: Values, *, raw: bool, held: list[Tensor | None] | None = None
    ) -> tuple[Tensor, Tensor | float]:
        """The leaves in the order of the tree, and the log of what they were divided by."""
        leaves: list[Tensor] = []
        factor: Tensor | float = 0.0
        held = [leaf.held(raw=raw) for leaf in self._leaves] if held is None else held
        if len(values) == 1:
            return self._leaves[0].values(*values[0], held[0], raw=raw, order=self.tree.variables)
        for leaf, (x, known), of_leaf in zip(self._leaves, values, held, strict=True):
            found, log_factor = leaf.values(x, known, of_leaf, raw=raw)
            leaves.append(found)
            factor = factor + log_factor
        return torch.cat(leaves)[self.tree.variables], factor

    def _tables(self, *, raw: bool) -> tuple[Tensor, Tensor]:
        if raw:
            return self.root.exp(), self.edges.exp()
        return self.root.softmax(0), self.edges.softmax(2)

    def joint(self, x: X, known: X | None, condition: X | None, *, raw: bool = False) -> Float[Tensor, "n"]:
        """log p(x_known, condition), the condition integrated out where it is None: float64 (n,)."""
        n, grad, tree, found = count(x), torch.is_grad_enabled(), self.tree, []
        values = self._values(x, known, condition)
        size = n if grad else ITEMS
        root, edges, ordered, held = self._all_tables(raw=raw)
        for i in range(0, n, max(size, 1)):
            part = [(v[i : i + size], None if k is None else k[i : i + size]) for v, k in values]
            if not grad and len(part) == 1 and isinstance(self._leaves[0], Classes):
                with torch.autocast(root.device.type, enabled=False):
                    found.append(upward(self._looked_up(part[0], held[0], raw=raw), root, ordered, tree))
                continue
            leaf, factor = self._leaf_values(part, raw=raw, held=held)
            found.append(LogProb.apply(leaf, root, edges, tree) + factor)
        return torch.cat(found) if found else root.new_zeros(0, dtype=torch.float64)

    def _all_tables(self, *, raw: bool) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
        """Root, edges, these in the order of the tree, and what leaves hold; in use computed once for all calls."""
        parameters = list(self.parameters())
        once = not (torch.is_grad_enabled() or self.training or any(p.is_inference() for p in parameters))
        tree = self.tree  # whose key is that of its parents
        key = (raw, self._tree and self._tree[0], *((p.data_ptr(), p._version) for p in parameters)) if once else None
        if self._held is not None and key is not None and self._held[0] == key:
            return self._held[1]
        root, edges = self._tables(raw=raw)
        ordered = edges if torch.is_grad_enabled() else edges[tree.edges]
        found = root, edges, ordered, [leaf.held(raw=raw) for leaf in self._leaves]
        self._held = (key, found) if once else None
        return found

    def _looked_up(
        self, part: tuple[Tensor, Bool[Tensor, "n _"] | None], held: Tensor | None, *, raw: bool
    ) -> Callable[[Level], Tensor]:
        """The leaves of a level by themselves, which stay in the cache; of a single part that has tables."""
        leaf, variables = self._leaves[0], self.tree.variables
        return lambda level: leaf.values(*part, held, raw=raw, order=variables[level.nodes])[0]

    def _log_condition(self, x: X, condition: X | None) -> Float[Tensor, "n"] | float:
        """log p(condition)."""
        if condition is None:
            return 0.0
        inverse = None
        if isinstance(condition, Tensor):
            condition, inverse = condition.unique(dim=0, return_inverse=True)
        n = count(condition)
        nothing = each(x, lambda v: v[:1].expand(n, *v.shape[1:]))
        unknown = each(nothing, lambda v: torch.zeros_like(v, dtype=torch.bool))
        found = self.joint(nothing, unknown, condition)
        return found if inverse is None else found[inverse]

    # --- learning

    def phases(self) -> tuple[Phase, ...]:
        parameters = tuple(self.parameters())
        if self.learning == "gradient":
            return (Phase("model", parameters, self.loss),)
        return (Phase("model", parameters, self.loss, rate=NIL, after=self._maximise),)

    def loss(self, batch: Batch) -> Tensor:
        """- mean log p(x, condition)."""
        raw = self.learning == "em" and self.training
        return -self.joint(batch.x, None, batch.condition, raw=raw).mean().float()

    @torch.no_grad()
    def _maximise(self, losses: Any) -> None:
        step = self.update or max(LAST, 0.5 / (1 + int(self.updates) / 12))
        prior = self.prior / max(int(self.items), 1)
        maximise(self.root, self.root_rows, 0, step, prior, self.states)
        maximise(self.edges, self.edge_rows, 2, step, prior, self.states)
        for leaf in self._leaves:
            leaf.maximise(step, prior)
        self.updates += 1

    def validation(self, batch: Batch) -> Float[Tensor, ""]:
        return -self.log_prob(batch.x, batch.condition).mean()

    # --- answers

    def log_prob(self, x: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        """log p(x | condition) in nats: (n,). Negative classes and NaN are unknown, and integrated out."""
        self.check_condition(count(x), condition)
        return (self.joint(x, None, condition) - self._log_condition(x, condition)).float()

    def log_marginal(self, x: X, known: X, condition: Condition | None = None) -> Float[Tensor, "n"]:
        self.check_condition(count(x), condition)
        return (self.joint(x, known, condition) - self._log_condition(x, condition)).float()

    def log_posterior(self, x: X, known: X | None = None) -> Float[Tensor, "n classes"]:
        """log p(class | x) of a circuit whose condition is one class number: (n, classes).

        Raises:
            Unsupported: it has another condition.
        """
        if not isinstance(self.condition, Discrete) or dims(self.condition) != 1:
            raise Unsupported("class posteriors need one class number as the condition: train with condition=label")
        n, joints = count(x), []
        for k in range(self.condition.largest):
            label = torch.full((n, *self.condition.shape), k, device=self.parents.device)
            joints.append(self.joint(x, known, label))
        return torch.stack(joints, 1).log_softmax(1).float()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(n, condition)
        return self._draw(n, None, None, condition, generator)

    def complete(self, x: X, known: X, condition: Condition | None = None, *, generator: Streams) -> X:
        self.check_condition(count(x), condition)
        return self._draw(count(x), x, known, condition, generator)

    @torch.no_grad()
    def _draw(self, n: int, x: X | None, known: X | None, condition: X | None, generator: Streams) -> X:
        """States from the root down given what is known, and values of what is not."""
        root, edges = self._tables(raw=False)
        tree, size = self.tree, sum(self.sizes)
        u = generator.uniform(2, size)
        values = None if x is None and condition is None else self._evidence(n, x, known, condition)
        below: list[Tensor] | None = None
        if values is not None:
            leaf, _ = self._leaf_values(values, raw=False)
            below = list[Tensor]()
            upward(lambda level: leaf[level.nodes], root, edges[tree.edges], tree, (below, [], [], []))
        z = torch.empty(size, n, dtype=torch.int64, device=root.device)
        for depth, level in enumerate(tree.levels):
            variables = tree.variables[level.nodes]
            if depth == 0:
                weights = root.expand(1, n, -1)
            else:
                above = tree.variables[tree.levels[depth - 1].nodes]
                weights = edges[tree.edges[level.edges][:, None], z[above][level.parents]]
            if below is not None:
                weights = weights * below[-1 - depth]
            cdf = weights.double().cumsum(-1)
            noise = u[:, 0].T[variables][..., None]
            z[variables] = (cdf < noise * cdf[..., -1:]).sum(-1).clamp(max=self.states - 1)
        drawn: dict[tuple[str, ...], Tensor] = {}
        start = 0
        for k, (path, part) in enumerate(self.parts):
            leaf_k, own = self._leaves[k], torch.arange(self.sizes[k], device=root.device)
            leaf_k.ready()
            states, noise = z[start : start + self.sizes[k]], u[:, 1, start : start + self.sizes[k]].T
            found = leaf_k.draw(own, states, noise).T
            if x is not None and values is not None:
                given, seen = values[k]
                found = given if seen is None else torch.where(seen, given, found)
            drawn[path] = found.reshape(n, *part.shape)
            start += self.sizes[k]
        return assembled(self.event, drawn)

    def _evidence(self, n: int, x: X | None, known: X | None, condition: X | None) -> Values:
        if x is not None:
            return self._values(x, known, condition)
        nothing = {
            path: torch.zeros(
                n, *part.shape, device=self.parents.device, dtype=torch.int64 if isinstance(part, Discrete) else None
            )
            for path, part in self.parts
        }
        unknown = {path: torch.zeros_like(v, dtype=torch.bool) for path, v in nothing.items()}
        return self._values(assembled(self.event, nothing), assembled(self.event, unknown), condition)


def parts_of(event: Event, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The plain events within an event, each with the keys that lead to it."""
    if isinstance(event, dict):
        for key, part in event.items():
            yield from parts_of(part, (*path, key))
    else:
        yield path, event


def at(x: X, path: tuple[str, ...]) -> Num[Tensor, "..."] | Bool[Tensor, "..."]:
    """The values of one plain event within those of a product."""
    for key in path:
        x = x[key]
    return x


def assembled(event: Event, parts: dict[tuple[str, ...], Any], path: tuple[str, ...] = ()) -> X:
    """The values of a product event from those of its plain events."""
    if isinstance(event, dict):
        return {key: assembled(part, parts, (*path, key)) for key, part in event.items()}
    return parts[path]


def _filled(x: Tensor, known: Known) -> Tensor:
    """Values with known ones of other items in the place of unknown ones."""
    if known is None:
        return x
    x = x.clone()
    for i in range(x.shape[1]):
        seen, missing = x[known[:, i], i], ~known[:, i]
        others = torch.randint(max(len(seen), 1), (int(missing.sum()),), device=x.device)
        x[missing, i] = seen[others] if len(seen) else 0
    return x
