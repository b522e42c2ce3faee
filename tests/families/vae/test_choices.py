"""Laws of the choices of a variational autoencoder: priors, posteriors, regularisers, estimators, mixed rows, gaps."""

import math

import numpy as np
import pytest
import torch

import pofx
from families.vae.test_vae import linear_gaussian
from pofx.core.config import build
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.vae.collapse import kl_to_margin, usage
from pofx.families.vae.posterior import FamilyPosterior
from pofx.families.vae.prior import FLOWS, PRIORS, prior_of
from pofx.families.vae.regulariser import Regulariser, covariance_distance
from pofx.families.vae.vae import VAE
from pofx.maths.total_correlation import kl_parts, mutual_information, stratified
from truth import grid

MIXED = {"numbers": Continuous((2,)), "kinds": Discrete((2,), (2, 3))}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# the KL term


def test_the_three_parts_of_the_kl_term_add_up_to_it():
    mean, log_std = torch.randn(64, 5).double(), 0.3 * torch.randn(64, 5).double()
    z = mean + log_std.exp() * torch.randn(64, 5).double()
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    log_q = torch.distributions.Normal(mean, log_std.exp()).log_prob(z).sum(1)
    for items in (1, 64, 50_000):
        assert float(sum(kl_parts(z, mean, log_std, log_prior, items))) == pytest.approx(
            float((log_q - log_prior).mean()), abs=1e-4
        )


def test_stratified_weights_add_up_to_one_with_the_own_item_on_the_diagonal():
    weights = stratified(5, 1000).exp()
    assert torch.allclose(weights.sum(1), torch.ones(5).double())
    assert torch.allclose(weights.diagonal(), torch.full((5,), 1e-3).double())
    assert float(stratified(1, 10).exp()) == 1.0


def test_independent_codes_have_no_total_correlation_and_equal_ones_have_much():
    z = torch.randn(600, 2).double()
    flat = torch.full((600, 2), -1.0).double()
    apart = kl_parts(z + flat.exp() * torch.randn(600, 2), z, flat, torch.zeros(600), 10_000)[1]
    same = z[:, :1].expand(-1, 2)
    together = kl_parts(same + flat.exp() * torch.randn(600, 2), same, flat, torch.zeros(600), 10_000)[1]
    assert abs(float(apart)) < 0.15 and float(together) > 0.5


def test_mutual_information_is_that_of_a_gaussian_channel():
    mean = torch.randn(2000, 1).double()
    log_std = torch.full((2000, 1), math.log(0.5)).double()
    z = mean + 0.5 * torch.randn(2000, 1).double()
    assert float(mutual_information(z, mean, log_std)) == pytest.approx(0.5 * math.log(5.0), abs=0.1)
    assert float(kl_to_margin(mean, log_std)[0]) == pytest.approx(0.5 * math.log(5.0), abs=0.05)


def test_covariances_of_standard_normal_codes_are_no_distance_from_the_identity():
    mean, small = torch.randn(50_000, 3), torch.full((50_000, 3), -9.0)
    assert float(covariance_distance("dip-i", mean, small)) < 0.02
    assert float(covariance_distance("dip-ii", 0.6 * mean, torch.full_like(mean, math.log(0.8)))) < 0.02
    assert float(covariance_distance("dip-ii", mean.mean(1, keepdim=True).expand(-1, 3), small)) > 0.5


def test_the_critic_of_codes_finds_their_total_correlation():
    """Of two equal normal codes with noise the total correlation is -log(1 - ρ²) / 2."""
    term, n = Regulariser("factor", 2), 256
    optimiser = torch.optim.Adam(term.parameters(), 3e-3)

    def draw():
        return torch.randn(n, 1) + 0.5 * torch.randn(n, 2)

    for _ in range(80):
        optimiser.zero_grad()
        term.critic_loss(draw()).backward()
        optimiser.step()
    found = float(term(draw(), *[torch.zeros(n, 2)] * 2, torch.zeros(n), torch.zeros(n, 2), n).detach())
    assert found == pytest.approx(-0.5 * math.log(1 - 0.8**2), abs=0.2)


