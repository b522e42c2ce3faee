"""Contestants of the same size that do the same work, for `peers.py`: a name and a function each, ours being "pofx".

A contest gives (what, contestants, parameters). Parameters of a peer lie within 2 % of ours, or it does not start.
"""

from functools import partial

import flows
import tokens
import torch
from torch import nn
from vision import declare

from pofx.core.config import build
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams

STEPS = 16  # of the samplers of diffusion models
WITHIN = 0.02


def size(module):
    """Parameters that are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def matched(sizes):
    """The sizes, ours and a peer's by name, if they are alike."""
    for name, n in sizes.items():
        if abs(n / sizes["pofx"] - 1) > WITHIN:
            raise SystemExit(f"{name} has {n} parameters and pofx {sizes['pofx']}: more than 2 % apart")
    return sizes


def step(module, loss):
    """A training step: forward, backward and fused AdamW."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def run():
        module.train()
        optimiser.zero_grad(set_to_none=True)
        found = loss()
        (sum(found.values()) if isinstance(found, dict) else found).backward()
        optimiser.step()

    return run


def drawing(module, draw):
    """A draw without gradients, in eval mode."""

    def run():
        module.eval()
        with torch.inference_mode():
            return draw()

    return run


def of_flows():
    """RQ-NSF (AR) of 5 transforms, residual 2 × 128, 8 bins, and RealNVP of 8 couplings: 8 dimensions, batch 512."""
    import zuko  # noqa: F401

    x = torch.randn(flows.BATCH, flows.D)
    nsf = {
        "pofx": flows._ours("nsf", layers=5, bins=8, bound=5.0, width=128, blocks=2),
        "zuko": flows._zuko("NSF", transforms=5, bins=8, hidden_features=(128, 128), residual=True),
        "nflows": flows._nflows_nsf(5, 128, 8),
        "normflows": flows._normflows_nsf(5, 128, 8),
    }
    realnvp = {
        "pofx": flows._ours("realnvp", layers=8, width=128, blocks=1),
        "zuko": flows._zuko("RealNVP", transforms=8, hidden_features=(128,) * 3),
    }
    for model, made in (("nsf", nsf), ("realnvp", realnvp)):
        sizes = matched({name: size(parts[0]) for name, parts in made.items()})
        train = {n: step(m, lambda log_prob=log_prob: -log_prob(x).mean()) for n, (m, log_prob, _) in made.items()}
        yield f"{model}: training step", train, sizes
        scoring = {n: drawing(m, lambda log_prob=log_prob: log_prob(x)) for n, (m, log_prob, _) in made.items()}
        yield f"{model}: log_prob", scoring, sizes
        yield f"{model}: sample", {n: drawing(m, draw) for n, (m, _, draw) in made.items()}, sizes


def of_vaes():
    """A VAE of equal layers on binary images of 28 × 28: two layers of 256, 16 codes, batch 256."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.samplers import NormalSampler

    width, codes, inputs, batch = 256, 16, 28 * 28, 256

    def layers(first, last):
        return nn.Sequential(
            nn.Linear(first, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, last)
        )

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.layers = layers(inputs, 2 * codes)

        def forward(self, x):
            mean, log_variance = self.layers(x.flatten(1)).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.layers = layers(codes, inputs)

        def forward(self, z):
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    config = VAEConfig(input_dim=(inputs,), latent_dim=codes, reconstruction_loss="bce")
    theirs = VAE(config, encoder=Encoder(), decoder=Decoder())
    ours = build(
        "vae", Discrete((28, 28), 2), latent=codes, width=width, depth=2, dropout=0.0, network="mlp", prior="normal"
    )
    x = torch.randint(2, (batch, 28, 28))
    flat = x.float().flatten(1)
    sampler = NormalSampler(theirs)
    sizes = matched({"pofx": size(ours), "pythae": size(theirs)})
    train = {
        "pofx": step(ours, lambda: ours.loss(Batch(x))),
        "pythae": step(theirs, lambda: theirs({"data": flat}).loss),
    }
    yield "vae: training step", train, sizes
    draws = {
        "pofx": drawing(ours, lambda: ours.sample(1024, generator=Streams(0, 1024))),
        "pythae": drawing(theirs, lambda: torch.bernoulli(sampler.sample(num_samples=1024, batch_size=1024))),
    }  # its sampler gives means: pixels are drawn from them, as ours are
    yield "vae: 1,024 samples", draws, sizes


