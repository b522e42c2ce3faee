"""Where a number comes from, for its tooltip: measure, version of the protocol, seeds, n, the space and its hash."""

from collections.abc import Mapping
from typing import Any

from pofx.report.rows import Number, Row


def origin(row: Row, metric: str, number: Number, protocol: Mapping[str, Any]) -> str:
    """One line of plain text."""
    measures = protocol.get("measures") or {}
    seeds = [str(run["seed"]) for run in row.runs if run.get("status") == "done" and "seed" in run]
    hashes = {space.get("label"): space.get("hash") for space in measures.get("spaces") or ()}
    error = "" if number.stderr is None else f" ± {number.stderr:.2g} (s.e.)"
    parts = [f"{number.value:.6g}{error}", f"metric {metric}"]
    parts += [f"protocol {measures['version']}"] if measures.get("version") is not None else []
    parts += [f"training seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"] if seeds else []
    parts += [f"measuring seed {measures['seed']}"] if measures.get("seed") is not None else []
    parts += [f"n = {number.n:,}"] if number.n else []
    parts += [f"{number.kind} density"] if number.kind else []
    if number.space:
        parts.append(f"space {number.space}" + (f", sha {hashes[number.space]}" if hashes.get(number.space) else ""))
    parts += [number.note] if number.note else []
    return " · ".join(parts)
