"""Codes of given items under a generator: by a learned encoder, by optimisation, or by the one after the other.

An encoder beside the duel learns z = E(x) by the squared error of G(E(x)) on real items (as in the hybrid of Zhu et
al., 2016, "Generative visual manipulation on the natural image manifold", arXiv 1609.03552). Optimisation descends the
same error in z itself, with a normal prior on z that keeps codes where samples come from.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.event import Bounded, Condition, Continuous, Event, dims, each
from pofx.core.generative import Decoding
from pofx.core.model import Batch, Phase
from pofx.core.options import Range
from pofx.families.gan.players import Generator
from pofx.nets.image.autoencoder import ImageEncoder
from pofx.nets.vector.conditioner import Conditioner
from pofx.nets.vector.linear import Linear
from pofx.nets.vector.mlp import MLP

KINDS = ("encoder", "optimisation")
Steps = Annotated[int, Range(0, 10_000)]
EVERY = 8  # steps of the duel for one of the encoder
MOST_CHANNELS = 32  # of the encoder of grids
RATE, PRIOR = 0.05, 0.001  # of the optimisation: Adam's rate, weight of |z|² per dimension


class CodeEncoder(nn.Module):
    """(n, *event.shape), condition → codes (n, outputs)."""

    def __init__(self, event: Continuous, condition: Event | None, outputs: int, width: int) -> None:
        super().__init__()
        grid, self.outputs = len(event.shape) == 3, outputs
        self.conditioner = Conditioner(condition, width)
        self.features: nn.Module = (
            ImageEncoder(event.shape, width, min(width, MOST_CHANNELS)) if grid else MLP(dims(event), width, (width,))
        )
        self.last = Linear(width + self.conditioner.width, self.outputs)

    def forward(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n outputs"]:
        """x (n, *event.shape), condition (n, …) → (n, outputs)."""
        h = nn.functional.silu(self.features(x if isinstance(self.features, ImageEncoder) else x.flatten(1)))
        context = self.conditioner(condition)
        z: Tensor = self.last(h if context is None else torch.cat((h, context), 1))
        return z


class Inverting(Decoding):
    """A model with a one-pass generator, whose codes are its noise."""

    lossless = False
    exempt = {"reconstruction": "a generator reaches only its own samples, so x is recovered only roughly"}
    generator: Generator
    encoder: CodeEncoder | None

    def give_codes(self, inversion: str, steps: int | None, latent: int, width: int) -> None:
        """Set up codes, once there is a generator; the arguments are those of `GAN`."""
        assert isinstance(self.event, Continuous)
        self.inversion, self.inversion_steps = inversion, steps
        outputs = min(latent, self.generator.inputs)  # perceptrons of few numbers read fewer
        self.encoder = CodeEncoder(self.event, self.condition, outputs, width) if inversion == "encoder" else None
        self.code = Continuous((self.generator.inputs,))

    @property
    def stage(self) -> float | None:
        """How far a generator has grown that grows; None for one that does not."""
        return None

    def inversion_phases(self) -> tuple[Phase, ...]:
        """The phase of the encoder, where there is one."""
        if self.encoder is None:
            return ()
        return (Phase("inversion", tuple(self.encoder.parameters()), self.inversion_loss, every=EVERY),)

    def inversion_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Of the encoder alone: the squared error of items after their codes, which are drawn towards the noise."""
        assert self.encoder is not None
        z = self.encoder(batch.x, batch.condition)
        before = self.generator.training
        self.generator.eval()  # running means are those of samples
        back = self.generator(self._whole(z), batch.condition, stage=self.stage)
        self.generator.train(before)
        return (back - batch.x).square().mean() + 0.01 * z.float().square().mean()

    def _whole(self, code: Float[Tensor, "n latent"]) -> Float[Tensor, "n inputs"]:
        """A code with the noise of cells in its middle."""
        rest = self.generator.inputs - code.shape[1]
        return torch.cat((code, code.new_zeros(len(code), rest)), 1) if rest else code

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n inputs"]:
        """The noise whose sample is near x: float32 (n, inputs)."""
        self.check_condition(len(x), condition)
        if self.encoder is None:
            z = x.new_zeros(len(x), self.generator.inputs)
        else:
            z = self._whole(self.encoder(x, condition).float())
        usual = 0 if self.encoder is not None else 100
        steps = usual if self.inversion_steps is None else self.inversion_steps

        def generate(code: Tensor, condition: Any) -> Tensor:
            return self.generator(code, condition, stage=self.stage)  # type: ignore[no-any-return]

        return refined(generate, z, x, condition, steps) if steps else z

    def decode(self, z: Float[Tensor, "n inputs"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The sample of noise z (n, inputs): float32 (n, *event.shape)."""
        self.check_condition(len(z), condition)
        return self.bounded(self.generator(z, condition, stage=self.stage))

    def bounded(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
        """x, cut to the bounds of a bounded event."""
        return x.clamp(-1, 1) if isinstance(self.event, Bounded) else x


def refined(
    generate: Callable[[Tensor, Any], Tensor],
    z: Float[Tensor, "n inputs"],
    x: Float[Tensor, "n *event"],
    condition: Condition | None,
    steps: int,
) -> Float[Tensor, "n inputs"]:
    """Codes after `steps` of Adam on |G(z) - x|² + prior, item by item: each has its own moments, so that no item
    depends on another. The best code of each item is returned."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().float()
        condition = None if condition is None else each(condition, Tensor.clone)
        z = z.detach().clone().float().requires_grad_()
        descent = torch.optim.Adam([z], lr=RATE, betas=(0.9, 0.99))
        best, least = z.detach().clone(), x.new_full((len(x),), torch.inf)
        for step in range(steps + 1):
            error = (generate(z, condition) - x).square().flatten(1).mean(1)
            with torch.no_grad():
                better = error < least
                best[better], least = z[better], torch.minimum(error, least)
            if step == steps:
                break
            loss = (error + PRIOR * z.square().mean(1)).sum() * x[0].numel()
            (z.grad,) = torch.autograd.grad(loss, z)
            descent.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
            descent.step()
    return best
