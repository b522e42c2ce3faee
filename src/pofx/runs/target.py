"""fit_density: a flow for a density known up to its constant, from that density alone; then exact importance weights.

A Boltzmann generator (Noé, Olsson, Köhler and Wu, 2019, arXiv 1812.01729): the flow q is fitted by the reverse KL
divergence E_q[log q - log f], whose gradient goes through the draws, along the path only (Vaitl, Nicoli, Nakajima and
Kessel, 2022, arXiv 2206.09016). It seeks modes and is blind to their shares; against that work a bridge from a broad
normal to the target, scouts (found without any model, they show where the mass lies) or draws from the target, then the
model's own importance-weighted draws, and at last `ImportanceSampler.missed`. Importance weights correct what is left.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pofx.core import config
from pofx.core.entry import device_of, public
from pofx.core.errors import DataError, TrainingError, Unsupported, UsageError
from pofx.core.generative import Leading, Noticing
from pofx.core.model import Batch, Denoising, OnePhase, Phase, Reparameterised
from pofx.core.objective import Objective
from pofx.core.options import Positive, Range, Real, Seed, Unit, Width
from pofx.core.progress import Sink
from pofx.core.random import Streams, seeded
from pofx.data.kinds.points import points
from pofx.data.support import stated
from pofx.maths.annealing import standard_normal
from pofx.maths.importance import truncated
from pofx.represent.support import REAL
from pofx.represent.table import Points
from pofx.runs.adjoint import AdjointMatching
from pofx.runs.few_step import FewStepMatching
from pofx.runs.map_sampler import MapSampler
from pofx.runs.options import sort_options
from pofx.runs.path_sampler import PathSampler
from pofx.runs.run import Job, execute
from pofx.runs.scouts import scouted
from pofx.runs.walkers import Walkers
from pofx.runs.weighing import ImportanceSampler, event_density
from pofx.train.devices import processes
from pofx.train.feed import Feed
from pofx.train.options import Budget, Minutes, Steps, TrainOptions

PUBLIC = ("fit_density",)

HOTTEST = 0.01  # the target's share of the log-density where the bridge from the broad normal begins
FADED = 0.6  # share of the budget in which scouts are replaced by importance-weighted draws
CLIFF = 1e4  # nats below the best of a batch from which on log f is damped, so that one clash does not rule a step
PLAIN: dict[str, Any] = {"octaves": 0, "dropout": 0.0, "bound": 10.0}  # of every model that has them: smooth, and wide
DEFAULTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("nsf", "nsf-coupling"), {"conditioner": "coupling", "layers": 6, "bins": 16, "width": 64, "blocks": 1}
    ),
    **dict.fromkeys(("split-mean-flow", "mean-flow"), {"sampler_steps": 8}),
}
TRAINS_WITH: dict[str, Any] = {"batch_size": 256, "lr": 2e-3, "weight_decay": 0.0, "ema_ramp": 0.1}


class ReverseKL(Objective):
    """The loss of a model q against a density f, bridged to: (1 - mix) E_q[log q - log f] - mix E_data[log q].

    With `fading` data are replaced by the model's own draws, importance-weighted to those of f: evenly, until `FADED`
    of the budget is spent. Data hold modes while the target emerges; the weights see their shares, of which the
    gradient along the path knows nothing.
    """

    model: Reparameterised
    spent: Tensor

    def __init__(
        self,
        model: Reparameterised,
        log_density: Callable[[Tensor], Tensor],
        budget: Budget,
        *,
        annealing: float,
        mix: float,
        fading: bool = False,
    ) -> None:
        super().__init__(model)
        self.log_density, self.budget, self.annealing = log_density, budget, annealing
        self.mix, self.fading = mix, fading
        self.register_buffer("spent", torch.zeros((), dtype=torch.float64))  # share of the budget; survives a resume
        self.last: float | None = None

    def train(self, mode: bool = True) -> "ReverseKL":
        """Always as in use: a draw and its density must come from the same network, without dropout."""
        return super().train(False)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("model", tuple(self.parameters()), self.loss),)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        beta = self.beta()
        streams = Streams(int(torch.randint(2**62, ())), len(batch), device=batch.x.device)
        x = self.model.rsample(len(batch), generator=streams)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        for p in parameters:
            p.requires_grad_(False)  # of the gradient of log q only the path through x is used: the rest is noise
        try:
            log_q = self.model.log_prob(x)
            bridge = beta * damped(self.log_density(x)) + (1 - beta) * standard_normal(x)
        finally:
            for p in parameters:
                p.requires_grad_(True)
        parts = {"reverse": (1 - self.mix) * (log_q - bridge).mean()}
        if self.mix > 0:
            given = max(0.0, 1 - float(self.spent) / FADED) if self.fading else 1.0
            forward = x.new_zeros(())
            if given > 0:
                forward = forward + given * self.model.log_prob(batch.x).mean()
            if given < 1:
                w = truncated((bridge - log_q).detach()) - 1 / len(x)  # E_q of the slope of log q is 0: noise goes
                forward = forward + (1 - given) * (w * self.model.log_prob(x.detach())).sum()
            parts["forward"] = -self.mix * forward
        return parts

    def beta(self) -> float:
        """The target's share of the bridge now, from `HOTTEST` to 1 evenly in its logarithm; counts one step."""
        if self.budget.steps is not None:
            self.spent += 1 / self.budget.steps
        else:
            assert self.budget.minutes is not None
            now = time.monotonic()
            self.spent += (now - (self.last or now)) / (60 * self.budget.minutes)
            self.last = now
        if not self.annealing:
            return 1.0
        return float(HOTTEST ** max(0.0, 1 - float(self.spent) / self.annealing))


