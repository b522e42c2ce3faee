"""Autoencoders, quantised codes and Boltzmann machines against the bars of their families; one JSON line per result.

python bench/latents.py factors --seeds 3 --minutes 1
python bench/latents.py codebook --minutes 4
python bench/latents.py rbm --minutes 8
python bench/latents.py dbn probe halves --minutes 2
"""

import math
import time
from pathlib import Path

import numpy as np
import torch
from harness import listed, measure, option, parser, sheet
from torch import nn

import pofx
from pofx.data.dataset import dataset
from pofx.data.kinds.image import images
from pofx.data.shapes import factors as known_factors
from pofx.data.sources import load
from pofx.evaluate.disentanglement import scores
from pofx.evaluate.features import fit_spaces
from pofx.maths.bent import Bent
from pofx.maths.frechet import frechet_distance


def trained(args, data, name, minutes, **options):
    began = time.process_time()
    budget = {"steps": args.steps} if args.steps else {"minutes": minutes}
    run = pofx.fit(data, name, progress=args.shown, **budget, **{"seed": args.seed, **options})
    return run, {"model": name, "steps": run.card["training"]["steps"],
                 "CPU seconds": round(time.process_time() - began)}  # fmt: skip


# --- factors


def measured(pictures):
    """Three factors of sprites, read from the pixels: x and y of the middle, root of the area, (n, 3)."""
    ink = np.asarray(pictures, float).reshape(-1, 32, 32) / 4
    mass, at = np.maximum(ink.sum((1, 2)), 1e-6), np.arange(32)
    return np.stack([(ink.sum(1) * at).sum(1) / mass, (ink.sum(2) * at).sum(1) / mass, np.sqrt(mass)], 1)


def steered(run, x, codes):
    """Codes led along the bent path of a factor (`maths.bent`), by 1.5 times the distance of its upper and lower half:
    how often the factor of the decoded item rises over the middle, and what the others move, in deviations of the data,
    over what it moves."""
    true = measured(x)
    middle, spread = np.median(true, 0), true.std(0)
    fitted = Bent.of(codes.astype(np.float64), true)

    def again(z):
        return np.asarray(run.encode(run.decode(z.astype(np.float32)))).astype(np.float64)

    right, leaked = [], []
    for k in range(3):
        above = true[:, k] > middle[k]
        chosen = np.flatnonzero(~above)[:200]
        far = 1.5 * (true[above, k].mean() - true[~above, k].mean())
        moved = fitted.path(codes[chosen], k, np.array([far]), again)[0]
        after, before = (measured(run.decode(z.astype(np.float32))) for z in (moved, codes[chosen]))
        change = np.abs(after - before).mean(0) / spread
        right.append(float((after[:, k] > middle[k]).mean()))
        leaked.append(float(np.delete(change, k).mean() / change[k]))
    return right, leaked


def factors(args):
    """shapes: MIG, and directions of place and size. Bars: beta-tcvae's MIG at least twice vae's; 0.95 of the moved
    items across the middle, leakage 0.1."""
    data, known = load("shapes"), known_factors("test")
    migs = {}
    for name in args.models or ("vae", "beta-tcvae"):
        for seed in range(args.seeds):
            options = {"latent": 10, **({"prior": "normal"} if name == "vae" else {})} | dict(args.option)
            run, row = trained(args, data, name, args.minutes or 1, **options, seed=seed)
            codes = np.asarray(run.encode(data.test.values))
            found = scores(codes.astype(np.float64), known, 0)
            right, leaked = steered(run, data.test.values, codes)
            migs.setdefault(name, []).append(found["mig"])
            yield {**row, "seed": seed, **{k: round(float(v), 3) for k, v in found.items()},
                   "direction right: x, y, size": [round(v, 3) for v in right],
                   "leakage": [round(v, 3) for v in leaked]}  # fmt: skip
    yield {"MIG, mean": {name: round(float(np.mean(v)), 4) for name, v in migs.items()},
           "stderr": {k: round(float(np.std(v, ddof=1) / len(v) ** 0.5), 4) for k, v in migs.items() if len(v) > 1},
           "bar": "beta-tcvae at least 2 × vae"}  # fmt: skip


# --- quantised codes


def codebook(args):
    """MNIST and crops of CIFAR-10: share of the codebook in use, and the pair of vq-vae and gpt against a vae of the
    same minutes. Bars: 0.8; half of the vae's distance."""
    for source in args.data or ("mnist", "cifar10"):
        yield from ({"data": source, **row} for row in _codebook(args, source))


