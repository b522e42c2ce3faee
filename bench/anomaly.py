"""The default anomaly detector on the twelve tables of ADBench, beside the usual floors on the same rows.

    POFX_DATA=/path/to/data python bench/anomaly.py one-class contaminated conformal [--tables wine,vowels] [--seeds 2]

70 % of the rows learn (at most 3,000) and 30 % are scored (at most 6,000), by class and seed. "one-class" learns from
normal rows alone, "contaminated" from all. Floors are scikit-learn's on standardised rows: the distance to the fifth
neighbour, ten normals, an isolation forest. `summary` reads the lines of earlier calls and pairs the tables.
"""

import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
from harness import listed, measure, parser
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from pofx.apps.anomaly import AnomalyDetector

LEARN, SCORE = 3_000, 6_000
LEVELS = (0.01, 0.05, 0.10)
FLOORS = ("kNN", "GMM-10", "IForest")


def names():
    return sorted(path.stem for path in (Path(os.environ["POFX_DATA"]) / "tables").glob("*.npz"))


def parts(name, seed, one_class):
    """Rows to learn from, rows to score, and which of these are anomalies."""
    stored = np.load(Path(os.environ["POFX_DATA"]) / "tables" / f"{name}.npz")
    x, y = stored["X"].astype(np.float64), stored["y"].astype(int)
    g = np.random.default_rng(seed)
    learn, score = [], []
    for k in (0, 1):
        own = g.permutation(np.flatnonzero(y == k))
        cut = int(round(0.7 * len(own)))
        learn.append(own[:cut])
        score.append(own[cut:])
    at = []
    for side, most in zip((learn, score), (LEARN, SCORE), strict=True):
        share = min(1.0, most / sum(map(len, side)))
        at.append(np.concatenate([of[: max(int(round(share * len(of))), 1)] for of in side]))
    rows = at[0] if not one_class else learn[0][:LEARN]
    return x[g.permutation(rows)], x[at[1]], y[at[1]]


def floor(name, learn, score, seed):
    scaler = StandardScaler().fit(learn)
    a, b = scaler.transform(learn), scaler.transform(score)
    if name == "kNN":
        return NearestNeighbors(n_neighbors=5).fit(a).kneighbors(b)[0][:, -1]
    if name == "GMM-10":
        count = max(1, min(10, len(a) // 10))
        return -GaussianMixture(count, reg_covar=1e-3, random_state=seed).fit(a).score_samples(b)
    return -IsolationForest(random_state=seed).fit(a).score_samples(b)


def judged(truth, scores):
    return {"auroc": round(roc_auc_score(truth, scores), 4), "ap": round(average_precision_score(truth, scores), 4)}


def _bar(args, protocol):
    for name in args.tables or names():
        for seed in range(args.seeds):
            learn, score, truth = parts(name, seed, protocol == "one-class")
            line = {"table": name, "seed": seed, "n": len(learn), "d": learn.shape[1], "scored": len(score)}
            line |= {of: judged(truth, floor(of, learn, score, seed)) for of in FLOORS}
            began, used = time.perf_counter(), time.process_time()
            detector = AnomalyDetector(protocol=protocol, random_state=seed).fit(learn)
            line["default"] = judged(truth, detector.decision_function(score))
            line["seconds"] = round(time.perf_counter() - began, 1)
            line["cpu_seconds"] = round(time.process_time() - used, 1)
            yield line


def one_class(args):
    yield from _bar(args, "one-class")


def contaminated(args):
    yield from _bar(args, "contaminated")


def conformal(args):
    """The share of normal rows that are flagged at each level: the rate of false alarms."""
    for name in args.tables or names():
        learn, score, truth = parts(name, 0, True)
        usual = score[truth == 0]
        detector = AnomalyDetector(threshold="conformal", random_state=0).fit(learn)
        p = detector.p_values(usual)
        yield {
            "table": name,
            "held": len(detector.reference_),
            "scored": len(usual),
            "false_alarms": {str(level): round(float((p <= level).mean()), 4) for level in LEVELS},
        }


def paired(rows, better, worse, score):
    """The mean over tables of the difference of two methods, and the half-width of its 95 % interval."""
    by = {}
    for row in rows:
        by.setdefault(row["table"], []).append(row[better][score] - row[worse][score])
    d = np.array([np.mean(v) for v in by.values()])
    return round(float(d.mean()), 4), round(float(1.96 * d.std(ddof=1) / len(d) ** 0.5), 4)


def summary(args):
    """Means over tables, paired differences to each floor, and the worst table, of the lines that were stored."""
    path = args.out / "anomaly.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for bar in ("one-class", "contaminated"):
        own = [r for r in rows if r["benchmark"] == bar]
        if len({r["table"] for r in own}) < 2:
            continue
        means = {
            of: {s: round(float(np.mean([r[of][s] for r in own])), 4) for s in ("auroc", "ap")}
            for of in (*FLOORS, "default")
        }
        differences = {f"{of} {s}": paired(own, "default", of, s) for of in FLOORS for s in ("auroc", "ap")}
        least = min(own, key=lambda r: r["default"]["auroc"] - r["kNN"]["auroc"])
        yield {
            "of": bar,
            "tables": len({r["table"] for r in own}),
            "means": means,
            "differences": differences,
            "worst": [least["table"], round(least["default"]["auroc"] - least["kNN"]["auroc"], 4)],
            "slowest_seconds": max(r["seconds"] for r in own),
        }
    own = [r for r in rows if r["benchmark"] == "conformal"]
    if own:
        weights = np.array([r["scored"] for r in own])
        for level in map(str, LEVELS):
            rates = np.array([r["false_alarms"][level] for r in own])
            yield {
                "of": f"conformal {level}",
                "mean": round(float(rates.mean()), 4),
                "pooled": round(float((rates * weights).sum() / weights.sum()), 4),
                "range": [float(rates.min()), float(rates.max())],
            }


BARS = {"one-class": one_class, "contaminated": contaminated, "conformal": conformal, "summary": summary}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--tables", type=listed)
    options.add_argument("--seeds", type=int, default=2)
    args = options.parse_args()
    warnings.simplefilter("ignore")
    measure("anomaly", BARS, args)


if __name__ == "__main__":
    main()
