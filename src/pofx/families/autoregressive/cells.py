"""Grids cell by cell in raster order, channel by channel: what their models share, and the walk over a cache."""

from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from pofx.core.errors import UsageError
from pofx.core.event import Condition, Discrete, Event
from pofx.families.autoregressive.conditionals import Conditionals, Cursor
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.level_embedding import LevelEmbedding, LevelLogits


@runtime_checkable
class GridCache(Protocol):
    """What a network keeps of the cells that are known."""

    def advance(self, channel: int, row: int, column: int) -> Float[Tensor, "n outputs"]: ...

    def put(self, channel: int, row: int, column: int, features: Float[Tensor, "n features"]) -> None: ...

    def finish(self, row: int) -> None: ...


class CellCursor(Cursor):
    """One channel of a cell after the other; `finish` informs the cache that a row is complete."""

    def __init__(self, model: Conditionals, cache: GridCache, levels: LevelEmbedding) -> None:
        self.cache, self.levels, self.output = cache, levels, model.output
        channels, _, breadth = model.output.bias.shape[:-1]
        self.row_length, self.step = channels * breadth, 0

    def _place(self) -> tuple[int, int, int]:
        row, within = divmod(self.step, self.row_length)
        channels = self.output.bias.shape[0]
        return within % channels, row, within // channels

    def logits(self) -> Float[Tensor, "n classes"]:
        place = self._place()
        logits: Tensor = self.output(self.cache.advance(*place), place)
        return logits

    def put(self, value: Int[Tensor, "n"]) -> None:
        channel, row, column = self._place()
        self.cache.put(channel, row, column, self.levels(value))
        self.step += 1
        if self.step % self.row_length == 0:
            self.cache.finish(row)


class CellByCell(Conditionals):
    """A model of a discrete grid (C, H, W) whose conditionals all come from one causal network.

    Subclasses set `net`: levels (n, C, H, W, terms), context → (n, C, H, W, classes), with `begin` for a cache.
    """

    ranks: ClassVar = (3,)

    net: Any

    def __init__(self, event: Event, condition: Event | None, kernel: int, terms: int) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Discrete)
        if kernel % 2 == 0:
            raise UsageError(f"kernel must be odd (got {kernel}): pass kernel={kernel + 1}")
        self.kernel, self.terms = kernel, terms
        self.levels = LevelEmbedding(event.largest, terms)
        self.conditioner = Conditioner(condition)
        self.output = LevelLogits(event.shape, event.largest)

    def logits(
        self, x: Int[Tensor, "n C H W"], condition: Condition | None = None, ordering: int = 0
    ) -> Float[Tensor, "n C H W classes"]:
        logits: Tensor = self.output(self.net(self.levels(x), self.conditioner(condition)))
        return logits

    def cursor(self, n: int, condition: Condition | None = None, ordering: int = 0) -> CellCursor:
        return CellCursor(self, self.net.begin(n, self.conditioner(condition)), self.levels)


def check_width(width: int, channels: int) -> None:
    """Refuse features that the channels cannot share equally."""
    if width % channels:
        raise UsageError(
            f"width must be a multiple of the {channels} channels (got {width}): pass width={channels * 16}"
        )
