"""The feature spaces of an evaluation: found by scanning `evaluate/spaces`, the entry-point group `pofx.spaces` and the
classes that a program defines; named by `--spaces pca,inception=FILE`, or else those that state to be the default.

A space of one's own is a class in a file: `--spaces mine.py:MySpace`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pofx.core.config import class_in_file
from pofx.core.discovery import finished
from pofx.core.errors import UsageError, unknown
from pofx.core.representation import Items
from pofx.evaluate.space import Space

PACKAGE, GROUP = "pofx.evaluate.spaces", "pofx.spaces"
Report = Callable[[str], None]


def _nothing(phase: str) -> None:
    return None


def spaces() -> dict[str, type[Space]]:
    """Every feature space by name, in their order."""
    found = finished(Space, PACKAGE, GROUP)
    return {cls.name: cls for cls in sorted(found, key=lambda cls: (cls.order, cls.name))}


def fit_spaces(
    train: Items,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    folder: Path | str | None = None,
    report: Report = _nothing,
) -> list[Space]:
    """The feature spaces of a training split, read from `folder` where they were fitted before.

    Args:
        names: as `spaces` has them, with what they need ("inception=FILE"), or "file.py:Class"; by default those that
            are made for such items (`Space.default_for`).

    Raises:
        UsageError: an unknown name, a classifier without labels, or a network without weights.
        DataError: weights that are missing or those of another network.
    """
    home = Path(folder) if folder is not None else None
    found = []
    for cls, given in _chosen(train, names):
        cls.check(train, given)
        report(f"feature space {cls.name}")
        found.append(cls.fit(train, given=given, seed=seed, folder=home))
    return found


def check_spaces(train: Items, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """The names of the spaces that `fit_spaces` would fit; nothing is fitted.

    Raises:
        UsageError, DataError: as `fit_spaces` does.
    """
    chosen = _chosen(train, names)
    for cls, given in chosen:
        cls.check(train, given)
    return tuple(names) if names is not None else tuple(cls.name for cls, _ in chosen)


def count_spaces(train: Items, names: Sequence[str] | None = None) -> int:
    """How many spaces `fit_spaces` would fit."""
    return len(_chosen(train, names))


def main_space(train: Items, *, seed: int = 0, folder: Path | str | None = None) -> Space:
    """The first of the default spaces: where something is measured in one space only."""
    first = min((cls for cls, _ in _chosen(train, None)), key=lambda cls: cls.order)
    return fit_spaces(train, [first.name], seed=seed, folder=folder)[0]


def main_of(fitted: Sequence[Space]) -> Space:
    """The main one of the spaces in use: the first in their order."""
    return min(fitted, key=lambda space: space.order)


def _chosen(train: Items, names: Sequence[str] | None) -> list[tuple[type[Space], str]]:
    known = spaces()
    if names is None:
        found = [(cls, "") for cls in known.values() if cls.default_for(train)]
        if not found:
            raise UsageError(f"no feature space is the default of {train.kind} items: name one of {', '.join(known)}")
        return found
    chosen = []
    for text in names:
        name, _, given = text.partition("=")
        file, colon, cls = name.rpartition(":")
        if colon and file.endswith(".py"):
            chosen.append((class_in_file(file, cls, Space), given))
        elif name not in known:
            raise unknown("feature space", name, known)
        else:
            chosen.append((known[name], given))
    return chosen
