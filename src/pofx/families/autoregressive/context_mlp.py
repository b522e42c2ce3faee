"""Grids cell by cell, each given a window of the cells before it, its place and the condition, by one small perceptron.

Context modelling as lossless coders do it, with a network in place of counts (voxels: Nguyen, Quach, Valenzise and
Duhamel, 2021, arXiv 2011.14700). Where a cell lies and what the whole item is like enter beside the window, as in
occupancy networks (Mescheder et al., 2019, arXiv 1812.03828): the window makes surfaces, a condition such as a code of
the item its layout. A step of training needs only some cells of each item, a step of sampling only one window, so that
grids of tens of thousands of cells are learned and drawn in minutes.
"""

import itertools
import math
from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Discrete, Event, dims
from pofx.core.model import Batch
from pofx.core.options import Count, Depth, Dropout, Range, Width
from pofx.families.autoregressive.conditionals import STARTS, Conditionals, Cursor
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import LevelEmbedding, LevelLogits
from pofx.nets.vector.mlp import MLP

HELD = 1 << 25  # numbers of windows that are held at a time


class ContextMLP(Conditionals):
    """A window of earlier cells → the next one, by a perceptron, exact and conditional.

    Args:
        width: hidden units.
        depth: hidden layers.
        reach: cells on each side of a window, along every axis.
        far: further cells straight back along every axis, up to this distance.
        terms: numbers that encode one class at the input, at most classes - 1.
        cells: of each item that a step of training looks at.
        dropout: of hidden units, in training.
    """

    name: ClassVar = "context-mlp"
    source: ClassVar = "Nguyen et al., 2021, arXiv 2011.14700; Mescheder et al., 2019, arXiv 1812.03828"
    ranks: ClassVar = (3, 4)
    trains_with: ClassVar = {
        "batch_size": 32,
        "lr": 2e-3,
        "precision": "auto",
        "validations": 10,
        "validation_items": 32,
    }
    small: ClassVar = {"width": 24, "depth": 2, "reach": 1, "far": 1}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 128,
        depth: Depth = 3,
        reach: Annotated[int, Range(1, 8)] = 2,
        far: Annotated[int, Range(1, 64)] = 8,
        terms: Width = 8,
        cells: Count = 512,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.width, self.depth, self.reach, self.far = width, depth, reach, far
        self.terms, self.cells, self.dropout = terms, cells, dropout
        sizes = (*event.shape[1:], event.shape[0])  # cells in the order of drawing: channels of a place last
        self.sizes, self.edge = sizes, max(reach, far)
        self.padded = tuple(size + 2 * self.edge for size in sizes[:-1]), sizes[-1] + 2 * (sizes[-1] - 1)
        self.levels = LevelEmbedding(event.largest, terms)
        strides, self.windows = self._strides(), self._windows()
        self.shift: Tensor
        self.base: Tensor
        self.register_buffer("shift", torch.tensor([int(o) for o in self._offsets(strides)]), persistent=False)
        grids = torch.meshgrid(*(torch.arange(size) for size in sizes), indexing="ij")
        starts = [self.edge] * (len(sizes) - 1) + [sizes[-1] - 1]
        at = sum((g + s) * stride for g, s, stride in zip(grids, starts, strides, strict=True))
        self.register_buffer("base", torch.as_tensor(at).flatten(), persistent=False)
        self.axes = nn.ParameterList(nn.Parameter(0.1 * torch.randn(size, depth, width)) for size in sizes)
        self.conditioner = Conditioner(condition, width)
        inputs = len(self.windows) * self.levels.terms
        self.net = MLP(inputs, event.largest, (width,) * depth, context=self.conditioner.width)
        self.drop = nn.Dropout(dropout)
        self.output = LevelLogits((), event.largest)
        with torch.no_grad():
            self.net.last.weight.mul_(0.1)

    @property
    def lengths(self) -> tuple[int, ...]:
        return (*self.padded[0], self.padded[1])

    def _strides(self) -> list[int]:
        lengths = self.lengths
        return [math.prod(lengths[i + 1 :]) for i in range(len(lengths))]

    def _windows(self) -> list[tuple[int, ...]]:
        """Steps from a cell to those of its window, all before it in the order of drawing."""
        axes = len(self.sizes) - 1
        around, channels = range(-self.reach, self.reach + 1), self.sizes[-1]
        near = itertools.product(*([around] * axes), range(1 - channels, channels))
        found = [step for step in near if step < (0,) * (axes + 1)]
        for axis, back in itertools.product(range(axes), range(self.reach + 1, self.far + 1)):
            found.append(tuple(-back if i == axis else 0 for i in range(axes + 1)))
        return found

    def _offsets(self, strides: list[int]) -> list[int]:
        return [sum(a * b for a, b in zip(step, strides, strict=True)) for step in self.windows]

    @torch.no_grad()
    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start at the frequencies of the classes."""
        self.output.start(take(STARTS).x.flatten())

    def order(self, ordering: int = 0) -> Int[Tensor, "dims"]:
        """Place by place in raster order, channel after channel."""
        assert isinstance(self.event, Discrete)
        return torch.arange(dims(self.event)).reshape(self.event.shape).movedim(0, -1).flatten()

    def _laid(self, x: Int[Tensor, "n *event"]) -> Float[Tensor, "n places terms"]:
        """Encoded cells with margins of zeros, flat in the order of drawing."""
        coded = self.levels(x.movedim(1, -1))
        margins = [0, 0, self.sizes[-1] - 1, self.sizes[-1] - 1, *[self.edge, self.edge] * (len(self.sizes) - 1)]
        return nn.functional.pad(coded, margins).flatten(1, -2)

    def _read(
        self,
        laid: Float[Tensor, "n places terms"],
        at: Int[Tensor, "n k"] | Int[Tensor, "k"],
        context: Float[Tensor, "n width"] | None,
    ) -> Float[Tensor, "n k classes"]:
        """Logits of cells, by their number in the order of drawing: the same for all items, or k for each."""
        n = len(laid)
        seen = self.base[at][..., None] + self.shift
        if at.ndim == 1:
            window = laid[:, seen]
        else:
            window = laid[torch.arange(n, device=laid.device)[:, None, None], seen]
        h, rest, parts = window.flatten(2), at, []
        for size, table in zip(reversed(self.sizes), reversed(list(self.axes)), strict=True):
            parts.append((table, rest % size))
            rest = rest // size
        for i, layer in enumerate(self.net.layers):
            h = layer(h)
            for table, rows in parts:
                h = h + nn.functional.embedding(rows, table[:, i])
            if context is not None:
                h = h + self.net.contexts[i](context)[:, None]  # type: ignore[index]
            h = self.drop(nn.functional.silu(h))
        logits: Tensor = self.output(self.net.last(h))
        return logits

    def logits(
        self, x: Int[Tensor, "n *event"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n *event classes"]:
        laid, context, cells = self._laid(x), self.conditioner(condition), len(self.base)
        step = max(1, HELD // (max(1, len(x)) * (len(self.windows) * self.levels.terms + 2 * self.width)))
        every = torch.arange(cells, device=laid.device).split(step)
        out = torch.cat([self._read(laid, at, context) for at in every], 1)
        return out.reshape(len(x), *self.sizes, -1).movedim(-2, 1)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats per cell; in training that of some cells of each item."""
        cells = len(self.base)
        if not self.training or cells <= self.cells:
            return super().loss(batch)
        x = batch.x
        at = torch.randint(cells, (len(x), self.cells), device=x.device)
        out = self._read(self._laid(x), at, self.conditioner(batch.condition))
        return nn.functional.cross_entropy(out.flatten(0, 1), x.movedim(1, -1).flatten(1).gather(1, at).flatten())

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> "WindowCursor":
        return WindowCursor(self, n, self.conditioner(condition))


class WindowCursor(Cursor):
    """One window after the other."""

    def __init__(self, model: ContextMLP, n: int, context: Float[Tensor, "n width"] | None) -> None:
        self.model, self.context, self.step = model, context, 0
        weight = next(model.parameters())
        self.laid = torch.zeros(
            n, math.prod(model.lengths), model.levels.terms, device=weight.device, dtype=weight.dtype
        )
        self.places = torch.arange(len(model.base), device=weight.device)

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "n classes"]:
        return self.model._read(self.laid, self.places[self.step : self.step + 1], self.context)[:, 0]

    @torch.no_grad()
    def put(self, value: Int[Tensor, "n"]) -> None:
        self.laid[:, self.model.base[self.step]] = self.model.levels(value)
        self.step += 1
