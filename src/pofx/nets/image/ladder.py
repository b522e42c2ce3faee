"""The two ladders of a hierarchical autoencoder: features of x upwards, codes downwards, at every size.

Residual bottleneck blocks as in very deep autoencoders (Child, 2021, arXiv 2011.10650), with normalisation by group. A
vector is a grid of one place, on which convolutions are linear maps.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.nets.vector.linear import Linear

silu = nn.functional.silu


class Convolution(nn.Conv2d):
    """A convolution; on a grid of one place a product of matrices, which takes a third of the time there."""

    def forward(self, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n outputs h w"]:
        if self.kernel_size != (1, 1) or x.shape[-2:] != (1, 1):
            return super().forward(x)
        return nn.functional.linear(x.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None]


class Normalised(nn.GroupNorm):
    """Normalisation by group, of a grid of one place as if by layer, which takes half of the time there."""

    def forward(self, x: Float[Tensor, "n inputs H W"]) -> Float[Tensor, "n inputs H W"]:
        if x.shape[-2:] != (1, 1):
            return super().forward(x)
        parts = x.reshape(len(x), self.num_groups, -1)
        flat = nn.functional.layer_norm(parts, parts.shape[-1:], eps=self.eps).flatten(1)
        return (flat * self.weight + self.bias)[:, :, None, None]


class Bottleneck(nn.Module):
    """inputs → outputs channels by `inner` convolutions of half the width, or a hidden layer of the whole width where
    there are none; `residual` adds the inputs."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        kernel: int,
        *,
        residual: bool,
        zero: bool = False,
        context: int = 0,
        inner: int = 2,
        norm: bool = True,
    ) -> None:
        super().__init__()
        middle = max(8, width // 2) if inner else width
        self.residual = residual
        self.norm = Normalised(math.gcd(8, inputs), inputs) if norm else nn.Identity()
        self.narrow = Convolution(inputs, middle, 1)
        self.convs = nn.ModuleList(Convolution(middle, middle, kernel, padding=kernel // 2) for _ in range(inner))
        self.context = Linear(context, middle) if context else None
        self.wide = Convolution(middle, outputs, 1)
        if zero:
            nn.init.zeros_(self.wide.weight)

    def forward(
        self, x: Float[Tensor, "n inputs H W"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n outputs H W"]:
        h = self.narrow(silu(self.norm(x)))
        if self.context is not None and context is not None:
            h = h + self.context(context)[:, :, None, None]
        for conv in self.convs:
            h = conv(silu(h))
        out: Tensor = self.wide(silu(h))
        return x + out if self.residual else out


class UpwardLadder(nn.Module):
    """x (n, channels, H, W) → features at each of the `sizes` but the first, from the largest down; the first step
    divides height and width by `first`, the others by 2."""

    def __init__(
        self,
        channels: int,
        sizes: Sequence[tuple[int, int]],
        width: int,
        blocks: int,
        *,
        context: int = 0,
        first: int = 2,
        inner: int = 2,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.levels = len(sizes) - 1
        self.vector = sizes[0] == (1, 1)
        kernel = 1 if self.vector else 3
        steps = []
        for level in range(self.levels):
            inputs, stride = (channels, first) if level == 0 else (width, 2)
            steps.append(
                Convolution(inputs, width, 1)
                if self.vector
                else Convolution(inputs, width, 2 * stride - 1, stride=stride, padding=stride - 1)  # rounds up
            )
        self.steps = nn.ModuleList(steps)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                Bottleneck(width, width, width, kernel, residual=True, context=context, inner=inner, norm=norm)
                for _ in range(blocks)
            )
            for _ in range(self.levels)
        )

    def forward(
        self, x: Float[Tensor, "n channels H W"], context: Float[Tensor, "n context"] | None = None
    ) -> list[Tensor]:
        found, h = [], x
        for step, blocks in zip(self.steps, self.blocks, strict=True):
            h = step(h)
            assert isinstance(blocks, nn.ModuleList)
            for block in blocks:
                h = block(h, context)
            found.append(h)
        return found


class Rung(nn.Module):
    """One group of codes: prior and posterior given what is above, and what the code adds to it."""

    def __init__(
        self,
        size: tuple[int, int],
        level: int,
        latent: int,
        width: int,
        *,
        context: int,
        share: float,
        inner: int = 2,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.level, self.latent = size, level, latent
        kernel = 1 if size == (1, 1) else 3

        def bottleneck(inputs: int, outputs: int, residual: bool = False) -> Bottleneck:
            return Bottleneck(
                inputs, outputs, width, kernel, residual=residual, zero=not residual, context=context, inner=inner,
                norm=norm,
            )  # fmt: skip

        self.prior = bottleneck(width, 2 * latent + width)
        self.posterior = bottleneck(2 * width, 2 * latent)
        self.code = Convolution(latent, width, 1)
        self.after = bottleneck(width, width, residual=True)
        with torch.no_grad():
            self.code.weight.mul_(share)
            self.after.wide.weight.mul_(share)

    @property
    def numbers(self) -> int:
        return self.latent * self.size[0] * self.size[1]
