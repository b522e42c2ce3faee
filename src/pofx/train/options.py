"""Trainer options and budgets: plain values with defaults, checked before a single step is made."""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Self

from pofx.core.errors import UsageError, unknown
from pofx.core.options import Count, NonNegative, OneOf, Range, Real, check_value, short

Beta = Annotated[Real, Range(0, 1, below=True)]
Steps = Annotated[int, Range(1, 1_000_000_000_000)]
Minutes = Annotated[Real, Range(0, 1e7, above=True)]
Epochs = Annotated[Real, Range(0, 1e9, above=True)]
Flops = Annotated[Real, Range(0, 1e30, above=True)]


@dataclass(frozen=True)
class TrainOptions:
    """How to descend. A model class may state its own defaults in `trains_with`; the user's values win."""

    batch_size: Annotated[int, Range(1, 1 << 20)] = 128  # items per step over all processes
    least_batch: Annotated[int, Range(1, 1 << 20)] = 16  # down to which it is halved where minutes buy too few steps
    enough_steps: Count = 2_400  # below which smaller batches learn more in the same time
    accumulate: Annotated[int, Range(1, 1 << 20)] = 1  # parts of a batch, one after the other: less memory, same step
    optimizer: Annotated[str, OneOf("adamw", "muon")] = "adamw"  # muon: orthogonal steps for hidden matrices
    lr: Annotated[Real, Range(0, 10)] = 1e-3  # learning rate after warm-up
    betas: tuple[Beta, Beta] = (0.9, 0.99)  # decay rates of Adam's two averages
    weight_decay: Annotated[Real, Range(0, 10)] = 0.0  # decoupled (Loshchilov and Hutter, 2019, arXiv 1711.05101)
    warmup: Annotated[int, Range(0, 1e9)] = 100  # steps of linear warm-up
    schedule: Annotated[str, OneOf("cosine", "linear", "constant")] = "cosine"  # decay to 0 at the end of the budget
    clip: NonNegative = 1.0  # largest gradient norm per phase; 0 turns clipping off
    item_clip: NonNegative = 0.0  # largest gradient norm of a single item, with item_noise
    item_noise: NonNegative = 0.0  # noise on the sum of clipped gradients, in units of item_clip: DP-SGD; 0: none
    skip_above: NonNegative = 0.0  # times its usual norm, above which a gradient is left out; 0: none
    ema_images: Annotated[Real, Range(0, 1e12)] = 20_000.0  # half-life of averaged weights in items seen; 0: no average
    ema_ramp: Annotated[Real, Range(0, 1e3)] = 0.05  # half-life is at most this share of the items seen so far
    precision: Annotated[str, OneOf("fp32", "bf16", "auto")] = "fp32"  # auto: bf16 where it is faster
    compile: bool = False  # torch.compile the losses
    validations: Annotated[int, Range(0, 1_000_000)] = 24  # rounds of validation, even in the root of the budget
    validation_items: Count = 2_000  # items of the validation split used each time
    patience: Annotated[int, Range(0, 1_000_000)] = 0  # rounds without a better validation that end training; 0: never
    checkpoint_seconds: NonNegative = 60.0  # between checkpoints
    track: Annotated[str, OneOf("", "tensorboard")] = ""  # "tensorboard" writes event files beside log.jsonl

    @classmethod
    def of(cls, values: Mapping[str, Any], usual: Mapping[str, Any] = MappingProxyType({})) -> Self:
        """Options from plain values, over the `usual` ones of a model, checked. A `batch_size` that is stated without a
        `least_batch` beside it stays, however few steps a budget buys.

        Raises:
            UsageError: an unknown key (the nearest is named), or a value out of its range.
        """
        hints = limits()
        known = {f.name: f.default for f in dataclasses.fields(cls)}
        every: dict[str, Any] = {}
        for given in (usual, values):
            every |= {"least_batch": given["batch_size"], **given} if "batch_size" in given else given
        for key, value in {**usual, **values}.items():
            if key not in known:
                raise unknown("trainer option", key, known)
            check_value(key, value, hints[key], known[key])
        return cls(**{key: _as(known[key], value) for key, value in every.items()})


