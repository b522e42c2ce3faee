"""guided: a run and what guides it → a run that samples so, and that is saved, edited with and evaluated like any."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
from torch import Tensor

from pofx.artifact import Artifact
from pofx.combine.around.guided import Guided, LogLikelihood
from pofx.companions import Given, agree, given
from pofx.core.companion import Foundation, Guide
from pofx.core.config import function_in_file
from pofx.core.entry import public
from pofx.core.errors import Unsupported, UsageError
from pofx.core.event import Continuous
from pofx.core.model import Denoising, Model
from pofx.core.options import Range, Real, Unit

PUBLIC = ("guided",)


class GuidedByFunction(Artifact):
    """A run guided by a function of the program, which is in memory only."""

    def using(self, **options: Any) -> Artifact:
        """The same run and function under other sampling options.

        Raises:
            UsageError: an option that cannot change, or an impossible value of one.
        """
        found = super().using(**options)
        if found is not self and isinstance(self.model, Guided) and isinstance(found.model, Guided):
            found.model.likelihood = self.model.likelihood
        return found

    def save(self, path: str | Path) -> NoReturn:
        """Refused.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            "a guide that is a function cannot be saved: save the run, and guide it again (`pofx sample --guide`)"
        )


@public
def guided(
    run: Any,
    by: Any = None,
    *,
    guidance: Annotated[Real, Range(-1000, 1000)] | None = None,
    guidance_rescale: Unit = 0.0,
    guidance_interval: Sequence[Unit] = (0.0, 1.0),
) -> Artifact:
    """A trained denoiser, guided while it samples: `pofx.guided(run, "runs/small").sample(16)`.

    Args:
        run: a diffusion or flow-matching run, or any other that denoises: an artifact or a folder.
        by: what guides it. A run that denoises the same items, smaller or trained for a shorter time: the estimate
            moves away from its errors (autoguidance). A run given a label that `run` was trained without, a conditional
            denoiser or density: a classifier; the result takes that label as its condition. A function of events
            (n, *event), pixels from -1 to 1 or standardised columns, that returns one log-likelihood for each, or minus
            a loss, or its place, "file.py:name": it is given the denoised estimate. None: the run itself without its
            condition.
        guidance: the weight; by default 2, of a classifier or a function 1. 1 is the run alone, but for a classifier
            or a function, where 0 is. It can be changed later, `using(guidance=3)`.
        guidance_rescale: share by which guided estimates get the spread of plain ones.
        guidance_interval: times between which guidance acts, from 0 (data) to 1 (noise).

    Raises:
        Unsupported: a run that does not denoise, a guide of other items, or none for a run without a condition.
    """
    held = given(run, "run")
    parts, guide = held.parts, None
    if not isinstance(parts.model, Denoising):
        raise Unsupported(f"{parts.name} does not denoise: guide a diffusion or flow-matching run")
    conditioning, training = parts.conditioning, dict(parts.card.get("training", {}))
    if isinstance(by, str | Path) and re.search(r"\.py(:|$)", str(by)):
        by = function_in_file(str(by), "a guide")
    likelihood: LogLikelihood | None = by if _is_function(by) else None
    if likelihood is not None:
        _try(likelihood, parts.model)
    if by is not None and likelihood is None:
        guide = given(by, "by")
        if conditioning is None:
            conditioning, training["condition"] = guide.parts.conditioning, _condition_of(guide)
        agree("the guide", guide.parts, parts.representation, conditioning)
    elif by is None and conditioning is None:
        raise Unsupported(f"{parts.name} was trained without a condition: give by=, a weaker run or a function")
    classifies = likelihood is not None or (conditioning is not None and parts.conditioning is None)
    model = Guided(
        parts.model.event,
        None if conditioning is None else conditioning.event,
        run=Foundation(parts.model, parts.name, held.path, held.hash),
        guide=None if guide is None else Guide(guide.parts.model, guide.parts.name, guide.path, guide.hash),
        guidance=(1.0 if classifies else 2.0) if guidance is None else guidance,
        guidance_rescale=guidance_rescale,
        guidance_interval=guidance_interval,
    )
    model.likelihood = likelihood
    origins = {"run": held.origin, **({} if guide is None else {"guide": guide.origin})}
    card = {**parts.card, "training": training, "companions": origins}
    if guide is not None and parts.conditioning is None:
        card["label_names"] = guide.parts.card.get("label_names")
    made = GuidedByFunction if likelihood is not None else Artifact
    return made(parts.representation, model.eval(), model.name, card, conditioning).to(parts.device)


def _is_function(by: Any) -> bool:
    return callable(by) and not isinstance(by, Artifact)


def _try(likelihood: LogLikelihood, model: Model) -> None:
    """Call a guide once, to see that it is one.

    Raises:
        UsageError: it cannot be called with events, or returns no number for each that torch can differentiate.
    """
    assert isinstance(model.event, Continuous)
    x = torch.zeros(2, *model.event.shape, requires_grad=True)
    name = getattr(likelihood, "__name__", type(likelihood).__name__)
    needed = f"a guide takes events (n, {', '.join(map(str, model.event.shape))}) and returns one number for each, (n,)"
    try:
        value = likelihood(x.to(next(iter((*model.parameters(), *model.buffers())), x).device))
    except Exception as error:  # whatever a function raises
        raise UsageError(f"the guide {name} cannot be called ({type(error).__name__}: {error}): {needed}") from error
    if not isinstance(value, Tensor) or tuple(value.shape) != (2,):
        got = f"shape {tuple(value.shape)} of 2 events" if isinstance(value, Tensor) else type(value).__name__
        raise UsageError(f"the guide {name} must return one number for each event (got {got}): {needed}")
    if not value.requires_grad:
        raise UsageError(
            f"the guide {name} must be differentiable in the events (its result has no gradient): use torch alone"
        )


def _condition_of(guide: Given) -> Any:
    training = guide.parts.card.get("training")
    return training.get("condition") if isinstance(training, Mapping) else None
