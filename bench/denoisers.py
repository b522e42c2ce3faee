"""Diffusion models against the bars of their family; one JSON line per result, sheets beside them.

    python bench/denoisers.py few plane names                      digits in few steps, densities, text
    python bench/denoisers.py inpainting bits --run runs/mnist     with a trained run of MNIST
    python bench/denoisers.py latent --run runs/mnist --minutes 8  codes of a vae against the pixels of that run
    python bench/denoisers.py clips voxels --minutes 4

Distances are Fréchet distances; MNIST's in the features of its classifier and in principal components.
"""

import math
import os
import time
from pathlib import Path

import numpy as np
from harness import listed, measure, option, parser, sheet

import pofx
from pofx.apps.edit import edit
from pofx.artifact import load as stored
from pofx.data.densities import truth
from pofx.data.sources import load
from pofx.evaluate.features import fit_spaces
from pofx.maths.frechet import frechet_distance

SCRATCH = ("split-mean-flow", "mean-flow", "consistency")
DISTILLED = ("progressive", "reflow", "consistency", "adversarial")


def few(args):
    """Digits, pixels in [0, 1], 3,000 draws against all items: one-step models from scratch and distilled students
    beside their flow-matching net at 50 evaluations. Bars: 1 NFE 2 times that distance, 4 NFE 1.2; distilled 1.5."""
    data = load("digits")
    everything = np.concatenate([np.asarray(part.values) for part in data.splits().values()]).reshape(-1, 64) / 16

    def distance(run):
        return float(frechet_distance(np.asarray(run.sample(3000, seed=0)).reshape(-1, 64) / 16, everything))

    budget = {"steps": args.steps, "seed": args.seed, "progress": False}
    began = time.process_time()
    teacher = pofx.fit(data, "flow-matching", **budget)
    used, base = time.process_time() - began, 0.0
    for sampler, steps, nfe in (("heun", 25, 50), ("heun", 16, 32), ("heun", 2, 4), ("euler", 1, 1)):
        found = distance(teacher.using(sampler=sampler, sampler_steps=steps))
        base = base or found
        yield {"model": "flow-matching", "sampler": sampler, "evaluations": nfe, "CPU seconds": round(used),
               "distance": round(found, 4), "over 50 evaluations": round(found / base, 2)}  # fmt: skip
    for name in args.models or (*SCRATCH, *(f"distilled {method}" for method in DISTILLED)):
        method = name.removeprefix("distilled ")
        targets = (1, 4) if name in SCRATCH or method in ("progressive", "reflow") else (1,)
        began = time.process_time()
        if name in SCRATCH:
            run = pofx.fit(data, name, **budget)
        else:
            run = pofx.distill(teacher, data, method=method, sampler_steps=1, **budget)
        used = time.process_time() - began
        for nfe in targets:
            drawn = run.using(sampler_steps=nfe)
            found = distance(drawn)
            sheet(
                np.asarray(drawn.sample(48, seed=1)) * 15, args.out / f"few-{name.replace(' ', '-')}-{nfe}.png", 12, 4
            )
            yield {"model": name, "evaluations": nfe, "CPU seconds": round(used), "distance": round(found, 4),
                   "over 50 evaluations": round(found / base, 2),
                   "bar": 1.5 if name not in SCRATCH else {1: 2.0, 4: 1.2}[nfe]}  # fmt: skip


def mnist_spaces(args, data):
    return fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.spaces or args.out / "spaces")


