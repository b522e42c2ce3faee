"""Codes of items of which a part is known, by a model p(z) of the discrete codes of another: a Metropolis chain.

It begins at the encoder's codes of items filled up by draws. Each move draws the codes of some places anew from p(z)
given the others, and is accepted by p(known | z), times the ratio of what a model in one order did not foresee: the
chain's law is p(z | known) (Hastings, 1970). Places are moved as often as their codes depend on what is unknown, which
is tried on draws of the model under the same mask. Where few moves are accepted, draws are rough, which is warned of.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.event import Discrete, select
from pofx.core.generative import Emitting, Forcing
from pofx.core.model import Infilling, Model, X
from pofx.core.random import Joined, Streams
from pofx.represent.image import ImageView
from pofx.represent.learned import Learned

BEGUN = 4  # items filled up, of whose codes the most probable ones begin a chain
ROUNDS = 24  # moves
PROBES = 6  # draws by which places are tried
SELDOM = 0.02  # how often a place is moved at least
FEW = 3.0  # accepted moves, below which draws are rough


def knows_codes(model: Model, view: Any) -> bool:
    """Whether a run draws codes of pictures given some of their pixels."""
    return (
        isinstance(view, Learned)
        and isinstance(view.inner, ImageView)
        and isinstance(view.event, Discrete)
        and isinstance(view.first, Emitting)
        and isinstance(view.first.event, Discrete)
        and isinstance(model, Forcing | Infilling)
    )


@dataclass
class GivenCodes:
    """What is known of n pictures, for a model of their codes: classes, -1 where unknown, in the shape of events."""

    name: str
    model: Model
    view: Learned
    parts: Tensor

    @classmethod
    def of(cls, name: str, model: Model, view: Learned, values: Any, device: torch.device) -> "GivenCodes":
        """Pictures with gaps, or their first rows.

        Raises:
            Unsupported: a model or codes of another kind.
        """
        if not knows_codes(model, view):
            raise Unsupported(
                f"{name} draws whole items: choose a model of discrete codes of pictures (gpt, masked-diffusion), or "
                "draw the unknown part by `pofx edit` or `pofx restore`"
            )
        return cls(name, model, view, view.inner.prefix(values).to(device))

    def sample(self, at: slice, condition: X | None, generator: Streams) -> Tensor:
        """Codes of the pictures at these positions."""
        parts = self.parts[at]
        found, moves = torch.empty(0), []
        for mask in (parts >= 0).unique(dim=0):
            rows = ((parts >= 0) == mask).flatten(1).all(1).nonzero()[:, 0]
            given = None if condition is None else select(condition, rows)
            z, accepted = self._drawn(parts[rows], mask, given, _streams(generator, rows))
            found = found if len(found) else z.new_zeros(len(parts), *z.shape[1:])
            found[rows] = z
            moves.append(accepted)
        median = float(torch.cat(moves).median())
        if median < FEW:
            warnings.warn(
                f"{median:.0f} of {ROUNDS} moves were accepted for the median picture: draws of {self.name} given this "
                "are rough",
                RuntimeWarning,
                stacklevel=6,
            )
        return found

    def _drawn(self, x: Tensor, mask: Tensor, condition: X | None, generator: Streams) -> tuple[Tensor, Tensor]:
        """Codes given pictures that are all known under one mask, and how many moves of each were accepted."""
        first, n, known = self.view.first, len(x), mask.expand(x.shape)
        own = condition if self.view.conditioned else None
        assert isinstance(first, Emitting)
        x = x.clamp(min=0)
        begun, logs = [], []
        for _ in range(BEGUN):
            free = first.draw_given(self._codes(n, condition, generator), own, generator=generator)
            begun.append(first.encode(torch.where(known, x, free), own))
            logs.append(first.log_given(x, begun[-1], own, known=known))
        rows = torch.arange(n, device=x.device)
        best = torch.stack(logs, 1).argmax(1)
        z, fit = torch.stack(begun, 1)[rows, best], torch.stack(logs, 1)[rows, best]
        often, accepted = self._reached(mask, condition, z), torch.zeros(n, device=x.device)
        for _ in range(ROUNDS):
            share, u = generator.uniform(1 + often.numel()).tensor_split((1,), 1)
            moved = (u < often.flatten() * share).reshape(z.shape)
            other, gain = self._redrawn(z, moved, condition, generator)
            there = first.log_given(x, other, own, known=known)
            yes = generator.uniform().log() < gain + there - fit
            z = torch.where(yes.reshape(-1, *[1] * (z.ndim - 1)), other, z)
            fit, accepted = torch.where(yes, there, fit), accepted + (yes & moved.flatten(1).any(1))
        return z, accepted

    def _codes(self, n: int, condition: X | None, generator: Streams) -> Tensor:
        return self.model.sample(n, condition, generator=generator)  # type: ignore[no-any-return]

    def _reached(self, mask: Tensor, condition: X | None, z: Tensor) -> Tensor:
        """How often the code of a place depends on what is unknown, of the shape of a code: on draws of the model whose
        unknown pixels are those of each other."""
        if condition is not None:  # draws would depend on that of another item
            return torch.full(z.shape[1:], 0.5, device=z.device)
        first, streams = self.view.first, Streams(0, PROBES, device=z.device)
        assert isinstance(first, Emitting)
        probes = first.draw_given(self._codes(PROBES, None, streams), generator=streams)
        base = first.encode(probes)
        changed = [first.encode(torch.where(mask, probes, probes.roll(k, 0))) != base for k in range(1, PROBES)]
        return torch.cat(changed).float().mean(0).clamp(min=SELDOM)

    def _redrawn(self, z: Tensor, moved: Tensor, condition: X | None, streams: Streams) -> tuple[Tensor, Tensor]:
        """Codes whose moved places the model draws anew given the others, and by what log p gains over the proposal."""
        if isinstance(self.model, Infilling):
            return self.model.complete(z, ~moved, condition, generator=streams), torch.zeros(len(z), device=z.device)
        assert isinstance(self.model, Forcing)
        other = self.model.forced(len(z), condition, generator=streams, known=z.masked_fill(moved, -1))
        before, after = (self.model.log_prob_terms(v, condition).masked_fill(moved, 0.0) for v in (z, other))
        return other, (after - before).flatten(1).sum(1)

    def kept(self, raw: Tensor, at: slice) -> Tensor:
        """Raw pictures with their known levels."""
        parts = self.parts[at].to(raw.device)
        return torch.where(parts >= 0, self.view.inner.decode(parts.clamp(min=0)).to(raw.dtype), raw)


def _streams(generator: Streams, rows: Tensor) -> Streams:
    """The streams of some items."""
    return generator if len(rows) == len(generator) else Joined([generator[i : i + 1] for i in rows.tolist()])
