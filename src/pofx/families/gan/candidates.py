"""Samples chosen among several by the critic's odds: what lies between modes, and modes drawn too often, fall away.

A critic that minimises cross-entropy, of items or of pairs, holds log p(x) / q(x) up to a constant. Choosing among k
samples of q in proportion to exp of it (sampling importance resampling; Rubin, 1987) draws from p as far as the critic
knows it (Azadi et al., 2019, arXiv 1810.06758). Penalties and other losses leave the logits with another scale: it is
fitted to pairs of a real item and a sample while the duel is trained, as Turner et al., 2019 (arXiv 1811.11357)
calibrate theirs.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pofx.core.errors import Unsupported
from pofx.core.random import Streams

FOLLOWED, LARGEST = 0.02, 1e3  # share of a Newton step in log scale per batch, and its largest value


class Odds(nn.Module):
    """The scale a > 0 at which logits are log odds: of E log σ(a (D(x) - D(G(z)))) the maximum, followed batch by
    batch."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    @torch.no_grad()
    def follow(self, real: Float[Tensor, "n"], fake: Float[Tensor, "n"]) -> None:
        """Part of a Newton step in log a, of at most e to either side, on a batch of pairs."""
        gap = self.scale * (real - fake)
        wrong = torch.sigmoid(-gap)
        slope, bend = (gap * wrong).mean(), (gap.square() * wrong * (1 - wrong) - gap * wrong).mean().abs()
        step = (slope / bend.clamp(min=1e-6)).clamp(-1, 1)
        self.scale.mul_((FOLLOWED * step).exp()).clamp_(1 / LARGEST, LARGEST)

    def likelihood(self, real: Float[Tensor, "n"], fake: Float[Tensor, "n"]) -> Float[Tensor, ""]:
        """E log σ(a (D(x) - D(G(z)))), which `follow` climbs."""
        return logsigmoid(self.scale * (real - fake)).mean()


def chosen(
    draw: Callable[[], Float[Tensor, "n *event"]],
    logits: Callable[[Float[Tensor, "n *event"]], Float[Tensor, "n"]],
    count: int,
    odds: Odds | None,
    generator: Streams,
    *,
    stated: bool = True,
    single: bool = True,
) -> Float[Tensor, "n *event"]:
    """One of `count` draws for each sample, in proportion to its odds; of one draw, that draw.

    The largest of log odds plus Gumbel noise is such a choice, so that no more than two draws are held at a time.

    Args:
        stated: whether a user wants so many; otherwise one draw does where odds are not known.
        single: whether the critic judges items one by one.

    Raises:
        Unsupported: the logits are no odds of single items, and several candidates are stated.
    """
    x = draw()
    if count == 1:
        return x
    if odds is None or not single:
        if not stated:
            return x
        mend = (
            "a run that was trained with calibrate=true" if odds is None else "a critic that sees no groups (group=0)"
        )
        raise Unsupported(f"candidates need {mend}: pass candidates=1")
    first = logits(x)
    if len(first) != len(x):
        raise Unsupported("candidates need a critic of whole items, and this one judges patches: pass candidates=1")
    best = odds.scale * first + _gumbel(generator)
    for _ in range(count - 1):
        other = draw()
        score = odds.scale * logits(other) + _gumbel(generator)
        better = score > best
        x = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), other, x)
        best = torch.maximum(score, best)
    return x


def _gumbel(generator: Streams) -> Float[Tensor, "n"]:
    return -(-generator.uniform(1)[:, 0].log()).log()
