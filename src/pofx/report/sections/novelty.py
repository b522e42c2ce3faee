"""Novelty and privacy: do samples repeat the training items, and could an attacker identify them?

One column per score of the group. A number raises an alarm where it is worse than that of real held-out items, and than
what a model without copies scores, by more than chance allows; never where the self-test shows that the measure detects
no fault in this data at this n, and never where real items themselves raise it.
"""

from dataclasses import dataclass

from pofx.report.metrics import Info
from pofx.report.numbers import plain, write
from pofx.report.results import Results
from pofx.report.rows import COPIES, Number, Row
from pofx.report.section import Section, fill

Z = 2.6  # two-sided 1 %


@dataclass(frozen=True)
class Finding:
    """A cell: its text, whether it is an alarm, and where it comes from."""

    text: str
    alarm: bool = False
    title: str = ""


ABSENT = Finding("–", title="not measured, or the model cannot")


class Novelty(Section):
    order, id, title, short = 120, "novelty", "Novelty and privacy", "Novelty"

    def html(self, results: Results) -> str | None:
        infos, lines = novelty(results)
        if not lines:
            return None
        private = any(row.traits.get("epsilon") for row in results.rows)
        return fill(
            "sections/novelty.html.j2", results, infos=infos, lines=lines, sights=results.sights, private=private
        )


def novelty(results: Results) -> tuple[list[Info], list[tuple[Row, list[Finding]]]]:
    """The measures that a row has, and a line per row that has any of them."""
    infos = [i for i in results.metrics.values() if i.group == "novelty"]
    infos = [i for i in infos if any(row.number(i.name) is not None for row in results.rows)]
    real = results.row("real-test")
    lines = []
    for row in results.rows:
        cells = []
        for info in infos:
            sight = results.sights.get(info.name)
            honest = real.number(info.name) if real is not None and row is not real else None
            cells.append(finding(info, row.number(info.name), honest, blind=sight is not None and sight.blind))
        if any(cell is not ABSENT for cell in cells):
            lines.append((row, cells))
    return infos, lines


def finding(info: Info, number: Number | None, real: Number | None, *, blind: bool) -> Finding:
    """A cell of the table."""
    if number is None:
        return ABSENT
    text, error = write(info.writes, number.value, number.stderr)
    text += f" ± {error}" if error else ""
    about = [info.help]
    about += [f"real held-out items: {plain(real.value, 3)}"] if real is not None else []
    about += [f"without copies: {plain(info.null, 3)}"] if info.null is not None else []
    about += ["the self-test shows no sensitivity here: no alarm"] if blind else []
    about += [f"space {number.space}"] if number.space else []
    about += [f"n = {number.n:,}"] if number.n else []
    return Finding(text, not blind and _worse(info, number, real), " · ".join(about))


def _worse(info: Info, number: Number, real: Number | None) -> bool:
    """Whether a number means copies, beyond what chance and real items explain."""
    if info.writes == "p-value":
        return number.value < COPIES and (real is None or real.value >= COPIES)
    sign = {"low": -1.0, "high": 1.0}.get(info.suspect, {"lower": 1.0, "higher": -1.0}.get(info.better, 0.0))
    if not sign or number.stderr is None or (real is None and info.null is None):
        return False
    beyond = []
    if real is not None:
        spread = (number.stderr**2 + (real.stderr or 0.0) ** 2) ** 0.5
        beyond.append(sign * (number.value - real.value) > Z * spread)
    if info.null is not None:
        beyond.append(sign * (number.value - info.null) > Z * number.stderr)
    return all(beyond)
