"""One model per family on digits and MNIST: one function per bar, one JSON line per result, markdown at the end.

    python bench/first_models.py                          every bar (about two hours on two cores)
    python bench/first_models.py digits-density --seeds 3 --minutes 2 --models nsf,made
    python bench/first_models.py mnist-frechet --models gan --minutes 30 --out runs/bench

Results go to <out>/first_models.jsonl, one line as soon as each is known; a second call adds to them.
"""

import math
import subprocess
import sys
import time

import numpy as np
import torch
from harness import listed, measure, option, parser

import pofx
from pofx.core.model import Density
from pofx.data.dataset import take
from pofx.data.densities import truth
from pofx.data.sources import load
from pofx.evaluate.features import fit_spaces
from pofx.evaluate.suite import controls, evaluate
from pofx.maths.frechet import frechet_distance

DENSITY_BARS = {"pixelcnn": 1.85, "made": 1.95, "nsf": 1.97, "realnvp": 2.12, "vae": 2.15, "masked-diffusion": 1.73}


def digits_density(args):
    """digits, test bits/dim of the 17-level images; 2 minutes of training; mean of the seeds. Bounds over random orders
    (`masked-diffusion`) also with `--orders` of them averaged inside the logarithm."""
    data, size = load("digits"), 64 * math.log(2)
    for name in args.models or DENSITY_BARS:
        values, tighter, steps = [], [], []
        for seed in range(args.seeds):
            run = pofx.fit(data, name, minutes=args.minutes or 2, seed=seed, progress=args.shown, **dict(args.option))
            score = run.score(data.test.values)
            values.append(float(-score.value.mean() / size))
            steps.append([run.card["training"]["steps"], run.card["training"]["best_step"]])
            if "bound_orders" in run.model.adjustable:
                inside = run.using(bound_orders=args.orders).log_prob(data.test.values)
                tighter.append(float(-inside.mean() / size))
        error = float(np.std(score.value) / len(score.value) ** 0.5 / size)
        row = {
            "model": name,
            "options": dict(args.option),
            "steps_and_best": steps,
            "bits_per_dim": round(float(np.mean(values)), 4),
            "density": score.density.name.lower(),
            "seeds": [round(v, 4) for v in values],
            "stderr_items": round(error, 4),
            "bar": DENSITY_BARS.get(name),
        }
        if tighter:
            row[f"bits_per_dim, {args.orders} orders"] = round(float(np.mean(tighter)), 4)
            row[f"seeds, {args.orders} orders"] = [round(v, 4) for v in tighter]
        yield row


def digits_samples(args):
    """digits, class total variation and coverage against the real-test control; 3 minutes of training."""
    data = load("digits")
    control = _metrics(controls(data)["real-test"])
    for name in args.models or ("r3gan", "flow-matching", "pixelcnn"):
        run = pofx.fit(data, name, minutes=args.minutes or 3, seed=0, progress=args.shown)
        found = _metrics(evaluate(run, data))
        spaces = sorted(k[1] for k in found if k[0] == "coverage")
        yield {
            "model": name,
            "class_tv": round(min(v for k, v in found.items() if k[0] == "class_tv"), 4),
            "coverage": {s: round(found["coverage", s], 3) for s in spaces},
            "share_of_control": {s: round(found["coverage", s] / control["coverage", s], 3) for s in spaces},
            "bar": "class_tv ≤ 0.10, share ≥ 0.75",
        }


def plane(args):
    """nsf in the plane: nats above the true entropy on fresh test points, and the integral of the density."""
    for data in ("gaussians8", "checkerboard"):
        known, dataset = truth(data), load(data)
        run = pofx.fit(data, "nsf", minutes=args.minutes or 2, seed=0, progress=args.shown)
        gap = float(-run.log_prob(dataset.test.values).mean()) - known.entropy
        axis = np.linspace(-6, 6, 1201)
        xy = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
        total = float(np.exp(run.log_prob(xy)).sum() * (axis[1] - axis[0]) ** 2)
        yield {"data": data, "model": "nsf", "nats_above_entropy": round(gap, 4), "integral": round(total, 4),
               "bar": "0.05, 1 ± 0.01"}  # fmt: skip