def cropped(data, side=16):
    """The same pictures, a random square of each."""
    rng = np.random.default_rng(0)

    def part(items):
        x = np.asarray(items.values)
        top, left = rng.integers(0, x.shape[1] - side + 1, (2, len(x)))
        rows, columns = top[:, None] + np.arange(side), left[:, None] + np.arange(side)
        return images(x[np.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]], labels=items.labels)

    parts = data.splits()
    name = f"{data.card.name}-{side}"
    made = (part(parts[k]) for k in ("train", "validation", "test"))
    return dataset(*made, name, source=f"crops of {data.card.name}", licence="as the whole pictures'")


def _codebook(args, source):
    n, minutes = 2000, args.minutes or 4
    data = cropped(load(source)) if source.startswith("cifar") else load(source)
    folder = Path(args.spaces or args.out / "spaces")
    spaces = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=folder / source)
    test = [space.of(data.test) for space in spaces]
    chosen = np.random.default_rng(0).permutation(len(data.test))[:500]
    values = np.asarray(data.test.values)

    def distances(x):
        return {s.name: round(float(frechet_distance(s(x), real)), 3) for s, real in zip(spaces, test, strict=True)}

    def rated(run):
        value = -run.score(values[chosen], draws=1).value / (values[0].size * math.log(2))
        return {"bits_per_dim": round(float(value.mean()), 4), "stderr": round(float(value.std() / 500**0.5), 4),
                "kind": run.density.name.lower()}  # fmt: skip

    real = np.asarray(data.train.values)[np.random.default_rng(0).permutation(len(data.train))[:n]]
    yield {"model": "training items", **distances(real)}
    for name in args.models or ("vq-vae", "vae"):
        if name == "vae":
            run, row = trained(args, data, name, minutes * 2)
            drawn = np.asarray(run.sample(n, seed=0))
            sheet(drawn[:96], args.out / f"codebook-{source}-vae.png")
            yield {**row, **distances(drawn), **rated(run)}
            continue
        first, row = trained(args, data, name, minutes, out=args.out / f"codebook-{source}-{name}", overwrite=True,
                             **dict(args.option))  # fmt: skip
        codes = np.asarray(first.encode(values[:5000]))
        share = np.bincount(codes.ravel(), minlength=first.model.code.largest) / codes.size
        back = np.asarray(first.reconstruct(values[:n]))
        yield {**row, "codes": len(share), "share in use": round(float((share > 0).mean()), 3), "perplexity":
               round(float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())), 1),
               "distance of reconstructions": distances(back), "bar": 0.8}  # fmt: skip
        second, row = trained(args, data, "gpt", minutes, on=first)
        drawn = np.asarray(second.sample(n, seed=0))
        sheet(drawn[:96], args.out / f"codebook-{source}-{name}-gpt.png")
        yield {**row, "on": name, **distances(drawn), **rated(second)}


# --- Boltzmann machines


def rbm(args):
    """MNIST at a threshold, 500 hidden units: nats of all test items by annealed importance sampling. Bar: 90 in 20
    minutes, the interval at most 1 nat to each side."""
    data = load("mnist")
    options = {"hidden": 500, "binarise": "threshold", "out": args.out / "rbm", "overwrite": True}
    run, row = trained(args, data, "rbm", args.minutes or 8, **options, **dict(args.option))
    began = time.process_time()
    ready = run.using(temperatures=args.temperatures)
    score = ready.score(data.test.values)
    sheet(np.asarray(run.sample(96, seed=0)), args.out / "rbm.png")
    yield {**row, "nats": round(-float(score.value.mean()), 3), "items": len(score.value),
           "stderr": round(float(score.value.std() / len(score.value) ** 0.5), 3),
           "log Z ±": round(ready.model.log_prob_error(), 3), "CPU seconds of log Z and scores":
           round(time.process_time() - began), "bar": 90}  # fmt: skip


def taught(net, x, y, test, labels, steps=400, rate=1e-3):
    """Accuracy after so many steps on all of a few labelled items."""
    descent = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-2)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(x), y)
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.inference_mode():
        return float((net(test).argmax(1) == labels).float().mean())