def latent(args):
    """MNIST: a flow in the codes of a vae, both within the minutes, beside a run in pixels: distances of 2,000 samples
    and samples a second. Bar: 1.3 times the distance at 3 times the speed."""
    data, n = load("mnist"), 2000
    spaces = mnist_spaces(args, data)
    test = [space.of(data.test) for space in spaces]
    minutes = args.minutes or 8
    first = pofx.fit(data, "vae", minutes=minutes * 0.4, seed=args.seed, progress=args.shown,
                     out=args.out / "latent-vae", overwrite=True, **dict(args.option))  # fmt: skip
    second = pofx.fit(data, "flow-matching", on=first, minutes=minutes * 0.6, seed=args.seed, progress=args.shown,
                      out=args.out / "latent-flow", overwrite=True)  # fmt: skip
    runs = {"codes of the vae": second, "vae alone": first}
    if args.run:
        runs["pixels"] = stored(args.run)
    for name, run in runs.items():
        run.sample(8, seed=1)
        began = time.process_time()
        drawn = np.asarray(run.sample(n, seed=0))
        used = time.process_time() - began
        sheet(drawn[:96], args.out / f"latent-{name.replace(' ', '-')}.png")
        yield {"model": name, "minutes": minutes if name != "pixels" else None,
               **{space.name: round(float(frechet_distance(space(drawn), real)), 3)
                  for space, real in zip(spaces, test, strict=True)},
               "samples a CPU second": round(n / used, 1)}  # fmt: skip
    back = np.asarray(first.reconstruct(data.test.values[:n]))
    yield {"model": "reconstructions of the vae", "of": "test items", "floor of codes":
           {space.name: round(float(frechet_distance(space(back), real)), 3)
            for space, real in zip(spaces, test, strict=True)}}  # fmt: skip


HALVES = {"left": np.s_[:, :14], "right": np.s_[:, 14:], "top": np.s_[:14], "bottom": np.s_[14:]}


def posterior_of_halves(data, seconds=60.0):
    """p(class | the other half) by a classifier of halves: for each half that is hidden (items, classes). The mean of
    the true class's is the share of classes that exact draws of the hidden half retain, about."""
    import torch
    from torch import nn

    def block(a, b, size, stride=2):
        return nn.Conv2d(a, b, size, stride, size // 2), nn.BatchNorm2d(b), nn.ReLU()

    torch.manual_seed(0)
    seen = torch.ones(len(HALVES), 28, 28)
    for k, place in enumerate(HALVES.values()):
        seen[k][place] = 0.0
    x, test = (torch.from_numpy(np.asarray(part.values)).float() / 255 for part in (data.train, data.test))
    y = torch.from_numpy(np.asarray(data.train.labels)).long()
    net = nn.Sequential(*block(2, 16, 5), *block(16, 48, 3), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 49, 128),
                        nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))  # fmt: skip
    descent, began = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2), time.process_time()
    while (share := (time.process_time() - began) / seconds) < 1:
        descent.param_groups[0]["lr"] = 2e-3 * max(1 - share, 0.01)
        rows, hidden = torch.randint(len(x), (128,)), seen[torch.randint(len(seen), (128,))]
        loss = nn.functional.cross_entropy(net(torch.stack((x[rows] * hidden, hidden), 1)), y[rows])
        descent.zero_grad()
        loss.backward()
        descent.step()
    with torch.inference_mode():
        return {
            half: torch.cat(
                [
                    net.eval()(torch.stack((part * seen[k], seen[k].expand_as(part)), 1)).softmax(1)
                    for part in test.split(1000)
                ]
            ).numpy()
            for k, half in enumerate(HALVES)
        }


def inpainting(args):
    """Halves of MNIST test digits drawn anew by a trained run: known pixels exact, the class retained, two draws apart,
    beside what exact draws would retain. Bar: 0.88 of the classes."""
    data, run = load("mnist"), stored(args.run)
    space = mnist_spaces(args, data)[0]
    exact, every = posterior_of_halves(data), np.asarray(data.test.labels)
    chosen = np.random.default_rng(0).permutation(len(data.test))[: args.items]
    x, labels = np.asarray(data.test.values)[chosen], np.asarray(data.test.labels)[chosen]
    whole = space.predict(x) == labels
    for half, place in HALVES.items():
        mask = np.zeros((28, 28), bool)
        mask[place] = True
        began = time.process_time()
        draws = [
            np.asarray(edit(run, x, mask=mask, steps=args.walk, particles=args.particles, seed=seed)) for seed in (0, 1)
        ]
        used = time.process_time() - began
        right = np.concatenate([space.predict(drawn) == labels for drawn in draws])
        shown = np.where(mask, 90, x).astype(np.uint8)
        sheet(np.concatenate([part[:12] for part in (x, shown, *draws)]), args.out / f"inpainting-{half}.png")
        apart = np.sqrt(np.square((draws[0] - draws[1].astype(float)) / 255)[:, mask].mean(1))
        blank = np.where(mask, 0, x).astype(np.uint8)
        yield {"drawn anew": half, "items": len(x), "known exact": bool(all((d == x)[:, ~mask].all() for d in draws)),
               "class retained": round(float(right.mean()), 3),
               "stderr": round(float(right.reshape(2, -1).mean(0).std() / len(x) ** 0.5), 3),
               "class of whole items": round(float(whole.mean()), 3),
               "class of the half alone": round(float((space.predict(blank) == labels).mean()), 3),
               "exact draws, these items": round(float(exact[half][chosen, labels].mean()), 3),
               "exact draws, all items": round(float(exact[half][np.arange(len(every)), every].mean()), 3),
               "two draws apart, RMS": round(float(apart.mean()), 3), "least": round(float(apart.min()), 4),
               "CPU seconds": round(used), "bar": 0.88}  # fmt: skip


