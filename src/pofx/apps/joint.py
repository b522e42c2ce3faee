"""Several parts of one event, modelled together: each part given any of the others, or all from nothing.

The parts (a picture and its caption, a digit and how it sounds) are classes in one vector, and one model that answers
for any subset of its dimensions is all that is needed: a circuit does so exactly, masked diffusion by filling in.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pofx.artifact import Artifact
from pofx.core.errors import DataError, Unsupported, UsageError, unknown
from pofx.core.model import Infilling, Marginal
from pofx.core.random import Streams
from pofx.data.dataset import split
from pofx.data.kinds.tokens import tokens
from pofx.runs.fitting import fit

PUBLIC = ("Joint",)

BATCH = 250
OWN: Mapping[str, Mapping[str, Any]] = {"circuit": {"states": 64}}  # options of models where none are given


class Joint:
    """p(parts) of an event with several parts, arrays of classes each."""

    def __init__(
        self,
        model: str = "circuit",
        *,
        options: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        model: one that completes any subset: circuit, or masked diffusion ("masked").
        options: of the model and the trainer.
        minutes: of training; one by default.
        """
        self.model, self.options, self.minutes, self.steps, self.seed = model, options, minutes, steps, seed
        self.run: Artifact | None = None

    def fit(self, parts: Mapping[str, Any]) -> "Joint":
        """Learn from parts by name, whole numbers (n, *shape) from 0, item i of each belonging together."""
        arrays = {name: np.asarray(part) for name, part in parts.items()}
        sizes = {len(array) for array in arrays.values()}
        wrong = [name for name, a in arrays.items() if a.dtype.kind not in "iu" or a.ndim < 2 or a.min(initial=0) < 0]
        if wrong or len(sizes) != 1 or len(arrays) < 2:
            raise DataError(
                f"parts must be at least two arrays of whole numbers (n, …) from 0, equally many "
                f"(got {', '.join(f'{k} {v.dtype} {v.shape}' for k, v in arrays.items())})"
            )
        self.shapes = {name: array.shape[1:] for name, array in arrays.items()}
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes.values()])
        starts = [0, *ends[:-1].tolist()]
        self.places = {name: slice(a, int(b)) for name, a, b in zip(arrays, starts, ends, strict=True)}
        self.classes = {name: int(array.max()) + 1 for name, array in arrays.items()}
        flat = np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], 1)
        data = split(tokens(flat, classes=max(self.classes.values())), "joint", seed=self.seed)
        budget: dict[str, Any] = {"steps": self.steps} if self.steps else {"minutes": self.minutes or 1.0}
        own = {**OWN.get(self.model, {}), **(self.options or {})}
        self.run = fit(data, self.model, seed=self.seed, progress=False, **budget, **own)
        if not isinstance(self.run.model, Infilling):
            raise Unsupported(f"{self.model} cannot draw some parts given others: choose circuit or masked")
        return self

    def sample(self, n: int, given: Mapping[str, Any] | None = None, *, seed: int = 0) -> dict[str, np.ndarray]:
        """n events as parts by name.

        Args:
            given: known parts, one for all or one each; -1 in the places that are not known.
        """
        if self.run is None:
            raise UsageError("the joint model is not fitted: call fit first")
        x, known = self._known(n, given or {})
        model, found = self.run.model, []
        if not bool(known.any()):
            flat = np.asarray(self.run.sample(n, seed=seed))
        else:
            assert isinstance(model, Infilling)
            with torch.inference_mode():
                for i in range(0, n, BATCH):
                    streams = Streams(seed, min(BATCH, n - i), first=i)
                    found.append(model.complete(x[i : i + BATCH], known[i : i + BATCH], generator=streams).cpu())
            flat = torch.cat(found).numpy()
        return {
            name: np.minimum(flat[:, at], self.classes[name] - 1).reshape(n, *self.shapes[name])
            for name, at in self.places.items()
        }

    def _known(self, n: int, given: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(at.stop for at in self.places.values())
        x = np.full((n, width), -1, np.int64)
        for name, part in given.items():
            if name not in self.places:
                raise unknown("part", name, list(self.places))
            array = np.asarray(part)
            shape = self.shapes[name]
            if array.shape == shape:
                array = np.repeat(array[None], n, 0)
            if array.shape != (n, *shape) or array.max(initial=-1) >= self.classes[name]:
                raise DataError(
                    f"{name} must have shape ({n}, {', '.join(map(str, shape))}) and classes 0 to "
                    f"{self.classes[name] - 1}, or -1 where unknown (got {array.shape})"
                )
            x[:, self.places[name]] = array.reshape(n, -1)
        known = torch.from_numpy(x >= 0)
        return torch.from_numpy(x).clamp(min=0), known

    def log_prob(self, parts: Mapping[str, Any], given: Sequence[str] = ()) -> np.ndarray:
        """log p of the parts that are named in nats, given those in `given`: exact, of models of any subset; (n,)."""
        if self.run is None or not isinstance(self.run.model, Marginal):
            raise Unsupported(f"{self.model} has no density of some parts: fit a circuit")
        n = len(np.asarray(next(iter(parts.values()))))
        model = self.run.model
        with torch.inference_mode():
            x, known = self._known(n, parts)
            value = torch.cat(
                [model.log_marginal(*two) for two in zip(x.split(BATCH), known.split(BATCH), strict=True)]
            )
            if given:
                x, known = self._known(n, {name: parts[name] for name in given})
                value = value - torch.cat(
                    [model.log_marginal(*two) for two in zip(x.split(BATCH), known.split(BATCH), strict=True)]
                )
        return np.asarray(value.double().cpu().numpy())
