"""DP-SGD: descents whose gradients hide every single item behind noise.

    g = 1/B (Σ_i g_i min(1, C / |g_i|) + N(0, σ² C²)),   every item in the batch with probability q = B / n

Abadi et al., 2016, arXiv 1607.00133, algorithm 1. The gradient of each item is that of the loss of a batch of it alone,
so that nothing couples items; the batch is a Poisson sample, which is what the accountant assumes
(`maths.privacy.spent`); sampling and noise come from the operating system, and no seed repeats them. What is private is
this descent: losses are not logged, and models start from draws of the event, not from data. Views of the data,
validation and hand-made preparation read the items too and are the caller's: `pofx synthesize` does without them.
"""

import secrets
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.errors import TrainingError, UsageError
from pofx.core.event import Discrete, Event, count, each, select
from pofx.core.model import Batch, Model, X
from pofx.core.objective import Objective
from pofx.core.random import Streams
from pofx.train.feed import Feed
from pofx.train.options import TrainOptions

AT_ONCE = 32  # items whose gradients are held together


def public_items(event: Event, n: int, streams: Streams) -> X:
    """n items that depend on the event alone: even classes, normal numbers within [-1, 1] where they are bounded."""
    if isinstance(event, dict):
        return {key: public_items(part, n, streams) for key, part in event.items()}
    if isinstance(event, Discrete):
        counts = torch.tensor(event.counts, device=streams.device).reshape(event.shape)
        return (streams.uniform(*event.shape) * counts).long().minimum(counts - 1)
    return streams.normal(*event.shape).clamp(-1, 1)


class PrivateGradients:
    """The noisy gradients of one phase; `secret` is seeded by the operating system."""

    def __init__(self, objective: Model | Objective, options: TrainOptions, items: int) -> None:
        phases = tuple(objective.phases())
        if len(phases) != 1 or phases[0].every != 1 or phases[0].repeats != 1:
            raise UsageError(f"{objective.label} has no loss per item: item_noise needs a model of one phase")
        if not options.item_clip:
            raise UsageError("item_noise hides gradients of bounded norm: pass item_clip=1.0")
        if options.accumulate != 1 or options.compile or options.precision != "fp32":
            raise UsageError("item_noise needs accumulate=1, compile=false and precision=fp32: leave them out")
        self.objective, self.options = objective, options
        self.loss = _Loss(objective, phases[0].loss)
        self.rate = min(1.0, options.batch_size / max(items, 1))
        self.secret = torch.Generator().manual_seed(secrets.randbits(63))
        self.vectorised = True

    def drawn(self, feed: Feed) -> Batch | None:
        """A Poisson sample of the items; None where it is empty."""
        index = (torch.rand(len(feed), generator=self.secret, dtype=torch.float64) < self.rate).nonzero()[:, 0]
        if not len(index):
            return None
        noise = Streams(int(torch.randint(1 << 62, (), generator=self.secret)), len(index), device=feed.device)
        return feed.of(index.to(feed.device), noise)

    def fill(self, feed: Feed) -> None:
        """Give every parameter its noisy gradient."""
        named = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        total = {name: torch.zeros_like(p) for name, p in named.items()}
        batch = self.drawn(feed)
        for i in range(0, 0 if batch is None else len(batch), AT_ONCE):
            assert batch is not None
            for name, value in self.clipped(select_batch(batch, slice(i, i + AT_ONCE)), named).items():
                total[name] += value
        scale = self.options.item_noise * self.options.item_clip
        for name, p in named.items():
            noise = torch.randn(p.shape, generator=self.secret, dtype=torch.float64).to(p)
            p.grad = (total[name] + scale * noise) / self.options.batch_size

    def clipped(self, batch: Batch, named: dict[str, nn.Parameter]) -> dict[str, Tensor]:
        """The sum over items of their gradients, each of norm at most `item_clip`."""
        each_item = self._each(batch, named)
        squares = sum(g.flatten(1).double().square().sum(1) for g in each_item.values())
        norms = torch.as_tensor(squares).sqrt()
        if not bool(norms.isfinite().all()):
            raise TrainingError(f"the gradient of a single item is not finite in {self.objective.label}: lower lr")
        factor = (self.options.item_clip / norms.clamp(min=1e-12)).clamp(max=1.0)
        return {k: torch.einsum("n,n...->...", factor.to(g), g) for k, g in each_item.items()}

    def _each(self, batch: Batch, named: dict[str, nn.Parameter]) -> dict[str, Float[Tensor, "n ..."]]:
        """The gradient of every item; all together where the loss can be vectorised, else one by one."""
        parameters = {name: p.detach() for name, p in named.items()}
        if self.vectorised:
            from torch.func import grad, vmap  # here: loading what it needs takes seconds

            try:
                one = grad(self._loss_of_one)
                along = (None, 0, None if batch.condition is None else 0)
                found: dict[str, Tensor] = vmap(one, along, randomness="different")(
                    parameters, batch.x, batch.condition
                )
                return found
            except RuntimeError:  # control flow that depends on values, an operation without a batching rule
                self.vectorised = False
        rows = []
        for i in range(len(batch)):
            part = select_batch(batch, slice(i, i + 1))
            loss = _total(self.loss(part))
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            rows.append(
                [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, named.values(), strict=True)]
            )
        return {name: torch.stack([row[k] for row in rows]) for k, name in enumerate(named)}

    def _loss_of_one(self, parameters: dict[str, Tensor], x: X, condition: X | None) -> Tensor:
        from torch.func import functional_call

        def alone(value: X | None) -> X | None:
            return None if value is None else each(value, lambda part: part[None])

        held = {f"objective.{name}": value for name, value in parameters.items()}
        return _total(functional_call(self.loss, held, (Batch(alone(x), alone(condition)),)))


class _Loss(nn.Module):
    """The loss of the one phase as a module, whose parameters can be exchanged."""

    def __init__(self, objective: Model | Objective, loss: Callable[[Batch], Tensor | dict[str, Tensor]]) -> None:
        super().__init__()
        self.objective, self.loss = objective, loss

    def forward(self, batch: Batch) -> Tensor | dict[str, Tensor]:
        return self.loss(batch)


def _total(loss: Tensor | dict[str, Tensor]) -> Float[Tensor, ""]:
    return sum(loss.values(), torch.zeros(())) if isinstance(loss, dict) else loss


def select_batch(batch: Batch, part: slice) -> Batch:
    return Batch(select(batch.x, part), None if batch.condition is None else select(batch.condition, part))


def prepare_publicly(objective: Model | Objective, device: torch.device) -> None:
    """`prepare` with items that are no data."""
    model = objective.model if isinstance(objective, Objective) else objective

    def take(n: int) -> Batch:
        n = min(n, 1000)
        streams = Streams(0, n, device=device)
        x = public_items(model.event, n, streams)
        condition = None if model.condition is None else public_items(model.condition, n, streams)
        assert count(x) == n
        return Batch(x, condition)

    objective.prepare(take)
