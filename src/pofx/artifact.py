"""Artifacts: representation + model + provenance, the one thing that is saved, loaded, served and evaluated.

Items go in and come out in data space; `storage` writes it into a folder and reads it back.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx import storage
from pofx.core import config
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Discrete, concatenated, count, dims, each, select
from pofx.core.items import Items
from pofx.core.model import Completing, Density, Encoding, Explicit, Factored, Model, Tempered, X
from pofx.core.random import Still, Streams
from pofx.core.representation import Representation
from pofx.data.conditions import LABEL, columns_of
from pofx.data.kind import kind_of, named
from pofx.maths.interpolation import spherical, straight

PUBLIC = ("Artifact", "Score", "load")

BATCH = 500  # items per call of the model when sampling or scoring
FAR = 1e4  # standardised units from which on a log p that is not a number is one that underflowed
NOT_OF_ITEMS = ("exact_duplicates", "overlap_rule", "label_names")  # facts of a data set that its samples do not share


@dataclass(frozen=True)
class Score:
    """log p of each item with its kind: value[i] in `unit` under `measure`, ± stderr[i] where it is estimated."""

    value: np.ndarray
    density: Density
    unit: str
    measure: str
    stderr: np.ndarray | None
    evaluations: int  # of the model's log_prob per item
    reasons: Mapping[int, str] = field(default_factory=dict)  # of items with probability zero (-inf), by their number


@dataclass(frozen=True)
class Artifact:
    """A trained model with the representations of its items and conditions, and the card of how it was trained."""

    representation: Representation
    model: Model
    name: str  # the model's name in `pofx models`
    card: Mapping[str, Any] = field(default_factory=dict)
    conditioning: Representation | None = None  # of the conditions, where the model takes one

    @property
    def density(self) -> Density:
        """The kind of this artifact's log_prob: the lesser of the model's density and the representation's volume."""
        return min(self.model.density, self.representation.volume) if isinstance(self.model, Explicit) else Density.NONE

    @property
    def device(self) -> torch.device:
        tensors = list(self.model.parameters()) + list(self.model.buffers())
        return tensors[0].device if tensors else torch.device("cpu")

    @property
    def condition_source(self) -> str | list[str] | None:
        """Where the condition is found in data like the training data: "label", a column or columns; else None."""
        named = self.card.get("training", {}).get("condition")
        return named if isinstance(named, str | list) else None

    @property
    def condition_columns(self) -> list[str]:
        """The columns of the table from which the condition was taken; none where it was something else."""
        return [] if self.condition_source == LABEL else columns_of(self.condition_source) or []

    def to(self, device: torch.device | str = "auto") -> Self:
        """Move the model; everything else follows it. "auto" is the GPU where there is one.

        Raises:
            UsageError: there is no such device here.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self.model.to(device)
            for part in (self.representation, self.conditioning):
                if part is not None:
                    part.to(device)
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
        return replace(self, model=model.eval())

    def sample(
        self,
        n: int,
        condition: Any = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH,
        prefix: Any = None,
        with_condition: bool | None = None,
        **tempering: float,
    ) -> Any:
        """n items in data space; item i depends on the seed and i alone.

        Args:
            condition: what the model was conditioned on, one for all items or one per item: labels by name, rows (a
                mapping, a DataFrame), texts, images; without it a model trained with labels draws them as often as
                they occur in the training items.
            prefix: partial items to complete, one for all or one per item: the first rows of images, the beginnings
                of texts. Only for models that draw an item part by part (`Completing`).
            with_condition: whether the conditions come back with the items: as columns of a table, else as a pair
                (items, conditions). By default only tables have them.
            tempering: options that trade diversity for quality, by the model's own names (temperature, top_k, top_p
                …); such samples no longer follow p(x).

        Raises:
            Unsupported: a condition for a model that was trained without one, or a prefix for one that cannot complete.
            DataError: n is not positive, or the condition has another length.
            UsageError: an unknown label or name in `tempering` (the nearest are named), or an impossible value of it.
        """
        drawn = self.draw(n, condition, seed=seed, batch_size=batch_size, prefix=prefix, **tempering)
        if drawn.condition is None or with_condition is False:
            return drawn.values
        columns = self.condition_columns
        if columns:
            frame = kind_of(drawn.condition).columns(drawn.condition.values)
            if frame is None:
                frame = pd.DataFrame({columns[0]: list(drawn.condition.values)})
            both = kind_of(drawn).with_columns(drawn, frame.set_axis(columns, axis=1))
            if both is not None:
                return both
        return (drawn.values, drawn.condition.values) if with_condition else drawn.values

    @torch.inference_mode()
    def draw(
        self,
        n: int,
        condition: Any = None,
        *,
        seed: int = 0,
        batch_size: int = BATCH,
        prefix: Any = None,
        **tempering: float,
    ) -> Items:
        """As `sample`: Items, with the conditions under which they were drawn."""
        names = self.model.tempers if isinstance(self.model, Tempered) else ()
        for key, value in tempering.items():
            if key not in names:
                raise unknown(f"sampling option of {self.name}", key, (*names, *self.model.adjustable))
            if not isinstance(value, int | float):
                raise UsageError(f"{key} must be a number (got {value!r}): pass {key}=1")
        options: dict[str, Any] = dict(tempering)
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise DataError(f"n must be a whole number of at least 1 (got {n!r})")
        self._warn_of_failure()
        raw_condition = self._raw_condition(condition, int(n), seed)
        given = self._condition_events(raw_condition)
        streams = Streams(seed, n, device=self.device)
        inside = Streams(seed + (1 << 41), n, device=self.device)  # of what events leave open
        known = self._prefixes(prefix, n)
        raw = []
        for i in range(0, n, batch_size):
            part = streams[i : i + batch_size]
            c = None if given is None else select(given, slice(i, i + batch_size))
            if known is not None:
                options["prefix"] = known[i : i + batch_size]
            x = self.model.sample(len(part), c, generator=part, **options)
            raw.append(each(self.representation.drawn(x, inside[i : i + batch_size]), Tensor.cpu))
        facts = {k: v for k, v in self.card.get("data", {}).get("facts", {}).items() if k not in NOT_OF_ITEMS}
        items = Items(self.representation.kind, self.representation.items(concatenated(raw)), facts=facts)
        if self.conditioning is None or raw_condition is None:
            return items
        used = Items(self.conditioning.kind, self.conditioning.items(raw_condition))
        names_of = self.card.get("label_names")
        if names_of and isinstance(self.model.condition, Discrete) and self.model.condition.shape == ():
            numbers = {str(name): k for k, name in enumerate(names_of)}
            return replace(items, condition=used, labels=np.array([numbers.get(str(v), -1) for v in used.values]))
        return replace(items, condition=used)

    def log_prob(self, values: Any, condition: Any = None, *, draws: int = 8) -> np.ndarray:
        """The value of `score`: log p of each item in data space, nats, float64 (n,)."""
        return self.score(values, condition, draws=draws).value

    @torch.inference_mode()
    def score(self, values: Any, condition: Any = None, *, draws: int = 8, batch_size: int = BATCH) -> Score:
        """log p of each item in data space, with its kind and error.

        A dequantising representation is averaged over `draws` noises inside the logarithm: an importance-weighted
        bound (Burda et al., 2016, arXiv 1509.00519). Noise is a function of the item, so equal items score equally.
        What cannot occur has probability zero: -inf, with a reason in `reasons`.

        Args:
            values: items in data space, or `Items`. Columns of a table that the model is conditioned on may be among
                them; `condition` need not be given then.
            condition: as in `sample`, one for all items or one per item.

        Raises:
            Unsupported: the model has no density, or its representation preserves none.
        """
        self._warn_of_failure()
        if not isinstance(self.model, Explicit) or self.density is Density.NONE:
            raise Unsupported(f"{self.name} has no density here: compare its samples with `pofx evaluate`")
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise UsageError(f"draws must be a whole number of at least 1 (got {draws!r}): pass draws=8")
        values, condition = self._apart(values, condition)
        raw, impossible = self.representation.tensor(values), dict(self.representation.impossible(values))
        given, counted = self._given(condition, count(raw)), self._counted(values)
        draws = draws if self.representation.volume is Density.BOUND and self.representation.noisy else 1
        logs, errors, far = [], [], []
        for i in range(0, count(raw), batch_size):
            part = each(select(raw, slice(i, i + batch_size)), lambda v: v.to(self.device))
            c = None if given is None else select(given, slice(i, i + batch_size))
            of = None if counted is None else counted[i : i + batch_size].to(self.device)
            found = [self._log_prob(part, c, of, streams) for streams in _repeated(part, draws)]
            logs.append(torch.stack([log_p for log_p, _, _ in found]).cpu())
            errors.append(torch.stack([error for _, error, _ in found]).cpu())
            far.append(torch.stack([beyond for _, _, beyond in found]).any(0).cpu())
        log_w, error, beyond = torch.cat(logs, 1), torch.cat(errors, 1), torch.cat(far)
        for row in beyond.nonzero()[:, 0].tolist():
            impossible.setdefault(row, "it is too far from the training items for the arithmetic")
        value = log_w.logsumexp(0) - np.log(draws)
        value[list(impossible)] = -torch.inf
        share = (log_w - value).nan_to_num(-torch.inf).exp() / draws  # of each draw in the mean
        variance = (share * error).square().sum(0)  # delta method on the log of a mean, draws independent
        if draws > 1:
            variance = variance + draws * share.var(0)
        variance = variance + float(self.model.log_prob_error() or 0.0) ** 2
        exact = draws == 1 and not bool(error.any()) and self.model.log_prob_error() is None
        return Score(
            value=value.numpy(),
            density=self.density,
            unit=self.representation.unit,
            measure=self.representation.measure,
            stderr=None if exact else variance.sqrt().numpy(),
            evaluations=draws,
            reasons=dict(sorted(impossible.items())),
        )

    def _log_prob(
        self, raw: Tensor, condition: X | None, counted: Tensor | None, streams: Streams
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log p of raw items under one noise, its standard error, and which items are beyond the arithmetic: (n,)."""
        assert isinstance(self.model, Explicit)
        x, ladj = self.representation.encode(raw, streams)
        size = _largest(x, count(raw)).to(ladj.device)
        x = each(x, lambda v: v.nan_to_num(0.0, 0.0, 0.0) if v.is_floating_point() else v)
        if counted is None:
            log_p, error = self.model.log_prob_estimate(x, condition)
        else:
            assert isinstance(self.model, Factored)
            terms, error = self.model.log_prob_terms(x, condition), None
            log_p = torch.where(counted, terms, 0.0).flatten(1).sum(1)
        beyond = ~size.isfinite() | (log_p.isnan() & (size > FAR))
        value = torch.where(beyond, -torch.inf, log_p.double() + ladj.double())
        return value, torch.zeros_like(value) if error is None else error.double(), beyond

    @torch.inference_mode()
    def log_prob_terms(self, values: Any, condition: Any = None, *, batch_size: int = BATCH) -> np.ndarray:
        """log p of each dimension of each item given those before it, nats: (n, *event.shape), with sums `log_prob`.

        Raises:
            Unsupported: the model does not factorise, or its representation is not one of discrete parts.
        """
        if not isinstance(self.model, Factored) or not isinstance(self.model.event, Discrete):
            raise Unsupported(f"{self.name} has no log p per dimension: train an autoregressive model")
        values, condition = self._apart(values, condition)
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
        events = self._events(*self._apart(values, condition), batch_size)
        return torch.cat([model.encode(x, given).cpu() for x, given in events]).numpy()

    @torch.inference_mode()
    def decode(self, codes: Any, condition: Any = None, *, batch_size: int = BATCH) -> Any:
        """The item of each code (n, *code.shape), in data space."""
        model = self._encoding()
        z = torch.as_tensor(np.asarray(codes), dtype=torch.int64 if isinstance(model.code, Discrete) else torch.float32)
        shape = model.code.shape if not isinstance(model.code, dict) else ()
        if tuple(z.shape[1:]) != tuple(shape):
            raise DataError(f"codes must have shape (n, {', '.join(map(str, shape))}) (got {tuple(z.shape)})")
        return self._decoded(z, self._given(condition, len(z)), batch_size)

    def reconstruct(self, values: Any, condition: Any = None) -> Any:
        """decode(encode(values))."""
        values, condition = self._apart(values, condition)
        return self.decode(self.encode(values, condition), condition)

    def _decoded(self, z: Tensor, given: X | None, batch_size: int) -> Any:
        """Items of codes under conditions that are events."""
        model, raw = self._encoding(), []
        for i in range(0, len(z), batch_size):
            c = None if given is None else select(given, slice(i, i + batch_size))
            x = model.decode(z[i : i + batch_size].to(self.device), c)
            raw.append(each(self.representation.decode(x), Tensor.cpu))
        return self.representation.items(concatenated(raw))

    @torch.inference_mode()
    def interpolate(self, a: Any, b: Any, steps: int = 8, condition: Any = None, *, path: str = "auto") -> Any:
        """len(a) · steps items: for each pair the path from a to b in code space.

        Args:
            condition: of the pairs, one for all or one per pair; it holds along the whole path.
            path: "spherical" (directions along the great circle, norms linearly: between standard normal codes of
                some dimensions), "straight", or "auto": spherical for real codes of at least 2 dimensions, straight
                for bounded ones.

        Raises:
            Unsupported: the model has no codes, or codes of classes, between which there is nothing.
            UsageError: an unknown path, or fewer than two steps.
        """
        code = self._encoding().code
        if isinstance(code, dict | Discrete):
            raise Unsupported(f"{self.name} has discrete codes, between which there is nothing: choose a flow or a VAE")
        if path not in ("auto", "spherical", "straight"):
            raise UsageError(f"path must be auto, spherical or straight (got '{path}')")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
            raise UsageError(f"steps must be a whole number of at least 2 (got {steps!r}): pass steps=8")
        if path == "auto":
            path = "straight" if isinstance(code, Bounded) or dims(code) < 2 else "spherical"
        (a, inside), (b, _) = self._apart(a, condition), self._apart(b, condition)
        za, zb = self.encode(a, inside), self.encode(b, inside)
        between = spherical if path == "spherical" else straight
        codes = between(za.reshape(len(za), -1), zb.reshape(len(zb), -1), steps).reshape(-1, *za.shape[1:])
        given = self._given(inside, len(za))
        if given is not None:
            given = select(given, torch.arange(len(za), device=self.device).repeat_interleave(steps))
        return self._decoded(torch.as_tensor(codes, dtype=torch.float32), given, BATCH)

    def condition_events(self, condition: Any, n: int, seed: int = 0) -> X | None:
        """The conditions of n items as the model takes them, on its device; None for a model without a condition.

        Args:
            condition: as in `sample`.
            seed: of conditions drawn as they occur in training, where none is given.
        """
        return self._condition_events(self._raw_condition(condition, n, seed))

    def _raw_condition(self, condition: Any, n: int, seed: int | None) -> Tensor | None:
        """Conditions in data space → raw, n of them; without a seed they must be given."""
        if self.conditioning is None:
            if condition is not None:
                raise Unsupported(f"{self.name} was trained without a condition: omit it, or train with --condition")
            return None
        if isinstance(condition, Items):
            condition = condition.values
        if condition is None:
            drawn = None if seed is None else self.conditioning.draw(Streams(seed + (1 << 40), n))
            if drawn is None:
                raise Unsupported(
                    f"{self.name} was trained with a condition: give one per item, by --condition or condition="
                )
            return drawn
        raw = self.conditioning.tensor(self.conditioning.as_batch(condition))
        if count(raw) not in (1, n):
            raise DataError(f"n must equal len(condition): n is {n}, the condition has {count(raw)}")
        note = self.conditioning.unfamiliar(raw)
        if note:
            warnings.warn(note, stacklevel=3)
        return raw if count(raw) == n else each(raw, lambda v: v.expand(n, *v.shape[1:]))  # type: ignore[no-any-return]

    def _warn_of_failure(self) -> None:
        training = self.card.get("training")
        failed = training.get("failed") if isinstance(training, Mapping) else None
        if failed:
            warnings.warn(f"the training of this run failed: {failed}", stacklevel=3)

    def _condition_events(self, raw: Tensor | None) -> X | None:
        if raw is None or self.conditioning is None:
            return None
        raw = each(raw, lambda v: v.to(self.device))
        found, _ = self.conditioning.encode(raw, Still(0, count(raw), device=self.device))
        self.model.check_condition(count(raw), found)
        return found

    def _given(self, condition: Any, n: int) -> X | None:
        """The conditions of given items as events, which must be stated: drawn ones would be those of other items."""
        return self._condition_events(self._raw_condition(condition, n, None))

    def _apart(self, values: Any, condition: Any) -> tuple[Any, Any]:
        """Items and their conditions, which may be columns of a table or part of `Items`."""
        if isinstance(values, Items):
            if condition is None and self.conditioning is not None:
                condition = values.condition
            values = values.values
        if self.conditioning is None or not self.condition_columns:
            return values, condition
        values, inside = named(self.representation.kind).without_columns(values, self.condition_columns)
        return values, inside if condition is None else condition

    def save(self, path: str | Path) -> Path:
        """Write the artifact into a folder; the previous one there stays whole until the new one is.

        Raises:
            PofxError: the disk is full or the folder cannot be written.
        """
        return storage.save(
            path, storage.Stored(self.representation, self.model, self.name, self.card, self.conditioning)
        )

    def _events(self, values: Any, condition: Any, batch_size: int) -> Iterator[tuple[X, X | None]]:
        """Items batch by batch as events on the model's device, with their stated conditions.

        Raises:
            DataError: an item that cannot occur, whose event would be that of another one.
        """
        for row, reason in self.representation.impossible(values).items():
            raise DataError(f"row {row} cannot occur: {reason}; leave it out")
        raw = self.representation.tensor(values)
        given = self._given(condition, count(raw))
        for i in range(0, count(raw), batch_size):
            part = each(select(raw, slice(i, i + batch_size)), lambda v: v.to(self.device))
            x, _ = self.representation.encode(part, next(_repeated(part, 1)))
            yield x, None if given is None else select(given, slice(i, i + batch_size))

    def _counted(self, values: Any) -> Tensor | None:
        """Which places of the events are the items, where they have others before or behind them; None for all.

        Raises:
            Unsupported: the model has no density of a part of an event given the text before it.
        """
        counted = self.representation.counted(values)
        if counted is not None and not (isinstance(self.model, Factored) and self.model.in_order):
            raise Unsupported(
                f"{self.name} cannot score a part of a running text given the text before it: train an "
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

    def _encoding(self) -> Encoding:
        if not isinstance(self.model, Encoding):
            raise Unsupported(f"{self.name} has no codes: choose a flow, a VAE or a diffusion model to encode")
        return self.model


def _repeated(raw: Tensor, draws: int) -> Iterator[Streams]:
    """Streams keyed by the items, which continue from draw to draw."""
    streams = Streams.of_items(1, raw)
    for _ in range(draws):
        yield streams


def _largest(x: X, n: int) -> Tensor:
    """The greatest absolute value of the real parts of each event: (n,)."""
    if isinstance(x, dict):
        return torch.stack([_largest(part, n) for part in x.values()]).amax(0)
    return x.abs().double().reshape(n, -1).amax(1) if x.is_floating_point() else torch.zeros(n, dtype=torch.float64)


def load(path: str | Path, **options: Any) -> Artifact:
    """The artifact in a folder, on the CPU; `options` as in `Artifact.using`.

    Raises:
        UsageError: there is no such folder.
        CorruptError: a file is missing, damaged, changed, or of a newer format.
    """
    parts = storage.load(path)
    return Artifact(parts.representation, parts.model, parts.name, parts.card, parts.conditioning).using(**options)
