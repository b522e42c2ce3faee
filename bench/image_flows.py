"""The bars of image flows, measured: one function per bar, one JSON line per result.

    python bench/image_flows.py                                     every bar
    python bench/image_flows.py mnist --models glow --minutes 60 --out runs/bench
    python bench/image_flows.py mnist --models glow --options '{"flow_steps": 4}' --items 1000
    python bench/image_flows.py speed

Results go to <out>/image_flows.jsonl, one line as soon as each is known, and sheets of samples beside it.
"""

import json
import math
import time

import numpy as np
import torch
from harness import listed, measure, parser
from PIL import Image

import pofx
from pofx.core.event import Continuous
from pofx.core.model import Batch
from pofx.data.sources import load
from pofx.families.flow.glow import Glow

# An alpha of 0.01, the view's own, makes the lowest level (most of a digit) too narrow for affine couplings.
SETTINGS = {"dequantised-glow": {"margin": 5e-5}, "glow": {"alpha": 5e-5}, "realnvp": {"alpha": 5e-5, "batch_size": 64}}


def mnist(args):
    """MNIST, 8 bits: test bits/dim of a bound over 8 draws of the noise; temperatures 0.7 and 1 to look at."""
    data = load("mnist")
    for name in args.models or SETTINGS:
        options = {**SETTINGS.get(name, {}), **args.options}
        folder, used = args.out / f"mnist-{name}", time.process_time()
        run = pofx.fit(data, name, minutes=args.minutes or 60, seed=args.seed, out=folder, resume=True,
                       progress=args.shown, validation_items=1000, **options)  # fmt: skip
        trained = (time.process_time() - used) / 60
        for temperature in (0.7, 1.0):
            sheet(run.sample(64, seed=0, temperature=temperature), args.out / f"mnist-{name}-{temperature}.png")
        began = time.process_time()
        score = run.score(data.test.values[: args.items])
        bits = -score.value / (784 * math.log(2))
        yield {
            "model": name,
            "options": options,
            "seed": args.seed,
            "minutes": args.minutes or 60,
            "thread_minutes": round(trained, 1),
            "steps": run.card["training"]["steps"],
            "parameters": sum(p.numel() for p in run.model.parameters()),
            "bits_per_dim": round(float(bits.mean()), 4),
            "stderr": round(float(bits.std() / len(bits) ** 0.5), 4),
            "items": len(bits),
            "density": score.density.name.lower(),
            "scoring_seconds": round(time.process_time() - began, 1),
            "bar": 1.45,
        }


def speed(args):
    """Seconds of a training step and of 64 samples: glow on 28 × 28, batches of 64, float32 against bf16, in turn."""
    model = Glow(Continuous((1, 28, 28))).to(memory_format=torch.channels_last)
    descent = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randn(64, 1, 28, 28)
    seconds = {False: [], True: []}
    for turn in range(8):
        for bf16, kept in seconds.items():
            began = time.perf_counter()
            descent.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model.loss(Batch(x))
            loss.backward()
            descent.step()
            if turn > 1:
                kept.append(time.perf_counter() - began)
    slow, fast = (float(np.median(seconds[bf16])) for bf16 in (False, True))
    ratios = np.divide(seconds[False], seconds[True])
    yield {"model": "glow", "float32": round(slow, 3), "bf16": round(fast, 3), "ratio": round(slow / fast, 2),
           "ratios": [round(float(r), 2) for r in ratios]}  # fmt: skip


def sheet(images, path):
    """64 images as an 8 × 8 sheet."""
    side = images.shape[1]
    grid = images.reshape(8, 8, side, side).transpose(0, 2, 1, 3).reshape(8 * side, 8 * side)
    Image.fromarray(grid).resize((32 * side, 32 * side), Image.Resampling.NEAREST).save(path)


BARS = {"mnist": mnist, "speed": speed}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--models", type=listed)
    options.add_argument("--minutes", type=float)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--items", type=int, default=10_000, help="test images to score")
    options.add_argument("--options", type=json.loads, default={}, help="of the model, as JSON")
    args = options.parse_args()
    measure("image_flows", BARS, args)


if __name__ == "__main__":
    main()
