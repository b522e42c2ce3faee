"""Conditions become vectors: what an embedding that is only added can say."""

import pytest
import torch

from pofx.core.event import Bounded, Continuous, Discrete, check, select
from pofx.nets.vector.conditioner import Conditioner


@pytest.mark.parametrize(("curved", "low", "high"), [(True, 0.0, 0.005), (False, 0.06, 0.1)])
def test_a_linear_reader_of_the_embedding_learns_a_kink(curved, low, high):
    """|c| for c uniform on (-1, 1) has the variance 1/12, none of which a linear embedding can tell."""
    torch.manual_seed(0)
    embed, read = Conditioner(Continuous((1,)), 32), torch.nn.Linear(32, 1)
    assert embed.curved is not None
    if not curved:
        embed.curved.requires_grad_(False)
    trained = [p for p in (*embed.parameters(), *read.parameters()) if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=1e-2)
    c = torch.rand(512, 1) * 2 - 1
    for _ in range(300):
        loss = (read(embed(c)) - c.abs()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert low <= loss.item() < high


def test_widths_and_dropped_conditions():
    assert Conditioner(None, 8).width == 0 and Conditioner(None, 8)(None) is None
    for condition, value in (
        (Discrete((2,), 3), torch.zeros(4, 2, dtype=torch.int64)),
        (Continuous((2, 2)), torch.ones(4, 2, 2)),
    ):
        embed = Conditioner(condition, 8, null=True)
        out = embed(value, torch.tensor([True, False, False, True]))
        assert out.shape == (4, 8) and (out[0] == 0).all() and not (out[1] == 0).all()


EVENTS = {
    "class": Discrete((), 4),
    "categories": Discrete((3,), (2, 5, 3)),
    "text": Discrete((7,), 6, end=0),
    "levels": Discrete((1, 5, 4), 8),
    "vector": Continuous((3,)),
    "signal": Continuous((2, 5)),
    "grid": Bounded((3, 6, 5)),
    "row": {"numbers": Continuous((2,)), "categories": Discrete((2,), (2, 3))},
}


def drawn(event, n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if isinstance(event, dict):
        return {key: drawn(part, n, seed + i) for i, (key, part) in enumerate(event.items())}
    if isinstance(event, Discrete):
        u = torch.rand(n, *event.shape, generator=generator)
        return (u * torch.tensor(event.counts).reshape(event.shape)).long()
    return torch.rand(n, *event.shape, generator=generator) * 2 - 1


@pytest.mark.parametrize("name", EVENTS)
def test_every_kind_of_condition_has_an_embedding_that_is_a_function_of_the_item(name):
    event = EVENTS[name]
    torch.manual_seed(0)
    embed = Conditioner(event, 8, null=True).requires_grad_(True)
    value = drawn(event, 6)
    check(event, value)
    whole = embed(value)
    assert whole.shape == (6, 8)
    assert torch.allclose(embed(select(value, slice(2, 5))), whole[2:5], atol=1e-5)
    assert len(whole.unique(dim=0)) > 2, "different conditions differ"
    embed(value, torch.tensor([True] + 5 * [False])).square().sum().backward()
    assert all(p.grad is not None for p in embed.parameters())


def test_what_follows_the_end_of_a_text_changes_nothing_and_the_order_of_its_tokens_does():
    embed = Conditioner(Discrete((5,), 6, end=0), 8)
    a, b, c = (torch.tensor([row]) for row in ([2, 3, 0, 0, 0], [2, 3, 0, 4, 5], [3, 2, 0, 0, 0]))
    assert torch.equal(embed(a), embed(b)) and not torch.allclose(embed(a), embed(c))


READ = {  # conditions that pass an encoder, and some of them
    "text": (Discrete((7,), 5, end=0), lambda n: torch.randint(5, (n, 7))),
    "grid": (Continuous((1, 8, 8)), lambda n: torch.randn(n, 1, 8, 8)),
}


@pytest.mark.parametrize("kind", [*READ, "parts"])
def test_an_embedding_that_begins_at_zero_learns_in_all_its_layers(kind):
    """The critic of a GAN never saw texts: behind layers of zeros there is no gradient."""
    torch.manual_seed(0)
    if kind == "parts":
        event, given = {key: READ[key][0] for key in READ}, {key: READ[key][1](16) for key in READ}
    else:
        event, given = READ[kind][0], READ[kind][1](16)
    embed = Conditioner(event, 8)
    embed.silence()
    assert not embed(given).any()
    descent = torch.optim.SGD(embed.parameters(), lr=0.1)
    for _ in range(3):
        descent.zero_grad()
        (embed(given) * torch.randn(16, 8)).sum().backward()
        descent.step()
    still = [name for name, p in embed.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in still if "encoder" in name], still


@pytest.mark.parametrize("kind", READ)
def test_standardised_embeddings_have_mean_0_and_variance_1(kind):
    torch.manual_seed(0)
    event, draw = READ[kind]
    embed, given = Conditioner(event, 8), draw(64)
    embed.standardise(given)
    torch.testing.assert_close(embed(given).mean(0), torch.zeros(8), rtol=0, atol=1e-4)
    torch.testing.assert_close(embed(given).std(0), torch.ones(8), rtol=0, atol=1e-3)


def test_words_that_few_letters_distinguish_begin_as_far_apart_as_others():
    """Captions whose last word alone differs: before, they lay a tenth as far apart as those of another first word."""
    words = ["a red square", "a red heart", "a blue square", "a blue heart"]
    length = max(map(len, words))
    x = torch.tensor([[ord(c) - 96 if c != " " else 0 for c in w.ljust(length)] for w in words]).repeat(5, 1)
    torch.manual_seed(0)
    embed = Conditioner(Discrete((length,), 27), 64)
    embed.standardise(x)
    z = embed(x)[:4].detach()
    shapes, colours = (z[0] - z[1]).norm(), (z[0] - z[2]).norm()
    assert 0.5 < float(shapes / colours) < 2
