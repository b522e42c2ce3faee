"""Inverse problems on MNIST and on a brain scan: PSNR of the posterior mean, coverage of 90 % intervals, time.

python bench/inverse.py mnist --run RUN           a trained run as the prior, by its default method
python bench/inverse.py mnist --models flow-matching --minutes 10 -o width=64 --device cuda     one is trained for it
python bench/inverse.py mnist                     100 normal components: k-means of 20,000 images, one step of EM
python bench/inverse.py samplers [--out DIR]      every method against exact posteriors, by operator and noise
python bench/inverse.py levy                      the same on signals with Laplace increments, beside a Gibbs sampler
python bench/inverse.py style --minutes 4         digits in the opposite contrast and turned, by two runs, and back
python bench/inverse.py mri                       a T1 slice from a quarter of its k-space; priors of other images

Floors (20,000 training images, 200 test images, a mixture of 100 normals): 18.0, 19.0, 18.2, 19.9, 21.0 dB. The prior
of the scan is a mixture of normals of 8 x 8 patches of ten diffusion slices, none of them the T1 slice, or a model that
learns patches of these slices and of phantoms. Needs POFX_DATA.
"""

import argparse
import gzip
import os
import time
from pathlib import Path

import harness
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom

import pofx
from pofx.core.event import Bounded
from pofx.core.items import Items
from pofx.data.sources import load
from pofx.families.mixture.expectation import Mixture, clustered
from pofx.families.mixture.gmm import GMM
from pofx.inverse.item_posterior import measured, real_items
from pofx.inverse.methods import METHODS
from pofx.inverse.operators.projection import Fourier, cartesian
from pofx.inverse.restoration import checked
from pofx.represent.image import Unit

TASKS = {
    "SR 4x": ("superres", {"factor": 4}),
    "box 12x12": ("inpaint", {"box": 12}),
    "CS m=25": ("sensing", {"m": 25}),
    "deblur": ("blur", {"sigma": 1.5}),
    "70 % missing": ("inpaint", {"missing": 0.7}),
}
FLOORS = {"SR 4x": 18.0, "box 12x12": 19.0, "CS m=25": 18.2, "deblur": 19.9, "70 % missing": 21.0}
SIGMA = 0.05


def mnist_mixture(seconds):
    """An artifact: 100 normals from k-means of the first 20,000 training images."""
    start = time.process_time()
    with np.load(Path(os.environ["POFX_DATA"]) / "mnist.npz") as file:
        images = file["x_train"][:20_000]
    view = Unit.fit(Items("image", images, facts={"levels": 256}))
    x = 2 * (torch.from_numpy(images).double().flatten(1) + 0.5) / 256 - 1
    model = GMM(Bounded((1, 28, 28)), components=100, covariance="full")
    found = clustered(x, 100, full=True)
    eye = torch.eye(784, dtype=torch.float64)
    model.store(0, Mixture(found.log_weights, found.means, found.covariances + 4e-4 * eye))
    seconds.append(time.process_time() - start)
    return pofx.Artifact(view, model.eval(), "gmm", {"data": {"kind": "image", "facts": {}}})


def mnist(args):
    spent = []
    if args.models:
        run = pofx.fit("mnist", args.models[0], minutes=args.minutes, progress=False, out=args.out / "mnist-prior",
                       overwrite=True, device=args.device, **dict(args.option))  # fmt: skip
        spent.append(args.minutes * 60)
    else:
        run = pofx.load(args.run) if args.run else mnist_mixture(spent)
    run = run.to(args.device)
    described = args.run or (f"{args.models[0]}, {args.minutes:g} min" if args.models else f"gmm, {spent[0]:.0f} CPU-s")
    with np.load(Path(os.environ["POFX_DATA"]) / "mnist.npz") as file:
        test = file["x_test"][np.random.default_rng(0).permutation(10_000)[: args.items]]
    options = {"steps": args.steps} if args.steps else {}
    options |= {"inner": args.inner} if args.inner else {}
    for name in args.tasks or TASKS:
        operator, settings = TASKS[name]
        made = pofx.posterior(
            run, None, operator, SIGMA, operator_options=settings, options=options, method=args.method
        )
        start = time.process_time()
        check = made.check(test, draws=args.draws).to_json()
        seconds = (time.process_time() - start) / args.items / args.draws
        yield {"task": name, "floor": FLOORS[name], **check, "cpu_s_per_draw": round(seconds, 4), "prior": described,
               "device": args.device}  # fmt: skip


