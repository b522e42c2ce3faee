"""info: what is in the folder of a run; whether it is finished, its numbers, and what to do with it."""

import warnings
from pathlib import Path
from typing import Any

from pofx.artifact import load
from pofx.core.entry import public
from pofx.core.errors import PofxError, UsageError
from pofx.core.files import read_json, write_json
from pofx.hub import address
from pofx.storage import EVALUATION, locate
from pofx.summary import facts, line

PUBLIC = ("info",)


def store(folder: str | Path, evaluation: dict[str, Any]) -> None:
    """Store an evaluation on the run's own data beside it, where the folder can be written."""
    try:
        write_json(Path(folder) / EVALUATION, evaluation)
    except PofxError as error:
        warnings.warn(f"the evaluation is not stored in {folder} ({error})")


@public
def info(folder: str | Path) -> dict[str, Any]:
    """What is in the folder of a run: plain values, with a `summary` in one line and the last `evaluation`.

    Raises:
        UsageError: there is no such folder, or no run in it.
        CorruptError: a file of the run is damaged.
    """
    path = Path(folder) if address(folder) is None else locate(folder)
    if path.is_file():
        raise UsageError(f"{path} is a file: give the folder that --out named, such as {path.parent}")
    if not path.is_dir():
        raise UsageError(f"there is no run at {path}: train one with `pofx train DATA --model NAME --out {path}`")
    request = read_json(path / "request.json") if (path / "request.json").exists() else {}
    if not (path / "artifact.json").exists():
        if not request:
            raise UsageError(f"{path} holds no run of pofx (no artifact.json): give the folder that --out named")
        summary = f"{request.get('model')} on {request.get('data')}, no weights yet"
        resume = f"pofx train --resume --out {path}"
        return {"summary": summary, "run": str(path), "seed": str(request.get("seed")), "continue with": resume}
    run = load(path)
    files = [p for p in path.rglob("*") if p.is_file()]
    found: dict[str, Any] = {"summary": line(run), "run": str(path), **facts(run)}
    found["folder"] = f"{sum(p.stat().st_size for p in files) / 1e6:.1f} MB in {len(files)} files"
    if (path / EVALUATION).exists():
        found["evaluation"] = read_json(path / EVALUATION)
    if (run.card.get("training") or {}).get("finished") is False:
        found["continue with"] = f"pofx train --resume --out {path}"
    return {name: value for name, value in found.items() if value}
