"""Bijections of grids (n, channels, height, width): at every place alike, couplings by channels or by a checkerboard.

Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real NVP", arXiv 1605.08803: the two masks of section
3.4 and the squeeze of section 3.6. Kingma and Dhariwal (2018), "Glow", arXiv 1807.03039: the invertible 1×1
convolution, which is a linear map of the channels at every place, so that its log-determinant is H · W · ln|det|.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.families.flow.composition import ActNorm, Bijection, LinearMap, shuffled
from pofx.families.flow.coupling import Affine, Elementwise, checkerboard
from pofx.nets.image.grid_conditioner import GridConditioner

Grid = Float[Tensor, "n c h w"]
Context = Float[Tensor, "n context"] | None
Beside = Float[Tensor, "n beside h w"] | None


class GridBijection(nn.Module, ABC):
    """An invertible map of grids, given a context and a grid of channels beside it; its log-determinant is cheap."""

    @abstractmethod
    def forward(self, x: Grid, context: Context = None, beside: Beside = None) -> tuple[Grid, Float[Tensor, "n"]]:
        """x (n, c, h, w) → y of the same shape and log|det dy/dx| (n,)."""

    @abstractmethod
    def inverse(self, y: Grid, context: Context = None, beside: Beside = None) -> Grid:
        """y (n, c, h, w) → x."""

    def start(self, x: Grid) -> None:
        """Set data-dependent values from a first batch. Default: nothing."""


class EveryPlace(GridBijection):
    """A bijection of vectors, applied to the channels of every place: ActNorm per channel, the 1×1 convolution.

    It never runs under autocast: determinants need the weights that the map has.
    """

    def __init__(self, part: Bijection) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Grid, context: Context = None, beside: Beside = None) -> tuple[Grid, Float[Tensor, "n"]]:
        n, c, h, w = x.shape
        with torch.autocast(x.device.type, enabled=False):
            y, ladj = self.part(x.permute(0, 2, 3, 1).reshape(-1, c))
        return y.reshape(n, h, w, c).permute(0, 3, 1, 2), ladj.reshape(n, h * w).sum(1)

    def inverse(self, y: Grid, context: Context = None, beside: Beside = None) -> Grid:
        n, c, h, w = y.shape
        with torch.autocast(y.device.type, enabled=False):
            x: Tensor = self.part.inverse(y.permute(0, 2, 3, 1).reshape(-1, c))
        return x.reshape(n, h, w, c).permute(0, 3, 1, 2)

    def start(self, x: Grid) -> None:
        self.part.start(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))


class GridCoupling(GridBijection):
    """The last `moved` channels are transformed, elementwise, by a network of the others (of nothing, if all move).

    The network may run under autocast; its output is taken in x's own precision.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        moved: int,
        transformer: Elementwise,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        beside: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        self.kept, self.moved, self.transformer = channels - moved, moved, transformer
        self.net = GridConditioner(
            self.kept + beside,
            moved * transformer.size,
            (sides[0], sides[1]),
            width,
            blocks,
            context=context,
            dropout=dropout,
        )

    def _raw(self, kept: Grid, context: Context, beside: Beside) -> Float[Tensor, "n moved h w size"]:
        seen = kept if beside is None else torch.cat((kept, beside.to(kept)), 1)
        raw: Tensor = self.net(seen, context).to(kept.dtype)
        return raw.unflatten(1, (self.transformer.size, self.moved)).movedim(1, -1)

    def forward(self, x: Grid, context: Context = None, beside: Beside = None) -> tuple[Grid, Float[Tensor, "n"]]:
        kept, moved = x.split((self.kept, self.moved), 1)
        y, ladj = self.transformer(moved, self._raw(kept, context, beside))
        return torch.cat((kept, y), 1), ladj.flatten(1).sum(1)

    def inverse(self, y: Grid, context: Context = None, beside: Beside = None) -> Grid:
        kept, moved = y.split((self.kept, self.moved), 1)
        x, _ = self.transformer(moved, self._raw(kept, context, beside), inverse=True)
        return torch.cat((kept, x), 1)


class CheckerboardCoupling(GridBijection):
    """The places of one colour are transformed, elementwise, by a network of the others."""

    colour: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        odd: int,
        transformer: Elementwise,
        width: int,
        blocks: int,
        *,
        context: int = 0,
        beside: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = shape
        self.channels, self.transformer = channels, transformer
        self.register_buffer("colour", checkerboard((sides[0], sides[1]), odd).reshape(*sides), persistent=False)
        self.net = GridConditioner(
            channels + beside,
            channels * transformer.size,
            (sides[0], sides[1]),
            width,
            blocks,
            context=context,
            dropout=dropout,
        )

    def _raw(self, x: Grid, context: Context, beside: Beside) -> Float[Tensor, "n c h w size"]:
        """The transformer's parameters; zero, and so the identity, at places of the other colour."""
        seen = torch.where(self.colour, 0.0, x)
        seen = seen if beside is None else torch.cat((seen, beside.to(seen)), 1)
        raw: Tensor = self.net(seen, context).to(x.dtype) * self.colour
        return raw.unflatten(1, (self.transformer.size, self.channels)).movedim(1, -1)

    def forward(self, x: Grid, context: Context = None, beside: Beside = None) -> tuple[Grid, Float[Tensor, "n"]]:
        y, ladj = self.transformer(x, self._raw(x, context, beside))
        return y, ladj.flatten(1).sum(1)

    def inverse(self, y: Grid, context: Context = None, beside: Beside = None) -> Grid:
        return self.transformer(y, self._raw(y, context, beside), inverse=True)[0]


def grid_step(
    shape: tuple[int, int, int],
    step: int,
    transformer: Affine,
    width: int,
    blocks: int,
    *,
    context: int,
    beside: int = 0,
    dropout: float = 0.0,
) -> Iterable[GridBijection]:
    """ActNorm, 1×1 convolution, coupling; one channel alone cannot be split, and has a checkerboard."""
    channels = shape[0]
    yield EveryPlace(ActNorm(channels))
    if channels > 1:
        yield EveryPlace(LinearMap(channels, shuffled(channels, step)))
        yield GridCoupling(
            shape, channels // 2, transformer, width, blocks, context=context, beside=beside, dropout=dropout
        )
    else:
        yield CheckerboardCoupling(
            shape, step % 2, transformer, width, blocks, context=context, beside=beside, dropout=dropout
        )


def squeeze(x: Grid, factors: tuple[int, int]) -> Float[Tensor, "n C H W"]:
    """Blocks of places become channels: (n, c, h, w) → (n, c · f · g, h / f, w / g)."""
    n, c, h, w = x.shape
    f, g = factors
    blocks = x.reshape(n, c, h // f, f, w // g, g).permute(0, 2, 4, 1, 3, 5)
    return blocks.reshape(n, h // f, w // g, c * f * g).permute(0, 3, 1, 2)


def unsqueeze(y: Float[Tensor, "n C H W"], factors: tuple[int, int]) -> Grid:
    """The inverse of `squeeze`."""
    n, c, h, w = y.shape
    f, g = factors
    blocks = y.permute(0, 2, 3, 1).reshape(n, h, w, c // (f * g), f, g)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(n, c // (f * g), h * f, w * g)
