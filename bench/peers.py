"""All peers side by side, in turn in one process on one thread: bench/results.json and the table of docs/benchmarks.md.

    python bench/peers.py                      everything, about ten minutes
    python bench/peers.py vae metrics          these groups; the others keep what was measured before

Ratios are ours over theirs by the time of the processor, which other work on the machine disturbs least; below 1 ours
is quicker. Distances (`metrics`) run in a process per side; see metric_speed.py. Needs the extra `bench`.
"""

import json
import platform
import warnings
from argparse import Namespace
from importlib.metadata import version
from pathlib import Path

import metric_speed
import numpy as np
import torch
from contestants import CONTESTS
from harness import in_turn, measure, parser

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.json", HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- peers: written by bench/peers.py -->", "<!-- peers: end -->"
PEERS = ("denoising-diffusion-pytorch", "diffusers", "nflows", "normflows", "prdc", "pythae", "torch-fidelity",
         "torchmetrics", "transformers", "zuko")  # fmt: skip


def group(name):
    """A group of contests as a bar: one row per contest and peer."""

    def run(args):
        torch.manual_seed(0)
        for what, contestants, sizes in CONTESTS[name]():
            found = in_turn(contestants, args.rounds)
            for peer in list(contestants)[1:]:
                ours, theirs = found["pofx"], found[peer]
                row = {"group": name, "what": what, "peer": peer}
                for k, kind in enumerate(("cpu", "wall")):
                    row[f"{kind}_ratio"] = round(float(np.median(ours[:, k]) / np.median(theirs[:, k])), 3)
                    each = np.quantile(ours[:, k] / theirs[:, k], (0.25, 0.75))
                    row[f"{kind}_quartiles"] = [round(float(q), 3) for q in each]
                row["cpu_seconds"] = [round(float(np.median(side[:, 0])), 5) for side in (ours, theirs)]
                yield row | {"parameters": [sizes["pofx"], sizes[peer]], "rounds": args.rounds}

    run.__doc__ = CONTESTS[name].__doc__
    return run


def distances(args):
    """FD, KID, neighbours and Vendi of 10,000 × 10,000 items of 64 dimensions."""
    for row in metric_speed.speed(Namespace(n=args.n, d=64, rounds=max(args.rounds // 3, 1))):
        yield {"group": "metrics", **row}


BARS = {**{name: group(name) for name in CONTESTS}, "metrics": distances}


def table(rows):
    """The rows as Markdown."""
    lines = [
        "| what | peer | ours / theirs, CPU time (quartiles) | by the clock | ms of CPU time | parameters |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "cpu_ratio" not in row:
            continue
        low, high = row["cpu_quartiles"]
        ms = " / ".join(f"{1e3 * s:,.4g}" if s < 1 else f"{1e3 * s:,.0f}" for s in row["cpu_seconds"])
        sizes = " / ".join(f"{n:,}" for n in row.get("parameters", ())) or "peak " + " / ".join(
            f"{gib:.2f} GiB" for gib in row["peak_gib"]
        )
        what = (
            f"{row['n']:,} × {row['n']:,} × {row['dims']}: {row['what']}" if row["group"] == "metrics" else row["what"]
        )
        ratio = f"{row['cpu_ratio']:.2f} ({low:.2f} to {high:.2f}) | {row['wall_ratio']:.2f}"
        lines.append(f"| {what} | {row['peer']} | {ratio} | {ms} | {sizes} |")
    gaps = [row["gaps"] for row in rows if "gaps" in row]
    if gaps:
        worst = max(gaps[0], key=gaps[0].get)
        lines += ["", f"Largest relative gap of a distance to the same one by a peer: {gaps[0][worst]:.0e} ({worst})."]
    return "\n".join(lines)


def publish(rows):
    """Write the results, leaving those of other groups, and the page between its markers."""
    measured = {row["group"] for row in rows}
    kept = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    every = [
        row for name in BARS for row in [*kept, *rows] if row["group"] == name and (name not in measured or row in rows)
    ]
    about = {"python": platform.python_version(), "machine": platform.machine(), "threads": 1}
    about["versions"] = {name: version(name) for name in ("pofx", "torch", "numpy", *PEERS)}
    RESULTS.write_text(json.dumps({**about, "rows": every}, indent=1, ensure_ascii=False) + "\n")
    text = PAGE.read_text()
    if BEGIN not in text or END not in text:
        raise SystemExit(f"{PAGE.name} has no place for the table: add the lines\n{BEGIN}\n{END}")
    before, rest = text.split(BEGIN)
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("torch", *PEERS))
    PAGE.write_text(f"{before}{BEGIN}\n{table(every)}\n\n{versions}.\n{END}{rest.split(END)[1]}")


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--n", type=int, default=10_000, help="items a side of the distances")
    args = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    rows = []

    def noting(bar):
        def run(args):
            for row in bar(args):
                rows.append(row)
                yield row

        return run

    measure("peers", {name: noting(bar) for name, bar in BARS.items()}, args)
    publish(rows)


if __name__ == "__main__":
    main()