SMALL = {
    "SR 2x": ("superres", {"factor": 2}),
    "box 4x4": ("inpaint", {"box": 4}),
    "70 % missing": ("inpaint", {"missing": 0.7}),
    "blur": ("blur", {"sigma": 1.0}),
    "CS m=12": ("sensing", {"m": 12}),
    "denoise": ("denoise", {}),
}


def samplers(args):
    """Gaps of means to those of exact posteriors, coverage and evaluations, on 8 x 8 digits drawn from a mixture of
    normals: with its exact denoiser, and with one learned from 20,000 of its draws."""
    digits = load("digits")
    options = {"components": 10, "covariance": "full", "ridge": 0.01}
    exact = pofx.fit(digits, "gmm", view={"represent": "unit"}, options=options, progress=False)
    draws = exact.sample(20_000, seed=1)
    began = time.process_time()
    priors = {"exact": exact}
    if "learned" in args.priors:
        priors["learned"] = pofx.fit(
            pofx.images(draws, levels=digits.train.facts["levels"]),
            "flow-matching",
            view={"represent": "unit"},
            minutes=args.minutes,
            progress=False,
        )
    spent = round(time.process_time() - began, 1)
    items = exact.sample(args.items, seed=2)
    for sigma in args.noises:
        for name in args.tasks or SMALL:
            operator, settings = SMALL[name]

            def made(run, method):
                name, *more = method.split(":")
                options = dict(harness.option(one) for one in more)
                return pofx.posterior(run, None, operator, sigma, operator_options=settings, method=name,  # noqa: B023
                                      options=options)  # fmt: skip

            posterior = made(exact, "exact")
            y = measured(posterior.operator, posterior.noise, real_items(exact, items), 1)
            truth, best = real_items(exact, items).numpy(), posterior.at(y).sample(EXACT)
            common = {"task": name, "sigma": sigma, "prior_cpu_s": spent}
            yield common | {"prior": "exact", "method": "exact", "psnr": round(float(best.psnr(truth).mean()), 2),
                            "coverage": round(checked(best, truth).coverage[0.9][0], 3)}  # fmt: skip
            for prior, run in priors.items():
                for method in args.methods or METHODS:
                    posterior, start = made(run, method), time.process_time()
                    found = posterior.at(y).sample(args.draws)
                    check = checked(found, truth)
                    yield common | {
                        "prior": prior, "method": method, **gap(found.samples, best.samples),
                        "coverage": round(check.coverage[0.9][0], 3), "nfe": found.evaluations,
                        "residual": round(check.residual, 2), "cpu_s": round(time.process_time() - start, 1),
                    }  # fmt: skip


EXACT = 400  # exact draws behind the exact mean


def gap(draws, exact):
    """By how many dB the squared error of a sampler's mean exceeds the least, that of the exact posterior mean, from
    draws (items, n, …) of both, with its standard error over items.

    Of n draws the mean is off by their variance / n however good the sampler is; that is subtracted. Given y the error
    of m is the least one plus |m - exact mean|², so the truth, the same for all, is not needed and adds no noise.
    """
    draws, exact = (one.reshape(*one.shape[:2], -1).astype(np.float64) for one in (draws, exact))
    spread, least = (one.var(1, ddof=1) for one in (draws, exact))
    off = np.square(draws.mean(1) - exact.mean(1)) - spread / draws.shape[1] - least / exact.shape[1]
    each, least = off.mean(1), float(least.mean())
    error = float(each.std(ddof=1)) / len(each) ** 0.5
    ratio = max(1 + float(each.mean()) / least, 1e-3)
    plain = np.square(draws.mean(1) - exact.mean(1)).mean() / least
    return {"gap_db": round(10 * np.log10(ratio), 2), "gap_error": round(4.34 * error / least / ratio, 2),
            "gap_with_noise_of_draws": round(float(10 * np.log10(1 + plain)), 2)}  # fmt: skip


LENGTH, BURN, SWEEPS = 64, 200, 1_500  # of a signal; of the Gibbs sampler


def signals(n, seed):
    """Lévy processes with Laplace increments of scale 1: (n, 64)."""
    return np.random.default_rng(seed).laplace(size=(n, LENGTH)).cumsum(1)


