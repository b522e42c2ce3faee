"""Data sets: three fixed splits of raw items, and a card of where they came from and how far they overlap.

A split depends on the number of items, their labels and a seed, never on their content. What the
splits share is counted, because a near copy of a training item in the test split flatters every model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kind import content_hash, joined, kind_of, loaded, take
from pofx.data.overlap import overlaps

__all__ = ["SPLITS", "Card", "Dataset", "Source", "content_hash", "dataset", "joined", "split", "take"]
SPLITS = ("train", "validation", "test")
COUNTED, COMPARED = 20_000, 1 << 25  # items, and their bytes, of a split on the disk among which copies are counted


@dataclass(frozen=True)
class Card:
    """What a data set is: plain JSON values.

    sizes are items per split; hash is the sha256 of all three splits; near_duplicates counts, for "train-test" (and the
    other pairs), the items of the second split that lie nearer to one of the first than chance allows; facts holds
    those of the items, `exact_duplicates`, and `overlap_rule`, the rule of the count in words.
    """

    name: str
    kind: str
    source: str
    licence: str
    summary: str
    sizes: Mapping[str, int]
    hash: str
    near_duplicates: Mapping[str, int]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """The card as a table, for a notebook."""
        sizes = ", ".join(f"{n:,} {part}" for part, n in self.sizes.items())
        copies = ", ".join(f"{pair}: {n}" for pair, n in self.near_duplicates.items())
        rows = {"kind": self.kind, "items": sizes, "source": self.source, "licence": self.licence,
                "near duplicates": copies, "sha256": self.hash[:16]}  # fmt: skip
        lines = "".join(f"<tr><th>{name}</th><td>{escape(str(text))}</td></tr>" for name, text in rows.items() if text)
        about = f": {escape(self.summary)}" if self.summary else ""
        return f"<b>{escape(self.name)}</b>{about}<table>{lines}</table>"

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Card":
        """The card that `to_json` wrote."""
        return cls(**plain)


@dataclass(frozen=True, repr=False)
class Dataset:
    """Three splits of the same kind of items, and their card."""

    train: Items
    validation: Items
    test: Items
    card: Card

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(items):,} {part}" for part, items in self.splits().items())
        return f"<Dataset: {self.card.name}, {self.card.kind} items: {sizes}>"

    def _repr_html_(self) -> str:
        return self.card._repr_html_()

    def splits(self) -> dict[str, Items]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


@dataclass(frozen=True)
class Source:
    """A built-in data set: modules of `pofx.data` list theirs in a tuple called `SOURCES`.

    load takes the seed of the split (or of the draw, for synthetic data).
    """

    name: str
    kind: str
    n: int
    summary: str
    load: Callable[[int], Dataset]
    download: bool = False


def split(
    items: Items,
    name: str,
    *,
    seed: int = 0,
    fractions: tuple[float, float] | None = None,
    source: str = "given by the caller",
    licence: str = "unknown",
    summary: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Dataset:
    """Split items into training, validation and test: `fractions` are those of the validation and of the test split.

    By default a tenth each. Where there are labels, every class is divided in these proportions. Running text is
    divided in its order, by default with a twentieth of the characters for validation and the last tenth for the test.

    Raises:
        DataError: fewer than three items.
        UsageError: fractions that leave nothing to train on.
    """
    n, kind = len(items), kind_of(items)
    sequential = kind.sequential(items.values)
    fractions = fractions or ((0.05, 0.1) if sequential else (0.1, 0.1))
    if min(fractions) <= 0 or sum(fractions) >= 1:
        raise UsageError(
            f"fractions must be positive and sum to less than 1 (got {fractions}): pass fractions=(0.1, 0.1)"
        )
    if n < 3:
        have = f"{name} has {n} item{'' if n == 1 else 's'}"
        raise DataError(f"{have}: at least 3 are needed for a training, a validation and a test split")
    if sequential:
        train, validation, test = (replace(items, values=piece) for piece in kind.divided(items.values, *fractions))
        return dataset(train, validation, test, name, source=source, licence=licence, summary=summary, facts=facts)
    test, validation, train = (take(items, part) for part in _dealt(items, seed, [fractions[1], fractions[0]]))
    return dataset(train, validation, test, name, source=source, licence=licence, summary=summary, facts=facts)


def held_out(items: Items, seed: int = 0) -> tuple[Items, Items]:
    """Training items without a tenth of them, at most 5,000, and that tenth: where only the test split is stated."""
    if len(items) < 2:
        raise DataError(f"the training split has {len(items)} items: at least 2 are needed")
    last, first = _dealt(items, seed, [min(0.1, 5000 / len(items))])
    return take(items, first), take(items, last)


def _dealt(items: Items, seed: int, shares: Sequence[float]) -> list[np.ndarray]:
    """Positions of the items in parts of these shares and in what is left; every class in these proportions."""
    n = len(items)
    order = np.random.default_rng(np.random.SeedSequence([seed, n])).permutation(n)
    classes = None if items.labels is None or np.ndim(items.labels) > 1 else np.asarray(items.labels)
    if classes is not None:
        order = _interleave(classes[order], order)
    # Evenly spaced ranks of an order sorted by class give each class its share.
    ranks = np.arange(n) if classes is None else np.argsort(_order_key(n), kind="stable")
    ends = np.cumsum([max(1, round(share * n)) for share in shares])
    return [np.sort(part) for part in np.split(order[ranks], ends)]


def sampled(data: Dataset, seed: int = 0) -> Dataset:
    """A data set in memory: the same, or seeded samples of splits on the disk, whose sizes the facts state."""
    parts = {part: loaded(items, seed) for part, items in data.splits().items()}
    found = {part: [len(items), data.card.sizes[part]] for part, items in parts.items()}
    if all(n == of for n, of in found.values()):
        return Dataset(**parts, card=data.card)
    return Dataset(**parts, card=replace(data.card, facts={**data.card.facts, "sampled": found}))


def _interleave(labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The order sorted by class, each class keeping its shuffled order."""
    return order[np.argsort(labels, kind="stable")]


