"""Any dimensions given any others by autoencoders of every kind, against sums over all codes or many of the prior."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Discrete
from pofx.core.random import Streams
from pofx.families.vae.hierarchical import HVAE
from pofx.families.vae.quantised import QuantisedVAE
from pofx.families.vae.vae import VAE

EVERY = torch.tensor([[[a, b], [c, d]] for a in (0, 1) for b in (0, 1) for c in (0, 1) for d in (0, 1)])[:, None]


def made(kind):
    torch.manual_seed(0)
    model = kind(Discrete((1, 2, 2), 2), **{**kind.small, "importance": 600})
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(2.5)  # codes that matter
    return model.eval()


@pytest.mark.parametrize("kind", [VAE, HVAE, QuantisedVAE])
def test_conditionals_and_marginals_are_those_of_the_codes_summed_out(kind):
    model = made(kind)
    with torch.no_grad():
        if kind is QuantisedVAE:  # one place: every code
            z = torch.arange(model.quantise.codes).reshape(1, -1, 1)
            log_p = model.log_prior(z)
        else:
            z = model.draw_prior(1, Streams(0, 1), 6000)
            log_p = torch.full((1, 6000), -math.log(6000))
        p = torch.stack([(model.log_likelihood(x[None], None, z) + log_p).logsumexp(1) for x in EVERY]).exp()[:, 0]
        assert float(p.sum()) == pytest.approx(1.0, abs=1e-3)
        known = torch.tensor([[True, False], [False, True]]).expand(1, 1, 2, 2)
        x = torch.tensor([[[[1, 0], [0, 0]]]])
        alike = (EVERY[:, 0, 0, 0] == 1) & (EVERY[:, 0, 1, 1] == 0)
        exact = float(p[alike].sum().log())
        assert float(model.log_marginal(x, known)) == pytest.approx(exact, abs=0.05)
        n = 1500
        drawn = model.complete(x.expand(n, -1, -1, -1), known.expand(n, -1, -1, -1), generator=Streams(1, n))
    assert bool(((drawn == x) | ~known).all())
    often = torch.bincount(2 * drawn[:, 0, 0, 1] + drawn[:, 0, 1, 0], minlength=4) / n
    assert float((often - p[alike] / p[alike].sum()).abs().sum()) / 2 < 0.05


@pytest.mark.parametrize("model", ["hvae", "fsq"])
def test_autoencoders_of_every_kind_take_pictures_with_gaps(model):
    x = np.random.default_rng(0).integers(0, 2, (40, 4, 4), dtype=np.uint8)
    small = {"hvae": {"width": 16, "stem": 1, "halvings": 1}, "fsq": {"width": 8, "levels": [3, 2]}}[model]
    run = pofx.fit(pofx.images(x, levels=2), model, steps=2, progress=False, options={**small, "importance": 4})
    gap = x[:3].astype(float)
    gap[:, 1:] = np.nan
    drawn = run.sample(3, given=gap)
    assert (drawn[:, :1] == x[:3, :1]).all() and np.isfinite(run.log_prob(gap)).all()
    assert (run.sample(3, given=gap, batch_size=1) == drawn).all()
    edited = pofx.edit(run, x[:3], mask=np.isnan(gap[0]))
    assert (edited[:, :1] == x[:3, :1]).all()


def test_models_of_codes_complete_pictures(recwarn):
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2, (300, 1, 1))
    x = np.broadcast_to(np.where(np.arange(8) < 4, left, left), (300, 4, 8)).astype(
        np.uint8
    )  # all of it black or white
    first = pofx.fit(
        pofx.images(x, levels=2), "vq-vae", steps=60, progress=False, options={"width": 8, "codes": 4, "features": 2}
    )
    gap = x[:12].astype(float)
    gap[:, :, 4:] = np.nan
    small = {
        "gpt": {"width": 16, "layers": 1, "heads": 2},
        "masked-diffusion": {"width": 32, "layers": 1, "network": "transformer"},
    }
    for model, options in small.items():
        run = pofx.fit(pofx.images(x, levels=2), model, on=first, steps=80, progress=False, options=options)
        drawn = run.sample(12, given=gap)
        assert (drawn[:, :, :4] == x[:12, :, :4]).all()
        assert (drawn == x[:12]).mean() > 0.9
        assert (pofx.edit(run, x[:4], mask=np.isnan(gap[0])) == run.sample(4, given=gap[:4])).all()