def test_capacity_draws_the_kl_term_to_a_value_and_evaluation_knows_no_beta():
    plain = VAE(Continuous((2,)), **VAE.small, prior="normal")
    heavy = VAE(Continuous((2,)), **VAE.small, prior="normal", beta=10.0, capacity=3.0, capacity_steps=1)
    heavy.load_state_dict(plain.state_dict())
    batch = Batch(torch.randn(64, 2))
    kl = float(plain.loss(batch)["rate"].detach())
    assert float(heavy.loss(batch)["rate"].detach()) == pytest.approx(10 * abs(kl - 3.0), rel=1e-5)
    assert torch.equal(plain.eval().log_prob(batch.x), heavy.eval().log_prob(batch.x))


# estimators


@torch.no_grad()
def test_the_bound_meets_the_exact_density_of_a_linear_gaussian_within_a_hundredth_of_a_nat():
    m, true = linear_gaussian(off=0.2)
    x = true.sample((400,))
    assert abs(float((m.bound(x, None, 1000)[0] - true.log_prob(x)).mean())) < 0.01


def _encoder_gradients(m, x, repeats):
    found = []
    for _ in range(repeats):
        m.zero_grad()
        sum(m.loss(Batch(x)).values()).backward()
        found.append(torch.cat([p.grad.flatten() for p in m.networks.encoder.parameters()]))
    return torch.stack(found)


@pytest.mark.slow
def test_doubly_reparametrised_gradients_have_the_mean_of_the_plain_ones_and_less_variance():
    x = torch.randn(8, 2)
    m = VAE(Continuous((2,)), **{**VAE.small, "width": 8}, particles=8, prior="normal")
    for p in m.parameters():
        torch.nn.init.normal_(p, std=0.15)
    with torch.no_grad():
        m.networks.decoder.last.weight.mul_(5)
    plain = _encoder_gradients(m, x, 120)
    m.estimator = "dreg"
    doubly = _encoder_gradients(m, x, 120)
    error = ((plain.var(0) + doubly.var(0)) / 120).sqrt() + 1e-9
    assert float(((plain.mean(0) - doubly.mean(0)) / error).abs().mean()) < 1.2
    assert float(doubly.var(0).sum()) < 0.7 * float(plain.var(0).sum())


def test_estimators_have_the_same_value():
    x = torch.randn(16, 2)
    m = VAE(Continuous((2,)), **VAE.small, particles=5)
    values = []
    for m.estimator in ("iwae", "dreg"):
        torch.manual_seed(3)
        values.append(float(m.loss(Batch(x))["bound"].detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-4)


# priors and posteriors


def _posterior(seen):
    return seen[:, :2] * 1.5, -0.5 + 0.1 * seen[:, 2:]


SLOW = [pytest.param(k, marks=pytest.mark.slow) if k in FLOWS and k != "nsf-coupling" else k for k in PRIORS]


@pytest.mark.parametrize("kind", SLOW)
@torch.no_grad()
def test_a_prior_integrates_to_one_and_its_draws_follow_it(kind):
    law = prior_of(kind, 2, 4, 2, 3, (4,)).eval()
    for p in law.parameters():
        p.add_((0.03 if kind in FLOWS else 0.15) * torch.randn_like(p))
    context, (points, area) = torch.randn(1, 3), grid(9.0, 121)
    density = law.log_prob(points[None], context, _posterior)[0].double().exp() * area
    assert float(density.sum()) == pytest.approx(1.0, abs=0.02)
    drawn = law.draw(Streams(0, 1000), 1, context.expand(1000, -1), _posterior)[:, 0]
    mean = (density[:, None] * points).sum(0)
    spread = ((density[:, None] * points.square()).sum(0) - mean**2).sqrt()
    assert ((drawn.mean(0) - mean).abs() < 5 * spread / 1000**0.5 + 0.02).all()
    assert ((drawn.std(0) / spread - 1).abs() < 0.12).all()


@torch.no_grad()
def test_vamp_inputs_start_at_training_items():
    m = VAE(Discrete((3,), 3), **VAE.small, prior="vamp")
    x = torch.randint(3, (50, 3))
    m.prepare(lambda n: Batch(x[:n]))
    assert set(map(tuple, m.law.inputs.tolist())) <= set(map(tuple, m.likelihood.seen(x, m.marginals).tolist()))


@pytest.mark.parametrize("kind", ["nsf-coupling", "maf"])
def test_a_posterior_of_the_flow_family_has_its_log_determinant(kind):
    bend = FamilyPosterior(kind, 3, 2).double().eval()
    for p in bend.parameters():
        torch.nn.init.normal_(p, std=0.2)
    z, given = torch.randn(4, 1, 3).double(), torch.randn(4, bend.size).double()
    _, ladj = bend(z, given)
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(
            lambda v, i=i: bend(v[None, None], given[i : i + 1])[0][0, 0], z[i, 0]
        )
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(ladj[i, 0]), abs=1e-4)


