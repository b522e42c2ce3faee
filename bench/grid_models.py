"""The bars of the models of grids, measured: one function per bar, one JSON line per result.

    OMP_NUM_THREADS=1 python bench/grid_models.py                     every bar (hours)
    python bench/grid_models.py mnist-binary --models pixelcnn --minutes 60
    python bench/grid_models.py digits-density --models pixelcnn++ --seeds 3 --minutes 2
    python bench/grid_models.py colour --models pixelcnn++ --minutes 15

Results go to <out>/grid_models.jsonl, one line as soon as each is known; a second call adds to them. Minutes are
thread-minutes on one thread. MNIST and CIFAR-10 (`cifar10_train.zip`) are read from the folder POFX_DATA.
"""

import dataclasses
import math
import os
import time
from pathlib import Path

import numpy as np
import torch
from harness import listed, measure, parser
from PIL import Image

import pofx
from pofx.core import config
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.data.sources import load
from pofx.families.autoregressive.conditionals import Uncached
from pofx.report.figures.pictures import pixels as shown

BINARY_BARS = {"pixelcnn": 83.5}
BINARY_OPTIONS = {
    "pixelcnn": {"batch_size": 16, "lr": 1e-3, "validations": 12},
    "pixelsnail": {"batch_size": 16, "validations": 8},
}


def mnist_binary(args):
    """MNIST, dynamically binarised: exact nats of the 10,000 test items, binarised once."""
    data = load("mnist")
    for name in args.models or BINARY_BARS:
        options = BINARY_OPTIONS.get(name, {}) | {"binarise": "dynamic"}
        run = pofx.fit(data, name, minutes=args.minutes or 60, seed=0, progress=args.shown, **options)
        score = run.score(data.test.values)
        error = float(score.value.std() / len(score.value) ** 0.5)
        yield {
            "model": name,
            "nats": round(-float(score.value.mean()), 3),
            "stderr": round(error, 3),
            "items": len(score.value),
            "bar": BINARY_BARS.get(name),
            **_training(run),
        }
        _sheet(run.sample(64, seed=0), args.out / f"mnist-binary-{name}.png")


def digits_density(args):
    """digits, test bits/dim of the 17-level images; mean of the seeds."""
    data = load("digits")
    for name in args.models or ("pixelcnn", "pixelcnn++"):
        values, steps = [], []
        for seed in range(args.seeds):
            run = pofx.fit(data, name, minutes=args.minutes or 2, seed=seed, progress=args.shown)
            score = run.score(data.test.values)
            values.append(float(-score.value.mean() / (run.representation.dims * math.log(2))))
            steps.append((run.card["training"]["best_step"], run.card["training"]["steps"]))
        error = float(np.std(score.value) / len(score.value) ** 0.5 / run.representation.dims / math.log(2))
        yield {
            "model": name,
            "bits_per_dim": round(float(np.mean(values)), 4),
            "seeds": [round(v, 4) for v in values],
            "stderr_items": round(error, 4),
            "best_of_steps": steps,
        }


def grey(args):
    """MNIST with its 256 levels: exact bits/dim of the test items, and a sheet of samples."""
    yield from _levels(args, load("mnist"), "grey")


def colour(args):
    """CIFAR-10 from JPEG, cropped: exact bits/dim of test items (comparable with nothing published), and a sheet."""
    data, size = load(Path(os.environ["POFX_DATA"]) / "cifar10_train.zip"), args.crop
    parts = {}
    for name, items in data.splits().items():
        at = np.random.default_rng(0).integers(0, 33 - size, (len(items), 2))
        values = [image[y : y + size, x : x + size] for image, (y, x) in zip(items.values, at, strict=True)]
        parts[name] = dataclasses.replace(items, values=np.stack(values))
    yield from _levels(args, dataclasses.replace(data, **parts), f"colour-{size}")


def _levels(args, data, what):
    for name in args.models or ("pixelcnn++",):
        run = pofx.fit(
            data, name, minutes=args.minutes or 15, seed=0, progress=args.shown, out=args.out / f"{what}-{name}"
        )
        items = data.test.values[:2000]
        bits = -run.score(items).value / (run.representation.dims * math.log(2))
        error = float(bits.std() / len(bits) ** 0.5)
        yield {
            "model": name,
            "bits_per_dim": round(float(bits.mean()), 4),
            "stderr": round(error, 4),
            "items": len(items),
            **_training(run),
        }
        _sheet(run.sample(64, seed=0), args.out / f"{what}-{name}.png")


@torch.no_grad()
def cached_sampling(args):
    """28 × 28 black and white: whole uncached samples (a pass per dimension, some of them timed) over cached ones."""
    event = Discrete((1, 28, 28), 2)
    for name in args.models or ("pixelcnn", "pixelcnn++"):
        torch.manual_seed(0)
        model = config.build(name, event).eval()
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))  # away from the marginals, where every cell would be alike
        same = [model.sample(4, generator=Streams(0, 4), cached=cached) for cached in (True, False)]
        for n in (1, 16, 64):
            ratios, seconds = [], []
            for _ in range(3):
                began = time.perf_counter()
                model.sample(n, generator=Streams(0, n))
                seconds.append(time.perf_counter() - began)
                cursor, passes = Uncached(model, n, None), max(4, 64 // n)
                began = time.perf_counter()
                for _ in range(passes):
                    cursor.logits()
                    cursor.put(torch.zeros(n, dtype=torch.int64))
                ratios.append((time.perf_counter() - began) / passes * 784 / seconds[-1])
            yield {
                "model": name,
                "n": n,
                "seconds": round(float(np.median(seconds)), 3),
                "ratio": round(float(np.median(ratios)), 1),
                "ratios": [round(r, 1) for r in ratios],
                "equal": bool(torch.equal(*same)),
                "bar": 20,
            }


def _training(run):
    found = run.card["training"]
    return {"steps": found["steps"], "best_step": found["best_step"], "minutes": round(found["seconds"] / 60, 1)}


def _sheet(images, path, columns=8, zoom=3):
    """64 images as one PNG."""
    images = shown(images)
    rows = [np.concatenate(list(images[i : i + columns]), 1) for i in range(0, len(images), columns)]
    whole = np.concatenate(rows, 0).repeat(zoom, 0).repeat(zoom, 1)
    Image.fromarray(whole).save(path)


BARS = {
    "cached-sampling": cached_sampling,
    "digits-density": digits_density,
    "mnist-binary": mnist_binary,
    "grey": grey,
    "colour": colour,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--models", type=listed)
    options.add_argument("--minutes", type=float)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--crop", type=int, default=16, help="side of the colour crops, at most 32")
    args = options.parse_args()
    measure("grid_models", BARS, args)


if __name__ == "__main__":
    main()
