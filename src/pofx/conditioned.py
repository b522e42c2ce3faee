"""Items with their conditions, from data space to what a model takes: events on its device, batch by batch.

A condition is one for all items or one per item. Where items are given, theirs must be given too; drawn ones would be
those of other items.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import count, each, select
from pofx.core.items import Items
from pofx.core.model import X
from pofx.core.progress import blocks
from pofx.core.random import Still, Streams
from pofx.data.conditions import LABEL
from pofx.data.foreign import as_frame
from pofx.data.in_memory import is_data_set
from pofx.data.kind import kind_of, named
from pofx.data.sources import whole
from pofx.parts import Parts


def raw_condition(run: Parts, condition: Any, n: int, seed: int | None) -> Tensor | None:
    """Conditions in data space → raw, n of them; without a seed they must be given."""
    if run.conditioning is None:
        if condition is not None:
            raise Unsupported(f"{run.name} was trained without a condition: omit it, or train with --condition")
        return None
    if isinstance(condition, Items):
        condition = condition.values
    if condition is None:
        drawn = None if seed is None else run.conditioning.draw(Streams(seed + (1 << 40), n))
        if drawn is None:
            raise Unsupported(
                f"{run.name} was trained with a condition: give one per item, by --condition or condition="
            )
        return drawn
    raw = run.conditioning.tensor(run.conditioning.as_batch(condition))
    if count(raw) not in (1, n):
        raise DataError(f"n must equal len(condition): n is {n}, the condition has {count(raw)}")
    note = run.conditioning.unfamiliar(raw)
    if note:
        warnings.warn(note, stacklevel=4)
    return raw if count(raw) == n else each(raw, lambda v: v.expand(n, *v.shape[1:]))  # type: ignore[no-any-return]


def condition_events(run: Parts, raw: Tensor | None) -> X | None:
    """Raw conditions as the model takes them, on its device."""
    if raw is None or run.conditioning is None:
        return None
    raw = each(raw, lambda v: v.to(run.device))
    found, _ = run.conditioning.encode(raw, Still(0, count(raw), device=run.device))
    run.model.check_condition(count(raw), found)
    return found


def given(run: Parts, condition: Any, n: int) -> X | None:
    """The conditions of given items as events, which must be stated."""
    return condition_events(run, raw_condition(run, condition, n, None))


def apart(run: Parts, values: Any, condition: Any) -> tuple[Any, Any]:
    """Items and their conditions, which may be columns of a table or of a data set, or part of `Items`."""
    if is_data_set(values):
        wanted = (run.condition_columns or LABEL) if condition is None and run.conditioning is not None else None
        items = whole(values, condition=None if named(run.representation.kind).columnar else wanted)
        values = items if not kind_of(items).columnar else items.values
    if isinstance(values, Items):
        check_kind(run, values)
        if condition is None and run.conditioning is not None:
            condition = values.condition
        values = values.values
    if named(run.representation.kind).columnar:
        values = rows_of(values)
    if run.conditioning is None or not run.condition_columns:
        return values, condition
    values, inside = named(run.representation.kind).without_columns(values, run.condition_columns)
    return values, inside if condition is None else condition


def rows_of(values: Any) -> Any:
    """A row as a Series or a mapping, a list of such, or a mapping of columns, as a DataFrame; others as they are."""
    if isinstance(values, list | tuple) and values and all(isinstance(row, Mapping) for row in values):
        return pd.DataFrame(list(values))
    if isinstance(values, pd.Series) and values.index.inferred_type == "string":
        return pd.DataFrame([values.to_dict()])
    if isinstance(values, Mapping) and values and all(isinstance(name, str) for name in values):
        one = all(np.ndim(value) == 0 for value in values.values())
        return pd.DataFrame([dict(values)]) if one else pd.DataFrame(dict(values))
    structured = isinstance(values, np.ndarray) and bool(values.dtype.names)
    foreign = structured or not isinstance(values, np.ndarray | pd.Series | pd.DataFrame | Mapping | list | tuple)
    found = as_frame(values) if foreign else None
    return values if found is None else found


def check_kind(run: Parts, items: Items) -> None:
    """Refuse items of a kind that the run does not model: texts for pictures, rows for texts.

    Raises:
        DataError: they are; rows and points, and molecules and texts, are alike.
    """
    theirs, own = named(items.kind), named(run.representation.kind)
    data = run.card.get("data") if isinstance(run.card, Mapping) else None
    modelled = {*own.names, data.get("kind") if isinstance(data, Mapping) else None}
    if not modelled & set(theirs.names) and not (theirs.columnar and own.columnar):
        raise DataError(f"{run.name} models {own.name} items, these are {theirs.name} items: give data of its kind")


def events(
    run: Parts, values: Any, condition: Any, batch_size: int, conditional: bool = True
) -> Iterator[tuple[X, X | None]]:
    """Items batch by batch as events on the model's device, with their stated conditions where it is `conditional`.

    Raises:
        DataError: an item that cannot occur, whose event would be that of another one.
    """
    for row, reason in run.representation.impossible(values).items():
        raise DataError(f"row {row} cannot occur: {reason}; leave it out")
    raw = run.representation.tensor(values)
    stated = given(run, condition, count(raw)) if conditional else None
    for at in blocks(count(raw), batch_size):
        part = each(select(raw, at), lambda v: v.to(run.device))
        c = None if stated is None else select(stated, at)
        yield run.representation.under(c).events(part, next(repeated(part, 1))), c


def pictures_of_codes(run: Parts, codes: np.ndarray) -> Items:
    """Codes (n, channels, H, W) that are events of the condition's kind, as pictures: B to A of a translation.

    Raises:
        UsageError: they are not.
    """
    view = run.conditioning
    if view is None or not named(view.kind).pictorial or getattr(run.model, "code", None) != view.event:
        raise UsageError(f"codes of {run.name} are no pictures: pass --out codes.npz")
    return Items(view.kind, view.items(view.decode(torch.from_numpy(codes).clamp(-1, 1))))


def repeated(raw: Tensor, draws: int) -> Iterator[Streams]:
    """Streams keyed by the items, which continue from draw to draw."""
    streams = Streams.of_items(1, raw)
    for _ in range(draws):
        yield streams


def warn_of_failure(run: Parts) -> None:
    training = run.card.get("training")
    failed = training.get("failed") if isinstance(training, Mapping) else None
    if failed:
        warnings.warn(f"the training of this run failed: {failed}", stacklevel=4)
