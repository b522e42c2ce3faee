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

from pofx.artifact import Artifact, run_of
from pofx.core.errors import Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Condition, Continuous, Event, dims
from pofx.core.model import Batch, Denoising, Density, Encoding, Explicit, OnePhase, Stepwise
from pofx.core.options import Count, Range, check_options, checked
from pofx.core.random import Streams
from pofx.represent.image import ImageView, Unit
from pofx.represent.unscaled import Unscaled

PUBLIC = ("from_diffusers", "from_nflows", "from_zuko", "to_diffusers")

FOREIGN = (
    AssertionError,
    AttributeError,
    IndexError,
    RuntimeError,
    TypeError,
    ValueError,
)  # of modules that do not fit


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


class ForeignDensity(OnePhase, Explicit):
    """A density of another library, from which samples are drawn: exact."""

    source = "zuko; nflows"
    events: ClassVar = (Continuous,)
    conditions: ClassVar = (Continuous,)
    ranks: ClassVar = (1,)
    best_density = Density.EXACT

    def __init__(
        self, event: Event, condition: Event | None = None, *, module: Any = None, library: Any = None
    ) -> None:
        super().__init__(event, condition)
        self.module, self.library = module, library
        self.dtype = next((p.dtype for p in module.parameters()), torch.float32)

    def loss(self, batch: Batch) -> Tensor:
        return -self.log_prob(batch.x, batch.condition).mean()

    def log_prob(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n"]:
        return self._called(self.library.log_prob, x, condition).float()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """One draw per sample by the library's own sampler, under a seed of the stream of the sample."""
        return self._own_draws(self.library.sample, condition, generator)

    def _own_draws(self, draw: Callable[..., Tensor], condition: Any, generator: Streams) -> Tensor:
        found = []
        with torch.random.fork_rng(devices=[]):
            for i, seed in enumerate(generator.words(1)[:, 0].tolist()):
                torch.manual_seed(seed)
                found.append(self._called(draw, None, None if condition is None else condition[i : i + 1]).float())
        return torch.cat(found)

    def _called(self, function: Callable[..., Tensor], x: Tensor | None, condition: Any) -> Tensor:
        """A function of the library in the type of its weights, and outside of inference mode: some of its flows take
        derivatives of their own."""
        given = [None if v is None else v.to(self.dtype) for v in (x, condition)]
        if not torch.is_inference_mode_enabled():
            return function(self.module, *given)
        with torch.inference_mode(False), torch.no_grad():
            return function(self.module, *(None if v is None else v.clone() for v in given)).detach()


class ForeignFlow(ForeignDensity, Encoding):
    """A flow of another library: exact density, invertible codes."""

    lossless = True

    def __init__(
        self, event: Event, condition: Event | None = None, *, module: Any = None, library: Any = None
    ) -> None:
        super().__init__(event, condition, module=module, library=library)
        assert isinstance(event, Continuous)
        self.code = Continuous(event.shape)

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        return self._called(self.library.encode, x, condition).float()

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        return self._called(self.library.decode, z, condition).float()

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        """Base draws by the streams where the base is Gaussian, else by its own sampler under seeds of the streams."""
        assert isinstance(self.event, Continuous) and not isinstance(condition, dict)
        given = None if condition is None else condition.to(self.dtype)
        with torch.inference_mode(False), torch.no_grad():
            loc, scale = self.library.base(self.module, None if given is None else given.clone())
        if loc is None:
            z = self._own_draws(self.library.draw, condition, generator)
        else:
            z = (loc + scale * generator.normal(*self.event.shape).to(self.dtype)).float()
        return self.decode(z, condition)


class Zuko:
    """How a flow of zuko is called: `flow(c)` is a distribution, of most flows with a transform from x to z."""

    @staticmethod
    def dims(module: Any, context: Tensor | None) -> int:
        return int(module(context).event_shape[-1])

    @staticmethod
    def invertible(module: Any, context: Tensor | None) -> bool:
        return hasattr(module(context), "transform")

    @staticmethod
    def log_prob(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
        return module(context).log_prob(x)  # type: ignore[no-any-return]

    @staticmethod
    def encode(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
        return module(context).transform(x)  # type: ignore[no-any-return]

    @staticmethod
    def decode(module: Any, z: Tensor, context: Tensor | None) -> Tensor:
        return module(context).transform.inv(z)  # type: ignore[no-any-return]

    @staticmethod
    def base(module: Any, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        return _gaussian(module(context).base)

    @staticmethod
    def draw(module: Any, _: Any, context: Tensor | None) -> Tensor:
        return _row(module(context).base.sample())

    @staticmethod
    def sample(module: Any, _: Any, context: Tensor | None) -> Tensor:
        return _row(module(context).sample())


class Nflows:
    """How a flow of nflows is called: a transform from x to z and a base distribution, both private there."""

    @staticmethod
    def dims(module: Any, context: Tensor | None) -> int:
        return int(module._distribution._shape[-1])

    @staticmethod
    def invertible(module: Any, context: Tensor | None) -> bool:
        return module._transform is not None

    @staticmethod
    def log_prob(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
        return module.log_prob(x, context=context)  # type: ignore[no-any-return]

    @staticmethod
    def encode(module: Any, x: Tensor, context: Tensor | None) -> Tensor:
        return module._transform(x, context=module._embedding_net(context))[0]  # type: ignore[no-any-return]

    @staticmethod
    def decode(module: Any, z: Tensor, context: Tensor | None) -> Tensor:
        return module._transform.inverse(z, context=module._embedding_net(context))[0]  # type: ignore[no-any-return]

    @staticmethod
    def base(module: Any, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        standard = type(module._distribution).__name__ == "StandardNormal"
        return (torch.zeros(()), torch.ones(())) if standard else (None, None)

    @staticmethod
    def draw(module: Any, _: Any, context: Tensor | None) -> Tensor:
        inside = None if context is None else module._embedding_net(context)
        return _row(module._distribution.sample(1, context=inside))

    @staticmethod
    def sample(module: Any, _: Any, context: Tensor | None) -> Tensor:
        return _row(module.sample(1, context=context))


def _row(drawn: Tensor) -> Tensor:
    """One draw as a row: (1, d)."""
    return drawn.reshape(1, -1)


def _gaussian(base: Any) -> tuple[Tensor | None, Tensor | None]:
    """Location and scale of a diagonal Gaussian; None of another distribution."""
    while type(base).__name__ == "Independent":
        base = base.base_dist
    inner = getattr(base, "base_dist", base)
    if isinstance(inner, torch.distributions.Normal):
        return inner.loc, inner.scale
    return None, None


@checked
def from_zuko(flow: Any, dims: Count | None = None, context: Annotated[int, Range(0, 1 << 20)] = 0) -> Artifact:
    """A trained flow (or mixture) of zuko over points in their own units, as a run.

    Args:
        dims: numbers of a point; None: as the flow has.
        context: numbers that the flow is given; they are the condition of the run.

    Raises:
        UsageError: no flow of zuko, or one of other dimensions or another context.
    """
    return _wrapped(flow, Zuko(), "zuko", dims, context)


@checked
def from_nflows(flow: Any, dims: Count | None = None, context: Annotated[int, Range(0, 1 << 20)] = 0) -> Artifact:
    """A trained flow of nflows over points in their own units, as a run; arguments as of `from_zuko`.

    Raises:
        UsageError: no flow of nflows, or one of other dimensions or another context.
    """
    return _wrapped(flow, Nflows(), "nflows", dims, context)


def _wrapped(flow: Any, library: Any, name: str, size: int | None, context: int) -> Artifact:
    if not isinstance(flow, nn.Module):
        raise UsageError(f"flow must be a module of {name} (got {type(flow).__name__}): pass the trained flow")
    conditioning = Unscaled(context, "float32") if context else None
    given = torch.zeros(2, context) if context else None
    what = f"flow of {name} " + (f"given {context} numbers" if context else "without context, which context= states")
    try:
        typed = None if given is None else given.to(next(flow.parameters()).dtype)
        seen, invertible = library.dims(flow, typed), library.invertible(flow, typed)
    except FOREIGN as error:
        raise UsageError(f"flow is no {what} ({_first(error)})") from error
    if size not in (None, seen):
        raise UsageError(f"flow is over {seen} numbers (got dims={size}): pass dims={seen}, or leave it out")
    view = Unscaled(seen, "float32")
    made = ForeignFlow if invertible else ForeignDensity
    model = made(view.event, None if conditioning is None else conditioning.event, module=flow, library=library).eval()
    try:
        with torch.inference_mode():
            x = model.sample(2, given, generator=Streams(0, 2))
            shapes = [tuple(x.shape), tuple(model.log_prob(x, given).shape)]
            shapes += [tuple(model.encode(x, given).shape)] if isinstance(model, ForeignFlow) else []
    except FOREIGN as error:
        raise UsageError(f"flow is no {what} over {seen} numbers ({_first(error)})") from error
    if shapes[:2] != [(2, seen), (2,)]:
        raise UsageError(f"flow is no {what} over {seen} numbers (two draws and their log p have shapes {shapes})")
    card: dict[str, Any] = {"data": {"kind": "points", "facts": {}}}
    return Wrapped(view, model, f"{name}:{type(flow).__name__}", card, conditioning)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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
        self.predicted = event.shape[0]  # channels of a network's output: behind them are variances, where it has any
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
        logs = self.alphas.clamp(min=1e-12).log()
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
        return self._data(x_t, self._out(x_t, number.expand(len(x_t)).float()), alpha, sigma)

    def _out(self, x: Tensor, at: Tensor) -> Tensor:
        found: Tensor = self.module(x, at).sample[:, : self.predicted]
        return found

    def _data(self, x: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """x0 from what the network predicts."""
        kind = self.scheduler.config.prediction_type
        if kind == "epsilon":
            return (x - sigma * out) / alpha
        return alpha * x - sigma * out if kind == "v_prediction" else out

    def sample(self, n: int, condition: Condition | None = None, *, generator: Streams) -> Float[Tensor, "{n} *event"]:
        assert isinstance(self.event, Bounded)
        return self.decode(generator.normal(*self.event.shape))

    def _set_steps(self) -> None:
        if self.sampler_steps > len(self.alphas):
            raise UsageError(
                f"sampler_steps must be at most the {len(self.alphas)} levels of the pipeline (got "
                f"{self.sampler_steps}): pass fewer"
            )
        self.scheduler.set_timesteps(self.sampler_steps)

    def decode(self, z: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """DDIM from the noise z: the pipeline's own steps at its own times."""
        self._set_steps()
        x = z * self.scheduler.init_noise_sigma
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self._out(x, torch.full((len(x),), int(t), device=x.device)), t, x).prev_sample
        return x.clamp(-1, 1)

    def encode(self, x: Float[Tensor, "n *event"], condition: Condition | None = None) -> Float[Tensor, "n *event"]:
        """The noise from which DDIM leads near x: its steps backwards."""
        self._set_steps()
        numbers = [int(t) for t in self.scheduler.timesteps]
        gap = len(self.alphas) // self.sampler_steps
        last = float(self.scheduler.final_alpha_cumprod) if numbers[-1] < gap else float(self.alphas[numbers[-1] - gap])
        levels = [float(self.alphas[t]) for t in numbers] + [last]
        for i in reversed(range(len(numbers))):
            at = torch.full((len(x),), numbers[i], device=x.device)
            now = min(levels[i + 1], 1 - 1e-8)  # clean items: their estimate is themselves
            alpha, sigma = (torch.tensor(v, dtype=torch.float64).sqrt().float() for v in (now, 1 - now))
            data = self._data(x, self._out(x, at), alpha, sigma)
            x = (levels[i] ** 0.5) * data + ((1 - levels[i]) ** 0.5) * (x - alpha * data) / sigma
        return x


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
        except (OSError, ValueError, AttributeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{pipeline} holds no pipeline of diffusers ({reason[:200]}): save it again") from error
    net: Any
    net, scheduler = getattr(pipeline, "unet", None), getattr(pipeline, "scheduler", None)
    if net is None or not hasattr(scheduler, "alphas_cumprod") or not hasattr(net, "config"):
        raise UsageError(f"pipeline must be an unconditional DDPM or DDIM pipeline (got {type(pipeline).__name__})")
    if getattr(net.config, "num_class_embeds", None) or getattr(net.config, "class_embed_type", None):
        raise Unsupported("the network of this pipeline needs a class for each picture: give an unconditional pipeline")
    size, channels = net.config.sample_size, net.config.in_channels
    if size is None or net.config.out_channels not in (channels, 2 * channels):
        raise UsageError(
            f"a network must state its sample_size, and have as many channels out as in, or variances beside them (got "
            f"sample_size {size}, {channels} in and {net.config.out_channels} out): give a UNet2DModel with these"
        )
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    assert scheduler is not None
    walk = diffusers.DDIMScheduler.from_config(scheduler.config)
    view: ImageView = Unit((channels, height, width), 256, channels == 1)
    assert isinstance(view.event, Bounded)
    model = ForeignDenoiser(view.event, module=net, scheduler=walk, sampler_steps=sampler_steps).eval()
    return Wrapped(
        view, model, f"diffusers:{type(net).__name__}", {"data": {"kind": "image", "facts": {"levels": 256}}}
    )


@checked
def to_diffusers(run: Any, levels: Annotated[int, Range(2, 100_000)] = 1000) -> Any:
    """A `DDIMPipeline` of diffusers around a run that denoises images: its network predicts the noise at many levels.

    Any path becomes variance preserving by a change of scale, so that the pipeline's schedulers apply. Its images are
    in [0, 1] as diffusers has them. It is stored by `save_pretrained` and read by `DDIMPipeline.from_pretrained` where
    pofx is installed, too.

    Args:
        run: a run, or its folder.
        levels: of noise.

    Raises:
        Unsupported: a model that does not denoise, one of no pictures, or one that needs a condition.
        UsageError: diffusers is not installed.
    """
    run = run_of(run)
    if not isinstance(run.model, Denoising) or not isinstance(run.model.event, Bounded) or dims(run.model.event) < 1:
        raise Unsupported(f"{run.name} is no denoiser of pictures in [-1, 1]: export a diffusion run of images")
    from pofx.combine.pipeline import pipeline_of

    return pipeline_of(run, levels)
