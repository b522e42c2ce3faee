"""Sound, measured: one function per bar, one JSON line per result.

    POFX_DATA=… python bench/audio.py                      every bar (about fifty minutes on one thread)
    POFX_DATA=… python bench/audio.py bits --condition label --minutes 15 --seed 0
    POFX_DATA=… python bench/audio.py digits speed --out runs/bench

Data: spoken-digits, 8 kHz, 256 mu-law levels, the official 300 test clips. `bits` scores every real sample of them and
their ends, from the start of each clip, and divides by the number of samples. `digits` writes clips as wav files.
"""

import math
import time

import numpy as np
import torch
from harness import measure, parser
from sklearn.svm import SVC

import pofx
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.data.dataset import joined
from pofx.data.kind import named
from pofx.data.sources import load
from pofx.data.vectors import Vectors
from pofx.families.autoregressive.conditionals import Uncached
from pofx.families.autoregressive.wavenet import WaveNet
from pofx.maths.distributions import categorical_draw

FLOORS = {"order-1 Markov": 5.449, "AR-16 with energy context": 5.251}
ROUNDS = 5


def trained(args):
    """The run of these arguments: trained, or read where it is finished."""
    folder = args.out / f"wavenet-{args.condition or 'unconditional'}-{args.minutes:g}-{args.seed}"
    if (folder / "artifact.json").exists():
        return pofx.load(folder)
    options = {} if args.condition is None else {"condition": args.condition}
    return pofx.fit("spoken-digits", "wavenet", minutes=args.minutes, seed=args.seed, out=folder,
                    progress=args.shown, **options)  # fmt: skip


def bits(args):
    """Bits per sample of the official test clips."""
    run, test = trained(args), load("spoken-digits").test
    names = test.facts["label_names"]
    given = None if args.condition is None else [names[k] for k in test.labels]
    nats = -run.score(test.values, given, batch_size=50).value
    sizes = np.array([len(clip) for clip in test.values])
    each, per_sample = nats / math.log(2), nats.sum() / sizes.sum() / math.log(2)
    spread = (each - per_sample * sizes).std(ddof=1) * len(sizes) ** 0.5 / sizes.sum()  # of a ratio of sums
    training = run.card["training"]
    yield {
        "bits_per_sample": round(float(per_sample), 4),
        "stderr": round(float(spread), 4),
        "clips": len(sizes),
        "samples": int(sizes.sum()),
        "condition": args.condition,
        "minutes": round(training["seconds"] / 60, 2),
        "steps": training["steps"],
        "field": run.model.receptive_field,
        "bar": 4.8,
        "floors": FLOORS,
    }


def digits(args):
    """Samples by digit, written as wav files, judged by a classifier of spectrograms that learned real clips."""
    args.condition = "label"
    data, run = load("spoken-digits"), trained(args)
    real = joined([data.train, data.validation])
    vectors = Vectors.fit(real)
    judge = SVC(C=10).fit(vectors(real.values), real.labels)
    control = float((judge.predict(vectors(data.test.values)) == data.test.labels).mean())
    wanted = np.arange(args.n) % 10
    names = data.test.facts["label_names"]
    loudness = {part: round(_decibels(data.splits()[part].values), 2) for part in ("train", "test")}
    for temperature in args.temperatures:
        began = time.perf_counter()
        clips = run.sample(args.n, [names[k] for k in wanted], seed=args.seed, temperature=temperature)
        seconds = time.perf_counter() - began
        folder = args.out / f"clips-{round(100 * temperature)}-percent"  # no dot: a dot makes a suffix
        named("audio").write(pofx.audio(clips, data.train.facts["rate"]), folder)
        heard = judge.predict(vectors(clips))
        right = heard == wanted
        yield {
            "recognised": round(float(right.mean()), 4),
            "stderr": round(float(right.std() / len(right) ** 0.5), 4),
            "by_digit": [round(float(right[wanted == k].mean()), 2) for k in range(10)],
            "temperature": temperature,
            "n": args.n,
            "real_test_clips": round(control, 4),
            "decibels": round(_decibels(clips), 2),
            "real_decibels": loudness,
            "mean_seconds": round(float(np.mean([len(c) for c in clips])) / 8000, 3),
            "real_mean_seconds": round(float(np.mean([len(c) for c in data.train.values])) / 8000, 3),
            "sampling_seconds": round(seconds, 1),
            "folder": folder.name,
        }


def speed(args):
    """One second at 8 kHz, one item: drawn from the cache, and by a whole pass for every sample.

    The model has its default size and fresh weights, which changes no time. All 8,000 whole passes cost the same, so
    `--stretch` of them are timed in turn with the cached second and counted up. One more whole pass over the cached
    second shows that each of its samples is what a whole pass draws with the same noise.
    """
    length = 8000
    torch.manual_seed(args.seed)
    model = WaveNet(Discrete((length,), 256)).eval()
    ratios, times = [], []
    with torch.inference_mode():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        u = Streams(args.seed, 1).uniform(length)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            cached = model.sample(1, generator=Streams(args.seed, 1))
            middle = time.perf_counter()
            plain = Uncached(model, 1, None)
            for step in range(args.stretch):
                plain.put(categorical_draw(plain.logits(), u[:, step]))
            whole = (time.perf_counter() - middle) * length / args.stretch
            times.append((middle - began, whole))
            ratios.append(whole / (middle - began))
        differ = int((categorical_draw(model.logits(cached), u) != cached).sum())
        differ += int((plain.x[:, : args.stretch] != cached[:, : args.stretch]).sum())
    yield {
        "ratio": round(float(np.median(ratios)), 1),
        "ratios": [round(r, 1) for r in ratios],
        "cached_seconds": round(float(np.median([a for a, _ in times])), 3),
        "plain_seconds": round(float(np.median([b for _, b in times])), 1),
        "stretch": args.stretch,
        "samples_that_differ": differ,
        "bar": 100,
    }


def _decibels(clips):
    """The mean over clips of their root mean square, in decibels of full scale."""
    power = [np.square(clip, dtype=np.float64).mean() for clip in clips if len(clip)]
    return float(np.mean(10 * np.log10(np.maximum(power, 1e-10))))


BARS = {"bits": bits, "digits": digits, "speed": speed}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--condition", choices=("label",), help="of bits: what the model is conditioned on")
    options.add_argument("--minutes", type=float, default=15)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--n", type=int, default=300, help="clips of digits")
    options.add_argument("--temperatures", type=lambda text: [float(t) for t in text.split(",")], default=[1.0, 0.9])
    options.add_argument("--stretch", type=int, default=50, help="whole passes of speed")
    args = options.parse_args()
    measure("audio", BARS, args)


if __name__ == "__main__":
    main()
