"""States of numbers that are values of their own: missing ones, and those that many rows of a real column have."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class States:
    """Raw columns (n, d) ↔ columns and the states of those that have any (n, d + count).

    State 0 is that of numbers like any others, 1, 2, … that of the column's own values, of which NaN is the last.
    """

    def __init__(self, schema: Sequence[Mapping[str, Any]]) -> None:
        values = [self.of(about) for about in schema]
        self.at = [i for i, own in enumerate(values) if own]  # the columns that have states
        self.values = [torch.tensor(own, dtype=torch.float64) for own in values if own]
        self.sizes = [len(own) for own in self.values]
        self.count = len(self.at)

    @staticmethod
    def of(about: Mapping[str, Any]) -> list[float]:
        """The values of its own that a column has; categories hold what is missing among them."""
        missing = [float("nan")] if about.get("missing") and about["type"] != "constant" else []
        return [*about.get("heavy", ()), *missing]

    def states(self, raw: Tensor) -> Tensor:
        """The state of each of these columns: int64 (n, count)."""
        found = []
        for i, own in zip(self.at, self.values, strict=True):
            x = raw[:, i]
            state = torch.zeros(len(x), dtype=torch.int64, device=raw.device)
            for k, value in enumerate(own.tolist()):
                state = state.masked_fill(x.isnan() if value != value else x == value, k + 1)
            found.append(state)
        return torch.stack(found, 1)

    def apart(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Columns and states (n, d + count), and where a number is given by its state: bool of the same shape."""
        if not self.count:
            return raw, torch.zeros_like(raw, dtype=torch.bool)
        states = self.states(raw)
        given = torch.zeros(len(raw), raw.shape[1] + self.count, dtype=torch.bool, device=raw.device)
        given[:, self.at] = states > 0
        return torch.cat((raw, states.to(raw.dtype)), 1).masked_fill(given, 0.0), given

    def together(self, inner: Tensor) -> Tensor:
        """The inverse: raw columns (n, d)."""
        if not self.count:
            return inner
        raw = inner[:, : inner.shape[1] - self.count].clone()
        for k, (i, own) in enumerate(zip(self.at, self.values, strict=True)):
            state = inner[:, raw.shape[1] + k].floor().long().clamp(0, len(own))
            own = torch.cat((own.new_zeros(1), own)).to(raw.device)
            raw[:, i] = torch.where(state > 0, own[state], raw[:, i])
        return raw