def test_options_that_exclude_each_other_are_refused():
    for options in (
        {"particles": 2, "regulariser": "tc"},
        {"estimator": "dreg", "particles": 2, "posterior": "iaf"},
        {"posterior": "iaf", "regulariser": "tc"},
        {"spatial": 1},
    ):
        with pytest.raises(UsageError):
            VAE(Continuous((2,)), **options)


def test_runs_of_earlier_versions_load():
    m = VAE(Discrete((3,), 3), **VAE.small)
    was = {"law.logits": "prior_logits", "law.means": "prior_means", "law.log_stds": "prior_log_stds"}
    weights = {was.get(k, k.removeprefix("networks.")): v for k, v in m.state_dict().items() if k != "items"}
    _, options, found = VAE.upgraded("vae", {"network": "mlp", "prior": 2, "latent": 2}, weights)
    assert (options["prior"], options["prior_parts"]) == ("mixture", 2)
    m.load_state_dict(found)
    assert VAE.upgraded("vae", {"prior": 1}, weights)[1]["prior"] == "normal"


PICTURE = Discrete((1, 9, 9), 2)  # as an event and as a condition


def rank_of_condition(model):
    """The most dimensions that weights of a conditioner have: four of convolutions, two of perceptrons."""
    return max(v.ndim for k, v in model.state_dict().items() if k.startswith("conditioner."))


@pytest.mark.parametrize(
    ("network", "net", "rank"), [("mlp", "auto", 2), ("conv", "auto", 4), ("mlp", "conv", 4), ("conv", "mlp", 2)]
)
def test_the_net_of_a_picture_as_condition_is_chosen_and_trains(network, net, rank):
    m = VAE(PICTURE, PICTURE, **{**VAE.small, "network": network, "condition_net": net})
    assert rank_of_condition(m) == rank
    x = torch.randint(2, (6, 1, 9, 9))
    sum(m.loss(Batch(x, x)).values()).backward()
    grads = [p.grad for k, p in m.named_parameters() if k.startswith("conditioner.")]
    assert any(g is not None and bool((g != 0).any()) for g in grads)
    assert m.sample(3, x[:3], generator=Streams(0, 3)).shape == (3, 1, 9, 9)


def test_a_condition_that_is_no_picture_knows_no_net():
    nets = [VAE(PICTURE, Continuous((3,)), **VAE.small, condition_net=net) for net in ("auto", "mlp", "conv")]
    assert len({tuple(m.state_dict()) for m in nets}) == 1 and rank_of_condition(nets[0]) == 2


def test_runs_saved_before_there_was_a_choice_of_nets_load_as_they_were():
    """Convolutions read every condition that was a picture, and were the net of solids."""
    former = VAE(PICTURE, PICTURE, **VAE.small, condition_net="conv")
    _, options, weights = VAE.upgraded("vae", dict(VAE.small), former.state_dict())
    VAE(PICTURE, PICTURE, **options).load_state_dict(weights)
    solid = Discrete((1, 8, 8, 8), 2)
    assert VAE(solid, **VAE.small).networks.principal is not None
    former = VAE(solid, **VAE.small, network="conv")
    for stated in ({}, {"network": "auto"}):
        _, options, weights = VAE.upgraded("vae", {**VAE.small, **stated}, former.state_dict())
        VAE(solid, **options).load_state_dict(weights)


# a code that is not used


def test_a_collapsed_posterior_is_reported_with_what_mends_it():
    m = build("vae", Continuous((3,)), **VAE.small)
    idle = usage(torch.zeros(64, 2), torch.zeros(64, 2), torch.zeros(2))
    assert idle["active units"] == 0 and abs(idle["mutual information"]) < 1e-4
    found = m.health({**idle, "share": 0.5})
    assert "free_bits" in found["collapse"] and "0 of 2" in found["collapse"]
    assert not m.health({**idle, "share": 0.1})
    busy = usage(torch.randn(64, 2), torch.full((64, 2), -1.0), torch.ones(2))
    assert busy["active units"] == 2 and not any(m.health({**busy, "share": 1.0}).values())


