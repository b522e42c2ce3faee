"""Uses of sequences and grids on real data: molecules, levels, proteins, design, text; numbers beside their floors.

    POFX_DATA=… OMP_NUM_THREADS=1 python bench/science.py zinc|logp|qed|boxoban|mario|proteins|design|text [--steps 600]
        [--minutes 10] [--tokens smiles-sizes] [--out FOLDER] [--run FOLDER]

Prints tables. Without --minutes trainings are short (about three minutes of one core).
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pofx.data.dataset import dataset
from pofx.data.kind import joined

DATA = Path(os.environ.get("POFX_DATA", "data"))
ABOUT = {"source": "file", "licence": "unknown", "count_overlaps": False}


def molecules_of_zinc(properties: tuple[str, ...] = ()):
    """22,001 training molecules of zinc_24k, and all others of zinc_5k to test."""
    from pofx.apps import molecules as m

    full = m.read(DATA / "molecules/zinc_24k.smi", properties)
    if properties:
        return m, full
    known = {*full.train.values, *full.validation.values, *full.test.values}
    test = m.as_molecules([s for s in (DATA / "molecules/zinc_5k.smi").read_text().split() if s not in known])
    return m, dataset(joined([full.train, full.test]), full.validation, test, "zinc", **ABOUT)


def learned(m, data, args, **options):
    """A run of so many steps or minutes, saved where it is wanted."""
    began = time.process_time()
    budget = {"minutes": args.minutes} if args.minutes else {"steps": args.steps}
    run = m.learn(data, **budget, progress=False, **options)
    steps = run.card["training"]["steps"]
    print(f"{steps} steps, {time.process_time() - began:.0f} s of CPU", flush=True)
    if args.out:
        run.save(args.out)
    return run


def zinc(args) -> None:
    m, data = molecules_of_zinc()
    run = learned(m, data, args, layers=4, validations=3, tokens=args.tokens)
    print(m.report(run, data, n=2000).round(3).to_string(), flush=True)
    for temperature in (0.9, 0.8):
        found = m.chemistry.canonical(run.sample(500, seed=0, temperature=temperature))
        print(f"valid at temperature {temperature}: {1 - found.count(None) / 500:.3f}", flush=True)
    _, table = m.optimise(run, "QED", data, rounds=5, calls=200)
    print(table.round(3).to_string(), flush=True)


def logp(args) -> None:
    m, data = molecules_of_zinc(("logP",))
    run = learned(m, data, args, layers=4, validations=3, tokens=args.tokens)
    drawn = m.chemistry.canonical(run.sample(500, **m.given(run, data, 500, 1), seed=1, with_condition=False))
    print(f"valid of 500: {1 - drawn.count(None) / 500:.3f}", flush=True)
    for tries in (1, 4, 8):
        print(f"nearest of {tries}", m.obedience(run, data, tries=tries).round(3).to_string(), sep="\n", flush=True)


def qed(args) -> None:
    """Discovery among molecules: the best QED after 5 rounds of 10 calls, of a run of `zinc` (--out of that)."""
    from pofx.apps.design_floors import compared
    from pofx.apps.molecule_search import function
    from pofx.artifact import load

    run = load(args.run) if args.run else learned(*molecules_of_zinc(), args, layers=4, validations=3)
    print(compared(function("QED"), run, rounds=5, batch=10, seeds=3).round(3).to_string(), flush=True)


def boxoban(args) -> None:
    from pofx.apps import levels as m

    files = [m.levels_in(f.read_text()) for f in sorted((DATA / "levels/boxoban").glob("*.txt"))]
    train = [level for file in files[:-1] for level in file]
    tiles = "".join(sorted(set("".join(train)) - {"\n"}))
    known = set(train)
    parts = [m.as_levels(v, tiles) for v in (train[:-500], train[-500:], [t for t in files[-1] if t not in known])]
    data = dataset(replace(parts[0], values=m.turned(parts[0].values)), *parts[1:], "boxoban", **ABOUT)
    own = {"width": 96, "layers": 3} if args.model == "gpt" else {}
    run = learned(m, data, args, model=args.model, validations=2, **own)
    m.PUSHED = 5_000
    print(m.report(run, data, rules="sokoban", solve=True, n=300).round(3).to_string())


def mario(args) -> None:
    from pofx.apps import levels as m

    data = m.read(DATA / "levels/mario", width=16)
    print({k: len(v) for k, v in data.splits().items()}, data.card.facts["levels_held_out"], "levels held out")
    run = learned(m, data, args, width=64, layers=2, optimizer="adamw", lr=2e-3)
    print(m.report(run, data, n=200).round(3).to_string())


def proteins(args) -> None:
    from pofx.apps import proteins as m

    files = (
        ("BLAT_ECOLX.a2m", "BLAT_ECOLX_fitness.csv", "log_fitness"),
        ("PTEN_HUMAN.a2m", "PTEN_abundance.csv", "score"),
    )
    for name, assay, score in files:
        alignment = m.read_alignment(DATA / "proteins" / name)
        mutants, truth = m.read_assay(DATA / "proteins" / assay, score=score)
        sequences, there = m.mutated(alignment, mutants)
        sequences, truth = [s for s, t in zip(sequences, there, strict=True) if t], truth[there]
        print(
            f"{name}: {len(alignment.sequences)} sequences, {alignment.effective:.0f} effective, {len(truth)} mutants"
        )
        scores, each = m.floors(alignment, sequences), []
        for seed in range(3):
            run = m.learn(m.resampled(alignment, seed=seed), "vae", seed=seed, steps=args.steps, progress=False)
            each.append(m.score_of(run, alignment, sequences))
            print(f"member {seed}", m.spearman({"vae": each[-1]}, truth).round(3).to_string(header=False), flush=True)
        scores["vae x 3"] = np.mean(each, 0)
        scores["mean rank of all"] = m.ensemble(scores)
        print(m.spearman(scores, truth).round(3).to_string(), flush=True)


def branin(designs: list) -> np.ndarray:
    """Dixon and Szegő, 1978: least 0.3979."""
    x, y = np.stack(designs).T
    a = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return a**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10


def hartmann(designs: list) -> np.ndarray:
    """Six dimensions: least -3.3224."""
    a = np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    )
    p = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    x = np.stack(designs)[:, None]
    return -(np.exp(-(a * (x - p) ** 2).sum(-1)) * [1, 1.2, 3, 3.2]).sum(-1)


def ackley(designs: list) -> np.ndarray:
    """Ackley, 1987, five dimensions: least 0."""
    x = np.stack(designs)
    near = -20 * np.exp(-0.2 * np.sqrt((x**2).mean(1)))
    return near - np.exp(np.cos(2 * np.pi * x).mean(1)) + 20 + np.e


def design(args) -> None:
    from pofx.apps.design_floors import compared

    cases = {
        branin: {"x": (-5, 10), "y": (0, 15)},
        hartmann: {f"x{i}": (0, 1) for i in range(6)},
        ackley: {f"x{i}": (-3, 7) for i in range(5)},
    }
    for function, bounds in cases.items():
        found = compared(function, bounds, rounds=5, batch=10, seeds=3, minimise=True)
        print(function.__name__, function.__doc__, found.round(3).to_string(), sep="\n", flush=True)


def text(args) -> None:
    import pofx
    from pofx.apps import text as m

    data = m.read(str(DATA / "names.txt"))
    runs = {}
    for name in m.MODELS:
        began = time.process_time()
        runs[name] = pofx.fit(data, name, steps=args.steps, width=96, layers=3, batch_size=64, progress=False)
        print(f"{name}: {args.steps} steps, {time.process_time() - began:.0f} s of CPU", flush=True)
    print(m.report(runs, data).round(3).to_string())
    print(m.prompted(runs["gpt"], "", 8), m.filled(runs["masked-diffusion"], "__ra_", 8))


if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("name", choices=["zinc", "logp", "qed", "boxoban", "mario", "proteins", "design", "text"])
    cli.add_argument("--steps", type=int, default=600)
    cli.add_argument("--model", default="gpt", help="of boxoban")
    cli.add_argument("--minutes", type=float, help="of training, of molecules and levels")
    cli.add_argument("--tokens", help="of molecules: smiles-kekule (default), smiles-sizes, …")
    cli.add_argument("--out", help="folder of the run")
    cli.add_argument("--run", help="of qed: folder of a run of molecules")
    args = cli.parse_args()
    pd.set_option("display.width", 250)
    globals()[args.name](args)
