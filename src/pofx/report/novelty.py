"""Novelty and privacy: do samples repeat the training items, and could an attacker tell who was among them?

Each number beside its error or interval, and beside what honest held-out items read. A mean over all samples does not
see a few per cent of copies; the near-copy test does. An AUC hides the few items that are exposed; the true positive
rate at 1 % false positives does not (Carlini et al., 2022, arXiv 2112.03570).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pofx.report.columns import chance, written
from pofx.report.rows import Number, Row


@dataclass(frozen=True)
class Told:
    """A cell: its text, whether it should alarm, and where it comes from."""

    text: str
    alarm: bool = False
    title: str = ""


TITLES = ("Near-copy p", "Exact copies", "Distance ratio", "Authentic (held-out)", "C_T", "Train–test gap, nats",
          "MIA by log p: AUC", "TPR at 1 % FPR", "MIA by samples: AUC", "TPR at 1 % FPR")  # fmt: skip
ABSENT = Told("–", title="not measured, or the model cannot")


def novelty(rows: Sequence[Row]) -> list[tuple[Row, list[Told]]]:
    """A line per row that has any of these numbers; empty where nothing was measured."""
    lines = [(row, _cells(row)) for row in rows if row.numbers]
    return [(row, cells) for row, cells in lines if any(cell is not ABSENT for cell in cells)]


def _cells(row: Row) -> list[Told]:
    copies = row.number("near_copy")
    single = next((n for space, n in row.numbers.get("near_copy", {}).items() if space), None)
    facts = single.extra if single else {}
    return [
        ABSENT if copies is None else Told(chance(copies.value), copies.value < 0.01, copies.note),
        ABSENT if facts.get("exact") is None else Told(str(facts["exact"]), facts["exact"] > facts.get("held_exact", 0),
                                                       f"of the samples of one seed; held-out items: "
                                                       f"{facts.get('held_exact', 0)}"),
        ABSENT if facts.get("ratio") is None else Told(f"{facts['ratio']:.2f}", facts["ratio"] < 0.5,
                                                       "median distance to training items over that of held-out items"),
        _authentic(row.number("authentic")),
        _copying(row.number("copying")),
        _gap(row.number("nats")),
        *_attack(row.number("mia_loss")),
        *_attack(row.number("mia_samples")),
    ]  # fmt: skip


def _authentic(number: Number | None) -> Told:
    if number is None:
        return ABSENT
    held = number.extra.get("held")
    beside = f" ({held:.2f})" if held is not None else ""
    error = number.stderr or 0.0
    low = held is not None and error > 0 and (held - number.value) / error > 2.6
    return Told(
        _with(number) + beside, low, f"share of authentic samples, held-out items in brackets; {_origin(number)}"
    )


def _copying(number: Number | None) -> Told:
    if number is None:
        return ABSENT
    return Told(f"{number.value:.1f}", number.value < -3, f"Z; far below 0: copies; {_origin(number)}")


def _gap(number: Number | None) -> Told:
    if number is None or number.extra.get("gap") is None:
        return ABSENT
    gap, error = float(number.extra["gap"]), number.extra.get("gap_stderr")
    text, spread = written(gap, error)
    alarm = bool(error) and gap / float(error or 1) > 2.6
    return Told(text + (f" ± {spread}" if spread else ""), alarm, "mean log p of training less that of test items")


def _attack(number: Number | None) -> tuple[Told, Told]:
    if number is None:
        return ABSENT, ABSENT
    extra, error = number.extra, number.stderr or 0.0
    alarm = bool(error) and (number.value - 0.5) / error > 2.6
    about = f"0.5: the attacker guesses; {_origin(number)}"
    auc = Told(_with(number), alarm, about)
    interval = extra.get("tpr_interval")
    if extra.get("tpr") is None or not interval or any(not math.isfinite(v) for v in interval):
        return auc, ABSENT
    text = f"{extra['tpr']:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"
    return auc, Told(text, interval[0] > 0.01, f"95 % interval of Clopper and Pearson, first seed; {_origin(number)}")


def _with(number: Number) -> str:
    text, error = written(number.value, number.stderr)
    return text + (f" ± {error}" if error else "")


def _origin(number: Number) -> str:
    return " · ".join(
        [*([f"space {number.space}"] if number.space else []), *([f"n = {number.n:,}"] if number.n else [])]
    )
