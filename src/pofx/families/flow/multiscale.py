"""The multi-scale architecture: squeeze, transform, let half of the channels go, and again on the other half.

Dinh, Sohl-Dickstein and Bengio (2017), arXiv 1605.08803, section 3.6. What leaves, z, is made standard normal by a
prior of its own that is learned given what stays, h (Kingma and Dhariwal, 2018, arXiv 1807.03039): (z - μ(h)) / σ(h) is
a coupling, so the whole is one bijection of vectors with a standard normal code and nothing is counted twice.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.families.flow.composition import Bijection
from pofx.families.flow.grid import GridBijection, squeeze, unsqueeze

Shape = tuple[int, int, int]
Parts = Callable[[Shape], Iterable[GridBijection]]
Prior = Callable[[Shape, int], GridBijection]
LEAST_SIDE = 4  # no scale but the first has a shorter side


class Scale(nn.Module):
    """Bijections before and after a squeeze by `factors`; at the end the last `leaving` channels leave."""

    def __init__(
        self,
        before: Iterable[GridBijection],
        factors: tuple[int, int],
        after: Iterable[GridBijection],
        shape: Shape,
        leaving: int,
    ) -> None:
        super().__init__()
        self.before, self.after = nn.ModuleList(before), nn.ModuleList(after)
        self.factors, self.shape, self.leaving = factors, shape, leaving

    @property
    def left(self) -> int:
        """How many numbers leave here."""
        return self.leaving * self.shape[1] * self.shape[2]


class MultiScale(Bijection):
    """A stack of scales as one bijection of flattened grids; its code holds first what left first."""

    autocasts = True

    def __init__(self, shape: Shape, scales: Sequence[Scale]) -> None:
        super().__init__()
        self.shape = shape
        self.scales = nn.ModuleList(scales)

    def _scales(self) -> list[Scale]:
        return [scale for scale in self.scales if isinstance(scale, Scale)]

    def forward(
        self, x: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n"]]:
        h, total, left = x.reshape(-1, *self.shape), x.new_zeros(len(x)), []
        for scale in self._scales():
            for part in scale.before:
                h, ladj = part(h, context)
                total = total + ladj
            h = squeeze(h, scale.factors)
            for part in scale.after:
                h, ladj = part(h, context)
                total = total + ladj
            h, z = h.split((h.shape[1] - scale.leaving, scale.leaving), 1)
            left.append(z.flatten(1))
        return torch.cat(left, 1), total

    def inverse(
        self, y: Float[Tensor, "n d"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n d"]:
        scales = self._scales()
        left = y.split([scale.left for scale in scales], 1)
        h = y.new_zeros(len(y), 0, *scales[-1].shape[1:])
        for scale, z in zip(reversed(scales), reversed(left), strict=True):
            h = torch.cat((h, z.reshape(len(z), scale.leaving, *scale.shape[1:])), 1)
            for part in reversed(scale.after):
                h = part.inverse(h, context)  # type: ignore[operator]
            h = unsqueeze(h, scale.factors)
            for part in reversed(scale.before):
                h = part.inverse(h, context)  # type: ignore[operator]
        return h.reshape(len(y), -1)

    def start(self, x: Float[Tensor, "n d"]) -> None:
        h = x.reshape(-1, *self.shape)
        for scale in self._scales():
            for part in scale.before:
                part.start(h)  # type: ignore[operator]
                h = part(h)[0]
            h = squeeze(h, scale.factors)
            for part in scale.after:
                part.start(h)  # type: ignore[operator]
                h = part(h)[0]
            h = h[:, : h.shape[1] - scale.leaving]


def factors_of(height: int, width: int) -> tuple[int, int]:
    """By how much the sides are squeezed: 2, odd ones 3, others not at all."""
    height_by, width_by = (next((f for f in (2, 3) if side % f == 0), 1) for side in (height, width))
    return height_by, width_by


def multiscale(shape: Shape, before: Parts, after: Parts, prior: Prior, most: int | None = None) -> MultiScale:
    """As many scales as sides of at least `LEAST_SIDE` can be squeezed to, `most` at most, one at least.

    Args:
        before, after: the bijections of a shape (c, h, w) before and after the squeeze of each scale.
        prior: of a shape and the number of its last channels that leave: the coupling that makes these standard normal.
    """
    scales: list[Scale] = []
    now = shape
    while True:
        channels, height, width = now
        f, g = factors_of(height, width)
        squeezed = (channels * f * g, height // f, width // g)
        next_f, next_g = factors_of(*squeezed[1:])
        shortest = min(squeezed[1] // next_f, squeezed[2] // next_g)
        last = len(scales) + 1 == most or next_f * next_g == 1 or shortest < LEAST_SIDE or squeezed[0] == 1
        leaving = squeezed[0] if last else squeezed[0] // 2
        parts = [*after(squeezed), prior(squeezed, leaving)]
        scales.append(Scale(before(now), (f, g), parts, squeezed, leaving))
        if last:
            return MultiScale(shape, scales)
        now = (squeezed[0] - leaving, *squeezed[1:])
