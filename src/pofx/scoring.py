"""log p of items in data space, with its kind, unit, measure and error.

Where the representation draws noise, several draws are averaged inside the logarithm: an importance-weighted bound
(Burda et al., 2016, arXiv 1509.00519). Noise is a function of the item, so equal items score equally.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pofx import summary
from pofx.conditioned import apart, given, repeated
from pofx.core.errors import Unsupported
from pofx.core.event import count, each, select
from pofx.core.generative import Smoothed
from pofx.core.model import Density, Explicit, Factored, Weighted, X
from pofx.core.progress import blocks
from pofx.core.random import Streams
from pofx.incomplete import known_cells, known_pixels
from pofx.maths.dequantisation import REACH, truncated_normal
from pofx.parts import Parts

PUBLIC = ("Score",)

EDGE = 2.0**-20  # of noise, from its ends
FAR = 1e4  # standardised units from which on a log p that is not a number is one that underflowed


@dataclass(frozen=True, repr=False)
class Score:
    """log p of each item with its kind: value[i] in `unit` under `measure`, ± stderr[i] where it is estimated."""

    value: np.ndarray
    density: Density
    unit: str
    measure: str
    stderr: np.ndarray | None
    evaluations: int  # of the model's log_prob per item
    reasons: Mapping[int, str] = field(default_factory=dict)  # of items with probability zero (-inf), by their number
    importance: int | None = None  # importance samples of each evaluation
    effective: np.ndarray | None = None  # how many of them count, for each item (Kong, 1992)
    passes: int = 1  # of the network in each evaluation, for the slowest item
    note: str = ""  # of the model, on how its values are to be read

    def __repr__(self) -> str:
        return f"<Score: {summary.score_line(self)}>"

    def _repr_html_(self) -> str:
        return summary.score_html(self)


def score(run: Parts, values: Any, condition: Any, draws: int, batch_size: int) -> Score:
    """As `Artifact.score`."""
    if not isinstance(run.model, Explicit) or run.density is Density.NONE:
        why = run.representation.no_density if isinstance(run.model, Explicit) else ""
        why = f" ({why})" if why else ""
        raise Unsupported(f"{run.name} has no density here{why}: compare its samples with `pofx evaluate`")
    values, condition = apart(run, values, condition)
    marginal = known_pixels(run, values, condition, draws, batch_size)
    if marginal is not None:
        exact = run.density is Density.EXACT
        return Score(marginal, run.density, run.representation.unit, run.representation.measure,
                     None if exact else np.full(len(marginal), np.nan), 1)  # fmt: skip
    raw, impossible = run.representation.tensor(values), dict(run.representation.impossible(values))
    stated, places = given(run, condition, count(raw)), counted(run, values)
    note = run.representation.unfamiliar(raw)
    if note:
        warnings.warn(note, stacklevel=4)
    log_prob = _truncated if run.representation.half else _log_prob
    draws = draws if run.representation.volume is Density.BOUND and run.representation.noisy else 1
    logs, errors, far, passes = [], [], [], 1
    for at in blocks(count(raw), batch_size):
        part = each(select(raw, at), lambda v: v.to(run.device))
        c = None if stated is None else select(stated, at)
        of = None if places is None else places[at].to(run.device)
        found = []
        for streams in repeated(part, draws):
            found.append(log_prob(run, part, c, of, streams))
            passes = max(passes, run.model.log_prob_evaluations())
        logs.append(torch.stack([log_p for log_p, _, _ in found]).cpu())
        errors.append(torch.stack([error for _, error, _ in found]).cpu())
        far.append(torch.stack([beyond for _, _, beyond in found]).any(0).cpu())
    log_w, error, beyond = torch.cat(logs, 1), torch.cat(errors, 1), torch.cat(far)
    for row in beyond.nonzero()[:, 0].tolist():
        impossible.setdefault(row, "it is too far from the training items for the arithmetic")
    value = log_w.logsumexp(0) - np.log(draws)
    partial = known_cells(run, values, stated, impossible, draws)
    for row in partial:
        del impossible[row]
    value[list(impossible)] = -torch.inf
    value[list(partial)] = torch.tensor(list(partial.values()), dtype=value.dtype)
    share = (log_w - value).nan_to_num(-torch.inf).exp() / draws  # of each draw in the mean
    variance = (share * error).square().sum(0)  # delta method on the log of a mean, draws independent
    if draws > 1:
        variance = variance + draws * share.var(0)
    variance = variance + float(run.model.log_prob_error() or 0.0) ** 2
    exact = draws == 1 and not bool(error.any()) and run.model.log_prob_error() is None
    return Score(
        value=value.numpy(),
        density=run.density,
        unit=run.representation.unit,
        measure=run.representation.measure,
        stderr=None if exact else variance.sqrt().numpy(),
        evaluations=draws,
        reasons=dict(sorted(impossible.items())),
        importance=run.model.importance if isinstance(run.model, Weighted) else None,
        effective=_effective(run.model.importance, error).numpy() if isinstance(run.model, Weighted) else None,
        passes=passes,
        note=run.model.log_prob_note(),
    )


def _effective(k: int, error: Tensor) -> Tensor:
    """(Σ w)² / Σ w² of K importance weights, from the standard error of the log of their mean, in every draw; its mean
    over draws: (draws, n) → (n,)."""
    if k == 1:
        return torch.ones(error.shape[1], dtype=torch.float64)
    return (k / (1 + (k - 1) * error.square())).mean(0)


def _log_prob(
    run: Parts, raw: Tensor, condition: X | None, places: Tensor | None, streams: Streams
) -> tuple[Tensor, Tensor, Tensor]:
    """log p of raw items under one noise, its standard error, and which items are beyond the arithmetic: (n,)."""
    assert isinstance(run.model, Explicit)
    x, ladj = run.representation.under(condition).encode(raw, streams)
    size = _largest(x, count(raw)).to(ladj.device)
    x = each(x, lambda v: v.nan_to_num(0.0, 0.0, 0.0) if v.is_floating_point() else v)
    if places is None:
        log_p, error = run.model.log_prob_estimate(x, condition)
    else:
        assert isinstance(run.model, Factored)
        terms, error = run.model.log_prob_terms(x, condition), None
        log_p = torch.where(places, terms, 0.0).flatten(1).sum(1)
    beyond = ~size.isfinite() | (log_p.isnan() & (size > FAR))
    value = torch.where(beyond, -torch.inf, log_p.double() + ladj.double())
    return value, torch.zeros_like(value) if error is None else error.double(), beyond


def _truncated(
    run: Parts, raw: Tensor, condition: X | None, places: Tensor | None, streams: Streams
) -> tuple[Tensor, Tensor, Tensor]:
    """As `_log_prob`, with levels made real by truncated normal noise, of which the model knows the density."""
    model, half = run.model, run.representation.half
    assert isinstance(model, Smoothed)
    middle, ladj = run.representation.under(condition).encode(raw, streams)
    noise = float((half / (REACH * model.spread)).min())
    scale = noise * model.spread
    u = streams.uniform(*middle.shape[1:]).clamp(EDGE, 1 - EDGE)
    epsilon, log_q = truncated_normal(u, half / scale)
    log_q = log_q - scale.log().expand(middle.shape[1:]).sum()
    log_p, error = model.log_prob_smoothed(middle + scale * epsilon, noise, condition)
    value = log_p.double() - log_q.double() + ladj.double()
    beyond = torch.zeros_like(value, dtype=torch.bool)
    return value, torch.zeros_like(value) if error is None else error.double(), beyond


def counted(run: Parts, values: Any) -> Tensor | None:
    """Which places of the events are the items, where they have others before or behind them; None for all.

    Raises:
        Unsupported: the model has no density of a part of an event given the text before it.
    """
    places = run.representation.counted(values)
    if places is not None and not (isinstance(run.model, Factored) and run.model.in_order):
        raise Unsupported(
            f"{run.name} cannot score a part of a running text given the text before it: train an "
            "autoregressive model in the natural order, or give texts a line an item"
        )
    return places


def _largest(x: X, n: int) -> Tensor:
    """The greatest absolute value of the real parts of each event: (n,)."""
    if isinstance(x, dict):
        return torch.stack([_largest(part, n) for part in x.values()]).amax(0)
    return x.abs().double().reshape(n, -1).amax(1) if x.is_floating_point() else x.new_zeros(n).double()
