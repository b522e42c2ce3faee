"""Distillation: a model of average velocities learns from a trained diffusion model to draw in one step or a few.

The student (`families.diffusion.flow_map`) has the teacher's network and starts as the teacher: over a gap of zero its
average velocity is the teacher's velocity, whatever path the teacher was trained on. The teacher is frozen.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pofx.combine.duel import EVERY, Duel
from pofx.core.errors import Unsupported, unknown
from pofx.core.event import Condition, Continuous
from pofx.core.model import Batch, Model, Phase
from pofx.core.objective import Frozen, Objective
from pofx.families.diffusion.denoiser import Context, Denoiser
from pofx.families.diffusion.diffusion import Diffusion
from pofx.families.diffusion.flow_map import FlowMap
from pofx.nets.vector.mlp import ResidualMLP

METHODS = ("consistency", "progressive", "reflow", "matching", "adversarial")
TRAINS_WITH: Mapping[str, Mapping[str, Any]] = {"adversarial": {"betas": [0.0, 0.99], "clip": 0.0}}  # of a method
LEVELS = 32  # steps of the teacher from noise to data
GAPS = 5  # doublings from a step of the teacher to the whole walk
CRITIC = 3  # descents of the critic for one of the student
DUEL = 0.5  # weight of the duel beside the targets of the teacher
ENDS = 0.02  # times nearer to data or noise at which densities are not matched


def student_of(teacher: Model, sampler_steps: int = 1) -> FlowMap:
    """A model of average velocities with the network, weights and standardisation of a trained diffusion model.

    Raises:
        Unsupported: another model, or one with a learned variance, whose network has two outputs.
    """
    if not isinstance(teacher, Diffusion) or teacher.variance == "learned":
        raise Unsupported(f"{teacher.label} cannot be distilled: train flow-matching, ddpm or another of their core")
    same = ("network", "width", "depth", "dropout", "patch", "octaves", "output", "condition_dropout", "grid_condition")
    values = {key: getattr(teacher, key) for key in same}
    student = FlowMap(teacher.event, teacher.condition, **values, sampler_steps=sampler_steps)
    student.denoiser.load_state_dict(copy.deepcopy(teacher.denoiser.state_dict()))
    return student


class Distilled(Objective):
    """Trains the student of a frozen teacher.

    method: "consistency", every point of the teacher's flow leads to the end of its step, where the next point leads
    (Song et al., 2023, arXiv 2303.01469, algorithm 2; in several steps Heek et al., 2024, arXiv 2403.06807);
    "progressive", a gap is two halves, down to steps of the teacher (Salimans and Ho, 2022, arXiv 2202.00512, all
    stages at once); "reflow", straight lines from noises to what the teacher makes of them (Liu et al., 2023, arXiv
    2209.03003); "matching", the draws of the student under noise are distributed as the teacher's, by the difference of
    the teacher's estimate to that of a critic which learns the student's (Yin et al., 2024, arXiv 2311.18828 and
    2405.14867); "adversarial", the targets of "consistency" beside a duel with a critic of noisy items, whose real side
    are the data, or the draws of a teacher under guidance (Sauer et al., 2023, arXiv 2311.17042; Kim et al., 2023,
    arXiv 2310.02279). guidance: of the teacher, which the student then has built in. sampler_steps: of the student,
    which "consistency", "matching" and "adversarial" train for that number alone.

    Raises:
        UsageError: an unknown method.
        Unsupported: a teacher that is no diffusion model.
    """

    def __init__(
        self, teacher: Model, method: str = "consistency", guidance: float = 1.0, sampler_steps: int = 1
    ) -> None:
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        super().__init__(student_of(teacher, sampler_steps))
        assert isinstance(teacher, Diffusion)
        self.method, self.guidance = method, guidance
        self.critic: Denoiser | Duel | None = None
        if method == "matching":
            self.critic = copy.deepcopy(teacher.denoiser).requires_grad_(True)
        elif method == "adversarial":
            self.critic = self._duel(teacher)
        self.teacher = Frozen(teacher.denoiser)

    def _duel(self, teacher: Diffusion) -> Duel:
        """A critic of the kind and size of the teacher's network."""
        assert isinstance(teacher.event, Continuous)
        plain = isinstance(teacher.denoiser.net, ResidualMLP)
        duel = Duel(
            teacher.event,
            teacher.condition,
            self._noised,
            network="mlp" if plain else "grid",
            width=teacher.width or (128 if plain else 64),
            depth=teacher.depth,
            grid_condition=teacher.grid_condition,
        )
        if duel.judge.grids is not None and teacher.denoiser.grids is not None:
            duel.judge.grids.load_state_dict(teacher.denoiser.grids.state_dict())
        return duel

    @property
    def student(self) -> FlowMap:
        """The model."""
        assert isinstance(self.model, FlowMap)
        return self.model

    def prepare(self, take: object) -> None:
        """The student is standardised as its teacher is."""

    def phases(self) -> Iterable[Phase]:
        own = tuple(self.model.parameters())
        if self.critic is None:
            return (Phase("student", own, self.loss),)
        critic = tuple(self.critic.parameters())
        if isinstance(self.critic, Duel):
            return (
                Phase("critic", critic, self.critic_loss),
                Phase("student", own, self.loss),
                Phase("regulariser", critic, self.regulariser_loss, every=EVERY),
            )
        return (Phase("critic", critic, self.critic_loss, repeats=CRITIC), Phase("student", own, self.loss))

    def velocity(
        self, z: Float[Tensor, "n *event"], t: Float[Tensor, "n"], condition: Condition | None
    ) -> Float[Tensor, "n *event"]:
        """The teacher's velocity on the straight path of standardised items, guided."""
        net: Denoiser = self.teacher.module
        out = _velocity(net, z, t, net.embed(condition))
        if condition is not None and self.guidance != 1.0:
            free = _velocity(net, z, t, net.free(len(z)))
            out = free + self.guidance * (out - free)
        return out

    def carried(
        self, z: Float[Tensor, "n *event"], t: Float[Tensor, "n"], s: Float[Tensor, "n"], condition: Condition | None
    ) -> Float[Tensor, "n *event"]:
        """Where the teacher's flow leads z from t to s: one step of Heun's method."""
        step = (t - s).reshape(-1, *[1] * (z.ndim - 1))
        first = self.velocity(z, t, condition)
        second = self.velocity(z - step * first, s, condition)
        return z - 0.5 * step * (first + second)

    def taught(self, noise: Float[Tensor, "n *event"], condition: Condition | None) -> Float[Tensor, "n *event"]:
        """What the teacher makes of noises: standardised events."""
        x = noise
        for k in range(LEVELS // 2, 0, -1):
            t, s = (x.new_full((len(x),), 2 * i / LEVELS) for i in (k, k - 1))
            x = self.carried(x, t, s, condition)
        return x

    def loss(self, batch: Batch) -> Float[Tensor, ""] | dict[str, Tensor]:
        """What the student descends, of the method."""
        if isinstance(self.critic, Duel):
            duel = self.critic.student(self._real(batch), self._drawn(batch), batch.condition)
            return {"teacher": self._regression(batch), "duel": DUEL * duel}
        return self._matching(batch) if self.method == "matching" else self._regression(batch)

    def _regression(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared error of the average velocity, for the target of the method."""
        student, x, count = self.student, batch.x, self.student.sampler_steps
        n, wide, condition = len(x), (-1, *[1] * (x.ndim - 1)), batch.condition
        noise = torch.randn_like(x, dtype=torch.float32)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n
        context = student.denoiser.embed(condition)
        with torch.no_grad():
            x = student.denoiser.standardised(x.float())
            if self.method == "reflow":
                x = self.taught(noise, condition)
                t = u.clamp(min=1e-3)
                r = t * torch.rand(n, device=x.device)  # on a straight line all gaps have one velocity
                z, wanted = x + t.reshape(wide) * (noise - x), noise - x
            else:
                t = ((u * LEVELS).ceil() / LEVELS).clamp(1 / LEVELS, 1)
                z = x + t.reshape(wide) * (noise - x)
                if self.method != "progressive":
                    r = ((t * count - 1e-4).ceil() - 1).clamp(min=0) / count  # the end of the step that t is in
                    s = torch.maximum(t - 1 / LEVELS, r)
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
        error = student.average(z, r, t, context).float() - wanted
        return (_weight(t) * error.square().flatten(1).mean(1)).mean()

    def _matching(self, batch: Batch) -> Float[Tensor, ""]:
        """A loss whose gradient in the student's draws is the difference of two estimates of them under noise."""
        x, condition = self._drawn(batch), batch.condition
        with torch.no_grad():
            z, t, _ = self._noised(x)
            wide = (-1, *[1] * (x.ndim - 1))
            real = z - t.reshape(wide) * self.velocity(z, t, condition)
            assert isinstance(self.critic, Denoiser)
            false = z - t.reshape(wide) * _velocity(self.critic, z, t, self.critic.embed(condition))
            size = (x - real).abs().flatten(1).mean(1).clamp(min=1e-3).reshape(wide)
            wanted = x - (false - real) / size
        return 0.5 * (x - wanted).square().mean()

    def critic_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared error of the critic's velocity of the student's draws under noise, or its side of the duel."""
        with torch.no_grad():
            x = self._drawn(batch)
        if isinstance(self.critic, Duel):
            return self.critic.critic(self._real(batch), x, batch.condition)
        assert isinstance(self.critic, Denoiser)
        z, t, noise = self._noised(x)
        error = _velocity(self.critic, z, t, self.critic.embed(batch.condition)).float() - (noise - x)
        return (_weight(t) * error.square().flatten(1).mean(1)).mean()

    def regulariser_loss(self, batch: Batch) -> Float[Tensor, ""]:
        """The squared slope of the critic of a duel on both sides."""
        assert isinstance(self.critic, Duel)
        with torch.no_grad():
            x = self._drawn(batch)
        return self.critic.penalty(self._real(batch), x, batch.condition)

    @torch.no_grad()
    def _real(self, batch: Batch) -> Tensor:
        """The side of the duel that is to be reached, standardised."""
        if batch.condition is not None and self.guidance != 1.0:  # the data are not what a guided teacher draws
            return self.taught(torch.randn_like(batch.x, dtype=torch.float32), batch.condition)
        return self.student.denoiser.standardised(batch.x.float())

    def _drawn(self, batch: Batch) -> Tensor:
        """As many draws of the student as there are items, under their conditions, standardised."""
        noise = torch.randn_like(batch.x, dtype=torch.float32)
        return self.student.walked(noise, self.student.denoiser.embed(batch.condition))

    def _noised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n = len(x)
        u = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n
        t, noise = ENDS + (1 - 2 * ENDS) * u, torch.randn_like(x)
        return x + t.reshape(-1, *[1] * (x.ndim - 1)) * (noise - x), t, noise

    def validation(self, batch: Batch) -> Float[Tensor, ""] | None:
        """None: a loss against its own targets has no information on the draws."""
        return None


def _velocity(net: Denoiser, z: Tensor, t: Tensor, context: Context | None) -> Tensor:
    """Of the straight path, by a network on the quarter circle."""
    wide, phi = (-1, *[1] * (z.ndim - 1)), torch.atan2(t, 1 - t)
    cos, sin = phi.cos().reshape(wide), phi.sin().reshape(wide)
    x = z / (t**2 + (1 - t) ** 2).sqrt().reshape(wide)
    return (sin - cos) * x + (sin + cos) * net.velocity(x, phi, context)


def _weight(t: Tensor) -> Tensor:
    """(sin + cos)^-2: an error of the velocity as one of the network's output."""
    return 1 / (1 + 2 * t * (1 - t) / (t**2 + (1 - t) ** 2))
