"""Pictures from pictures by diffusion: the condition concatenated to the input, or embedded; one JSON line per result.

    python bench/translation.py                                   every bar
    python bench/translation.py superresolution --steps 300 --sheet sr.png
    python bench/translation.py outlines scales --steps 200

Errors are root mean squares over the numbers of 128 held-out pictures in [0, 1]; those of one draw, of the mean of
four draws, and of what needs no training beside them.
"""

import dataclasses
import math
import time

import numpy as np
from harness import listed, measure, option, parser
from PIL import Image

import pofx
from pofx.data.captioned_shapes import COLOURS, factors, render
from pofx.data.kinds.image import images
from pofx.data.sources import load

HELD, DRAWS = 128, 4
FORMS = ("concatenate", "embed")


def translated(args, name, train, labels, given, test):
    """Both forms on the same pairs: `given` and `train` uint8, `test` is (pictures, labels, given)."""
    pictures, classes, conditions = test
    wanted = pictures / 255.0
    rows = [wanted[:16], floor(conditions, wanted)[:16]]
    for form in args.forms or FORMS:
        parts = images(given) if labels is None else {"label": "label", "image": images(given)}
        began = time.process_time()
        run = pofx.fit(
            images(train, labels=labels),
            "flow-matching",
            condition=parts,
            steps=args.steps,
            seed=args.seed,
            progress=False,
            options={"grid_condition": form},
            batch_size=32,
        )
        used = time.process_time() - began
        known = (
            conditions
            if labels is None
            else [{"label": k, "image": c} for k, c in zip(classes, conditions, strict=True)]
        )
        drawn = np.stack([run.sample(HELD, condition=known, seed=k) for k in range(DRAWS)]) / 255.0
        rows.append(drawn[0][:16])
        yield {
            "pairs": name,
            "grid_condition": form,
            "cpu_seconds": round(used, 1),
            "steps": args.steps,
            "error_of_a_draw": error(drawn[0], wanted),
            "error_of_the_mean": error(drawn.mean(0), wanted),
            "spread_of_draws": round(float(drawn.std(0).mean()), 4),
            "error_of_the_condition": error(floor(conditions, wanted), wanted),
        }
    if args.sheet:
        sheet(rows, args.sheet.replace("NAME", name))


def error(x, y):
    return round(float(np.sqrt(np.square(x - y).mean())), 4)


def floor(conditions, wanted):
    """The conditions at the size of the pictures, bilinear."""
    import torch

    x = torch.from_numpy(conditions.astype(np.float32) / 255)[:, None]
    x = torch.nn.functional.interpolate(x, size=wanted.shape[1:3], mode="bilinear", align_corners=False)[:, 0].numpy()
    return x if wanted.ndim == 3 else np.repeat(x[..., None], 3, -1)


def sheet(rows, path):
    """Rows of pictures in [0, 1]: truth, condition, draws."""
    joined = np.concatenate(
        [np.concatenate(list(np.pad(r, ((0, 0), (1, 1), (1, 1), *[(0, 0)] * (r.ndim - 3)))), 1) for r in rows]
    )
    picture = Image.fromarray(np.round(255 * joined.clip(0, 1)).astype(np.uint8))
    picture.resize((3 * picture.width, 3 * picture.height), Image.NEAREST).save(path)


def superresolution(args):
    """MNIST 28 × 28 from the means of its squares of 4 × 4, 7 × 7."""
    data = load("mnist")
    train, held = data.train.values, data.test.values[np.random.default_rng(0).permutation(len(data.test))[:HELD]]

    def small(x):
        return np.round(x.reshape(-1, 7, 4, 7, 4).mean((2, 4))).astype(np.uint8)

    yield from translated(args, "superresolution", train, None, small(train), (held, None, small(held)))


def outlines(args):
    """Sprites in colour, 16 × 16, from their outlines; the colour is the label."""

    def pairs(part, n, seed):
        values = factors(part)[:n]
        pictures = render(values, seed).reshape(n, 16, 2, 16, 2, 3).mean((2, 4))
        inside = pictures.max(-1) > 110
        padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
        core = inside & padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
        names = np.array(list(COLOURS))[values[:, 2]]
        return np.round(pictures).astype(np.uint8), names, 255 * (inside & ~core).astype(np.uint8)

    train, labels, given = pairs("train", 16_000, 0)
    yield from translated(args, "outlines", train, labels, given, pairs("test", HELD, 1))


def scales(args):
    """Bits per dimension of digits by a cascade whose details are a diffusion, given the coarser grid in both forms."""
    data = load("digits")
    test = data.test.values[np.random.default_rng(0).permutation(len(data.test))[:100]]
    for form in args.forms or FORMS:
        began = time.process_time()
        run = pofx.fit(
            data,
            "haar-cascade",
            steps=args.steps,
            seed=args.seed,
            progress=False,
            options={"details": "flow-matching", "grid_condition": form},
        )
        used = time.process_time() - began
        bits = -run.log_prob(test) / (math.log(2) * 64)
        yield {
            "grid_condition": form,
            "cpu_seconds": round(used, 1),
            "steps": args.steps,
            "bits_per_dim": round(float(bits.mean()), 3),
            "stderr": round(float(bits.std() / len(bits) ** 0.5), 3),
        }