def dbn(args):
    """MNIST at a threshold, two layers of 500: the bound beside its first machine's, and a classifier from it with 100
    labels beside the same net from random weights, five draws of the labels. Bars: better; 0.05 better."""
    data = load("mnist")
    minutes = args.minutes or 4
    shared = {"binarise": "threshold", "hidden": 500}
    items = np.asarray(data.test.values)[np.random.default_rng(0).permutation(len(data.test))[:2000]]
    first, row = trained(args, data, "rbm", minutes / 2, **shared)
    yield {
        **row,
        "nats": round(-float(first.log_prob(items).mean()), 2),
        "log Z ±": round(first.model.log_prob_error(), 2),
    }
    run, row = trained(args, data, "dbn", minutes, **shared, **dict(args.option))
    sheet(np.asarray(run.sample(96, seed=0)), args.out / "dbn.png")
    yield {**row, "nats, a bound": round(-float(run.log_prob(items).mean()), 2), "log Z ±":
           round(run.model.log_prob_error(), 2)}  # fmt: skip
    pixels, labels = ((np.asarray(part) > 127) if k == 0 else np.asarray(part) for k, part in
                      enumerate((data.train.values, data.train.labels)))  # fmt: skip
    test = run.model.inputs(torch.from_numpy((np.asarray(data.test.values[:5000]) > 127).astype(np.int64)))
    wanted = torch.from_numpy(np.asarray(data.test.labels[:5000]).astype(np.int64))
    found = {"from the dbn": [], "from scratch": []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chosen = np.concatenate([rng.choice(np.flatnonzero(labels == k), 10, replace=False) for k in range(10)])
        x = run.model.inputs(torch.from_numpy(pixels[chosen].astype(np.int64)))
        y = torch.from_numpy(labels[chosen].astype(np.int64))
        torch.manual_seed(seed)
        found["from the dbn"].append(taught(run.model.network(10), x, y, test, wanted))
        scratch = run.model.network(10)
        scratch = nn.Sequential(*[nn.ReLU() if isinstance(layer, nn.Sigmoid) else layer for layer in scratch])
        for layer in scratch:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        found["from scratch"].append(taught(scratch, x, y, test, wanted))
    yield {"labels": 100, **{k: round(float(np.mean(v)), 4) for k, v in found.items()},
           "stderr of the difference": round(float(np.std(np.subtract(*found.values()), ddof=1) / 5**0.5), 4),
           "bar": 0.05}  # fmt: skip


# --- codes and halves


def probe(args):
    """Linear classifiers of 1,000 labels on codes, beside principal components of the same number. Bar: 0.03 above."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def accuracy(codes, y, held, wanted):
        net = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=6, max_iter=2000, cv=3, scoring="neg_log_loss"))
        return round(float((net.fit(codes, y).predict(held) == wanted).mean()), 4)

    for source in args.data or ("digits", "mnist"):
        data = load(source)
        few = np.random.default_rng(0).permutation(len(data.train))[:1000]
        x, y = np.asarray(data.train.values)[few], np.asarray(data.train.labels)[few]
        held, wanted = np.asarray(data.test.values)[:3000], np.asarray(data.test.labels)[:3000]
        flat = np.asarray(data.train.values).reshape(len(data.train), -1)[:20_000] / float(np.max(x))
        yield {
            "data": source,
            "features": "pixels",
            "accuracy": accuracy(
                x.reshape(len(x), -1) / float(np.max(x)), y, held.reshape(len(held), -1) / float(np.max(x)), wanted
            ),
        }
        for name in args.models or ("vae", "beta-vae", "wae", "vae-gan", "iwae", "rbm"):
            grey = {} if source == "digits" else {"binarise": "threshold"}  # 17 levels are classes, 256 are too many
            size = {"hidden": 500, **grey} if name in ("rbm", "dbn") else {"latent": args.latent}
            run, row = trained(args, data, name, args.minutes or 1, **size, **dict(args.option))
            codes, tests = (np.asarray(run.encode(part)).reshape(len(part), -1) for part in (x, held))
            pca = PCA(min(codes.shape[1], flat.shape[1]), random_state=0).fit(flat)
            a, b = (pca.transform(part.reshape(len(part), -1) / float(np.max(x))) for part in (x, held))
            yield {"data": source, **row, "numbers": codes.shape[1], "accuracy": accuracy(codes, y, tests, wanted),
                   "PCA": accuracy(a, y, b, wanted), "bar": "PCA + 0.03"}  # fmt: skip


def halves(args):
    """MNIST's lower halves from the upper ones: by cvae given the picture, and by the chain of a vae whose prior is not
    conditional. Root mean square errors in [0, 1] of the mean of 16 draws and of a draw, beside a regression on 128
    components and the nearest training items' halves. An exact draw's error is the root of two times that of the best
    mean, so that a copy near the mean has a smaller one: what ranks draws are the energy score, a proper one, (of a
    single guess its error) and the share of joined pictures that are still read as their digit."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesClassifier

    data, n = load("mnist"), 200

    def upper(x):
        return np.where(np.arange(28)[:, None] < 14, np.asarray(x), 0).astype(np.uint8)

    test = np.asarray(data.test.values)[np.random.default_rng(0).permutation(len(data.test))[:n]]
    train = np.asarray(data.train.values)
    wanted = test[:, 14:].reshape(n, -1) / 255.0

    def error(x):
        return round(float(np.sqrt(np.square(x.reshape(n, -1) - wanted).mean())), 4)

    few = train[:20_000] / 255.0
    pca = PCA(128, random_state=0).fit(few[:, :14].reshape(len(few), -1))
    seen = np.concatenate((pca.transform(few[:, :14].reshape(len(few), -1)), np.ones((len(few), 1))), 1)
    weights = np.linalg.lstsq(seen, few[:, 14:].reshape(len(few), -1), rcond=None)[0]
    here = np.concatenate((pca.transform(test[:, :14].reshape(n, -1) / 255.0), np.ones((n, 1))), 1)
    flat = few[:, :14].reshape(len(few), -1)
    mine = test[:, :14].reshape(n, -1) / 255.0
    near = (np.square(flat).sum(1)[None] - 2 * mine @ flat.T).argsort(1)[:, :16].T
    labels = np.asarray(data.test.labels)[np.random.default_rng(0).permutation(len(data.test))[:n]]
    judge = ExtraTreesClassifier(200, n_jobs=1, random_state=0).fit(
        few.reshape(len(few), -1), np.asarray(data.train.labels)[:20_000]
    )

    def rated(guesses):
        """Of guesses (k, n, 14, 28) of the lower halves: the energy score per picture, and the share of the class."""
        flat = guesses.reshape(len(guesses), n, -1)
        off = np.linalg.norm(flat - wanted, axis=2).mean()
        apart = [np.linalg.norm(flat[i] - flat[j], axis=1).mean() for i in range(len(flat)) for j in range(i)]
        whole = np.concatenate((test[:, :14] / 255.0, guesses[0].reshape(n, 14, 28)), 1).reshape(n, -1)
        return {"energy score": round(float(off - 0.5 * (np.mean(apart) if apart else 0.0)), 4),
                "class": round(float((judge.predict(whole) == labels).mean()), 4)}  # fmt: skip

    yield {"model": "the pictures themselves", "class": rated(test[None, :, 14:] / 255.0)["class"]}
    mean = np.clip(here @ weights, 0, 1).reshape(1, n, 14, 28)
    yield {"model": "128 components, regression", "error of the mean": error(here @ weights), **rated(mean)}
    yield {"model": "nearest of 20,000", "error of a draw": error(few[near[0], 14:]), **rated(few[near[:1], 14:])}
    copies = few[near, 14:]
    yield {"model": "16 nearest", "error of the mean": error(copies.mean(0)), **rated(copies)}
    every = np.concatenate([np.asarray(part.values) for part in data.splits().values()])
    for name in args.models or ("cvae",):
        run, row = trained(args, data, name, args.minutes or 3, condition=images(upper(every)), **dict(args.option))
        draws = np.stack([np.asarray(run.sample(n, condition=images(upper(test)), seed=k)) for k in range(16)])
        joined = np.where(np.arange(28)[:, None] < 14, test[:12], draws[:2, :12]).reshape(24, 28, 28)
        sheet(np.concatenate((test[:12], upper(test[:12]), joined)).astype(np.uint8), args.out / f"halves-{name}.png")
        drawn = draws[:, :, 14:] / 255.0
        yield {**row, "error of the mean": error(drawn.mean(0)), "error of a draw": error(drawn[0]), **rated(drawn)}


BARS = {"factors": factors, "codebook": codebook, "rbm": rbm, "dbn": dbn, "probe": probe, "halves": halves}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed)
    cli.add_argument("--data", type=listed)
    cli.add_argument("--minutes", type=float)
    cli.add_argument("--steps", type=int, help="of each training, in place of minutes")
    cli.add_argument("--seeds", type=int, default=3)
    cli.add_argument("--latent", type=int, default=32, help="numbers of a code that a probe reads")
    cli.add_argument("--temperatures", type=int, default=5000)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("latents", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
