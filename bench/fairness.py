"""Does balanced training serve a minority better? Adult by race, and MNIST with one digit cut to 2 % of the items.

    POFX_DATA=/path/to/data python bench/fairness.py [adult|mnist]

Prints the numbers of every group after plain and after balanced training with the same budget; of MNIST also the
share of held-out pictures, of the rare digit and of all, near which one of as many draws lies (coverage among all).
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

import pofx
from pofx.apps.fairness import _vectors as vectors
from pofx.apps.fairness import fairness_report
from pofx.artifact import Artifact
from pofx.data.dataset import Dataset
from pofx.data.kind import take
from pofx.data.sources import load

RARE, DIGIT, SAME = 0.02, 8, 4000
MODELS = {"adult": ("circuit", {"states": 16, "steps": 150}), "mnist": ("vae", {"steps": 600})}


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


def covered(run: Artifact, data: Dataset) -> tuple[float, float]:
    """Coverage of the rare digit and of all held-out pictures by as many draws, 5 neighbours among all of them."""
    at = np.random.default_rng(0).permutation(len(data.test))[:SAME]
    real, labels = vectors(data.train, take(data.test, at)), np.asarray(data.test.labels)[at]
    made = vectors(data.train, run.draw(len(at), seed=1))
    radius = NearestNeighbors(n_neighbors=6).fit(real).kneighbors(real)[0][:, -1]
    near = NearestNeighbors(n_neighbors=1).fit(made).kneighbors(real)[0][:, 0] <= radius
    return float(near[labels == DIGIT].mean()), float(near.mean())


def main(name: str) -> None:
    data, group, target = {"adult": adult, "mnist": mnist}[name]()
    model, options = MODELS[name]
    for balance in (None, group):
        run = pofx.fit(data, model, balance=balance, progress=False, **options)
        table = fairness_report(run, data, group, target=target)
        print(f"{name}, {'balanced' if balance else 'plain'}, {run.card['training']['seconds']:.0f} s")
        print(table.round(3).to_string(), flush=True)
        if name == "mnist":
            print("coverage of the rare digit, of all:", covered(run, data), flush=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or ["adult", "mnist"]:
        main(chosen)
