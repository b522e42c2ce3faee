"""Laws of quantised autoencoders: codes and vectors agree, gradients pass, dead codes are revived, pairs are bounds."""

import math

import numpy as np
import pytest
import torch

import pofx
from pofx.core.event import Discrete
from pofx.core.model import Batch, Density
from pofx.core.random import Streams
from pofx.families.vae.code_law import code_law, drawn
from pofx.families.vae.quantised import QuantisedVAE
from pofx.nets.vector.quantiser import DECAY, LEAST_USE, Codebook, FiniteScalar, Signs, rotated

SMALL = {"width": 16, "features": 4, "codes": 16, "levels": [3, 3], "halvings": 1}


@pytest.mark.parametrize("quantiser", [Codebook(16, 3), FiniteScalar([5, 4, 3]), Signs(4)])
def test_the_number_of_a_code_gives_the_vector_that_the_decoder_saw(quantiser):
    torch.manual_seed(0)
    e = torch.randn(500, quantiser.features, requires_grad=True)
    q, index = quantiser(e)
    assert torch.allclose(quantiser.vector(index), q, atol=1e-6)
    assert index.min() >= 0 and index.max() < quantiser.codes
    every = torch.arange(quantiser.codes)
    q.sum().backward()
    assert torch.isfinite(e.grad).all() and float(e.grad.abs().sum()) > 0
    if not isinstance(quantiser, Codebook):  # every number is its own vector
        assert len(quantiser.vector(every).unique(dim=0)) == quantiser.codes


def test_normal_outputs_use_the_bins_of_a_finite_scalar_alike():
    torch.manual_seed(0)
    _, index = FiniteScalar([8])(torch.randn(40_000, 1))
    share = torch.bincount(index, minlength=8) / 40_000
    assert float(share.min()) > 0.09 and float(share.max()) < 0.16


