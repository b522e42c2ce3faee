"""The GAN family against its bars: one function per bar, one JSON line per result.

    python bench/duels.py plane --models r3gan,wgan-gp,gan --minutes 3
    python bench/duels.py images --models r3gan --minutes 9 --out runs/duels

Feature distances are multiples of the control, 5,000 real training items in place of the samples, both against the
test split. Results go to <out>/duels.jsonl, sheets of samples beside it.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np
import torch
from harness import listed, measure, option, parser, sheet

import pofx
from pofx.data.dataset import take
from pofx.data.densities import truth
from pofx.data.sources import load
from pofx.evaluate.distances import squared
from pofx.evaluate.features import fit_spaces
from pofx.maths.checkerboard import overlap_imbalance, periodic_peak
from pofx.maths.frechet import frechet_distance

PLANE = ("gaussians8", "gaussians25")
SAMPLES, CLOSE = 5000, 3.0  # standard deviations that count as near a mode
WARM = 12  # steps of a training that are not timed


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
                   "steps": run.card["training"]["steps"], **modes(name, x),
                   "warnings": list(run.card["training"].get("warnings", ())), "bar": "all, 0.95"}  # fmt: skip


def coverage(real, fake, k=5):
    """The share of real items whose k-th neighbour among real ones is farther than the nearest sample."""
    radius = np.partition(squared(real, real), k, axis=1)[:, k]
    return float((squared(real, fake).min(1) <= radius).mean())


def images(args):
    """Distance over the control's, total variation of predicted classes, coverage over the control's."""
    source = (args.data or ["mnist"])[0]
    data = load(source, condition="label" if args.conditional else None)
    count = min(args.samples, len(data.train))
    space, pca = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.spaces or args.out / "spaces")
    chosen = np.random.default_rng(0).permutation(len(data.train))[:count]
    held = take(data.train, chosen).values
    bars = {"r3gan": 6, "sngan": 6, "stylegan2": 3, "wgan-gp": 10, "dcgan": 15}
    for name in args.models or ("r3gan",):
        budget = {"steps": args.steps} if args.steps else {"minutes": args.minutes or 9}
        size = args.steps or args.minutes or 9
        label = f"{source}-{name}{'-conditional' if args.conditional else ''}-{size:g}{args.tag}"
        began, cpu = time.perf_counter(), time.process_time()
        run = pofx.fit(data, name, **budget, seed=args.seed, out=args.out / label, overwrite=True,
                       condition="label" if args.conditional else None,
                       progress=args.shown, **dict(args.option)).to()  # fmt: skip
        trained = time.process_time() - cpu
        drawn = run.draw(count, seed=0)
        sheet(drawn.values[:96], args.out / f"{label}.png")
        row = {
            "model": label,
            "seed": args.seed,
            "steps": run.card["training"]["steps"],
            "batch": run.card["training"]["images"] // run.card["training"]["steps"],
            "best_step": run.card["training"]["best_step"],
            "seconds": round(time.perf_counter() - began),
            "CPU seconds of training": round(trained),
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


def knn_kl(x, y, k=5):
    """KL(p ‖ q) in nats from points x of p and y of q (Wang, Kulkarni and Verdú, 2009)."""
    from scipy.spatial import cKDTree

    own, other = cKDTree(x).query(x, k + 1)[0][:, k], cKDTree(y).query(x, k)[0][:, k - 1]
    return float(x.shape[1] * np.log(other / own).mean() + np.log(len(y) / (len(x) - 1)))


def drifting(args):
    """drifting on gaussians8: modes, KL of the data from samples beside that of fresh data. Bar: all, 0.1 in 60 s."""
    test = np.asarray(load("gaussians8").test.values, np.float64)
    half, rest = test[:SAMPLES], test[SAMPLES : 2 * SAMPLES]
    for model in args.models or ("drifting",):
        run = pofx.fit("gaussians8", model, minutes=args.minutes or 1, seed=args.seed, progress=args.shown,
                       **dict(args.option))  # fmt: skip
        x = np.asarray(run.sample(SAMPLES, seed=0), np.float64)
        yield {"model": model, "minutes": args.minutes or 1, "steps": run.card["training"]["steps"],
               **modes("gaussians8", x), "KL": round(knn_kl(half, x), 3),
               "KL of fresh data": round(knn_kl(half, rest), 3),
               "bar": "all, 0.1"}  # fmt: skip


def inversion(args):
    """Mean squared error of held-out images in [0, 1] after encode and decode, beside that of 64 components."""
    from sklearn.decomposition import PCA

    source = (args.data or ["mnist"])[0]
    data = load(source)
    count, top = 200, 255 if source == "mnist" else 16
    held = data.test.values[:count] / top
    train = data.train.values[:20_000].reshape(-1, held[0].size) / top
    pca = PCA(min(64, train.shape[1])).fit(train)
    flat = held.reshape(count, -1)
    floor = float(np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean())
    for model in args.models or ("r3gan",):
        if args.run:
            run, model = pofx.load(args.run), Path(args.run).name
        else:
            run = pofx.fit(
                data, model, minutes=args.minutes or 3, seed=args.seed, progress=args.shown, **dict(args.option)
            )
        for steps in (0, 100, 400):
            refined = run.using(inversion_steps=steps)
            back = np.asarray(refined.reconstruct(data.test.values[:count])) / top
            yield {"data": source, "model": model, "steps of optimisation": steps,
                   "trained": run.card["training"]["steps"], "MSE": round(float(np.square(back - held).mean()), 5),
                   "PCA-64": round(floor, 5), "bar": "≤ PCA-64"}  # fmt: skip


def step_seconds(model, batch, optimisers, steps, first=0, precision="fp32"):
    """Processor seconds per step of a duel as the trainer makes them, without its bookkeeping."""
    began = time.process_time()
    for step in range(first, first + steps):
        for phase in model.phases():
            if step % phase.every:
                continue
            for p in model.parameters():
                p.requires_grad_(False)
            for p in phase.parameters:
                p.requires_grad_(True)
            optimiser = optimisers.setdefault(
                "critic" if phase.name == "regulariser" else phase.name,
                torch.optim.AdamW(phase.parameters, lr=1e-4, betas=(0.0, 0.99), fused=True),
            )
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = model(phase.name, batch)
            (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
            optimiser.step()
    return (time.process_time() - began) / steps


def precision(args):
    """A step of every recipe in bf16 over one in fp32, in turn: images of 28 × 28, and points of the plane."""
    from pofx.core.config import build
    from pofx.core.event import Bounded, Continuous
    from pofx.core.model import Batch

    usual = ("gan", "dcgan", "wgan-gp", "sngan", "biggan", "stylegan", "stylegan2", "r3gan", "pix2pix")
    images, rows = Bounded((1, 28, 28)), Continuous((2,))
    for name in args.models or usual:
        for event in (images, *([rows] if name in ("gan", "wgan-gp", "r3gan") else [])):
            given = event if name == "pix2pix" else None
            batch = Batch(torch.rand(64, *event.shape) * 2 - 1, None if given is None else torch.rand(64, *event.shape))
            made, seconds = {}, {"fp32": [], "bf16": []}
            for kind in seconds:
                torch.manual_seed(0)
                made[kind] = (build(name, event, given), {})
            for turn in range(args.rounds + 1):  # of which the first goes before
                for kind, (model, optimisers) in made.items():
                    taken = step_seconds(model, batch, optimisers, 8, precision=kind)
                    seconds[kind] += [taken] if turn else []
            plain, short = (float(np.median(seconds[kind])) for kind in ("fp32", "bf16"))
            yield {"model": name, "event": list(event.shape), "fp32, ms": round(1e3 * plain, 2),
                   "bf16, ms": round(1e3 * short, 2), "ratio": round(short / plain, 2)}  # fmt: skip


def loops(args):
    """A step of the trainer over that of a plain PyTorch loop of the same nets, as tutorials write it: full precision,
    the default memory layout, Adam, real items and samples one after the other, samples drawn anew for each player, an
    average of all weights. CPU seconds; both without validation, in turn. Bar: 0.8 (sngan, stylegan2)."""
    from pofx.core.config import build, entry
    from pofx.core.event import Bounded
    from pofx.core.random import seeded
    from pofx.maths import adversarial

    shape, size, steps = (1, 28, 28), dict(args.option).get("batch_size", 64), args.steps or 24
    data = load("mnist")
    items = torch.from_numpy(np.asarray(data.train.values[:4096])).float()[:, None] / 127.5 - 1

    class Plain:
        def __init__(self, name):
            with seeded(0, 0):
                self.model = build(name, Bounded(shape), None, inversion="optimisation").train()
            self.g, self.d = (
                part.to(memory_format=torch.contiguous_format) for part in (self.model.generator, self.model.critic)
            )
            values = entry(name).trains_with
            self.adam = [
                torch.optim.Adam(p.parameters(), lr=values["lr"], betas=values["betas"]) for p in (self.g, self.d)
            ]
            self.average = [p.detach().clone() for p in self.g.parameters()]
            self.at = 0

        def noise(self):
            return torch.randn(size, self.g.inputs)

        def step(self):
            duel = adversarial.LOSSES[self.model.loss]
            real = items[torch.randint(len(items), (size,))]
            self.adam[1].zero_grad()
            duel.critic(self.d(real), self.d(self.g(self.noise()).detach())).backward()
            if self.model.penalty == "r1" and self.at % self.model.every == 0:
                slope = adversarial.squared_gradient(self.d, real)
                (self.model.every * self.model.weight / 2 * slope).backward()
            self.adam[1].step()
            if self.at % self.model.critic_steps == 0:
                self.adam[0].zero_grad()
                fake = self.d(self.g(self.noise()))
                duel.generator(fake, fake).backward()
                self.adam[0].step()
                with torch.no_grad():
                    for mine, theirs in zip(self.average, self.g.parameters(), strict=True):
                        mine.mul_(0.999).add_(theirs, alpha=0.001)
            self.at += 1

    def ours(name):
        seen = []

        def sink(progress):
            if progress.phase == "training" and progress.step > WARM:
                seen.append((progress.step, time.process_time()))

        values = {"inversion": "optimisation", **dict(args.option), "batch_size": size}
        pofx.fit(data, name, steps=WARM + 2 * steps, seed=0, progress=sink, validations=0, **values)
        (first, began), (last, ended) = seen[0], seen[-1]
        return (ended - began) / (last - first)

    for name in args.models or ("sngan", "stylegan2"):
        plain, taken = Plain(name), {"plain": [], "pofx": []}
        for _ in range(8):
            plain.step()
        for _ in range(args.rounds):
            began = time.process_time()
            for _ in range(steps):
                plain.step()
            taken["plain"].append((time.process_time() - began) / steps)
            taken["pofx"].append(ours(name))
        plain_ms, own_ms = (1e3 * float(np.median(taken[key])) for key in ("plain", "pofx"))
        yield {"model": name, "batch": size, "plain, ms": round(plain_ms, 1), "pofx, ms": round(own_ms, 1),
               "ratio": round(own_ms / plain_ms, 2), "bar": "0.8"}  # fmt: skip


def penalty(args):
    """A penalised step of r3gan over an unpenalised one, exact and by finite differences. Bar: 1.5 by differences.

    With --steps also the distances after as many steps of either (--rounds seeds). Bar: within 10 %.
    """
    from pofx.core.config import build
    from pofx.core.event import Bounded
    from pofx.core.model import Batch

    batch = Batch(torch.rand(64, 1, 28, 28) * 2 - 1)
    variants = {
        "none": {"penalty": "none"},
        "exact, every 8": {},
        "differences, every 8": {"differences": 0.05},
        "exact, every step": {"every": 1},
        "differences, every step": {"differences": 0.05, "every": 1},
    }
    made = {}
    for name, values in variants.items():
        torch.manual_seed(0)
        made[name] = (build("r3gan", Bounded((1, 28, 28)), None, inversion="optimisation", **values), {})
        step_seconds(made[name][0], batch, made[name][1], 1)
    seconds = {name: [] for name in made}
    for _ in range(args.rounds):
        for name, (model, optimisers) in made.items():
            seconds[name].append(step_seconds(model, batch, optimisers, 8))
    base = float(np.median(seconds["none"]))
    for name, taken in seconds.items():
        yield {"penalty": name, "ms": round(1e3 * float(np.median(taken)), 1),
               "ratio": round(float(np.median(taken)) / base, 2), "bar": "1.5 by differences"}  # fmt: skip
    if args.steps:
        yield from penalty_distances(args)


def penalty_distances(args):
    """Distances after as many steps with exact penalties and with differences, in turn, for --rounds seeds."""
    source, seeds = (args.data or ["digits"])[0], range(args.seed, args.seed + args.rounds)
    data = load(source)
    spaces = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.spaces or args.out / "spaces")
    reference = {s.name: s.of(data.test) for s in spaces}
    found = {"exact": [], "differences": []}
    for seed in seeds:
        for name, values in (("exact", {}), ("differences", {"differences": 0.05})):
            options = {"inversion": "optimisation", "validations": 0, **dict(args.option), **values}
            run = pofx.fit(data, "r3gan", steps=args.steps, seed=seed, progress=args.shown, **options)
            x = np.asarray(run.sample(2000, seed=0))
            found[name].append([frechet_distance(s(x), reference[s.name]) for s in spaces])
    exact, approximate = (np.asarray(found[name]) for name in found)
    for k, s in enumerate(spaces):
        ratio = np.log(approximate[:, k] / exact[:, k])
        yield {"data": source, "steps": args.steps, "seeds": list(seeds), "space": s.name,
               "exact": exact[:, k].round(4).tolist(), "differences": approximate[:, k].round(4).tolist(),
               "ratio of means": round(float(approximate[:, k].mean() / exact[:, k].mean()), 3),
               "± of log ratio": round(float(ratio.std(ddof=1) / len(ratio) ** 0.5), 3) if len(ratio) > 1 else None,
               "bar": "0.9 to 1.1"}  # fmt: skip


def checkerboard(args):
    """A GAN of transposed convolutions without and with the regulariser of uneven overlap, and one that resizes and
    convolves: imbalance of its layers, periodic peak of its samples over that of test items, distance in components.
    Bar: both fall by 10 at a distance within 10 %. The picture has samples and mean spectra, a line each."""
    source = (args.data or ["digits"])[0]
    data = load(source)
    space = fit_spaces(data.train, ["pca"], seed=0)[0]
    top, test = float(np.max(data.train.values)), space.of(data.test)
    steps, shown = args.steps or 1500, []
    for model in args.models or ("dcgan",):
        variants = [("transposed", w) for w in (0.0, *map(float, args.overlap))] + [("resize", 0.0)]
        for upsampling, overlap in variants:
            run = pofx.fit(data, model, steps=steps, seed=args.seed, progress=args.shown, overlap=overlap,
                           upsampling=upsampling, **dict(args.option))  # fmt: skip
            layers = [m for m in run.model.generator.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
            uneven = [float(overlap_imbalance(m.weight.detach(), m.stride)) for m in layers if max(m.stride) > 1]
            x = np.asarray(run.sample(2000, seed=0))
            pixels = torch.from_numpy(x / top)[:, None]
            real = torch.from_numpy(np.asarray(data.test.values) / top)[:, None]
            power = torch.fft.fftshift(torch.fft.fft2(pixels - pixels.mean()).abs().square().mean((0, 1))).log()
            power = (255 * (power - power.min()) / (power.max() - power.min())).numpy().astype(np.uint8)
            shown += [*(x[:11] * (255 / top)).astype(np.uint8), power]
            yield {"data": source, "model": model, "upsampling": upsampling, "overlap": overlap, "steps": steps,
                   "imbalance": round(float(np.mean(uneven or [0])), 6), "largest": round(max(uneven, default=0), 6),
                   "periodic peak": round(periodic_peak(pixels), 3), "of test items": round(periodic_peak(real), 3),
                   "distance, pca": round(float(frechet_distance(space(x), test)), 3), "bar": "10 × less"}  # fmt: skip
    sheet(shown, args.out / f"checkerboard-{source}.png", 12, 5)


def stacked(args):
    """Stacked MNIST, three digits as the channels of a picture: modes of 1,000 that a classifier of the channels finds
    in 26,000 samples, and their KL to uniform. Bar: 900 on a processor within 60 minutes."""
    from pofx.data.kinds.image import images

    mnist, rng = load("mnist"), np.random.default_rng(0)
    digits = mnist.train.values.reshape(len(mnist.train), 14, 2, 14, 2).mean((2, 4)).astype(np.uint8)
    chosen = rng.integers(len(digits), size=(60_000, 3))
    small = dataclasses.replace(mnist.train, values=digits)
    judge = fit_spaces(small, ["classifier"], seed=0)[0]
    model = (args.models or ["r3gan"])[0]
    run = pofx.fit(images(digits[chosen].transpose(0, 2, 3, 1)), model, minutes=args.minutes or 9, seed=args.seed,
                   progress=args.shown, **{"width": 32, "batch_size": 32, **dict(args.option)})  # fmt: skip
    x = np.concatenate([np.asarray(run.sample(2000, seed=k)) for k in range(13)])
    classes = np.stack([judge.predict(x[..., k]) for k in range(3)], 1) @ (1, 10, 100)
    counts = np.bincount(classes, minlength=1000)
    share = counts[counts > 0] / counts.sum()
    sheet(x[:48], args.out / f"stacked-{model}.png", 12, 4)
    yield {"model": model, "side": 14, "steps": run.card["training"]["steps"], "samples": len(x),
           "modes": int((counts > 0).sum()), "KL": round(float((share * np.log(1000 * share)).sum()), 3),
           "bar": "≥ 900"}  # fmt: skip


def sounds(args):
    """wavegan on spoken digits: distances over the control's in the spaces of a classifier and of log-mel statistics,
    class TV, CPU seconds of a step. Ten samples go to a .wav file, spectrograms of real ones and of samples beside it.
    """
    from pofx.data.kind import kind_of

    data = load("spoken-digits")
    spaces = fit_spaces(data.train, ["classifier", "logmel"], seed=0, folder=args.spaces or args.out / "spaces")
    count = min(args.samples, 500, len(data.train))
    held = take(data.train, np.random.default_rng(0).permutation(len(data.train))[:count]).values

    def spectrum(clip):
        """Decibels (64, 96) of the lower frequencies over time, from black at 60 below the loudest."""
        clip = np.resize(np.pad(np.asarray(clip, np.float64), (0, max(8192 - len(clip), 0))), 8192)
        frames = np.lib.stride_tricks.sliding_window_view(clip, 256)[::83][:96] * np.hanning(256)
        power = 20 * np.log10(np.abs(np.fft.rfft(frames, axis=1))[:, 64::-1][:, :64].T + 1e-6)
        return (255 * np.clip((power - power.max() + 60) / 60, 0, 1)).astype(np.uint8)

    for name in args.models or ("wavegan",):
        began = time.process_time()
        run = pofx.fit(data, name, minutes=args.minutes or 9, seed=args.seed, progress=args.shown,
                       out=args.out / f"sounds-{name}", overwrite=True, **dict(args.option)).to()  # fmt: skip
        trained, card = time.process_time() - began, run.card["training"]
        drawn = run.draw(count, seed=0)
        (args.out / f"sounds-{name}.wav").write_bytes(kind_of(drawn).content(take(drawn, range(10)), ".wav"))
        shown = [spectrum(clip) for clip in (*held[:10], *drawn.values[:20])]
        sheet(shown, args.out / f"sounds-{name}.png", 10, 1)
        row = {"model": name, "steps": card["steps"], "best_step": card["best_step"], "CPU seconds": round(trained),
               "seconds a step": round(trained / card["steps"], 3)}  # fmt: skip
        for s in spaces:
            test = s.of(data.test)
            row[s.name] = round(frechet_distance(s(drawn.values), test) / frechet_distance(s(held), test), 2)
        classes = spaces[0].predict(drawn.values)
        shares = np.bincount(classes, minlength=10) / len(classes)
        yield row | {"class TV": round(float(np.abs(shares - 0.1).sum() / 2), 3),
                     "loudness": round(float(np.mean([np.square(c).mean() ** 0.5 for c in drawn.values])), 4),
                     "of real ones": round(float(np.mean([np.square(c).mean() ** 0.5 for c in held])), 4)}  # fmt: skip


BARS = {
    "checkerboard": checkerboard,
    "stacked": stacked,
    "plane": plane,
    "images": images,
    "drifting": drifting,
    "inversion": inversion,
    "penalty": penalty,
    "loops": loops,
    "sounds": sounds,
    "precision": precision,
}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed)
    cli.add_argument("--data", type=listed)
    cli.add_argument("--minutes", type=float)
    cli.add_argument("--steps", type=int, help="of training, instead of minutes, on a busy machine")
    cli.add_argument("--samples", type=int, default=SAMPLES, help="of a model, and of the control")
    cli.add_argument("--overlap", type=listed, default=["1"], help="weights of the regulariser, of checkerboard")
    cli.add_argument("--rounds", type=int, default=3)
    cli.add_argument("--run", help="folder of a trained run, for inversion")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--tag", default="", help="added to the names of folders")
    cli.add_argument("--conditional", action="store_true", help="train on labels")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("duels", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
