"""The GAN family against its bars: one function per bar, one JSON line per result.

    python bench/duels.py plane --models r3gan,wgan-gp,gan --minutes 3
    python bench/duels.py images --models r3gan --minutes 9 --out runs/duels

Feature distances are multiples of the control, 5,000 real training items in place of the samples, both against the
test split. Results go to <out>/duels.jsonl, sheets of samples beside it.
"""

import time

import numpy as np
from harness import listed, measure, parser

import pofx
from pofx.data.dataset import take
from pofx.data.densities import truth
from pofx.data.sources import load
from pofx.evaluate.distances import squared
from pofx.evaluate.features import fit_spaces
from pofx.maths.frechet import frechet_distance

PLANE = ("gaussians8", "gaussians25")
SAMPLES, CLOSE = 5000, 3.0  # standard deviations that count as near a mode


def modes(name, x):
    """How many Gaussians of a mixture have a sample within 3 σ, the share of such samples, and the smallest share."""
    law = truth(name)
    spread = np.sqrt(law.covariances[:, 0, 0])
    far = np.linalg.norm(x[:, None] - law.means, axis=2) / spread
    near = far.min(1) < CLOSE
    shares = np.bincount(far.argmin(1)[near], minlength=len(spread)) / len(x)
    found = shares > 0.1 / len(spread)  # a tenth of its due
    return {"modes": f"{int(found.sum())} of {len(spread)}", "near": round(float(near.mean()), 3),
            "smallest share × modes": round(float(shares.min() * len(spread)), 2)}  # fmt: skip


def plane(args):
    """gaussians8 and a grid of 25: modes found, share within 3 σ. Bar: all, 0.95 (r3gan, wgan-gp)."""
    for name in args.data or PLANE:
        for model in args.models or ("r3gan", "wgan-gp", "gan"):
            run = pofx.fit(name, model, minutes=args.minutes or 3, seed=args.seed, progress=args.shown,
                           **dict(args.option))  # fmt: skip
            x = np.asarray(run.sample(SAMPLES, seed=0))
            yield {"data": name, "model": model, "minutes": args.minutes or 3, "seed": args.seed,
                   "steps": run.card["training"]["steps"], **modes(name, x), "bar": "all, 0.95"}  # fmt: skip


def sheet(images, path, columns=12):
    """Images (n, H, W[, C]) side by side in a PNG."""
    from PIL import Image

    rows = len(images) // columns
    shown = np.stack(images[: rows * columns])
    if shown.ndim == 3:
        shown = shown[..., None]
    n, h, w, c = shown.shape
    grid = shown.reshape(rows, columns, h, w, c).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, c)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grid.squeeze(-1) if c == 1 else grid).resize((columns * w * 2, rows * h * 2), 0).save(path)


def coverage(real, fake, k=5):
    """The share of real items whose k-th neighbour among real ones is farther than the nearest sample."""
    radius = np.partition(squared(real, real), k, axis=1)[:, k]
    return float((squared(real, fake).min(1) <= radius).mean())


def images(args):
    """Distance over the control's, total variation of predicted classes, coverage over the control's."""
    source = (args.data or ["mnist"])[0]
    data = load(source, condition="label" if args.conditional else None)
    count = min(SAMPLES, len(data.train))
    space, pca = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.spaces or args.out / "spaces")
    chosen = np.random.default_rng(0).permutation(len(data.train))[:count]
    held = take(data.train, chosen).values
    bars = {"r3gan": 6, "sngan": 6, "stylegan2": 3, "wgan-gp": 10, "dcgan": 15}
    for name in args.models or ("r3gan",):
        minutes = args.minutes or 9
        label = f"{source}-{name}{'-conditional' if args.conditional else ''}-{minutes:g}{args.tag}"
        began = time.perf_counter()
        run = pofx.fit(data, name, minutes=minutes, seed=args.seed, out=args.out / label, overwrite=True,
                       condition="label" if args.conditional else None,
                       progress=args.shown, **dict(args.option))  # fmt: skip
        drawn = run.draw(count, seed=0)
        sheet(drawn.values[:96], args.out / f"{label}.png")
        row = {
            "model": label,
            "seed": args.seed,
            "steps": run.card["training"]["steps"],
            "best_step": run.card["training"]["best_step"],
            "seconds": round(time.perf_counter() - began),
        }
        for s in (space, pca):
            test = s.of(data.test)
            real, fake = frechet_distance(s(held), test), frechet_distance(s(drawn.values), test)
            row[s.name] = round(fake / real, 2)
            row[f"{s.name} coverage"] = round(
                coverage(test[:2000], s(drawn.values)) / coverage(test[:2000], s(held)), 3
            )
        classes = space.predict(drawn.values)
        shares = np.bincount(classes, minlength=10) / len(classes)
        due = np.bincount(data.train.labels, minlength=10) / len(data.train.labels)
        row["class TV"] = round(float(np.abs(shares - due).sum() / 2), 3)
        if args.conditional and drawn.labels is not None:
            row["class right"] = round(float((classes == drawn.labels).mean()), 4)
        yield row | {"bar": f"≤ {bars.get(name, '')}"}


BARS = {"plane": plane, "images": images}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed)
    cli.add_argument("--data", type=listed)
    cli.add_argument("--minutes", type=float)
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--tag", default="", help="added to the names of folders")
    cli.add_argument("--conditional", action="store_true", help="train on labels")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("duels", BARS, cli.parse_args())


def option(text):
    from pofx.core.config import parse

    return parse(text)


if __name__ == "__main__":
    main()
