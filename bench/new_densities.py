"""Transformer flows, the noise-level classifier, energy matching, cascades and heads; one JSON line per result.

    python bench/new_densities.py                                    every bar
    python bench/new_densities.py digits --models dequantised-tarflow --seconds 60
    python bench/new_densities.py analytic anomalies --steps 800

Budgets of `digits` are CPU seconds: the steps that fit are found by two short trainings first.
"""

import math
import time
import warnings

import numpy as np
import torch
from harness import listed, measure, parser
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import pofx
from pofx.data.known import folder
from pofx.data.sources import load

SETTINGS = {"dequantised-tarflow": {"width": 64, "dropout": 0.1}, "dequantised-glow": {}}


def digits(args):
    """Digits 8 × 8, 17 levels: test bits/dim of the bound over 8 draws after equal CPU seconds."""
    data = load("digits")
    for name in args.models or SETTINGS:
        options = SETTINGS.get(name, {})

        def fit(steps, name=name, options=options):
            began = time.process_time()
            run = pofx.fit(data, name, steps=steps, seed=args.seed, progress=False, **options)
            return run, time.process_time() - began

        fit(2)  # what the first training of a process costs is not counted
        few, more = fit(5)[1], fit(25)[1]
        steps = max(10, int(20 * (args.seconds - few) / (more - few)))
        run, used = fit(steps)
        bits = -run.score(data.test.values).value / (64 * math.log(2))
        yield {
            "model": name,
            "options": options,
            "steps": steps,
            "cpu_seconds": round(used, 1),
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "bits_per_dim": round(float(bits.mean()), 4),
            "stderr": round(float(bits.std() / len(bits) ** 0.5), 4),
        }


def analytic(args):
    """The noise-level classifier against known densities: mean gap of log p and of its absolute value per number."""
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(4)).double()
    normal = torch.distributions.MultivariateNormal(torch.zeros(4).double(), root @ root.T / 4 + 0.1 * torch.eye(4))
    centres = 4 * torch.stack([f(torch.arange(8) * math.pi / 4) for f in (torch.cos, torch.sin)], 1).double()
    modes = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(8)),
        torch.distributions.Independent(torch.distributions.Normal(centres, 0.5), 1),
    )
    for name, law in (("normal, 4", normal), ("eight modes, 2", modes)):
        torch.manual_seed(0)
        x, test = law.sample((10_000,)), law.sample((2_000,))
        began = time.process_time()
        run = pofx.fit(x.numpy(), "noise-classifier", steps=args.steps, seed=args.seed, progress=False)
        gap = law.log_prob(test).numpy() - run.log_prob(test.numpy())
        yield {
            "target": name,
            "steps": args.steps,
            "cpu_seconds": round(time.process_time() - began, 1),
            "mean_gap_per_number": round(float(gap.mean()) / x.shape[1], 4),
            "mean_absolute_gap_per_number": round(float(np.abs(gap).mean()) / x.shape[1], 4),
            "bar": 0.05,
        }


