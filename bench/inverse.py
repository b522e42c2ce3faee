"""Inverse problems on MNIST and on a brain scan: PSNR of the posterior mean, coverage of 90 % intervals, time.

python bench/inverse.py mnist --run RUN           a trained run as the prior, by its default method
python bench/inverse.py mnist                     100 normal components: k-means of 20,000 images, one step of EM
python bench/inverse.py mri                       a T1 slice from a quarter of its k-space; priors of other images

Floors (20,000 training images, 200 test images, a mixture of 100 normals): 18.0, 19.0, 18.2, 19.9, 21.0 dB. The MRI
prior is a mixture of normals of 8 x 8 patches of ten diffusion slices, which are not of the T1 slice: half-quadratic
splitting between patches and measurements (Zoran and Weiss, 2011, "From learning models of natural image patches to
whole image restoration"). Needs POFX_DATA.
"""

import argparse
import gzip
import os
import time
from pathlib import Path

import harness
import numpy as np
import torch

import pofx
from pofx.core.event import Bounded, Continuous
from pofx.core.items import Items
from pofx.families.mixture.expectation import Mixture, clustered
from pofx.families.mixture.gmm import GMM
from pofx.inverse.operators.projection import Fourier, cartesian
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
    run = pofx.load(args.run) if args.run else mnist_mixture(spent)
    with np.load(Path(os.environ["POFX_DATA"]) / "mnist.npz") as file:
        test = file["x_test"][np.random.default_rng(0).permutation(10_000)[: args.items]]
    options = {"steps": args.steps} if args.steps else None
    for name, (operator, settings) in TASKS.items():
        made = pofx.posterior(
            run, None, operator, SIGMA, operator_options=settings, options=options, method=args.method
        )
        start = time.process_time()
        check = made.check(test, draws=args.draws).to_json()
        seconds = (time.process_time() - start) / args.items / args.draws
        yield {"task": name, "floor": FLOORS[name], **check, "cpu_s_per_draw": round(seconds, 4),
               "prior": args.run or f"gmm, {spent[0]:.0f} CPU-s"}  # fmt: skip


def patches(image, side=8, step=1):
    """All patches (n, side * side) of an image, and their places."""
    rows = torch.as_tensor(image).unfold(0, side, step).unfold(1, side, step)
    return rows.reshape(-1, side * side)


def mri(args):
    import torch.nn.functional as F

    folder = Path(os.environ["POFX_DATA"]) / "scans"
    truth = np.load(folder / "t1_coronal_slice.npy").astype(np.float64)
    truth = torch.from_numpy(truth / truth.max())
    raw = gzip.decompress((folder / "S0_10slices.nii.gz").read_bytes())
    shape = np.frombuffer(raw[40:56], "<i2")[1:4]
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[int(np.frombuffer(raw[70:72], "<i2")[0])]
    start = int(np.frombuffer(raw[108:112], "<f4")[0])
    volume = np.frombuffer(raw[start:], kind, int(np.prod(shape))).reshape(shape, order="F").astype(np.float64)
    slices = [torch.from_numpy(volume[..., k] / np.quantile(volume[..., k], 0.999)) for k in range(shape[2])]
    side, draw = 8, torch.Generator().manual_seed(0)
    every = torch.cat([patches(s.clamp(0, 1), side) for s in slices])
    every = every[torch.randperm(len(every), generator=draw)[: args.patches]]
    every = every - every.mean(1, keepdim=True)
    model = GMM(Continuous((side * side,)), components=40, covariance="full", ridge=1e-3, items=len(every))
    model.store(0, model.fit(every))
    spectra_means = model.normals()[1]
    factors = model.normals()[2]
    covariances = factors @ factors.mT
    logs = model.normals()[0]
    sides = tuple(truth.shape)
    mask = cartesian(sides, 4.0, 0.08, seed=0)
    operator = Fourier((1, *sides), mask)
    noise = torch.Generator().manual_seed(1)
    y = operator.forward(truth[None, None])
    y = y + args.sigma * torch.complex(*(torch.randn(y.shape, generator=noise, dtype=torch.float64) for _ in range(2)))
    zero = operator.adjoint(y)[0, 0]

    def psnr(x):
        return float(-10 * torch.log10((x - truth).square().mean()))

    yield {"task": "MRI 4x", "method": "zero-filled", "psnr": round(psnr(zero), 2)}
    fold = torch.nn.Fold(sides, side)
    counts = fold(torch.ones(1, side * side, (sides[0] - side + 1) * (sides[1] - side + 1), dtype=torch.float64))[0, 0]
    x = zero
    began = time.process_time()
    for sigma in np.geomspace(0.06, args.last, args.steps or 12):
        p = F.unfold(x[None, None], side)[0].T
        mean = p.mean(1, keepdim=True)
        p = p - mean
        wide = covariances + sigma**2 * torch.eye(side * side)
        score, back = [], []
        for log_w, m, c, w in zip(logs, spectra_means, covariances, wide, strict=True):
            root = torch.linalg.cholesky(w)
            z = torch.linalg.solve_triangular(root, (p - m).T, upper=False)
            score.append(log_w - 0.5 * z.square().sum(0) - root.diagonal().log().sum())
            back.append(torch.cholesky_solve(c, root).T)
        best = torch.stack(score, 1).argmax(1)
        clean = torch.empty_like(p)
        for j in best.unique().tolist():
            mine = best == j
            clean[mine] = spectra_means[j] + (p[mine] - spectra_means[j]) @ back[j].T
        image = fold((clean + mean).T[None])[0, 0] / counts
        spectrum = operator.forward(image[None, None])
        weight = 1 / (1 + args.sigma**2 / sigma**2)
        x = image + operator.adjoint(weight * (y - spectrum))[0, 0]
    row = {"task": "MRI 4x", "method": "patch mixture, half-quadratic splitting", "psnr": round(psnr(x), 2)}
    yield {**row, "cpu_s": round(time.process_time() - began, 1)}


BARS = {"mnist": mnist, "mri": mri}


def main():
    parser: argparse.ArgumentParser = harness.parser(__doc__, BARS)
    parser.add_argument("--run", help="folder of a run on MNIST that is the prior")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--draws", type=int, default=39)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--sigma", type=float, default=0.005, help="noise of the scan")
    parser.add_argument("--last", type=float, default=0.006, help="last level of the splitting")
    parser.add_argument("--patches", type=int, default=20_000)
    harness.measure("inverse", BARS, parser.parse_args())


if __name__ == "__main__":
    main()