def damped(log_f: Tensor) -> Tensor:
    """log f with what lies far below the best of the batch drawn up, logarithmically, as Noé et al. do."""
    floor = log_f.detach().max() - CLIFF
    below = (floor - log_f).clamp(min=0)
    return torch.where(below > 0, floor - below.log1p(), log_f)


@public
def fit_density(
    log_target: Callable[[Tensor], Tensor],
    dims: Width,
    model: str = "nsf",
    *,
    support: Any = None,
    centre: Real | Sequence[Real] = 0.0,
    scale: Positive | Sequence[Positive] | None = None,
    samples: Any = None,
    mix: Unit = 0.8,
    annealing: Unit = 0.5,
    scouts: Annotated[int, Range(0, 1_000_000)] = 512,
    minutes: Minutes | None = None,
    steps: Steps | None = None,
    seed: Seed = 0,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool | Sink = True,
    device: str | None = None,
    options: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    **flat: Any,
) -> ImportanceSampler | PathSampler | MapSampler:
    """Fit a model to a density that is known up to a constant factor.

    Args:
        log_target: log f of a batch, float (n, dims) → (n,), in torch, so that it can be differentiated.
        dims: the number of coordinates.
        model: a name of `pofx models`, one with differentiable draws (nsf is then one of couplings, by default), or a
            denoiser such as flow-matching, fitted by adjoint matching (`runs.adjoint`) and importance-weighted by its
            paths, or a map of few steps such as split-mean-flow (`runs.few_step`), weighted by its Jacobians.
        support: where f is positive, as in `pofx.points`; f is never evaluated outside.
        centre: mean of the broad normal from which everything starts, one for all or one per coordinate, of the
            unbounded values (log x for a positive support, logit x for an interval); by default 0, or that of
            `samples`.
        scale: its standard deviation, likewise; it should reach every mode. By default 1 (1.8 where both ends are
            bounded), or that of `samples`.
        scouts: chains that are annealed from there to the target first, and as many that climb straight up, which find
            narrow modes; their mean and spread are the coordinates in which the model is fitted, and their ends are
            fitted too (forward KL), as often as their weights require, with the weight `mix`, so that no mode which
            they have seen is lost, less and less. They cost some 600 evaluations each of log f and its slope; 0 leaves
            them out.
        samples: draws from the target, however few, an array (n, dims): they replace scouts, and `mix` stays.
        annealing: share of the budget in which the target emerges from the broad normal; 0 starts from it at once.
            Denoisers have no need of it.
        minutes: the budget; two minutes if none is given.
        steps: the budget in steps instead.
        out: as in `pofx.fit`, like `resume`, `overwrite`, `progress`, `device` and the options.

    Raises:
        Unsupported: the model has no differentiable draws.
        UsageError: options that nobody knows or that cannot be, or a log_target that does not return (n,) with a slope.
        TrainingError: log_target is nan or infinite at a draw; the message shows where.
    """
    row = config.entry(model)
    by_maps = issubclass(row.model, Leading) and issubclass(row.model, OnePhase)
    denoises = issubclass(row.model, Denoising) and not issubclass(
        row.model, Noticing
    )  # that is a slope of log p there
    by_paths = denoises and issubclass(row.model, OnePhase) and not by_maps
    if not by_paths and not by_maps and not issubclass(row.model, Reparameterised):
        raise Unsupported(f"{model} has no differentiable draws, so that a density cannot lead it: choose nsf")
    if steps is None and minutes is None:
        minutes = 2.0
    budget = Budget(steps=steps, minutes=minutes)
    stated_options = sort_options(row, flat, options=options, trainer=trainer, view=None)
    if stated_options.view:
        raise UsageError(f"{', '.join(stated_options.view)} has no effect here: a target is real, within its support")
    train_options = TrainOptions.of(stated_options.trainer, {**row.trains_with, **TRAINS_WITH})
    accelerator = processes()
    where = accelerator.device if device is None else device_of(device)
    representation, raw = _space(
        log_target, dims, support, centre, scale, samples, scouts, train_options.batch_size, seed
    )
    name = getattr(log_target, "__qualname__", type(log_target).__qualname__)
    with seeded(seed, 0, 1 << 21):
        plain = {} if by_paths or by_maps else {k: v for k, v in PLAIN.items() if k in config.defaults(row.model)}
        values = {**plain, **row.values, **DEFAULTS.get(model, {}), **stated_options.options}
        net = row.model(representation.event, **values)
    plain_density = event_density(log_target, representation)
    log_density = _guarded(plain_density, representation)
    part = mix if samples is not None or scouts else 0.0
    fading = samples is None
    loss: Objective
    if by_maps:
        assert isinstance(net, Leading)
        walkers = Walkers(plain_density) if part else None
        loss = FewStepMatching(net, log_density, budget, mix=part, fading=fading, walkers=walkers)
    elif by_paths:
        loss = AdjointMatching(net, log_density, budget, mix=part, fading=fading)
    else:
        assert isinstance(net, Reparameterised)
        loss = ReverseKL(net, log_density, budget, annealing=annealing, mix=part, fading=fading)
    job = Job(
        name=model,
        objective=loss,
        representation=representation,
        feed=Feed(raw, None, representation, seed=seed, device=where),
        trainer=train_options,
        budget=budget,
        seed=seed,
        card={"data": {"name": f"log_target {name}", "facts": {}}, "training": {"condition": None}},
        request={
            "target": name,
            "dims": dims,
            "model": model,
            "seed": seed,
            "options": {**stated_options.options, **stated_options.trainer, "support": support},
            "budget": budget.request,
        },
    )
    folder = Path(out).expanduser() if out is not None else None
    run = execute(job, folder, resume=resume, overwrite=overwrite, progress=progress, accelerator=accelerator)
    if by_maps:
        return MapSampler(run, log_target)
    return PathSampler(run, log_target) if by_paths else ImportanceSampler(run, log_target)


