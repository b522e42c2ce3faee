"""Coverage of intervals, detection rate of planted faults and false-alarm rate of the measures of samples.

    python bench/interval_coverage.py intervals              coverage of the 95 % intervals over 200 repeated draws
    python bench/interval_coverage.py faults --splits 100    catch and false-alarm rates at p < 0.01, over random splits

Results go to <out>/interval_coverage.jsonl.
"""

import math
import warnings

import numpy as np
import torch
from harness import listed, measure, parser
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from pofx.evaluate.metric import ClassMetric, FeatureMetric, NoveltyMetric, metrics

N, D = 300, 6  # of the intervals
SETTINGS = {"equal": (1.0, 0.0), "wider and shifted": (1.1, 0.15)}


def pair(seed, scale, shift):
    """Samples and real items (N, D): Gaussians."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(N, D)) * scale + shift, generator.normal(size=(N, D))


def covered(metric, setting, draws):
    """Per score: how often value ± 1.96 standard errors holds the mean of twice as many other draws at the same n."""
    truths = [metric.values(*pair(10_000 + s, *SETTINGS[setting]), s) for s in range(2 * draws)]
    found = []
    for s in range(draws):
        x, y = pair(s, *SETTINGS[setting])
        found.append((metric.values(x, y, s), metric.errors(x, y, s)))
    for score in metric.scores:
        drawn = np.array([t[score] for t in truths])
        gaps = np.array([v[score] - drawn.mean() for v, _ in found])
        stated = np.array([e[score] for _, e in found])
        yield {
            "score": score,
            "setting": setting,
            "covered": round(float((np.abs(gaps) <= 1.96 * stated).mean()), 3),
            "stated_over_true": round(float(stated.mean() / drawn.std(ddof=1)), 2),
            "draws": draws,
            "n": N,
            "dims": D,
            "bar": "0.90 to 0.98",
        }


def intervals(args):
    """Every score of samples against real items, at equality and for samples that are wider and shifted."""
    for metric in metrics(FeatureMetric):
        if not args.names or set(args.names) & set(metric.scores):
            for setting in SETTINGS:
                yield from covered(metric, setting, args.draws)


# Planted faults

DATA = ("digits", "gaussian")
LEVEL = 0.01
FAULTS = ("none", "2 % copies", "dropped class", "contracted 0.7", "half junk", "shifted mean", "swapped labels")


def split(name, seed):
    """Samples, real and training items of one distribution, with labels, and a classifier of the training items.

    scikit-learn's digits in 64 dimensions (497, 500, 800 items), or a Gaussian in 16 (500, 500, 1,000) without labels.
    """
    generator = np.random.default_rng(seed)
    if name == "gaussian":
        return [(generator.normal(size=(n, 16)), None) for n in (500, 500, 1000)], None
    x, y = load_digits(return_X_y=True)
    order = generator.permutation(len(x))
    parts = [(x[i] / 16, y[i]) for i in np.split(order, (497, 997))]
    return parts, LogisticRegression(C=1.0, max_iter=300).fit(*parts[2]).predict_proba


def plant(fault, x, labels, train, seed=0):
    """Samples with a fault, and the classes they were conditioned on; None where there are no classes to spoil."""
    generator = np.random.default_rng(seed)
    n, middle, asked = len(x), x.mean(0), labels
    if fault == "2 % copies":
        copies = math.ceil(n / 50)
        x = np.concatenate((x[: n - copies], train[generator.permutation(len(train))[:copies]]))
        asked = None  # what copies show is another matter
    elif fault == "contracted 0.7":
        x = middle + 0.7 * (x - middle)
    elif fault == "half junk":
        junk = np.take_along_axis(x, generator.integers(n, size=x.shape), 0)
        x = np.where(np.arange(n)[:, None] < n // 2, junk if labels is not None else 2 * junk, x)
    elif fault == "shifted mean":
        x = x + 0.3 * x.std(0)
    elif fault != "none":
        if labels is None:
            return None
        a, b = generator.permutation(10)[:2]
        if fault == "dropped class":
            x, asked = x[labels != a], labels[labels != a]
        else:
            asked = np.where(labels == a, b, np.where(labels == b, a, labels))
    return x, asked


def alarms(x, asked, real, train, classify, seed):
    """The p-values of all metrics that give one, by score."""
    (y, labels), (t, _) = real, train
    found = {}
    for metric in metrics(FeatureMetric):
        found |= {k: v["p"] for k, v in metric.tests(x, y, seed).items() if "p" in v}
    for metric in metrics(NoveltyMetric):
        found |= {k: v["p"] for k, v in metric.read(x, y, t, seed).extra.items() if "p" in v}
    if classify is not None:
        shares = np.bincount(labels, minlength=10) / len(labels)
        for metric in metrics(ClassMetric):
            read = metric.read(classify(x), classify(y), labels, shares, asked)
            found |= {k: v["p"] for k, v in read.extra.items() if "p" in v}
    return found


def faults(args):
    """Per data and fault: the share of splits in which each metric's p-value is below 0.01, and in which any's is."""
    for data in DATA:
        for fault in FAULTS:
            told = []
            for seed in range(args.splits if fault == "none" else args.splits // 4):
                ((x, labels), real, train), classify = split(data, seed)
                made = plant(fault, x, labels, train[0], seed)
                if made is not None:
                    told.append(alarms(*made, real, train, classify, seed))
            if told:
                names = sorted({name for row in told for name in row})
                rates = {k: float(np.mean([row[k] < LEVEL for row in told if k in row])) for k in names}
                best = max(rates, key=rates.get)
                row = {
                    "data": data,
                    "fault": fault,
                    "splits": len(told),
                    "rates": {k: round(v, 3) for k, v in rates.items()},
                }
                if fault == "none":
                    at = {k: float(np.mean([row[k] < 0.05 for row in told if k in row])) for k in names}
                    yield row | {"rates_at_0.05": {k: round(v, 3) for k, v in at.items()}, "bar": "at most the level"}
                else:
                    yield row | {"caught_by": best, "caught": round(rates[best], 3)}


BARS = {"intervals": intervals, "faults": faults}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--draws", type=int, default=200)
    options.add_argument("--splits", type=int, default=100)
    options.add_argument("--names", type=listed, help="of scores")
    args = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    measure("interval_coverage", BARS, args)


if __name__ == "__main__":
    main()
