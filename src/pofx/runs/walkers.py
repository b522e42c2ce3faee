"""Walkers: draws of an unnormalised density that move on, so that a model never learns a few points by heart.

Scouts are some hundred points. Whenever they are learned from, each first makes a move of Hamiltonian Monte Carlo,
which leaves the density as it is: fresh draws within its mode; the shares of the modes remain those of the scouts.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from pofx.core.random import Streams
from pofx.maths.hamiltonian import hamiltonian_move

LEAPS = 5  # leapfrog steps of a move
WANTED, PACE = 0.75, 0.2  # share of moves that are accepted, and how fast the size of steps follows it


class Walkers(nn.Module):
    """Moves of points under log f, in steps whose size adapts."""

    size: Tensor

    def __init__(self, log_density: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.log_density = log_density
        self.register_buffer("size", torch.tensor(0.2))

    def moved(self, x: Tensor) -> Tensor:
        """Where walkers at x (n, d) are after a move each."""
        streams = Streams(int(torch.randint(2**62, ())), len(x), device=x.device)
        x, accepted = hamiltonian_move(x.detach(), self.log_density, float(self.size), LEAPS, streams)
        self.size *= math.exp(PACE * (float(accepted.float().mean()) - WANTED))
        return x.detach()