def _space(
    log_target: Callable[[Tensor], Tensor],
    dims: int,
    support: Any,
    centre: Any,
    scale: Any,
    samples: Any,
    scouts: int,
    batch: int,
    seed: int,
) -> tuple[Points, Tensor]:
    """The coordinates in which the fit works, and raw items that the model may start from: draws, or broad ones."""
    columns = [f"x{i}" for i in range(dims)]
    plain = stated(support, columns)
    if samples is not None:
        fitted = Points.fit(points(samples, support=plain))
        if len(fitted.columns) != dims or fitted.constants:
            raise DataError(f"samples must have {dims} columns that vary (got shape {np.shape(samples)})")
        return fitted, fitted.tensor(samples)
    free = dims - 1 if plain == "simplex" else dims
    ends = [(plain or {}).get(c, (None, None)) if plain != "simplex" else (0.0, 1.0) for c in columns][:free]
    if scale is None:
        scale = [1.8 if None not in e else 1.0 for e in ends]
    for name, value in (("centre", centre), ("scale", scale)):
        if np.ndim(value) and len(value) not in (1, free):
            raise UsageError(f"{name} must be a number or {free} of them (got {len(value)}): pass {name}=1.0")
    mean, std = (np.broadcast_to(np.asarray(v, dtype=np.float64), (free,)).tolist() for v in (centre, scale))
    made = Points(columns, ["float32"] * dims, {}, mean, std, [REAL] * dims, plain)
    if not scouts:
        return made, made.back(Streams(seed + 4, 16 * batch).normal(free).double())[0]
    found, w = scouted(event_density(log_target, made), free, scouts, seed)
    centred = (w[:, None] * found).sum(0)
    spread = (w[:, None] * (found - centred) ** 2).sum(0).sqrt().clamp(min=1e-3)
    old_mean, old_std = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
    mean, std = (old_mean + old_std * centred).tolist(), (old_std * spread).tolist()
    made = Points(columns, ["float32"] * dims, {}, mean, std, [REAL] * dims, plain)
    steps = (torch.arange(16 * batch) + 0.5) / (16 * batch)  # as often as their weights require, evenly
    often = torch.searchsorted(w.cumsum(0), steps.double()).clamp(max=len(w) - 1)
    return made, made.back((found[often] - centred) / spread)[0]


def _guarded(log_density: Callable[[Tensor], Tensor], representation: Points) -> Callable[[Tensor], Tensor]:
    """A density in which values that cannot be learned from are named."""

    def guarded(x: Tensor) -> Tensor:
        value = log_density(x)
        bad = ~value.isfinite()
        if bool(bad.any()):
            at = representation.items(representation.decode(x.detach()[bad][:1]).cpu())[0]
            raise TrainingError(
                f"log_target is {float(value[bad][0].detach())} at x = {np.array2string(at, precision=5)}: state its "
                "support, or let it fall steeply where it now ends"
            )
        return value

    return guarded
