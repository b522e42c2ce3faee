"""Whether samples have their conditions: captions of sprites, classes of MNIST; one JSON line per result, sheets.

    python bench/captions.py captions --models flow-matching --minutes 9
    python bench/captions.py classes --models r3gan --minutes 9

A caption is satisfied if a classifier, trained on other sprites by the same formula, reads count, size, colour and
shape as stated; what it reads of real held-out pictures is the control.
"""

import time

import numpy as np
import torch
from harness import listed, measure, option, parser, sheet
from torch import nn

import pofx
from pofx.data.captioned_shapes import FACTORS, captions, render
from pofx.data.captioned_shapes import factors as of_part
from pofx.data.sources import load
from pofx.evaluate.features import fit_spaces

DRAWN, RATE = 500, 3e-3
USUAL = {
    "flow-matching": {"width": 32, "batch_size": 32},
    "r3gan": {"width": 32, "batch_size": 16, "matching": 1.0},
}


class Reader(nn.Module):
    """Pictures (n, 3, 32, 32) → logits of each factor, from the mean and the greatest value of features over places:
    what a sprite is does not depend on where it lies."""

    def __init__(self) -> None:
        super().__init__()

        def block(a, b, stride):
            return nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()

        self.body = nn.Sequential(
            nn.PixelUnshuffle(2), *block(12, 48, 1), *block(48, 48, 1), *block(48, 96, 2), *block(96, 96, 1)
        )
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(192, 96), nn.ReLU(), nn.Linear(96, k)) for k in FACTORS.values()
        )

    def forward(self, x):
        h = self.body(x)
        h = torch.cat((h.mean((2, 3)), h.amax((2, 3))), 1)
        return [head(h) for head in self.heads]


def tensor(pictures):
    return torch.from_numpy(np.asarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1  # channels last in memory


def reader(path, seconds):
    """The classifier, trained for so many CPU seconds on pictures of seeds that no split has, each in four quarter
    turns, or read from a file."""
    net = Reader().to(memory_format=torch.channels_last)
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    torch.manual_seed(0)
    rng = np.random.default_rng(77)
    descent = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-2)
    began, seed, step = time.process_time(), 1000, 0
    while (share := (time.process_time() - began) / seconds) < 1:
        values = np.stack([rng.integers(0, k, 2048) for k in FACTORS.values()], 1)
        pictures, truth, seed = tensor(render(values, seed)), torch.from_numpy(values), seed + 1
        for part in torch.cat([torch.randperm(len(values)) for _ in range(4)]).split(64):
            share = min((time.process_time() - began) / seconds, 1)
            for group in descent.param_groups:
                group["lr"] = RATE * min(step / 100, 1) * max(1 - share, 0.01)
            x = torch.rot90(pictures[part], int(rng.integers(4)), (2, 3))
            x = x + 0.1 * float(rng.random()) * torch.randn_like(x)  # samples are never quite clean
            loss = sum(nn.functional.cross_entropy(z, truth[part, k]) for k, z in enumerate(net(x)))
            descent.zero_grad()
            loss.backward()
            descent.step()
            step += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net.eval()


@torch.inference_mode()
def read(net, pictures):
    """Factors (n, 4) as the classifier reads them."""
    return torch.cat([torch.stack([z.argmax(1) for z in net(part)], 1) for part in tensor(pictures).split(250)]).numpy()


def shares(net, pictures, values):
    right = read(net, pictures) == values
    whole = right.all(1)
    return {"satisfied": round(float(whole.mean()), 4), "stderr": round(float(whole.std() / len(whole) ** 0.5), 4),
            **{k: round(float(v), 3) for k, v in zip(FACTORS, right.mean(0), strict=True)}}  # fmt: skip


def of_captions(args):
    """Share of captions satisfied. Bars: 0.90 (GAN), 0.95 (diffusion with guidance)."""
    net = reader(args.out / "reader.pt", args.seconds)
    test = of_part("test")[:DRAWN]
    yield {"pictures": "real, held out", **shares(net, load("captioned-shapes").test.values[:DRAWN], test)}
    for name in args.models or USUAL:
        began = time.process_time()
        options = {**USUAL.get(name, {}), **dict(args.option)}
        run = pofx.fit("captioned-shapes", name, minutes=args.minutes, seed=args.seed, progress=args.shown,
                       out=args.out / f"captions-{name}{args.tag}", overwrite=True, **options)  # fmt: skip
        used = time.process_time() - began
        for guidance in args.guidance if "guidance" in run.model.adjustable else (None,):
            way = run if guidance is None else run.using(guidance=guidance)
            began = time.process_time()
            drawn = np.asarray(way.sample(DRAWN, condition=captions(test), seed=1, with_condition=False))
            label = f"captions-{name}{args.tag}-{guidance}"
            sheet(drawn[:48], args.out / f"{label}.png")
            (args.out / f"{label}.txt").write_text("\n".join(captions(test[:48])))
            yield {"model": name, "steps": run.card["training"]["steps"], "CPU seconds": round(used),
                   "guidance": guidance, "CPU seconds of draws": round(time.process_time() - began),
                   **shares(net, drawn, test), "n": DRAWN, "bar": 0.95 if guidance else 0.9}  # fmt: skip


def classes(args):
    """MNIST given its class: share that the classifier reads so. Bars: 0.97 (GAN), 0.98 (diffusion with guidance)."""
    data = load("mnist", condition="label")
    space = fit_spaces(data.train, ["classifier"], seed=0, folder=args.spaces or args.out / "spaces")[0]
    right = space.predict(data.test.values[:5000]) == np.asarray(data.test.labels[:5000])
    yield {"pictures": "real, held out", "class right": round(float(right.mean()), 4)}
    for name in args.models or ("flow-matching", "r3gan"):
        began = time.process_time()
        options = {"width": 32, "batch_size": 32 if name == "flow-matching" else 16} | dict(args.option)
        run = pofx.fit(data, name, condition="label", minutes=args.minutes, seed=args.seed, progress=args.shown,
                       out=args.out / f"classes-{name}{args.tag}", overwrite=True, **options)  # fmt: skip
        used = time.process_time() - began
        for guidance in args.guidance if "guidance" in run.model.adjustable else (None,):
            way = run if guidance is None else run.using(guidance=guidance)
            drawn = way.draw(DRAWN, seed=1)
            right = space.predict(drawn.values) == np.asarray(drawn.condition.values)
            order = np.argsort(np.asarray(drawn.condition.values)[:96], kind="stable")
            sheet(np.asarray(drawn.values)[:96][order], args.out / f"classes-{name}{args.tag}-{guidance}.png")
            yield {"model": name, "steps": run.card["training"]["steps"], "CPU seconds": round(used),
                   "guidance": guidance, "class right": round(float(right.mean()), 4),
                   "stderr": round(float(right.std() / DRAWN**0.5), 4), "n": DRAWN,
                   "bar": 0.98 if guidance else 0.97}  # fmt: skip


BARS = {"captions": of_captions, "classes": classes}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed)
    cli.add_argument("--minutes", type=float, default=8)
    cli.add_argument("--guidance", type=lambda text: [float(v) for v in text.split(",")], default=[1.0, 2.0, 4.0])
    cli.add_argument("--seconds", type=float, default=120, help="CPU seconds of the classifier of sprites")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--tag", default="", help="added to the names of folders")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of the model")
    measure("captions", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
