"""Weights of items: how often each counts, as if it were there so many times.

A column of the table, or one number per item beside the data. Items of weight zero are left out at once, so that
nothing is learnt from them, not even a scale or a category. Weights that balance groups are the inverse of the total
weight of each group (Kamiran and Calders, 2012, "Data preprocessing techniques for classification without
discrimination"). What uses weights is one place, the feed: batches hold each item in proportion to its weight.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.items import Items
from pofx.data.dataset import Dataset, dataset
from pofx.data.kind import kind_of, take
from pofx.data.numbers import from_tensor

LABEL = "label"
LARGEST = 1e100  # of a weight: sums and squares of these are finite
GROUPS = 100  # values of a column up to which it is one of groups
BANDS, FEW = 4, 20  # bands of a column of numbers, and values up to which each is a group of its own


def checked(weight: Any, n: int) -> np.ndarray:
    """One weight per item: float64 (n,).

    Raises:
        DataError: another number of them, or weights that are missing, infinite, negative or all zero.
    """
    try:
        found = np.asarray(from_tensor(weight) if hasattr(weight, "detach") else weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"weight must be one number per item ({error}): give numbers") from error
    if found.shape != (n,):
        raise DataError(f"weight must be one number for each of {n:,} items (got shape {found.shape})")
    bad = np.flatnonzero(~np.isfinite(found) | (found < 0))
    if len(bad):
        raise DataError(f"weight must be finite and at least 0 (got {found[bad[0]]:g} for item {bad[0]}): mend it")
    if found.max(initial=0.0) > LARGEST:
        raise DataError(
            f"weight must be at most {LARGEST:.0e} (got {found.max():g}): divide all weights by the largest"
        )
    if not found.any():
        raise DataError("weight must be above 0 for some item (got 0 for all): leave weight out")
    return found


def with_weight(items: Items, weight: Any) -> Items:
    """Items with one weight each, without those of weight zero."""
    found = checked(weight, len(items))
    return take(replace(items, weight=found, facts={**items.facts, "weight": {"given": True}}), found > 0)


def weighted(data: Dataset, weight: Any) -> Dataset:
    """A data set whose items have weights: those of a column, which is no column any more, or one number per item in
    the order of its splits.

    Raises:
        UsageError: no such column.
    """
    splits = data.splits()
    if isinstance(weight, str):
        parts = [_from_column(items, weight, data.card.name) for items in splits.values()]
    else:
        found = checked(weight, sum(map(len, splits.values())))
        ends = np.cumsum([len(items) for items in splits.values()])[:-1]
        parts = [with_weight(items, part) for items, part in zip(splits.values(), np.split(found, ends), strict=True)]
    card = data.card
    dropped = ("exact_duplicates", "overlap_rule", "schema", "columns")
    facts = {key: value for key, value in card.facts.items() if key not in dropped}
    train, validation, test = parts
    return dataset(
        train, validation, test, card.name, source=card.source, licence=card.licence, summary=card.summary, facts=facts
    )


def _from_column(items: Items, column: str, name: str) -> Items:
    frame = kind_of(items).columns(items.values)
    if frame is None:
        raise UsageError(f"{name} has no columns: pass weight as one number per item")
    if column not in frame.columns:
        raise unknown(f"weight column of {name}", column, map(str, frame.columns))
    if frame.shape[1] == 1:
        raise UsageError(f"weight names the only column of {name}: leave at least one to model")
    found = checked(pd.to_numeric(frame[column], errors="coerce"), len(frame))
    rest = replace(items, values=frame.drop(columns=column), weight=found)
    return take(replace(rest, facts={**items.facts, "weight": {"column": column}}), found > 0)


def balanced(items: Items, groups: str) -> Items:
    """Items reweighted so that all groups count the same: those of a column, of the condition or of the labels.

    Raises:
        UsageError: there is no such column, or its values are no groups.
    """
    names = groups_of(items, groups)
    codes = check_groups(names if groups == LABEL else banded(names, names), groups, "balance")
    own = np.ones(len(items)) if items.weight is None else np.asarray(items.weight, np.float64)
    total = np.bincount(codes, weights=own)
    return replace(items, weight=own / total[codes] * own.sum() / len(total))


def check_groups(names: np.ndarray, column: str, what: str) -> np.ndarray:
    """The number of the group of each item.

    Raises:
        UsageError: nearly every item is a group of its own.
    """
    codes = np.asarray(pd.factorize(names, use_na_sentinel=False)[0])
    if codes.max() + 1 > min(GROUPS, max(2, len(names) // 2)):
        raise UsageError(f"{what} must name a column of groups (got {codes.max() + 1:,} values in {column}): bin it")
    return codes


def banded(names: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Groups as they are; numbers of more than twenty values as quarters of the known ones, such as "28 to 37"."""
    there = [v for v in known.tolist() if not (isinstance(v, str) and v == "missing")]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in there):
        return names
    numbers = np.array(there, dtype=np.float64)
    if not len(numbers) or not np.isfinite(numbers).all() or len(np.unique(numbers)) <= FEW:
        return names
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, BANDS + 1)[1:-1], method="lower"))
    ends = [f"{edge:g}" for edge in edges]
    called = [f"up to {ends[0]}", *(f"{a} to {b}" for a, b in zip(ends, ends[1:], strict=False)), f"above {ends[-1]}"]
    values = pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").to_numpy(np.float64)
    at = np.searchsorted(edges, np.nan_to_num(values), side="left")
    return np.where(np.isnan(values), "missing", np.array(called, dtype=object)[at]).astype(object)