def mnist_binary(args):
    """MNIST, dynamically binarised, nats of test items binarised once: exact, or a bound of K importance samples."""
    data = load("mnist")
    bars = {"made": 90, "vae": 88.5, "iwae": 86.5, "hvae": 84}
    chosen = np.random.default_rng(0).permutation(len(data.test))[: args.items]
    for name in args.models or ("made",):
        own = dict(args.option)
        label = "-".join((name, *(f"{key}={value}" for key, value in own.items())))
        out = args.out / f"binary-{label}"
        budget = {"steps": args.steps} if args.steps else {"minutes": args.minutes or 15}
        run = pofx.fit(data, name, seed=0, binarise="dynamic", out=out, overwrite=True, progress=args.shown, **budget,
                       **own)  # fmt: skip
        row = {"model": label, "steps": run.card["training"]["steps"], "bar": bars.get(name)}
        for k in (1, args.importance) if run.density is Density.BOUND else (None,):
            score = run.score(take(data.test, chosen).values, importance=k)
            error = float(score.value.std() / len(score.value) ** 0.5)
            row["nats" if k is None else f"nats, K = {k}"] = [round(-float(score.value.mean()), 3), round(error, 3)]
        yield row


def mnist_frechet(args):
    """MNIST grey, feature Fréchet distance of 5,000 samples to the test split over that of 5,000 training items."""
    data = load("mnist")
    spaces = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.out / "spaces")
    chosen = np.random.default_rng(0).permutation(len(data.train))[:5000]
    for name in args.models or ("flow-matching", "r3gan"):
        folder = args.out / f"mnist-{name}"
        run = pofx.fit(data, name, minutes=args.minutes or 30, seed=0, out=folder, resume=True, progress=args.shown)
        began = time.perf_counter()
        samples = run.sample(5000, seed=0)
        seconds = time.perf_counter() - began
        row = {"model": name, "steps": run.card["training"]["steps"], "sampling_seconds": round(seconds, 1)}
        for space in spaces:
            test = space.of(data.test)
            real = frechet_distance(space(take(data.train, chosen).values), test)
            fake = frechet_distance(space(samples), test)
            row[space.name] = {"model": round(fake, 3), "control": round(real, 4), "ratio": round(fake / real, 1)}
        yield row | {"bar": "ratio ≤ 40"}


def rbm_partition(args):
    """rbm with 12 hidden units: AIS against the enumerated log Z, on digits binarised."""
    data = load("digits")
    for seed in range(args.seeds):
        run = pofx.fit(data, "rbm", minutes=args.minutes or 0.5, seed=seed, hidden=12, binarise="threshold",
                       progress=args.shown)  # fmt: skip
        with torch.no_grad():
            exact = enumerated(run.model)
            estimate = run.model.annealed(0, run.model.temperatures, run.model.runs)[0]
        yield {"model": "rbm", "seed": seed, "exact": round(exact, 4), "ais": round(estimate, 4),
               "difference": round(estimate - exact, 4), "bar": 0.2}  # fmt: skip


def enumerated(model):
    """log Z of an rbm by summing over every state of its hidden units."""
    states = (torch.arange(2**model.hidden)[:, None] >> torch.arange(model.hidden) & 1).float()
    visible = model.visible_logits(states, torch.zeros(len(states), dtype=torch.int64)).logsumexp(-1).sum(1)
    return float((states @ model.hidden_bias[0] + visible).double().logsumexp(0))


def help_time(args):
    """pofx --help against `python -c "import torch"`, in turn."""
    ours, theirs = [], []
    for _ in range(7):
        pairs = ((["-m", "pofx", "--help"], ours), (["-c", "import torch"], theirs))
        for arguments, kept in pairs:
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            kept.append(time.perf_counter() - began)
    yield {"ratio": round(float(np.median(ours) / np.median(theirs)), 3), "bar": 0.4}


def _metrics(result):
    return {(m["metric"], (m["space"] or "").split("-")[0]): m["value"] for m in result["measurements"]}


BARS = {
    "help-time": help_time,
    "rbm-partition": rbm_partition,
    "plane": plane,
    "digits-density": digits_density,
    "digits-samples": digits_samples,
    "mnist-binary": mnist_binary,
    "mnist-frechet": mnist_frechet,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--models", type=listed)
    options.add_argument("--minutes", type=float)
    options.add_argument("--steps", type=int, help="of mnist-binary, in place of minutes")
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--orders", type=int, default=16, help="of bounds over random orders")
    options.add_argument("--items", type=int, default=10_000, help="of the test split")
    options.add_argument("--importance", type=int, default=1000, help="samples K of a bound")
    options.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    args = options.parse_args()
    measure("first_models", BARS, args)


if __name__ == "__main__":
    main()
