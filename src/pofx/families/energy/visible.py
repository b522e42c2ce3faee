"""The visible units of a restricted Boltzmann machine: classes, or real numbers.

Classes (softmax): log weight b[v], seen by the hidden units through fixed functions φ of the class, indicators or, for
ordered classes, the first cosines, which share weights between neighbouring levels (Salakhutdinov, Mnih and Hinton,
2007; Welling, Rosen-Zvi and Hinton, 2005). Real numbers: log weight -(v - b)² / 2σ², seen as v / σ, each with a σ of
its own that is learned (Hinton and Salakhutdinov, 2006; Cho, Ilin and Raiko, 2011). `bias` holds b, and `base` the same
table of independent units with the rates of the data, where annealing starts.
"""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from pofx.maths.distributions import class_counts

NARROWEST = 0.02  # σ, in deviations of the data: narrower units would fit single items


class Classes(nn.Module):
    """Visible classes (n, size), int64; the parameters of a unit are its logits."""

    phi: Tensor

    def __init__(self, size: int, classes: int, features: int, *, ordered: bool) -> None:
        super().__init__()
        self.size, self.numbers = size, classes
        self.register_buffer("phi", class_functions(classes, features, ordered=ordered), persistent=False)
        self.features = self.phi.shape[1]

    def seen(self, v: Int[Tensor, "n size"]) -> Float[Tensor, "n inputs"]:
        """φ(v), flat."""
        return nn.functional.embedding(v, self.phi).flatten(1)

    def given(
        self, field: Float[Tensor, "n size features"], bias: Float[Tensor, "_ size classes"]
    ) -> Float[Tensor, "n size classes"]:
        """The parameters of the units under what the hidden units add to them."""
        return field @ self.phi.T + bias

    def log_weight(self, v: Int[Tensor, "n size"], bias: Float[Tensor, "_ size classes"]) -> Float[Tensor, "n"]:
        """Σ_i b_i[v_i]."""
        return bias.expand(len(v), -1, -1).gather(2, v[..., None]).sum((1, 2))

    def log_sum(
        self, given: Float[Tensor, "n size classes"], bias: Float[Tensor, "_ size classes"]
    ) -> Float[Tensor, "n"]:
        """log of the sum over all v of the weights under these parameters."""
        return given.logsumexp(-1).sum(1)

    def draw(self, given: Float[Tensor, "n size classes"], u: Float[Tensor, "n size"]) -> Int[Tensor, "n size"]:
        return draw(given, u)

    def rates(
        self, v: Int[Tensor, "n size"], share: Float[Tensor, "size classes"] | None = None
    ) -> Float[Tensor, "size classes"]:
        """log of the shares of the classes, drawn towards those of all items, (size, classes) too, where given."""
        counts = class_counts(v, self.numbers) + (0.5 if share is None else share.exp() * self.numbers * 0.5)
        return (counts / counts.sum(1, keepdim=True)).log()

    def observe(self, v: Int[Tensor, "n size"]) -> None:
        """Classes have no scale."""


class Reals(nn.Module):
    """Visible numbers (n, size), float32; the parameter of a unit is its mean."""

    numbers, features = 1, 1
    floor: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.log_std = nn.Parameter(torch.zeros(size))
        self.register_buffer("floor", torch.full((size,), math.log(NARROWEST)))

    @property
    def std(self) -> Float[Tensor, "size"]:
        return torch.maximum(self.log_std, self.floor).exp()

    def seen(self, v: Float[Tensor, "n size"]) -> Float[Tensor, "n size"]:
        """v / σ."""
        return v / self.std

    def given(self, field: Float[Tensor, "n size 1"], bias: Float[Tensor, "_ size 1"]) -> Float[Tensor, "n size 1"]:
        """The means of the units under what the hidden units add to them."""
        return self.std[:, None] * field + bias

    def log_weight(self, v: Float[Tensor, "n size"], bias: Float[Tensor, "_ size 1"]) -> Float[Tensor, "n"]:
        """Σ_i -(v_i - b_i)² / 2σ_i²."""
        return -0.5 * ((v - bias[..., 0]) / self.std).square().sum(1)

    def log_sum(self, given: Float[Tensor, "n size 1"], bias: Float[Tensor, "_ size 1"]) -> Float[Tensor, "n"]:
        """log of the integral over all v of the weights under these means."""
        moved = (given.square() - bias.square())[..., 0] / (2 * self.std.square())
        return (moved + self.std.log() + 0.5 * math.log(2 * math.pi)).sum(1)

    def draw(self, given: Float[Tensor, "n size 1"], u: Float[Tensor, "n size"]) -> Float[Tensor, "n size"]:
        return given[..., 0] + self.std * torch.special.ndtri(u.clamp(1e-7, 1 - 1e-7))

    def rates(
        self, v: Float[Tensor, "n size"], share: Float[Tensor, "size 1"] | None = None
    ) -> Float[Tensor, "size 1"]:
        """The mean, of a class drawn towards that of all items by the weight of one item."""
        if share is None:
            return v.mean(0)[:, None]
        return (v.sum(0)[:, None] + share) / (len(v) + 1)

    @torch.no_grad()
    def observe(self, v: Float[Tensor, "n size"]) -> None:
        """Start σ at the deviation of the data, and bound it below by a share of it."""
        own = v.std(0, correction=0).clamp(min=1e-6).log()
        self.log_std.copy_(own)
        self.floor.copy_(own + math.log(NARROWEST))


def draw(logits: Float[Tensor, "*places classes"], u: Float[Tensor, "*places"]) -> Int[Tensor, "*places"]:
    """The class at which the cumulated weight passes u: logits (…, classes), u (…) → int64 (…); float32, for speed."""
    total = (logits - logits.amax(-1, keepdim=True)).exp().cumsum(-1)
    return torch.searchsorted(total, (u * total[..., -1])[..., None].to(total.dtype))[..., 0]


def class_functions(classes: int, features: int, *, ordered: bool) -> Float[Tensor, "{classes} features"]:
    """φ: (classes, features)."""
    if not features:
        features = 1 if classes == 2 else min(4, classes) if ordered else classes
    if classes == 2 and features == 1:
        return torch.tensor([[0.0], [1.0]])
    if features == classes:
        return torch.eye(classes, dtype=torch.float32)
    level, order = torch.arange(classes) + 0.5, torch.arange(1, features + 1)
    return torch.cos(math.pi / classes * level[:, None] * order)


Units = Classes | Reals
Visible = Shaped[Tensor, "n size"]
