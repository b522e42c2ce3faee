"""Artifacts: representation + model + provenance, the one thing that is saved, loaded, served and evaluated.

Items go in and come out in data space; `storage` writes it into a folder and reads it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pofx import drawing, hub, scoring, storage, summary
from pofx.companions import given_companions, made
from pofx.conditioned import apart, condition_events, events, given, raw_condition, warn_of_failure
from pofx.core import config
from pofx.core.companion import companions
from pofx.core.entry import device_of, public
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.event import Bounded, Discrete, concatenated, dims, each, select
from pofx.core.generative import Recalling
from pofx.core.items import Items
from pofx.core.limits import check_room
from pofx.core.model import Completing, Encoding, Factored, Tempered, Weighted, X
from pofx.core.options import Count, Many, OneOf, Seed, Stops, check_arguments, short
from pofx.core.progress import blocks
from pofx.data.kind import kind_of
from pofx.data.numbers import check_codes
from pofx.maths.interpolation import spherical, straight
from pofx.partial import Partial, known_of, without_condition
from pofx.parts import Parts
from pofx.scoring import Score

PUBLIC = ("Artifact", "load")

BYTES = 8  # of one number of a drawn item, at the most that is held at once
CodePath = Annotated[str, OneOf("auto", "spherical", "straight")]


@dataclass(frozen=True, repr=False)
class Artifact(Parts):
    """A trained model with the representations of its items and conditions, and the card of how it was trained."""

    def __repr__(self) -> str:
        return f"<Artifact: {summary.line(self)}>"

    def _repr_html_(self) -> str:
        return summary.html(self)

    @public
    def to(self, device: torch.device | str = "auto") -> Self:
        """Move the model; everything else follows it. "auto" is the GPU where there is one.

        Raises:
            UsageError: there is no such device here.
        """
        where = device_of(device)
        self.model.to(where)
        for part in (self.representation, self.conditioning):
            if part is not None:
                part.to(where)
        return self

    @public
    def using(self, **options: Any) -> "Artifact":
        """The same weights under other sampling options (`model.adjustable`: sampler, steps, guidance, …).

        Raises:
            UsageError: an option that this model does not let change after training.
        """
        options = self._named(options)
        for key in options:
            if key not in self.model.adjustable:
                raise unknown(f"sampling option of {self.name}", key, self.model.adjustable)
        if not options:
            return self
        runs = given_companions(type(self.model), options)
        kept = {name: one for name, one in companions(self.model).items() if name not in options}
        values = {**config.config(self.model), **options, **kept, **made(type(self.model), runs, self)}
        with torch.inference_mode(False):  # tensors of inference have no part in slopes
            model = config.build(self.name, self.model.event, self.model.condition, **values).to(self.device)
            model.load_state_dict(self.model.state_dict())
        return replace(self, model=model.eval())

    def _named(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options by the names of the model: the `steps` of a sampling are its `sampler_steps`."""
        short = {"steps": "sampler_steps"} if "sampler_steps" in self.model.adjustable else {}
        return {short.get(key, key): value for key, value in options.items()}

    def sampling_options(
        self, options: Mapping[str, Any], also: tuple[str, ...] = ()
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Options of `sample` in two parts: constructor values, for `using`, and all others.

        Raises:
            UsageError: an option that is neither of this model nor in `also`.
        """
        tempers, options = self.model.tempers if isinstance(self.model, Tempered) else (), self._named(options)
        for key in options:
            if key not in (*tempers, *self.model.adjustable, *also):
                raise unknown(f"sampling option of {self.name}", key, (*tempers, *self.model.adjustable, *also))
        adjusted = {key: value for key, value in options.items() if key in self.model.adjustable}
        return adjusted, {key: value for key, value in options.items() if key not in adjusted}

    @public
    def sample(
        self,
        n: Many,
        condition: Any = None,
        *,
        seed: Seed = 0,
        batch_size: Count | None = None,
        prefix: Any = None,
        given: Any = None,
        with_condition: bool | None = None,
        **options: Any,
    ) -> Any:
        """n items in data space; item i depends on the seed and i alone.

        Args:
            condition: what the model was conditioned on, one for all items or one per item: labels by name, rows (a
                mapping, a DataFrame), texts, images; without it a model trained with labels draws them as often as
                they occur in the training items.
            prefix: partial items to complete, one for all or one per item: the first rows of images, the beginnings
                of texts. Only for models that draw an item part by part (`Completing`). Of rows the same as `given`.
            given: known values by column, one mapping for all rows, or one for each in a list or a DataFrame of n; the
                other columns are drawn given them. Exact for models of any subset and, if the columns come first, for
                autoregressive ones.
            with_condition: whether the conditions come back with the items: as columns of a table, else as a pair
                (items, conditions). By default only tables have them.
            options: by the model's own names, those of `using` (sampler, sampler_steps, guidance …), for this call
                alone, and those that trade diversity for quality (temperature, top_k, top_p …), under which samples
                no longer follow p(x).

        Raises:
            Unsupported: a condition for a model that was trained without one, or a prefix for one that cannot complete.
            DataError: the condition has another length.
            UsageError: n is no whole number from 1 up, or so large that the items do not fit into memory; an unknown
                label or name in `options` (the nearest are named), or an impossible value of it.
        """
        drawn = self.draw(n, condition, seed=seed, batch_size=batch_size, prefix=prefix, given=given, **options)
        if drawn.condition is None or with_condition is False:
            return drawn.values
        columns = self.condition_columns
        if columns and kind_of(drawn).columnar:
            frame = kind_of(drawn.condition).columns(drawn.condition.values)
            if frame is None:
                frame = pd.DataFrame({columns[0]: list(drawn.condition.values)})
            ordered = frame[columns] if set(columns) == set(frame.columns) else frame.set_axis(columns, axis=1)
            both = kind_of(drawn).with_columns(drawn, ordered)
            if both is not None:
                return both
        return (drawn.values, drawn.condition.values) if with_condition else drawn.values

    @public
    @torch.inference_mode()
    def draw(
        self,
        n: Many,
        condition: Any = None,
        *,
        seed: Seed = 0,
        batch_size: Count | None = None,
        prefix: Any = None,
        given: Any = None,
        **options: Any,
    ) -> Items:
        """As `sample`: Items, with the conditions under which they were drawn."""
        adjusted, tempering = self.sampling_options(options)
        if adjusted:
            return self.using(**adjusted).draw(
                n, condition, seed=seed, batch_size=batch_size, prefix=prefix, given=given, **tempering
            )
        check_arguments(self.model.sample, (), tempering)
        tempering = config.plain(tempering)
        n, seed = int(n), int(seed)
        check_room(BYTES * n * (self.representation.dims + 2), f"n must be fewer items than memory holds (got {n}")
        warn_of_failure(self)
        prefix, given = known_of(self.representation, prefix, given)
        given, condition = without_condition(given, self.condition_columns, condition)
        raw = raw_condition(self, condition, n, seed)
        stated = condition_events(self, raw)
        streams, inside = drawing.streams(seed, n, self.device)
        partial = Partial.of(self.name, self.model, self.representation, prefix, given, n, self.device)
        batch = self.batch(batch_size, stepwise=isinstance(self.model, Completing))
        return drawing.drawn(self, partial, raw, stated, streams, inside, batch, tempering)

    def log_prob(
        self, values: Any, condition: Any = None, *, draws: Count = 8, importance: Count | None = None
    ) -> np.ndarray:
        """The value of `score`: log p of each item in data space, nats, float64 (n,)."""
        return self.score(values, condition, draws=draws, importance=importance).value

    @public
    @torch.inference_mode()
    def score(
        self,
        values: Any,
        condition: Any = None,
        *,
        draws: Count = 8,
        importance: Count | None = None,
        batch_size: Count | None = None,
    ) -> Score:
        """log p of each item in data space, with its kind and error.

        A dequantising representation is averaged over `draws` noises inside the logarithm: an importance-weighted
        bound (Burda et al., 2016, arXiv 1509.00519). Noise is a function of the item, so equal items score equally.
        What cannot occur has probability zero: -inf, with a reason in `reasons`.

        Args:
            values: items in data space, or `Items`. Columns of a table that the model is conditioned on may be among
                them; `condition` need not be given then.
            condition: as in `sample`, one for all items or one per item.
            importance: importance samples of a model that integrates a code out; None is the model's own number. The
                score states the number, and how many of them count for each item.

        Raises:
            Unsupported: the model has no density, or its representation preserves none; `importance` for a model
                without importance weights.
        """
        warn_of_failure(self)
        if importance is None:
            return scoring.score(self, values, condition, draws, self.batch(batch_size))
        if not isinstance(self.model, Weighted):
            raise Unsupported(f"{self.name} has no importance weights: leave importance out")
        return scoring.score(self.using(importance=int(importance)), values, condition, draws, self.batch(batch_size))

    @public
    @torch.inference_mode()
    def log_prob_terms(self, values: Any, condition: Any = None, *, batch_size: Count | None = None) -> np.ndarray:
        """log p of each dimension of each item given those before it, nats: (n, *event.shape), with sums `log_prob`.

        Raises:
            Unsupported: the model does not factorise, or its representation is not one of discrete parts.
        """
        if not isinstance(self.model, Factored) or not isinstance(self.model.event, Discrete):
            raise Unsupported(f"{self.name} has no log p per dimension: train an autoregressive model")
        values, condition = apart(self, values, condition)
        pairs = events(self, values, condition, self.batch(batch_size))
        terms = torch.cat([self.model.log_prob_terms(x, c).cpu() for x, c in pairs])
        counted = scoring.counted(self, values)
        return (terms if counted is None else torch.where(counted, terms, 0.0)).numpy()

    @public
    @torch.inference_mode()
    def encode(self, values: Any, condition: Any = None, *, batch_size: Count | None = None) -> np.ndarray:
        """The code of each item: float (n, *code.shape); deterministic.

        Raises:
            Unsupported: the model has no codes, or was trained with a condition and none is given.
        """
        model = self._encoding()
        values, condition = apart(self, values, condition)
        pairs = events(self, values, condition, self.batch(batch_size), model.reads_condition)
        return torch.cat([model.encode(x, c).cpu() for x, c in pairs]).numpy()

    @public
    @torch.inference_mode()
    def decode(self, codes: Any, condition: Any = None, *, batch_size: Count | None = None) -> Any:
        """The item of each code (n, *code.shape), in data space."""
        model = self._encoding()
        shape = model.code.shape if not isinstance(model.code, dict) else ()
        z = torch.from_numpy(check_codes(codes, shape, whole=isinstance(model.code, Discrete)))
        return self._decoded(
            z,
            given(self, condition, len(z)) if model.reads_condition else None,
            self.batch(batch_size, stepwise=isinstance(self.model, Completing)),
        )

    @public
    def reconstruct(self, values: Any, condition: Any = None) -> Any:
        """decode(encode(values)); of an associative memory what it recalls from these items, damaged or not."""
        values, condition = apart(self, values, condition)
        if isinstance(self.model, Recalling):
            model, view = self.model, self.representation
            pairs = events(self, values, condition, self.batch(None), False)
            raw = [each(view.under(c).decode(model.recall(x)), Tensor.cpu) for x, c in pairs]
            return view.items(concatenated(raw))
        return self.decode(self.encode(values, condition), condition)

    def _decoded(self, z: Tensor, stated: X | None, batch_size: int) -> Any:
        """Items of codes under conditions that are events."""
        model, raw = self._encoding(), []
        for at in blocks(len(z), batch_size):
            c = None if stated is None else select(stated, at)
            x = model.decode(z[at].to(self.device), c)
            raw.append(each(self.representation.under(c).decode(x), Tensor.cpu))
        return self.representation.items(concatenated(raw))

    @public
    @torch.inference_mode()
    def interpolate(self, a: Any, b: Any, steps: Stops = 8, condition: Any = None, *, path: CodePath = "auto") -> Any:
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
        if path == "auto":
            path = "straight" if isinstance(code, Bounded) or dims(code) < 2 else "spherical"
        (a, inside), (b, _) = apart(self, a, condition), apart(self, b, condition)
        za, zb = self.encode(a, inside), self.encode(b, inside)
        if len(za) != len(zb):
            raise DataError(f"a and b must be as many items (got {len(za)} and {len(zb)}): pass pairs")
        between = spherical if path == "spherical" else straight
        codes = between(za.reshape(len(za), -1), zb.reshape(len(zb), -1), steps).reshape(-1, *za.shape[1:])
        stated = given(self, inside, len(za))
        if stated is not None:
            stated = select(stated, torch.arange(len(za), device=self.device).repeat_interleave(steps))
        return self._decoded(torch.as_tensor(codes, dtype=torch.float32), stated, self.batch())

    def condition_events(self, condition: Any, n: Many, seed: Seed = 0) -> X | None:
        """The conditions of n items as the model takes them, on its device; None for a model without a condition.

        Args:
            condition: as in `sample`.
            seed: of conditions drawn as they occur in training, where none is given.
        """
        return condition_events(self, raw_condition(self, condition, n, seed))

    @public
    def save(self, path: str | Path) -> Path:
        """Write the artifact into a folder; the previous one there stays whole until the new one is.

        Raises:
            PofxError: the disk is full or the folder cannot be written.
        """
        return storage.save(path, self)

    @public
    def push(self, repo: str, *, private: bool = True, message: str = "", evaluation: Any = None) -> str:
        """Upload the artifact with its model card to the Hugging Face Hub; returns its address with commit and hash.

        Args:
            repo: "user/name".
            private: whether a new repository is visible to its owner alone.
            evaluation: as `pofx.info` has it, for the card.

        Raises:
            UsageError: no name of a repository, or no permission to write there.
        """
        return hub.push(self, repo, private=private, message=message, evaluation=evaluation)

    def model_card(self, evaluation: Any = None) -> str:
        """The text of a model card in the format of the Hugging Face Hub; `evaluation` as `pofx.info` has it."""
        from pofx.model_card import model_card  # here: it loads huggingface_hub

        return model_card(self, evaluation)

    def _encoding(self) -> Encoding:
        if not isinstance(self.model, Encoding):
            raise Unsupported(f"{self.name} has no codes: choose a flow, a VAE or a diffusion model to encode")
        return self.model


@public
def load(path: str | Path, **options: Any) -> Artifact:
    """The artifact in a folder or at "hf://user/name@revision#hash", on the CPU; `options` as in `Artifact.using`.

    Raises:
        UsageError: there is no such folder.
        CorruptError: a file is missing, damaged, changed, or of a newer format.
    """
    parts = storage.load(path)
    return Artifact(parts.representation, parts.model, parts.name, parts.card, parts.conditioning).using(**options)


def run_of(run: Any) -> Artifact:
    """A run, or that in a folder.

    Raises:
        UsageError: neither.
    """
    if isinstance(run, str | Path):
        return load(run)
    if not isinstance(run, Artifact):
        raise UsageError(f"run must be a run or its folder (got {short(run)}): pass what pofx.fit or pofx.load returns")
    return run
