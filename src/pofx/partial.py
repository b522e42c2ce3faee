"""Drawing the rest of items of which a part is known: the beginnings of texts and images, columns of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import concatenated, count, each, select
from pofx.core.generative import Within
from pofx.core.model import Completing, Infilling, Model, X
from pofx.core.random import Joined, Streams
from pofx.core.representation import Representation
from pofx.given_codes import GivenCodes
from pofx.represent.image import Dequantised, ImageView
from pofx.represent.learned import Learned
from pofx.represent.partial import ABSENT, Known, check_range, known_frame
from pofx.represent.table import Columns
from pofx.represent.table_bins import Bins
from pofx.represent.table_heads import Heads


@dataclass(frozen=True)
class Partial:
    """What is known of n items as a model takes it: classes with -1 elsewhere, or intervals; nothing where all None."""

    model: Model
    classes: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None
    rows: Known | None = None  # whose values come back as they are
    parts: tuple[X, X] | None = None  # values of a product event, and which of its dimensions are known
    codes: GivenCodes | None = None  # parts of items whose codes the model draws
    groups: tuple[tuple[Tensor, "Partial"], ...] = ()  # numbers of items, and what is known of these, by its columns

    @classmethod
    def of(
        cls,
        name: str,
        model: Model,
        view: Representation,
        prefix: Any,
        given: Any,
        n: int,
        device: torch.device,
    ) -> "Partial":
        """The known parts of n items: a prefix, or columns by name.

        Raises:
            Unsupported: the model cannot complete such a part.
            DataError: neither one item nor n of them.
        """
        if prefix is None and given is None:
            return cls(model)
        prefix, given = known_of(view, prefix, given)
        if prefix is not None:
            if isinstance(view, Dequantised) and isinstance(model, Within):
                low, high = (_all(v, n, "prefix").to(device) for v in view.intervals(view.partial(prefix)))
                return cls(model, None, low, high)
            if isinstance(view, Learned):
                codes = GivenCodes.of(name, model, view, prefix, device)
                return cls(model, codes=replace(codes, parts=_all(codes.parts, n, "prefix")))
            if not isinstance(model, Completing | Infilling):
                raise cannot_complete(name, view)
            return cls(model, _all(view.prefix(prefix), n, "prefix").to(device))
        assert isinstance(view, Columns | Bins | Heads)
        frame = known_frame(given)
        gaps = unknown_cells(frame, view)
        if gaps.any():
            return cls._of_gaps(name, model, view, frame, gaps, n, device)
        known = view.known(frame)
        check_range(known, view.varying, view.about if isinstance(view, Columns) else view.schema)
        rows = Known(_all(known.raw, n, "given").to(device), known.columns.to(device))
        if isinstance(view, Heads):
            if not isinstance(model, Infilling):
                raise Unsupported(f"{name} draws whole rows: choose vae, circuit or copula")
            events = view.known_parts(known)
            x, there = (each(v, lambda part: _all(part, n, "given").to(device)) for v in events)
            return cls(model, rows=rows, parts=(x, there))
        if isinstance(view, Columns):
            if not isinstance(model, Within) and isinstance(model, Infilling):
                every = Known(rows.raw.cpu(), known.columns)
                x, there, _ = view.known_event(every, Streams(0, n))
                return cls(model, rows=rows, parts=(x.to(device), there.to(device)))
            if not isinstance(model, Within):
                raise Unsupported(
                    f"{name} draws whole rows: choose circuit, copula or gmm, or made with -o leading=COLUMNS"
                )
            low, high = (_all(v, n, "given").to(device) for v in view.known_intervals(known))
            return cls(model, None, low, high, rows)
        if not isinstance(model, Infilling):
            columns = [c for c, there in zip(view.varying, known.columns.tolist(), strict=True) if there]
            if not isinstance(model, Completing):
                raise Unsupported(f"{name} draws whole rows: choose circuit, copula, made, nade or gpt")
            if set(columns) != set(view.varying[: len(columns)]):
                raise Unsupported(
                    f"{name} draws {', '.join(view.varying[:4])}, … in this order, given what comes first: choose "
                    f"circuit or copula, or train with -o leading={','.join(columns)}"
                )
        return cls(model, _all(view.known_classes(known), n, "given").to(device), rows=rows)

    @classmethod
    def _of_gaps(
        cls,
        name: str,
        model: Model,
        view: Columns | Bins | Heads,
        frame: pd.DataFrame,
        gaps: np.ndarray,
        n: int,
        device: torch.device,
    ) -> "Partial":
        """What is known of rows with gaps, of which other columns are known in each."""
        if len(frame) not in (1, n):
            raise DataError(f"given must be one partial item or n of them (got {len(frame)} for n = {n})")
        found = []
        for pattern in np.unique(gaps, axis=0):
            rows = np.flatnonzero((gaps == pattern).all(1))
            own = frame.iloc[rows].loc[:, ~pattern]
            own.attrs = {}
            if len(frame) == 1:
                rows = np.arange(n)
            part = cls(model) if not own.shape[1] else cls.of(name, model, view, None, own, len(rows), device)
            found.append((torch.from_numpy(rows), part))
        return found[0][1] if len(found) == 1 else cls(model, groups=tuple(found))

    def _by_group(self, at: slice, n: int) -> Iterator[tuple[Tensor, slice, "Partial"]]:
        """Of the items at these positions: their numbers among these, their positions in their group, and the group."""
        for rows, part in self.groups:
            first, last = (int(torch.searchsorted(rows, torch.tensor(end))) for end in (at.start, at.start + n))
            if last > first:
                yield rows[first:last] - at.start, slice(first, last), part

    def sample(self, at: slice, condition: X | None, generator: Streams, options: Mapping[str, Any]) -> X:
        """The events at these positions."""
        n = len(generator)
        if self.groups:
            drawn, numbers = [], []
            for rows, own, part in self._by_group(at, n):
                streams = Joined([generator[i : i + 1] for i in rows.tolist()])
                given = None if condition is None else select(condition, rows)
                drawn.append(part.sample(own, given, streams, options))
                numbers.append(rows)
            return select(concatenated(drawn), torch.cat(numbers).argsort())
        if self.codes is not None:
            return self.codes.sample(at, condition, generator)
        if self.parts is not None:
            assert isinstance(self.model, Infilling)
            x, known = (select(part, at) for part in self.parts)
            return self.model.complete(x, known, condition, generator=generator)
        if self.low is not None and self.high is not None:
            assert isinstance(self.model, Within)
            return self.model.sample(n, condition, generator=generator, low=self.low[at], high=self.high[at])
        if self.classes is None:
            return self.model.sample(n, condition, generator=generator, **options)
        known = self.classes[at]
        if isinstance(self.model, Infilling) and (self.rows is not None or not isinstance(self.model, Completing)):
            return self.model.complete(known.clamp(min=0), known >= 0, condition, generator=generator)
        assert isinstance(self.model, Completing)
        return self.model.sample(n, condition, generator=generator, prefix=known, **options)

    def kept(self, raw: Any, at: slice) -> Any:
        """Raw items with their known values."""
        for rows, own, part in self._by_group(at, len(raw) if self.groups else 0):
            raw[rows] = part.kept(raw[rows], own)
        if self.codes is not None:
            return self.codes.kept(raw, at)
        if self.rows is None:
            return raw
        known = self.rows.raw[at].to(raw.device)
        return torch.where(self.rows.columns.to(raw.device), known, raw)


def unknown_cells(frame: pd.DataFrame, view: Columns | Bins | Heads) -> np.ndarray:
    """Which cells of known rows are unknown: missing ones of columns in which none was missing in training, bool in the
    shape of the frame. In other columns a missing value is one of the values."""
    about = view.about if isinstance(view, Columns) else view.schema
    found = frame.isna().to_numpy(copy=True)
    for i, column in enumerate(map(str, frame.columns)):
        of = about.get(column, {})
        if of.get("missing") or None in of.get("categories", ()):
            found[:, i] = False
    absent = frame.attrs.get(ABSENT)
    return found if absent is None else found | np.asarray(absent)


def known_of(view: Representation, prefix: Any, given: Any) -> tuple[Any, Any]:
    """A prefix and known columns: those of rows are given by column, under either name, as a DataFrame; parts of other
    items are a prefix under either name.

    Raises:
        UsageError: both are stated.
    """
    if prefix is not None and given is not None:
        raise UsageError("an item has a prefix or known columns, not both: leave one out")
    if not isinstance(view, Columns | Bins | Heads):
        return (given if prefix is None else prefix), None
    if prefix is given:
        return None, None
    return None, known_frame(prefix if given is None else given)


def without_condition(given: Any, columns: Sequence[str], condition: Any) -> tuple[Any, Any]:
    """Known columns without those that are the model's condition, and the condition with them."""
    if given is None or not columns:
        return given, condition
    frame = given if isinstance(given, pd.DataFrame) else pd.DataFrame([dict(given)])
    inside = [c for c in columns if c in frame.columns]
    if not inside:
        return given, condition
    if condition is not None or len(inside) < len(columns):
        raise UsageError(f"the model was trained given {', '.join(columns)}: state all of them, once")
    of = frame[list(columns)]
    rest = frame.drop(columns=inside)
    if ABSENT in frame.attrs:
        raise UsageError(f"the model was trained given {', '.join(columns)}: state the same columns in each row")
    return (None if rest.shape[1] == 0 else rest), (of if len(columns) > 1 else of[columns[0]].tolist())


def cannot_complete(name: str, view: Representation) -> Unsupported:
    """The error of a model that draws whole items alone, which names others."""
    others = "circuit, vae or masked-diffusion"
    if isinstance(view, ImageView):
        return Unsupported(
            f"{name} draws whole pictures: choose {others}, gmm, or an autoregressive model for first rows; or draw "
            "the unknown part by `pofx edit` or `pofx restore`"
        )
    return Unsupported(f"{name} cannot complete a partial item: train an autoregressive model, {others}")


def _all(known: Tensor, n: int, what: str) -> Tensor:
    if count(known) not in (1, n):
        raise DataError(f"{what} must be one partial item or n of them (got {len(known)} for n = {n})")
    return known.expand(n, *known.shape[1:])