def of_tokens():
    """gpt and GPT-2 of 4 layers of 128, 65 classes, 16 sequences of 256, float32."""
    ours, theirs, sizes = tokens._pair()
    sizes = matched({"pofx": sizes[0], "transformers": sizes[1]})
    x = torch.randint(65, (16, 256))
    train = {
        "pofx": step(ours, lambda: ours.loss(Batch(x))),
        "transformers": step(theirs, lambda: theirs(x, labels=x).loss),
    }
    yield "gpt: training step", train, sizes
    start = torch.zeros(16, 1, dtype=torch.int64)
    options = {"max_new_tokens": 255, "min_new_tokens": 255, "do_sample": True, "top_k": 0, "use_cache": True}
    draws = {
        "pofx": drawing(ours, lambda: ours.sample(16, generator=Streams(0, 16))),
        "transformers": drawing(
            theirs, lambda: theirs.generate(start, attention_mask=torch.ones_like(start), **options)
        ),
    }
    yield "gpt: 16 × 256 tokens, cached", draws, sizes


def of_diffusion():
    """Noise prediction on images of 16 × 16, each peer's own U-Net against ours of its size: 32 images, 16 steps."""
    declare()
    x = torch.rand(32, 1, 16, 16) * 2 - 1
    for name, width, theirs, loss, draw in (_lucidrains(x), _diffusers(x)):
        options = {"network": "unet", "condition_dropout": 0.0, "sampler": "ddim", "steps": STEPS}
        options |= {"path": "vp-linear", "prediction": "epsilon", "width": width}
        ours = build("ddpm", Continuous((1, 16, 16)), **options)
        sizes = matched({"pofx": size(ours), name: size(theirs)})
        train = {"pofx": step(ours, lambda ours=ours: ours.loss(Batch(x))), name: step(theirs, loss)}
        yield f"ddpm of {sizes['pofx']:,}: training step", train, sizes
        mine = lambda ours=ours: ours.sample(32, generator=Streams(0, 32))  # noqa: E731
        draws = {"pofx": drawing(ours, mine), name: drawing(theirs, draw)}
        yield f"ddpm of {sizes['pofx']:,}: 32 samples, DDIM, {STEPS} steps", draws, sizes


def _lucidrains(x):
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet, denoising_diffusion_pytorch

    denoising_diffusion_pytorch.tqdm = partial(denoising_diffusion_pytorch.tqdm, disable=True)  # a bar per draw
    net = Unet(32, dim_mults=(1, 2), channels=1, flash_attn=False)
    whole = GaussianDiffusion(net, image_size=16, timesteps=1000, sampling_timesteps=STEPS)
    return "denoising-diffusion-pytorch", 40, whole, lambda: whole(x / 2 + 0.5), lambda: whole.sample(batch_size=32)


def _diffusers(x):
    from diffusers import DDIMScheduler, UNet2DModel

    net = UNet2DModel(
        sample_size=16, in_channels=1, out_channels=1, layers_per_block=2, block_out_channels=(44, 88),
        norm_num_groups=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(STEPS)

    def loss():
        noise, t = torch.randn_like(x), torch.randint(1000, (len(x),))
        return nn.functional.mse_loss(net(scheduler.add_noise(x, noise, t), t).sample, noise)

    def draw():
        y = torch.randn_like(x)
        for t in scheduler.timesteps:
            y = scheduler.step(net(y, t).sample, t, y).prev_sample
        return y

    return "diffusers", 64, net, loss, draw


CONTESTS = {"flows": of_flows, "vae": of_vaes, "tokens": of_tokens, "diffusion": of_diffusion}