def groups_of(items: Items, column: str) -> np.ndarray:
    """The group of each item: its value in a column of the table or of its condition, or its label by name."""
    if column == LABEL:
        if items.labels is None:
            raise UsageError("the items have no labels: name a column of groups")
        names = items.facts.get("label_names")
        labels = np.asarray(items.labels)
        return np.asarray(names, dtype=object)[labels] if names else labels
    known: list[str] = []
    for part in (items, items.condition):
        if part is not None and part is not items and part.facts.get("column") == column:
            return np.asarray(part.values)
        own = part is not None and (part is items or "column" not in part.facts)
        frame = kind_of(part).columns(part.values) if part is not None and own else None
        if frame is not None:
            if column in frame.columns:
                return np.asarray(frame[column].astype(object).where(frame[column].notna(), "missing"))
            known += map(str, frame.columns)
    known += [str(part.facts["column"]) for part in (items.condition,) if part is not None and "column" in part.facts]
    known += [LABEL] if items.labels is not None else []
    if not known:
        raise UsageError(f"the items have neither columns nor labels, of which '{column}' could be one: give such data")
    raise unknown("column of groups", column, dict.fromkeys(known))


def representative(items: Items, seed: int = 0) -> Items:
    """As many items without weights, in which each occurs in proportion to its weight (systematic resampling)."""
    if items.weight is None:
        return items
    at = systematic(np.asarray(items.weight, np.float64), len(items), np.random.default_rng(seed))
    return replace(take(items, at), weight=None)


def resampled(data: Dataset, seed: int = 0) -> Dataset:
    """A data set whose items occur in proportion to their weights, for metrics that compare items one by one."""
    if data.train.weight is None:
        return data
    train, validation, test = (representative(items, seed) for items in data.splits().values())
    return Dataset(train, validation, test, data.card)


def systematic(weight: Sequence[float] | np.ndarray, n: int, generator: np.random.Generator) -> np.ndarray:
    """n positions in random order, item i either ⌊n w_i⌋ or ⌈n w_i⌉ times, for weights w that sum to 1 by scaling.

    The mean over random starts is exactly proportional to the weights (Kitagawa, 1996); items of weight 0 never occur,
    and equal weights give every item once if n is their number.
    """
    found = np.asarray(weight, np.float64)
    order = generator.permutation(np.flatnonzero(found > 0))
    edges = np.cumsum(found[order])
    places = (generator.random() + np.arange(n)) / n * edges[-1]
    at = np.searchsorted(edges, places, side="right").clip(max=len(order) - 1)
    return np.asarray(generator.permutation(order[at]))
