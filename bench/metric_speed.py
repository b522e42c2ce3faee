"""Distances between samples against torch-fidelity, prdc and torchmetrics, on the same features: time, memory, values.

    python bench/metric_speed.py                          10,000 × 10,000 items of 64 dimensions, every side
    python bench/metric_speed.py speed --n 5000 --rounds 7

Every side lives in a process of its own, on one thread, and runs in turn. Ours gives FD, KID with its standard
error over all items, precision, recall, density, coverage and the Vendi ratio; torch-fidelity gives FID and KID of 100
subsets of 1,000 (its defaults), prdc the four of neighbours; none of them gives Vendi. Values are compared on equal
definitions: KID over one subset of all items. Results go to <out>/metric_speed.jsonl. Needs the extra `bench`.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from harness import measure, parser
from vision import declare

K = 5


def features(n, d):
    """Samples and real items (n, d) in float32: a Gaussian, widened and shifted by a twentieth, and a standard one."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(n, d)) * 1.05 + 0.05
    return x.astype(np.float32), generator.normal(size=(n, d)).astype(np.float32)


def ours(x, y):
    """A function per metric, each giving its scores."""
    from pofx.evaluate.metrics.kernel import discrepancy
    from pofx.evaluate.metrics.neighbours import neighbour_scores
    from pofx.evaluate.metrics.vendi import VendiRatio
    from pofx.maths.frechet import frechet_distance

    def kid():
        value, error = discrepancy(x, y)
        return {"kid": value, "kid_error": error}

    return {
        "fd": lambda: {"fd": frechet_distance(x, y)},
        "kid": kid,
        "prdc": lambda: neighbour_scores(x, y, K),
        "vendi": lambda: VendiRatio().values(x, y),
    }


def fidelity(x, y):
    """torch-fidelity and prdc; `kid_whole` and `prc` are no part of what is timed as the whole."""
    declare()
    from prdc import compute_prdc
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    a, b = torch.from_numpy(x), torch.from_numpy(y)

    def fd():
        both = (fid_features_to_statistics(side) for side in (a, b))
        return {"fd": fid_statistics_to_metric(*both, False)["frechet_inception_distance"]}

    def kid(subsets=100, size=1000):
        found = kid_features_to_metric(a, b, kid_subsets=subsets, kid_subset_size=min(size, len(x)), verbose=False)
        return {"kid": found["kernel_inception_distance_mean"]}

    return {
        "fd": fd,
        "kid": kid,
        "prdc": lambda: compute_prdc(y, x, K),
        "kid_whole": lambda: kid(1, len(x)),
        "prc": lambda: prc_features_to_metric(a, b, verbose=False),
    }


def torchmetrics(x, y):
    """torchmetrics by its classes, whose extractor hands features through."""
    declare()
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    class Through(torch.nn.Identity):
        num_features = x.shape[1]

    def of(metric):
        for real, side in ((True, y), (False, x)):
            metric.update(torch.from_numpy(side), real=real)
        return metric.compute()

    return {
        "fd": lambda: {"fd": float(of(FrechetInceptionDistance(Through())))},
        "kid": lambda: {"kid": float(of(KernelInceptionDistance(Through(), subsets=100, subset_size=1000))[0])},
    }


SIDES = {"pofx": ours, "torch-fidelity + prdc": fidelity, "torchmetrics": torchmetrics}
TIMED = ("fd", "kid", "prdc", "vendi")


def peak_gib():
    """The most memory this process has held. Linux's `ru_maxrss` also knows that of the process which started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 2**20


def side(args):
    """A process that answers names on its input with seconds, values and its peak memory, a JSON line each."""
    made = SIDES[args.side](*features(args.n, args.d))
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(sys.stderr):  # prdc prints
            values = made[line.strip()]()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = peak_gib()
        values = {name: float(value) for name, value in values.items()}
        print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "values": values}), flush=True)


class _Side:
    """A side in its process."""

    def __init__(self, name, args):
        command = [sys.executable, __file__, "speed", "--side", name, "--n", str(args.n), "--d", str(args.d)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, text=True, **pipes)

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def speed(args):
    """FD, KID, neighbours and Vendi of all items: seconds of CPU time and of the clock in turn, GiB, values."""
    parts = {"pofx": TIMED, "torch-fidelity + prdc": TIMED[:3], "torchmetrics": TIMED[:2]}
    sides = {name: _Side(name, args) for name in SIDES}
    found = {name: [] for name in sides}
    for i in range(args.rounds + 1):
        for name, process in sides.items():
            answers = {what: process.ask(what) for what in parts[name]}
            if i:
                found[name].append(answers)
    peak = {name: round(max(a["peak"] for r in rounds for a in r.values()), 2) for name, rounds in found.items()}
    whole = sides["torch-fidelity + prdc"].ask("kid_whole")["values"]
    for process in sides.values():
        process.close()
    for name, what in (("torch-fidelity + prdc", "all"), ("torchmetrics", "fd and kid")):
        mine = parts["pofx"] if what == "all" else parts[name]
        row = {"what": what, "peer": name, "n": args.n, "dims": args.d, "rounds": args.rounds}
        for kind in ("cpu", "wall"):
            a = np.array([sum(r[p][kind] for p in mine) for r in found["pofx"]])
            b = np.array([sum(r[p][kind] for p in parts[name]) for r in found[name]])
            row[f"{kind}_seconds"] = [round(float(np.median(v)), 3) for v in (a, b)]
            row[f"{kind}_ratio"] = round(float(np.median(a) / np.median(b)), 3)
            row[f"{kind}_quartiles"] = [round(float(q), 3) for q in np.quantile(a / b, (0.25, 0.75))]
        row["peak_gib"] = [peak["pofx"], peak[name]]
        yield row | ({"bar": "ratio <= 0.5, peak <= 2 GiB"} if what == "all" else {})
    first = {name: {k: v for a in rounds[0].values() for k, v in a["values"].items()} for name, rounds in found.items()}
    theirs = first["torch-fidelity + prdc"] | whole
    gaps = {k: abs(first["pofx"][k] - v) / abs(v) for k, v in theirs.items()}
    gaps["fd, torchmetrics"] = abs(first["pofx"]["fd"] / first["torchmetrics"]["fd"] - 1)
    yield {"what": "relative gaps of values", "gaps": {k: float(f"{v:.1e}") for k, v in gaps.items()}, "bar": 1e-4}


BARS = {"speed": speed}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--n", type=int, default=10_000)
    options.add_argument("--d", type=int, default=64)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    if args.side:
        return side(args)
    measure("metric_speed", BARS, args)


if __name__ == "__main__":
    main()
