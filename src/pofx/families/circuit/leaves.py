"""Leaves: p(x | state) of every variable of a part of an event, and how expectation maximisation moves them.

A leaf gives the probabilities of n items under every state, up to a factor per item that it returns as a logarithm.
What is unknown has probability 1 under every state: that is the integral over it. Classes over many ordered classes can
be mixtures of a few distributions over the classes that all variables share, so that neighbouring classes learn from
each other; logistic leaves are discretised (Salimans et al., 2017, arXiv 1701.05517) and learn by gradients alone.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor, nn
from torch.nn.functional import embedding

from pofx.core.event import Discrete
from pofx.families.circuit.maximisation import maximise
from pofx.maths.discretised_logistic import log_bins
from pofx.maths.distributions import class_counts, normal_log_prob
from pofx.maths.robust import centre_and_scale

FARTHEST = -1e30  # log p of what is too far away for its square
Known = Bool[Tensor, "n d"] | None  # which values are known; None: all


class Leaf(nn.Module, ABC):
    """The leaves of d variables of one kind."""

    @abstractmethod
    def start(self, x: Num[Tensor, "n d"], known: Known, prototypes: Num[Tensor, "states d"]) -> None:
        """Begin near the prototypes, one for each state, and as wide as the items."""

    def held(self, *, raw: bool) -> Float[Tensor, "entries states"] | None:
        """What `values` needs of the parameters alone, once for all items. Default: nothing."""
        return None

    @abstractmethod
    def values(
        self,
        x: Num[Tensor, "n d"],
        known: Known,
        held: Float[Tensor, "entries states"] | None,
        *,
        raw: bool,
        order: Int[Tensor, "k"] | None = None,
    ) -> tuple[Float[Tensor, "_ n states"], Float[Tensor, "n"] | float]:
        """p(x_i | state) up to a factor per item, and the log of that factor; `raw`: the tables are normalised. The
        variables come in an `order`, if one is given; of classes it may have only some of them."""

    @abstractmethod
    def draw(self, at: Int[Tensor, "k"], z: Int[Tensor, "k n"], u: Float[Tensor, "k n"]) -> Num[Tensor, "k n"]:
        """Values of the variables `at` in states z, by uniforms u."""

    @abstractmethod
    def ready(self) -> None:
        """Compute what draws need, once for all of them."""

    @abstractmethod
    def maximise(self, step: float, prior: float) -> None:
        """A step of expectation maximisation by the gradients."""


class Classes(Leaf):
    """Discrete variables: a free table per variable, mixtures of shared distributions, or discretised logistics."""

    def __init__(self, event: Discrete, states: int, bases: int, logistic: bool) -> None:
        super().__init__()
        self.counts, self.classes, self.bases, self.logistic = event.counts, event.largest, bases, logistic
        d = len(self.counts)
        self.open: Tensor
        among = torch.arange(self.classes)[:, None] < torch.tensor(self.counts)[:, None, None]
        self.register_buffer("open", among, persistent=False)  # (d, classes, 1)
        self.rows: Tensor
        self.basis_rows: Tensor
        if logistic:
            self.means = nn.Parameter(0.5 * torch.randn(d, 1, states))
            self.log_scales = nn.Parameter(torch.full((d, 1, states), -1.0))
            return
        self.log_table = nn.Parameter(torch.rand(d, bases or self.classes, states).add(0.5).log().log_softmax(1))
        self.register_buffer("rows", torch.zeros(d, 1, states))
        if bases:
            self.log_basis = nn.Parameter(torch.randn(bases, self.classes).log_softmax(1))
            self.register_buffer("basis_rows", torch.zeros(bases, 1))

    def start(self, x: Num[Tensor, "n d"], known: Known, prototypes: Num[Tensor, "states d"]) -> None:
        x, prototypes = x.clamp(min=0), prototypes.clamp(min=0)
        if self.logistic:
            unit = 2.0 / max(self.classes - 1, 1)
            noise = 0.1 * torch.randn_like(self.means[:, 0])
            self.means.copy_((prototypes.T * unit - 1 + noise)[:, None])
            return
        common = (class_counts(x, self.classes) + 0.1).float() * self.open[..., 0]
        common = common / common.sum(1, keepdim=True)
        table = 0.7 * common[:, :, None] + 0.3 * embedding(prototypes.T, torch.eye(self.classes).to(common)).mT
        table = table * (0.7 + 0.6 * torch.rand_like(table))
        if self.bases:
            basis = shared_distributions(common.mean(0), self.bases)
            self.log_basis.copy_(basis.log())
            owner = basis / basis.sum(0)
            table = owner @ table
        total = (table * (1 if self.bases else self.open)).clamp(min=1e-9)
        self.log_table.copy_((total / total.sum(1, keepdim=True)).log())

    def table(self, *, raw: bool) -> Float[Tensor, "d classes states"]:
        """p(class | state) of every variable."""
        if self.logistic:
            levels = torch.arange(self.classes, device=self.open.device)[None, :, None]
            return log_bins(self.means, self.log_scales.clamp(-7, 7), levels, self.classes).exp()
        if self.bases:
            mix: Tensor = self.log_table
            basis: Tensor = self.log_basis
            if not raw:
                mix, basis = mix.log_softmax(1), basis.log_softmax(1)
            return basis.exp().T @ mix.exp()
        logits = self.log_table.masked_fill(~self.open, -math.inf)
        return logits.exp() if raw else logits.softmax(1)

    def held(self, *, raw: bool) -> Float[Tensor, "entries states"]:
        return self.table(raw=raw).flatten(0, 1)

    def values(
        self,
        x: Num[Tensor, "n d"],
        known: Known,
        held: Float[Tensor, "entries states"] | None,
        *,
        raw: bool,
        order: Int[Tensor, "k"] | None = None,
    ) -> tuple[Float[Tensor, "_ n states"], Float[Tensor, "n"] | float]:
        assert held is not None
        at = torch.arange(x.shape[1], device=x.device) if order is None else order
        x, known = x.T[at], None if known is None else known.T[at]
        found = embedding((x if known is None else x.masked_fill(~known, 0)).add(at[:, None] * self.classes), held)
        return (found if known is None else torch.where(known[..., None], found, 1.0)), 0.0

    def draw(self, at: Int[Tensor, "k"], z: Int[Tensor, "k n"], u: Float[Tensor, "k n"]) -> Num[Tensor, "k n"]:
        cdf = self.drawn_from[at[:, None], z]
        return (cdf < u[..., None] * cdf[..., -1:]).sum(-1).clamp(max=self.classes - 1)

    def ready(self) -> None:
        self.drawn_from = self.table(raw=False).mT.double().cumsum(-1)

    def maximise(self, step: float, prior: float) -> None:
        if self.bases:
            maximise(self.log_basis, self.basis_rows, 1, step, prior, self.classes)
            maximise(self.log_table, self.rows, 1, step, prior, self.bases)
        else:
            maximise(self.log_table, self.rows, 1, step, prior, self.open.sum(1, keepdim=True))


def shared_distributions(common: Float[Tensor, "classes"], bases: int) -> Float[Tensor, "{bases} classes"]:
    """Distributions over ordered classes to begin with: frequent classes by themselves, else bumps of equal shares."""
    classes = len(common)
    alone = common.topk(min(bases // 4, classes)).indices
    rest = common.clone()
    rest[alone] = 0.0
    centre = rest.cumsum(0) / rest.sum().clamp(min=1e-9) * (bases - len(alone))
    bumps = torch.arange(bases - len(alone), device=common.device)[:, None] + 0.5
    found = torch.cat(
        (embedding(alone, torch.eye(classes).to(common)), (-(centre - bumps).square()).exp() * (rest + 1e-6))
    )
    found = found / found.sum(1, keepdim=True)
    return (1 - 1e-3) * found + 1e-3 / classes


class Normals(Leaf):
    """Real variables: a normal distribution per variable and state."""

    def __init__(self, d: int, states: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.means = nn.Parameter(torch.randn(d, states))
        self.log_scales = nn.Parameter(torch.zeros(d, states))
        self.rows: Tensor
        self.units: Tensor
        self.register_buffer("rows", torch.zeros(d, states))
        self.register_buffer("units", torch.ones(d, 1))
        self.seen: Tensor | None = None  # expected items per variable and state, of the gradients at hand

    def start(self, x: Num[Tensor, "n d"], known: Known, prototypes: Num[Tensor, "states d"]) -> None:
        self.units.copy_(centre_and_scale(x)[1].to(self.units)[:, None])
        self.means.copy_(prototypes.T + 0.1 * self.units * torch.randn_like(self.means))
        self.log_scales.copy_((0.7 * self.units).log().expand_as(self.log_scales))

    def values(
        self,
        x: Num[Tensor, "n d"],
        known: Known,
        held: Float[Tensor, "entries states"] | None,
        *,
        raw: bool,
        order: Int[Tensor, "k"] | None = None,
    ) -> tuple[Float[Tensor, "_ n states"], Float[Tensor, "n"] | float]:
        given = x.T[..., None] if known is None else x.masked_fill(~known, 0.0).T[..., None]
        log_scales = self.log_scales.clamp(min=(self.floor * self.units).log())
        log_p = normal_log_prob(given, self.means[:, None], log_scales[:, None]).clamp(min=FARTHEST)
        if known is not None:
            log_p = torch.where(known.T[..., None], log_p, 0.0)
        factor = log_p.detach().amax(-1, keepdim=True)
        found = (log_p - factor).exp()
        factor = factor.masked_fill(factor == FARTHEST, -math.inf)
        if raw and found.requires_grad:
            counted = found.detach() if known is None else found.detach() * known.T[..., None]
            found.register_hook(lambda g: self._count((g * counted).sum(1)))
        return (found if order is None else found[order]), factor[..., 0].double().sum(0)

    def _count(self, items: Tensor) -> None:
        self.seen = -items if self.seen is None else self.seen - items

    def ready(self) -> None:
        pass

    def draw(self, at: Int[Tensor, "k"], z: Int[Tensor, "k n"], u: Float[Tensor, "k n"]) -> Num[Tensor, "k n"]:
        normal = math.sqrt(2) * torch.erfinv(2 * u.double() - 1)
        scales = torch.maximum(self.log_scales.exp(), self.floor * self.units)
        return (self.means[at[:, None], z] + scales[at[:, None], z] * normal).float()

    @torch.no_grad()
    def maximise(self, step: float, prior: float) -> None:
        if self.seen is None or self.means.grad is None or self.log_scales.grad is None:
            return
        variance = self.log_scales.exp().clamp(min=1e-30).square()
        items = (1 - step) * self.rows + step * self.seen
        total = items + step * prior
        shift = step * -self.means.grad * variance / total
        second = (1 - step) * self.rows * variance + step * variance * (self.seen - self.log_scales.grad)
        second = second + step * prior * self.units.square()
        moved = (second / total - shift.square()).clamp(min=0).sqrt()
        used = items > 0
        self.means.add_(torch.where(used, shift, 0.0))
        self.log_scales.copy_(torch.where(used, torch.maximum(moved, self.floor * self.units).log(), self.log_scales))
        self.rows.copy_(items)
        self.seen = None
