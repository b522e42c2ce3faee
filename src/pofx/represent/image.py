"""Images as events: discrete levels; dequantised and on the real line; dequantised in [-1, 1]; binarised.

Levels k in {0, …, L - 1} become real by s = (k + u) / L with u uniform, which turns a density of s into a lower bound
on the log-mass of k (Theis, van den Oord and Bethge, 2015, 1511.01844): log P(k) >= E log p(s) - D log L. The logit
view takes y = logit(a + (1 - 2a) s) (Dinh, Sohl-Dickstein and Bengio, 2016, 1605.08803).
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from pofx.core.errors import DataError, UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.core.model import Density
from pofx.core.options import OneOf
from pofx.core.random import Streams, philox
from pofx.core.representation import Items, Representation
from pofx.data.levels import check_images

EDGE = 2.0**-11  # noise keeps this far from its ends, so that float32 never rounds k + u up to k + 1
BINARISED = ("dynamic", "static", "threshold")


def shape_of(view: Representation) -> tuple[int, ...] | None:
    """(channels, height, width) of the pictures of a view of pictures."""
    return view.shape if isinstance(view, ImageView) else None


class ImageView(Representation):
    """What the views share: uint8 (n, H, W) or (n, H, W, C) ↔ raw uint8 (n, C, H, W)."""

    kind = "image"
    measure: ClassVar[str] = "counting"

    def __init__(self, shape: tuple[int, ...], levels: int, flat: bool) -> None:
        self.shape, self.levels, self.flat = tuple(shape), levels, flat  # (C, H, W) …; flat: items have no channel axis

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        values, flat = items.values, items.values.ndim == 3
        height, width = values.shape[1:3]
        shape = (1 if flat else values.shape[3], height, width)
        return cls(shape, int(items.facts.get("levels", 256)), flat, **options)

    def as_batch(self, values: Any) -> Any:
        return values[None] if np.ndim(values) == 3 - self.flat else values

    def tensor(self, values: Any) -> Tensor:
        array = check_images(values, self.levels, "images")
        shape = self.shape[1:] if self.flat else (*self.shape[1:], self.shape[0])
        if array.shape[1:] != shape:
            raise DataError(f"images must have shape (n, {', '.join(map(str, shape))}) (got {array.shape})")
        raw = torch.from_numpy(array)
        return raw[:, None] if self.flat else raw.permute(0, 3, 1, 2).contiguous()

    def items(self, raw: Tensor) -> Any:
        raw = raw.to("cpu", torch.uint8)
        return (raw[:, 0] if self.flat else raw.permute(0, 2, 3, 1).contiguous()).numpy()

    @property
    def dims(self) -> int:
        return math.prod(self.shape)

    def _known(self, values: Any, classes: Callable[[Tensor], Tensor]) -> Tensor:
        """Partial images → int64 (n, C, H, W), with -1 where nothing is known: their first rows, or whole images with
        gaps wherever they are (masked, NaN or -1), as `classes` of their levels."""
        array, gaps = without_gaps(self.as_batch(values))
        found = _filled(classes(self._rows(array).long()), self.shape[1])
        if gaps is None:
            return found
        hidden = torch.from_numpy(np.broadcast_to(gaps, array.shape).copy())
        hidden = hidden[:, None] if self.flat else hidden.permute(0, 3, 1, 2)
        found[:, :, : hidden.shape[2]][hidden.expand_as(found[:, :, : hidden.shape[2]])] = -1
        return found

    def _rows(self, values: Any) -> Tensor:
        """The first rows of images, uint8 (n, h, W) or (n, h, W, C) → raw (n, C, h, W)."""
        array = check_images(values, self.levels, "prefix")
        shape = self.shape[2:] if self.flat else (self.shape[2], self.shape[0])
        if array.shape[2:] != shape or array.shape[1] > self.shape[1]:
            wanted = ", ".join(map(str, shape))
            raise DataError(
                f"prefix must be the first rows, (n, at most {self.shape[1]}, {wanted}) (got {array.shape})"
            )
        raw = torch.from_numpy(array)
        return raw[:, None] if self.flat else raw.permute(0, 3, 1, 2)

    def partial(self, values: Any) -> Tensor:
        """Partial images as levels, int64 (n, C, H, W), with -1 where nothing is known."""
        return self._known(values, lambda levels: levels)

    def _dequantise(self, raw: Tensor, generator: Streams) -> Tensor:
        """s = (k + u) / L in (0, 1): float32."""
        u = generator.uniform(*self.shape).clamp(EDGE, 1 - EDGE)
        return (raw.to(torch.float32) + u) / self.levels

    def real(self, x: Tensor) -> Tensor:
        """From 0 (level 0) to 1 (the last level): the mean of what the dequantisation makes of a level."""
        return (self._share(x) * self.levels - 0.5) / (self.levels - 1)

    def _share(self, x: Tensor) -> Tensor:
        """Events → s in (0, 1), where level k lies from k / L to (k + 1) / L; classes in its middle."""
        return (x + 0.5) / self.levels

    def _quantise(self, s: Tensor) -> Tensor:
        return (s * self.levels).floor().clamp(0, self.levels - 1).to(torch.uint8)

    def _constant(self, raw: Tensor, per_scalar: float) -> Tensor:
        return torch.full((len(raw),), self.dims * per_scalar, device=raw.device)


class Levels(ImageView):
    """Pixel levels as classes."""

    name = "levels"
    summary = "pixel levels as classes"
    volume = Density.EXACT

    def __init__(self, shape: tuple[int, ...], levels: int, flat: bool) -> None:
        super().__init__(shape, levels, flat)
        self.event = Discrete(self.shape, levels)

    straight = True

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return raw.long(), self._constant(raw, 0.0)

    def decode(self, x: Tensor) -> Tensor:
        return x.clamp(0, self.levels - 1).to(torch.uint8)

    def prefix(self, values: Any) -> Tensor:
        return self.partial(values)


class Dequantised(ImageView):
    """Levels as real numbers within their intervals, so that some pixels can be known and others not."""

    def intervals(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the greatest real events of levels int64 (n, C, H, W), infinite where they are -1: unknown."""
        ends = [self._placed((level + end) / self.levels) for end in (EDGE, 1 - EDGE)]
        return ends[0].masked_fill(level < 0, -math.inf), ends[1].masked_fill(level < 0, math.inf)

    @abstractmethod
    def _placed(self, s: Tensor) -> Tensor:
        """s in (0, 1) → real events, increasing; the inverse of `_share`."""

    @abstractmethod
    def _log_slope(self, s: Tensor) -> Tensor:
        """log of d event / d level at s, place by place."""

    def known_event(self, level: Tensor, generator: Streams) -> tuple[Tensor, Tensor, Tensor]:
        """Levels int64 (n, C, H, W), with -1 where unknown → real events, which of their places are known, and
        log|det d event / d level| of these: (n,)."""
        known = level >= 0
        s = self._dequantise(level.clamp(min=0), generator)
        return self._placed(s), known, torch.where(known, self._log_slope(s), 0.0).flatten(1).sum(1)


