"""Simulation-based inference against reference posteriors: C2ST (0.5 is perfect) by task, calibration, time.

python bench/inference.py two_moons slcp --simulations 10000     (needs POFX_DATA/posteriors)
python bench/inference.py slcp --simulations 1000 --sbi          and NPE of sbi, as it comes, on the same simulations

C2ST is that of Lueckmann et al. (2021, arXiv 2101.04653), with as many draws as stated. Seconds are of the processor,
for training alone; three observations each.
"""

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

import pofx
from pofx.apps.prior import Prior
from pofx.apps.simulate import simulate
from pofx.data.simulators import TASKS, bernoulli_glm


def c2st(reference, draws, seed=0):
    """Five-fold accuracy of a network of two layers of 10 d units, both sets standardised by the reference."""
    mean, scale = reference.mean(0), reference.std(0)
    x = np.concatenate([(reference - mean) / scale, (draws - mean) / scale])
    y = np.repeat([0, 1], [len(reference), len(draws)])
    d = x.shape[1]
    net = MLPClassifier((10 * d, 10 * d), max_iter=200, early_stopping=True, random_state=seed)
    return float(cross_val_score(net, x, y, cv=KFold(5, shuffle=True, random_state=seed)).mean())


def references(folder):
    """Observations (1, k) and draws of their posteriors."""
    for path in sorted(folder.glob("[0-9]*.npz")):
        with np.load(path) as file:
            yield file["x"].reshape(1, -1).astype(np.float64), file["samples"].astype(np.float64)


def of_pofx(task, theta, x, args):
    posterior = pofx.infer(None, task.prior, data=(theta, x), method=args.method, members=args.members,
                           steps=args.steps, seed=args.seed, progress=False)  # fmt: skip
    return lambda seen, n: posterior.sample(n, seen, seed=args.seed), posterior


def of_sbi(task, theta, x, args):
    """NPE of the library sbi with its defaults."""
    from sbi.inference import NPE
    from sbi.utils import MultipleIndependent

    torch.manual_seed(args.seed)
    if isinstance(task.prior, torch.distributions.Distribution):
        prior = torch.distributions.MultivariateNormal(task.prior.mean.float(), task.prior.covariance_matrix.float())
    else:
        prior = MultipleIndependent([torch_of(one) for one in Prior.of(task.prior).parts])
    trainer = NPE(prior, show_progress_bars=False)
    good = np.isfinite(x).all(1)
    trainer.append_simulations(*(torch.from_numpy(part[good]).float() for part in (theta, x)))
    trainer.train()
    posterior = trainer.build_posterior()

    def draw(seen, n):
        return posterior.sample((n,), x=torch.from_numpy(seen).float(), show_progress_bars=False).numpy()

    return draw, None


def torch_of(one):
    """A distribution of scipy as one of torch over vectors of one number."""
    name, (low, high) = one.dist.name, one.support()
    if name == "uniform":
        return torch.distributions.Uniform(torch.tensor([low]).float(), torch.tensor([high]).float())
    if name == "norm":
        return torch.distributions.Normal(torch.tensor([one.mean()]).float(), torch.tensor([one.std()]).float())
    middle = torch.tensor([np.log(one.median())]).float()
    return torch.distributions.LogNormal(middle, torch.tensor([np.log(one.ppf(0.8413447)) - middle]).float())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=[*TASKS, "bernoulli_glm"])
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--method", default="auto")
    parser.add_argument("--members", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--draws", type=int, default=5_000)
    parser.add_argument("--checks", type=int, default=300, help="new simulations of the calibration")
    parser.add_argument("--check-draws", type=int, default=100, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sbi", action="store_true", help="sbi in turn with us, where it is installed")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    contestants = {"pofx": of_pofx}
    if args.sbi:
        try:
            import sbi
            import sbi.inference

            contestants[f"sbi {sbi.__version__}"] = of_sbi
        except ImportError as error:
            print(json.dumps({"skipped": "sbi", "reason": f"{error}: install it outside of this environment"}))
    folder = Path(os.environ["POFX_DATA"]) / "posteriors"
    some = np.random.default_rng(0).normal(size=(60, 3))  # what is imported and allocated once is in nobody's time
    pofx.infer(None, [stats.norm()], data=(some[:, :1], some[:, 1:]), steps=1, progress=False)
    for name in args.tasks:
        if name == "bernoulli_glm":
            with np.load(folder / name / "design.npz") as file:
                task = bernoulli_glm(file["design_matrix"], file["stimulus_I"])
        else:
            task = TASKS[name]
        theta = Prior.of(task.prior).sample(args.simulations, args.seed)
        x = simulate(task.simulator, theta, vectorised=True, seed=args.seed)
        for who, learn in contestants.items():
            start = time.process_time()
            draw, posterior = learn(task, theta, x, args)
            row = {"task": name, "by": who, "simulations": args.simulations,
                   "cpu_s": round(time.process_time() - start, 1)}  # fmt: skip
            each = [c2st(of[: args.draws], draw(seen, args.draws)) for seen, of in references(folder / name)]
            row |= {"c2st": round(float(np.mean(each)), 3), "each": [round(one, 3) for one in each]}
            if posterior is not None:
                row["share"] = None if posterior.likelihood is None else posterior.likelihood.share
            if posterior is not None and args.method in ("auto", "posterior", "both"):
                fresh = Prior.of(task.prior).sample(args.checks, args.seed + 1)
                data = (fresh, simulate(task.simulator, fresh, vectorised=True, seed=args.seed + 1))
                check = posterior.check(data=data, draws=args.check_draws).to_json()
                row |= {key: check[key] for key in ("sbc", "tarp", "tarp_noise", "sound")}
                row |= {"covered_90": check["coverage"]["0.9"], "failed": posterior.failed}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
