"""What energies share: a log Z that is estimated, and made anew when the weights change; sweeps of a chain."""

from abc import abstractmethod

import torch
from jaxtyping import Float64
from torch import Tensor

from pofx.core.model import Explicit, Stepwise


class Sweeping(Stepwise):
    """A model whose draws are the ends of chains: its steps are sweeps over all units."""

    sweeps: int

    @property
    def steps(self) -> int:
        """Sweeps of the chain of a sample; may be set after training."""
        return self.sweeps

    @steps.setter
    def steps(self, value: int) -> None:
        self.sweeps = value


class Normalised(Explicit):
    """A model with one log Z for each group of items, by annealed importance sampling.

    Call `keep_log_z(groups)` in the constructor.
    """

    temperatures: int
    runs: int
    groups: int

    def keep_log_z(self, groups: int = 1) -> None:
        self.groups = groups
        self.log_z: Tensor
        self.log_z_error: Tensor
        self.fingerprint: Tensor
        self.register_buffer("log_z", torch.zeros(groups, dtype=torch.float64))
        self.register_buffer("log_z_error", torch.zeros(groups, dtype=torch.float64))
        self.register_buffer("fingerprint", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def anneal(self, group: int, temperatures: int, runs: int, seed: int = 0) -> tuple[float, float]:
        """log Z of a group and its standard error, by annealed importance sampling."""

    def starts(self) -> tuple[Tensor, ...]:
        """Tensors beside the parameters on which the estimate depends. Default: none."""
        return ()

    def normaliser(self) -> Float64[Tensor, "groups"]:
        """log Z for each group, estimated anew when the weights have changed: float64 (groups,)."""
        mark = self.mark()
        if int(self.fingerprint) != mark:
            with torch.inference_mode(False), torch.no_grad():
                found = [self.anneal(k, self.temperatures, self.runs) for k in range(self.groups)]
                self.log_z.copy_(torch.tensor([z for z, _ in found]))
                self.log_z_error.copy_(torch.tensor([e for _, e in found]))
                self.fingerprint.fill_(mark)
        return self.log_z

    def mark(self) -> int:
        """A number that changes with the weights and the settings of the estimate: exact sums of their bits."""
        total = 1 + self.temperatures * 0x9E3779B1 + self.runs * 0x85EBCA6B
        for p in (*self.parameters(), *self.starts()):
            bits = p.detach().contiguous().flatten().view(torch.int32 if p.element_size() == 4 else torch.int16).long()
            total += int((bits * (2 * torch.arange(len(bits), device=bits.device) + 1)).sum())
            total *= 0x100000001B3
        return (total & 0x7FFFFFFFFFFFFFFF) or 1

    def log_prob_error(self) -> float:
        """Standard error of log Z; the largest over the groups."""
        self.normaliser()
        return float(self.log_z_error.max())
