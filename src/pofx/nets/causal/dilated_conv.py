"""Dilated causal convolutions over a sequence: gated layers, each of two taps, with residual and skip connections.

A layer of dilation d combines what it knows of step t - d and of step t: z = tanh(a) * sigmoid(b) with (a, b) a linear
map of both and of a context; z goes on to the next layer as a residual and to the outputs as a skip. Layers of
dilations 1, 2, 4, … see a past that doubles with each. Van den Oord et al., 2016, "WaveNet: a generative model for raw
audio", arXiv 1609.03499 (equations 2 and 3); the cache after Le Paine et al., 2016, "Fast WaveNet generation
algorithm", arXiv 1611.09482. Tensors are (steps, n, …): then both taps are slices without a copy.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DilatedLayer(nn.Module):
    """One gated layer: the stream (steps, n, width) → gated features (steps - dilation, n, width)."""

    def __init__(
        self, width: int, skip: int, dilation: int, *, context: int = 0, dropout: float = 0.0, final: bool = False
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.taps = nn.Linear(2 * width, 2 * width)  # of the step `dilation` before, and of the step itself
        self.context = nn.Linear(context, 2 * width, bias=False) if context else None
        self.residual = None if final else nn.Linear(width, width, bias=False)
        self.skip = nn.Linear(width, skip, bias=final)  # one bias for the sum of all
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Float[Tensor, "steps n width"], context: Float[Tensor, "places n context"] | None = None
    ) -> Float[Tensor, "later n width"]:
        """h (steps, n, width), context (steps or 1, n, context) → z (steps - dilation, n, width)."""
        both = self.taps(torch.cat((h[: -self.dilation], h[self.dilation :]), -1))
        if self.context is not None and context is not None:
            both = both + self.context(context[-len(both) :])
        a, b = both.chunk(2, -1)
        z: Tensor = self.dropout(torch.tanh(a) * torch.sigmoid(b))
        return z


class DilatedStack(nn.Module):
    """Steps' features → skip features, each of the last `field` steps up to its own.

    The first convolution has `taps` neighbouring taps; then follow gated layers of the given dilations.
    """

    def __init__(
        self,
        features: int,
        width: int,
        skip: int,
        dilations: Sequence[int],
        *,
        taps: int = 2,
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features, self.width, self.skip, self.taps = features, width, skip, taps
        self.field = taps + sum(dilations)
        self.first = nn.Linear(taps * features, width)
        last = len(dilations) - 1
        self.layers = nn.ModuleList(
            DilatedLayer(width, skip, d, context=context, dropout=dropout, final=i == last)
            for i, d in enumerate(dilations)
        )

    @property
    def gated(self) -> list[DilatedLayer]:
        """The gated layers, from the first to the last."""
        return [cast(DilatedLayer, layer) for layer in self.layers]

    def forward(
        self, x: Float[Tensor, "steps n features"], context: Float[Tensor, "places n context"] | None = None
    ) -> Float[Tensor, "later n skip"]:
        """x (steps, n, features), context (steps or 1, n, context) → (steps - field + 1, n, skip).

        The last outputs are those of the last steps: nothing is padded.
        """
        count = len(x) - self.taps + 1
        left = len(x) - self.field + 1
        h = self.first(torch.cat([x[i : i + count] for i in range(self.taps)], -1))
        total: Tensor | None = None
        for layer in self.gated:
            z = layer(h, context)
            part = layer.skip(z[len(z) - left :])
            total = part if total is None else total + part
            if layer.residual is not None:
                h = h[layer.dilation :] + layer.residual(z)
        assert total is not None
        return total

    def begin(
        self, start: Float[Tensor, "features"], n: int, context: Float[Tensor, "n context"] | None = None
    ) -> "Rings":
        """The state of n items after an endless past of steps with the features `start`."""
        return Rings(self, start, n, context)


class Rings:
    """The streams of the last `dilation` steps before each layer: a further step costs three small products a layer.

    Weights, buffers and the views into them are laid out once, and a step writes in place; no gradient flows. A
    context given at the start holds for every step that is not given its own.
    """

    @torch.no_grad()
    def __init__(
        self, net: DilatedStack, start: Float[Tensor, "features"], n: int, context: Float[Tensor, "n context"] | None
    ) -> None:
        self.net, self.count = net, 0
        width = net.width
        self.first = net.first.bias.detach(), net.first.weight.T.contiguous()
        self.x = start.detach().repeat(net.taps).expand(n, -1)  # features of the last `taps` steps
        self.stream = self.x.new_empty(n, width + net.skip)  # of the step at hand, and the sum of its skips
        self.h, self.total = self.stream[:, :width], self.stream[:, width:]
        self.gates = self.x.new_empty(n, 2 * width)
        self.a, self.b = self.gates[:, :width], self.gates[:, width:]
        layers = net.gated
        taps = [layer.taps.weight.T for layer in layers]
        self.earlier = [weight[:width].contiguous() for weight in taps]
        self.now = [weight[width:].contiguous() for weight in taps]
        self.out = [_side_by_side(layer) for layer in layers]  # residual and skip
        self.biases = [layer.taps.bias.detach() for layer in layers]
        contexts = [layer.context.weight for layer in layers if layer.context is not None]
        self.contexts = torch.cat(contexts).T.contiguous() if contexts else None
        self.bias = layers[-1].skip.bias.detach()  # only the last one's skip has a bias
        self.own = self._own(context)
        self.rings: list[tuple[Tensor, ...]] = []
        self._enter()
        for i, layer in enumerate(layers):  # what an endless past of the same step leaves in the rings
            self.rings.append(tuple(self.h.expand(layer.dilation, n, -1).clone().unbind(0)))
            self._layer(i, self.rings[i][0], self.own[i])

    @torch.no_grad()
    def step(
        self, features: Float[Tensor, "n features"], context: Float[Tensor, "n context"] | None = None
    ) -> Float[Tensor, "n skip"]:
        """The next step's features (n, features) → its skip features (n, skip), a buffer that the next call reuses."""
        self.x = torch.cat((self.x[:, self.net.features :], features), 1)
        own = self.own if context is None else self._own(context)
        self._enter()
        for i, ring in enumerate(self.rings):
            self._layer(i, ring[self.count % len(ring)], own[i])
        self.count += 1
        return self.total

    def _enter(self) -> None:
        bias, weight = self.first
        self.h.copy_(torch.addmm(bias, self.x, weight))
        self.total.copy_(self.bias.expand_as(self.total))

    def _layer(self, i: int, before: Tensor, bias: Tensor) -> None:
        """Layer i at the step at hand; the stream takes the place of the step that is now `dilation` behind."""
        torch.addmm(bias, before, self.earlier[i], out=self.gates)
        self.gates.addmm_(self.h, self.now[i])
        before.copy_(self.h)
        self.stream.addmm_(self.a.tanh_().mul_(self.b.sigmoid_()), self.out[i])

    def _own(self, context: Float[Tensor, "n context"] | None) -> list[Tensor]:
        """What every layer adds before its gates."""
        if self.contexts is None or context is None:
            return self.biases
        parts = (context @ self.contexts).split(2 * self.net.width, 1)
        return [bias + part for bias, part in zip(self.biases, parts, strict=True)]


def _side_by_side(layer: DilatedLayer) -> Float[Tensor, "width both"]:
    """Residual and skip as one map (width, width + skip)."""
    residual = torch.zeros_like(layer.skip.weight[:1]).expand(layer.skip.in_features, -1)
    if layer.residual is not None:
        residual = layer.residual.weight
    return torch.cat((residual, layer.skip.weight)).detach().T.contiguous()
