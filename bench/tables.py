"""Tables as people have them: every table of POFX_DATA is fitted, scored and compared; large ones in time and memory.

    POFX_DATA=/path/to/data python bench/tables.py compare [NAME…]     # tiny budgets: does anything fail?
    POFX_DATA=/path/to/data python bench/tables.py choose [NAME…]      # held-out nats and seconds by model and n x d
    POFX_DATA=/path/to/data python bench/tables.py adult MODEL [STEPS] # all of Adult: seconds, held-out nats
    python bench/tables.py large [ROWS] [COLUMNS] [STEPS] [MODEL]      # bars: 4 GiB, 60 s for 500 steps on one core

A line of JSON each.
"""

import json
import os
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

import pofx

ROWS = 4000  # of a table in `choose`
MODELS = {
    "independent": {"steps": 1},
    "copula": {"steps": 1},
    "gmm": {"steps": 1},
    "circuit": {"steps": 60, "states": 32},
    "made": {"steps": 300, "represent": "bins", "dropout": 0.1},
    "vae": {"steps": 300, "importance": 32},
    "nsf": {"steps": 150},
}


def tables(names: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The twelve tables of ADBench, Adult, ESOL, ETTh1 and Sachs, those of these names where any are given."""
    root = Path(os.environ["POFX_DATA"])
    found = {path.stem: path for path in sorted((root / "tables").glob("*.npz"))}
    others = {"adult": "people/adult.csv", "esol": "molecules/esol.csv", "etth1": "series/ETTh1.csv"}
    found |= {name: root / path for name, path in others.items()}
    found |= {path.stem: path for path in sorted((root / "cells").glob("sachs*")) if path.suffix in (".csv", ".txt")}
    for name, path in found.items():
        if names and not any(part in name for part in names):
            continue
        if not path.exists():
            print(json.dumps({"table": name, "missing": str(path)}))
        elif path.suffix == ".npz":
            x = np.load(path)
            yield name, pd.DataFrame(x["X"], columns=[f"x{i}" for i in range(x["X"].shape[1])]).assign(y=x["y"])
        else:
            yield name, pd.read_csv(path, sep=None, engine="python", skipinitialspace=True, na_values="?")


def parted(frame: pd.DataFrame, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.8 * len(frame))
    return tuple(frame.iloc[np.sort(part)].reset_index(drop=True) for part in (order[:cut], order[cut:]))  # type: ignore[return-value]


def scored(train: pd.DataFrame, held: pd.DataFrame, model: str, options: dict[str, object]) -> dict[str, object]:
    began = time.perf_counter()
    run = pofx.fit(train, model, progress=False, **options)  # type: ignore[arg-type]
    fitted = time.perf_counter() - began
    value = run.score(held).value
    there = np.isfinite(value)
    return {
        "model": model,
        "density": run.density.name,
        "nats": round(float(value[there].mean()), 3) if there.any() else None,
        "impossible": int((~there).sum()),
        "fit_seconds": round(fitted, 1),
    }


def compare(names: list[str]) -> None:
    for name, frame in tables(names):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            frame.head(600).to_csv(Path(folder) / f"{name}.csv", index=False)
            line: dict[str, object] = {"table": name, "shape": list(frame.shape)}
            try:
                made = pofx.compare(
                    str(Path(folder) / f"{name}.csv"),
                    ["independent", "circuit", "vae"],
                    budget="3 steps",
                    out=Path(folder) / "c",
                    options={"circuit": {"states": 4}, "vae": {"width": 16, "importance": 8}},
                    progress=False,
                )
                runs = [(row["name"], run) for row in made.results["rows"] for run in row["runs"]]
                line["failed"] = {n: r.get("reason") for n, r in runs if r["status"] != "done"}
            except pofx.PofxError as error:
                line["failed"] = {"compare": str(error)}
        print(json.dumps({**line, "seconds": round(time.perf_counter() - began)}), flush=True)


def choose(names: list[str]) -> None:
    for name, frame in tables(names):
        train, held = parted(frame.sample(min(ROWS, len(frame)), random_state=0))
        for model, options in MODELS.items():
            line: dict[str, object] = {"table": name, "n": len(train), "d": frame.shape[1]}
            try:
                line |= scored(train, held.head(400), model, options)
            except pofx.PofxError as error:
                line |= {"model": model, "refused": str(error)}
            print(json.dumps(line), flush=True)


def adult(model: str, steps: int) -> None:
    name, frame = next(tables(["adult"]))
    train, held = parted(frame)
    line = scored(train, held.head(1000), model, {**MODELS.get(model, {}), "steps": steps})
    print(json.dumps({"table": name, "n": len(train), **line, "peak_gib": peak()}), flush=True)


def large(rows: int, columns: int, steps: int, model: str) -> None:
    g = np.random.default_rng(0)
    made: dict[str, object] = {}
    for j in range(columns):
        if j % 4 == 3:
            words = 10_000 if j == 3 else 8
            made[f"c{j}"] = pd.Categorical.from_codes(g.integers(0, words, rows), [f"w{k}" for k in range(words)])
        else:
            made[f"c{j}"] = g.normal(size=rows) if j % 4 else g.integers(0, 1000, rows)
    frame, before = pd.DataFrame(made), peak()
    began = time.perf_counter()
    own = {k: v for k, v in MODELS.get(model, {}).items() if k != "steps"}
    run = pofx.fit(frame, model, steps=steps, progress=False, **own)  # type: ignore[arg-type]
    line = {"rows": rows, "columns": columns, "steps": steps, "model": model, "before_gib": before, "peak_gib": peak()}
    seconds = round(time.perf_counter() - began, 1)
    print(json.dumps({**line, "fit_seconds": seconds, "training_seconds": run.card["training"]["seconds"]}), flush=True)


def peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, *rest = sys.argv[1:] or ["compare"]
    if what in ("compare", "choose"):
        {"compare": compare, "choose": choose}[what](rest)
    elif what == "adult":
        adult(rest[0] if rest else "made", int(rest[1]) if rest[1:] else 500)
    else:
        sizes = [int(float(v)) for v in rest[:3]]
        defaults = [1_000_000, 20, 500]
        rows_, columns_, steps_ = [*sizes, *defaults[len(sizes) :]]
        large(rows_, columns_, steps_, rest[3] if rest[3:] else "made")
