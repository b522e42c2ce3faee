"""Posterior draws beside those of deepinv with the same denoiser: milliseconds of the processor a draw, and PSNR.

    POFX_DATA=/path/to/data python bench/inverse_peers.py deepinv --run RUN [--items 32] [--tasks "box 12x12"]

RUN is a diffusion or flow-matching run on MNIST. All items are restored at once, one draw of each, by every method in
turn; PSNR is that of draws. deepinv's DPS (1,000 steps) and DiffPIR (100) come with its defaults and its own physics,
which we take as they are; ours are the default method with the steps of --steps, and our `diffpir`. Skipped where
deepinv is not installed.
"""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from harness import listed, measure, parser

import pofx
from inverse import SIGMA
from pofx.core.random import Streams
from pofx.inverse.item_posterior import real_items
from pofx.inverse.operators.grid import box, scattered
from pofx.inverse.walk import Walker

SHAPE = (1, 28, 28)


def physics_of(dinv):
    """deepinv's own operators of three tasks, by name."""
    noise = dinv.physics.GaussianNoise(SIGMA)
    yield "box 12x12", dinv.physics.Inpainting(SHAPE, mask=torch.as_tensor(box(SHAPE, 12)).float(), noise_model=noise)
    missing = torch.as_tensor(scattered(SHAPE, 0.7, 0)).float()
    yield "70 % missing", dinv.physics.Inpainting(SHAPE, mask=missing, noise_model=noise)
    kernel = dinv.physics.blur.gaussian_blur(sigma=1.5)
    yield "deblur", dinv.physics.BlurFFT(SHAPE, filter=kernel, noise_model=noise)


def denoiser_of(run):
    """E[z | z + noise] of a run for items and levels from 0 to 1, a module that counts its calls."""
    walk = Walker(SimpleNamespace(shape=SHAPE), run.model, None, Streams(0, 1), 1)

    class Denoiser(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0

        def forward(self, x, sigma, *_, **__):
            self.calls += 1
            unit = walk.unit
            level = round(float(torch.as_tensor(sigma).flatten()[0] * 2 / unit), 6)
            found = walk.estimate((2 * x.float() - 1) / unit, max(level, 1e-4), within=False)
            return (found * unit + 1) / 2

    return Denoiser()


def deepinv(args):
    """Bar: at most .7 of deepinv's time at an equal or better PSNR."""
    try:
        import deepinv as dinv
    except Exception as error:  # parts of it that are missing raise errors of many types
        yield {"skipped": "deepinv", "reason": f"{type(error).__name__}: {error}: install it outside of this project"}
        return
    run = pofx.load(args.run)
    with np.load(Path(os.environ["POFX_DATA"]) / "mnist.npz") as file:
        images = file["x_test"][np.random.default_rng(0).permutation(10_000)[: args.items]]
    truth = real_items(run, images)
    denoiser = denoiser_of(run)
    theirs = {
        f"deepinv {dinv.__version__} DPS": lambda y, physics: dinv.sampling.DPS(denoiser)(y, physics),
        f"deepinv {dinv.__version__} DiffPIR": lambda y, physics: dinv.sampling.DiffPIR(
            denoiser, dinv.optim.data_fidelity.L2(), sigma=SIGMA
        )(y, physics),
    }

    def draw(y, physics, **how):
        found = pofx.posterior(run, y, physics, SIGMA, **how).sample(1)
        return torch.from_numpy(found.samples[:, 0])

    ours = {
        f"pofx, {steps} steps": lambda y, physics, steps=int(steps): draw(y, physics, options={"steps": steps})
        for steps in args.steps
    }
    ours["pofx, diffpir"] = lambda y, physics: draw(y, physics, method="diffpir")
    for task, physics in physics_of(dinv):
        if args.tasks and task not in args.tasks:
            continue
        torch.manual_seed(0)
        y = physics(truth)
        for name, restore in {**ours, **theirs}.items():
            torch.manual_seed(1)
            start, clock = time.process_time(), time.perf_counter()
            found = restore(y, physics)
            spent, waited = time.process_time() - start, time.perf_counter() - clock
            each = -10 * (found.float() - truth).square().flatten(1).mean(1).log10()
            yield {"task": task, "by": name, "psnr_of_draws": round(float(each.mean()), 2),
                   "psnr_error": round(float(each.std() / len(each) ** 0.5), 2), "items": len(truth),
                   "cpu_ms_per_draw": round(1e3 * spent / len(truth), 1),
                   "ms_per_draw": round(1e3 * waited / len(truth), 1)}  # fmt: skip


BARS = {"deepinv": deepinv}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--run", required=True)
    options.add_argument("--items", type=int, default=32)
    options.add_argument("--tasks", type=listed)
    options.add_argument("--steps", type=listed, default=["20", "35", "50"])
    measure("inverse_peers", BARS, options.parse_args())


if __name__ == "__main__":
    main()
