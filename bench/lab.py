"""The virtual laboratory: `POFX_DATA=… python bench/lab.py NAME`, cells, sachs or a generated lab."""

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd

from pofx.apps.untried import distance, untried_cells
from pofx.apps.virtual_lab import VirtualLab, held_out, mean_shift, nb_floor
from pofx.data.cells import read_counts
from pofx.data.labs import LABS


def generated(name: str, minutes: float) -> None:
    """Counterfactuals and a held-out condition of a lab with known truth."""
    lab = LABS[name]
    every = lab.conditions()
    out = every.iloc[len(every) // 2]  # no cell of this condition is seen
    train = pd.concat([every.drop(index=out.name)] * 400, ignore_index=True)
    cells, _ = lab.cells(train, seed=1)
    model = VirtualLab.fit(cells, train, columns=lab.columns, minutes=minutes)
    control = every.iloc[0]
    before = pd.DataFrame([control] * 1000)
    x, noise = lab.cells(before, seed=2)
    rows = {}
    for i, condition in every.iloc[1:].iterrows():
        after = pd.DataFrame([condition] * 1000)
        truth = lab.outcome(after.to_numpy(), noise)
        ours = model.counterfactual(x, before, after)
        seen = cells[(train == condition).all(axis=1).to_numpy()]
        simple = (
            mean_shift(cells[(train == control).all(axis=1).to_numpy()], seen, x)
            if len(seen)
            else (mean_shift(cells[(train == control).all(axis=1).to_numpy()], cells, x))
        )
        errors = [float(np.abs(v - truth).mean()) for v in (ours, simple, x)]
        rows[str(dict(condition)) + (" held out" if i == out.name else "")] = errors
    table = pd.DataFrame(rows, index=["counterfactual error", "mean shift", "no change"]).T
    print(table.round(4).to_string())
    print(table.mean().round(4).to_string())
    new, _ = lab.cells(pd.DataFrame([out] * 1000), seed=3)
    print(held_out(model, new, dict(out), cells, cells[(train == control).all(axis=1).to_numpy()]).round(4).to_string())


def real(minutes: float, observation: str) -> None:
    """Nats per held-out cell."""
    folder = Path(os.environ["POFX_DATA"]) / "cells"
    parts = {}
    for part in ("train", "test"):
        labels = pd.read_csv(folder / f"{part}_labels.txt", sep="\t", header=None, index_col=0)[1]
        parts[part] = read_counts(folder / f"{part}.h5", list(labels.index))[0], labels
    (x, types), (y, new) = parts["train"], parts["test"]
    print("floor, NB by gene:", round(nb_floor(x, y), 1))
    options = {"observation": observation}
    model = VirtualLab.fit(x, pd.DataFrame({"type": types.to_numpy()}), minutes=minutes, options=options)
    logs = model.log_prob(y, pd.DataFrame({"type": new.to_numpy()}))
    print(observation, "nats per cell:", round(-logs.mean(), 1), "±", round(logs.std() / len(logs) ** 0.5, 1))
    same = pd.DataFrame({"type": np.random.default_rng(0).permutation(new.to_numpy())})
    print("with the types of others:", round(-model.log_prob(y[:200], same[:200]).mean(), 1))


def sachs(minutes: float) -> None:
    """Proteins of T cells: each of 8 conditions is left out in turn, and made as one that nobody has tried: of cells of
    the others, and of what a lab of them draws."""
    frame = pd.read_csv(Path(os.environ["POFX_DATA"]) / "cells" / "sachs_interventions.txt", sep="\t")
    proteins, marks = list(frame.columns[:11]), frame.columns[12:]
    named = frame[marks].idxmax(axis=1).where(frame[marks].any(axis=1), "none")
    x, rows = frame[proteins].to_numpy(), {}
    of = {name: x[(named == name).to_numpy()] for name in named.unique()}
    for out in marks:
        seen = (named != out).to_numpy()
        made, shares = untried_cells(of["none"], [of[name] for name in marks if name != out], 8000)
        rows[out] = {"of cells": distance(made, of[out]), **shares}
        if minutes:
            model = VirtualLab.fit(x[seen], pd.DataFrame({"drug": named[seen]}), columns=proteins, minutes=minutes)
            rows[out]["of a lab"] = distance(model.untried("drug", {"drug": "none"}, 4000)[0], of[out])
        rows[out] |= {"no change": distance(of["none"], of[out]), "pooled": distance(x[seen], of[out])}
    table = pd.DataFrame(rows).T
    print(table.round(4).to_string())
    for name in table.columns.intersection(["of cells", "of a lab"]):
        below = (table[name] < table[["no change", "pooled"]].min(axis=1)).sum()
        print(f"{name}, below both floors: {int(below)} of 8")


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("name", choices=["cells", "sachs", *LABS])
    cli.add_argument("--minutes", type=float, default=1.0)
    cli.add_argument("--observation", default="nb")
    args = cli.parse_args()
    if args.name == "cells":
        real(args.minutes, args.observation)
    else:
        sachs(args.minutes) if args.name == "sachs" else generated(args.name, args.minutes)
