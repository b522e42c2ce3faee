"""The descriptions of measures in results.json: direction, words, group, axis of the verdict, how to write them.

A measure states all of it beside its computation; the report looks nothing up by name. Files of older comparisons,
which hold less, are completed from the measures of this version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

GROUPS = ("likelihood", "samples", "novelty", "classes", "columns", "texts", "molecules", "images", "codes", "sampling",
          "cost")  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """A question with one answer per row. `resolution` is the least standard error, as a share of the value; `chance`
    the value that nothing can be better than (an AUC of 0.5); `kind` that of the densities on this axis."""

    key: str
    title: str
    unit: str = ""
    need: str = ""  # the words of a recommendation; axes of one need are rivals for it
    why: str = ""
    resolution: float = 0.0
    chance: float | None = None
    order: int = 9
    metric: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Info:
    """One measure."""

    name: str
    title: str
    help: str = ""
    better: str = "none"
    group: str = ""
    headline: bool = False
    axis: Axis | None = None
    writes: str = "number"
    short: str = ""
    plane: tuple[str, str] | None = None
    null: float | None = None  # what a model that copies nothing scores
    suspect: str = ""  # "low" or "high": the direction that means copies

    @property
    def head(self) -> str:
        return self.short or self.title

    @classmethod
    def of(cls, name: str, plain: Mapping[str, Any]) -> Self:
        known = {f.name for f in fields(cls)} - {"name", "axis", "plane"}
        axis, plane = plain.get("axis"), plain.get("plane")
        of_axis = {f.name for f in fields(Axis)}
        return cls(
            name,
            axis=Axis(**{k: v for k, v in axis.items() if k in of_axis} | {"metric": name}) if axis else None,
            plane=(str(plane[0]), str(plane[1])) if plane else None,
            **({"title": name} | {k: v for k, v in plain.items() if k in known}),
        )


def infos(results: Mapping[str, Any]) -> dict[str, Info]:
    """Every measure of the results by name, in the order of the groups, headlines and axes first."""
    plain: dict[str, Any] = dict(results.get("metrics") or {})
    if not plain or not all("group" in about for about in plain.values()):
        from pofx.evaluate.metric import catalogue  # an older file

        plain |= catalogue()
    found = [Info.of(name, about) for name, about in plain.items()]

    def place(info: Info) -> tuple[int, bool, int]:
        group = GROUPS.index(info.group) if info.group in GROUPS else len(GROUPS)
        return group, not info.headline, info.axis.order if info.axis else 99

    return {info.name: info for info in sorted(found, key=place)}
