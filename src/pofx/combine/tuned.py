"""A trained model on what it should make more of: weighted likelihood, or likelihood towards a target.

"likelihood" descends - log q(x) of items in proportion to their weights, the M-step of CbAS (Brookes, Park and
Listgarten, 2019, arXiv 1901.10060) and of the cross-entropy method. "augmented" descends (t - log q(x))² towards the
targets t = log p(x) + sigma · reward(x) (Olivecrona et al., 2017, arXiv 1704.07555): the optimum is the normalised
p(x) e^(sigma · reward), so the prior stays.
"""

import copy
from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, dims
from pofx.core.model import Batch, Explicit, Model, Phase
from pofx.core.objective import Objective

RULES = ("likelihood", "augmented")


class Tuned(Objective):
    """A copy of a model under one of the rules; the targets of a batch are t."""

    def __init__(self, model: Model, rule: str = "likelihood") -> None:
        if rule not in RULES:
            raise UsageError(f"rule must be {' or '.join(RULES)} (got {rule!r})")
        if not isinstance(model, Explicit):
            raise Unsupported(f"{model.label} has no density to tune: choose gpt, masked-diffusion or a flow")
        super().__init__(copy.deepcopy(model).train())
        self.rule = rule

    def prepare(self, take: Callable[[int], Batch]) -> None:
        """Nothing: the model has been trained."""

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("tuned", tuple(self.model.parameters()), self.loss),)

    def validation(self, batch: Batch) -> None:
        return None

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        assert isinstance(self.model, Explicit)
        log_q = self._log_prob(batch.x, batch.condition)
        size = dims(self.model.event)
        if self.rule == "likelihood":
            return -log_q.mean() / size
        if batch.target is None:
            raise UsageError("rule=augmented needs the log-probability that each item should have: pass weight=")
        return (batch.target - log_q).square().mean() / size

    def _log_prob(self, x: Tensor, condition: Condition | None) -> Float[Tensor, "n"]:
        assert isinstance(self.model, Explicit)
        return self.model.log_prob(x, condition)