class Logit(Dequantised):
    """Dequantised levels on the real line, with the exact Jacobian."""

    name = "logit"
    summary = "dequantised, then logit(alpha + (1 - 2 alpha) s): real values"
    volume = Density.BOUND
    options = ("alpha",)

    def __init__(self, shape: tuple[int, ...], levels: int, flat: bool, alpha: float = 0.01) -> None:
        super().__init__(shape, levels, flat)
        if not 0 < alpha < 0.5:
            raise UsageError(f"alpha must lie in (0, 0.5) (got {alpha}): pass alpha=0.01")
        self.alpha = alpha
        self.event = Continuous(self.shape)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        s = self._dequantise(raw, generator)
        return self._placed(s), self._log_slope(s).flatten(1).sum(1)

    def _placed(self, s: Tensor) -> Tensor:
        p = self.alpha + (1 - 2 * self.alpha) * s
        return p.log() - (-p).log1p()

    def _log_slope(self, s: Tensor) -> Tensor:
        p = self.alpha + (1 - 2 * self.alpha) * s  # dy/dk = (1 - 2a) / (L p (1 - p))
        return math.log1p(-2 * self.alpha) - math.log(self.levels) - p.log() - (-p).log1p()

    def decode(self, x: Tensor) -> Tensor:
        return self._quantise(self._share(x.float()))

    def _share(self, x: Tensor) -> Tensor:
        return (x.sigmoid() - self.alpha) / (1 - 2 * self.alpha)


class Unit(Dequantised):
    """Dequantised levels in [-1, 1], with the Jacobian."""

    name = "unit"
    summary = "dequantised, in [-1, 1]"
    volume = Density.BOUND

    def __init__(self, shape: tuple[int, ...], levels: int, flat: bool) -> None:
        super().__init__(shape, levels, flat)
        self.event = Bounded(self.shape)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return self._placed(self._dequantise(raw, generator)), self._constant(raw, math.log(2 / self.levels))

    def _placed(self, s: Tensor) -> Tensor:
        return 2 * s - 1

    def _log_slope(self, s: Tensor) -> Tensor:
        return torch.full_like(s, math.log(2 / self.levels))

    straight = True

    def decode(self, x: Tensor) -> Tensor:
        return self._quantise(self._share(x.float()))

    def _share(self, x: Tensor) -> Tensor:
        return (x + 1) / 2