def bits(args):
    """MNIST, bits/dim of random test items by the probability flow of a run, or its bound. Bar: 1.25."""
    data = load("mnist")
    run = stored(args.run).using(**dict(args.option))
    chosen = np.random.default_rng(0).permutation(len(data.test))[: args.items]
    began = time.process_time()
    score = run.score(np.asarray(data.test.values)[chosen], draws=args.draws)
    found = -score.value / (784 * math.log(2))
    own = None if score.stderr is None else round(float(np.nanmean(score.stderr) / (784 * math.log(2))), 4)
    yield {"run": Path(args.run).name, "options": dict(args.option), "kind": score.density.name.lower(),
           "items": len(found), "bits_per_dim": round(float(found.mean()), 4),
           "stderr": round(float(found.std() / len(found) ** 0.5), 4), "error of an item": own,
           "CPU seconds": round(time.process_time() - began), "bar": 1.25}  # fmt: skip


def plane(args):
    """Nats of 5,000 test points above the true entropy. Bar: 0.05."""
    for name in args.data or ("checkerboard", "gaussians8"):
        law, test = truth(name), load(name).test.values[:5000]
        for model in args.models or ("flow-matching",):
            began = time.process_time()
            run = pofx.fit(name, model, minutes=args.minutes or 3, seed=args.seed, progress=args.shown,
                           **dict(args.option))  # fmt: skip
            used = time.process_time() - began
            value = run.log_prob(test)
            gap = law.log_prob(test) - value  # nats by which the model is below the truth, item by item
            yield {"data": name, "model": model, "steps": run.card["training"]["steps"], "CPU seconds": round(used),
                   "above the entropy": round(float(-value.mean()) - law.entropy, 4), "KL": round(float(gap.mean()), 4),
                   "stderr": round(float(gap.std() / len(gap) ** 0.5), 4), "bar": 0.05}  # fmt: skip


def names(args):
    """Distinct names, nats per character with the end, at equal minutes: the bound of masked diffusion beside gpt's
    exact value. Bar: 1.12 times."""
    data = load(Path(os.environ["POFX_DATA"]) / "names.txt")
    symbols, base = np.array([len(v) + 1 for v in data.test.values]), 0.0
    for name in args.models or ("gpt", "masked-diffusion"):
        options = {"batch_size": 128, "lr": 2e-3, "dropout": 0.2 if name == "gpt" else 0.1} | dict(args.option)
        run = pofx.fit(data, name, minutes=args.minutes or 3, seed=args.seed, progress=args.shown, **options)
        score = run.score(data.test.values)
        nats = float(-score.value.sum() / symbols.sum())
        base = base or nats
        yield {"model": name, "kind": score.density.name.lower(), "steps": run.card["training"]["steps"],
               "best_step": run.card["training"]["best_step"], "nats_per_character": round(nats, 4),
               "stderr": round(float(np.std(score.value + nats * symbols) * len(symbols) ** 0.5 / symbols.sum()), 4),
               "ratio": round(nats / base, 3), "samples": list(run.sample(12, seed=0)), "bar": 1.12}  # fmt: skip


