"""WaveNet: p(x) of a long sequence, every conditional from a window of the past, by dilated causal convolutions.

A learned symbol repeats endlessly before the first step, so that short pasts look like none other. The field of view
is finite: training takes windows of the rows with their whole pasts, which gives the exact conditionals of those
steps, and nothing behind the end of a sequence is computed. Far steps are combined first, near ones last, so that only
the first layers compute much of a window's past. Van den Oord et al., 2016, arXiv 1609.03499; conditions that hold for
a whole sequence enter every gate (section 2.5, global), signals of frames do so step by step (local).
"""

from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.core.model import Batch, Default
from pofx.core.options import Count, Depth, Dropout, Range, Width
from pofx.families.autoregressive.conditionals import Conditionals, Cursor, ended
from pofx.nets.causal.dilated_conv import DilatedStack
from pofx.nets.causal.frames import Frames
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import LevelEmbedding, LevelLogits

STARTS = 256  # sequences from which the frequencies of the classes are taken
TABLE = 1 << 24  # logits that are held at a time while terms are computed
linear = nn.functional.linear


class WaveNet(Conditionals):
    """Dilated causal convolutions over a discrete sequence, exact, with global and local conditions.

    Args:
        width: features of the stream, and of each half of a gate.
        skip: features of the outputs, to which every layer adds.
        layers: gated layers; seen from the outputs their dilations are 1, 2, 4, …, from 1 again after every `cycle`.
        cycle: layers until the dilations start again.
        taps: neighbouring steps that the first convolution sees.
        terms: numbers that encode one class at the input, at most as many as there are classes.
        crop: steps of a window in training; from sequences no longer than that every step is taken.
        dropout: of gated features, in training.
    """

    name: ClassVar = "wavenet"
    source: ClassVar = "van den Oord et al., 2016, arXiv 1609.03499"
    ranks: ClassVar = (1,)
    trains_with: ClassVar = {
        "batch_size": 4,
        "lr": 3e-3,
        "precision": "auto",
        "validations": 10,
        "validation_items": 100,
    }
    default_for: ClassVar = (Default(Discrete, 1, 2048),)
    small: ClassVar = {"width": 16, "skip": 16, "layers": 2}

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        width: Width = 64,
        skip: Width = 64,
        layers: Depth = 10,
        cycle: Annotated[int, Range(1, 21)] = 10,
        taps: Width = 16,
        terms: Width = 16,
        crop: Count = 1000,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        self.width, self.skip, self.layers, self.cycle = width, skip, layers, cycle
        self.taps, self.terms, self.crop, self.dropout = taps, terms, crop, dropout
        self.before = event.largest  # the symbol before the first step
        self.levels = LevelEmbedding(event.largest + 1, terms)
        self.frames: Frames | None = None
        self.conditioner: Conditioner | None = None
        context = 0
        if isinstance(condition, Continuous) and len(condition.shape) == 2:
            if condition.shape[1] > event.shape[0]:
                raise UsageError(
                    f"a signal has at most one frame per step, {event.shape[0]} (got {condition.shape[1]}): "
                    "average its frames"
                )
            context = 32
            self.frames = Frames(condition.shape[0], event.shape[0], context)
        else:
            self.conditioner = Conditioner(condition, 32)
            context = self.conditioner.width
        dilations = [2 ** (i % cycle) for i in reversed(range(layers))]
        self.net = DilatedStack(self.levels.terms, width, skip, dilations, taps=taps, context=context, dropout=dropout)
        self.mix = nn.Linear(skip, skip)
        self.last = nn.Linear(skip, event.largest, bias=False)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
        self.output = LevelLogits((), event.largest, end=self.end)

    @property
    def receptive_field(self) -> int:
        """The steps of the past that a conditional sees."""
        return self.net.field

    @torch.no_grad()
    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Start at the frequencies of the classes wherever a sequence has not ended."""
        x = take(STARTS).x
        self.output.start(x[self._real(x)])

    def logits(
        self, x: Int[Tensor, "n length"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n length classes"]:
        rows = torch.arange(len(x), device=x.device)
        return self._window(x, self._context(condition), rows, torch.zeros_like(rows), x.shape[1])

    def dimension_log_prob(
        self, x: Int[Tensor, "n length"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n length"]:
        """log p of every step that is real, 0 behind the end of a sequence."""
        context, sizes = self._context(condition), self._real(x).sum(1)
        parts = []
        for rows in self._alike(sizes):
            length = int(sizes[rows].max())
            logits = self._window(x, context, rows, torch.zeros_like(rows), length)
            nats = nn.functional.cross_entropy(logits.transpose(1, 2), x[rows, :length], reduction="none")
            kept = torch.arange(length, device=x.device) < sizes[rows, None]
            parts.append((rows, nn.functional.pad(-nats * kept, (0, x.shape[1] - length))))
        place = torch.cat([rows for rows, _ in parts]).argsort()
        return torch.cat([terms for _, terms in parts])[place]

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy in nats per real step; in training that of one window per row of the batch.

        Windows fall on every real step of the batch with the same probability.
        """
        x = batch.x
        real = self._real(x)
        if not self.training or x.shape[1] <= self.crop:
            return -self.log_prob(x, batch.condition).sum() / real.sum()
        sizes = real.sum(1)
        ways = sizes + self.crop - 1  # starts of windows that hold a real step of the row
        edges = ways.cumsum(0)
        drawn = torch.randint(int(edges[-1]), (len(x),), device=x.device)
        rows = torch.searchsorted(edges, drawn, right=True)
        starts = drawn - (edges - ways)[rows] - self.crop + 1
        logits = self._window(x, self._context(batch.condition), rows, starts, self.crop)
        steps = starts[:, None] + torch.arange(self.crop, device=x.device)
        inside = (steps >= 0) & (steps < sizes[rows, None])
        goal = x[rows[:, None], steps.clamp(0, x.shape[1] - 1)].masked_fill(~inside, -1)
        return nn.functional.cross_entropy(logits.flatten(0, 1), goal.flatten(), ignore_index=-1)

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> "StepCursor":
        return StepCursor(self, n, self._context(condition))

    def read(self, h: Float[Tensor, "*places skip"]) -> Float[Tensor, "*places classes"]:
        """The logits of skip features."""
        out = linear(torch.relu(self.mix(torch.relu(h))), self.readout())
        return out.to(self.output.bias.dtype) + self.output.bias

    def readout(self) -> Float[Tensor, "classes skip"]:
        """The last map with the spreading of evidence to near classes folded in."""
        with torch.autocast(self.last.weight.device.type, enabled=False):
            return self.output.kernel @ self.last.weight

    def _real(self, x: Tensor) -> Bool[Tensor, "n length"]:
        """Which steps are not certain: everything up to and with the end of a sequence."""
        return torch.ones_like(x, dtype=torch.bool) if self.end is None else ~ended(x, self.end)

    def _context(self, condition: Condition | None) -> Tensor | None:
        """Features of the condition: of the whole sequence (n, c), or of its frames (n, frames, c)."""
        if condition is None:
            return None
        features: Tensor | None = self.frames(condition) if self.frames is not None else self.conditioner(condition)  # type: ignore[misc]
        return features

    def _window(
        self, x: Tensor, context: Tensor | None, rows: Tensor, starts: Tensor, size: int
    ) -> Float[Tensor, "windows size classes"]:
        """The logits of steps starts[i] to starts[i] + size - 1 of row rows[i]; of none before 0 do they see any."""
        steps = starts[:, None] + torch.arange(-self.net.field, size - 1, device=x.device)
        past = x[rows[:, None], steps.clamp(0, x.shape[1] - 1)].masked_fill(steps < 0, self.before)
        given = None
        if context is not None and self.frames is not None:
            given = self.frames.at(context[rows], steps + 1).transpose(0, 1)
        elif context is not None:
            given = context[rows][None]
        return self.read(self.net(self.levels(past.T), given)).transpose(0, 1)

    def _alike(self, sizes: Int[Tensor, "n"]) -> Iterator[Int[Tensor, "group"]]:
        """Rows in groups of like length whose logits fit into TABLE."""
        assert isinstance(self.event, Discrete)
        group: list[int] = []
        for row in sizes.argsort(stable=True).tolist():
            if group and (len(group) + 1) * int(sizes[row]) * self.event.largest > TABLE:
                yield torch.tensor(group, device=sizes.device)
                group = []
            group.append(row)
        if group:
            yield torch.tensor(group, device=sizes.device)


