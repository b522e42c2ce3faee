"""Conditions → vectors: the one place where the value of any event becomes something a network can add.

Classes are looked up, vectors pass a linear map and a small network, sequences a convolutional token encoder, grids a
convolutional encoder; the parts of a product are embedded each and mixed. `CONDITIONS` lists what is embedded.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Discrete, Event
from pofx.nets.image.autoencoder import ImageEncoder
from pofx.nets.vector.linear import Linear
from pofx.nets.vector.mlp import MLP

CONDITIONS: tuple[type, ...] = (Discrete, Continuous, dict)  # the kinds of event that a Conditioner embeds
FEATURES = 32  # channels of the encoders of sequences and grids
HIDDEN = 256  # units of the network of a grid that is read as a vector
CHUNK, SMALLEST = 1024, 0.01  # sequences at once; of the largest deviation, below which features are not raised
LEAST = 0.02  # standard deviation of an embedding, below which it is not raised to 1


class Conditioner(nn.Module):
    """Embeds a condition of any event in `CONDITIONS`.

    - One class, or categories (a count per dimension): tables of vectors, summed over the dimensions.
    - Vectors and signals: a linear map plus a network of one hidden layer, which starts at zero, so that families which
      only add an embedding to shifts learn from |c| as well.
    - Sequences of classes and grids: `TokenEncoder` and a convolutional encoder; with `flat` grids are vectors.
    - Products: the sum of the parts, plus a network of it that starts at zero.

    `width` is 0 without a condition, so that nets can be built with `context=conditioner.width`; `null=True` adds the
    embedding of "no condition" (classifier-free guidance; Ho and Salimans, 2022, arXiv 2207.12598).
    """

    def __init__(self, condition: Event | None, width: int = 64, *, null: bool = False, flat: bool = False) -> None:
        super().__init__()
        self.width = width if condition is not None else 0
        self.event = condition
        self.first: Tensor
        self.table: nn.Embedding | None = None
        self.linear: Linear | None = None
        self.curved: MLP | None = None
        self.encoder: TokenEncoder | ImageEncoder | None = None
        self.parts: nn.ModuleDict | None = None
        if isinstance(condition, dict):
            self.parts = nn.ModuleDict({key: Conditioner(part, width, flat=flat) for key, part in condition.items()})
            self.mix = MLP(width, width, (width,), zero=True)
        elif flat and len(condition.shape if condition is not None else ()) == 3:
            assert condition is not None
            self.linear = Linear(math.prod(condition.shape), width)
            self.curved = MLP(math.prod(condition.shape), width, (max(width, HIDDEN),), zero=True)
        elif isinstance(condition, Discrete) and len(condition.shape) == 3:
            self.encoder = ImageEncoder(condition.shape, width, FEATURES)
        elif isinstance(condition, Discrete) and len(condition.shape) == 1 and isinstance(condition.classes, int):
            self.encoder = TokenEncoder(condition, width)
        elif isinstance(condition, Discrete):
            first = torch.tensor((0, *condition.counts[:-1])).cumsum(0)  # of each dimension's rows in the table
            self.register_buffer("first", first, persistent=False)
            self.table = nn.Embedding(sum(condition.counts), width)
        elif isinstance(condition, Continuous) and len(condition.shape) == 3:
            self.encoder = ImageEncoder(condition.shape, width, FEATURES)
        elif isinstance(condition, Continuous):
            self.linear = Linear(math.prod(condition.shape), width)
            self.curved = MLP(math.prod(condition.shape), width, (width,), zero=True)
        self.null = nn.Parameter(torch.zeros(width)) if null and condition is not None else None

    def forward(
        self, condition: Condition | None, drop: Bool[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n width"] | None:
        """condition (n, …), drop bool (n,) → (n, width), or None without a condition."""
        if condition is None or self.event is None:
            return None
        embedded = self.embed(condition)
        if drop is not None and self.null is not None:
            embedded = torch.where(drop[:, None], self.null.to(embedded.dtype), embedded)
        return embedded

    def embed(self, condition: Condition) -> Float[Tensor, "n width"]:
        """The embedding of given conditions."""
        if isinstance(condition, dict):
            assert self.parts is not None
            embedded = torch.stack([self.parts[key](condition[key]) for key in self.parts]).sum(0)
            return embedded + self.mix(embedded)  # type: ignore[no-any-return]
        if self.table is not None:
            return self.table(condition.reshape(len(condition), -1) + self.first).sum(1)  # type: ignore[no-any-return]
        if isinstance(self.event, Discrete) and len(self.event.shape) == 3:
            condition = condition.to(torch.float32) * (2.0 / max(self.event.largest - 1, 1)) - 1.0
        if self.linear is not None and self.curved is not None:
            flat = condition.reshape(len(condition), -1).to(self.linear.weight.dtype)
            return self.linear(flat) + self.curved(flat)  # type: ignore[no-any-return]
        assert self.encoder is not None
        return self.encoder(condition)  # type: ignore[no-any-return]

    def _last(self) -> list[Linear | nn.Embedding]:
        """The layers whose output is the embedding."""
        if self.parts is not None:
            return [layer for part in self.parts.values() for layer in part._last()]  # type: ignore[operator, union-attr]
        found = self.table or self.linear or (self.encoder.last if self.encoder is not None else None)
        return [] if found is None else [found]

    def silence(self) -> None:
        """Embeddings begin at zero, by the last layers alone: behind an encoder of zeros nothing would ever learn."""
        for layer in self._last():
            for p in layer.parameters():
                nn.init.zeros_(p)

    @torch.no_grad()
    def standardise(self, condition: Condition) -> None:
        """Let embeddings of sequences and grids begin with mean 0 and variance 1 over these conditions, as different
        from one another as classes are: of sequences in all directions, or a word that few letters distinguish from
        another would hardly be seen beside the others."""
        if isinstance(condition, dict):
            for key, part in (self.parts or {}).items():
                part.standardise(condition[key])  # type: ignore[operator]
        elif isinstance(self.encoder, TokenEncoder) and len(condition) > 1:
            self.encoder.whiten(condition)
        elif self.encoder is not None and len(condition) > 1:
            found = self.embed(condition)
            scale, last = found.std(0).clamp(min=LEAST), self.encoder.last
            last.weight.div_(scale[:, None])
            last.bias.sub_(found.mean(0)).div_(scale)


class TokenEncoder(nn.Module):
    """A sequence of classes int64 (n, length) → (n, outputs): embedded tokens and places, two residual convolutions of
    three places each, then the mean and the greatest value of each feature up to the end of the sequence."""

    def __init__(self, event: Discrete, outputs: int, width: int = FEATURES) -> None:
        super().__init__()
        self.end = event.end
        self.tokens = nn.Embedding(event.largest, width)
        self.places = nn.Parameter(0.1 * torch.randn(event.shape[0], width))
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.last = Linear(2 * width, outputs)

    def forward(self, x: Int[Tensor, "n length"]) -> Float[Tensor, "n outputs"]:
        """The first end of a sequence belongs to it, what follows does not."""
        out: Tensor = self.last(self.pooled(x))
        return out

    @torch.no_grad()
    def whiten(self, x: Int[Tensor, "n length"]) -> None:
        """Choose the last layer so that over these sequences its outputs have mean 0 and variance 1, and what differs
        between them counts alike in every direction, down to a hundredth of the largest."""
        features = torch.cat([self.pooled(part) for part in x.split(CHUNK)]).double()
        values, directions = torch.linalg.eigh(torch.cov(features.T))
        values = values.clamp(min=float(values[-1]) * SMALLEST**2 + 1e-12)
        mixed = torch.randn(len(self.last.weight), len(values), dtype=torch.float64).to(values.device)
        weight = mixed @ (directions / values.sqrt()).T
        weight = weight / ((features - features.mean(0)) @ weight.T).std(0).clamp(min=1e-12)[:, None]
        self.last.weight.copy_(weight)
        self.last.bias.copy_(-(features.mean(0) @ weight.T))

    def pooled(self, x: Int[Tensor, "n length"]) -> Float[Tensor, "n features"]:
        """Mean and greatest value of each feature."""
        real = torch.ones_like(x, dtype=torch.bool)
        if self.end is not None:
            stops = (x == self.end).long()
            real = (stops.cumsum(1) - stops) == 0
        h = self.tokens(x) + self.places
        for conv in self.convs:
            seen = (h * real[..., None]).transpose(1, 2)
            h = h + nn.functional.silu(conv(seen)).transpose(1, 2)
        mean = (h * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        greatest = h.masked_fill(~real[..., None], -torch.inf).amax(1)
        return torch.cat((mean, greatest), 1)
