"""Can the numbers be trusted? How often intervals hold the truth, faults are caught and honest samples are accused.

    python bench/trust.py intervals                 coverage of the 95 % intervals over 200 repeated draws
    python bench/trust.py faults --splits 100       catch and false-alarm rates at p < 0.01, over random splits

Results go to <out>/trust.jsonl.
"""

import warnings

import numpy as np
import torch
from lines import listed, measure, parser

from pofx.evaluate.measurement import halved
from pofx.evaluate.metric import FeatureMetric, metrics

N, D = 300, 6  # of the intervals
SETTINGS = {"equal": (1.0, 0.0), "wider and shifted": (1.1, 0.15)}


def pair(seed, scale, shift):
    """Samples and real items (N, D): Gaussians."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(N, D)) * scale + shift, generator.normal(size=(N, D))


def errors(metric, x, y, seed):
    """The standard errors that a report would state."""
    if metric.halves:
        return halved(lambda a, b: metric.values(a, b, seed), [(x, y)], metric.halves, seed)
    return metric.errors(x, y, seed)


def covered(metric, setting, draws):
    """Per score: how often value ± 1.96 standard errors holds the mean of twice as many other draws at the same n."""
    truths = [metric.values(*pair(10_000 + s, *SETTINGS[setting]), s) for s in range(2 * draws)]
    found = []
    for s in range(draws):
        x, y = pair(s, *SETTINGS[setting])
        found.append((metric.values(x, y, s), errors(metric, x, y, s)))
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


BARS = {"intervals": intervals}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--draws", type=int, default=200)
    options.add_argument("--splits", type=int, default=100)
    options.add_argument("--names", type=listed, help="of scores")
    args = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    measure("trust", BARS, args)


if __name__ == "__main__":
    main()
