"""Any conditional recipe draws what it was asked for after few steps, and its critic learns to tell classes apart."""

import pytest
import torch

from pofx.core.config import build
from pofx.core.event import Bounded, Discrete
from pofx.core.model import Batch
from pofx.families.gan.gan import GAN

RECIPES = {recipe.name: recipe for recipe in GAN.recipes if recipe.name not in ("pix2pix", "wavegan")}
SLOW = ("wgan", "sngan", "sagan", "biggan", "stylegan", "progan")
STEPS = {
    "stylegan2": 50,
    "lsgan": 100,
    "wgan": 200,
    "sngan": 150,
    "sagan": 150,
    "biggan": 150,
    "progan": 200,
}  # where they are not 60
WIDTH = {"sngan": 48, "progan": 32}
SIDE = 8


def squares(n):
    """Noisy pictures with a bright square in the left half (class 0) or the right one (class 1)."""
    y = torch.arange(n) % 2
    x = 0.2 * torch.randn(n, 1, SIDE, SIDE) - 0.6
    for k, top in enumerate(torch.randint(SIDE - 3, (n,)).tolist()):
        x[k, 0, top : top + 3, int(y[k]) * 4 : int(y[k]) * 4 + 3] += 1.2
    return x.clamp(-1, 1), y


def side(x):
    return (x[:, 0, :, 4:].mean((1, 2)) > x[:, 0, :, :4].mean((1, 2))).long()


def made(name):
    torch.manual_seed(0)
    return build(name, Bounded((1, SIDE, SIDE)), Discrete((), 2), width=WIDTH.get(name, 16), latent=8,
                 inversion="optimisation", **({"growth": 0} if name == "progan" else {}))  # fmt: skip


def trained(name, steps):
    gan, options = made(name), {**GAN.trains_with, **(RECIPES[name].trains_with or {})}
    x, y = squares(400)
    assert (side(x) == y).all()
    optimisers = {}
    for step in range(steps):
        chosen = torch.randint(len(x), (16,))
        for phase in gan.phases():
            if step % phase.every == 0:
                for p in gan.parameters():
                    p.requires_grad_(False)
                for p in phase.parameters:
                    p.requires_grad_(True)
                key = phase.parameters[0]
                if key not in optimisers:
                    optimisers[key] = torch.optim.Adam(
                        phase.parameters, lr=options["lr"] * phase.rate, betas=options["betas"]
                    )
                optimisers[key].zero_grad()
                loss = gan(phase.name, Batch(x[chosen], y[chosen]))
                (sum(loss.values()) if isinstance(loss, dict) else loss).backward()
                optimisers[key].step()
    gan.eval()
    with torch.no_grad():
        right = gan.critic(x[:200], y[:200]) > gan.critic(x[:200], 1 - y[:200])
    return gan, float(right.float().mean())


def marks(name):
    return [pytest.mark.slow] * (name in SLOW)


@pytest.mark.parametrize("name", [pytest.param(n, marks=marks(n)) for n in RECIPES])
def test_samples_are_of_the_class_that_was_asked_for(name):
    gan, right = trained(name, STEPS.get(name, 60))
    asked = torch.arange(200) % 2
    with torch.no_grad():
        drawn = gan.generator(torch.randn(200, gan.generator.inputs), asked)
    assert float((side(drawn) == asked).float().mean()) > 0.75 and right > 0.75


def test_a_critic_with_spectral_norms_learns_classes_in_few_steps():
    """Its features have a mean twenty times as large as their spread: where they were not centred it learned none."""
    assert trained("sngan", 50)[1] > 0.9


@pytest.mark.parametrize("name", RECIPES)
def test_a_class_matters_to_the_generator_as_noise_does_and_reaches_the_critic_at_once(name):
    gan = made(name)
    z, y = torch.randn(60, gan.generator.inputs), torch.arange(60) % 2
    with torch.no_grad():
        by_noise = gan.generator(z, y[:1].expand(60)).var(0).mean()
        by_class = gan.generator(z[:1].expand(60, -1), y).var(0).mean()
    assert 0.05 < float(by_class / by_noise) < 20
    x, y = squares(32)
    loss = gan("critic", Batch(x, y))
    sum(loss.values()).backward()
    own = gan.critic.embed.table.weight.grad
    assert float(own.abs().max()) > 0 and float((own == 0).float().mean()) < 0.5


def test_features_behind_spectral_norms_are_centred():
    gan = made("sngan")
    x, _ = squares(200)
    for _ in range(60):
        gan.critic.phi(x)
    gan.eval()
    phi = gan.critic.phi(x)
    assert float(phi.mean(0).norm()) < 0.1 * float(phi.std(0).norm())
    torch.testing.assert_close(gan.critic.phi(x[:3]), phi[:3])
