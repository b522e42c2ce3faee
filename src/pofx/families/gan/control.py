"""Steering a trained generator: style mixing, unsupervised directions, arithmetic of classes in the space of codes w.

Styles of three ranges of layers can come from another code (Karras et al., 2019, arXiv 1812.04948, section 3.1).
Directions without labels: the right singular vectors of the layers that read the code (SeFa; Shen and Zhou, 2021, arXiv
2007.06600, equation 8), or the principal components of many codes w (GANSpace; Härkönen et al., 2020, arXiv
2004.02546). Differences of the mean w of classes move a sample from one class towards another.
"""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Condition, Discrete, Event
from pofx.core.generative import Control
from pofx.core.random import Streams
from pofx.families.gan.players import Generator
from pofx.nets.image.equalised import EqualisedLinear
from pofx.nets.image.style import StyleSynthesis
from pofx.nets.image.synthesis import Synthesis
from pofx.nets.image.translation import Translator
from pofx.nets.vector.mlp import MLP

MIXES = ("coarse", "middle", "fine", "all")
DIRECTIONS = ("sefa", "ganspace")
CODES = 4096  # drawn for means and principal components
CENTRING, AT_ONCE = 128, 64  # codes of the mean under each condition, and conditions whose means are taken at once
SHOWN, REACH = 3, (-6.0, -3.0, 0.0, 3.0, 6.0)  # directions that `controls` names, and strengths along each
MOST_CLASSES = 10


def span(mix: str, levels: int) -> tuple[int, int]:
    """The style layers (start, stop) that a second code steers; coarse, middle and fine share all layers."""
    if mix in ("none", "all"):
        return 0, levels if mix == "all" else 0
    part = MIXES.index(mix)
    return round(levels * part / 3), round(levels * (part + 1) / 3)


def readers(generator: Generator) -> Float[Tensor, "rows code"]:
    """The weights of all layers that read the code (w, or else z), one above the other."""
    net = generator.net
    if isinstance(net, StyleSynthesis) and net.mapping is not None:
        styles = [part for part in net.blocks.modules() if isinstance(part, EqualisedLinear)]
        return torch.cat([layer.weight * layer.scale for layer in styles])
    if isinstance(net, MLP):
        return net.layers[0].weight  # type: ignore[return-value]
    if isinstance(net, Translator):
        raise Unsupported("a translation has no code to move along: pass direction=0")
    layers = [net.first, *([net.mapping[0]] if isinstance(net, Synthesis) else [])]  # type: ignore[list-item, index]
    width = getattr(net, "latent", None) or getattr(net, "inputs") - sum(getattr(net, "parts", ()))  # noqa: B009
    return torch.cat([layer.weight[:, :width] for layer in layers])  # type: ignore[union-attr, index]


def direction_of(generator: Generator, kind: str, number: int) -> Float[Tensor, "code"]:
    """The direction of this number, from 1, as long as one standard deviation of codes along it.

    Raises:
        Unsupported: ganspace for a generator without codes w.
        UsageError: there are fewer directions.
    """
    if kind == "sefa":
        _, _, axes = torch.linalg.svd(readers(generator).detach().float(), full_matrices=False)
        spread = axes @ _codes(generator).T if generator.styled else None
        scales = torch.ones(len(axes), device=axes.device) if spread is None else spread.std(1)
    else:
        if not generator.styled:
            raise Unsupported("ganspace needs codes w, as stylegan2 has them: pass directions=sefa")
        w = _codes(generator)
        _, values, axes = torch.linalg.svd(w - w.mean(0), full_matrices=False)
        scales = values / len(w) ** 0.5
    if number > len(axes):
        raise UsageError(f"direction must be at most {len(axes)} for this model (got {number}): pass direction=1")
    axis = axes[number - 1]
    return axis * scales[number - 1] * torch.sign(axis[axis.abs().argmax()])


def check_steps(direction: int, directions: str, plus: int, minus: int, strength: float) -> None:
    """Warn of a strength, or a sort of directions, that has no direction to act on."""
    if direction or plus >= 0 or minus >= 0:
        return
    for option, value, idle in (("strength", f"{strength:g}", "1"), ("directions", directions, DIRECTIONS[0])):
        if value != idle:
            warnings.warn(f"{option}={value} has no effect alone: pass direction=1, or plus=3", stacklevel=4)


