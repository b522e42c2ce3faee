"""The flows of vectors against zuko, nflows and normflows: speed on equal architecture, likelihood on real tables.

    python bench/flows.py                              every bar
    python bench/flows.py spline-speed --rounds 40
    python bench/flows.py tables --names wine,magic.gamma --steps 600
    python bench/flows.py wall-time --steps 400       after which share of zuko's time its likelihood is reached

`POFX_DATA` names the folder with `tables/*.npz`. Contestants take turns in one process on one thread. Results go to
<out>/flows.jsonl, one line as soon as each is known; `tables` goes on where it was stopped.
"""

import json
import math
import os
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from harness import in_turn, listed, measure, parser

import pofx
from pofx.core import config
from pofx.core.event import Continuous
from pofx.core.random import Streams

D, BATCH = 8, 512


# Speed


def _zuko(kind, **values):
    import zuko

    flow = getattr(zuko.flows, kind)(D, **values)
    return flow, lambda x: flow().log_prob(x), lambda: flow().sample((BATCH,))


def _nflows_nsf(layers, width, bins, d=D):
    from nflows import distributions, flows, transforms

    parts = []
    for i in range(layers):
        if i:
            parts.append(transforms.ReversePermutation(d))
        parts.append(
            transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                d, width, num_bins=bins, tails="linear", tail_bound=5.0, num_blocks=2
            )
        )
    flow = flows.Flow(transforms.CompositeTransform(parts), distributions.StandardNormal([d]))
    return flow, flow.log_prob, lambda: flow.sample(BATCH)


def _nflows_maf(layers, width, d):
    from nflows import distributions, flows, transforms

    parts = []
    for i in range(layers):
        if i:
            parts.append(transforms.ReversePermutation(d))
        parts.append(transforms.MaskedAffineAutoregressiveTransform(d, width, num_blocks=2))
    flow = flows.Flow(transforms.CompositeTransform(parts), distributions.StandardNormal([d]))
    return flow, flow.log_prob, lambda: flow.sample(BATCH)


def _normflows_nsf(layers, width, bins):
    import normflows

    parts = [
        normflows.flows.AutoregressiveRationalQuadraticSpline(D, 2, width, num_bins=bins, tail_bound=5)
        for _ in range(layers)
    ]
    flow = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(D, trainable=False), parts)
    return flow, flow.log_prob, lambda: flow.sample(BATCH)


def _ours(name, **values):
    model = config.build(name, Continuous((D,)), **{"dropout": 0.0, "octaves": 0, **values})
    return model, model.log_prob, lambda: model.sample(BATCH, generator=Streams(0, BATCH))


def spline_speed(args):
    """RQ-NSF (AR): 8 dimensions, 5 transforms, residual conditioner of 2 blocks of 128 units, 8 bins, batch 512."""
    import zuko  # noqa: F401

    contestants = {
        "pofx": _ours("nsf", layers=5, bins=8, bound=5.0, width=128, blocks=2),
        "zuko": _zuko("NSF", transforms=5, bins=8, hidden_features=(128, 128), residual=True),
        "nflows": _nflows_nsf(5, 128, 8),
        "normflows": _normflows_nsf(5, 128, 8),
    }
    yield from _race("nsf", contestants, args, {"train": 0.6, "log_prob": 0.6, "sample": 0.35})


def coupling_speed(args):
    """Affine and additive couplings: 8 dimensions, 8 couplings, conditioner of 3 hidden layers of 128 units."""
    import zuko

    bars = {"train": 0.8, "sample": 0.8}
    net = {"transforms": 8, "hidden_features": (128,) * 3}
    additive = {"univariate": zuko.transforms.AdditiveTransform, "shapes": [()]}
    ours = {"layers": 8, "width": 128, "blocks": 1}
    yield from _race("realnvp", {"pofx": _ours("realnvp", **ours), "zuko": _zuko("RealNVP", **net)}, args, bars)
    yield from _race("nice", {"pofx": _ours("nice", **ours), "zuko": _zuko("NICE", **net, **additive)}, args, bars)


