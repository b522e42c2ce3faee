"""Densities known up to their constant: gradients, weights against closed forms, refinement, and what is refused."""

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch

import pofx
from pofx.core import config
from pofx.core.errors import DataError, TrainingError, Unsupported, UsageError
from pofx.core.event import Continuous
from pofx.core.model import Batch, Reparameterised
from pofx.core.random import Streams
from pofx.maths.annealing import _planned, anneal, log_mean_weight, standard_normal
from pofx.maths.basins import basins
from pofx.maths.hamiltonian import hamiltonian_move
from pofx.maths.importance import effective_share, generalised_pareto_shape, pareto_shape, truncated
from pofx.runs.scouts import scouted
from pofx.runs.target import CLIFF, HOTTEST, ReverseKL, damped
from pofx.runs.weighing import ImportanceSampler, WeightedDraws
from pofx.train.options import Budget

COVARIANCE, MEAN = torch.tensor([[1.0, 0.8], [0.8, 2.0]]), torch.tensor([1.0, -2.0])
LOG_Z = 3 + math.log(2 * math.pi) + 0.5 * math.log(float(COVARIANCE.det()))
FAST = {"steps": 120, "layers": 2, "width": 16, "progress": False, "batch_size": 128, "lr": 5e-3}


def gaussian(x):
    d = x - MEAN
    return 3 - 0.5 * (d @ torch.linalg.inv(COVARIANCE) * d).sum(1)


pytestmark = pytest.mark.filterwarnings("ignore:the weights are heavy-tailed:RuntimeWarning")  # of short fits


@pytest.fixture(scope="module")
def fitted() -> ImportanceSampler:
    return pofx.fit_density(gaussian, 2, **FAST)


# --- weights


def test_effective_share_of_known_weights():
    assert effective_share(torch.zeros(50)) == pytest.approx(1)
    assert effective_share(torch.tensor([0.0, -1e3, -1e3, -1e3])) == pytest.approx(0.25)
    w = torch.tensor([1.0, 2, 3])
    assert effective_share(w.log() + 700) == pytest.approx(36 / (3 * 14), rel=1e-4)


@pytest.mark.parametrize("k", [0.1, 0.5, 1.0])
def test_pareto_shapes_are_found(k):
    x = scipy.stats.genpareto.rvs(k, scale=2.0, size=4000, random_state=1)
    assert generalised_pareto_shape(torch.from_numpy(np.sort(x))) == pytest.approx(k, abs=0.1)
    heavy = scipy.stats.pareto.rvs(1 / k, size=20_000, random_state=2)  # its tail has the shape k
    assert pareto_shape(torch.from_numpy(np.log(heavy))) == pytest.approx(k, abs=0.15)
    assert pareto_shape(torch.from_numpy(np.log(heavy)) - 1e4) == pytest.approx(
        pareto_shape(torch.from_numpy(np.log(heavy))), abs=1e-3
    )


def test_weights_that_are_alike_have_no_tail():
    assert pareto_shape(torch.zeros(1000)) == -math.inf and math.isnan(pareto_shape(torch.zeros(5)))


def test_weighted_draws_give_expectations_and_resamples():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 1))
    draws = WeightedDraws(x, x[:, 0] - 0.5)  # N(1, 1) over N(0, 1), normalised
    mean, error = draws.expectation(lambda v: v)
    assert abs(mean[0] - 1) < 4 * error[0] and 0.005 < error[0] < 0.05
    assert abs(draws.log_z[0]) < 4 * draws.log_z[1] and draws.ess == pytest.approx(math.exp(-1), abs=0.03)
    again = draws.resample(5000, seed=1)
    assert again.mean() == pytest.approx(1, abs=0.06) and again.std() == pytest.approx(1, abs=0.06)
    assert np.array_equal(again, draws.resample(5000, seed=1))
    assert "log Z" in str(draws)


# --- Monte Carlo moves


