"""A U-Net of ours beside diffusers' UNet2D of its size on a GPU: milliseconds of a training step in bf16.

    python bench/gpu.py throughput --widths 64,128

Both predict noise on pictures of 3 × 32 × 32, with fused AdamW, as they are and compiled. Each is warmed up for 8
steps; the middle of three rounds of 10 steps counts. For samples of CIFAR-10 see `duels.py images --data cifar10`.
"""

import time

import torch
from contestants import size
from harness import listed, measure, parser
from torch import nn
from vision import unet_of_diffusers

from pofx.core.config import build
from pofx.core.event import Continuous
from pofx.core.model import Batch

SHAPE, WITHIN = (3, 32, 32), 0.05  # parameters may differ by so much


class Ours(nn.Module):
    def __init__(self, width):
        super().__init__()
        options = {"network": "unet", "condition_dropout": 0.0, "path": "vp-linear", "prediction": "epsilon"}
        self.net = build("ddpm", Continuous(SHAPE), width=width, **options)

    def forward(self, x):
        found = self.net.loss(Batch(x))
        return sum(found.values()) if isinstance(found, dict) else found


class Theirs(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = unet_of_diffusers(SHAPE, width)
        from diffusers import DDIMScheduler

        self.register_buffer("signal", DDIMScheduler(num_train_timesteps=1000).alphas_cumprod)

    def forward(self, x):
        noise, t = torch.randn_like(x), torch.randint(1000, (len(x),), device=x.device)
        share = self.signal[t].view(-1, 1, 1, 1)
        return nn.functional.mse_loss(self.net(share.sqrt() * x + (1 - share).sqrt() * noise, t).sample, noise)


def alike(width):
    """Ours of a width, and theirs of the width that is nearest in parameters."""
    ours = Ours(width)
    theirs = min((Theirs(w) for w in range(16, 200, 4)), key=lambda net: abs(size(net) / size(ours) - 1))
    if abs(size(theirs) / size(ours) - 1) > WITHIN:
        raise SystemExit(f"no width of theirs has {size(ours):,} parameters within {WITHIN:.0%}: try another width")
    return ours, theirs


def seconds(net, x, compiled):
    """Of a training step."""
    optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-4, fused=True)
    loss = torch.compile(net) if compiled else net

    def steps(n):
        began = time.perf_counter()
        for _ in range(n):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                value = loss(x)
            value.backward()
            optimiser.step()
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / n

    net.train()
    steps(8)
    return sorted(steps(10) for _ in range(3))[1]


def throughput(args):
    """Steps per second over diffusers'. Bar: 1.3, compiled."""
    if not torch.cuda.is_available():
        raise SystemExit("throughput needs a GPU: torch.cuda.is_available() is false here")
    for width in args.widths:
        ours, theirs = alike(int(width))
        sizes = [size(ours), size(theirs)]
        for batch in (128, 512):
            x = torch.rand(batch, *SHAPE, device="cuda") * 2 - 1
            for compiled in (False, True):
                found = [seconds(net.to("cuda"), x, compiled) for net in (ours, theirs)]
                yield {"gpu": torch.cuda.get_device_name(), "parameters": sizes, "batch": batch, "compiled": compiled,
                       "ms": [round(1e3 * s, 2) for s in found], "ratio": round(found[1] / found[0], 3),
                       "bar": 1.3 if compiled else None}  # fmt: skip


BARS = {"throughput": throughput}


def main():
    cli = parser(__doc__, BARS)
    cli.add_argument("--widths", type=listed, default=["64", "128"])
    measure("gpu", BARS, cli.parse_args())


if __name__ == "__main__":
    main()
