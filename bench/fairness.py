"""Does balanced training serve a minority better? Adult by race, and MNIST with one digit cut to 2 % of the items.

    POFX_DATA=/path/to/data python bench/fairness.py [adult|mnist]

Prints the numbers of every group after plain and after balanced training with the same budget.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

import pofx
from pofx.apps.fairness import fairness_report
from pofx.data.dataset import Dataset
from pofx.data.kind import take
from pofx.data.sources import load

STEPS, RARE, DIGIT = 150, 0.02, 8


def adult() -> tuple[Dataset, str, str | None]:
    path = Path(os.environ["POFX_DATA"]) / "people" / "adult.csv"
    frame = pd.read_csv(path, skipinitialspace=True, na_values="?").sample(12_000, random_state=0)
    return load(frame.reset_index(drop=True)), "race", "income"


def mnist() -> tuple[Dataset, str, str | None]:
    data = load("mnist")
    g = np.random.default_rng(0)
    cut = {}
    for part in ("train", "validation"):
        items = data.splits()[part]
        labels = np.asarray(items.labels)
        some = g.permutation(np.flatnonzero(labels == DIGIT))
        others = g.permutation(np.flatnonzero(labels != DIGIT))[: 8_000 if part == "train" else 1_000]
        at = np.concatenate((others, some[: int(RARE * len(others))]))
        cut[part] = take(items, np.sort(at))
    return replace(data, **cut), "label", None


def main(name: str) -> None:
    data, group, target = {"adult": adult, "mnist": mnist}[name]()
    for balance in (None, group):
        options = {"states": 16, "steps": STEPS, "progress": False}
        run = pofx.fit(data, "circuit", balance=balance, **options)
        table = fairness_report(run, data, group, target=target)
        print(f"{name}, {'balanced' if balance else 'plain'}, {run.card['training']['seconds']:.0f} s")
        print(table.round(3).to_string(), flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ["adult", "mnist"]:
        main(chosen)