def test_hamiltonian_moves_leave_the_density_and_know_only_their_own_stream():
    n = 4000
    start = torch.linalg.cholesky(COVARIANCE) @ Streams(0, n).normal(2).T + MEAN[:, None]
    x, streams = start.T.contiguous(), Streams(1, n)
    for _ in range(5):
        x, moved = hamiltonian_move(x, gaussian, 0.5, 4, streams)
    assert 0.5 < float(moved.float().mean()) < 0.99
    assert torch.allclose(x.mean(0), MEAN, atol=0.1) and torch.allclose(x.T.cov(), COVARIANCE, atol=0.15)
    part, _ = hamiltonian_move(start.T[7:11], gaussian, 0.5, 4, Streams(1, n)[7:11])
    whole, _ = hamiltonian_move(start.T, gaussian, 0.5, 4, Streams(1, n))
    assert torch.allclose(part, whole[7:11], atol=1e-5)


def test_a_path_into_nan_is_refused():
    x = torch.ones(50, 1)
    y, moved = hamiltonian_move(x, lambda v: torch.where(v < 1.5, v, torch.nan)[:, 0], 1.0, 3, Streams(0, 50))
    assert y.isfinite().all() and not moved.all() and (y < 1.5).all()


def test_annealing_estimates_log_z_and_ends_at_the_target():
    x, log_w = anneal(
        lambda s: s.normal(2), standard_normal, gaussian, n=1000, temperatures=30, moves=2, leaps=4, seed=3
    )
    value, error = log_mean_weight(log_w)
    assert abs(value - LOG_Z) < 3 * error and error < 0.1
    w = log_w.softmax(0)[:, None]
    assert torch.allclose((w * x).sum(0).float(), MEAN, atol=0.2)


def test_temperatures_lie_closer_where_the_target_falls_steeply():
    """Even steps in β lost nearly all weights of a narrow target at the first of them."""
    narrow = lambda x: -0.5 * ((x - 1) / 0.05).square().sum(1)  # noqa: E731
    streams = Streams(0, 128)
    betas = list(_planned(streams.normal(4), standard_normal, narrow, 40, 5, streams))
    assert betas[0] == 0 and betas[-1] == 1 and betas == sorted(betas)
    assert betas[1] < 0.002 and betas[10] < 0.05
    x, log_w = anneal(lambda s: s.normal(4), standard_normal, narrow, n=300, temperatures=40, leaps=5, seed=1)
    value, error = log_mean_weight(log_w)
    assert abs(value - 4 * math.log(0.05 * math.sqrt(2 * math.pi))) < 4 * error and error < 0.5


# --- the loss


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] if n == "cnf" else [])
        for n, row in config.entries().items()
        if issubclass(row.model, Reparameterised) and 1 in row.model.ranks
    ],
)
def test_draws_carry_the_gradient_of_every_parameter(name):
    row = config.entry(name)
    torch.manual_seed(0)
    sharp = {"tolerance": 1e-9} if "tolerance" in config.defaults(row.model) else {}  # solvers' own errors are rough
    model = row.model(Continuous((2,)), **{**row.values, **row.model.small, **sharp}).eval().double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    weights = torch.randn(16, 2, dtype=torch.float64)

    def value():
        return (model.rsample(16, generator=Streams(0, 16)).double() * weights).sum()

    try:
        loss = value()
        way = [torch.randn_like(p) for p in model.parameters()]
        slopes = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    except Unsupported:
        pytest.skip(f"{name} says that its draws are not differentiable")
    found = float(sum((g * v).sum() for g, v in zip(slopes, way, strict=True) if g is not None))
    h, ends = 1e-6, []  # small beside the distance to the next kink of a ReLU
    for sign in (1, -2):
        with torch.no_grad():
            for p, v in zip(model.parameters(), way, strict=True):
                p.add_(sign * h * v)
            ends.append(float(value()))
    assert found == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-2, abs=1e-3)


def loss_of(model, density, **options):
    given = {"annealing": 0.0, "mix": 0.0, **options}
    return ReverseKL(model, density, Budget(steps=100), **given).train()


