"""Conditions of one class number: for models that have parameters of their own for every class."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Discrete, Event


def group_count(condition: Event | None, model: str) -> int:
    """How many groups a condition makes: its classes, or one without a condition.

    Raises:
        Unsupported: the condition is anything but one class number.
    """
    if condition is None:
        return 1
    if not isinstance(condition, Discrete) or condition.shape != ():
        got = "several parts" if isinstance(condition, dict) else f"shape {condition.shape}"
        raise Unsupported(f"{model} takes one class number as its condition (got {got}): choose another model")
    return condition.largest


def groups(condition: Condition | None, n: int, device: torch.device) -> Int[Tensor, "n"]:
    """The group of each of n items: its class, or 0 without a condition."""
    if condition is None:
        return torch.zeros(n, dtype=torch.int64, device=device)
    assert isinstance(condition, Tensor)
    return condition


def patterns(
    group: Int[Tensor, "n"], known: Bool[Tensor, "n size"]
) -> Iterator[tuple[int, Bool[Tensor, "size"], Int[Tensor, "rows"]]]:
    """Each group, the dimensions that are known, and the numbers of the items of this group of which just these are."""
    for one in sorted(set(group.tolist())):
        mine = (group == one).nonzero()[:, 0]
        for of in known[mine].unique(dim=0):
            yield one, of, mine[(known[mine] == of).all(1)]
