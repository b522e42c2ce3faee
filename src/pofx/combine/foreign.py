"""Flows and pipelines of other libraries as runs, so that they are sampled, scored and evaluated like any other.

A zuko or nflows flow gives its own log p, its transform and its base; a diffusers pipeline (unconditional DDPM or DDIM)
its network and its noise levels. Nothing is trained or copied: the module is used as it is. Such a run cannot be saved
by pofx, since nothing here can rebuild a foreign module: save it with its own library, and wrap it again.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.artifact import Artifact
from pofx.core.errors import Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.model import Batch, Denoising, Density, Encoding, Explicit, OnePhase, Stepwise
from pofx.core.options import Range, check_options
from pofx.core.random import Streams
from pofx.represent.image import ImageView, Unit
from pofx.represent.unscaled import Unscaled

PUBLIC = ("from_diffusers", "from_nflows", "from_zuko", "to_diffusers")


class Wrapped(Artifact):
    """A run around a module of another library."""

    def using(self, **options: Any) -> "Artifact":
        """The same module under other sampling options.

        Raises:
            UsageError: an option that this model does not let change, or an impossible value of one.
        """
        for key in options:
            if key not in self.model.adjustable:
                raise unknown(f"sampling option of {self.name}", key, self.model.adjustable)
        check_options(type(self.model), options)
        model = copy.copy(self.model)
        for key, value in options.items():
            setattr(model, key, value)
        return replace(self, model=model)

    def save(self, path: str | Path) -> NoReturn:
        """Refused: save the module with its own library, and wrap it again.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(f"{self.name} wraps a module of another library: save it with that, and wrap it again")


class ForeignFlow(OnePhase, Explicit, Encoding):
    """A flow of another library: exact density, invertible codes."""

    source = "zuko; nflows"
    events: ClassVar = (Continuous,)
    ranks: ClassVar = (1,)
    best_density = Density.EXACT
    lossless = True

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        module: Any = None,
        library: Any = None,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Continuous)
        self.module, self.library, self.code = module, library, Continuous(event.shape)

    def loss(self, batch: Batch) -> Tensor:
        return -self.log_prob(batch.x).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        found: Tensor = self.library.log_prob(self.module, x)
        return found

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        found: Tensor = self.library.encode(self.module, x)
        return found

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        found: Tensor = self.library.decode(self.module, z)
        return found

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """Base draws by the streams where the base is Gaussian, else by its own sampler under seeds of the streams."""
        assert isinstance(self.event, Continuous)
        loc, scale = self.library.base(self.module)
        if loc is None:
            z = _own_draws(lambda: self.library.draw(self.module), generator)
        else:
            z = loc + scale * generator.normal(*self.event.shape)
        return self.decode(z)


def _own_draws(draw: Callable[[], Tensor], generator: Streams) -> Tensor:
    """One draw per sample, each under torch's generator seeded by the stream of the sample."""
    found = []
    with torch.random.fork_rng(devices=[]):
        for seed in generator.words(1)[:, 0].tolist():
            torch.manual_seed(seed)
            found.append(draw())
    return torch.stack(found)


class Zuko:
    """How a flow of zuko is called: `flow()` is a distribution with a transform from x to z and a base."""

    @staticmethod
    def log_prob(module: Any, x: Tensor) -> Tensor:
        return module().log_prob(x)  # type: ignore[no-any-return]

    @staticmethod
    def encode(module: Any, x: Tensor) -> Tensor:
        return module().transform(x)  # type: ignore[no-any-return]

    @staticmethod
    def decode(module: Any, z: Tensor) -> Tensor:
        return module().transform.inv(z)  # type: ignore[no-any-return]

    @staticmethod
    def base(module: Any) -> tuple[Tensor | None, Tensor | None]:
        return _gaussian(module().base)

    @staticmethod
    def draw(module: Any) -> Tensor:
        return module().base.sample()  # type: ignore[no-any-return]


class Nflows:
    """How a flow of nflows is called: a transform from x to z and a base distribution, both private there."""

    @staticmethod
    def log_prob(module: Any, x: Tensor) -> Tensor:
        return module.log_prob(x)  # type: ignore[no-any-return]

    @staticmethod
    def encode(module: Any, x: Tensor) -> Tensor:
        return module._transform(x)[0]  # type: ignore[no-any-return]

    @staticmethod
    def decode(module: Any, z: Tensor) -> Tensor:
        return module._transform.inverse(z)[0]  # type: ignore[no-any-return]

    @staticmethod
    def base(module: Any) -> tuple[Tensor | None, Tensor | None]:
        standard = type(module._distribution).__name__ == "StandardNormal"
        return (torch.zeros(()), torch.ones(())) if standard else (None, None)

    @staticmethod
    def draw(module: Any) -> Tensor:
        return module._distribution.sample(1)[0]  # type: ignore[no-any-return]


