"""Densities known up to their constant: log Z against the truth, effective draws and lost modes; one line per result.

    python bench/unnormalised.py                       every bar (about a quarter of an hour on one core)
    python bench/unnormalised.py weights --targets banana,wells8 --minutes 2 --seeds 3
    python bench/unnormalised.py modes

Results go to <out>/unnormalised.jsonl. Truths are closed forms, or quadrature on the line where a target is a product.
"""

import math
import time
import warnings

import numpy as np
import torch
from harness import listed, measure, parser

import pofx
from pofx.maths.annealing import anneal, log_mean_weight

SPREAD = 0.3  # of each of the eight modes
ANGLES = torch.arange(8) * math.pi / 4


def _covariance(d):
    root = torch.randn(d, d, generator=torch.Generator().manual_seed(d))
    return root @ root.T / d + 0.1 * torch.eye(d)


def gaussian(d):
    """A normal distribution away from the origin, with correlations."""
    covariance, mean = _covariance(d), torch.linspace(-3, 3, d)
    inverse = torch.linalg.inv(covariance)
    truth = 0.5 * d * math.log(2 * math.pi) + 0.5 * float(covariance.logdet())
    return lambda x: -0.5 * ((x - mean) @ inverse * (x - mean)).sum(1), d, truth


def banana():
    """A normal x0 of deviation 2, and x1 normal around x0² / 2 - 2."""
    return lambda x: -0.5 * ((x[:, 0] / 2) ** 2 + (x[:, 1] - 0.5 * x[:, 0] ** 2 + 2) ** 2), 2, math.log(4 * math.pi)


def wells(d):
    """d / 2 planes with two wells each (Noé et al., 2019), 2^(d / 2) modes (Midgley et al., 2023, arXiv 2208.01893)."""

    def log_target(x):
        a, b = x[:, ::2], x[:, 1::2]
        return (-(a**4) + 6 * a**2 + 0.5 * a - 0.5 * b**2).sum(1)

    u = np.linspace(-5, 5, 200_001)
    line = math.log(np.exp(-(u**4) + 6 * u**2 + 0.5 * u).sum() * (u[1] - u[0]))
    return log_target, d, d // 2 * (line + 0.5 * math.log(2 * math.pi))


def forty():
    """Forty normal modes of deviation 1.3 in a square of side 80, of equal mass (Midgley et al., 2023)."""
    centres = 80 * torch.rand(40, 2, generator=torch.Generator().manual_seed(0)) - 40
    constant = math.log(40 * 2 * math.pi * 1.3**2)
    return lambda x: (-(x[:, None] - centres).square().sum(-1) / (2 * 1.3**2)).logsumexp(1) - constant, 2, 0.0


def dw4():
    """Four particles of the plane under a double well of each distance, their mean near the origin (Köhler, Klein and
    Noé, 2020); its log Z is that of annealed importance sampling, computed here."""

    def log_target(x):
        p = x.reshape(-1, 4, 2)
        i, j = torch.triu_indices(4, 4, 1)
        d = ((p[:, i] - p[:, j]).square().sum(-1) + 1e-12).sqrt() - 4
        return (4 * d**2 - 0.9 * d**4).sum(1) - 2 * p.mean(1).square().sum(1)

    def broad(x):
        return -0.5 * (x / 3).square().sum(1) - 8 * math.log(3 * math.sqrt(2 * math.pi))

    _, log_w = anneal(lambda s: 3 * s.normal(8), broad, log_target, n=1500, temperatures=400, leaps=5)
    return log_target, 8, log_mean_weight(log_w)[0]


FITTED = {"forty": {"scale": 25.0}, "dw4": {"scale": 3.0}}
TARGETS = {
    "gaussian2": lambda: gaussian(2),
    "gaussian8": lambda: gaussian(8),
    "banana": banana,
    "wells2": lambda: wells(2),
    "wells8": lambda: wells(8),
    "forty": forty,
    "dw4": dw4,
}


def weights(args):
    """log Z and effective sample size of 10,000 importance-weighted draws, and of 1,000 refined ones."""
    for name in args.targets or TARGETS:
        log_target, d, truth = TARGETS[name]()
        for seed in range(args.seeds):
            found = pofx.fit_density(log_target, d, args.model, minutes=args.minutes, seed=seed, progress=args.shown,
                                     **FITTED.get(name, {}))  # fmt: skip
            draws = found.weigh(10_000, seed=1)
            began = time.perf_counter()
            refined = found.refine(1_000, seed=1) if isinstance(found, pofx.ImportanceSampler) else draws
            yield {
                "target": name,
                "model": args.model,
                "seed": seed,
                "minutes": args.minutes,
                "steps": found.artifact.card["training"]["steps"],
                "log_z_true": round(truth, 4),
                **_said("weighed", draws, truth),
                **_said("refined", refined, truth),
                "refine_seconds": round(time.perf_counter() - began, 1),
                "bar": "ess ≥ 0.5, within 3 standard errors",
            }


def _said(how, draws, truth):
    value, error = draws.log_z
    return {
        how: {
            "log_z": round(value, 4),
            "stderr": round(error, 5),
            "errors_off": round((value - truth) / error, 2),
            "ess": round(draws.ess, 4),
            "pareto_k": round(draws.pareto_k, 2),
        }
    }


def modes(args):
    """Eight normal modes on a circle: the share of draws at each, with bridge and scouts, with one, with neither."""
    centres = 4 * torch.stack((ANGLES.cos(), ANGLES.sin()), 1)

    def log_target(x):
        return (-(x[:, None] - centres).square().sum(-1) / (2 * SPREAD**2)).logsumexp(1)

    truth = math.log(8 * 2 * math.pi * SPREAD**2)
    for options in ({}, {"scouts": 0}, {"annealing": 0}, {"annealing": 0, "scouts": 0}):
        for seed in range(args.seeds):
            found = pofx.fit_density(log_target, 2, args.model, minutes=args.minutes / 2, seed=seed, **options,
                                     progress=args.shown)  # fmt: skip
            x = found.sample(8000, seed=1)
            near = ((x[:, None] - centres.numpy()) ** 2).sum(-1).argmin(1)
            share = np.bincount(near, minlength=8) / len(x)
            missed, error = found.missed(500)
            yield {
                "options": options,
                "seed": seed,
                "minutes": args.minutes / 2,
                "modes_kept": int((share > 0.01).sum()),
                "least_and_greatest_share": [round(float(v), 3) for v in (share.min(), share.max())],
                **_said("weighed", found.weigh(10_000, seed=1), truth),
                "missed_nats": round(missed, 3),
                "missed_stderr": round(error, 3),
                "bar": "8 modes with annealing",
            }


BARS = {"weights": weights, "modes": modes}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--targets", type=listed)
    options.add_argument("--model", default="nsf")
    options.add_argument("--minutes", type=float, default=2.0)
    options.add_argument("--seeds", type=int, default=1)
    args = options.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)  # what they warn of is in the numbers
    measure("unnormalised", BARS, args)


if __name__ == "__main__":
    main()