class Middles(Unit):
    """Levels as the middles of their intervals in [-1, 1], without noise: what a diffusion model is best trained on.

    The density of a level is a bound by truncated normal noise (see `maths.dequantisation`).
    """

    name = "middles"
    summary = "middles of the levels in [-1, 1], for diffusion and flow matching: scored under truncated normal noise"
    on_request = True

    def __init__(self, shape: tuple[int, int, int], levels: int, flat: bool) -> None:
        super().__init__(shape, levels, flat)
        self.half = 1 / levels

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        return 2 * (raw.to(torch.float32) + 0.5) / self.levels - 1, self._constant(raw, 0.0)


class Binary(ImageView):
    """Black or white: the density is that of the binarised image.

    binarise: "dynamic" draws white with probability k / (L - 1) anew at each encoding (Salakhutdinov and Murray, 2008);
    "static" draws once per image, from its own content; "threshold" cuts at half.
    """

    name = "binary"
    summary = "binarised: dynamic, static or threshold; only where requested, or where a model takes nothing else"
    measure = "counting, of the binarised image"
    volume = Density.EXACT
    options = ("binarise",)

    def __init__(
        self,
        shape: tuple[int, ...],
        levels: int,
        flat: bool,
        binarise: Annotated[str, OneOf(*BINARISED)] = "dynamic",
    ) -> None:
        super().__init__(shape, levels, flat)
        if binarise not in BINARISED:
            raise UsageError(f"binarise must be {', '.join(BINARISED)} (got {binarise}): pass binarise=dynamic")
        self.binarise = binarise
        self.event = Discrete(self.shape, 2)

    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        top = self.levels - 1
        if self.binarise == "threshold":
            white = 2 * raw.long() > top
        else:
            grey = (raw > 0) & (raw < top)  # nothing is random elsewhere
            u = generator.uniform_where(grey) if self.binarise == "dynamic" else self._own_noise(raw)
            white = torch.where(grey, u * top < raw, raw > 0)
        return white.long(), self._constant(raw, 0.0)

    straight = True

    def real(self, x: Tensor) -> Tensor:
        return x.float() if not x.is_floating_point() else x

    def decode(self, x: Tensor) -> Tensor:
        return (x * (self.levels - 1)).to(torch.uint8)

    def prefix(self, values: Any) -> Tensor:
        return self._known(values, lambda levels: (2 * levels > self.levels - 1).long())

    def _own_noise(self, raw: Tensor) -> Tensor:
        """Uniform noise that belongs to an image: equal images get equal noise, wherever they occur."""
        weights = Streams(0, 1, device=raw.device).words(self.dims)[0]
        image = ((raw.flatten(1).long() + 1) * weights).sum(1, keepdim=True) & 0xFFFFFFFF
        block = torch.arange(-(-self.dims // 4), device=raw.device).expand(len(raw), -1)
        zero = torch.zeros_like(block)
        words = torch.stack(philox(block, zero, image.expand_as(block), zero, 1, 0), -1).flatten(1)[:, : self.dims]
        return ((words >> 9).to(torch.float32) + 0.5).mul(2.0**-23).reshape(raw.shape)


def without_gaps(values: Any) -> tuple[Any, np.ndarray | None]:
    """Images with gaps (masked by numpy.ma, NaN or -1): with level 0 there, and where they are; None without any."""
    if isinstance(values, np.ma.MaskedArray):
        return values.filled(0), np.ma.getmaskarray(values)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fi":
        return values, None
    gaps = np.isnan(values) if values.dtype.kind == "f" else values == -1
    if not gaps.any():
        return values, None
    full = np.where(gaps, 0, values)
    whole = full.dtype.kind == "f" and full.max() > 1 and (full == full.round()).all()  # levels that NaN made floats
    return (full.astype(np.int64) if whole else full), gaps


def _filled(rows: Tensor, height: int) -> Tensor:
    """int64 (n, C, h, …) → (n, C, height, …) with -1 below."""
    return torch.nn.functional.pad(rows, (*[0, 0] * (rows.ndim - 3), 0, height - rows.shape[2]), value=-1)