def _gaussian(base: Any) -> tuple[Tensor | None, Tensor | None]:
    """Location and scale of a diagonal Gaussian; None of another distribution."""
    while type(base).__name__ == "Independent":
        base = base.base_dist
    inner = getattr(base, "base_dist", base)
    if isinstance(inner, torch.distributions.Normal):
        return inner.loc, inner.scale
    return None, None


def from_zuko(flow: nn.Module, dims: int) -> Artifact:
    """A trained unconditional flow of zuko over points of so many dimensions, in their own units, as a run.

    Raises:
        UsageError: no flow of zuko, or one of other dimensions.
    """
    return _wrapped(flow, Zuko(), "zuko", dims)


def from_nflows(flow: nn.Module, dims: int) -> Artifact:
    """A trained unconditional flow of nflows over points of so many dimensions, in their own units, as a run.

    Raises:
        UsageError: no flow of nflows, or one of other dimensions.
    """
    return _wrapped(flow, Nflows(), "nflows", dims)


def _wrapped(flow: Any, library: Any, name: str, size: int) -> Artifact:
    view = Unscaled(size, "float32")
    if not isinstance(flow, nn.Module):
        raise UsageError(f"flow must be a module of {name} (got {type(flow).__name__}): pass the trained flow")
    model = ForeignFlow(view.event, module=flow, library=library).eval()
    try:
        with torch.inference_mode():
            shape = tuple(model.decode(model.encode(torch.zeros(2, size))).shape)
            assert model.log_prob(torch.zeros(2, size)).shape == (2,)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"flow is no unconditional flow of {name} over {size} dimensions ({error})") from error
    if shape != (2, size):
        raise UsageError(f"flow is over {shape[1:]} numbers (got dims={size}): pass dims={shape[-1]}")
    return Wrapped(view, model, f"{name}:{type(flow).__name__}", {"data": {"kind": "points", "facts": {}}})


# --- diffusers


