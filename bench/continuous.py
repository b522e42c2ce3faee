"""Continuous, residual and elementary flows, and posteriors transformed by flows: one function per bar.

    python bench/continuous.py                              every bar (about 75 thread-minutes)
    python bench/continuous.py plane-cnf --data checkerboard --minutes 15
    python bench/continuous.py vae-posterior --models normal,sylvester --seeds 3

Results go to <out>/continuous.jsonl, one line as soon as each is known; a second call adds to them.
"""

import math
import time

import numpy as np
from harness import listed, measure, parser

import pofx
from pofx.data.densities import truth
from pofx.data.sources import load


def judged(run, data, points=401):
    """Nats above the true entropy on the test points with its standard error, and the integral over [-6, 6]²."""
    known, values = truth(data), load(data).test.values
    log_p = run.score(values, batch_size=5000).value
    excess = known.log_prob(values) - log_p  # its mean estimates the divergence; less noise than the entropy's
    axis = np.linspace(-6, 6, points)
    xy = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    p = np.exp(run.score(xy, batch_size=5000).value)
    return {
        "nats_above_entropy": round(-float(log_p.mean()) - known.entropy, 4),
        "kl": round(float(excess.mean()), 4),
        "stderr": round(float(excess.std() / len(excess) ** 0.5), 4),
        "integral": round(float(p.sum() * (axis[1] - axis[0]) ** 2), 4),
    }, p.reshape(points, points)


def picture(p, path):
    """The density as an image, x to the right and y upwards."""
    import matplotlib.pyplot as plt

    path.parent.mkdir(parents=True, exist_ok=True)
    plt.imsave(path, p.T[::-1], vmin=0, vmax=np.quantile(p[p > p.max() / 100], 0.95))


def plane_cnf(args):
    """cnf in the plane: nats above the true entropy, the integral, the cost, and what half the tolerance changes."""
    for data in args.data or ("gaussians8", "checkerboard"):
        for seed in range(args.seeds or 1):
            run = pofx.fit(data, "cnf", minutes=args.minutes or 15, seed=seed, progress=args.shown)
            run.save(args.out / f"cnf-{data}-{seed}")
            numbers, p = judged(run, data)
            picture(p, args.out / f"cnf-{data}-{seed}.png")
            test = load(data).test.values[:2000]
            began = time.perf_counter()
            whole = run.log_prob(test)
            seconds, evaluations = time.perf_counter() - began, run.model.evaluations
            half = run.using(tolerance=run.model.tolerance / 2).log_prob(test)
            change = float(np.abs(whole - half).max() / (2 * math.log(2)))
            yield {"data": data, "model": "cnf", "seed": seed, **numbers, "evaluations": evaluations,
                   "seconds_for_2000": round(seconds, 2), "bits_per_dim_moved_by_half_tolerance": round(change, 6),
                   "steps": run.card["training"]["steps"], "bar": "0.05, 1 ± 0.01, 0.01"}  # fmt: skip


def plane_others(args):
    """The other flows on gaussians8, 3 minutes each: as measured."""
    for data in args.data or ("gaussians8",):
        for name in args.models or ("residual-flow", "planar", "radial", "sylvester"):
            run = pofx.fit(data, name, minutes=args.minutes or 3, seed=0, progress=args.shown)
            numbers, p = judged(run, data)
            picture(p, args.out / f"{name}-{data}.png")
            parameters = sum(q.numel() for q in run.model.parameters())
            yield {"data": data, "model": name, **numbers, "parameters": parameters,
                   "steps": run.card["training"]["steps"]}  # fmt: skip


def vae_posterior(args):
    """digits, test bits/dim bound of VAEs with several posteriors, 2 minutes each: as measured."""
    data = load("digits")
    for posterior in args.models or ("normal", "planar", "sylvester", "iaf"):
        values = []
        for seed in range(args.seeds or 3):
            run = pofx.fit(data, "vae", minutes=args.minutes or 2, seed=seed, posterior=posterior, progress=args.shown)
            score = run.score(data.test.values)
            values.append(float(-score.value.mean() / (run.representation.dims * math.log(2))))
        error = float(np.std(score.value) / len(score.value) ** 0.5 / run.representation.dims / math.log(2))
        yield {"posterior": posterior, "bits_per_dim": round(float(np.mean(values)), 4),
               "seeds": [round(v, 4) for v in values], "stderr_items": round(error, 4),
               "steps": run.card["training"]["steps"]}  # fmt: skip


BARS = {"plane-cnf": plane_cnf, "plane-others": plane_others, "vae-posterior": vae_posterior}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--data", type=listed)
    options.add_argument("--models", type=listed)
    options.add_argument("--minutes", type=float)
    options.add_argument("--seeds", type=int)
    args = options.parse_args()
    measure("continuous", BARS, args)


if __name__ == "__main__":
    main()
