"""Learned views: the codes of any trained `Encoding` model are the events of the next one.

Latent diffusion is a VAE, then a diffusion model of its codes (Rombach et al., 2022, arXiv 2112.10752); VQ-VAE and a
prior of its code grid another (van den Oord et al., 2017, arXiv 1711.00937). With q(z | x) and p(x | z) of the first
and p(z) of the next, log p(x) >= E_q [log p(x | z) + log p(z) - log q(z | x)], and the mean of several such weights is
tighter; a code that is a function of x has q = 1 and log p(x) >= log p(x | z) + log p(z); an invertible map is exact.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor

from pofx.core import config
from pofx.core.companion import Guide, beneath, load_weights
from pofx.core.errors import UsageError
from pofx.core.event import Bounded, Continuous, Discrete, Event, each
from pofx.core.generative import Decoding
from pofx.core.model import Density, Encoding, Latent, Model, X
from pofx.core.random import Streams
from pofx.core.representation import Items, Representation

LEAST = 1e-4  # of a code's standard deviation


class Learned(Representation):
    """Items ↔ codes of a trained model, itself on a view of the items. Real codes are standardised.

    The model is frozen, moves with the view, and is saved as a part of it.

    Args:
        view: the first model's representation, as `config.representation_to_json` describes it.
        model: the first model, as `config.model_to_json` describes it.
    """

    kind = "learned"  # of the class alone: an instance has the kind of its items
    name = "codes"
    summary = "codes of a trained model: `--on RUN`"

    def __init__(self, view: dict[str, Any], model: dict[str, Any]) -> None:
        self.view, self.model = view, model
        self._take(config.representation_from_json(view), config.model_from_json(model))

    @classmethod
    def of(cls, view: Representation, model: Model, name: str) -> Self:
        """The view of the codes of a trained model, which sees items by `view`.

        Raises:
            UsageError: the model has no codes.
        """
        self = cls.__new__(cls)
        self.view, self.model = config.representation_to_json(view), config.model_to_json(name, model)
        self._take(view, model)
        return self

    def _take(self, view: Representation, model: Model) -> None:
        name = self.model["name"]
        if not isinstance(model, Encoding):
            raise UsageError(f"a model cannot be trained on {name}, which has no codes: choose a VAE or a flow")
        if isinstance(model.code, dict):
            raise UsageError(f"a model cannot be trained on {name}, whose codes have several parts: choose another")
        self._view, self._held = view, Guide(model, name)
        code = model.code
        self.event: Event = code
        self._condition: X | None = None
        self.__dict__ |= {"kind": view.kind, "unit": view.unit, "measure": view.measure}  # of the items, as before
        self._standard = not isinstance(code, Bounded | Discrete)
        axes = (*code.shape[:1], *[1] * (len(code.shape) - 1)) if self._standard else ()
        self._shift, self._scale = torch.zeros(axes), torch.ones(axes)
        carries = isinstance(model, Latent)
        self.volume = min(view.volume, model.volume) if isinstance(model, Latent) else Density.NONE
        self.noisy = (view.volume is Density.BOUND and view.noisy) or (isinstance(model, Latent) and model.random_codes)
        if view.volume is Density.NONE:
            self.no_density = view.no_density
        elif not carries:
            self.no_density = f"the codes of {name} do not carry a density: it has no p(x | code)"

    @classmethod
    def fit(cls, items: Items, **options: Any) -> Self:
        raise UsageError("a learned view needs the run whose codes it is: pass on=RUN")

    @property
    def first(self) -> Encoding:
        """The model whose codes these are."""
        return self._held.having(Encoding)  # type: ignore[type-abstract]

    @property
    def inner(self) -> Representation:
        """The first model's view of the items."""
        return self._view

    @property
    def conditioned(self) -> bool:
        """Whether the codes depend on the condition of the items."""
        return self.first.condition is not None

    def under(self, condition: X | None) -> "Learned":
        if not self.conditioned:
            return self
        view = copy(self)
        view._condition = condition
        return view

    def standardise(self, raw: Tensor, condition: X | None, streams: Streams, batch: int = 500) -> None:
        """Take mean and standard deviation of the codes, of each channel or dimension, from training items."""
        if not self._standard:
            return
        parts = [slice(i, i + batch) for i in range(0, len(raw), batch)]
        given = (None if condition is None else each(condition, lambda v, part=part: v[part]) for part in parts)
        codes = [
            self.under(c).events(raw[part], streams[part]).cpu().double() for part, c in zip(parts, given, strict=True)
        ]
        z = torch.cat(codes)
        over = (0, *range(2, z.ndim))
        std = z.std(over, correction=0, keepdim=True)[0].clamp(min=LEAST)
        shift = z.mean(over, keepdim=True)[0]
        self._shift, self._scale = shift.float().to(self._shift.device), std.float().to(self._shift.device)

    # ── items ↔ events ──

    @torch.no_grad()
    def events(self, raw: Tensor, generator: Streams) -> Tensor:
        x, model = self._view.events(raw, generator), self.first
        c = self._condition
        z = model.draw_code(x, c, generator=generator) if isinstance(model, Latent) else model.encode(x, c)
        return self._standardised(z)

    @torch.no_grad()
    def encode(self, raw: Tensor, generator: Streams) -> tuple[Tensor, Tensor]:
        x, ladj = self._view.encode(raw, generator)
        model = self.first
        if not isinstance(model, Latent):
            return self._standardised(model.encode(x, self._condition)), torch.zeros_like(ladj)
        z, log_w = model.weigh_code(x, self._condition, generator=generator)
        ladj = ladj.double() + log_w.double()
        if self._standard:
            assert isinstance(model.code, Continuous)
            ladj = ladj - self._scale.double().log().expand(model.code.shape).sum()
        return self._standardised(z), ladj

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        return self._view.decode(self.first.decode(self._code(x), self._condition))

    def real(self, x: Tensor) -> Tensor:
        model, z = self.first, self._code(x)
        return self._view.real((model.expected if isinstance(model, Decoding) else model.decode)(z, self._condition))

    @torch.no_grad()
    def drawn(self, x: Tensor, generator: Streams) -> Tensor:
        model, z = self.first, self._code(x)
        if not isinstance(model, Latent):
            return self._view.drawn(model.decode(z, self._condition), generator)
        return self._view.drawn(model.draw_given(z, self._condition, generator=generator), generator)

    def _standardised(self, z: Tensor) -> Tensor:
        return (z.float() - self._shift) / self._scale if self._standard else z

    def _code(self, x: Tensor) -> Tensor:
        return x * self._scale + self._shift if self._standard else x

    # ── what the first view answers ──

    def tensor(self, values: Any) -> Tensor:
        return self._view.tensor(values)

    def training(self, values: Any) -> Tensor:
        return self._view.training(values)

    def items(self, raw: Tensor) -> Any:
        return self._view.items(raw)

    def impossible(self, values: Any) -> Mapping[int, str]:
        return self._view.impossible(values)

    def as_batch(self, values: Any) -> Any:
        return self._view.as_batch(values)

    def unfamiliar(self, raw: Tensor) -> str:
        return self._view.unfamiliar(raw)

    def counted(self, values: Any) -> Tensor | None:
        if self._view.counted(values) is not None:
            raise UsageError("codes of passages of a running text have no density of their own: give texts a line each")
        return None

    @property
    def dims(self) -> int:
        return self._view.dims

    # ── weights ──

    def state(self) -> dict[str, Tensor]:
        found = {f"first.{key}": value for key, value in self._held.weights().items()}
        found |= {f"view.{key}": value for key, value in self._view.state().items()}
        return found | {"shift": self._shift, "scale": self._scale}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        load_weights(self.first, beneath(tensors, "first"))
        self._view.load_state(beneath(tensors, "view"))
        self._shift, self._scale = tensors["shift"].clone(), tensors["scale"].clone()

    def to(self, device: torch.device | str) -> Self:
        self._held.to(device)
        self._view.to(device)
        self._shift, self._scale = self._shift.to(device), self._scale.to(device)
        return self
