"""Laws of events: a count of classes per dimension, products, and what their values must be."""

import pytest
import torch

from pofx.core.errors import DataError
from pofx.core.event import (
    Bounded,
    Continuous,
    Discrete,
    check,
    concatenated,
    count,
    event_from_json,
    event_to_json,
    select,
)

ROW = {"numbers": Continuous((2,)), "categories": Discrete((3,), (2, 5, 3)), "inner": {"grid": Bounded((1, 2, 2))}}


def test_every_event_survives_json():
    for event in (*ROW.values(), ROW, Discrete((4,), 7, end=0), Discrete((2, 2), 3), Discrete((), 2)):
        assert event_from_json(event_to_json(event)) == event


def test_classes_may_differ_by_dimension():
    event = Discrete((3,), [2, 5, 3])
    assert event.largest == 5 and event.counts == (2, 5, 3) and event.uneven and event == ROW["categories"]
    check(event, torch.tensor([[1, 4, 2]]))
    with pytest.raises(DataError, match="0 to 1 in dimension 0"):
        check(event, torch.tensor([[0, 0, 0], [2, 0, 0]]))
    with pytest.raises(DataError, match="one per dimension, 3"):
        Discrete((3,), (2, 5))
    with pytest.raises(DataError, match="end"):
        Discrete((2,), (2, 5), end=0)
    with pytest.raises(DataError, match="at least 1"):
        Discrete((2,), 0)


def test_batches_of_a_product_are_selected_and_joined_part_by_part():
    x = {"numbers": torch.arange(8.0).reshape(4, 2), "inner": {"grid": torch.zeros(4, 1, 2, 2)}}
    assert count(x) == 4
    both = concatenated([select(x, slice(0, 1)), select(x, torch.tensor([3, 2]))])
    assert both["numbers"][:, 0].tolist() == [0, 6, 4] and both["inner"]["grid"].shape == (3, 1, 2, 2)
    with pytest.raises(DataError, match="keys"):
        check(ROW, x)
