"""Grids of a condition beside an event: brought to its sides place by place, whatever their kind, axes and sides."""

import pytest
import torch

from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete
from pofx.nets.image.grid_input import GridInput, grid_condition_of, grids_of

EVENT = Bounded((3, 8, 12))
GRIDS = {
    "equal": (Bounded((2, 8, 12)), 2),
    "coarser": (Bounded((1, 4, 6)), 1),
    "twice as fine": (Bounded((1, 16, 24)), 4),
    "finer by no whole number": (Bounded((1, 12, 18)), 1),
    "few classes": (Discrete((1, 8, 12), 4), 4),
    "classes without channels": (Discrete((4, 6), 3), 3),
    "many classes": (Discrete((1, 8, 12), 256), 1),
}


def drawn(event, n=5):
    torch.manual_seed(0)
    if isinstance(event, Discrete):
        return torch.randint(event.classes, (n, *event.shape))
    return torch.rand(n, *event.shape) * 2 - 1


@pytest.mark.parametrize("name", GRIDS)
def test_every_kind_of_grid_is_at_the_sides_of_the_event_and_local(name):
    condition, channels = GRIDS[name]
    inputs, x = GridInput(EVENT, condition), drawn(condition)
    assert grid_condition_of(None, EVENT, condition) == "concatenate"
    inputs.measure(x)
    out = inputs(x)
    assert out.shape == (5, channels + 1, 8, 12) and inputs.channels == channels + 1 and inputs.rest is None
    assert torch.allclose(out[:, :-1].mean((0, 2, 3)), torch.zeros(channels), atol=1e-5)
    assert (out[:, -1] == 1).all()
    other = x.clone()
    corner = (slice(None), *[0] * (x.ndim - 1))
    other[corner] = (1 + other[corner]) % condition.largest if isinstance(condition, Discrete) else -other[corner] - 0.1
    moved = (inputs(other) - out).abs().sum(1) > 1e-6
    assert moved[:, 0, 0].all() and not moved[:, 4:].any() and not moved[:, :, 4:].any()


def test_a_finer_grid_whose_sides_divide_loses_nothing():
    """Other finer grids are averaged: the mean stays."""
    x = drawn(Bounded((1, 16, 24)))
    out = GridInput(EVENT, Bounded((1, 16, 24)))(x)[:, :-1]
    assert torch.equal(torch.nn.functional.pixel_shuffle(out, 2), x)
    x = drawn(Bounded((1, 12, 18)))
    assert torch.allclose(GridInput(EVENT, Bounded((1, 12, 18)))(x)[:, 0].mean((1, 2)), x.mean((1, 2, 3)), atol=0.05)


@pytest.mark.parametrize("sides", [(6,), (4, 6), (3, 4, 6)])
def test_events_of_one_to_three_axes(sides):
    event, condition = Continuous((2, *(2 * s for s in sides))), Continuous((1, *sides))
    inputs = GridInput(event, condition)
    assert inputs(drawn(condition)).shape == (5, 2, *event.shape[1:])
    assert grid_condition_of(None, event, condition) == ("embed" if len(sides) == 1 else "concatenate")
    assert grid_condition_of("concatenate", event, condition) == "concatenate"  # a signal, where that is wanted


def test_parts_without_places_are_left_and_dropped_grids_are_those_of_no_condition():
    condition = {"label": Discrete((), 3), "a": Bounded((1, 4, 6)), "text": Discrete((7,), 5), "b": Bounded((1, 8, 12))}
    inputs = GridInput(EVENT, condition)
    x = {key: drawn(part) for key, part in condition.items()}
    assert list(grids_of(EVENT, condition)) == ["a", "b"] and set(inputs.rest) == set(inputs.beside(x)) == {
        "label",
        "text",
    }
    assert inputs.channels == 3
    out = inputs(x, torch.tensor([True, False, True, False, False]))
    assert torch.equal(out[[0, 2]], inputs.absent(2)) and (out[1, -1] == 1).all()
    assert inputs.beside(None) is None and GridInput(EVENT, {"label": Discrete((), 3), "a": EVENT}).rest == Discrete(
        (), 3
    )


@pytest.mark.parametrize(
    ("event", "condition"),
    [
        (EVENT, None),
        (EVENT, Discrete((), 3)),
        (EVENT, Bounded((1, 8, 8))),  # other proportions
        (EVENT, {"a": Bounded((1, 8, 12)), "b": Bounded((1, 8, 8))}),
        (EVENT, Continuous((8,))),
        (Continuous((5,)), Continuous((1, 4, 4))),
    ],
)
def test_what_has_no_place_beside_the_event_is_embedded(event, condition):
    assert grid_condition_of(None, event, condition) == grid_condition_of("embed", event, condition) == "embed"
    if not grids_of(event, condition):
        with pytest.raises(UsageError, match="grid_condition='embed'"):
            grid_condition_of("concatenate", event, condition)
