"""Artifacts: representation + model + provenance, the one thing that is saved, loaded, served and evaluated.

Items go in and come out in data space; `storage` writes it into a folder and reads it back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pofx import storage
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Discrete, dims
from pofx.core.model import Completing, Density, Encoding, Explicit, Factored, Model, Tempered, X
from pofx.core.random import Streams
from pofx.core.representation import Representation
from pofx.maths.interpolation import spherical, straight

PUBLIC = ("Artifact", "Score", "load")

BATCH = 500  # items per call of the model when sampling or scoring


@dataclass(frozen=True)
class Score:
    """What a log_prob is: value[i] in `unit` under `measure`, worth `density`, ± stderr[i] where it is estimated."""

    value: np.ndarray
    density: Density
    unit: str
    measure: str
    stderr: np.ndarray | None
    evaluations: int  # of the model's log_prob per item


@dataclass(frozen=True)
class Artifact:
    """A trained model with the representation it was trained under and the card of how it came to be."""

    representation: Representation
    model: Model
    name: str  # the model's name in `pofx models`
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def density(self) -> Density:
        """What this artifact's log_prob is worth: the lesser of the model's density and the representation's volume."""
        return min(self.model.density, self.representation.volume) if isinstance(self.model, Explicit) else Density.NONE

    @property
    def device(self) -> torch.device:
        tensors = list(self.model.parameters()) + list(self.model.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    def to(self, device: torch.device | str = "auto") -> Self:
        """Move the model; everything else follows it. "auto" is the GPU where there is one.

        Raises:
            UsageError: there is no such device here.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.model.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"device must be auto, or one that is here, as cpu (got '{device}': {reason})") from error
        return self

    def using(self, **options: Any) -> "Artifact":
        """The same weights under other sampling options (`model.adjustable`: sampler, steps, guidance, …).

        Raises:
            UsageError: an option that this model does not let change after training.
        """
        for key in options:
            if key not in self.model.adjustable:
                raise unknown(f"sampling option of {self.name}", key, self.model.adjustable)
        if not options:
            return self
        values = {**config.config(self.model), **options}
        model = config.build(self.name, self.model.event, self.model.condition, **values).to(self.device)
        model.load_state_dict(self.model.state_dict())
        return Artifact(self.representation, model.eval(), self.name, self.card)

    @torch.inference_mode()
    def sample(
        self,
        n: int,
        condition: Any = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH,
        prefix: Any = None,
        **tempering: float,
    ) -> Any:
        """n items in data space; item i depends on the seed and i alone.

        Args:
            condition: one value for all items or one per item: label names (strings), class numbers (integers) or
                vectors; without it a model trained with labels draws them as often as they were in training.
            prefix: partial items to complete, one for all or one per item: the first rows of images, the beginnings
                of texts. Only for models that draw an item part by part (`Completing`).
            tempering: what sharpens the draws, by the model's own names (temperature, top_k, top_p …); such draws are
                no longer from p(x).

        Raises:
            Unsupported: a condition for a model that was trained without one, or a prefix for one that cannot complete.
            DataError: n is not positive, or the condition has another length or unknown labels.
            UsageError: an unknown name in `tempering` (the nearest are named), or a value that it cannot have.
        """
        for key, value in tempering.items():
            names = self.model.tempers if isinstance(self.model, Tempered) else ()
            if key not in names:
                raise unknown(f"way to sharpen the draws of {self.name}", key, names)
            if not isinstance(value, int | float):
                raise UsageError(f"{key} must be a number (got {value!r}): pass {key}=1")
        how: dict[str, Any] = dict(tempering)
        if n < 1:
            raise DataError(f"n must be at least 1 (got {n})")
        given = self.conditions(condition, n, seed)
        streams = Streams(seed, n, device=self.device)
        known = self._prefixes(prefix, n)
        raw = []
        for i in range(0, n, batch_size):
            part = streams[i : i + batch_size]
            c = None if given is None else given[i : i + batch_size]
            if known is not None:
                how["prefix"] = known[i : i + batch_size]
            x = self.model.sample(len(part), c, generator=part, **how)
            raw.append(self.representation.decode(x).cpu())
        return self.representation.items(torch.cat(raw))

    def log_prob(self, values: Any, condition: Any = None, *, draws: int = 8) -> np.ndarray:
        """The value of `score`: log p of each item in data space, nats, float64 (n,)."""
        return self.score(values, condition, draws=draws).value

    @torch.inference_mode()
    def score(self, values: Any, condition: Any = None, *, draws: int = 8, batch_size: int = BATCH) -> Score:
        """log p of each item in data space, with what it is worth.

        A dequantising representation is averaged over `draws` noises inside the logarithm: an importance-weighted
        bound (Burda et al., 2016, arXiv 1509.00519). Noise is a function of the item, so equal items score equally.

        Raises:
            Unsupported: the model has no density, or its representation keeps none.
        """
        if not isinstance(self.model, Explicit) or self.density is Density.NONE:
            raise Unsupported(f"{self.name} has no density here: compare its samples with `pofx evaluate`")
        raw = self.representation.tensor(values)
        given, counted = self._stated(condition, len(raw)), self._counted(values)
        draws = draws if self.representation.volume is Density.BOUND and self.representation.noisy else 1
        logs = []
        for i in range(0, len(raw), batch_size):
            part = raw[i : i + batch_size].to(self.device)
            c = None if given is None else given[i : i + batch_size]
            streams = Streams.of_items(1, part)
            each = []
            for _ in range(draws):
                x, ladj = self.representation.encode(part, streams)
                if counted is None:
                    log_p = self.model.log_prob(x, c)
                else:
                    assert isinstance(self.model, Factored)
                    terms = self.model.log_prob_terms(x, c)
                    log_p = torch.where(counted[i : i + batch_size].to(self.device), terms, 0.0).flatten(1).sum(1)
                each.append(log_p.double() + ladj.double())
            logs.append(torch.stack(each).cpu())
        log_w = torch.cat(logs, 1)
        value = log_w.logsumexp(0) - np.log(draws)
        error = None
        if draws > 1:
            error = (log_w - value).exp().std(0) / draws**0.5  # delta method on log of a mean
        shared = self.model.log_prob_error()
        if shared is not None:
            error = (torch.zeros_like(value) if error is None else error).hypot(torch.tensor(float(shared)))
        return Score(
            value=value.numpy(),
            density=self.density,
            unit=self.representation.unit,
            measure=self.representation.measure,
            stderr=None if error is None else error.numpy(),
            evaluations=draws,
        )

    @torch.inference_mode()
    def log_prob_terms(self, values: Any, condition: Any = None, *, batch_size: int = BATCH) -> np.ndarray:
        """log p of each dimension of each item given those before it, nats: (n, *event.shape), with sums `log_prob`.

        Raises:
            Unsupported: the model does not factorise, or its representation is not one of discrete parts.
        """
        if not isinstance(self.model, Factored) or not isinstance(self.model.event, Discrete):
            raise Unsupported(f"{self.name} has no log p per dimension: train an autoregressive model")
        events = self._events(values, condition, batch_size)
        terms = torch.cat([self.model.log_prob_terms(x, given).cpu() for x, given in events])
        counted = self._counted(values)
        return (terms if counted is None else torch.where(counted, terms, 0.0)).numpy()

    @torch.inference_mode()
    def encode(self, values: Any, condition: Any = None, *, batch_size: int = BATCH) -> np.ndarray:
        """The code of each item: float (n, *code.shape); deterministic.

        Raises:
            Unsupported: the model has no codes, or was trained with a condition and none is given.
        """
        model = self._encoding()
        events = self._events(values, condition, batch_size)
        return torch.cat([model.encode(x, given).cpu() for x, given in events]).numpy()

    @torch.inference_mode()
    def decode(self, codes: Any, condition: Any = None, *, batch_size: int = BATCH) -> Any:
        """The item of each code (n, *code.shape), in data space."""
        model = self._encoding()
        z = torch.as_tensor(np.asarray(codes), dtype=torch.float32)
        shape = model.code.shape if not isinstance(model.code, dict) else ()
        if tuple(z.shape[1:]) != tuple(shape):
            raise DataError(f"codes must have shape (n, {', '.join(map(str, shape))}) (got {tuple(z.shape)})")
        given = self._stated(condition, len(z))
        raw = []
        for i in range(0, len(z), batch_size):
            c = None if given is None else given[i : i + batch_size]
            raw.append(self.representation.decode(model.decode(z[i : i + batch_size].to(self.device), c)).cpu())
        return self.representation.items(torch.cat(raw))

    def reconstruct(self, values: Any, condition: Any = None) -> Any:
        """decode(encode(values))."""
        return self.decode(self.encode(values, condition), condition)

    def interpolate(self, a: Any, b: Any, steps: int = 8, condition: Any = None, *, way: str = "auto") -> Any:
        """len(a) · steps items: for each pair the way from a to b in code space.

        Args:
            way: "spherical" (directions along the great circle, norms evenly: the way between standard normal codes of
                some dimensions), "straight", or "auto": spherical for real codes of at least 2 dimensions, straight
                for bounded ones.

        Raises:
            Unsupported: the model has no codes, or codes of classes, between which there is nothing.
            UsageError: an unknown way.
        """
        code = self._encoding().code
        if isinstance(code, dict | Discrete):
            raise Unsupported(f"{self.name} has discrete codes, between which there is nothing: choose a flow or a VAE")
        if way not in ("auto", "spherical", "straight"):
            raise UsageError(f"way must be auto, spherical or straight (got '{way}')")
        if way == "auto":
            way = "straight" if isinstance(code, Bounded) or dims(code) < 2 else "spherical"
        za, zb = self.encode(a, condition), self.encode(b, condition)
        ways = (spherical if way == "spherical" else straight)(za.reshape(len(za), -1), zb.reshape(len(zb), -1), steps)
        return self.decode(ways.reshape(-1, *za.shape[1:]), condition)

    def conditions(self, condition: Any, n: int, seed: int) -> Tensor | None:
        """The condition as the model takes it: a tensor with one row per item on its device, or None."""
        event = self.model.condition
        if event is None:
            if condition is not None:
                raise Unsupported(
                    f"{self.name} was trained without a condition: leave it out, or train with --condition"
                )
            return None
        if condition is None:
            weights = self.card.get("label_frequencies")
            if not isinstance(event, Discrete) or weights is None:
                raise Unsupported(f"{self.name} was trained with a condition: give one value per item")
            u = Streams(seed + (1 << 40), n).uniform()
            edges = torch.tensor(np.cumsum(weights) / np.sum(weights), dtype=torch.float32)
            return torch.bucketize(u, edges).clamp(max=event.largest - 1).to(self.device)
        if isinstance(event, dict):
            raise Unsupported("product conditions are given to the model itself")
        values = np.asarray(condition)
        if isinstance(event, Discrete):
            values = np.vectorize(self._label, otypes=[np.int64])(values)
        if values.shape == event.shape:
            values = np.broadcast_to(values, (n, *event.shape))
        if len(values) != n:
            raise DataError(f"n must equal len(condition): n is {n}, the condition has {len(values)}")
        dtype = torch.int64 if isinstance(event, Discrete) else torch.float32
        tensor = torch.tensor(values.copy(), dtype=dtype, device=self.device)
        self.model.check_condition(n, tensor)
        return tensor

    def save(self, path: str | Path) -> Path:
        """Write the artifact into a folder; the previous one there stays whole until the new one is.

        Raises:
            PofxError: the disk is full or the folder cannot be written.
        """
        return storage.save(path, storage.Stored(self.representation, self.model, self.name, self.card))

    def _events(self, values: Any, condition: Any, batch_size: int) -> Iterator[tuple[X, Tensor | None]]:
        """Items batch by batch as events on the model's device, with their stated conditions."""
        raw = self.representation.tensor(values)
        given = self._stated(condition, len(raw))
        for i in range(0, len(raw), batch_size):
            part = raw[i : i + batch_size].to(self.device)
            x, _ = self.representation.encode(part, Streams.of_items(1, part))
            yield x, None if given is None else given[i : i + batch_size]

    def _counted(self, values: Any) -> Tensor | None:
        """Which places of the events are the items, where they have others before or behind them; None for all.

        Raises:
            Unsupported: the model has no density of a part of an event given what stands before it.
        """
        counted = self.representation.counted(values)
        if counted is not None and not (isinstance(self.model, Factored) and self.model.in_order):
            raise Unsupported(
                f"{self.name} cannot score a part of a running text given what stands before it: train an "
                "autoregressive model in the natural order, or give texts a line an item"
            )
        return counted

    def _prefixes(self, prefix: Any, n: int) -> Tensor | None:
        """Partial items as n events with -1 in the places to be drawn, on the model's device."""
        if prefix is None:
            return None
        if not isinstance(self.model, Completing):
            raise Unsupported(f"{self.name} cannot complete a partial item: train an autoregressive model")
        known = self.representation.prefix(prefix)
        if len(known) not in (1, n):
            raise DataError(f"prefix must be one partial item or n of them (got {len(known)} for n = {n})")
        return known.expand(n, *known.shape[1:]).to(self.device)

    def _stated(self, condition: Any, n: int) -> Tensor | None:
        """The condition of given items, which must be stated: one drawn at random would be that of other items."""
        if self.model.condition is not None and condition is None:
            raise Unsupported(
                f"{self.name} was trained with a condition: give one per item, by --condition or condition="
            )
        return self.conditions(condition, n, 0)

    def _encoding(self) -> Encoding:
        if not isinstance(self.model, Encoding):
            raise Unsupported(f"{self.name} has no codes: choose a flow, a VAE or a diffusion model to encode")
        return self.model

    def _label(self, value: Any) -> int:
        """The class number of a name, or of a number: integers are class numbers, whatever the classes are called."""
        if isinstance(value, int | np.integer):
            return int(value)
        names = [str(name) for name in self.card.get("label_names") or []]
        if str(value) in names:
            return names.index(str(value))
        try:
            return int(value)
        except ValueError:
            raise unknown("label", str(value), names) from None


def load(path: str | Path, **options: Any) -> Artifact:
    """The artifact in a folder, on the CPU; `options` as in `Artifact.using`.

    Raises:
        UsageError: there is no such folder.
        CorruptError: a file is missing, damaged, changed, or of a newer format.
    """
    parts = storage.load(path)
    return Artifact(parts.representation, parts.model, parts.name, parts.card).using(**options)
