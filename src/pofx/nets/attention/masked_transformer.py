"""A transformer without a causal mask over places of which some are hidden: logits of every place from the known ones.

Places are embedded by what they hold, a row of its own for "hidden", and by where they are. Dimensions that
differ in their classes have tables of their own; a long run of places with as many classes each (the pixels beside a
caption) shares one beside them, and starts as a grid where it has as many places as a square. The context, where there
is one, steers every block (`dit`).

Attention starts by looking at near places: queries equal keys, and places are the more alike the nearer they are. From
scores at random no place of a small grid learned anything of the others in 600 steps; every loss stayed at that of
independent places.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Discrete
from pofx.nets.attention.dit import HEAD, SteeredBlock
from pofx.nets.image.patches import near_positions

CONTEXT = 64
MANY = 8  # where an eighth of all places and more are wanted, those of uneven classes are computed at once
RUN = 16  # places with as many classes each, one after the other, from which on they share a table


class MaskedTransformer(nn.Module):
    """x int64 (n, dims), hidden bool (n, dims), context (n, 64) or None → logits of the m places that are wanted, in
    row-major order: (m, classes)."""

    allowed: Tensor

    def __init__(
        self, event: Discrete, width: int, layers: int, *, context: bool, dropout: float = 0.0, shared: bool = True
    ) -> None:
        """`shared`: long runs of places share a table."""
        super().__init__()
        self.classes, dims = event.largest, math.prod(event.shape)
        tables = dims if event.uneven else 1
        self.table = nn.Parameter(torch.randn(tables, self.classes + 1, width) / 2)
        self.out = nn.Parameter(torch.randn(tables, width, self.classes) / width**0.5 * 0.1)
        self.shared = nn.ParameterList()  # of long runs: table and output, added to those of their places
        self.runs = runs(event.counts) if event.uneven and shared else []
        for first, end in self.runs:
            with torch.no_grad():
                self.table[first:end] = 0.0
                self.out[first:end] = 0.0
            self.shared.append(nn.Parameter(torch.randn(self.classes + 1, width) / 2))
            self.shared.append(nn.Parameter(torch.randn(width, self.classes) / width**0.5 * 0.1))
        self.bias = nn.Parameter(torch.zeros(dims if event.uneven or len(event.shape) > 1 else 1, self.classes))
        where = near_positions(event.shape, width)
        for first, end in self.runs:
            side = math.isqrt(end - first)
            if side * side == end - first:
                where[first:end] = near_positions((side, side), width)
        self.places = nn.Parameter(where)
        self.start = nn.Parameter(torch.zeros(CONTEXT)) if not context else None
        heads = max(1, width // HEAD)
        self.blocks = nn.ModuleList(SteeredBlock(width, heads, CONTEXT, dropout) for _ in range(layers))
        for block in self.blocks:  # gates are open from the start: nothing else carries what is known
            nn.init.constant_(block.steer.bias[2 * width : 3 * width], 0.5)  # type: ignore[union-attr,index]
            nn.init.constant_(block.steer.bias[5 * width :], 0.5)  # type: ignore[union-attr,index]
            queries, keys, _ = block.inward.weight.detach().chunk(3)  # type: ignore[union-attr,operator]
            keys.copy_(queries)  # they look at near places then, without which nothing is learned of the others
        self.norm = nn.RMSNorm(width, eps=1e-6)
        counts = torch.tensor(event.counts) if event.uneven else torch.full((1,), self.classes)
        self.register_buffer("allowed", torch.arange(self.classes) < counts[:, None], persistent=False)

    @property
    def matrices(self) -> list[nn.Parameter]:
        """The weights between hidden layers."""
        return [p for name, p in self.blocks.named_parameters() if p.ndim == 2 and "steer" not in name]

    @torch.no_grad()
    def begin(self, x: Int[Tensor, "n dims"]) -> None:
        """Set the bias to the log-frequencies of the classes in x."""
        each = x if len(self.bias) > 1 else x.reshape(-1, 1)
        counts = nn.functional.one_hot(each, self.classes).sum(0)
        self.bias.copy_(((counts + 1 / self.classes) / (len(each) + 1)).log())

    def forward(
        self,
        x: Int[Tensor, "n dims"],
        hidden: Bool[Tensor, "n dims"],
        context: Float[Tensor, "n context"] | None,
        wanted: Bool[Tensor, "n dims"],
    ) -> Float[Tensor, "places classes"]:
        held = x.masked_fill(hidden, self.classes)
        if len(self.table) > 1:
            h = self.table[torch.arange(x.shape[1], device=x.device), held]
            for k, (first, end) in enumerate(self.runs):
                row = nn.functional.embedding(held[:, first:end], self.shared[2 * k])
                h = torch.cat((h[:, :first], h[:, first:end] + row, h[:, end:]), 1)
        else:
            h = nn.functional.embedding(held, self.table[0])
        h = h + self.places
        given = self.start.expand(len(x), -1) if context is None and self.start is not None else context
        assert given is not None
        for block in self.blocks:
            h = block(h, nn.functional.silu(given))
        rows, place = wanted.nonzero().unbind(1)
        if len(self.out) > 1:
            if (
                len(rows) * MANY > wanted.numel()
            ):  # one product a place: what copies a table for each wanted one costs more
                every = self.norm(h)
                logits = torch.einsum("ndw,dwk->ndk", every, self.out.to(h.dtype))[rows, place]
                h = every[rows, place]
            else:
                h = self.norm(h[rows, place])
                logits = torch.einsum("mw,mwk->mk", h, self.out.to(h.dtype)[place])
            for k, (first, end) in enumerate(self.runs):
                inside = ((place >= first) & (place < end)).to(h.dtype)[:, None]
                logits = logits + inside * (h @ self.shared[2 * k + 1].to(h.dtype))
            return (logits.to(self.bias.dtype) + self.bias[place]).masked_fill(~self.allowed[place], -torch.inf)
        h = self.norm(h[rows, place])
        logits = (h @ self.out[0].to(h.dtype)).to(self.bias.dtype)
        return logits + (self.bias[place] if len(self.bias) > 1 else self.bias)


def runs(counts: tuple[int, ...]) -> list[tuple[int, int]]:
    """First places and ends of the runs of at least RUN places with as many classes each."""
    found, first = [], 0
    for end in range(1, len(counts) + 1):
        if end == len(counts) or counts[end] != counts[first]:
            if end - first >= RUN:
                found.append((first, end))
            first = end
    return found