def anomalies(args):
    """AUROC of minus log p of the noise-level classifier beside that of the distance to the fifth neighbour: half of
    the normal rows are for training, the rest and the anomalies for the test."""
    for name in args.tables or ("thyroid", "satellite"):
        with np.load(folder() / "tables" / f"{name}.npz", allow_pickle=False) as held:
            x, y = np.asarray(held["X"], np.float64), np.asarray(held["y"])
        order = np.random.default_rng(args.seed).permutation(np.flatnonzero(y == 0))
        train, rest = x[order[: len(order) // 2]], order[len(order) // 2 :]
        at = np.concatenate((rest, np.flatnonzero(y == 1)))
        mean, std = train.mean(0), train.std(0) + 1e-9
        near = NearestNeighbors(n_neighbors=5).fit((train - mean) / std)
        distance = near.kneighbors((x[at] - mean) / std)[0][:, -1]
        began = time.process_time()
        run = pofx.fit(train, "noise-classifier", steps=args.steps, seed=args.seed, progress=False)
        log_p = run.log_prob(x[at])
        yield {
            "table": name,
            "steps": args.steps,
            "cpu_seconds": round(time.process_time() - began, 1),
            "auroc": round(float(roc_auc_score(y[at], -log_p.clip(-1e9))), 4),
            "auroc_knn": round(float(roc_auc_score(y[at], distance)), 4),
            "bar": "kNN - 0.005",
        }


def energies(args):
    """An energy in the plane: nats of held-out points above the true entropy, log Z by annealed importance sampling."""
    from pofx.data.densities import gaussians8

    test = load("gaussians8").test.values
    for name in args.models or ("energy-matching", "ebm"):
        began = time.process_time()
        run = pofx.fit("gaussians8", name, steps=args.steps, seed=args.seed, progress=False)
        yield {
            "model": name,
            "steps": args.steps,
            "cpu_seconds": round(time.process_time() - began, 1),
            "nats_above_entropy": round(float((gaussians8().log_prob(test) - run.log_prob(test)).mean()), 4),
            "log_z_error": round(run.model.log_prob_error(), 4),
        }


def head(args):
    """Bits per dimension of a flow-matching run of digits by the divergence head in few passes, and its gap to the
    adaptive solver on the same held-out items."""
    data, size = load("digits"), 64 * math.log(2)
    began = time.process_time()
    run = pofx.fit(data, "flow-matching", steps=args.steps, seed=args.seed, progress=False)
    trained, began = time.process_time() - began, time.process_time()
    beside = pofx.fit(data, "divergence-head", run=run, steps=args.steps, seed=args.seed, progress=False)
    spent, test = time.process_time() - began, data.test.values[:64]
    began = time.process_time()
    true = run.log_prob(test)
    adaptive = time.process_time() - began
    for steps in (6, 8, 12, 16, 32):
        began = time.process_time()
        apart = (beside.using(likelihood_steps=steps).log_prob(test) - true) / size
        yield {
            "passes": steps,
            "cpu_seconds_of_run_and_head": [round(trained, 1), round(spent, 1)],
            "bits_per_dim_adaptive": round(float(-true.mean() / size), 4),
            "gap_mean": round(float(apart.mean()), 4),
            "gap_std": round(float(apart.std()), 4),
            "seconds_of_scores": [round(time.process_time() - began, 2), round(adaptive, 2)],
            "bar": 0.1,
        }


MNIST = {
    "haar-cascade": {"scales": 2, "details_options": {"width": 64, "layers": 2}},
    "masked-real": {"width": 64, "layers": 3},
    "mar": {"width": 64, "layers": 3},
    "flow-matching": {"network": "unet"},
}


def mnist(args):
    """MNIST 28 × 28, 256 levels: bits/dim of a random part of the test items, and a sheet of samples; the divergence
    head is beside the run of `flow-matching`, which has as many steps."""
    data, size = load("mnist"), 784 * math.log(2)
    test = data.test.values[np.random.default_rng(0).permutation(len(data.test))[: args.items]]

    def scored(name, run, used, **more):
        began = time.process_time()
        bits = -run.log_prob(test) / size
        scores = time.process_time() - began
        if args.sheet:
            sheet(run.sample(40, seed=1), args.sheet.replace("NAME", name))
        return {
            "model": name,
            "steps": args.steps,
            "cpu_seconds": round(used, 1),
            "items": len(test),
            "bits_per_dim": round(float(bits.mean()), 4),
            "stderr": round(float(bits.std() / len(bits) ** 0.5), 4),
            "seconds_of_scores": round(scores, 1),
            **more,
        }

    budget = {"steps": args.steps, "seed": args.seed, "progress": False, "batch_size": 32, "validation_items": 300}
    for name in args.models or MNIST:
        began = time.process_time()
        run = pofx.fit(data, name, options=MNIST[name], **budget)
        used = time.process_time() - began
        if name != "flow-matching":
            yield scored(name, run, used)
            continue
        began = time.process_time()
        beside = pofx.fit(data, "divergence-head", run=run, **budget)
        own = time.process_time() - began
        yield scored("divergence-head", beside, used + own, gap_to_adaptive=round(beside.model.gap(4)[0] / size, 4))


def sheet(pictures, path):
    from PIL import Image

    rows = [np.concatenate(list(np.pad(part, ((0, 0), (1, 1), (1, 1)))), 1) for part in np.array_split(pictures, 4)]
    Image.fromarray(np.concatenate(rows)).save(path)


BARS = {
    "energies": energies,
    "head": head,
    "digits": digits,
    "analytic": analytic,
    "anomalies": anomalies,
    "mnist": mnist,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--models", type=listed)
    options.add_argument("--tables", type=listed)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--steps", type=int, default=800)
    options.add_argument("--items", type=int, default=200, help="of the test part that are scored")
    options.add_argument("--sheet", help="a picture of samples of mnist, NAME in it the model's name")
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    measure("new_densities", BARS, args)


if __name__ == "__main__":
    main()
