"""GPT: all conditionals p(x_d | earlier x) from a causal transformer over the dimensions, whatever they represent.

A learned start precedes the first dimension; the table that embeds the classes is also the one that reads them
out (Press and Wolf, 2017, arXiv 1608.05859). A grid is drawn cell by cell and also learns its rows, columns and
channels; its classes are levels, whose table starts smooth. Behind the end of a sequence nothing is computed.
Radford et al., 2018, "Improving language understanding by generative pre-training"; grids after Chen et al., 2020,
"Generative pretraining from pixels".
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pofx.core.event import Condition, Discrete, Event
from pofx.core.model import Batch, Default
from pofx.core.options import Depth, Dropout, OneOf, Range, Real, Width
from pofx.families.autoregressive.conditionals import STARTS, Conditionals, Cursor, ended
from pofx.maths.distributions import class_counts
from pofx.maths.products import linear
from pofx.nets.attention.transformer import ACTIVATIONS, NORMS, Transformer
from pofx.nets.vector.column_embedding import first_rows
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import cosine_basis

POSITIONS = ("rotary", "learned", "both")
TABLE = 1 << 22  # logits that are held at a time while terms are computed
CACHE = 1 << 26  # keys and values that are held at a time while events are drawn
GROUPS = 4  # of sequences of like length in a batch


class GPT(Conditionals):
    """Decoder-only transformer over discrete sequences or grids, exact, conditional, with cached sampling.

    Args:
        width: features of each dimension.
        layers: blocks of attention and a two-layer net.
        heads: of attention; width / heads must be even.
        expansion: units of the two-layer nets, in widths.
        activation: of these nets: "swiglu", "gelu", or its approximation "gelu-tanh".
        positions: "rotary" (distances), "learned" (places), or "both"; None takes both for grids, rotary otherwise.
        dropout: of what is embedded and of what every branch adds, in training.
        norm: of the stream before each branch: "rms", by its size alone, or "layer", by mean and spread.
        biased: whether linear maps have biases; with norm=layer, positions=learned and gelu-tanh the network of GPT-2.

    Raises:
        UsageError: heads that do not divide the width, an unknown activation or kind of positions.
    """

    name: ClassVar = "gpt"
    source: ClassVar = "Radford et al., 2018; rotary positions: Su et al., 2021, arXiv 2104.09864"
    ranks: ClassVar = (0, 1, 2, 3, 4)
    unequal: ClassVar = True
    trains_with: ClassVar = {
        "batch_size": 16,
        "optimizer": "muon",
        "lr": 8e-3,
        "betas": (0.9, 0.99),
        "weight_decay": 0.1,
        "precision": "auto",
        "validations": 16,
        "validation_items": 512,
    }
    default_for: ClassVar = (Default(Discrete, 1),)
    small: ClassVar = {"width": 24, "layers": 2, "heads": 2}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        layers: Depth = 4,
        heads: Annotated[int, Range(1, 256)] = 4,
        expansion: Annotated[Real, Range(0, 64, above=True)] = 4,
        activation: Annotated[str, OneOf(*ACTIVATIONS)] = "swiglu",
        positions: Annotated[str, OneOf(*POSITIONS)] | None = None,
        dropout: Dropout = 0.0,
        norm: Annotated[str, OneOf(*NORMS)] = "rms",
        biased: bool = False,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.norm, self.biased = norm, biased
        self.width, self.layers, self.heads, self.expansion = width, layers, heads, expansion
        self.activation, self.positions, self.dropout = activation, positions, dropout
        grid = len(event.shape) > 1
        self.columns = event.by_dimension  # every dimension has classes of its own
        kind = positions or ("both" if grid else "learned" if self.columns else "rotary")
        self.places = self.order().tolist()
        self.at_once = max(1, CACHE // (2 * layers * width * len(self.places)))
        self.rows: Tensor
        self.lacking: Tensor
        self.natural = self.places == sorted(self.places)
        rows = sum(event.counts) if self.columns else event.largest
        smooth = grid and not self.columns
        self.table = nn.Parameter(_smooth(rows, width) if smooth else torch.randn(rows, width))
        self.start = nn.Parameter(torch.randn(width))
        sizes = event.shape if kind != "rotary" else ()
        self.axes = nn.ParameterList(nn.Parameter(0.1 * torch.randn(size, width)) for size in sizes)
        self.conditioner = Conditioner(condition, width)
        self.drop = nn.Dropout(dropout)
        self.net = Transformer(
            width,
            layers,
            heads,
            len(self.places),
            expansion=expansion,
            activation=activation,
            rotary=kind != "learned",
            dropout=dropout,
            norm=norm,
            bias=biased,
        )
        self.bias = nn.Parameter(torch.zeros(len(self.places) if grid or self.columns else 1, event.largest))
        if self.columns:
            counts = torch.tensor(event.counts)[self.places]
            there = torch.arange(event.largest) < counts[:, None]
            row = first_rows(event.counts)[self.places][:, None] + torch.arange(event.largest)
            self.register_buffer("rows", row.where(there, 0), persistent=False)  # of the table, by place and class
            self.register_buffer("lacking", torch.where(there, 0.0, -torch.inf), persistent=False)

    def matrices(self) -> Iterable[nn.Parameter]:
        return [weight for weight in self.net.parameters() if weight.ndim == 2]

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start at the frequencies of the classes, at each place of a grid, or wherever a sequence has not ended."""
        x = take(STARTS).x
        classes = self.bias.shape[1]
        if len(self.bias) > 1:
            counts = class_counts(x, classes).reshape(-1, classes)[self.places]
        else:
            real = x.flatten() if self.end is None else x[~ended(x, self.end)]
            counts = torch.bincount(real, minlength=classes)[None]
        self.bias.copy_(torch.log((counts + 1 / classes) / (counts.sum(-1, keepdim=True) + 1)))

    def logits(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event classes"]:
        drawn = self._in_order(x)
        out = self.read(self.features(drawn, self.conditioner(condition)))
        return out[:, self._ranks()].reshape(*x.shape, -1)

    def dimension_log_prob(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event"]:
        drawn, context = self._in_order(x), self.conditioner(condition)
        if self.end is None:
            return -self._nats(drawn, context, None)[:, self._ranks()].reshape(x.shape)
        real = ~ended(drawn, self.end)
        parts, rows = [], []
        for group, length in _alike(real.sum(1)):
            given = None if context is None else context[group]
            nats = self._nats(drawn[group, :length], given, real[group, :length])
            parts.append(nn.functional.pad(nats, (0, drawn.shape[1] - length)))
            rows.append(group)
        return -torch.cat(parts)[torch.cat(rows).argsort()]

    def features(
        self, drawn: Int[Tensor, "n length"], context: Float[Tensor, "n width"] | None
    ) -> Float[Tensor, "n length width"]:
        """Features of each place of sequences in the order of drawing, from the places before it."""
        start = self.start.expand(len(drawn), 1, -1)
        h = torch.cat((start, self.embedded(drawn[:, :-1], 0)), 1)
        out: Tensor = self.net(self.drop(self._placed(h, context)))
        return out

    def read(self, features: Float[Tensor, "*places width"], first: int = 0) -> Float[Tensor, "*places classes"]:
        """The logits of features; those of a grid lie at places first, first + 1, …."""
        if self.columns:
            places = slice(first, first + features.shape[-2])
            vectors = nn.functional.embedding(self.rows[places], self.table)
            logits = torch.einsum("...lw,lkw->...lk", features, vectors.to(features.dtype)) / math.sqrt(self.width)
            return logits.to(self.bias.dtype) + self.bias[places] + self.lacking[places]
        out = linear(features, self.table) * (1 / math.sqrt(self.width))
        bias = self.bias if len(self.bias) == 1 else self.bias[first : first + features.shape[-2]]
        return out.to(bias.dtype) + bias

    def embedded(self, drawn: Int[Tensor, "n length"], first: int) -> Float[Tensor, "n length width"]:
        """The vectors of the classes at places first, first + 1, …."""
        if self.columns:
            drawn = drawn + self.rows[first : first + drawn.shape[1], 0]
        return nn.functional.embedding(drawn, self.table)

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> "SequenceCursor":
        return SequenceCursor(self, n, self.conditioner(condition))

    def _placed(
        self, h: Float[Tensor, "n length width"], context: Float[Tensor, "n width"] | None, first: int = 0
    ) -> Float[Tensor, "n length width"]:
        """Embedded places first, first + 1, … with what is known of them: their axes, and the condition."""
        if len(self.axes):
            assert isinstance(self.event, Discrete)
            grids = [
                axis.reshape(*[-1 if i == k else 1 for k in range(len(self.axes))], self.width)
                for i, axis in enumerate(self.axes)
            ]
            table = sum(grids[1:], grids[0]).reshape(-1, self.width)
            h = h + table[self.places[first : first + h.shape[1]]]
        return h if context is None else h + context[:, None]

    def _nats(
        self,
        drawn: Int[Tensor, "n length"],
        context: Float[Tensor, "n width"] | None,
        real: Bool[Tensor, "n length"] | None,
    ) -> Float[Tensor, "n length"]:
        """-log p of every place that is real, 0 elsewhere; a table of all logits is never held."""
        n, length = drawn.shape
        h = self.features(drawn, context)
        if real is None and n * length * self.bias.shape[1] <= TABLE:
            return _cross_entropy(self.read(h), drawn)
        if len(self.bias) > 1:
            step = max(1, TABLE // (length * self.bias.shape[1]))
            pieces = [(h[i : i + step], drawn[i : i + step]) for i in range(0, n, step)]
        else:
            h, drawn = (h.flatten(0, 1), drawn.flatten()) if real is None else (h[real], drawn[real])
            step = max(1, TABLE // self.bias.shape[1])
            pieces = list(zip(h.split(step), drawn.split(step), strict=True))

        def nats(h: Tensor, x: Tensor) -> Tensor:
            return _cross_entropy(self.read(h), x)

        again = torch.is_grad_enabled() and len(pieces) > 1
        each = torch.cat([checkpoint(nats, *piece, use_reentrant=False) if again else nats(*piece) for piece in pieces])
        if real is None:
            return each.reshape(n, length)
        return torch.zeros(n, length, dtype=each.dtype, device=each.device).masked_scatter(real, each)

    def _in_order(self, x: Int[Tensor, "n *event"]) -> Int[Tensor, "n dims"]:
        flat = x.flatten(1)
        return flat if self.natural else flat[:, self.places]

    def _ranks(self) -> slice | Tensor:
        """Indices that bring the order of drawing back to that of the event."""
        return slice(None) if self.natural else torch.tensor(self.places).argsort()


class SequenceCursor(Cursor):
    """Place by place over the cache of keys and values."""

    def __init__(self, model: GPT, n: int, context: Float[Tensor, "n width"] | None) -> None:
        self.model, self.context, self.cache = model, context, model.net.begin(n)
        self.h: Tensor | None = model.start.expand(n, 1, -1)  # the embedded place whose features come next
        self.step = 0
        self.out: Tensor = model.start  # logits of the place at hand, computed at the first use

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "n classes"]:
        if self.h is not None:
            placed = self.model._placed(self.h, self.context, self.step)
            self.out = self.model.read(self.cache.advance(placed), self.step)[:, 0]
            self.h = None
        return self.out

    @torch.no_grad()
    def put(self, value: Int[Tensor, "n"]) -> None:
        if self.h is not None:
            self.logits()
        self.h = self.model.embedded(value[:, None], self.step)
        self.step += 1


def _smooth(classes: int, width: int) -> Float[Tensor, "{classes} {width}"]:
    """A table of unit variance whose neighbouring rows are alike."""
    terms = max(1, min(16, classes - 1))
    if classes < 2:
        return torch.randn(classes, width)
    amplitude = 1.0 / torch.arange(1, terms + 1)
    amplitude = amplitude / amplitude.square().sum().sqrt()
    return (cosine_basis(classes, terms) * amplitude) @ torch.randn(terms, width)


def _cross_entropy(logits: Float[Tensor, "*places classes"], x: Int[Tensor, "*places"]) -> Float[Tensor, "*places"]:
    flat = nn.functional.cross_entropy(logits.flatten(0, -2), x.flatten(), reduction="none")
    return flat.reshape(x.shape)


def _alike(lengths: Int[Tensor, "n"]) -> Iterator[tuple[Int[Tensor, "group"], int]]:
    """Groups of sequences of like length, and the greatest length in each, where that saves a fifth of the places."""
    order = lengths.argsort(stable=True)
    groups = [g for g in order.tensor_split(GROUPS) if len(g)]
    most = [int(lengths[g].max()) for g in groups]
    places = sum(len(g) * m for g, m in zip(groups, most, strict=True))
    if places > 0.8 * len(lengths) * max(most, default=0):
        groups, most = [order], most[-1:]
    yield from zip(groups, most, strict=True)
