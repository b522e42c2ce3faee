"""Parts of one event, drawn together and given each other: `python bench/multimodal.py tiles|digits [--minutes 2]`.

`tiles`: small pictures and their captions, read by a rule. `digits`: pictures of MNIST (14 × 14, four greys) and spoken
digits (principal components of spectrograms, with length and level), paired by digit; the label is never shown. Support
vector machines that learned other pictures and clips name what was drawn; the clips are heard by Griffin and Lim first.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

from pofx.apps.joint import Joint

PARTS = 24  # components of the spectrograms
PAIRS = 8000


def tiles(args) -> dict[str, float]:
    from pofx.apps.multimodal import agreement
    from pofx.data import captioned_tiles

    pictures, captions = captioned_tiles.tiles(6000, 0)
    joint = Joint(args.model, minutes=args.minutes, options=args.options).fit(
        {"caption": captions, "picture": pictures}
    )
    return agreement(joint, *captioned_tiles.tiles(args.n, 1))


def digits(args) -> dict[str, float]:
    from sklearn.svm import SVC

    from pofx.apps import voice as voices
    from pofx.data.dataset import joined
    from pofx.data.sources import load
    from pofx.data.vectors import Vectors

    g = np.random.default_rng(0)
    with np.load(Path(os.environ["POFX_DATA"]) / "mnist.npz") as file:
        x, y, new, of_new = (file[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    small = lambda v: (v.reshape(-1, 14, 2, 14, 2).mean((2, 4)) // 64).astype(np.int64)  # noqa: E731
    x, new = small(x), small(new)
    data = load("spoken-digits")
    names = np.array(data.test.facts["label_names"]).astype(str)
    order = np.argsort([NUMBERS.index(name) if name in NUMBERS else int(name) for name in names])
    digit_of = np.argsort(order)  # of a label of the recordings
    real = joined([data.train, data.validation])
    voices.PARTS = PARTS
    voice = voices.Voice(steps=1).fit(real.values, int(real.facts["rate"]))
    codes = np.stack([voice.encode(clip) for clip in real.values])
    spoken, heard = digit_of[real.labels], digit_of[data.test.labels]
    chosen = g.integers(10, size=PAIRS)
    pick = lambda labels, d: g.choice(np.flatnonzero(labels == d))  # noqa: E731
    train = 50_000
    pictures = np.stack([x[pick(y[:train], d)] for d in chosen])
    sounds = np.stack([codes[pick(spoken, d)] for d in chosen])
    joint = Joint(args.model, minutes=args.minutes, options=args.options).fit({"picture": pictures, "sound": sounds})

    eye = SVC(C=10).fit(x[train:].reshape(-1, 196) / 3, y[train:])
    view = Vectors.fit(real)
    ear = SVC(C=10).fit(view(real.values), spoken)
    see = lambda v: eye.predict(np.asarray(v).reshape(-1, 196) / 3)  # noqa: E731
    hear = lambda v: ear.predict(view([voice.decode(c, i) for i, c in enumerate(np.asarray(v))]))  # noqa: E731
    at = g.permutation(len(new))[: args.n]
    of_test = np.stack([voice.encode(clip) for clip in data.test.values])
    at_sound = g.permutation(len(of_test))[: args.n]
    both = joint.sample(args.n, seed=1)
    named = joint.sample(len(at), {"picture": new[at]}, seed=2)["sound"]
    painted = joint.sample(len(at_sound), {"sound": of_test[at_sound]}, seed=3)["picture"]
    np.savez(args.out, **{"both": both["picture"], "painted": painted})
    return {
        "eye on real test pictures": float((see(new[at]) == of_new[at]).mean()),
        "ear on real test clips, through the codec": float((hear(of_test[at_sound]) == heard[at_sound]).mean()),
        "both from nothing": float((see(both["picture"]) == hear(both["sound"])).mean()),
        "sound given picture": float((hear(named) == of_new[at]).mean()),
        "picture given sound": float((see(painted) == heard[at_sound]).mean()),
        "chance": float((see(both["picture"]) == np.roll(hear(both["sound"]), 1)).mean()),
    }


NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("name", choices=["tiles", "digits"])
    cli.add_argument("--model", default="circuit")
    cli.add_argument("--minutes", type=float, default=2.0)
    cli.add_argument("--states", type=int)
    cli.add_argument("-n", type=int, default=300)
    cli.add_argument("--out", default="multimodal.npz")
    args = cli.parse_args()
    args.options = {"states": args.states} if args.states else None
    began = time.process_time()
    found = {"tiles": tiles, "digits": digits}[args.name](args)
    print(f"{args.model}, {time.process_time() - began:.0f} s of CPU in all")
    print(pd.Series(found).round(3).to_string())
