"""Several parts of one event, modelled together: each part given any of the others, or all from nothing.

The parts (a picture and its caption, a table's row and a picture, a digit and how it sounds) lie side by side in one
event (`represent.together`), and one model that answers for any subset of its dimensions is all that is needed: a
circuit does so exactly, masked diffusion by filling in, a VAE by its codes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pofx.apps.folders import folder_of
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.core.event import Discrete, select
from pofx.core.files import read_json, whole, write_json
from pofx.core.items import Items
from pofx.core.model import Infilling, Marginal
from pofx.core.random import Streams
from pofx.data.dataset import split
from pofx.data.in_memory import as_part, is_classes
from pofx.data.several import Several
from pofx.represent.together import Given, Together
from pofx.runs.fitting import fit
from pofx.runs.models import model_entry

PUBLIC = ("Joint",)

BATCH = 250
OWN: Mapping[str, Mapping[str, Any]] = {  # options of models where none are given
    "circuit": {"states": 64},
    "masked-diffusion": {"width": 64, "layers": 3, "batch_size": 32},
}


class Joint:
    """p(parts) of an event with several parts: arrays of classes, tables, pictures, texts."""

    def __init__(
        self,
        model: str = "circuit",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        progress: Any = False,
        seed: int = 0,
    ) -> None:
        """Args:
        model: one that completes any subset: circuit, masked-diffusion (of classes alone), vae.
        options: of the model, the trainer and the view; as_numbers=True leaves numbers of tables numbers.
        minutes: of training; one by default.
        progress: of training, as of `pofx.fit`.
        """
        self.model, self.options, self.minutes, self.steps, self.seed = model, options, minutes, steps, seed
        self.progress = progress
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.run: Artifact | None = None

    def fit(self, parts: Mapping[str, Any]) -> "Joint":
        """Learn from parts by name, item i of each belonging together.

        A part is an array of classes (n, *shape), whole numbers from 0, or items of any kind: a DataFrame, texts,
        labels, points as a float array (n, d), `pofx.images(…)` and the like.

        Raises:
            Unsupported: a model that cannot draw some parts given others.
            DataError: fewer than two parts, or not one of each for every item.
            UsageError: a part that the model has no view of: numbers, where it takes classes alone.
        """
        row = model_entry(self.model)
        if not issubclass(row.model, Infilling):
            raise Unsupported(
                f"{self.model} cannot draw some parts given others: choose circuit, vae or masked-diffusion"
            )
        self.shapes = {name: np.shape(part)[1:] for name, part in parts.items() if is_classes(part)}
        items = {name: as_part(part, name) for name, part in parts.items()}
        if len(items) < 2 or len({len(of) for of in items.values()}) > 1:
            found = ", ".join(f"{name}: {len(of)} {of.kind}" for name, of in items.items())
            raise DataError(
                f"parts must be at least two, equally many (got {found or 'none'}): give one of each for every item"
            )
        data = split(Items("several", Several(items)), "joint", seed=self.seed)
        own = {**OWN.get(self.model, {}), **self._sizes(items), **(self.options or {})}
        self.run = fit(
            data, self.model, seed=self.seed, progress=self.progress, minutes=self.minutes, steps=self.steps, **own
        )
        return self

    def _sizes(self, items: Mapping[str, Items]) -> dict[str, Any]:
        """The places of each part, for a model that hides parts together."""
        if self.model != "masked-diffusion":
            return {}
        view = Together.fit(Items("several", Several(dict(items))))
        numbers = [name for name, part in view.parts.items() if not isinstance(part.event, Discrete)]
        if numbers:
            raise UsageError(
                f"{self.model} takes classes alone, and {', '.join(numbers)} are numbers: give them as a DataFrame, "
                "whose numbers become intervals, or choose circuit or vae"
            )
        return {"part_sizes": view.sizes} if len(view.sizes) == len(items) else {}

    @property
    def _fitted(self) -> tuple[Artifact, Together]:
        if self.run is None:
            raise UsageError("the joint model is not fitted: call fit first")
        assert isinstance(self.run.representation, Together)
        return self.run, self.run.representation

    def sample(self, n: int, given: Mapping[str, Any] | None = None, *, seed: int = 0) -> dict[str, Any]:
        """n events as parts by name, each as it was given to `fit`.

        Args:
            given: known parts, one for all or one each; of an array of classes -1 in the places that are not known, of
                a table any of its columns.
        """
        run, view = self._fitted
        model = run.model
        if not given:
            values = run.sample(n, seed=seed)
        else:
            assert isinstance(model, Infilling)
            known, found = self._known(given, n), []
            with torch.inference_mode():
                for i in range(0, n, BATCH):
                    rows = slice(i, i + BATCH)
                    streams = Streams(seed, min(BATCH, n - i), first=i, device=run.device)
                    x = model.complete(select(known.x, rows), select(known.known, rows), generator=streams)
                    found.append(torch.where(known.stated[rows], known.raw[rows], view.drawn(x, streams)))
            values = view.items(torch.cat(found).cpu())
        return {name: self._shaped(name, values[name]) for name in view.parts}

    def _shaped(self, name: str, values: Any) -> Any:
        return values.reshape(len(values), *self.shapes[name]) if name in self.shapes else values

    def _known(self, given: Mapping[str, Any], n: int | None = None) -> Given:
        view, plain = self._fitted[1], {}
        for name, part in given.items():
            plain[name] = part
            if name in self.shapes:
                array, shape = np.asarray(part), self.shapes[name]
                array = array[None] if array.shape == shape else array
                if (
                    array.shape[1:] != shape
                    or (n is not None and len(array) not in (1, n))
                    or array.dtype.kind not in "iu"
                ):
                    raise DataError(
                        f"{name} must have shape ({n or 'n'}, {', '.join(map(str, shape))}), classes or -1 "
                        f"where unknown (got {array.shape}): give one for all or one each"
                    )
                plain[name] = array.reshape(len(array), -1)
        found = view.known(plain)
        if n is not None and len(found.ladj) not in (1, n):
            raise DataError(f"known parts must be one for all or {n} (got {len(found.ladj)}): give one for each")
        found = found.to(self._fitted[0].device)
        return found if n is None else found.expanded(n)

    def log_prob(self, parts: Mapping[str, Any], given: Sequence[str] = ()) -> np.ndarray:
        """log p of the parts that are named in nats, given those in `given`, by models of any subset; (n,). It is exact
        where the model's density is; else it is a bound, and given other parts a difference of bounds.

        Of every part its own measure: counting where it is classes, Lebesgue where it is numbers.
        """
        model = self._fitted[0].model
        if not isinstance(model, Marginal):
            raise Unsupported(f"{self.model} has no density of some parts: fit a circuit, a vae or a masked-diffusion")

        def log_marginal(of: Mapping[str, Any]) -> torch.Tensor:
            known = self._known(of)
            if bool(known.ladj.isnan().any()):
                raise Unsupported("some columns of numbers have no density here: give the whole table, or fit classes")
            rows = [slice(i, i + BATCH) for i in range(0, len(known.ladj), BATCH)]
            found = [model.log_marginal(select(known.x, at), select(known.known, at)) for at in rows]
            return torch.cat(found).double() + known.ladj

        with torch.inference_mode():
            value = log_marginal(parts)
            if given:
                value = value - log_marginal({name: parts[name] for name in given})
        return np.asarray(value.cpu().numpy())

    def save(self, folder: str | Path) -> Path:
        """Write the model into a folder: the run, and the shapes of arrays of classes."""
        plain = {"model": self.model, "seed": self.seed, "shapes": {k: list(v) for k, v in self.shapes.items()}}
        with whole(Path(folder)) as aside:
            self._fitted[0].save(aside)
            write_json(aside / "joint.json", plain)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Joint":
        """The model that `save` wrote, or that of a folder of `pofx multimodal`."""
        path = folder_of(folder, "joint.json", "a model of several parts")
        plain = read_json(path / "joint.json")
        made = cls(plain["model"], seed=plain["seed"])
        made.shapes, made.run = {name: tuple(shape) for name, shape in plain["shapes"].items()}, load(path)
        return made
