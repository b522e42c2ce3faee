"""The result of one evaluation as text: the headline measures in one line each, or every measure with its note.

Reads the JSON of `evaluate`: its measurements, their descriptions (`metrics`) and the protocol. Measures that were
taken in several feature spaces are shown in the primary one.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pofx.report.metrics import GROUPS
from pofx.report.numbers import chance, short, written

ARROWS = {"lower": "↓", "higher": "↑", "none": " "}
WORTH = {"exact": "exact", "bound": "upper bound", "estimate": "estimate", "relative": "up to a constant"}
TITLE, VALUE = 18, 20  # columns of a line; names of the whole list are as long as they are


def headline(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The headline measurements, each in the primary space, in the order of their groups."""
    about = result.get("metrics") or {}
    chosen: dict[str, Mapping[str, Any]] = {}
    primary = (result.get("protocol") or {}).get("primary_space")
    for row in result["measurements"]:
        name = row["metric"]
        if about.get(name, {}).get("headline") and (name not in chosen or row["space"] == primary):
            chosen[name] = row
    return _in_order(list(chosen.values()), about)


def text(result: Mapping[str, Any], *, width: int = 80, every: bool = False) -> str:
    """Lines of at most `width` characters; `every` measure with its space, n and note, or the headline ones."""
    about = result.get("metrics") or {}
    if not every:
        lines = [_line(row, about, width) for row in headline(result)]
        rest = len(result["measurements"]) - len(lines)
        return "\n".join([*lines, f"and {rest} more measures: --all or --json"] if rest > 0 else lines)
    lines, group = [], None
    for row in _in_order(result["measurements"], about):
        own = about.get(row["metric"], {}).get("group", "")
        if own != group:
            lines += ["", own or "other"] if lines else [own or "other"]
            group = own
        lines.append(_line(row, about, width, every=True))
        note = row.get("note") or about.get(row["metric"], {}).get("help", "")
        where = ", ".join([*([row["space"]] if row.get("space") else []), *([f"n = {row['n']:,}"] if row["n"] else [])])
        full = "; ".join(part for part in (note, where) if part)
        lines += textwrap.wrap(full, width, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def _in_order(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    names = list(about)
    groups = list(dict.fromkeys(of.get("group", "") for of in about.values()))
    order = [g for g in GROUPS if g in groups] + [g for g in groups if g not in GROUPS]

    def place(row: Mapping[str, Any]) -> tuple[int, int]:
        name = row["metric"]
        group = about.get(name, {}).get("group", "")
        return order.index(group) if group in order else len(order), names.index(name) if name in names else len(names)

    return sorted(rows, key=place)


def _line(row: Mapping[str, Any], about: Mapping[str, Any], width: int, every: bool = False) -> str:
    of = about.get(row["metric"], {})
    title = row["metric"] if every else of.get("short") or of.get("title") or row["metric"]
    room = max(TITLE, *(len(name) + 2 for name in about)) if every else TITLE
    value = _value(row, of.get("writes", "number"))
    line = f"{title[: room - 1]:<{room}}{value:>{VALUE}} {ARROWS.get(row['better'], ' ')}  "
    line += _beside(row) if every else _beside(row) or of.get("help", "")
    return line.rstrip() if len(line) <= width else line[: width - 1].rstrip() + "…"


def _value(row: Mapping[str, Any], writes: str) -> str:
    value, stderr = row["value"], row["stderr"]
    if value is None:
        return "not finite"
    if writes == "p-value":
        return chance(value)
    if writes == "speed":
        return short(value)
    shown, error = written(value, stderr)
    return f"{shown} ± {error}" if error else shown


def _beside(row: Mapping[str, Any]) -> str:
    """What a number is read against: its kind of density, floor, p-value, or what real items score."""
    extra = row.get("extra") or {}
    found = []
    if extra.get("density"):
        found.append(WORTH.get(extra["density"], extra["density"]))
    names = {"floor": "floor", "held": "held-out items", "train": "training items", "real": "real items",
             "trtr": "real rows", "pca": "PCA", "dummy": "constant"}  # fmt: skip
    found += [f"{word} {extra[key]:.3g}" for key, word in names.items() if isinstance(extra.get(key), int | float)]
    if isinstance(extra.get("p"), int | float) and row["metric"] != "near_copy":
        found.append(f"p {chance(extra['p'])}")
    return ", ".join(found)