def test_the_rotation_is_the_code_forwards_and_orthogonal_backwards():
    torch.manual_seed(0)
    e, q = torch.randn(7, 5, dtype=torch.float64, requires_grad=True), torch.randn(7, 5, dtype=torch.float64)
    out = rotated(e, q)
    assert torch.allclose(out, q)
    jacobian = torch.autograd.functional.jacobian(lambda v: rotated(v[None], q[:1])[0], e[0].detach())
    scale = q[0].norm() / e[0].norm()
    assert torch.allclose(jacobian @ jacobian.T, scale**2 * torch.eye(5, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(jacobian @ e[0].detach(), q[0], atol=1e-9)


def test_codes_follow_what_is_assigned_to_them_and_dead_ones_live_on():
    torch.manual_seed(0)
    book = Codebook(4, 2)
    book.vectors.copy_(torch.tensor([[0.0, 0.0], [100, 100], [200, 200], [300, 300]]))
    book.sums.copy_(book.vectors)
    e = torch.randn(256, 2)
    needed = int(np.log(LEAST_USE) / np.log(DECAY)) + 60
    for step in range(needed + 200):
        book.follow(e, book(e)[1], step)
    _, index = book(e)
    uses = torch.bincount(index, minlength=4)
    assert (uses > 0).all(), "every code is used again, and survives the averages after its revival"
    centres = torch.stack([e[index == k].mean(0) for k in range(4)])
    assert torch.allclose(centres, book.vectors, atol=0.2)


@pytest.mark.parametrize("quantiser", ["vq", "fsq", "lfq"])
def test_evaluation_moves_nothing_and_encoding_is_deterministic(quantiser):
    torch.manual_seed(0)
    model = QuantisedVAE(Discrete((1, 6, 5), 4), quantiser=quantiser, **SMALL)
    x = torch.randint(4, (32, 1, 6, 5))
    model.prepare(lambda n: Batch(x))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.eval()
    z = model.encode(x)
    assert torch.equal(z, model.encode(x)) and z.shape == (32, 1, 3, 3) and z.dtype is torch.int64
    model.log_prob(x)
    model.loss(Batch(x))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.decode(z).shape == x.shape


def test_a_prior_of_codes_makes_one_artifact_with_a_bound(tmp_path):
    rng = np.random.default_rng(0)
    images = pofx.images((rng.random((300, 6, 6)) < 0.3).astype(np.uint8).repeat(2, 1).repeat(2, 2), levels=2)
    first = tmp_path / "first"
    vq = pofx.fit(images, "vq-vae", steps=30, out=first, progress=False, options=SMALL, trainer={"batch_size": 64})
    assert vq.density is Density.BOUND and {"code_usage", "perplexity"} <= set(vq.model.telemetry())
    pair = pofx.fit(
        images, "gpt", steps=5, on=first, out=tmp_path / "pair", progress=False, trainer={"batch_size": 64},
        options={"width": 16},
    )  # fmt: skip
    assert pair.model.event == vq.model.code and pair.density is Density.BOUND
    again = pofx.load(tmp_path / "pair")
    assert np.array_equal(again.sample(4, seed=2), pair.sample(4, seed=2)) and pair.sample(4).shape == (4, 12, 12)
    scores = again.score(images.values[:8])
    assert scores.density is Density.BOUND and scores.unit == "nats" and scores.evaluations == 1
    given = vq.model.weigh_code(torch.from_numpy(images.values[:8])[:, None].long(), generator=Streams(0, 8))
    with torch.no_grad():
        expected = given[1] + pair.model.log_prob(given[0])
    assert np.allclose(scores.value, expected.detach().double(), atol=1e-3)


TWO = {**SMALL, "scales": 2}


@pytest.mark.parametrize("quantiser", ["vq", "fsq"])
def test_two_scales_are_one_row_of_codes_and_the_fine_ones_depend_on_the_coarse(quantiser):
    torch.manual_seed(0)
    m = QuantisedVAE(Discrete((1, 10, 7), 4), quantiser=quantiser, **TWO)
    x = torch.randint(4, (64, 1, 10, 7))
    m.prepare(lambda n: Batch(x))
    coarse = m.above.coarse_places
    assert m.code.shape == (coarse + 5 * 4,) and coarse == 3 * 2
    z = m.eval().encode(x)
    assert torch.allclose(m.given(z, None), m.outputs(m.quantised(x, None)[1], None), atol=1e-5)
    other = z.clone()
    other[:, :coarse] = (other[:, :coarse] + 1) % m.code.largest
    assert not torch.allclose(m.given(other, None), m.given(z, None))
    sum(m.train().loss(Batch(x)).values()).backward()
    assert all(p.grad is not None for p in m.above.parameters())
    m.advance({})
    assert m.sample(3, generator=Streams(0, 3)).shape == (3, 1, 10, 7)


TINY = {"features": 2, "groups": 2, "width": 8, "depth": 1, "codes": 4, "levels": [2, 2], "halvings": 1}


@torch.no_grad()
@pytest.mark.parametrize("quantiser", ["vq", "fsq", "lfq"])
@pytest.mark.parametrize("shape", [(3,), (1, 3, 2)])
@pytest.mark.parametrize("scales", [1, 2])
def test_importance_samples_raise_the_bound_of_a_code_to_the_sum_over_all_codes(quantiser, shape, scales):
    """The truth by enumeration of every code of x."""
    if scales == 2 and len(shape) == 1:
        return
    torch.manual_seed(0)
    m = QuantisedVAE(Discrete(shape, 2), Discrete((), 2), quantiser=quantiser, scales=scales, **TINY)
    x, y = torch.randint(2, (5, *shape)), torch.randint(2, (5,))
    m.prepare(lambda n: Batch(x, y))
    m.eval().frequencies.copy_(torch.rand(m.frequencies.shape).softmax(-1))
    places = math.prod(m.places)
    every = torch.cartesian_prod(*[torch.arange(m.code.largest)] * places).reshape(-1, places)
    exact = m._joint(x, y, every[None].expand(5, -1, -1)).logsumexp(1)
    law = m._log_near(x, y, every[None].expand(5, -1, -1))
    assert torch.allclose(law.exp().sum(1), torch.ones(5), atol=1e-4)
    plain, error = m.log_prob_estimate(x, y)
    assert error is None and bool((plain <= exact + 1e-4).all())
    m.importance = 3000
    bound, error = m.log_prob_estimate(x, y)
    assert bool(((bound - exact).abs() < 4 * error + 1e-3).all()) and float((exact - bound).mean()) < 0.1
    weights = m.importance_weights(x, y, particles=3000, generator=Streams(1, 5))
    assert torch.allclose(weights.logsumexp(1) - math.log(3000), exact, atol=0.3)


@torch.no_grad()
def test_about_one_place_of_an_item_leaves_its_nearest_code():
    torch.manual_seed(0)
    for scale in (1e-3, 1.0, 1e3):
        law = code_law(scale * torch.rand(6, 20, 9), torch.randn(20, 9).log_softmax(-1))
        z, log_q = drawn(law, torch.rand(6, 500, 20))
        assert torch.allclose(law.gather(2, z[:, 0, :, None]).sum((1, 2)), log_q[:, 0])
        share = torch.stack([(z == k).float().mean(1) for k in range(9)], -1)
        assert (share - law.exp()).abs().max() < 0.15
        left = 1 - law.exp().amax(-1)
        assert float(left.sum(1).mean()) < 1.2
    certain = code_law(torch.zeros(2, 3, 1), torch.zeros(3, 1))  # a single code
    assert torch.equal(certain, torch.zeros(2, 3, 1))


def test_a_run_of_discrete_codes_states_how_many_importance_samples_count():
    x = (np.random.default_rng(0).random((60, 8, 8)) < 0.3).astype(np.uint8)
    run = pofx.fit(pofx.images(x, levels=2), "vq-vae", steps=3, progress=False, options=SMALL)
    plain, many = run.score(x[:5]), run.score(x[:5], importance=16)
    assert plain.stderr is None and plain.importance == 1 and "importance" not in repr(plain)
    assert many.importance == 16 and many.stderr.shape == many.effective.shape == (5,)
    assert ((many.effective >= 1) & (many.effective <= 16)).all()
    assert (many.value >= plain.value - 1.0).all() and many.value.mean() > plain.value.mean()


def test_codes_that_hardly_occur_are_reported():
    m = QuantisedVAE(Discrete((1, 6, 5), 4), **SMALL)
    assert "quantiser=fsq" in m.health({"code_usage": 0.05, "share": 0.5})["collapse"]
    assert not m.health({"code_usage": 0.9, "share": 0.5}) and not m.health({"code_usage": 0.05, "share": 0.1})
