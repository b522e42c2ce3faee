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
from harness import listed, measure, option, parser
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

import pofx
from pofx.core.random import Streams
from pofx.data.densities import truth
from pofx.data.known import folder
from pofx.data.sources import load

TWELVE = ("Waveform", "cardio", "cover", "http", "magic.gamma", "mammography", "optdigits", "pendigits", "satellite",
          "thyroid", "vowels", "wine")  # fmt: skip
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
    """AUROC of minus log p of the noise-level classifier, and of the noise that it expects in a row (Livernoche et al.,
    2024), beside that of the distance to the fifth neighbour: half of the normal rows are for training (at most
    20,000), the rest and the anomalies for the test."""
    gaps = {"auroc": [], "auroc_by_level": []}
    for name in args.tables or TWELVE:
        with np.load(folder() / "tables" / f"{name}.npz", allow_pickle=False) as held:
            x, y = np.asarray(held["X"], np.float64), np.asarray(held["y"])
        order = np.random.default_rng(args.seed).permutation(np.flatnonzero(y == 0))
        train, rest = x[order[: min(len(order) // 2, 20_000)]], order[len(order) // 2 :][:20_000]
        at = np.concatenate((rest, np.flatnonzero(y == 1)))
        mean, std = train.mean(0), train.std(0) + 1e-9
        near = NearestNeighbors(n_neighbors=5).fit((train - mean) / std)
        distance = near.kneighbors((x[at] - mean) / std)[0][:, -1]
        began = time.process_time()
        run = pofx.fit(train, "noise-classifier", steps=args.steps, seed=args.seed, progress=False)
        log_p, model = run.log_prob(x[at]), run.model
        raw = run.representation.tensor(x[at])
        events = run.representation.encode(raw, Streams(0, len(raw)))[0].to(run.device).float()
        with torch.no_grad():
            level = model.expected_noise(events).cpu().numpy()
        row = {
            "auroc": round(float(roc_auc_score(y[at], -log_p.clip(-1e9))), 4),
            "auroc_by_level": round(float(roc_auc_score(y[at], level)), 4),
            "auroc_knn": round(float(roc_auc_score(y[at], distance)), 4),
        }
        for key, found in gaps.items():
            found.append(row[key] - row["auroc_knn"])
        yield {
            "table": name,
            "steps": args.steps,
            "cpu_seconds": round(time.process_time() - began, 1),
            **row,
            "bar": "kNN - 0.005",
        }
    means = {f"{k}, mean over kNN": round(float(np.mean(v)), 4) for k, v in gaps.items()}
    yield {"tables": len(gaps["auroc"]), **means,
           **{f"{k}, tables within .005 of it": int(sum(g >= -0.005 for g in v)) for k, v in gaps.items()}}  # fmt: skip


def energies(args):
    """Energies in the plane: nats of held-out points above the true entropy, log Z by annealed importance sampling and
    by a sum over a fine grid."""
    axis = np.linspace(-7, 7, 561)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    for data in args.tables or ("gaussians8", "checkerboard"):
        test = load(data).test.values
        for name in args.models or ("ebm", "energy-matching"):
            began = time.process_time()
            run = pofx.fit(data, name, steps=args.steps, seed=args.seed, progress=False, options=dict(args.option))
            used = time.process_time() - began
            total = float(np.exp(run.log_prob(grid).astype(np.float64)).sum()) * float(axis[1] - axis[0]) ** 2
            yield {
                "data": data,
                "model": name,
                "steps": args.steps,
                "cpu_seconds": round(used, 1),
                "nats_above_entropy": round(float((truth(data).log_prob(test) - run.log_prob(test)).mean()), 4),
                "log_z_error": round(run.model.log_prob_error(), 4),
                "log_of_the_sum": round(math.log(total), 4),
                "bar": 0.1,
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


def kit(args):
    """Likelihood of flow matching on MNIST, 256 levels: bits/dim of a random part of the test items by the probability
    flow (adaptive, and by few Runge-Kutta steps), by the variational bound, and by a divergence head in few passes."""
    data, size = load("mnist"), 784 * math.log(2)
    test = data.test.values[np.random.default_rng(0).permutation(len(data.test))[: args.items]]
    budget = {"minutes": args.minutes} if args.minutes else {"steps": args.steps}
    began = time.process_time()
    own = {"width": 32, **dict(args.option)}
    run = pofx.fit(data, "flow-matching", seed=args.seed, progress=False, out=args.out / "kit", overwrite=True,
                   options=own, **budget)  # fmt: skip
    used, steps = time.process_time() - began, run.card["training"]["steps"]
    row = {"model": "flow-matching", "options": own, "steps": steps, "cpu_seconds": round(used, 1), "items": len(test)}

    def read(what, found, true=None):
        bits = -found / size
        more = {} if true is None else {"gap_mean": round(float((bits + true / size).mean()), 4),
                                        "gap_std": round(float((bits + true / size).std()), 4)}  # fmt: skip
        return {**row, "by": what, "bits_per_dim": round(float(bits.mean()), 4),
                "stderr": round(float(bits.std() / len(bits) ** 0.5), 4), **more}  # fmt: skip

    true = None
    for what, options in {
        "probability flow, adaptive": {},
        "8 steps of Runge and Kutta": {"likelihood_steps": 8},
        "Hutch++": {"trace": "hutch++"},
        "variational bound, 64 levels": {"scoring": "bound", "bound_draws": 64},
    }.items():
        began, some = time.perf_counter(), test if what != "Hutch++" else test[:16]
        found = run.using(**options).score(some, draws=1)
        true = found.value if true is None else true
        yield {**read(what, found.value, true[: len(some)]), "seconds": round(time.perf_counter() - began, 1),
               "stderr_of_probes": None if found.stderr is None else round(float(np.mean(found.stderr)) / size, 5),
               "bar": 1.25}  # fmt: skip
    began = time.process_time()
    beside = pofx.fit(data, "divergence-head", run=run, seed=args.seed, progress=False, steps=max(10, steps // 3))
    row |= {"model": "divergence-head", "head_steps": max(10, steps // 3), "cpu_seconds_of_head":
            round(time.process_time() - began, 1)}  # fmt: skip
    for passes in (6, 8, 16):
        began = time.perf_counter()
        found = beside.using(likelihood_steps=passes).score(test, draws=1).value
        yield {**read(f"divergence head, {passes} passes", found, true), "seconds":
               round(time.perf_counter() - began, 1), "bar": 0.1}  # fmt: skip
    yield {**row, "by": "gap that the head prints, on 16 draws", "nats": [round(v, 2) for v in beside.model.gap()]}


def tarflow(args):
    """MNIST, 256 levels: bits/dim of a random part of the test items by `dequantised-tarflow`, bar 1.10 in an hour of
    one thread; and draws of `tarflow` under noise of a tenth, cleaned by its own slope, and as they come: their Fréchet
    distance over that of as many training items."""
    from pofx.evaluate.features import fit_spaces
    from pofx.maths.frechet import frechet_distance

    data, size = load("mnist"), 784 * math.log(2)
    budget = {"minutes": args.minutes} if args.minutes else {"steps": args.steps}
    test = data.test.values[np.random.default_rng(0).permutation(len(data.test))[: args.items]]
    names = args.models or ("dequantised-tarflow", "tarflow")
    for name in names:
        own = {**({"noise": 0.1} if name == "tarflow" else {}), **dict(args.option)}
        began = time.process_time()
        run = pofx.fit(data, name, seed=args.seed, progress=False, out=args.out / name, overwrite=True, options=own,
                       validation_items=300, **budget)  # fmt: skip
        row = {"model": name, "options": own, "steps": run.card["training"]["steps"],
               "cpu_seconds": round(time.process_time() - began, 1)}  # fmt: skip
        if name != "tarflow":
            bits = -run.log_prob(test) / size
            row |= {"items": len(test), "bits_per_dim": round(float(bits.mean()), 4),
                    "stderr": round(float(bits.std() / len(bits) ** 0.5), 4), "bar": 1.10}  # fmt: skip
        spaces = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.out / "spaces")
        real = data.train.values[np.random.default_rng(0).permutation(len(data.train))[: args.drawn]]
        for denoised in (True, False) if name == "tarflow" else (None,):
            ready = run if denoised is None else run.using(denoised=denoised)
            made, what = ready.sample(args.drawn, seed=1), {None: "", True: " cleaned", False: " noisy"}[denoised]
            if args.sheet:
                sheet(made[:40], args.sheet.replace("NAME", name + what.replace(" ", "-")))
            for space in spaces:
                ends = space.of(data.test)
                row[f"distance{what}, {space.name}"] = round(
                    float(frechet_distance(space(made), ends) / frechet_distance(space(real), ends)), 2
                )
        yield row


def circuit(args):
    """MNIST (and Fashion-MNIST where it is at hand), 256 levels: exact bits/dim of all test items. Bars 1.27, 3.45."""
    for name in args.tables or ("mnist",):
        data = load(name)
        began = time.process_time()
        own = {"minutes": args.minutes} if args.minutes else {"steps": args.steps}
        run = pofx.fit(data, "circuit", seed=args.seed, progress=False, options=dict(args.option), **own)
        used, began = time.process_time() - began, time.process_time()
        bits = -run.log_prob(data.test.values) / (data.test.values[0].size * math.log(2))
        if args.sheet:
            sheet(run.sample(40, seed=1), args.sheet.replace("NAME", f"circuit-{name}"))
        yield {
            "data": name,
            "options": dict(args.option),
            "steps": run.card["training"]["steps"],
            "cpu_seconds": [round(used, 1), round(time.process_time() - began, 1)],
            "items": len(bits),
            "bits_per_dim": round(float(bits.mean()), 4),
            "stderr": round(float(bits.std() / len(bits) ** 0.5), 4),
            "bar": {"mnist": 1.27}.get(name, 3.45),
        }


def speed(args):
    """log p and a step of expectation maximisation of a circuit of MNIST's size, beside the plain products of the same
    sizes: messages upwards and the leaves' tables; two more of each downwards, counts and gradients. Bar 1.5 times."""
    from harness import in_turn

    from pofx.core import config
    from pofx.core.event import Discrete
    from pofx.core.model import Batch

    items, states, places = 1000, 64, 784  # a batch of training
    model = config.build("circuit", Discrete((1, 28, 28), 256), None, states=states)
    grey = load("mnist").train.values
    model.prepare(lambda n: Batch(torch.from_numpy(np.asarray(grey[:n])).long()[:, None], None))
    x = torch.from_numpy(np.asarray(grey[:items])).long()[:, None]
    left, table = torch.rand(places, items, states), torch.rand(places, states, states)
    mixed, bases = torch.rand(places, states, states), torch.rand(states, 256).T

    def products(count):
        for _ in range(count):
            torch.bmm(left, table)
            bases @ mixed  # the leaves' tables, mixtures of shared distributions

    def step():
        model.zero_grad()
        model.train()
        model.loss(Batch(x, None)).backward()
        for phase in model.phases():
            phase.after({})

    def score():
        with torch.no_grad():
            model.eval().log_prob(x)

    for what, ours, count in (("log_prob", score, 1), ("step of EM", step, 3)):
        found = in_turn({"ours": ours, "products": lambda count=count: products(count)}, args.rounds)
        each = found["ours"][:, 0] / found["products"][:, 0]
        yield {
            "what": what,
            "items": items,
            "states": states,
            "ms_ours_and_of_products": [round(1000 * float(np.median(v[:, 0])), 1) for v in found.values()],
            "ratio": round(float(np.median(each)), 3),
            "quartiles": [round(float(v), 3) for v in np.quantile(each, (0.25, 0.75))],
            "bar": 1.5,
        }


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
    "kit": kit,
    "circuit": circuit,
    "tarflow": tarflow,
    "speed": speed,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--models", type=listed)
    options.add_argument("--tables", type=listed)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--steps", type=int, default=800)
    options.add_argument("--minutes", type=float, help="of `kit` and `circuit`, in place of steps")
    options.add_argument("--rounds", type=int, default=15, help="of `speed`")
    options.add_argument("--drawn", type=int, default=2000, help="of `tarflow`, samples")
    options.add_argument("--items", type=int, default=200, help="of the test part that are scored")
    options.add_argument("--sheet", help="a picture of samples of mnist, NAME in it the model's name")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model, where there is one"
    )
    args = options.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    measure("new_densities", BARS, args)


if __name__ == "__main__":
    main()
