"""Time to equal quality on MNIST: CPU seconds of one thread until 5,000 draws are 5 times as far from the test split as
as many real items are, by us and by diffusers' own unconditional training (DDPM; its example's loss, rate, warm-up and
running average) at two sizes.

    python bench/equal_quality.py --models ours --minutes 6        and so on: the least minutes that reach 5
    python bench/equal_quality.py --models diffusers-32,diffusers-64 --minutes 20 --looks 2

Our learning rate decays within the minutes, so that each length is a training of its own; theirs is measured at `looks`
equally spaced moments of one cosine. Draws are not part of the seconds and are made on a GPU where there is one; theirs
take 50 steps of DDIM.
"""

import copy
import time

import numpy as np
import torch
from harness import listed, measure, option, parser, sheet
from torch import nn
from vision import unet_of_diffusers

import pofx
from pofx.data.sources import load
from pofx.evaluate.features import fit_spaces
from pofx.maths.frechet import frechet_distance

DRAWN, BATCH, RATE, WARM_UP = 5000, 16, 1e-4, 500
PLACE = "cuda" if torch.cuda.is_available() else "cpu"


def distances(spaces, data, drawn):
    """Multiples of the control of as many."""
    chosen = np.random.default_rng(0).permutation(len(data.train))[: len(drawn)]
    held, row = np.asarray(data.train.values)[chosen], {}
    for space in spaces:
        test = space.of(data.test)
        row[space.name] = round(frechet_distance(space(drawn), test) / frechet_distance(space(held), test), 2)
    return row


@torch.inference_mode()
def draw(net, scheduler, n):
    net = copy.deepcopy(net).eval().to(PLACE)
    scheduler.set_timesteps(50)
    parts = []
    for size in [250] * (n // 250):
        y = torch.randn(size, 1, 28, 28, device=PLACE)
        for t in scheduler.timesteps:
            y = scheduler.step(net(y, t).sample, t, y).prev_sample
        parts.append(((y.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)[:, 0].cpu().numpy())
    return np.concatenate(parts)


def of_diffusers(args, data, spaces, width):
    torch.manual_seed(args.seed)
    net = unet_of_diffusers((1, 28, 28), width)
    from diffusers import DDIMScheduler
    from diffusers.training_utils import EMAModel

    scheduler = DDIMScheduler(num_train_timesteps=1000)
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    descent = torch.optim.AdamW(net.parameters(), RATE, betas=(0.95, 0.999), weight_decay=1e-6, fused=True)
    x = torch.from_numpy(np.asarray(data.train.values))[:, None].float() / 127.5 - 1
    used, step, looks = 0.0, 0, [args.minutes * 60 * (k + 1) / args.looks for k in range(args.looks)]
    while looks:
        began = time.process_time()
        share = used / (args.minutes * 60)
        descent.param_groups[0]["lr"] = RATE * min((step + 1) / WARM_UP, 1) * (1 + np.cos(np.pi * min(share, 1))) / 2
        batch = x[torch.randint(len(x), (BATCH,))]
        noise, t = torch.randn_like(batch), torch.randint(1000, (BATCH,))
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            loss = nn.functional.mse_loss(net(scheduler.add_noise(batch, noise, t), t).sample.float(), noise)
        descent.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        descent.step()
        average.step(net.parameters())
        step, used = step + 1, used + time.process_time() - began
        if used >= looks[0]:
            looks.pop(0)
            average.store(net.parameters())
            average.copy_to(net.parameters())
            drawn = draw(net, scheduler, args.samples)
            average.restore(net.parameters())
            sheet(drawn[:96], args.out / f"quality-diffusers-{width}-{used:.0f}s.png")
            yield {"model": f"diffusers, {width}", "parameters": sum(p.numel() for p in net.parameters()),
                   "steps": step, "CPU seconds": round(used), "bf16": args.bf16, "n": len(drawn),
                   **distances(spaces, data, drawn)}  # fmt: skip


def quality(args):
    """Multiples of the control's distance after so many CPU seconds. Bar: ours reach 5 in a quarter of theirs."""
    data = load("mnist")
    spaces = fit_spaces(data.train, ["classifier", "pca"], seed=0, folder=args.spaces or args.out / "spaces")
    for name in args.models or ("ours", "diffusers-32", "diffusers-64"):
        if name.startswith("diffusers-"):
            yield from of_diffusers(args, data, spaces, int(name.removeprefix("diffusers-")))
            continue
        began = time.process_time()
        run = pofx.fit(data, "flow-matching", minutes=args.minutes, seed=args.seed, progress=args.shown,
                       device="cpu", **dict(args.option))  # fmt: skip
        used = time.process_time() - began
        drawn = np.asarray(run.to(PLACE).sample(args.samples, seed=0))
        sheet(drawn[:96], args.out / f"quality-ours-{used:.0f}s.png")
        yield {"model": "flow-matching", "options": dict(args.option), "steps": run.card["training"]["steps"],
               "CPU seconds": round(used), "n": len(drawn), **distances(spaces, data, drawn)}  # fmt: skip


BARS = {"quality": quality}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--models", type=listed, help="of ours, diffusers-WIDTH")
    cli.add_argument("--minutes", type=float, default=6)
    cli.add_argument("--looks", type=int, default=2, help="moments at which theirs is measured")
    cli.add_argument("--samples", type=int, default=DRAWN)
    cli.add_argument("--bf16", action="store_true", help="theirs in bf16, as ours chooses by itself")
    cli.add_argument("--seed", type=int, default=0)
    cli.add_argument("--spaces", help="folder of fitted feature spaces")
    cli.add_argument("--option", "-o", action="append", default=[], type=option, help="KEY=VALUE of our model")
    measure("equal_quality", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
