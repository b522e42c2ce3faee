"""Generated or real, by detectors that never saw the maker: AUC per family with its 95 % interval.

    python bench/detection.py COMPARISON --data mnist

COMPARISON is a folder of `pofx compare`, whose stored samples are used. For each run a detector learns from all others.
"""

import argparse
from pathlib import Path

import numpy as np

from pofx.apps.detect import detect_by_family
from pofx.core.items import Items
from pofx.data.sources import load


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("comparison", type=Path)
    cli.add_argument("--data", default="mnist")
    cli.add_argument("--level", type=float, default=0.05)
    args = cli.parse_args()
    data, made = load(args.data), {}
    for path in sorted(args.comparison.glob("*/samples.npz")):
        with np.load(path) as stored:
            made[path.parent.name] = Items(data.train.kind, stored["x"], facts=dict(data.train.facts))
    print(", ".join(f"{name} {len(items)}" for name, items in made.items()), flush=True)
    for row in detect_by_family(data, made, args.level):
        print(
            f"{row['maker']}: AUC {row['auc']:.3f} [{row['low']:.3f}, {row['high']:.3f}], found {row['found']:.1%} at "
            f"{args.level:.0%}, false alarms {row['false alarms']:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