def _race(model, contestants, args, bars):
    """Medians of the rounds' times by the clock; the ratio is that to the fastest other's."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, D)
    optimisers = {
        name: torch.optim.AdamW([p for p in c[0].parameters() if p.requires_grad], lr=1e-4, fused=True)
        for name, c in contestants.items()
    }
    sizes = {name: sum(p.numel() for p in c[0].parameters() if p.requires_grad) for name, c in contestants.items()}

    def train(name):
        optimisers[name].zero_grad(set_to_none=True)
        (-contestants[name][1](x).mean()).backward()
        optimisers[name].step()

    @torch.no_grad()
    def log_prob(name):
        contestants[name][1](x)

    @torch.no_grad()
    def sample(name):
        contestants[name][2]()

    for what, run in {"train": train, "log_prob": log_prob, "sample": sample}.items():
        if what not in bars:
            continue
        for flow, *_ in contestants.values():
            flow.train(what == "train")
        found = in_turn({name: partial(run, name) for name in contestants}, args.rounds)
        seconds = {name: times[:, 1] for name, times in found.items()}
        medians = {name: float(np.median(s)) for name, s in seconds.items()}
        fastest = min((n for n in medians if n != "pofx"), key=medians.get)
        each = seconds["pofx"] / seconds[fastest]
        yield {
            "model": model,
            "what": what,
            "milliseconds": {n: round(1e3 * v, 2) for n, v in medians.items()},
            "ratio": round(medians["pofx"] / medians[fastest], 3),
            "ratio_of_best": round(min(seconds["pofx"]) / min(min(s) for n, s in seconds.items() if n != "pofx"), 3),
            "ratio_quartiles": [round(float(q), 3) for q in np.quantile(each, (0.25, 0.75))],
            "fastest_other": fastest,
            "parameters": sizes,
            "rounds": args.rounds,
            "bar": bars[what],
        }


# Likelihood on tables

TABLES = ("Waveform", "cardio", "cover", "http", "magic.gamma", "mammography", "optdigits", "pendigits", "satellite",
          "thyroid", "vowels", "wine")  # fmt: skip
ROWS, TABLE_BATCH, WIDTH = 20_000, 256, 64
RATES = (1e-3, 4e-3)


def table(name, seed=0):
    """Standardised float32 rows (training, validation, test), and the log-determinant of the standardisation.

    Uniform noise, drawn once, makes every column continuous: as wide as the smallest step between values where at most
    half are distinct, and a hundredth of the standard deviation at least.
    """
    x = np.load(Path(os.environ["POFX_DATA"]) / "tables" / f"{name}.npz")["X"].astype(np.float64)
    rng = np.random.default_rng(seed)
    x = x[rng.permutation(len(x))[:ROWS]]
    x = x[:, x.std(0) > 0]
    for column in x.T:
        values = np.unique(column)
        step = np.diff(values).min() if len(values) <= len(column) / 2 else 0.0
        column += max(step, column.std() / 100) * rng.uniform(size=len(column))
    a, b = int(0.7 * len(x)), int(0.8 * len(x))
    mean, std = x[:a].mean(0), x[:a].std(0)
    y = ((x - mean) / std).astype(np.float32)
    return y[:a], y[a:b], y[b:], -float(np.log(std).sum())


def _peer(kind, d, model):
    import zuko

    if kind == "zuko":
        hidden = {"hidden_features": (WIDTH, WIDTH), "residual": True}
        flow = (
            zuko.flows.NSF(d, transforms=3, bins=8, **hidden)
            if model == "nsf"
            else zuko.flows.MAF(d, transforms=5, **hidden)
        )
        return flow, lambda x: flow().log_prob(x)
    return (_nflows_nsf(3, WIDTH, 8, d) if model == "nsf" else _nflows_maf(5, WIDTH, d))[:2]


def _peer_fit(kind, model, splits, rate, seed, steps):
    """AdamW with warm-up, cosine and clipping; 24 judgements on the validation rows, of which the best weights stay."""
    train, validation, test = (torch.from_numpy(s) for s in splits)
    torch.manual_seed(seed)
    flow, log_prob = _peer(kind, train.shape[1], model)
    optimiser = torch.optim.AdamW(flow.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99), fused=True)
    best, kept, judged = math.inf, None, 0
    generator = torch.Generator().manual_seed(seed)
    queue = torch.randperm(len(train), generator=generator)
    for step in range(steps):
        while len(queue) < TABLE_BATCH:
            queue = torch.cat((queue, torch.randperm(len(train), generator=generator)))
        index, queue = queue[:TABLE_BATCH], queue[TABLE_BATCH:]
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad(set_to_none=True)
        loss = -log_prob(train[index]).mean()
        if not torch.isfinite(loss):
            break
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        if int(((step + 1) / steps) ** 0.5 * 24) > judged:
            judged = int(((step + 1) / steps) ** 0.5 * 24)
            with torch.no_grad():
                value = -float(log_prob(validation[:2000]).mean())
            if value < best:
                best, kept = value, {k: v.clone() for k, v in flow.state_dict().items()}
    flow.load_state_dict(kept)
    with torch.no_grad():
        return best, log_prob(test).double().numpy()


def _our_fit(model, splits, rate, seed, steps, optimizer="adamw"):
    from pofx.data.dataset import dataset

    values = {"nsf": {"layers": 3, "bins": 8, "bound": 5.0}, "maf": {"layers": 5}}[model]
    data = dataset(*(pofx.points(s) for s in splits), "table", source="", licence="", count_overlaps=False)
    run = pofx.fit(data, model, steps=steps, seed=seed, lr=rate, batch_size=TABLE_BATCH, width=WIDTH, blocks=2,
                   optimizer=optimizer, represent="unscaled", progress=False, **values)  # fmt: skip
    return run.card["training"]["best_validation"], run.log_prob(splits[2]).astype(np.float64)


def tables(args):
    """Test log-likelihood in nats on twelve tables: same rows, conditioner, batch, steps, rates tried and selection."""
    done = _done(args.out / "flows.jsonl", "tables")
    for name in args.names or TABLES:
        *splits, ladj = table(name)
        for model in args.models or ("nsf", "maf"):
            if (name, model) in done:
                continue
            scores, spent, chosen = {}, {}, {}
            for contestant in ("pofx", "zuko", "nflows"):
                began, runs = time.process_time(), []
                for seed in range(args.seeds):
                    fit = _our_fit if contestant == "pofx" else partial(_peer_fit, contestant)
                    rates = RATES if seed == 0 else (chosen[contestant],)
                    tried = {r: fit(model, splits, r, seed, args.steps) for r in rates}
                    chosen[contestant] = min(tried, key=lambda r: tried[r][0])
                    runs.append(tried[chosen[contestant]])
                scores[contestant] = np.mean([r[1] for r in runs], 0) + ladj
                spent[contestant] = round((time.process_time() - began) / 60, 2)
            row = {"table": name, "model": model, "rows": sum(map(len, splits)), "dims": splits[0].shape[1]}
            row |= {"nats": {k: round(float(v.mean()), 4) for k, v in scores.items()}, "rate": chosen}
            for other in ("zuko", "nflows"):
                gap = scores["pofx"] - scores[other]
                error = float(gap.std() / len(gap) ** 0.5)
                row[f"over_{other}"] = [round(float(gap.mean()), 4), round(error, 4)]
            yield row | {"thread_minutes": spent, "steps": args.steps, "seeds": args.seeds, "bar": ">= -0.02"}


SHARES = (0.1, 0.2, 0.33, 0.5, 1.0)  # of zuko's seconds


def wall_time(args):
    """The share of the seconds of zuko's better rate after which a training of ours of that length has its final test
    log-likelihood: the least of a few budgets, each a training of its own; the median table at the end."""
    found = {}
    for name in args.names or TABLES:
        *splits, ladj = table(name)
        tried = {}
        for rate in RATES:
            began = time.process_time()
            best, nats = _peer_fit("zuko", "nsf", splits, rate, 0, args.steps)
            tried[rate] = (best, float(nats.mean()), time.process_time() - began)
        rate = min(tried, key=lambda r: tried[r][0])
        _, wanted, seconds = tried[rate]

        def timed(steps, splits=splits):
            began = time.process_time()
            nats = _our_fit("nsf", splits, args.rate, 0, steps, args.optimizer)[1]
            return float(nats.mean()), time.process_time() - began

        timed(2)  # what the first training of a table costs is not counted
        few, more = timed(5)[1], timed(25)[1]
        ours, reached = {}, None
        for share in SHARES:
            steps = max(10, int(20 * (share * seconds - few) / max(more - few, 1e-3)))
            nats, used = timed(steps)
            ours[round(used / seconds, 3)] = [round(nats + ladj, 3), steps]
            if nats >= wanted:
                reached = used / seconds
                break
        found[name] = math.inf if reached is None else reached
        yield {"table": name, "zuko": round(wanted + ladj, 3), "its_rate": rate, "its_seconds": round(seconds, 1),
               "nats_and_steps_by_share_of_its_time": ours,
               "reached_at": reached and round(reached, 3), "bar": 0.33}  # fmt: skip
    yield {"tables": len(found), "median": round(float(np.median(list(found.values()))), 3), "bar": 0.33}


def _done(path, benchmark):
    if not path.exists():
        return set()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {(r["table"], r["model"]) for r in rows if r["benchmark"] == benchmark}


BARS = {"spline-speed": spline_speed, "coupling-speed": coupling_speed, "tables": tables, "wall-time": wall_time}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--names", type=listed, help="of tables")
    options.add_argument("--models", type=listed, help="nsf, maf")
    options.add_argument("--steps", type=int, default=600)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--optimizer", default="muon", help="of ours in wall-time")
    options.add_argument("--rate", type=float, default=0.04, help="of ours in wall-time")
    args = options.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    measure("flows", BARS, args)


if __name__ == "__main__":
    main()