def test_the_gradient_vanishes_draw_by_draw_where_the_model_is_the_target():
    """The path gradient has no noise at the optimum; the whole one does."""
    model = config.build("nsf", Continuous((2,)), conditioner="coupling", layers=2, width=16, octaves=0)
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    model.double()
    target = copy.deepcopy(model).requires_grad_(False)
    loss = loss_of(model, lambda x: target.log_prob(x))
    loss.loss(Batch(torch.zeros(64, 2, dtype=torch.float64)))["reverse"].backward()
    assert max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) < 1e-8
    assert all(p.requires_grad for p in model.parameters())


def test_the_bridge_ends_at_the_target_and_dropout_stays_off():
    model = config.build("nsf", Continuous((2,)), conditioner="coupling", layers=2, width=16, dropout=0.5)
    loss = loss_of(model, standard_normal, annealing=0.5)
    assert not model.training and not loss.train().training
    betas = [loss.beta() for _ in range(100)]
    assert betas[0] < 2 * HOTTEST and betas[60] == 1.0 and betas == sorted(betas)


def test_a_clash_does_not_rule_a_batch():
    log_f = torch.tensor([0.0, -10.0, -1e12], requires_grad=True)
    out = damped(log_f)
    out.sum().backward()
    assert torch.equal(out[:2], log_f[:2]) and out[2].item() > -CLIFF - 50
    assert log_f.grad.tolist()[:2] == [1, 1] and abs(float(log_f.grad[2])) < 1e-6


# --- fits


def test_a_gaussian_is_met(fitted):
    draws = fitted.weigh(4000, seed=1)
    value, error = draws.log_z
    assert draws.ess > 0.9 and abs(value - LOG_Z) < max(3 * error, 0.01)
    assert np.allclose(fitted.sample(4000).mean(0), MEAN, atol=0.15)
    assert np.allclose(fitted.log_prob(draws.x) + draws.log_weights, gaussian(torch.from_numpy(draws.x)), atol=1e-2)
    refined = fitted.refine(300, temperatures=5)
    assert refined.ess > 0.9 and abs(refined.log_z[0] - LOG_Z) < max(3 * refined.log_z[1], 0.01)
    from_afar = fitted.refine(200, temperatures=20, start="broad", seed=1)
    assert from_afar.ess > 0.5 and abs(from_afar.log_z[0] - LOG_Z) < 4 * from_afar.log_z[1]


@pytest.mark.slow
def test_supports_are_kept_and_normalised():
    a = torch.tensor([2.0, 3.0, 1.5])

    def dirichlet(x):
        return ((a - 1) * x.log()).sum(1)

    found = pofx.fit_density(dirichlet, 3, support="simplex", **FAST).weigh(4000)
    assert (found.x > 0).all() and np.allclose(found.x.sum(1), 1, atol=1e-5)
    value, error = found.log_z
    assert abs(value - float(torch.lgamma(a).sum() - torch.lgamma(a.sum()))) < max(3 * error, 0.02)

    def box(x):  # Beta(2, 2) times Gamma(3, 1)
        return (x[:, 0] * (1 - x[:, 0])).log() + 2 * x[:, 1].log() - x[:, 1]

    found = pofx.fit_density(box, 2, support={"x0": (0, 1), "x1": "positive"}, **FAST).weigh(4000)
    assert ((found.x > 0) & (found.x < [1, np.inf])).all() and found.ess > 0.8
    assert abs(found.log_z[0] - math.log(2 / 6)) < max(3 * found.log_z[1], 0.02)


@pytest.mark.slow
def test_draws_from_the_target_keep_their_modes():
    def two(x):
        return torch.logaddexp(-0.5 * (x - 4).square().sum(1) / 0.25, -0.5 * (x + 4).square().sum(1) / 0.25)

    rng = np.random.default_rng(0)
    samples = rng.choice([-4, 4], 400)[:, None] + 0.5 * rng.normal(size=(400, 1))
    found = pofx.fit_density(two, 1, samples=samples, mix=0.7, annealing=0, **FAST)
    share = (found.sample(2000)[:, 0] > 0).mean()  # 38 seeds: 0.13 to 0.93 after so few steps
    assert 0.05 < share < 0.95


