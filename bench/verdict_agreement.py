"""Do two comparisons of the same data under other seeds come to the same verdict? Pairs of models, axis by axis.

    pofx compare digits --budget 20s --seed 0 --out runs/a
    pofx compare digits --budget 20s --seed 1 --out runs/b
    python bench/verdict_agreement.py runs/a runs/b

A pair that both separate in the same order agrees, one that they order oppositely contradicts; a pair separated in one
comparison only is near the threshold.
"""

import json
import sys
from pathlib import Path

from pofx.report.rows import read, rows
from pofx.report.verdict import decide


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    first, second = (decide(rows(read(Path(folder) / "results.json"))) for folder in sys.argv[1:])
    others = {s.axis.key: s for s in second.standings}
    for a in first.standings:
        b = others[a.axis.key]
        separated = a.beats | b.beats
        against = [pair for pair in a.beats if pair[::-1] in b.beats]
        row = {
            "axis": a.axis.key,
            "pairs": len(a.order) * (len(a.order) - 1) // 2,
            "separated_alike": len(a.beats & b.beats),
            "separated_in_one": len(separated) - len(a.beats & b.beats) - 2 * len(against),
            "contradict": against,
            "groups": [a.groups, b.groups],
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
