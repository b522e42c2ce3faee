"""Private graphs: exact inference, a density that sums to 1 and is sampled, more useful than a tree, ε as claimed."""

from itertools import combinations

import numpy as np
import pytest
import torch

from pofx.core.event import Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.circuit.aim import AIM
from pofx.families.circuit.junction import JunctionTree, cells_of, fitted, log_marginal, triangulated
from pofx.families.circuit.mst import MST

SIZES = (3, 2, 4, 2, 3)


def loops(n, seed=0):
    """Classes of which the last depends on two others together: no tree has it."""
    g = np.random.default_rng(seed)
    a, b, c = (g.integers(0, k, n) for k in (3, 2, 4))
    d = np.where(g.random(n) < 0.9, (a + b) % 2, g.integers(0, 2, n))
    e = np.where(g.random(n) < 0.8, (b + c) % 3, g.integers(0, 3, n))
    return torch.from_numpy(np.stack((a, b, c, d, e), 1))


def learned(x, model=AIM, **options):
    made = model(Discrete((5,), SIZES), **{"epsilon": 20.0, **options})
    made.prepare(lambda n: Batch(x[:n]))
    return made


def everything():
    return torch.cartesian_prod(*(torch.arange(k) for k in SIZES))


def test_messages_give_the_marginals_of_the_joint():
    """Against the whole table, of a loop and a variable by itself."""
    g = np.random.default_rng(0)
    cliques = [(0, 1), (1, 2), (2, 3), (0, 3), (4,)]
    theta = {r: g.normal(size=[SIZES[v] for v in r]) for r in cliques}
    whole = np.zeros(SIZES)
    for r, t in theta.items():
        whole = whole + t.reshape([SIZES[v] if v in r else 1 for v in range(5)])
    whole = np.exp(whole) / np.exp(whole).sum()
    tree = JunctionTree(SIZES, cliques)
    log_p = tree.calibrated(theta)
    for clique, found in zip(tree.cliques, log_p, strict=True):
        np.testing.assert_allclose(np.exp(found), whole.sum(tuple(v for v in range(5) if v not in clique)), atol=1e-12)
    assert all(set(r) <= set(tree.cliques[tree.home(r)]) for r in cliques)
    x = tree.drawn(log_p, 40_000, g)
    for i, j in combinations(range(5), 2):
        share = np.histogram2d(x[:, i], x[:, j], [np.arange(SIZES[i] + 1), np.arange(SIZES[j] + 1)])[0] / len(x)
        assert np.abs(share - whole.sum(tuple(v for v in range(5) if v not in (i, j)))).max() < 0.015


def test_triangulation_fills_a_loop():
    assert sorted(map(len, triangulated(SIZES, [(0, 1), (1, 2), (2, 3), (0, 3)]))) == [3, 3]
    assert cells_of(SIZES, [(0, 1), (3,)]) == 3 * 2 + 2


def test_descent_finds_what_was_measured_exactly():
    x = loops(4000).numpy()
    measured = []
    for r in ((0, 1, 3), (1, 2, 4)):
        shape = [SIZES[v] for v in r]
        flat = np.ravel_multi_index(list(x[:, list(r)].T), shape)
        measured.append((r, np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(float), 5.0))
    tree = JunctionTree(SIZES, [m[0] for m in measured])
    _, log_p = fitted(tree, measured, 4000.0, {}, 400)
    for r, y, _ in measured:
        k = tree.home(r)
        assert np.abs(4000 * np.exp(log_marginal(log_p[k], tree.cliques[k], r)) - y).max() < 5


MORE = [{}, {"groups": 2}, {"cells": 24}, {"target": 3, "epsilon": 0.1}]


@pytest.mark.parametrize("options", [{"target": 3}, *(pytest.param(o, marks=pytest.mark.slow) for o in MORE)])
def test_probabilities_sum_to_one_and_draws_follow_them(options):
    model = learned(loops(600), **options)
    p = model.log_prob(everything()).double().exp()
    assert float(p.sum()) == pytest.approx(1.0, abs=1e-4) and (p > 0).all()
    drawn = model.sample(20_000, generator=Streams(0, 20_000))
    flat = np.ravel_multi_index(list(drawn.numpy().T), SIZES)
    share = np.bincount(flat, minlength=int(np.prod(SIZES))) / len(drawn)
    assert np.abs(share - p.numpy()).sum() < 3 * np.sqrt(p.numpy() / len(drawn)).sum()


@pytest.mark.slow
def test_it_learns_what_no_tree_holds_and_the_more_the_larger_epsilon():
    x, held = loops(6000), loops(2000, 1)
    nats = {e: -float(learned(x, epsilon=e, target=3).log_prob(held).mean()) for e in (0.02, 20.0)}
    tree = -float(learned(x, MST, epsilon=20.0).log_prob(held).mean())
    assert nats[20.0] < tree - 0.05 and nats[20.0] < nats[0.02]


def test_the_budget_is_never_exceeded(monkeypatch):
    from pofx.families.circuit import aim

    spent = []
    counting, choosing = aim.noisy, aim.chosen
    monkeypatch.setattr(aim, "noisy", lambda c, rho, g: (spent.append(rho), counting(c, rho, g))[1])
    monkeypatch.setattr(aim, "chosen", lambda s, rho, g, by: (spent.append(rho), choosing(s, rho, g, by))[1])
    learned(loops(800), epsilon=1.0, target=3)
    rho = aim.rho_of(1.0, 1e-6)
    assert 0.95 * rho < sum(spent) <= rho * (1 + 1e-9)


@pytest.mark.slow
def test_an_attack_measures_less_than_the_claimed_epsilon():
    from pofx.maths.privacy import audited_epsilon

    x = torch.zeros(30, 5, dtype=torch.int64)
    more = torch.cat((x, torch.tensor([[2, 1, 3, 1, 2]])))
    found = []
    for rows in (x, more):
        each = [learned(rows, epsilon=1.0, delta=1e-4) for _ in range(100)]
        found.append(np.array([float(m.log_prob(more[-1:])) for m in each]))
    assert audited_epsilon(*found, delta=1e-4) <= 1.0