def _order_key(n: int) -> np.ndarray:
    """A low-discrepancy key (van der Corput's idea with the golden ratio): any prefix of its sort is evenly spread."""
    return np.asarray((np.arange(n) + 1) * 0.6180339887498949 % 1)


def dataset(
    train: Items,
    validation: Items,
    test: Items,
    name: str,
    *,
    source: str,
    licence: str,
    summary: str = "",
    facts: Mapping[str, Any] | None = None,
    count_overlaps: bool = True,
) -> Dataset:
    """A data set from splits that already exist: writes the card, counts what the splits share.

    `count_overlaps` is False for synthetic data drawn independently, where a count would mean nothing.
    """
    parts = {"train": train, "validation": validation, "test": test}
    for part, items in parts.items():
        if len(items) == 0:
            raise DataError(f"{name}: the {part} split is empty")
    shared = kind_of(train).shared(list(parts.values()))
    if shared:
        parts = {part: replace(items, facts={**items.facts, **shared}) for part, items in parts.items()}
        train, validation, test = parts.values()
    small = {part: loaded(items, most=COUNTED, size=COMPARED) for part, items in parts.items()}
    exact, near, rule = overlaps(small) if count_overlaps else ({}, {}, "not counted: splits are independent draws")
    if any(len(small[part]) < len(items) for part, items in parts.items()):
        most = max(len(items) for items in small.values())
        rule += f", of at most {most:,} sampled items of a split, whose content is hashed as well"
    known = {**dict(train.facts), **dict(facts or {}), "exact_duplicates": exact, "overlap_rule": rule}
    card = Card(
        name=name,
        kind=train.kind,
        source=source,
        licence=licence,
        summary=summary,
        sizes={part: len(items) for part, items in parts.items()},
        hash=content_hash(parts),
        near_duplicates=near,
        facts=known,
    )
    return Dataset(train, validation, test, card)