def limits() -> dict[str, Any]:
    """The type and range of every option."""
    return typing.get_type_hints(TrainOptions, include_extras=True)


def _as(default: Any, value: Any) -> Any:
    """A value in the type of its default: JSON and users write 1 for 1.0, and lists for tuples."""
    if isinstance(default, tuple):
        return tuple(map(float, value))
    return value if isinstance(default, str | bool) else type(default)(value)


SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}


@dataclass(frozen=True)
class Budget:
    """When training ends: after steps, minutes of training time, epochs or FLOPs; exactly one is given."""

    steps: Steps | None = None
    minutes: Minutes | None = None
    epochs: Epochs | None = None
    flops: Flops | None = None  # as `pofx.train.flops` counts them

    def __post_init__(self) -> None:
        given = self.request
        if len(given) != 1:
            raise UsageError(f"give one of steps, minutes, epochs or flops (got {', '.join(given) or 'none'})")
        key, value = next(iter(given.items()))
        check_value(key, value, typing.get_type_hints(Budget, include_extras=True)[key], 1000 if key == "steps" else 2)

    @classmethod
    def of(cls, text: str | float) -> Self:
        """A budget from "30s", "2m", "1.5h", "500 steps", "3 epochs", "2e12 flops", "2 Tflops", or seconds.

        Raises:
            UsageError: the text is none of these, or not above 0.
        """
        units = r"s|m|min|h|steps?|epochs?|[kMGTP]?(?:flops?|FLOPs?)"
        found = re.fullmatch(rf"\s*(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+)\s*({units})?\s*", str(text))
        value, unit = (float(found[1]), found[2] or "s") if found else (0.0, "s")
        least = 1e-3 / SECONDS[unit] if unit in SECONDS else 0.0
        if not least < value < math.inf or (unit.startswith("step") and value != int(value)):
            raise UsageError(
                f"budget must be a time such as 30s, 2m or 1h, or 500steps, 3epochs or 2e12flops (got {short(text)}): "
                f"pass {_nearest(text)}"
            )
        if unit in SECONDS:
            return cls(minutes=value * SECONDS[unit] / 60)
        if unit.lower().endswith(("flop", "flops")):
            return cls(flops=value * PREFIXES[unit.lower().removesuffix("s").removesuffix("flop") and unit[0]])
        return cls(steps=int(value)) if unit.startswith("step") else cls(epochs=value)

    @property
    def request(self) -> dict[str, Any]:
        """The one value by its name, as `pofx.fit` takes it."""
        return {k: v for k, v in vars(self).items() if v is not None}

    @property
    def seconds(self) -> float | None:
        """The training time, where the budget is one."""
        return None if self.minutes is None else self.minutes * 60

    def progress(self, step: int, seconds: float, images: int, items: int, flops: float = 0.0) -> float:
        """The share of the budget that is spent, from 0 to 1."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        if self.minutes is not None:
            return min(seconds / (60 * self.minutes), 1.0)
        if self.flops is not None:
            return min(flops / self.flops, 1.0)
        assert self.epochs is not None
        return min(images / (self.epochs * items), 1.0)

    def __str__(self) -> str:
        """What `of` reads: "90 s", "2 min", "500 steps"."""
        if self.seconds is not None:
            return spoken(self.seconds)
        key, value = next(iter(self.request.items()))
        return f"{value:g} {key}" if key == "flops" or value != 1 else f"1 {key.removesuffix('s')}"


def _nearest(text: Any) -> str:
    """A budget that a text which is none may mean: 2m for "2 minutes"."""
    found = re.match(r"\s*-?(\d+\.?\d*)\s*([a-z]?)", str(text).lower())
    if found is None or not float(found[1]) > 0:
        return "30s"
    return f"{found[1]}{found[2] if found[2] in ('s', 'm', 'h') else 's'}"


def spoken(seconds: float) -> str:
    """The shortest form of a duration: 90 → "90 s", 120 → "2 min"."""
    seconds = round(seconds, 9)
    for unit, long in ((3600.0, "h"), (60.0, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {long}"
    return f"{seconds:g} s"
