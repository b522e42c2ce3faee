"""Simulation-based inference against reference posteriors: C2ST (0.5 is perfect) by task, calibration, time.

python bench/inference.py two_moons slcp --simulations 10000     (needs POFX_DATA/posteriors)
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

import pofx
from pofx.data.simulators import TASKS, bernoulli_glm


def c2st(reference, draws, seed=0):
    """Five-fold accuracy of a network of two layers of 10 d units, both sets standardised by the reference."""
    mean, scale = reference.mean(0), reference.std(0)
    x = np.concatenate([(reference - mean) / scale, (draws - mean) / scale])
    y = np.repeat([0, 1], [len(reference), len(draws)])
    d = x.shape[1]
    net = MLPClassifier((10 * d, 10 * d), max_iter=200, early_stopping=True, random_state=seed)
    return float(cross_val_score(net, x, y, cv=KFold(5, shuffle=True, random_state=seed)).mean())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", default=[*TASKS, "bernoulli_glm"])
    parser.add_argument("--simulations", type=int, default=10_000)
    parser.add_argument("--method", default="posterior")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--draws", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(os.environ["POFX_DATA"]) / "posteriors"
    for name in args.tasks:
        if name == "bernoulli_glm":
            with np.load(folder / name / "design.npz") as file:
                task = bernoulli_glm(file["design_matrix"], file["stimulus_I"])
        else:
            task = TASKS[name]
        start = time.process_time()
        posterior = pofx.infer(task.simulator, task.prior, simulations=args.simulations, method=args.method,
                               members=args.members, vectorised=True, seed=args.seed, progress=False)  # fmt: skip
        spent = time.process_time() - start
        scores = []
        for path in sorted((folder / name).glob("[0-9]*.npz")):
            with np.load(path) as file:
                draws = posterior.sample(args.draws, file["x"].reshape(-1), seed=args.seed)
                scores.append(c2st(file["samples"][: args.draws].astype(np.float64), draws))
        check = posterior.check(300).to_json() if args.method == "posterior" else {}
        row = {"task": name, "c2st": round(float(np.mean(scores)), 3), "each": scores, "cpu_s": round(spent, 1)}
        row |= {"sbc": check.get("sbc"), "tarp": check.get("tarp"), "failed": posterior.failed}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
