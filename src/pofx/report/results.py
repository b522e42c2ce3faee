"""The results of a comparison as sections read them: rows, verdict, descriptions of measures, stored arrays.

Everything is worked out once, when a section first needs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pofx.report.figures.style import colours
from pofx.report.metrics import Info, infos
from pofx.report.rows import Number, Row, rows
from pofx.report.self_test import Sight, sights
from pofx.report.stored import load
from pofx.report.verdict import Verdict, decide


@dataclass(frozen=True, eq=False)
class Results:
    """The content of a results.json, and the folder that holds the files it names."""

    plain: Mapping[str, Any]
    folder: Path

    @property
    def data(self) -> Mapping[str, Any]:
        return dict(self.plain["data"])

    @property
    def protocol(self) -> Mapping[str, Any]:
        return dict(self.plain["protocol"])

    @cached_property
    def metrics(self) -> dict[str, Info]:
        """The measures by name, in the order of their groups."""
        return infos(self.plain)

    @cached_property
    def rows(self) -> list[Row]:
        """Models first, controls last."""
        return rows(self.plain, self.metrics)

    @property
    def models(self) -> list[Row]:
        return [row for row in self.rows if row.role != "control"]

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if row.ranked]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)

    def real(self, metric: str) -> Number | None:
        """What real held-out items score."""
        row = self.row("real-test")
        return row.number(metric) if row else None

    @cached_property
    def sights(self) -> dict[str, Sight]:
        """By measure the planted faults that it sees."""
        return sights(self.plain)

    @cached_property
    def verdict(self) -> Verdict:
        return decide(self.rows, self.metrics, self.sights, self.plain)

    @cached_property
    def ink(self) -> dict[str, str]:
        """A colour by name of a row."""
        return colours([(row.name, row.family, row.role) for row in self.rows])

    @property
    def stored_real(self) -> dict[str, Any] | None:
        """The real items that were stored for the report."""
        return load(self.folder, (self.plain.get("files") or {}).get("real"))

    def stored(self, row: Row, what: str) -> dict[str, Any] | None:
        """A file of the first run of a row that ended well."""
        run = next((r for r in row.runs if r["status"] == "done" and r.get("files")), None)
        return load(self.folder, run["files"].get(what)) if run is not None else None
