"""Synthetic rows of Adult: 26,049 of 32,561 rows are learned from, 6,512 measure. One line per method.

POFX_DATA=/path/to/data python bench/synthesis.py [floors|private|mst|aim|dp-independent|dp-sgd|made|circuit|fresh]
POFX_DATA=/path/to/data python bench/synthesis.py audit [mst|aim|dp-independent|made] [RELEASES]

`fresh`: the default model, measured on other rows than those by which it was chosen, and timed on 100,000 draws. A
number is the minutes of training of `made` and `fresh` (4.7).
`audit`: the ε that an attack shows. One row that is unlike 300 others of Adult is there or not; the attacker has log p
of that row under each private model, and the bound holds with 95 % (see `pofx.maths.privacy.audited_epsilon`).
"""

import os
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pofx.apps.private_table import PrivateTable
from pofx.apps.synthesize import HELD
from pofx.apps.synthesizer import Synthesizer, floors, modelled
from pofx.apps.synthetic_quality import quality, usefulness
from pofx.maths.privacy import audited_epsilon

TARGET = "income"
RANGES = {
    "age": (17, 90),
    "fnlwgt": (10_000, 1_500_000),
    "education-num": (1, 16),
    "capital-gain": (0, 99_999),
    "capital-loss": (0, 5_000),
    "hours-per-week": (1, 99),
}
DESCENT = {"steps": 300, "options": {"width": 128, "batch_size": 256, "lr": 3e-3}}
PRIVATE = {
    "mst": {"mst": {}},
    "aim": {"aim": {}},
    "dp-independent": {"dp-independent": {}},
    "dp-sgd": {"made": DESCENT},
}
PRIVATE["private"] = {name: own for each in PRIVATE.values() for name, own in each.items()}


FEW = {"age": (17, 90), "sex": ["Female", "Male"], "income": ["<=50K", ">50K"], "hours-per-week": (1, 99)}
DELTA = 1e-4  # of the audit
SMALL = {
    "mst": {},
    "aim": {},
    "dp-independent": {},
    "made": {"steps": 20, "options": {"width": 16, "batch_size": 64, "lr": 1e-2}},
}


def audit(names: list[str], releases: int) -> None:
    """A lower bound of ε by membership of a canary, for private models at ε = 1 and 3."""
    path = Path(os.environ["POFX_DATA"]) / "people" / "adult.csv"
    frame = pd.read_csv(path, skipinitialspace=True, na_values="?")[list(FEW)]
    rows = frame[(frame["hours-per-week"] > 20) & (frame["age"] < 70)].head(300).reset_index(drop=True)
    canary = pd.DataFrame({"age": [90], "sex": ["Female"], "income": [">50K"], "hours-per-week": [1]})
    for name in names or SMALL:
        for epsilon in (1.0, 3.0):
            start, found = time.perf_counter(), []
            for table in (rows, pd.concat((rows, canary), ignore_index=True)):
                seen = []
                for k in range(releases):
                    one = PrivateTable(epsilon, DELTA, model=name, domain=FEW, seed=k, **SMALL[name]).fit(table)
                    x = np.stack([d.encode(canary[c]) for c, d in one.domains.items()], 1)
                    with torch.no_grad():
                        seen.append(float(one.model.log_prob(torch.from_numpy(x))))
                found.append(np.array(seen))
            shown = audited_epsilon(found[0], found[1], DELTA)
            took = time.perf_counter() - start
            print(f"{name}, ε = {epsilon:g}: {releases} releases show at least {shown:.3f} ({took:.0f} s)", flush=True)


def main(what: str, minutes: float = 4.7) -> None:
    path = Path(os.environ["POFX_DATA"]) / "people" / "adult.csv"
    frame, _ = modelled(pd.read_csv(path, skipinitialspace=True, na_values="?"))
    order, most = np.random.default_rng(0).permutation(len(frame)), int(HELD * len(frame))
    if what == "fresh":  # rows that no choice of a model was made on
        order = np.roll(order, -most)
    held, rest = (frame.iloc[np.sort(part)].reset_index(drop=True) for part in np.split(order, [most]))

    def line(name: str, rows: pd.DataFrame, seconds: tuple[float, float] = (0.0, 0.0)) -> None:
        found = {k: round(v, 4) for k, v in quality(rows, rest, held, target=TARGET).items()}
        print(f"{name}: fit {seconds[0]:.0f} s, draw {seconds[1]:.0f} s", found, flush=True)

    def made(name: str, maker: Synthesizer) -> None:
        start = time.perf_counter()
        maker.fit(rest)
        fitted = time.perf_counter()
        rows = maker.sample(max(len(rest), 100_000 if what == "fresh" else 0))
        drawn = time.perf_counter() - fitted
        line(f"{name}, {len(rows):,} rows", rows.head(len(rest)), (fitted - start, drawn))
        if len(rows) > len(rest):
            print(f"TSTR of all {len(rows):,} rows: {usefulness(rows, held, rest, TARGET):.4f}", flush=True)

    if what == "floors":
        print("TRTR", usefulness(rest, held, rest, TARGET))
        for name, rows in floors(rest, len(rest)).items():
            line(name, rows)
    elif what in PRIVATE:
        words = {c: sorted(frame[c].dropna().unique()) for c in frame.columns if c not in RANGES}
        domain = RANGES | words
        for name, own in PRIVATE[what].items():
            for epsilon in (1.0, 3.0):
                made(
                    f"{name}, ε = {epsilon:g}", Synthesizer(name, epsilon=epsilon, target=TARGET, domain=domain, **own)
                )
    elif what == "fresh":
        print("TRTR", usefulness(rest, held, rest, TARGET))
        made("made", Synthesizer("made", minutes=minutes, target=TARGET))
    else:
        budget = {"minutes": minutes} if what == "made" else {"steps": 300}
        made(what, Synthesizer(what, target=TARGET, **budget))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    words = sys.argv[1:]
    if words and words[0] == "audit":
        numbers = [int(word) for word in words if word.isdigit()]
        audit([word for word in words[1:] if word in SMALL], numbers[0] if numbers else 500)
    else:
        times = [float(word) for word in words if re.fullmatch(r"[\d.]+", word)]
        for chosen in [w for w in words if not re.fullmatch(r"[\d.]+", w)] or ["floors", "private", "made", "circuit"]:
            main(chosen, *times[:1])
