"""Priors p(z | c) of the codes of an autoencoder.

The standard normal; a learned mixture of normals (Jiang et al., 2017, arXiv 1611.05148); the VampPrior, a mixture of
the posteriors of learned inputs (Tomczak and Welling, 2018, arXiv 1705.07120); a normal that depends on the condition
(Sohn et al., 2015, "Learning structured output representation"); any flow (Chen et al., 2017, arXiv 1611.02731).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pofx.core import config
from pofx.core.event import Continuous
from pofx.core.model import Latent, Model
from pofx.core.random import Streams
from pofx.maths.distributions import categorical_draw, normal_log_prob
from pofx.nets.vector.mlp import MLP

FLOWS = ("planar", "radial", "sylvester", "realnvp", "maf", "iaf", "nsf", "nsf-coupling")
PRIORS = ("normal", "mixture", "vamp", "conditional", *FLOWS)
SIZES = {"layers": 4, "width": 64, "blocks": 1, "bins": 8, "dropout": 0.0, "octaves": 0, "context": 32}  # of flows

Posterior = Callable[[Tensor], tuple[Tensor, Tensor]]  # inputs of the encoder → mean and log standard deviation
Context = Float[Tensor, "n context"] | None


def flow_of(name: str, features: int, context: int, steps: int) -> Model:
    """A small flow of the flow family for vectors, given vectors of `context` numbers where there are any."""
    known = config.defaults(config.entry(name).model)
    sizes = {**SIZES, "layers": steps * (2 if name in ("nsf-coupling", "realnvp") else 1)}
    given = Continuous((context,)) if context else None
    return config.build(name, Continuous((features,)), given, **{k: v for k, v in sizes.items() if k in known})


class Prior(nn.Module, ABC):
    """p(z | context) over vectors of `features` numbers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    @abstractmethod
    def log_prob(
        self, z: Float[Tensor, "n k {self.features}"], context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k"]:
        """log p(z | context) in nats."""

    @abstractmethod
    def draw(
        self, generator: Streams, k: int, context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k {self.features}"]:
        """k draws for each stream."""

    def start(self, seen: Shaped[Tensor, "n *inputs"]) -> None:
        """Start from training items as the encoder sees them. Default: nothing."""


class Normal(Prior):
    """The standard normal, not learned."""

    def log_prob(
        self, z: Float[Tensor, "n k {self.features}"], context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k"]:
        return normal_log_prob(z).sum(-1)

    def draw(
        self, generator: Streams, k: int, context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k {self.features}"]:
        return generator.normal(k, self.features)


class Mixed(Prior):
    """A mixture of diagonal normals, whatever gives their means and scales."""

    @abstractmethod
    def parts(
        self, posterior: Posterior
    ) -> tuple[Float[Tensor, "parts"], Float[Tensor, "parts d"], Float[Tensor, "parts d"]]:
        """Log-weights, means and log standard deviations."""

    def log_prob(
        self, z: Float[Tensor, "n k {self.features}"], context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k"]:
        weights, means, log_stds = self.parts(posterior)
        each = normal_log_prob(z[..., None, :], means, log_stds).sum(-1)
        return (each + weights).logsumexp(-1)

    def draw(
        self, generator: Streams, k: int, context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k {self.features}"]:
        z = generator.normal(k, self.features)
        weights, means, log_stds = self.parts(posterior)
        pick = categorical_draw(weights.expand(len(z), k, -1), generator.uniform(k))
        return means[pick] + log_stds[pick].exp() * z


class Mixture(Mixed):
    """Learned weights, means and scales."""

    def __init__(self, features: int, count: int) -> None:
        super().__init__(features)
        self.logits = nn.Parameter(torch.zeros(count))
        self.means = nn.Parameter(torch.randn(count, features))
        self.log_stds = nn.Parameter(torch.zeros(count, features))

    def parts(
        self, posterior: Posterior
    ) -> tuple[Float[Tensor, "parts"], Float[Tensor, "parts d"], Float[Tensor, "parts d"]]:
        return self.logits.log_softmax(-1), self.means, self.log_stds


class Vamp(Mixed):
    """The posteriors of learned inputs, all of the same weight; the inputs start as training items."""

    def __init__(self, features: int, count: int, inputs: Sequence[int]) -> None:
        super().__init__(features)
        self.inputs = nn.Parameter(torch.randn(count, *inputs))

    def start(self, seen: Shaped[Tensor, "n *inputs"]) -> None:
        with torch.no_grad():
            pick = torch.randint(len(seen), (len(self.inputs),), generator=torch.Generator().manual_seed(0))
            self.inputs.copy_(seen[pick.to(seen.device)])

    def parts(
        self, posterior: Posterior
    ) -> tuple[Float[Tensor, "parts"], Float[Tensor, "parts d"], Float[Tensor, "parts d"]]:
        means, log_stds = posterior(self.inputs)
        return torch.full_like(means[:, 0], -torch.log(torch.tensor(float(len(means)))).item()), means, log_stds


class Conditional(Prior):
    """A normal whose mean and scale depend on the condition; without one they are learned constants."""

    def __init__(self, features: int, context: int) -> None:
        super().__init__(features)
        self.net = MLP(context, 2 * features, (64,), zero=True) if context else None
        self.free = nn.Parameter(torch.zeros(2 * features))

    def normal(self, context: Context, n: int) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        raw = self.free.expand(n, -1)
        if self.net is not None and context is not None:
            raw = raw + self.net(context)
        mean, log_std = raw.chunk(2, -1)
        return mean, 4.0 * torch.tanh(log_std / 4.0)

    def log_prob(
        self, z: Float[Tensor, "n k {self.features}"], context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k"]:
        mean, log_std = self.normal(context, len(z))
        return normal_log_prob(z, mean[:, None], log_std[:, None]).sum(-1)

    def draw(
        self, generator: Streams, k: int, context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k {self.features}"]:
        mean, log_std = self.normal(context, len(generator))
        return mean[:, None] + log_std.exp()[:, None] * generator.normal(k, self.features)


class FlowPrior(Prior):
    """A flow of the flow family, given the condition where there is one."""

    def __init__(self, name: str, features: int, context: int, steps: int) -> None:
        super().__init__(features)
        flow = flow_of(name, features, context, steps)
        assert isinstance(flow, Latent)
        self.flow = flow

    def log_prob(
        self, z: Float[Tensor, "n k {self.features}"], context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k"]:
        n, k, _ = z.shape
        given = None if context is None else context.repeat_interleave(k, 0)
        found: Tensor = self.flow.log_prob(z.flatten(0, 1), given)  # type: ignore[operator]
        return found.reshape(n, k)

    def draw(
        self, generator: Streams, k: int, context: Context, posterior: Posterior
    ) -> Float[Tensor, "n k {self.features}"]:
        drawn = [self.flow.sample(len(generator), context, generator=generator) for _ in range(k)]
        return torch.stack(drawn, 1) if drawn else generator.normal(0, self.features)


def prior_of(kind: str, features: int, count: int, steps: int, context: int, inputs: Sequence[int]) -> Prior:
    """The prior of a name in `PRIORS`."""
    if kind == "normal":
        return Normal(features)
    if kind == "mixture":
        return Mixture(features, count)
    if kind == "vamp":
        return Vamp(features, count, inputs)
    return Conditional(features, context) if kind == "conditional" else FlowPrior(kind, features, context, steps)
