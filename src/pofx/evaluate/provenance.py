"""Is the data still that of the run? A run's card keeps the hash of its splits; other items are refused.

Which items are training items depends on the number of rows and the seed of the split: one row more deals all rows
anew, and most items of the new test split were trained on. A relative path in another folder is another data set.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pofx.core.errors import PofxError, UsageError
from pofx.core.items import Items
from pofx.data.dataset import Dataset
from pofx.data.kind import named, of_card, take
from pofx.data.sources import built_in, load, whole


def differences(artifact: Any, dataset: Dataset) -> list[str]:
    """What differs between a data set and the one that the run was trained on, in words; empty where they are equal.

    A card without a hash (a stand-in, a model made by hand) differs in nothing.
    """
    trained: Mapping[str, Any] = getattr(artifact, "card", None) or {}
    trained = trained.get("data") or {}
    if not trained.get("hash") or trained["hash"] == dataset.card.hash:
        return []
    before, now = dict(trained.get("sizes") or {}), dict(dataset.card.sizes)
    found = []
    if trained.get("name") != dataset.card.name:
        found.append(f"it is {dataset.card.name}, not {trained.get('name')}")
    if trained.get("kind", dataset.card.kind) != dataset.card.kind:
        found.append(f"it holds {dataset.card.kind} items, not {trained['kind']} items")
    if before and before != now:
        a, b = (sum(sizes.values()) for sizes in (before, now))
        found.append(f"it has {b:,} items, not {a:,}" if a != b else f"its splits are {now}, not {before}")
    known = dict(trained.get("facts") or {})
    for key in ("label_names", "columns", "levels", "rate", "classes"):
        was, new = known.get(key), dataset.card.facts.get(key)
        if was is not None and list_of(was) != list_of(new):
            found.append(f"its {key.replace('_', ' ')} differ")
    return found or ["its values have changed"]


def list_of(value: Any) -> list[Any]:
    """A fact as a list: JSON turns tuples into lists."""
    return list(value) if isinstance(value, list | tuple) else [value]


def check_same_data(artifact: Any, dataset: Dataset, *, force: bool = False, forcible: bool = True) -> list[str]:
    """What differs from the data of training, in words; empty where nothing does. `forcible`: there is a --force.

    Raises:
        UsageError: something differs and `force` is False, or it is data of another kind.
        DataError: items that the artifact cannot take.
    """
    found = differences(artifact, dataset)
    kind = ((getattr(artifact, "card", None) or {}).get("data") or {}).get("kind", dataset.card.kind)
    if found and dataset.card.kind != kind:
        raise UsageError(f"{artifact.name} models {kind} items, {dataset.card.name} holds {dataset.card.kind} items")
    if found and force:
        artifact.representation.tensor(take(dataset.test, [0]).values)  # refuses items of another shape
    if found and not force:
        raise UsageError(
            f"{dataset.card.name} is not the data that {artifact.name} was trained on: {'; '.join(found)}. Its test "
            "split may hold training items: name the data of training (--against DATA)"
            + (", or pass --force (force=True) to measure on this data anyway" if forcible else "")
        )
    return found


def as_read(artifact: Any) -> dict[str, Any]:
    """How the data of a run was read: its columns of labels and of weights and the options of reading, for `load` and
    `whole`."""
    facts = artifact.card.get("data", {}).get("facts", {})
    weight = (facts.get("weight") or {}).get("column")
    return {"label": facts.get("label"), "reading": facts.get("reading"), "weight": weight}


def read_alike(artifact: Any, source: Any, condition: Any = None) -> Items:
    """All items of a source, read as the data of a run was.

    Raises:
        UsageError: items of another kind, which the options of the run's own do not fit.
    """
    how = as_read(artifact)
    try:
        return whole(source, condition=condition, **how)
    except UsageError:
        if not how["reading"]:
            raise
        try:
            found = whole(source)
        except PofxError:
            found = None
        own = named(artifact.representation.kind)
        if found is None or found.kind in own.names:
            raise
        raise UsageError(f"{artifact.name} models {own.name} items: {source} holds {found.kind} items") from None


def trained_on(artifact: Any, against: Any = None) -> Dataset:
    """The data set of a run, or the one given instead: a data set, or whatever `fit` takes, read as the run's was."""
    if isinstance(against, Dataset):
        return against
    card = artifact.card["data"]
    name = card["name"] if against is None else against
    if against is None and name not in built_in() and not Path(name).expanduser().exists():
        raise UsageError(f"the data of the run ('{name}') is not found from here: give it (--against DATA)")
    return load(name, condition=artifact.condition_source, **as_read(artifact))


def held_out_by(artifact: Any, dataset: Dataset) -> Dataset:
    """The data set; with a warning where the run was trained on another one or on another split of it.

    Raises:
        UsageError: it holds items of another kind than the run models.
    """
    card = artifact.card.get("data") or {}
    kind = of_card(card).name if "kind" in card else dataset.card.kind
    if kind != dataset.card.kind:
        raise UsageError(
            f"{artifact.name} models {kind} items, {dataset.card.name} holds {dataset.card.kind} items: give a run of "
            "such items"
        )
    found = differences(artifact, dataset)
    if found and not artifact.card["data"].get("facts", {}).get("respellings"):
        warnings.warn(
            f"{dataset.card.name} is not the data that {artifact.name} was trained on, or is split in another manner: "
            f"{'; '.join(found)}. Items that count as held out here may be training items of the run",
            stacklevel=3,
        )
    return dataset
