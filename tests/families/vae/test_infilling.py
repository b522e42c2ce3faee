"""Any dimensions given any others by autoencoders of every kind, against sums over all codes or many of the prior."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.errors import Unsupported
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.families.vae import infilling
from pofx.families.vae.hierarchical import HVAE
from pofx.families.vae.quantised import QuantisedVAE

EVERY = torch.tensor([[[a, b], [c, d]] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])[:, None]


def made(kind):
    torch.manual_seed(0)
    model = kind(Discrete((1, 2, 2), 2), **{**kind.small, "importance": 200})
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim > 1:  # codes that matter
                p.mul_(2.5 * (5 if "decoder" in name or name.startswith("last") else 1))
    return model.eval()


@pytest.mark.parametrize("kind", [HVAE, QuantisedVAE])
def test_conditionals_and_marginals_are_those_of_the_codes_summed_out(kind, monkeypatch):
    monkeypatch.setattr(infilling, "ROUNDS", 10)
    model = made(kind)
    with torch.no_grad():
        if kind is QuantisedVAE:  # one place: every code
            z = torch.arange(model.quantise.codes).reshape(1, -1, 1)
            log_p = model.log_prior(z)
        else:
            z = model.draw_prior(1, Streams(0, 1), 800)
            log_p = torch.full((1, 800), -math.log(800))
        p = torch.stack([(model.log_likelihood(x[None], None, z) + log_p).logsumexp(1) for x in EVERY]).exp()[:, 0]
        assert float(p.sum()) == pytest.approx(1.0, abs=1e-3)
        known = torch.tensor([[True, False], [False, True]]).expand(1, 1, 2, 2)
        x = torch.tensor([[[[1, 0], [0, 0]]]])
        alike = (EVERY[:, 0, 0, 0] == 1) & (EVERY[:, 0, 1, 1] == 0)
        exact = float(p[alike].sum().log())
        assert float(model.log_marginal(x, known)) == pytest.approx(exact, abs=0.1)
        n, tolerance = (200, 0.12) if kind is HVAE else (600, 0.08)
        drawn = model.complete(x.expand(n, -1, -1, -1), known.expand(n, -1, -1, -1), generator=Streams(1, n))
    assert bool(((drawn == x) | ~known).all())
    assert float((p[alike] / p[alike].sum() - p.reshape(2, 4, 2).sum((0, 2))).abs().sum()) / 2 > 0.04  # it matters
    often = torch.bincount(2 * drawn[:, 0, 0, 1] + drawn[:, 0, 1, 0], minlength=4) / n
    assert float((often - p[alike] / p[alike].sum()).abs().sum()) / 2 < tolerance


def test_a_quantised_autoencoder_takes_pictures_with_gaps():
    x = np.random.default_rng(0).integers(0, 2, (40, 4, 4), dtype=np.uint8)
    small = {"width": 8, "levels": [3, 2], "halvings": 1, "importance": 4}
    run = pofx.fit(pofx.images(x, levels=2), "fsq", steps=2, progress=False, options=small)
    gap = x[:3].astype(float)
    gap[:, 1:] = np.nan
    drawn = run.sample(3, given=gap)
    assert (drawn[:, :1] == x[:3, :1]).all() and np.isfinite(run.log_prob(gap)).all()
    assert (run.sample(3, given=gap, batch_size=1) == drawn).all()


@pytest.mark.parametrize("name", ["gpt", "masked-diffusion"])
def test_models_of_codes_draw_the_codes_of_partly_known_pictures(name):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (2, 4, 4), dtype=np.uint8)[rng.integers(0, 2, 200)]  # one of two pictures
    small = {"width": 16, "levels": [2, 2], "halvings": 1}
    first = pofx.fit(pofx.images(x, levels=2), "fsq", steps=25, progress=False, options=small)
    tiny = {"gpt": {"width": 16, "layers": 1, "heads": 2}, "masked-diffusion": {"width": 32, "layers": 1}}[name]
    run = pofx.fit(pofx.images(x, levels=2), name, on=first, steps=25, progress=False, options=tiny)
    gap = x[:1].astype(float)
    gap[:, 1:] = np.nan
    drawn = run.sample(150, given=gap)
    assert (drawn[:, :1] == x[:1, :1]).all()
    every = torch.cartesian_prod(*[torch.arange(4)] * 4).reshape(-1, 1, 2, 2)
    event, known = torch.from_numpy(x[:1, None].astype(np.int64)), torch.from_numpy(np.isfinite(gap))[:, None]
    with torch.no_grad():
        likely = first.model.log_given(event.expand(256, -1, -1, -1), every, known=known.expand(256, -1, -1, -1))
        weights = (run.model.log_prob(every) + likely).softmax(0)
        mean = (
            (weights[:, None] * first.model.likelihood.mean(first.model.given(every, None)).flatten(1))
            .sum(0)
            .reshape(4, 4)
            .numpy()
        )
    assert np.abs(drawn[:, 1:].mean(0) - mean[1:]).mean() < 0.06
    if name == "gpt":
        assert (
            pofx.edit(run, x[:4], mask=np.isnan(gap[0])) == run.sample(4, given=np.where(np.isnan(gap), gap, x[:4]))
        ).all()
        latent = pofx.fit(pofx.images(x, levels=2), "vae", steps=2, progress=False, options={"width": 16, "latent": 2})
        with pytest.raises(Unsupported, match="model of discrete codes"):
            pofx.fit(pofx.images(x, levels=2), "gmm", on=latent, progress=False).sample(2, given=gap)
