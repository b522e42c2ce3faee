"""log p of rows of which cells are missing, and of images of which pixels are: that of what is known, where the model
answers for any subset.

A missing cell is a value of its own where training rows had missing cells in its column, and is scored as one. In other
columns it cannot occur, so that a row with it has probability zero; but a model of any subset (`Marginal`)
knows the density of what is there, the rest integrated out, and that is what a user means.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.conditioned import given
from pofx.core.errors import DataError, Unsupported
from pofx.core.event import each, select
from pofx.core.model import Factored, Marginal, Model, X
from pofx.core.progress import blocks
from pofx.core.random import Streams
from pofx.partial import unknown_cells
from pofx.parts import Parts
from pofx.represent.image import Binary, Dequantised, ImageView, Levels, without_gaps
from pofx.represent.table import Columns
from pofx.represent.table_bins import Bins
from pofx.represent.table_heads import Heads


@torch.inference_mode()
def known_cells(
    run: Parts, values: object, condition: X | None, reasons: Mapping[int, str], draws: int
) -> dict[int, float]:
    """log p of the known cells of rows that are impossible only for their missing ones, by row; of dequantised columns
    the mean over `draws` noises inside the logarithm."""
    view, model = run.representation, run.model
    if not reasons or not isinstance(values, pd.DataFrame) or not _answers(model):
        return {}
    if not isinstance(view, Columns | Bins | Heads):
        return {}
    frame = values[[c for c in view.columns if c in values.columns]]
    gaps = unknown_cells(frame, view)
    found: dict[int, float] = {}
    for pattern in {gaps[row].tobytes() for row in reasons if gaps[row].any()}:
        rows = [row for row in reasons if gaps[row].tobytes() == pattern]
        there = frame.columns[~gaps[rows[0]]]
        possible = view.impossible(_filled(frame.iloc[rows], view))
        rows = [row for i, row in enumerate(rows) if i not in possible]
        if not rows:
            continue
        if not len(there):
            found |= dict.fromkeys(rows, 0.0)
            continue
        try:
            known = view.known(frame.iloc[rows][list(there)])
        except DataError:
            continue
        own = None if condition is None else select(condition, torch.tensor(rows))
        logs = []
        for k in range(draws if view.noisy else 1):
            x, dims, ladj = view.known_event(known, Streams.of_items(k, known.raw))
            x, dims = (each(part, lambda v: v.to(run.device)) for part in (x, dims))
            found_here = _marginal(model, x, dims, own)
            if found_here is None:
                break
            logs.append(found_here.double().cpu() + ladj.cpu())
        if not logs:
            continue
        value: Tensor = torch.stack(logs).logsumexp(0) - np.log(len(logs))
        found |= dict(zip(rows, value.tolist(), strict=True))
    return found


@torch.inference_mode()
def known_pixels(run: Parts, values: object, condition: object, draws: int, batch_size: int) -> np.ndarray | None:
    """log p of the known pixels of images with gaps (masked, NaN or -1), of real views the mean over `draws` noises
    inside the logarithm: float64 (n,); None where there are no gaps.

    Raises:
        Unsupported: the model or the view has no density of some pixels.
    """
    view, model = run.representation, run.model
    if not isinstance(view, ImageView) or without_gaps(values)[1] is None:
        return None
    real = view if isinstance(view, Dequantised) and not view.half else None
    grey = isinstance(view, Levels) or (isinstance(view, Binary) and view.binarise == "threshold")
    if not (grey or real is not None) or not _answers(model):
        raise Unsupported(
            f"{run.name} knows no log p of some pixels seen as {view.name}: choose circuit, vae, masked-diffusion or "
            "gmm"
        )
    events = view.partial(view.as_batch(values)) if real is not None else view.prefix(view.as_batch(values))
    stated, found = given(run, condition, len(events)), []
    for at in blocks(len(events), batch_size):
        part = events[at].to(run.device)
        own = None if stated is None else select(stated, at)
        logs = []
        for k in range(1 if real is None else draws):
            x, known, ladj = part.clamp(min=0), part >= 0, torch.zeros(len(part))
            if real is not None:
                x, known, ladj = real.known_event(part, Streams.of_items(k, part))
            each_of = _marginal(model, x, known, own)
            if each_of is None:
                raise Unsupported(
                    f"{run.name} knows log p of the first pixels alone: choose circuit, vae or masked-diffusion"
                )
            logs.append(each_of.double().cpu() + ladj.double().cpu())
        found.append(torch.stack(logs).logsumexp(0) - np.log(len(logs)))
    return torch.cat(found).numpy()  # type: ignore[no-any-return]


def _answers(model: Model) -> bool:
    """Whether a model knows log p of some subset at least: of any, or of what comes first in its order."""
    return isinstance(model, Marginal) or isinstance(model, Factored) and model.in_order


def _marginal(model: Model, x: X, known: X, condition: X | None) -> Tensor | None:
    """log p of the known dimensions; None where the model does not know it."""
    if isinstance(model, Marginal):
        return model.log_marginal(x, known, condition)
    if not isinstance(model, Factored) or not isinstance(x, Tensor) or not isinstance(known, Tensor):
        return None
    there = known.expand_as(x).flatten(1)
    if bool((there[:, 1:] & ~there[:, :-1]).any()):
        return None
    return (model.log_prob_terms(x, condition).flatten(1) * there).sum(1)


def _filled(frame: pd.DataFrame, view: Columns | Bins | Heads) -> pd.DataFrame:
    """Rows with a possible value in every gap."""
    dims = view.width if isinstance(view, Columns) else None
    zero = torch.zeros(1, dims) if dims is not None else view._typical if isinstance(view, Heads) else None
    if zero is None:
        zero = torch.zeros(1, *view.event.shape, dtype=torch.int64)  # type: ignore[union-attr]
    usual = view.items(view.decode(zero))  # type: ignore[arg-type]
    full = frame.copy()
    for column in frame.columns[frame.isna().any()]:
        full[column] = frame[column].astype(object).where(frame[column].notna(), usual[column].iloc[0]).infer_objects()
    return full
