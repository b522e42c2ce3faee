"""Laws of what is added to the likelihood of an autoencoder: critics of decoded items, and spatial codes that turn."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.vae.adversary import Adversary
from pofx.families.vae.equivariance import CHANGES, equivariance
from pofx.families.vae.observation import observation_model
from pofx.families.vae.quantised import QuantisedVAE
from pofx.families.vae.vae import VAE

SPATIAL = {"latent": 2, "width": 16, "spatial": 1, "dropout": 0.0, "importance": 8, "prior": "normal"}


def some(event, n):
    whole = isinstance(event, Discrete)
    return torch.randint(event.largest, (n, *event.shape)) if whole else torch.randn(n, *event.shape)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("event", [Discrete((1, 6, 6), 4), Discrete((3,), 3), Continuous((1, 6, 6)), Continuous((2,))])
def test_the_critic_pulls_at_the_decoder_as_its_weight_has_it(event):
    m = VAE(event, latent=2, width=16, depth=1, dropout=0.0, adversary=0.5, prior="normal")
    x = (
        torch.randint(event.classes, (16, *event.shape))
        if isinstance(event, Discrete)
        else torch.randn(16, *event.shape)
    )
    m.prepare(lambda n: Batch(x))
    last, slopes = m.networks.decoder.last.weight, []
    for part in ("distortion", "adversary"):
        torch.manual_seed(1)
        slopes.append(torch.autograd.grad(m.loss(Batch(x))[part], last)[0].norm())
    assert float(slopes[1] / slopes[0]) == pytest.approx(0.5, rel=0.02)
    assert [phase.name for phase in m.phases()] == ["model", "duel"]


def test_a_critic_learns_to_separate_blurred_items_from_real_ones():
    event = Continuous((1, 8, 8))
    critic, optimiser = (c := Adversary(event, 64)), torch.optim.Adam(c.parameters(), 3e-3)
    for _ in range(25):
        real = torch.randn(16, 1, 8, 8)
        fake = torch.nn.functional.avg_pool2d(real, 3, stride=1, padding=1)
        optimiser.zero_grad()
        loss = critic.critic_loss(real, fake)
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1.0  # 2 where it knows nothing


@pytest.mark.parametrize("event", [Discrete((2, 3), 4), Discrete((1, 2, 2), 16), Continuous((3,))])
def test_the_mean_that_a_critic_sees_is_that_of_draws(event):
    likelihood = observation_model(event, "auto", 2)
    raw = 0.3 * torch.randn(1, *likelihood.numbers)
    n = 20_000
    drawn = likelihood.draw(raw.expand(n, *likelihood.numbers), Streams(0, n))
    mean = likelihood.plain(drawn).mean(0)
    assert torch.allclose(likelihood.expected(raw)[0], mean, atol=0.35 if event.shape == (1, 2, 2) else 0.05)


@pytest.mark.parametrize("event", [Discrete((1, 7, 7), 4), Continuous((2, 7, 7)), Discrete((1, 6, 9), 4)])
def test_spatial_codes_keep_their_places_and_carry_the_density(event):
    m = VAE(event, **SPATIAL, equivariance=0.5).eval()
    x = some(event, 5)
    z, log_w = m.weigh_code(x, generator=Streams(0, 5))
    assert tuple(z.shape[1:]) == m.code.shape == (2, -(-event.shape[1] // 2), -(-event.shape[2] // 2))
    assert m.decode(z).shape == x.shape and m.draw_given(z, generator=Streams(1, 5)).shape == x.shape
    whole = m.importance_weights(x, particles=1, generator=Streams(0, 5))[:, 0]
    assert torch.allclose(whole, log_w + m.log_prior(z.flatten(1)[:, None])[:, 0], atol=1e-3)
    sum(m.train().loss(Batch(x)).values()).backward()


def test_a_decoder_of_the_same_numbers_everywhere_is_equivariant(monkeypatch):
    m = VAE(Discrete((1, 7, 7), 4), **SPATIAL).eval()
    x, z = torch.randint(4, (6, 1, 7, 7)), torch.randn(6, m.size)
    with torch.no_grad():
        m.networks.decoder.last.weight.zero_()
        m.networks.decoder.last.bias.zero_()
        plain = -float(m.likelihood.log_prob(m.outputs(z), x).mean())
        for turn in range(len(CHANGES)):
            monkeypatch.setattr(torch, "randint", lambda *a, turn=turn, **k: torch.tensor(turn))
            found = float(equivariance(m, z, x, None))
            assert found == pytest.approx(plain, rel=1e-4), CHANGES[turn]


def test_impossible_terms_are_refused():
    with pytest.raises(UsageError, match="spatial"):
        VAE(Discrete((1, 7, 7), 4), equivariance=1.0)
    with pytest.raises(UsageError, match="particles"):
        VAE(Continuous((2,)), adversary=1.0, particles=4)


def test_a_quantised_autoencoder_has_the_same_critic():
    m = QuantisedVAE(Discrete((1, 6, 6), 4), width=16, features=4, codes=16, halvings=1, adversary=0.5)
    batch = Batch(torch.randint(4, (8, 1, 6, 6)))
    m.prepare(lambda n: batch)
    assert "adversary" in m.loss(batch) and torch.isfinite(m.duel_loss(batch))
