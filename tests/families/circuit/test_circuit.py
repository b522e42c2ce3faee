"""Circuits: enumeration, marginals as sums, conditionals as ratios, and steps that never lower the likelihood."""

import itertools

import pytest
import torch

from pofx.core.event import Continuous, Discrete
from pofx.core.model import Batch
from pofx.core.random import Streams
from pofx.families.circuit.circuit import Circuit
from pofx.families.circuit.tree import levels, mutual_information, rooted, spanning_tree

COUNTS = (3, 2, 4, 2)


def rows(n=400, seed=0):
    g = torch.Generator().manual_seed(seed)
    a = torch.randint(3, (n,), generator=g)
    b = (a > 0).long() ^ (torch.rand(n, generator=g) < 0.1).long()
    c = (a + torch.randint(2, (n,), generator=g)).clamp(max=3)
    d = torch.randint(2, (n,), generator=g)
    return torch.stack((a, b, c, d), 1)


def states(counts=COUNTS):
    return torch.tensor(list(itertools.product(*map(range, counts))))


@torch.enable_grad()
def step(model, x, condition=None):
    model.train().zero_grad()
    phase = model.phases()[0]
    loss = phase.loss(Batch(x, condition))
    loss.backward()
    phase.after({})
    return float(loss.detach())


def learned(event, x, condition=None, label=None, steps=30, **options):
    torch.manual_seed(0)
    model = Circuit(event, condition, **{"states": 5, **options})
    with torch.no_grad():
        model.prepare(lambda n: Batch(x, label))
    for _ in range(steps):
        step(model, x, label)
    return model.eval()


@pytest.fixture(scope="module")
def discrete():
    return learned(Discrete((4,), COUNTS), rows())


def test_the_tree_is_that_of_the_largest_mutual_information():
    x = rows(5000)
    weights = mutual_information(x, 4)
    joint = torch.zeros(3, 2)
    for a, b in x[:, :2].tolist():
        joint[a, b] += 1 / len(x)
    direct = (joint * (joint / (joint.sum(1, keepdim=True) * joint.sum(0))).log()).nan_to_num(0).sum()
    assert float(weights[0, 1]) == pytest.approx(float(direct), abs=1e-4)
    edges = {frozenset(e) for e in spanning_tree(weights)}
    best = max(
        (sum(float(weights[a, b]) for a, b in tree), {frozenset(e) for e in tree})
        for tree in itertools.combinations(itertools.combinations(range(4), 2), 3)
        if len({min(t, key=t.index) for t in map(list, tree)} | {i for t in tree for i in t}) == 4
        and len({frozenset(t) for t in tree}) == 3
        and connected(tree)
    )[1]
    assert edges == best


def connected(tree):
    seen = {0}
    for _ in range(4):
        seen |= {i for t in tree if seen & set(t) for i in t}
    return len(seen) == 4


def test_levels_hold_every_variable_once_below_its_parent():
    parents = rooted([(0, 1), (1, 2), (1, 3), (3, 4), (3, 5)], 6)
    tree = levels(parents, torch.device("cpu"))
    order = tree.variables.tolist()
    assert sorted(order) == list(range(6)) and len(tree.levels) == 3 and sorted(tree.edges.tolist()) == list(range(5))
    assert [level.nodes for level in tree.levels] == [slice(0, 1), slice(1, 4), slice(4, 6)]
    for above, level in itertools.pairwise(tree.levels):
        own = order[level.nodes]
        for node, place in zip(own, level.parents.tolist(), strict=True):
            assert parents[node] == order[above.nodes][place]
        assert sorted(torch.cat([at for _, at in level.ranks]).tolist()) == list(range(len(own)))
        for many, at in level.ranks:  # the first parents have one such child each
            assert level.parents[at].tolist() == list(range(many))