@pytest.mark.slow
def test_scouts_and_weighed_draws_keep_modes():
    """Reverse KL alone falls into few of them, though it is bridged to them."""
    angle = torch.arange(6) * math.pi / 3
    centres = 4 * torch.stack((angle.cos(), angle.sin()), 1)

    def ring(x):
        return (-(x[:, None] - centres).square().sum(-1) / (2 * 0.3**2)).logsumexp(1)

    def kept(**options):
        options = {**FAST, "steps": 200, "layers": 4, "width": 32, "seed": 1, **options}
        x = torch.as_tensor(pofx.fit_density(ring, 2, **options).sample(2000, seed=0))
        return int((torch.bincount((x[:, None] - centres).square().sum(-1).argmin(1), minlength=6) > 20).sum())

    assert kept() == 6
    assert kept(mix=0.0) <= 4


def test_truncated_weights_are_shares_of_which_none_rules():
    w = truncated(torch.tensor([0.0, 0.0, 0.0, 100.0]))
    assert float(w.sum()) == pytest.approx(1.0) and float(w[3]) == pytest.approx(1.0)
    even = truncated(torch.zeros(100))
    assert torch.allclose(even, torch.full((100,), 0.01))
    log_w = torch.zeros(100).index_fill_(0, torch.tensor([7]), 100.0)
    assert float(truncated(torch.cat((log_w, torch.full((300,), 95.0)))).max()) < 0.2


@pytest.mark.slow
def test_a_lost_mode_is_found_missing(fitted):
    def twice(x):
        return torch.logaddexp(gaussian(x), gaussian(-x))  # a mirror image that the model knows nothing of

    nats, error = ImportanceSampler(fitted.artifact, gaussian).missed(400, temperatures=40)
    assert nats < 3 * error + 0.05
    nats, error = ImportanceSampler(fitted.artifact, twice).missed(400, temperatures=40)
    assert nats > 3 * error and 0.3 < nats < 1.1


def pair(d, width, share=0.5, scale=4.0):
    """Two normals of sd 1 and `width`, 8 apart, with mass e^3 in all, in coordinates that shrink them by `scale`."""
    centre = torch.zeros(d).index_fill_(0, torch.tensor([0]), 4.0)

    def log_f(x):
        def part(mean, sd, mass):
            z = (scale * x - mean) / sd
            return math.log(mass) - 0.5 * z.square().sum(1) - d * math.log(sd) - d / 2 * math.log(2 * math.pi)

        return 3 + d * math.log(scale) + torch.logaddexp(part(-centre, 1.0, 1 - share), part(centre, width, share))

    return log_f


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "width", "share"), [(2, 0.1, 0.5), (2, 0.03, 0.2), (5, 0.3, 0.5), (8, 0.5, 0.7), (2, 1.0, 0.5)]
)
def test_scouts_find_narrow_modes_and_their_mass(d, width, share):
    x, w = scouted(pair(d, width, share), d, 512, seed=0)
    assert float(w.sum()) == pytest.approx(1.0) and (w >= 0).all()
    assert float(w[x[:, 0] > 0].sum()) == pytest.approx(share, abs=0.12)


def test_basins_measure_the_mass_of_normals_and_refuse_none():
    log_f = pair(3, 0.2, 0.3)
    found = basins(log_f, Streams(0, 256).normal(3))
    assert len(found) == 2
    assert torch.allclose(found.log_masses, 3 + torch.tensor([0.7, 0.3]).double().log(), atol=0.02)
    x = found.draw(Streams(1, 500))
    assert torch.allclose(log_f(x.float()).double() - found.mixture(x), torch.tensor(3.0).double(), atol=0.02)
    assert basins(lambda x: 0 * x.sum(1), Streams(0, 16).normal(2)) is None  # flat: no maximum
    cliff = basins(lambda x: torch.where(x[:, 0] > 0, -x.square().sum(1), -math.inf), Streams(0, 64).normal(2))
    assert cliff is None or bool(cliff.log_masses.isfinite().all())


def test_poor_weights_warn():
    poor = pofx.fit_density(gaussian, 2, **{**FAST, "steps": 1}, scouts=0, scale=30.0)
    with pytest.warns(RuntimeWarning, match="effective sample size.*train longer"):
        draws = poor.weigh(500)
    assert draws.warning in str(draws)