def gibbs(matrix, y, sigma, seed):
    """Draws (SWEEPS, 64) of the posterior of a signal: increments given their variances and back (Park and Casella,
    2008, The Bayesian lasso)."""
    g = np.random.default_rng(seed)
    h = matrix @ np.tril(np.ones((LENGTH, LENGTH))) / sigma
    precision, target, u, found = h.T @ h, h.T @ y / sigma, np.zeros(LENGTH), []
    for k in range(BURN + SWEEPS):
        inverse = g.wald(1 / np.maximum(np.abs(u), 1e-6), 1.0)
        root = np.linalg.cholesky(precision + np.diag(inverse))
        u = np.linalg.solve(root.T, np.linalg.solve(root, target) + g.normal(size=LENGTH))
        found += [u.cumsum()] if k >= BURN else []
    return np.array(found)


def levy(args):
    """Methods with a denoiser learned from 20,000 signals, against a Gibbs sampler of the exact posterior."""
    learned = pofx.fit(pofx.points(signals(20_000, 0)), "flow-matching", minutes=args.minutes, progress=False)
    truth = signals(args.items, 1)
    g = np.random.default_rng(2)
    steps = np.arange(LENGTH)
    blur = np.exp(-0.5 * np.square((steps[:, None] - steps) / 2.0))
    tasks = {
        "denoise": np.eye(LENGTH),
        "deconvolve": blur / blur.sum(1, keepdims=True),
        "60 % missing": np.eye(LENGTH)[np.sort(g.permutation(LENGTH)[: LENGTH * 4 // 10])],
    }
    sigma = 1.0
    for name in args.tasks or tasks:
        matrix = tasks[name]
        y = truth @ matrix.T + sigma * g.normal(size=(args.items, len(matrix)))
        exact = np.stack([gibbs(matrix, one, sigma, i) for i, one in enumerate(y)])
        low, high = np.quantile(exact, (0.05, 0.95), axis=1)
        best = np.square(exact.mean(1) - truth).mean()
        inside = round(float(((truth >= low) & (truth <= high)).mean()), 3)
        yield {"task": name, "method": "gibbs", "rmse": round(float(best**0.5), 3), "coverage": inside}
        for method in args.methods or METHODS:
            start = time.process_time()
            one, *more = method.split(":")
            options = dict(harness.option(each) for each in more)
            found = pofx.posterior(learned, y, matrix, sigma, method=one, options=options).sample(args.draws)
            yield {"task": name, "method": method, **gap(found.samples, exact), "nfe": found.evaluations,
                   "coverage": round(float(np.nanmean(found.coverage(truth, 0.9))), 3),
                   "residual": round(float(found.residual.mean()), 2),
                   "cpu_s": round(time.process_time() - start, 1)}  # fmt: skip


def slices_of(path):
    """The slices of a NIfTI file, from 0 to 1: float64 (n, height, width)."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw[40:56], "<i2")[1:4]
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[int(np.frombuffer(raw[70:72], "<i2")[0])]
    values = np.frombuffer(raw[int(np.frombuffer(raw[108:112], "<f4")[0]) :], kind, int(np.prod(shape)))
    volume = np.moveaxis(values.reshape(shape, order="F").astype(np.float64), 2, 0)
    return (volume / np.quantile(volume, 0.999, axis=(1, 2), keepdims=True)).clip(0, 1)


def recontrasted(patches, seed):
    """Patches turned, mirrored and with another contrast, positive or negative, around another mean within 0 to 1."""
    g = np.random.default_rng(seed)
    turned = np.stack([np.rot90(p, k)[:: 1 - 2 * (k // 4)] for p, k in zip(patches, g.integers(0, 8, len(patches)),
                                                                           strict=True)])  # fmt: skip
    size = (len(patches), 1, 1)
    mean = turned.mean((1, 2), keepdims=True)
    gain, middle = g.uniform(0.3, 1.3, size) * g.choice([-1, 1], size), np.where(g.random(size) < 0.5, mean, 1 - mean)
    return (middle + gain * (turned - mean)).clip(0, 1)


def phantoms(n, seed, size=256):
    """Pictures with regions as tissues have them: level sets of smooth random fields inside a blob on black, each of
    one grey with a faint texture, edges slightly blurred."""
    g, found = np.random.default_rng(seed), []

    def field(width):
        made = gaussian_filter(g.normal(size=(size, size)), width, mode="wrap")
        return (made - made.mean()) / made.std()

    y, x = (np.indices((size, size)) - size / 2) / size
    for _ in range(n):
        inside = np.hypot(y * g.uniform(1.5, 2.5), x * g.uniform(1.5, 2.5)) + 0.1 * field(g.uniform(10, 30)) < 0.6
        levels = np.digitize(field(g.uniform(3, 14)) + 0.5 * field(g.uniform(20, 50)), np.sort(g.normal(size=3)))
        made = g.uniform(0.2, 1.0, 4)[levels] + 0.1 * field(20) + g.uniform(0, 0.04) * field(g.uniform(0.5, 1.5))
        holes = field(g.uniform(3, 8)) > g.uniform(1.5, 3.0)
        found.append(gaussian_filter(np.where(inside & ~holes, made, g.uniform(0, 0.2) * inside), g.uniform(0.4, 0.9)))
    return np.array(found).clip(0, 1)


def patches_of(args, folder):
    """Patches that the prior of the scan learns from: of the ten slices, also enlarged, and of phantoms."""
    side, g = (args.side, args.side), np.random.default_rng(0)
    slices = slices_of(folder / "S0_10slices.nii.gz")
    sources = [zoom(slices, (1, k, k), order=1).clip(0, 1) for k in args.zooms]
    sources += [phantoms(args.phantoms, 3)] if args.phantoms else []
    found = []
    for images in sources:
        windows = np.lib.stride_tricks.sliding_window_view(images, side, (1, 2))
        lit = np.argwhere(windows.max((3, 4)) > 0.05)
        at = lit[g.permutation(len(lit))[: args.patches // len(sources)]]
        found.append(windows[at[:, 0], at[:, 1], at[:, 2]])
    chosen = np.concatenate(found)
    return recontrasted(chosen, seed=2) if args.contrast else chosen


def total_variation(operator, y, weight, rounds=150):
    """The picture that minimises |y - A x|² / 2 + weight · TV(x), by accelerated proximal steps."""
    from skimage.restoration import denoise_tv_chambolle

    x = momentum = operator.adjoint(y)[0, 0].numpy()
    t = 1.0
    for _ in range(rounds):
        slope = operator.adjoint(operator.forward(torch.from_numpy(momentum)[None, None].float()) - y)[0, 0].numpy()
        new, later = denoise_tv_chambolle(momentum - slope, weight), (1 + (1 + 4 * t * t) ** 0.5) / 2
        momentum, x, t = new + (t - 1) / later * (new - x), new, later
    return x


def mri(args):
    folder = Path(os.environ["POFX_DATA"]) / "scans"
    truth = np.load(folder / "t1_coronal_slice.npy").astype(np.float64)
    truth = torch.from_numpy(truth / truth.max()).float()[None, None]
    began = time.process_time()
    items, out = pofx.images((255 * patches_of(args, folder)).round().astype(np.uint8)), args.out / "mri-prior"
    if args.run:
        run = pofx.load(args.run)
    elif args.models:
        run = pofx.fit(items, args.models[0], minutes=args.minutes, progress=False, out=out, overwrite=True,
                       device=args.device, **dict(args.option))  # fmt: skip
    else:
        run = pofx.fit(
            items, "gmm", view={"represent": "unit"},
            options={"components": args.components, "covariance": "full", "ridge": 1e-4}, progress=False,
        )  # fmt: skip
    run, trained = run.to(args.device), time.process_time() - began
    operator = Fourier((1, *truth.shape[2:]), cartesian(tuple(truth.shape[2:]), 4.0, 0.08, seed=0))
    noise = torch.randn(2, 1, *operator.out, generator=torch.Generator().manual_seed(1))
    y = operator.forward(truth) + args.sigma * torch.complex(*noise)

    def psnr(x):
        return round(float(-10 * np.log10(np.square(x - truth[0, 0].numpy()).mean())), 2)

    yield {"task": "MRI 4x", "method": "zero-filled", "psnr_of_mean": psnr(operator.adjoint(y)[0, 0].numpy())}
    best = {w: psnr(total_variation(operator, y, w)) for w in (0.0005, 0.001, 0.002, 0.004)}
    weight = max(best, key=best.get)
    yield {"task": "MRI 4x", "method": "total variation, its weight chosen on the truth", "psnr_of_mean": best[weight],
           "weight": weight}  # fmt: skip
    for method in args.methods or [args.method]:
        name, *more = method.split(":")
        options = dict(harness.option(one) for one in more) or ({"steps": args.steps} if args.steps else {})
        began = time.perf_counter()
        found = pofx.posterior(run, y, operator, args.sigma, method=name, options=options).sample(args.draws)
        spent = time.perf_counter() - began
        found.picture(args.out / f"mri-{method.replace(':', '-')}.png", truth.numpy())
        row = checked(found, truth.numpy()).to_json()
        yield {"task": "MRI 4x", "options": options, **row, "prior_cpu_s": round(trained, 1), "s": round(spent, 1)}


def style(args):
    """MNIST (14 × 14) as the other half of it, inverted and turned, by the codes of two flow-matching runs, and back:
    classes that a classifier of the digits as they were still reads, codes aligned or as they are. Floors: the digits
    themselves shown to it, inverted and turned (what a transfer that changes nothing has), and chance."""
    import dataclasses

    from pofx.evaluate.features import fit_spaces

    data = load("mnist")

    def small(x):
        return np.round(np.asarray(x).reshape(-1, 14, 2, 14, 2).mean((2, 4))).astype(np.uint8)

    def there(x):
        return np.ascontiguousarray(255 - np.rot90(x, 1, (1, 2)))

    def here(x):
        return np.ascontiguousarray(np.rot90(255 - np.asarray(x), -1, (1, 2)))

    every = dataclasses.replace(data.train, values=small(data.train.values))
    judge = fit_spaces(every, ["classifier"], seed=0)[0]
    order = np.random.default_rng(0).permutation(len(every))
    began, runs = time.process_time(), []
    for seed, values in enumerate((every.values[order[:20_000]], there(every.values[order[20_000:40_000]]))):
        runs.append(pofx.fit(pofx.images(values), "flow-matching", minutes=args.minutes, seed=seed, progress=False,
                             device=args.device, **dict(args.option)))  # fmt: skip
    spent = round(time.process_time() - began, 1)
    held, labels = small(data.test.values)[: args.items], np.asarray(data.test.labels)[: args.items]
    shown = [held]
    for align in (True, False):
        moved = pofx.edit(runs[0], held, into=runs[1], align=align)
        back = pofx.edit(runs[1], moved, into=runs[0], align=align)
        shown += [moved, back]
        right = {"there": judge.predict(here(moved)) == labels, "there and back": judge.predict(back) == labels}
        yield {"task": "style", "aligned": align, "cpu_s": spent, "minutes": args.minutes, "n": len(held),
               **{name: round(float(v.mean()), 3) for name, v in right.items()},
               "stderr": round(float(right["there"].std() / len(held) ** 0.5), 3),
               "real": round(float((judge.predict(held) == labels).mean()), 3),
               "unchanged": round(float((judge.predict(here(held)) == labels).mean()), 3), "chance": 0.1}  # fmt: skip
    rows = [np.concatenate(list(np.pad(x[:16], ((0, 0), (1, 1), (1, 1)))), 1) for x in shown]
    picture = Image.fromarray(np.concatenate(rows))
    args.out.mkdir(parents=True, exist_ok=True)
    picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.NEAREST).save(args.out / "style.png")


BARS = {"mnist": mnist, "samplers": samplers, "levy": levy, "mri": mri, "style": style}


def main():
    parser: argparse.ArgumentParser = harness.parser(__doc__, BARS)
    parser.add_argument("--run", help="folder of a run on MNIST that is the prior")
    parser.add_argument("--tasks", type=harness.listed, help=f"of the digits: {', '.join(TASKS).replace('%', '%%')}")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--methods", type=harness.listed, help=f"of the samplers and the scan: {', '.join(METHODS)}; "
                        "with options, as in split-gibbs:sweeps=20")  # fmt: skip
    parser.add_argument("--priors", type=harness.listed, default=["exact", "learned"], help="of the samplers")
    parser.add_argument("--noises", type=lambda t: [float(v) for v in t.split(",")], default=[0.05, 0.2])
    parser.add_argument("--minutes", type=float, default=1.0, help="of training a denoiser")
    parser.add_argument("--device", default="cpu", help="of trained priors")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--draws", type=int, default=39)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--inner", type=int, default=0, help="of mmps and daps on the digits")
    parser.add_argument("--sigma", type=float, default=0.005, help="noise of the scan")
    parser.add_argument("--contrast", action="store_true", help="patches of the scan turned, with random contrast")
    parser.add_argument("--patches", type=int, default=8_000)
    parser.add_argument("--phantoms", type=int, default=0, help="pictures that a script makes, for the scan's prior")
    parser.add_argument("--zooms", type=lambda t: [float(v) for v in t.split(",")], default=[1.0],
                        help="enlargements of the ten slices")  # fmt: skip
    parser.add_argument("--side", type=int, default=8, help="of the patches of the scan's prior")
    parser.add_argument(
        "--models", type=harness.listed, help="one model that learns the digits or patches, --minutes long"
    )
    parser.add_argument("--option", "-o", action="append", default=[], type=harness.option, help="KEY=VALUE of it")
    parser.add_argument("--components", type=int, default=40, help="of the mixture of patches")
    harness.measure("inverse", BARS, parser.parse_args())


if __name__ == "__main__":
    main()
