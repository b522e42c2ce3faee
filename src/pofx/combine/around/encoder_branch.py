"""A copy of the contracting path of a frozen U-Net, whose features are added to it by maps that start at zero.

ControlNet (Zhang, Rao and Agrawala, 2023, arXiv 2302.05543, section 3): the copy starts with the weights of the run, so
it knows the items from the first step; the condition enters through a map that starts at zero too. At each join the
expanding path of the frozen network receives skip + join(copy): before training nothing is changed, bit for bit.
"""

import copy

from torch import Tensor, nn

from pofx.core.errors import Unsupported
from pofx.core.event import Condition, Event
from pofx.core.model import Denoising
from pofx.families.diffusion.denoiser import CONTEXT, Denoiser
from pofx.families.diffusion.diffusion import Diffusion
from pofx.nets.image.patches import gathered
from pofx.nets.image.placed import placed
from pofx.nets.image.unet import CONVS, UNet
from pofx.nets.vector.conditioner import Conditioner


def copied_denoiser(base: Denoising) -> tuple[Denoiser, UNet]:
    """The denoiser of a run and its U-Net.

    Raises:
        Unsupported: the run has another network.
    """
    net = base.denoiser.net if isinstance(base, Diffusion) else None
    if not isinstance(base, Diffusion) or not isinstance(net, UNet):
        raise Unsupported(f"form=encoder copies the encoder of a U-Net, which {base.label} has not: pass form=small")
    return base.denoiser, net


class EncoderBranch(nn.Module):
    """What the network sees, its context, and the condition → what is added at each skip, and at the bottom."""

    def __init__(self, base: Denoising, condition: Event | None) -> None:
        super().__init__()
        denoiser, net = copied_denoiser(base)
        rank = len(denoiser.shape) - 1
        conv = CONVS[rank - 1]
        self.patch = net.patch
        self.placed = placed(condition) if rank == 2 else None
        self.conditioner = Conditioner(condition if self.placed is None else self.placed.rest, CONTEXT)
        self.net = copy.deepcopy(net).requires_grad_(True).train()
        for part in ("up", "grow"):  # of the expanding path nothing is used
            setattr(self.net, part, nn.ModuleList())
        self.net.norm, self.net.last = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        widths = net.skip_widths
        self.hint: nn.Module | None = None
        if self.placed is not None:
            inputs = self.placed.channels * net.patch**rank
            self.hint = nn.Sequential(
                conv(inputs, widths[0], 3, padding=1), nn.SiLU(), _zero(conv(widths[0], widths[0], 1))
            )
        self.known = _zero(nn.Linear(CONTEXT, CONTEXT)) if self.conditioner.width else None
        self.joins = nn.ModuleList(_zero(conv(width, width, 1)) for width in (*widths, widths[-1]))

    def forward(self, seen: Tensor, context: Tensor, condition: Condition | None) -> list[Tensor]:
        hint = None
        if self.placed is not None and self.hint is not None:
            assert condition is not None
            grid = self.placed.grid(condition, tuple(seen.shape[2:])).to(seen.dtype)
            hint = self.hint(gathered(grid, self.patch))
        if self.known is not None:
            beside = condition if self.placed is None else self.placed.beside(condition)
            context = context + self.known(self.conditioner(beside))
        h, skips = self.net.descended(seen, context, hint)
        return [join(part) for join, part in zip(self.joins, (*skips, h), strict=True)]


def _zero(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