def test_a_circuit_sums_to_one(discrete):
    assert float(discrete.log_prob(states()).double().exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("subset", [(0,), (1, 3), (0, 2, 3), ()])
def test_a_marginal_is_the_sum_over_the_rest(discrete, subset):
    x = states()
    known = torch.zeros_like(x, dtype=torch.bool)
    known[:, list(subset)] = True
    p = discrete.log_prob(x).double().exp()
    key = (x * known * torch.tensor([1, 10, 100, 1000])).sum(1)
    sums = torch.stack([p[key == k].sum() for k in key])
    assert torch.allclose(discrete.log_marginal(x, known).double().exp(), sums, atol=1e-6)
    hidden = x.masked_fill(~known, -1)
    assert torch.equal(discrete.log_prob(hidden), discrete.log_marginal(x, known))


@torch.no_grad()
def test_a_conditional_is_a_ratio_and_draws_follow_it(discrete):
    n = 20_000
    x = torch.tensor([[2, -1, 1, -1]]).expand(n, 4)
    known = x >= 0
    drawn = discrete.complete(x, known, generator=Streams(0, n))
    assert torch.equal(drawn[:, 0], x[:, 0]) and torch.equal(drawn[:, 2], x[:, 2])
    every = torch.tensor([[2, b, 1, d] for b in range(2) for d in range(2)])
    given = torch.tensor([[True, False, True, False]]).expand(4, 4)
    p = (discrete.log_prob(every) - discrete.log_marginal(every, given)).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    seen = torch.stack([(drawn == row).all(1).float().mean() for row in every])
    assert torch.allclose(seen, p, atol=4 * 0.5 / n**0.5)


@pytest.mark.parametrize("case", ["discrete", "shared", "normal"])
def test_a_step_of_expectation_maximisation_never_lowers_the_likelihood(case):
    options = {"states": 4, "prior": 0.0, "update": 1.0}
    if case == "normal":
        g = torch.Generator().manual_seed(1)
        x = torch.randn(300, 3, generator=g)
        x[:, 1] += 2 * x[:, 0].sign() * x[:, 2].abs()
        model = Circuit(Continuous((3,)), floor=0.0, **options)
    else:
        x = rows(300)
        event = Discrete((4,), 4 if case == "shared" else COUNTS)
        model = Circuit(event, bases=3 if case == "shared" else 0, **options)
    with torch.no_grad():
        model.prepare(lambda n: Batch(x))
    losses = [step(model, x) for _ in range(40)]
    assert all(b <= a + 2e-5 for a, b in itertools.pairwise(losses)), losses
    assert losses[-1] < losses[0] - 0.01


def test_the_gradient_is_that_of_the_plain_sum():
    """Against autograd through the sum over all states of a tree of three variables, in float64."""
    torch.manual_seed(3)
    model = Circuit(Discrete((3,), (2, 3, 2)), states=2, learning="gradient").double()
    x = torch.tensor([[0, 2, 1], [1, 0, 0]])
    root, edges, table = model.root.softmax(0), model.edges.softmax(2), model.leaves[0].table(raw=False)
    total = 0
    for z in itertools.product(range(2), repeat=3):  # parents are -1, 0, 0
        p = root[z[0]] * edges[0][z[0], z[1]] * edges[1][z[0], z[2]]
        total = total + p * table[0, x[:, 0], z[0]] * table[1, x[:, 1], z[1]] * table[2, x[:, 2], z[2]]
    assert torch.allclose(model.joint(x, None, None), total.log())
    wanted = torch.autograd.grad(total.log().sum(), list(model.parameters()))
    model.zero_grad()
    model.joint(x, None, None).sum().backward()
    for p, grad in zip(model.parameters(), wanted, strict=True):
        assert torch.allclose(p.grad, grad, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("event", [Discrete((4,), COUNTS), Continuous((2,))])
def test_tables_held_between_calls_are_those_of_the_present_weights(event):
    x = rows(50) if isinstance(event, Discrete) else torch.randn(50, 2)
    model = learned(event, x, steps=1)
    other = learned(event, x, steps=4).state_dict()

    def fresh():
        return model.joint(x, None, None).detach().float()  # with gradients: nothing is held

    with torch.inference_mode():
        before = model.log_prob(x)
        assert torch.allclose(before, model.log_prob(x)) and model._held is not None
    assert torch.allclose(before, fresh(), atol=1e-5)
    model.load_state_dict(other)
    with torch.no_grad():
        after = model.log_prob(x)
    assert torch.allclose(after, fresh(), atol=1e-5) and not torch.allclose(after, before, atol=1e-3)
    step(model.train(), x)
    with torch.no_grad():
        model.eval()
        assert torch.allclose(model.log_prob(x), fresh(), atol=1e-5)


def test_a_condition_is_a_variable_with_an_exact_posterior():
    x = rows()
    label = x[:, 0]
    model = learned(Discrete((3,), COUNTS[1:]), x[:, 1:], Discrete((), 3), label)
    every = states(COUNTS[1:])
    for k in range(3):
        p = model.log_prob(every, torch.full((len(every),), k)).double().exp().sum()
        assert float(p) == pytest.approx(1, abs=1e-5)
    posterior = model.log_posterior(every).exp()
    joint = torch.stack([model.joint(every, None, torch.full((len(every),), k)).exp() for k in range(3)], 1)
    assert torch.allclose(posterior.double(), joint / joint.sum(1, keepdim=True), atol=1e-5)
    assert torch.allclose(joint.sum(1), model.joint(every, None, None).exp(), atol=1e-7)


@torch.no_grad()
def test_a_product_of_numbers_and_classes_integrates_to_one():
    g = torch.Generator().manual_seed(0)
    c = torch.randint(3, (500, 1), generator=g)
    x = {"numbers": c.float() - 1 + 0.3 * torch.randn(500, 1, generator=g), "classes": c}
    event = {"numbers": Continuous((1,)), "classes": Discrete((1,), 3)}
    model = learned(event, x)
    line = torch.linspace(-8, 8, 1601)[:, None]
    total = sum(
        model.log_prob({"numbers": line, "classes": torch.full((1601, 1), k)}).double().exp().sum() * 0.01
        for k in range(3)
    )
    assert float(total) == pytest.approx(1, abs=1e-3)
    known = {"numbers": torch.ones(9, 1, dtype=torch.bool), "classes": torch.zeros(9, 1, dtype=torch.bool)}
    rest = model.complete({k: v[:9] for k, v in x.items()}, known, generator=Streams(0, 9))
    assert torch.equal(rest["numbers"], x["numbers"][:9])
    assert (rest["classes"] == c[:9]).float().mean() > 0.7


@torch.no_grad()
def test_missing_values_are_learned_from():
    """Cells that are missing at random leave the fit of the others in place."""
    x = rows(2000)
    whole = learned(Discrete((4,), COUNTS), x)
    gaps = x.masked_fill(torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) < 0.3, -1)
    partial = learned(Discrete((4,), COUNTS), gaps, steps=100)
    test = rows(2000, seed=5)
    assert float(partial.log_prob(test).mean()) > float(whole.log_prob(test).mean()) - 0.03


def test_logistic_leaves_refuse_expectation_maximisation():
    from pofx.core.errors import UsageError

    with pytest.raises(UsageError, match="learning=gradient"):
        Circuit(Discrete((1, 2, 2), 8), leaf="logistic")
