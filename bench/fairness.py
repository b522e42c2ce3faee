"""Does balanced training serve a minority better? Adult by race, and MNIST with one digit cut to 2 % of the items.

    POFX_DATA=/path/to/data python bench/fairness.py [adult|mnist] [STEPS]

Prints the numbers of every group after plain and after balanced training with the same budget; of MNIST, whose pictures
are black and white here, also the share of held-out pictures, of the rare digit and of all, near which one of as many
draws, or one of the draws of that digit, lies.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import pofx
from pofx.apps.fairness import _vectors as vectors
from pofx.apps.fairness import fairness_report
from pofx.artifact import Artifact
from pofx.core.items import Items
from pofx.data.dataset import Dataset
from pofx.data.kind import take
from pofx.data.sources import load

RARE, DIGIT, SAME = 0.02, 8, 3000
MODELS = {"adult": ("circuit", {"states": 16, "steps": 150}), "mnist": ("vae", {"steps": 1000})}


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
    cut["test"] = take(data.test, np.sort(g.permutation(len(data.test))[:6_000]))
    return replace(data, **{part: black_and_white(items) for part, items in cut.items()}), "label", None


def black_and_white(items: Items) -> Items:
    return replace(items, values=(items.values > 127).astype(np.uint8), facts={**items.facts, "levels": 2})


def covered(run: Artifact, data: Dataset) -> dict[str, float]:
    """Coverage of held-out pictures by as many draws, 5 neighbours among all of them: of the rare digit by any draw and
    by draws of that digit (what five real neighbours of a draw mostly are), of all; and the share of such draws."""
    at = np.random.default_rng(0).permutation(len(data.test))[:SAME]
    rest = np.setdiff1d(np.arange(len(data.test)), at)
    real, labels = vectors(data.train, take(data.test, at)), np.asarray(data.test.labels)[at]
    made = vectors(data.train, run.draw(len(at), seed=1))
    judge = KNeighborsClassifier(5).fit(vectors(data.train, take(data.test, rest)), np.asarray(data.test.labels)[rest])
    own = made[judge.predict(made) == DIGIT]
    radius = NearestNeighbors(n_neighbors=6).fit(real).kneighbors(real)[0][:, -1]
    rare = labels == DIGIT

    def near(draws: np.ndarray) -> np.ndarray:
        if not len(draws):
            return np.zeros(len(real), bool)
        return NearestNeighbors(n_neighbors=1).fit(draws).kneighbors(real)[0][:, 0] <= radius

    return {
        "rare digit by any draw": round(float(near(made)[rare].mean()), 3),
        "rare digit by draws of it": round(float(near(own)[rare].mean()), 3),
        "all": round(float(near(made).mean()), 3),
        "share of draws": round(len(own) / len(made), 4),
    }


def main(name: str, steps: int | None) -> None:
    data, group, target = {"adult": adult, "mnist": mnist}[name]()
    model, options = MODELS[name]
    options = {**options, "steps": steps or options["steps"]}
    for balance in (None, group):
        run = pofx.fit(data, model, balance=balance, progress=False, **options)
        began, kind = time.perf_counter(), "balanced" if balance else "plain"
        if name == "mnist":
            print(kind, "coverage:", covered(run, data), flush=True)
        table = fairness_report(run, data, group, target=target)
        report = time.perf_counter() - began
        print(f"{name}, {kind}, {run.card['training']['seconds']:.0f} s, report {report:.0f} s")
        print(table.round(3).to_string(), flush=True)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:] if word.isdigit()]
    for chosen in [word for word in sys.argv[1:] if not word.isdigit()] or ["adult", "mnist"]:
        main(chosen, given[0] if given else None)