def paired(args):
    """Filled sprites from outlines in their colour, 16 × 16, by pix2pix: root mean square error of held-out ones, and
    the share whose middle is filled. Bar: half of the outline's own error."""

    def pairs(part, n, seed):
        pictures = render(factors(part)[:n], seed).reshape(n, 16, 2, 16, 2, 3).mean((2, 4))
        inside = pictures.max(-1) > 110
        padded = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
        core = inside & padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1] & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]
        given = np.where((inside & ~core)[..., None], pictures, 0)
        return np.round(pictures).astype(np.uint8), np.round(given).astype(np.uint8)

    train, given = pairs("train", 16_000, 0)
    wanted, known = pairs("test", HELD, 1)
    began = time.process_time()
    run = pofx.fit(
        images(train), "pix2pix", condition=images(given), minutes=args.minutes, seed=args.seed, progress=False
    )
    used = time.process_time() - began
    drawn = np.asarray(run.sample(HELD, condition=known, seed=0))
    if args.sheet:
        sheet([wanted[:16] / 255, known[:16] / 255, drawn[:16] / 255], args.sheet.replace("NAME", "paired"))
    yield {"model": "pix2pix", "cpu_seconds": round(used, 1), "steps": run.card["training"]["steps"],
           "error": error(drawn / 255.0, wanted / 255.0), "error_of_the_outline": error(known / 255.0, wanted / 255.0),
           "bar": "half of the outline's"}  # fmt: skip


def unpaired(args):
    """MNIST (14 × 14) to others of its digits, inverted and turned by --turn degrees, and back, by cyclegan: classes
    that a classifier of the digits as they were still reads. Bar: 0.90 both. Both sets without pairs allow any exchange
    of classes; only the nets' preference for what is near decides, so that large turns may exchange them."""
    from scipy.ndimage import rotate

    from pofx.evaluate.features import fit_spaces

    data = load("mnist")

    def small(x):
        return np.round(np.asarray(x).reshape(-1, 14, 2, 14, 2).mean((2, 4))).astype(np.uint8)

    def moved(x, angle):
        whole, rest = divmod(angle, 90)
        x = np.rot90(np.asarray(x), int(whole), (1, 2))
        return x if not rest else rotate(x, rest, (2, 1), reshape=False, order=1)

    def turned(x):
        return 255 - moved(x, args.turn)

    def back(x):
        return moved(255 - np.asarray(x), -args.turn)

    every = dataclasses.replace(data.train, values=small(data.train.values))
    judge = fit_spaces(every, ["classifier"], seed=0)[0]
    order = np.random.default_rng(0).permutation(len(every))
    a, b = every.values[order[:20_000]], turned(every.values[order[20_000:40_000]])
    began = time.process_time()
    run = pofx.fit(images(b), "cyclegan", condition=images(a), minutes=args.minutes, seed=args.seed, progress=False,
                   **dict(args.option))  # fmt: skip
    used = time.process_time() - began
    held, labels = small(data.test.values)[:1000], np.asarray(data.test.labels)[:1000]
    there = np.asarray(run.sample(len(held), condition=held, seed=0))
    again = np.asarray(run.encode(there, held))
    again = np.clip(np.round(127.5 * (again.reshape(len(held), 14, 14) + 1)), 0, 255).astype(np.uint8)
    if args.sheet:
        sheet([held[:16] / 255, there[:16] / 255, again[:16] / 255], args.sheet.replace("NAME", "unpaired"))
    right = {"there": judge.predict(back(there)) == labels, "there and back": judge.predict(again) == labels,
             "real": judge.predict(held) == labels}  # fmt: skip
    yield {"model": "cyclegan", "turn": args.turn, "cpu_seconds": round(used, 1),
           "steps": run.card["training"]["steps"], "symmetry": int(getattr(run.model, "symmetry", 0)),
           "sign": int(getattr(run.model, "sign", 1)),
           **{name: round(float(v.mean()), 4) for name, v in right.items()},
           "stderr": round(float(right["there"].std() / len(held) ** 0.5), 4), "bar": 0.9}  # fmt: skip


BARS = {
    "superresolution": superresolution,
    "outlines": outlines,
    "scales": scales,
    "paired": paired,
    "unpaired": unpaired,
}


def main():
    options = parser(__doc__, BARS)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--minutes", type=float, default=4, help="of paired and unpaired")
    options.add_argument("--turn", type=float, default=90, help="degrees, of unpaired")
    options.add_argument("--forms", type=listed)
    options.add_argument("--sheet", help="a file: pictures of truth, condition and draws, NAME in it that of the bar")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("translation", BARS, options.parse_args())


if __name__ == "__main__":
    main()
