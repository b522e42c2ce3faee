"""A section of the report: one class in a file of `pofx/report/sections`, found by scanning; nothing lists them.

A section takes what it needs from the results and returns HTML, or None where the results do not hold it. Templates
(jinja, with the macros of `macros.html.j2`) escape every value.
"""

from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import jinja2

from pofx.core.discovery import finished
from pofx.report.results import Results

HERE = Path(__file__).parent


class Section(ABC):
    """Its place among the sections, its anchor, its heading, and its content."""

    order: ClassVar[float]
    id: ClassVar[str]
    title: ClassVar[str]
    short: ClassVar[str] = ""  # in the navigation; empty: the title

    @abstractmethod
    def html(self, results: Results) -> str | None:
        """The content below the heading; None: there is nothing to show."""


def sections() -> list[Section]:
    """One of every section, in their order; those of the entry-point group `pofx.report` too."""
    found = finished(Section, "pofx.report.sections", "pofx.report")  # type: ignore[type-abstract]
    return sorted((cls() for cls in found), key=lambda section: section.order)


def fill(template: str, results: Results, **values: Any) -> str:
    """A template of `pofx/report`, given the results and some values."""
    return (
        templates()
        .get_template(template)
        .render(r=results, data=results.data, protocol=results.protocol, ink=results.ink, **values)
    )


@cache
def templates() -> jinja2.Environment:
    """The templates; every value is escaped unless it is marked safe."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["inline"] = lambda name: (HERE / name).read_text(encoding="utf-8")
    return made