def check_steering(generator: Generator, truncation: float, mix_levels: str, temperature: float) -> None:
    """Refuse what would have no effect.

    Raises:
        UsageError: it would.
    """
    if generator.styled:
        return
    for option, value, idle in (("truncation", truncation, 1), ("mix_levels", mix_levels, "none")):
        if value != idle:
            raise UsageError(f"{option} needs codes w, as stylegan2 has them (got {value}): pass temperature")
    if temperature != 1 and isinstance(generator.net, StyleSynthesis):
        raise UsageError(f"progan norms its noise, so that temperature={temperature:g} has no effect: leave it out")


def centre_of(generator: Generator, condition: Condition) -> Float[Tensor, "n width"]:
    """The mean code w under the condition of each item, towards which truncation leads: towards the mean of all
    conditions, samples of every class would become alike."""
    net = generator.net
    assert isinstance(net, StyleSynthesis) and net.mapping is not None
    context, of = torch.unique(generator.conditioner(condition), dim=0, return_inverse=True)
    z = Streams(0, CENTRING, device=context.device).normal(net.latent)
    means = [
        net.mapping(z.repeat(len(part), 1), part.repeat_interleave(CENTRING, 0))
        .reshape(len(part), CENTRING, -1)
        .mean(1)
        for part in context.split(AT_ONCE)
    ]
    return torch.cat(means)[of]


def class_shift(generator: Generator, condition: Event | None, plus: int, minus: int) -> Float[Tensor, "code"]:
    """E[w | plus] - E[w | minus]; -1 leaves a class out: the mean over all classes takes its place.

    Raises:
        Unsupported: a generator without codes w, or without classes as its condition.
    """
    if not generator.styled or not isinstance(condition, Discrete) or condition.shape != ():
        raise Unsupported("plus and minus need codes w and classes: train stylegan2 with --condition label")
    if max(plus, minus) >= condition.largest:
        raise UsageError(f"plus and minus must be classes from 0 to {condition.largest - 1} (got {max(plus, minus)})")

    def mean(chosen: int) -> Tensor:
        device = next(generator.parameters()).device
        classes = torch.arange(CODES, device=device) % condition.largest if chosen < 0 else None
        given = torch.full((CODES,), chosen, device=device) if classes is None else classes
        return _codes(generator, given).mean(0)

    return mean(plus) - mean(minus)


def _codes(generator: Generator, condition: Tensor | None = None) -> Float[Tensor, "codes width"]:
    """Codes w of noise that is always the same, under conditions drawn evenly where the generator has classes."""
    net = generator.net
    assert isinstance(net, StyleSynthesis) and net.mapping is not None
    device = net.mapping.mean.device
    z = Streams(0, CODES, device=device).normal(net.latent)
    event = generator.conditioner.event
    if event is not None and condition is None:
        if not isinstance(event, Discrete) or event.shape != ():
            raise Unsupported("directions of a conditional model need classes as its condition: pass direction=0")
        condition = torch.arange(CODES, device=device) % event.largest
    mapping: nn.Module = net.mapping
    w: Tensor = mapping(z, generator.conditioner(condition))
    return w.detach().float()


def controls(generator: Generator, condition: Event | None) -> tuple[Control, ...]:
    """What of a generator can be steered, with settings that show it."""
    if isinstance(generator.net, Translator):
        return ()
    shares = (0.25, 0.5, 0.75, 1.0)
    found = []
    if generator.styled or not isinstance(generator.net, StyleSynthesis):  # progressive nets norm their noise
        found.append(Control("temperature", tuple((f"temperature {t:g}", {"temperature": t}) for t in shares)))
    if generator.styled:
        closer = tuple((f"truncation {t:g}", {"truncation": t}) for t in (0.0, *shares))
        mixed = tuple((f"{mix} of a second", {"mix_levels": mix}) for mix in MIXES)
        found += [Control("truncation", closer), Control("mixing", (("one code", {}), *mixed))]
    classes = isinstance(condition, Discrete) and condition.shape == ()
    kinds = DIRECTIONS if generator.styled else DIRECTIONS[:1]
    for kind in kinds if condition is None or classes or not generator.styled else ():
        for number in range(1, min(SHOWN, *readers(generator).shape) + 1):
            lines = tuple(
                (f"strength {s:g}", {"directions": kind, "direction": number, "strength": s} if s else {})
                for s in REACH
            )
            found.append(Control(f"{kind}-{number}", lines))
    if generator.styled and isinstance(condition, Discrete) and classes:
        towards = tuple((f"plus {k}", {"plus": k}) for k in range(min(condition.largest, MOST_CLASSES)))
        found.append(Control("classes", (("as drawn", {}), *towards)))
    return tuple(found)
