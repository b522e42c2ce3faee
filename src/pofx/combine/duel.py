"""The duel of adversarial distillation: a critic of noisy items, D(z_t, t, condition), against a student.

Noise at random times makes both sides overlap, so that the critic never runs away from the student (Wang et al., 2023,
arXiv 2206.02262), and lets it see coarse and fine differences (Sauer et al., 2024, arXiv 2403.12015). Losses and
penalties are those of `maths.adversarial`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Condition, Continuous, Event, concatenated
from pofx.families.diffusion.ddgan import Judge
from pofx.maths import adversarial

Noised = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]  # standardised items → noisy ones, times, noises
EVERY, GAMMA = 4, 0.02  # steps between penalties, and their weight, as in `ddgan`


class Duel(nn.Module):
    """A critic, and what it and its opponent descend, of standardised items.

    noised: how items are noised before the critic sees them; loss: a name of `maths.adversarial.LOSSES`.
    """

    def __init__(
        self,
        event: Continuous,
        condition: Event | None,
        noised: Noised,
        *,
        network: str,
        width: int,
        depth: int,
        grid_condition: str = "embed",
        loss: str = "relativistic",
    ) -> None:
        super().__init__()
        self.judge = Judge(event, condition, network, width, depth, parts=1, grid_condition=grid_condition)
        self.rule, self.noised = adversarial.LOSSES[loss], noised

    def student(self, real: Tensor, fake: Tensor, condition: Condition | None) -> Float[Tensor, ""]:
        """What the student descends: `fake` are its draws, with gradients."""
        logits = self._logits(fake, condition)
        others = logits.detach()
        if self.rule.paired:
            with torch.no_grad():
                others = self._logits(real, condition)
        return self.rule.generator(others, logits)

    def critic(self, real: Tensor, fake: Tensor, condition: Condition | None) -> Float[Tensor, ""]:
        """What the critic descends."""
        twice = None if condition is None else concatenated((condition, condition))
        first, second = self._logits(torch.cat((real, fake)), twice).chunk(2)
        return self.rule.critic(first, second)

    def penalty(self, real: Tensor, fake: Tensor, condition: Condition | None) -> Float[Tensor, ""]:
        """Half of the squared slopes on both sides, times the steps between two penalties."""
        found = real.new_zeros(())
        for x in (real, fake):
            z, t, _ = self.noised(x)
            found = found + adversarial.squared_gradient(lambda y, t=t: self.judge(y, t, condition), z)  # type: ignore[misc]
        return EVERY * GAMMA / 2 * found

    def _logits(self, x: Tensor, condition: Condition | None) -> Tensor:
        z, t, _ = self.noised(x)
        logits: Tensor = self.judge(z, t, condition)
        return logits
