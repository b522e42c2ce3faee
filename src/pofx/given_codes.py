"""Codes of items of which a part is known, by a model of the discrete codes of another: sampling-importance resampling.

The encoder states the code of a place where nothing unknown reaches it, which is tried on draws of the model under the
same mask. The model draws the other codes given these; of several candidates one is chosen by the weight p(known | z)
(Rubin, 1988), times that of the codes that a model in one order did not foresee. Exact with many candidates, up to what
the encoder's own codes leave out; the effective sample size states how many count, and few are warned of.
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
from pofx.maths.distributions import categorical_draw
from pofx.represent.image import ImageView
from pofx.represent.learned import Learned

CANDIDATES = 24
PROBES = 6  # draws, each under the mask on all others, by which places are tried
FEW = 2.0  # candidates that count, below which draws are rough


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
        found, effective = torch.empty(0), []
        for mask in (parts >= 0).unique(dim=0):
            rows = ((parts >= 0) == mask).flatten(1).all(1).nonzero()[:, 0]
            given = None if condition is None else select(condition, rows)
            z, ess = self._drawn(parts[rows], mask, given, _streams(generator, rows))
            found = z.new_zeros(len(parts), *z.shape[1:]) if not len(found) else found
            found[rows] = z
            effective.append(ess)
        ess = torch.cat(effective)
        if float(ess.median()) < FEW:
            warnings.warn(
                f"{float(ess.median()):.1f} of {CANDIDATES} candidates count for the median picture (effective sample "
                f"size), so that draws of {self.name} given so little or so much are rough",
                RuntimeWarning,
                stacklevel=6,
            )
        return found

    def _drawn(self, x: Tensor, mask: Tensor, condition: X | None, generator: Streams) -> tuple[Tensor, Tensor]:
        """Codes given pictures that are all known under one mask, and how many candidates count for each."""
        first, n, known = self.view.first, len(x), mask.expand(x.shape)
        own = condition if self.view.conditioned else None
        assert isinstance(first, Emitting)
        full = torch.where(known, x, first.draw_given(self._codes(n, condition, generator), own, generator=generator))
        z = first.encode(full, own)
        places = self._places(mask, condition, z)
        candidates, logs = [], []
        for _ in range(CANDIDATES):
            drawn, log_w = self._given(z, places, condition, generator)
            candidates.append(drawn)
            logs.append(log_w + first.log_given(x.clamp(min=0), drawn, own, known=known).double())
        log_w = torch.stack(logs, 1)
        share = log_w.softmax(1)
        pick = categorical_draw(log_w, generator.uniform())
        return torch.stack(candidates, 1)[torch.arange(n, device=pick.device), pick], 1 / share.square().sum(1)

    def _codes(self, n: int, condition: X | None, generator: Streams) -> Tensor:
        return self.model.sample(n, condition, generator=generator)  # type: ignore[no-any-return]

    def _places(self, mask: Tensor, condition: X | None, z: Tensor) -> Tensor:
        """The places whose codes are the same whatever is unknown: bool of the shape of a code."""
        first = self.view.first
        streams = Streams(0, PROBES, device=z.device)
        of = None if condition is None else select(condition, torch.zeros(PROBES, dtype=torch.int64, device=z.device))
        own = of if self.view.conditioned else None
        assert isinstance(first, Emitting)
        probes = first.draw_given(self._codes(PROBES, of, streams), own, generator=streams)
        base = first.encode(probes, own)
        same = torch.ones(z.shape[1:], dtype=torch.bool, device=z.device)
        for k in range(1, PROBES):
            same &= (first.encode(torch.where(mask, probes, probes.roll(k, 0)), own) == base).all(0)
        return same

    def _given(self, z: Tensor, places: Tensor, condition: X | None, streams: Streams) -> tuple[Tensor, Tensor]:
        """Draws of the codes of the other places, and the logarithms of the weights that they owe to the model."""
        n, none = len(z), z.new_zeros(len(z), dtype=torch.float64)
        if not bool(places.any()):
            return self._codes(n, condition, streams), none
        if isinstance(self.model, Infilling):
            return self.model.complete(z, places.expand(z.shape), condition, generator=streams), none
        assert isinstance(self.model, Forcing)
        drawn = self.model.forced(n, condition, generator=streams, known=z.masked_fill(~places, -1))
        terms = self.model.log_prob_terms(drawn, condition).double()
        return drawn, torch.where(places, terms, 0.0).flatten(1).sum(1)

    def kept(self, raw: Tensor, at: slice) -> Tensor:
        """Raw pictures with their known levels."""
        parts = self.parts[at].to(raw.device)
        return torch.where(parts >= 0, self.view.inner.decode(parts.clamp(min=0)).to(raw.dtype), raw)


def _streams(generator: Streams, rows: Tensor) -> Streams:
    """The streams of some items."""
    return generator if len(rows) == len(generator) else Joined([generator[i : i + 1] for i in rows.tolist()])