class ForeignDenoiser(OnePhase, Encoding, Denoising, Stepwise):
    """An unconditional pipeline of diffusers: E[x | x_t] from its network at its noise levels; DDIM steps."""

    source = "diffusers"
    events: ClassVar = (Bounded,)
    ranks: ClassVar = (3,)
    adjustable: ClassVar = ("sampler_steps",)
    lossless = False

    def __init__(
        self,
        event: Event,
        condition: Event | None = None,
        *,
        module: Any = None,
        scheduler: Any = None,
        sampler_steps: Annotated[int, Range(1, 1000)] = 50,
    ) -> None:
        super().__init__(event, condition)
        assert isinstance(event, Bounded)
        self.module, self.scheduler, self.sampler_steps = module, scheduler, sampler_steps
        self.code = Continuous(event.shape)
        self.register_buffer("alphas", torch.as_tensor(scheduler.alphas_cumprod, dtype=torch.float64), persistent=False)

    alphas: Tensor

    def loss(self, batch: Batch) -> Tensor:
        """The mean squared error of the estimate, at even times."""
        t = (torch.arange(len(batch), device=batch.x.device) + 0.5) / len(batch)
        alpha, sigma = self.schedule(t)
        return (self.denoise(alpha * batch.x + sigma * torch.randn_like(batch.x), t) - batch.x).square().mean()

    def _level(self, t: Tensor) -> Tensor:
        """The squared alpha at times in [0, 1], between the pipeline's levels by interpolation of logarithms."""
        at = t.double().clamp(0, 1) * (len(self.alphas) - 1)
        low = at.floor().long()
        high = (low + 1).clamp(max=len(self.alphas) - 1)
        logs = self.alphas.log()
        return (logs[low] + (at - low) * (logs[high] - logs[low])).exp()

    def schedule(self, t: Float[Tensor, "*n"]) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        level = self._level(t).reshape(*t.shape, *[1] * 3)
        return level.sqrt().float(), (1 - level).sqrt().float()

    @property
    def spread(self) -> Float[Tensor, "..."]:
        """One: pipelines scale nothing."""
        return torch.ones((), device=self.alphas.device)

    def denoise(
        self, x_t: Float[Tensor, "n *event"], t: Float[Tensor, "*n"], condition: Condition | None = None
    ) -> Float[Tensor, "n *event"]:
        alpha, sigma = self.schedule(t)
        number = t.double().clamp(0, 1) * (len(self.alphas) - 1)
        return self._data(x_t, self.module(x_t, number.expand(len(x_t)).float()).sample, alpha, sigma)

    def _data(self, x: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x0 from what the network predicts."""
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return (x - sigma * out) / alpha
        return alpha * x - sigma * out if kind == "v_prediction" else out

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        assert isinstance(self.event, Bounded)
        return self.decode(generator.normal(*self.event.shape))

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """DDIM from the noise z at the pipeline's own times."""
        return self._walked(z, reverse=False)

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The noise from which DDIM leads near x: its steps backwards."""
        return self._walked(x, reverse=True)

    def _walked(self, x: Tensor, *, reverse: bool) -> Tensor:
        self.scheduler.set_timesteps(self.sampler_steps)
        numbers = [int(t) for t in self.scheduler.timesteps]
        gap = len(self.alphas) // self.sampler_steps
        end = float(getattr(self.scheduler, "final_alpha_cumprod", 1.0))
        levels = [float(self.alphas[t]) for t in numbers] + [end if numbers[-1] - gap < 0 else
                                                             float(self.alphas[numbers[-1] - gap])]  # fmt: skip
        steps = [(numbers[i], levels[i], levels[i + 1]) for i in range(len(numbers))]
        if reverse:
            steps = [(number, after, before) for number, before, after in reversed(steps)]
        for number, now, then in steps:
            at = torch.full((len(x),), number, device=x.device)
            alpha, sigma = (torch.tensor(v).sqrt().float() for v in (now, 1 - now))
            if float(sigma) == 0:  # clean items: their estimate is themselves
                alpha, sigma = (torch.tensor(v).sqrt().float() for v in (1 - 1e-4, 1e-4))
            data = self._data(x, self.module(x, at).sample, alpha, sigma)
            noise = (x - alpha * data) / sigma
            if self.scheduler.config.clip_sample and not reverse:
                data = data.clamp(-1, 1)  # the noise stays that of the network
            x = (then**0.5) * data + ((1 - then) ** 0.5) * noise
        return x if reverse else x.clamp(-1, 1)


def from_diffusers(pipeline: Any, sampler_steps: int = 50) -> Artifact:
    """An unconditional DDPM or DDIM pipeline of diffusers, or its folder, as a run of images of 256 levels.

    Samples by DDIM without noise: those of `DDIMPipeline` with eta=0 from the same noise.

    Raises:
        UsageError: another pipeline, or diffusers is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise UsageError("diffusers is not installed: pip install diffusers") from error
    if isinstance(pipeline, str | Path):
        if not Path(pipeline).is_dir():
            raise UsageError(f"there is no folder {pipeline} of a pipeline: write one by pipeline.save_pretrained")
        try:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(pipeline)
        except (ImportError, RuntimeError) as error:  # its own libraries may not fit each other
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(f"diffusers cannot be loaded ({reason}): install what it needs, and try again") from error
    net: Any
    net, scheduler = getattr(pipeline, "unet", None), getattr(pipeline, "scheduler", None)
    if net is None or not hasattr(scheduler, "alphas_cumprod") or not hasattr(net, "config"):
        raise UsageError(f"pipeline must be an unconditional DDPM or DDIM pipeline (got {type(pipeline).__name__})")
    size, channels = net.config.sample_size, net.config.in_channels
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    assert scheduler is not None
    walk = diffusers.DDIMScheduler.from_config(scheduler.config)
    view: ImageView = Unit((channels, height, width), 256, channels == 1)
    assert isinstance(view.event, Bounded)
    model = ForeignDenoiser(view.event, module=net, scheduler=walk, sampler_steps=sampler_steps).eval()
    return Wrapped(
        view, model, f"diffusers:{type(net).__name__}", {"data": {"kind": "image", "facts": {"levels": 256}}}
    )


def to_diffusers(run: Artifact, levels: int = 1000) -> Any:
    """A `DDIMPipeline` of diffusers around a run that denoises images: its network predicts the noise at many levels.

    Any path becomes variance preserving by a change of scale, so that the pipeline's schedulers apply. Its images are
    in [0, 1] as diffusers has them; it holds the model of the run, and is used in memory.

    Raises:
        Unsupported: a model that does not denoise, or one of no pictures.
        UsageError: diffusers is not installed.
    """
    if not isinstance(run.model, Denoising) or not isinstance(run.model.event, Bounded) or dims(run.model.event) < 1:
        raise Unsupported(f"{run.name} is no denoiser of pictures in [-1, 1]: export a diffusion run of images")
    from pofx.combine.pipeline import pipeline_of

    return pipeline_of(run.model, run.model.event.shape, levels)
