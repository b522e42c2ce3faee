"""The budget and the use of every run: one line per model and seed, the failed ones too.

Unequal effort is the commonest fault of comparisons (Lucic et al., 2018, arXiv 1711.10337): hence trials of tuning,
examples seen and the moment of the best validation appear beside the wall clock.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pofx.report.numbers import count, seconds, short, size
from pofx.report.results import Results
from pofx.report.rows import Row
from pofx.report.section import Section, fill

TITLES = ("Seed", "Status", "Wall clock", "Device", "Steps", "Examples seen", "Parameters", "Peak memory", "FLOPs",
          "Tuning trials", "Best validation at", "Evaluation")  # fmt: skip
NONE = "not measured"


class Budget(Section):
    order, id, title = 160, "budget", "Budget"

    def html(self, results: Results) -> str | None:
        lines = budget(results.rows, results.protocol)
        return fill("sections/budget.html.j2", results, lines=lines, titles=TITLES) if lines else None


def budget(rows: Sequence[Row], protocol: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lines {"row", "status", "cells": texts in the order of TITLES} for every run of every model and baseline."""
    lines = []
    for row in rows:
        for run in row.runs if row.role != "control" else ():
            status = str(run.get("status", "missing"))
            lines.append({"row": row, "status": status, "reason": str(run.get("reason", "")),
                          "cells": _cells(run, status, protocol)})  # fmt: skip
    return lines


def _cells(run: Mapping[str, Any], status: str, protocol: Mapping[str, Any]) -> list[str]:
    cost, training = run.get("cost") or {}, run.get("training") or {}

    def used(write: Any, *keys: str) -> str:
        value = next((v for k in keys for v in (cost.get(k), training.get(k)) if isinstance(v, int | float)), None)
        return NONE if value is None else str(write(value))

    if status != "done":
        return [str(run.get("seed", "")), status, *["–"] * (len(TITLES) - 2)]
    device = str(protocol.get("device") or cost.get("name") or cost.get("device") or "CPU")
    return [
        str(run.get("seed", "")),
        status,
        used(seconds, "train_seconds", "seconds"),
        device,
        used(count, "steps"),
        used(count, "examples", "images"),
        used(count, "parameters"),
        used(size, "peak_memory_bytes"),
        used(short, "flops", "train_flops"),
        str(int(cost.get("trials") or 1)),
        best(run),
        used(seconds, "evaluation_seconds"),
    ]


def best(run: Mapping[str, Any]) -> str:
    """When validation was best: the step, the time and the share of the training; the weights of that step are used."""
    judged = [h for h in run.get("history") or () if h.get("validation") is not None and h.get("seconds") is not None]
    if not judged:
        return "no validation"
    at = min(judged, key=lambda h: h["validation"])
    last = max(float(h["seconds"]) for h in run["history"] if h.get("seconds") is not None)
    share = f", {at['seconds'] / last:.0%}" if last > 0 else ""
    return (
        f"step {at['step']:,} ({seconds(at['seconds'])}{share})" if "step" in at else f"{seconds(at['seconds'])}{share}"
    )