def clips(args):
    """Moving digits (8 frames of 16 x 16) by flow matching in time and place: AUC against held-out clips, in the first
    64 components (0.5: none can separate them), and the share of pixels that move on as the frame before."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    from pofx.apps.video import gif

    data = load("moving-digits")
    began = time.process_time()
    run = pofx.fit(data, "flow-matching", minutes=args.minutes or 5, seed=args.seed, progress=args.shown,
                   out=args.out / "clips", overwrite=True, **dict(args.option))  # fmt: skip
    used, test = time.process_time() - began, np.asarray(data.test.values)
    drawn = np.asarray(run.sample(len(test), seed=0))
    flat = np.concatenate((test, drawn)).reshape(2 * len(test), -1) / 16.0
    codes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[0][:, :64]
    side = np.repeat((0, 1), len(test))
    guess = cross_val_predict(LogisticRegression(max_iter=500), codes * 50, side, cv=5, method="decision_function")
    from sklearn.metrics import roc_auc_score

    def moved(x):
        return round(float((np.abs(np.diff(x.astype(float), axis=1)) > 2).mean()), 4)

    gif(drawn[:16], args.out / "clips.gif")
    sheet(
        np.concatenate([drawn[:8].reshape(64, 16, 16), test[:4].reshape(32, 16, 16)]) * 15, args.out / "clips.png", 8, 3
    )
    yield {"data": "moving-digits", "steps": run.card["training"]["steps"], "CPU seconds": round(used),
           "AUC, linear": round(float(roc_auc_score(side, guess)), 3), "pixels that change": moved(drawn),
           "of real clips": moved(test), "n": len(test)}  # fmt: skip


def voxels(args):
    """Chairs and monitors: 1-NNA of drawn solids, IoU of test solids after 64 numbers by a vae. Bars: 0.576, 0.698."""
    from pofx.apps.solids import CODES, intersection_over_union, likeness, picture, principal_codes, read_solids
    from pofx.data.dataset import split
    from pofx.data.kinds.voxels import voxels as items

    for name in args.data or ("chair", "monitor"):
        solids = read_solids(Path(os.environ["POFX_DATA"]) / "shapes" / f"{name}.npy.gz")
        data = split(items(solids), name, seed=args.seed, fractions=(0.1, 0.2))
        train, test = (np.asarray(part.values).reshape(len(part), -1) for part in (data.train, data.test))
        yield {"solids": name, "model": "64 principal components", "IoU": round(principal_codes(train, test), 4)}
        for model in args.models or ("vae", "flow-matching"):
            options = dict(CODES) if model == "vae" else {}
            began = time.process_time()
            run = pofx.fit(data, model, minutes=args.minutes or 2, seed=args.seed, progress=args.shown,
                           **options, **dict(args.option))  # fmt: skip
            row = {"solids": name, "model": model, "CPU seconds": round(time.process_time() - began),
                   "steps": run.card["training"]["steps"]}  # fmt: skip
            if model == "vae":
                back = np.asarray(run.reconstruct(data.test.values)).reshape(len(test), -1)
                row |= {"IoU": round(intersection_over_union(back, test), 4),
                        "bar": {"chair": 0.576, "monitor": 0.698}.get(name)}  # fmt: skip
            drawn = np.asarray(run.sample(100, seed=0)).reshape(100, *solids.shape[1:])
            picture(drawn[:8], args.out / f"voxels-{name}-{model}.png")
            found = likeness(drawn, test.reshape(-1, *solids.shape[1:]), train)
            yield row | {k: round(v, 3) for k, v in found.items()}


BARS = {"few": few, "latent": latent, "inpainting": inpainting, "bits": bits, "plane": plane, "names": names,
        "clips": clips, "voxels": voxels}  # fmt: skip


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed)
    cli.add_argument("--data", type=listed)
    cli.add_argument("--run", help="folder of a trained run of MNIST")
    cli.add_argument("--minutes", type=float)
    cli.add_argument("--steps", type=int, default=3000)
    cli.add_argument("--items", type=int, default=200)
    cli.add_argument("--draws", type=int, default=1, help="of the noise that makes levels real")
    cli.add_argument("--walk", type=int, help="steps of an edit")
    cli.add_argument("--particles", type=int, help="of an edit")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("denoisers", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
