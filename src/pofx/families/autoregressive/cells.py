"""The walk over a grid cell by cell in raster order, channel by channel, over a network's cache of the cells so far."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from pofx.families.autoregressive.chain import Chain, Cursor
from pofx.nets.levels import Levels


@runtime_checkable
class GridCache(Protocol):
    """What a network keeps of the cells that are known."""

    def advance(self, channel: int, row: int, column: int) -> Float[Tensor, "n outputs"]: ...

    def put(self, channel: int, row: int, column: int, features: Float[Tensor, "n features"]) -> None: ...

    def finish(self, row: int) -> None: ...


class CellCursor(Cursor):
    """One channel of a cell after the other; `finish` tells the cache that a row is complete."""

    def __init__(self, model: Chain, cache: GridCache, levels: Levels) -> None:
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