@pytest.mark.slow
def test_samplers_are_saved_without_their_target(fitted, tmp_path):
    fitted.save(tmp_path)
    again = ImportanceSampler.load(tmp_path, gaussian)
    assert np.array_equal(again.weigh(100, seed=2).log_weights, fitted.weigh(100, seed=2).log_weights)
    assert np.array_equal(pofx.load(tmp_path).sample(5), fitted.sample(5))


def test_an_interrupted_fit_resumes_as_if_it_had_not_been(tmp_path):
    calls = {"left": 10**9}

    def target(x):
        calls["left"] -= 1
        if calls["left"] == 0:
            raise KeyboardInterrupt
        return gaussian(x)

    options = {**FAST, "steps": 24, "scouts": 0, "checkpoint_seconds": 0.0}
    whole = pofx.fit_density(target, 2, **options)
    calls["left"] = 12
    with pytest.raises(KeyboardInterrupt):
        pofx.fit_density(target, 2, out=tmp_path, **options)
    calls["left"] = 10**9
    resumed = pofx.fit_density(target, 2, out=tmp_path, resume=True, **options)
    assert np.array_equal(resumed.sample(20), whole.sample(20))
    with pytest.raises(UsageError, match="another run"):
        pofx.fit_density(target, 2, out=tmp_path, resume=True, **{**options, "lr": 1e-4})


# --- what is refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": "gmm"}, Unsupported, "differentiable draws"),
        ({"model": "noise-classifier"}, Unsupported, "differentiable draws"),
        ({"model": "nfs"}, UsageError, "did you mean nsf"),
        ({"mix": 2}, UsageError, "mix must be a number from 0 to 1"),
        ({"annealing": -1}, UsageError, "annealing must be a number from 0"),
        ({"scale": 0.0}, UsageError, "scale must be a number above 0"),
        ({"bin": 3}, UsageError, "did you mean bins"),
        ({"samples": np.zeros((5, 2))}, DataError, "constant"),
        ({"samples": np.random.default_rng(0).normal(size=(9, 3))}, DataError, "2 columns"),
        ({"log_target": lambda x: x}, UsageError, r"shape \(n,\).*sum over the axes of a row"),
        ({"log_target": lambda x: gaussian(x)[:, None]}, UsageError, r"float32 of shape \(\d+, 1\)\): take"),
        ({"log_target": lambda x: gaussian(x).long(), "scouts": 0}, UsageError, "int64 .*without rounding|no slope"),
        ({"log_target": lambda x: gaussian(x).numpy()}, UsageError, "ndarray.*torch functions"),
        ({"log_target": lambda x: float(gaussian(x).sum())}, UsageError, "float.*all rows at once"),
        ({"log_target": lambda x: gaussian(x.detach())}, UsageError, "no slope"),
        ({"log_target": lambda x: gaussian(x).sqrt(), "scouts": 0}, TrainingError, "log_target is nan at x = "),
    ],
)
def test_what_cannot_be_fitted_is_refused_in_words(change, error, words):
    given = {"log_target": gaussian, "dims": 2, **FAST, "steps": 2, "scouts": 8, **change}
    with pytest.raises(error, match=words):
        pofx.fit_density(**given)


def test_a_model_that_trains_with_muon_names_its_matrices_to_a_target_too():
    model = config.build("cnf", Continuous((2,)))
    wrapped = ReverseKL(model, lambda x: -x.square().sum(1), Budget(steps=1), annealing=0.0, mix=0.0)
    assert [id(p) for p in wrapped.matrices()] == [id(p) for p in model.matrices()] != []


@pytest.mark.parametrize("name", ["nsf", "nsf-coupling", "realnvp", "maf"])
def test_every_flow_is_fitted_to_a_target_without_waves_or_dropout(name):
    """With them the plain target of eight modes had one mode left (nsf-coupling) or no finite slope (realnvp)."""
    found = pofx.fit_density(lambda x: -x.square().sum(1), 2, name, steps=1, scouts=0, progress=False, width=16)
    model = found.artifact.model
    assert model.octaves == 0 and model.dropout == 0.0 and getattr(model, "bound", 10.0) == 10.0
