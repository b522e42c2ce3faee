"""Distillation: a model of average velocities learns from a trained diffusion model to draw in one step or a few.

The student (`families.diffusion.flow_map`) has the teacher's network and starts as the teacher: over a gap of zero its
average velocity is the teacher's velocity, whatever path the teacher was trained on. The teacher is frozen.
"""

import copy
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.core.errors import Unsupported, unknown
from pofx.core.model import Batch, Model, Phase
from pofx.core.objective import Frozen, Objective
from pofx.families.diffusion.denoiser import Denoiser
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.flow_map import FlowMap

METHODS = ("consistency", "progressive", "reflow")
LEVELS = 32  # steps of the teacher from noise to data
GAPS = 5  # doublings from a step of the teacher to the whole walk


def student_of(teacher: Model) -> FlowMap:
    """A model of average velocities with the network, weights and standardisation of a trained diffusion model.

    Raises:
        Unsupported: another model, or one with a learned variance, whose network has two outputs.
    """
    if not isinstance(teacher, Diffusion) or teacher.variance == "learned":
        raise Unsupported(f"{teacher.label} cannot be distilled: train flow-matching, ddpm or another of their core")
    same = ("network", "width", "depth", "dropout", "patch", "octaves", "output", "condition_dropout")
    student = FlowMap(teacher.event, teacher.condition, **{key: getattr(teacher, key) for key in same})
    student.denoiser.load_state_dict(copy.deepcopy(teacher.denoiser.state_dict()))
    return student


class Distilled(Objective):
    """Trains the student of a frozen teacher.

    method: "consistency", every point of the teacher's flow leads where the next one does (Song et al., 2023, arXiv
    2303.01469, algorithm 2); "progressive", a gap is two halves, down to steps of the teacher (Salimans and Ho, 2022,
    arXiv 2202.00512, all stages at once); "reflow", straight lines from noises to what the teacher makes of them (Liu
    et al., 2023, arXiv 2209.03003). guidance: of the teacher, which the student then has built in.

    Raises:
        UsageError: an unknown method.
        Unsupported: a teacher that is no diffusion model.
    """

    def __init__(self, teacher: Model, method: str = "consistency", guidance: float = 1.0) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        super().__init__(student_of(teacher))
        assert isinstance(teacher, Diffusion)
        self.method, self.guidance = method, guidance
        self.teacher = Frozen(teacher.denoiser)

    def prepare(self, take: object) -> None:
        """The student is standardised as its teacher is."""

    def phases(self) -> Iterable[Phase]:
        return (Phase("student", tuple(self.model.parameters()), self.loss),)

    def velocity(
        self, z: Float[Tensor, "n *event"], t: Float[Tensor, "n"], condition: Tensor | None
    ) -> Float[Tensor, "n *event"]:
        """The teacher's velocity on the straight path of standardised items, guided."""
        net: Denoiser = self.teacher.module
        wide, phi = (-1, *[1] * (z.ndim - 1)), torch.atan2(t, 1 - t)
        cos, sin = phi.cos().reshape(wide), phi.sin().reshape(wide)
        x = z / (t**2 + (1 - t) ** 2).sqrt().reshape(wide)
        out = net.velocity(x, phi, net.embed(condition))
        if condition is not None and self.guidance != 1.0:
            free = net.velocity(x, phi, net.free(len(x)))
            out = free + self.guidance * (out - free)
        return (sin - cos) * x + (sin + cos) * out

    def carried(
        self, z: Float[Tensor, "n *event"], t: Float[Tensor, "n"], s: Float[Tensor, "n"], condition: Tensor | None
    ) -> Float[Tensor, "n *event"]:
        """Where the teacher's flow leads z from t to s: one step of Heun's method."""
        step = (t - s).reshape(-1, *[1] * (z.ndim - 1))
        first = self.velocity(z, t, condition)
        second = self.velocity(z - step * first, s, condition)
        return z - 0.5 * step * (first + second)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared error of the average velocity, for the target of the method."""
        student, x = self.model, batch.x
        assert isinstance(student, FlowMap)
        n, wide, condition = len(x), (-1, *[1] * (x.ndim - 1)), batch.condition
        noise = torch.randn_like(x, dtype=torch.float32)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n
        context = student.denoiser.embed(condition)
        with torch.no_grad():
            x = student.denoiser.standardised(x.float())
            if self.method == "reflow":
                x = noise
                for k in range(LEVELS // 2, 0, -1):
                    x = self.carried(
                        x, x.new_full((n,), 2 * k / LEVELS), x.new_full((n,), 2 * (k - 1) / LEVELS), condition
                    )
                t = r = u
                z, wanted = x + t.reshape(wide) * (noise - x), noise - x
            else:
                t = ((u * LEVELS).ceil() / LEVELS).clamp(1 / LEVELS, 1)
                z = x + t.reshape(wide) * (noise - x)
                if self.method == "consistency":
                    r, s = torch.zeros_like(t), t - 1 / LEVELS
                else:
                    gap = 2.0 ** torch.randint(0, GAPS + 1, (n,), device=x.device) / LEVELS
                    r = (t - gap).clamp(min=0)
                    s = torch.where(gap > 1.5 / LEVELS, (t + r) / 2, r)
                near = self.carried(z, t, s, condition)
                if self.method == "progressive":
                    own = z - (t - s).reshape(wide) * student.average(z, s, t, context)
                    near = torch.where((t - s > 1.5 / LEVELS).reshape(wide), own, near)
                end = near - (s - r).reshape(wide) * student.average(near, r, s, context)
                wanted = (z - end) / (t - r).reshape(wide)
        weight = 1 / (1 + 2 * t * (1 - t) / (t**2 + (1 - t) ** 2))
        error = student.average(z, r, t, context).float() - wanted
        return (weight * error.square().flatten(1).mean(1)).mean()

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """None: a loss against its own targets has no information on the draws."""
        return None