class StepCursor(Cursor):
    """Step by step over the rings of the convolutions."""

    @torch.no_grad()
    def __init__(self, model: WaveNet, n: int, context: Float[Tensor, "n *frames context"] | None) -> None:
        self.model, self.context, self.step = model, context, 0
        device = model.output.bias.device
        self.table = model.levels(torch.arange(model.before + 1, device=device))
        self.mix = model.mix.bias, model.mix.weight.T.contiguous()
        self.readout = model.output.bias, model.readout().T.contiguous()
        start = self.table[model.before]
        self.rings = model.net.begin(start, n, self._given())
        self.features = self.rings.step(start.expand(n, -1), self._given())

    def _given(self) -> Tensor | None:
        """The context of the step at hand, where it changes from step to step; else that of all."""
        if self.context is None or self.model.frames is None:
            return self.context
        steps = torch.full((len(self.context), 1), self.step, device=self.context.device)
        return self.model.frames.at(self.context, steps)[:, 0]

    @torch.no_grad()
    def logits(self) -> Float[Tensor, "n classes"]:
        bias, weight = self.mix
        h = torch.addmm(bias, self.features.relu(), weight).relu_()
        return torch.addmm(self.readout[0], h, self.readout[1])

    @torch.no_grad()
    def put(self, value: Int[Tensor, "n"]) -> None:
        self.step += 1
        given = self._given() if self.model.frames is not None else None
        self.features = self.rings.step(self.table[value], given)
