"""Comparisons of the same data under the same protocol, made in several folders or on several machines, as one."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pofx.core.errors import UsageError
from pofx.core.files import whole, write_json
from pofx.report.rows import read

ALIKE = (  # what must be equal, and how to name it
    (("data", "hash"), "data"),
    (("protocol", "budget"), "training budget"),
    (("protocol", "measures", "version"), "version of the measures"),
    (("protocol", "measures", "n"), "number of items measured"),
    (("protocol", "measures", "seed"), "seed of the arrangement"),
)


def merge(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write results.json and the files it names into `out`; returns its path.

    Rows of one name become one row with the runs of all; of two runs with the same seed the first is used. Controls
    are taken from the first folder that has them.

    Raises:
        UsageError: folders that hold no comparison, or comparisons that must not be joined, with the reason.
    """
    if not folders:
        raise UsageError("name at least one folder of a comparison")
    sources = [Path(folder) for folder in folders]
    for source in sources:
        if not (source / "results.json").is_file():
            raise UsageError(f"{source} holds no results.json: name the folder of a comparison")
    found = [read(source / "results.json") for source in sources]
    for keys, what in ALIKE:
        values = [_at(results, keys) for results in found]
        for source, value in zip(sources[1:], values[1:], strict=True):
            if value != values[0]:
                raise UsageError(
                    f"{sources[0]} and {source} differ in their {what} ({values[0]} and {value}): "
                    "their numbers are not comparable"
                )
    with whole(Path(out)) as aside:
        write_json(aside / "results.json", _joint(found, sources, aside))
    return Path(out) / "results.json"


def _joint(found: Sequence[dict[str, Any]], sources: Sequence[Path], target: Path) -> dict[str, Any]:
    joint = dict(found[0])
    rows: dict[str, dict[str, Any]] = {}
    for number, (source, results) in enumerate(zip(sources, found, strict=True)):
        for entry in results["rows"]:
            row = rows.setdefault(entry["name"], {**entry, "runs": []})
            if entry.get("role") == "control" and row["runs"]:
                continue
            known = {run.get("seed") for run in row["runs"]}
            row["runs"] += [_kept(run, source, target, number) for run in entry["runs"] if run.get("seed") not in known]
        joint["skipped"] = {**results.get("skipped", {}), **joint.get("skipped", {})}
    models = [row for row in rows.values() if row.get("role") != "control"]
    controls = [row for row in rows.values() if row.get("role") == "control"]
    joint["rows"] = [*models, *controls]
    joint["skipped"] = {name: why for name, why in joint["skipped"].items() if name not in rows}
    seeds = sorted({seed for results in found for seed in results["protocol"].get("seeds", [])})
    joint["protocol"] = {**found[0]["protocol"], "seeds": seeds}
    joint["files"] = _copied(found[0].get("files", {}), sources[0], target, 0)
    joint["command"] = ""
    return joint


def _at(results: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = results
    for key in path:
        value = (value or {}).get(key)
    return value


def _kept(run: Mapping[str, Any], source: Path, target: Path, number: int) -> dict[str, Any]:
    return {**run, "files": _copied(run["files"], source, target, number)} if run.get("files") else dict(run)


def _copied(files: Mapping[str, str], source: Path, target: Path, number: int) -> dict[str, str]:
    """The files of a results.json copied beside the new one; those that are gone are left out."""
    found = {}
    for key, name in files.items():
        old = source / name
        if not old.is_file():
            continue
        new = Path(str(number)) / name
        (target / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(old, target / new)
        found[key] = new.as_posix()
    return found