def test_telemetry_is_of_the_last_batch_of_training():
    m = VAE(Continuous((2,)), **VAE.small)
    assert not m.eval().telemetry()
    m.train().loss(Batch(torch.randn(32, 2)))
    assert {"active units", "KL", "mutual information"} <= set(m.telemetry())


# scores


def test_a_score_states_its_importance_samples_and_how_many_count():
    run = pofx.fit("moons", "vae", steps=2, width=32, depth=1, progress=False)
    x = run.sample(4)
    few, many = run.score(x, importance=4), run.score(x, importance=64)
    assert (few.importance, many.importance) == (4, 64)
    assert few.effective.shape == (4,) and (few.effective >= 1).all() and (few.effective <= 4).all()
    assert "64 importance samples" in repr(many)
    assert np.array_equal(run.log_prob(x, importance=64), many.value)
    exact = pofx.fit("moons", "gmm", steps=1, progress=False)
    assert exact.score(exact.sample(2)).effective is None
    with pytest.raises(Unsupported, match="importance"):
        exact.score(exact.sample(2), importance=5)


# mixed rows, and rows with gaps


def _mixed(n):
    kinds = torch.stack((torch.randint(2, (n,)), torch.randint(3, (n,))), 1)
    numbers = torch.randn(n, 2) * 0.3 + torch.stack((2.0 * kinds[:, 0] - 1, kinds[:, 1] - 1.0), 1)
    return {"numbers": numbers, "kinds": kinds}


def _trained(m, x, steps=150, lr=1e-2):
    m.prepare(lambda n: Batch(x))
    optimiser, n = torch.optim.Adam(m.parameters(), lr), len(next(iter(x.values())) if isinstance(x, dict) else x)
    for _ in range(steps):
        pick = torch.randint(n, (128,))
        part = {k: v[pick] for k, v in x.items()} if isinstance(x, dict) else x[pick]
        optimiser.zero_grad()
        sum(m.loss(Batch(part)).values()).backward()
        optimiser.step()
    return m.eval()


def test_mixed_rows_have_a_density_over_numbers_and_kinds_and_draws_that_follow_it():
    m = _trained(VAE(MIXED, **VAE.small), _mixed(2000))
    points, area = grid(4.0, 25)
    with torch.no_grad():
        cells = []
        for a in range(2):
            for b in range(3):
                kinds = torch.tensor([[a, b]]).expand(len(points), -1)
                cells.append(float((m.log_prob({"numbers": points, "kinds": kinds}).exp() * area).sum()))
        assert sum(cells) == pytest.approx(1.0, abs=0.08)
        assert max(abs(c - 1 / 6) for c in cells) < 0.08
        x = m.sample(1500, generator=Streams(0, 1500))
    assert (x["kinds"] < torch.tensor([2, 3])).all()
    assert abs(float(x["numbers"][x["kinds"][:, 0] == 1, 0].mean()) - 1.0) < 0.35
    z = m.encode(x)
    again = m.decode(z)
    assert again["numbers"].shape == (1500, 2) and again["kinds"].dtype == torch.int64


@torch.no_grad()
def test_gaps_are_filled_as_the_model_s_own_density_has_it():
    """Three binary dimensions: draws given the first follow the conditional from the model's table."""
    with torch.enable_grad():
        draw = torch.randint(2, (2000, 1)).expand(-1, 3)
        x = torch.where(torch.rand(2000, 3) < 0.15, 1 - draw, draw)
        m = _trained(VAE(Discrete((3,), 2), **{**VAE.small, "importance": 4000}), x)
    every = torch.cartesian_prod(*[torch.arange(2)] * 3)
    p = m.log_prob(every).double().exp()
    n = 4000
    for value in (0, 1):
        given = torch.full((n, 3), value)
        known = torch.tensor([True, False, False]).expand(n, -1)
        filled = m.complete(given, known, generator=Streams(1, n))
        assert (filled[:, 0] == value).all()
        ours = torch.bincount(2 * filled[:, 1] + filled[:, 2], minlength=4) / n
        theirs = p[every[:, 0] == value] / p[every[:, 0] == value].sum()
        assert float((ours - theirs).abs().sum()) < 0.08
