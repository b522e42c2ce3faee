"""Features of data by a network of the user's: what a posterior sees in place of pictures, series or long rows.

The network is trained first, with a head that is thrown away: mean and deviation of every parameter given the data, by
maximum likelihood (means as summaries: Fearnhead and Prangle, 2012, arXiv 1004.1112; by networks: Jiang et al., 2017,
arXiv 1510.02175). Then it is fixed, and its features are all that a posterior, a likelihood or a ratio is given. A
function that is no network is taken as it is.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pofx.apps.coordinates import opened
from pofx.core.errors import CorruptError, DataError, UsageError
from pofx.core.files import write

BATCH, RATE, STEPS, CHECKS, PATIENCE = 128, 1e-3, 3_000, 50, 12  # of training; steps between checks, checks in vain
AT_ONCE = 1_024  # data of one pass
MOST = 1_000  # features
FLAT = 1e-6  # deviation of a feature below which it is constant


@dataclass(frozen=True, eq=False)
class Embedding:
    """Features float64 (n, k) of data (n, *shape) by a module of torch, or by a function of arrays.

    Attributes:
        net: a module of tensors float32 (n, *shape), or a function of arrays (n, *shape), to (n, k).
        shape: of one of the data.
        centre: of the data, subtracted before a module sees them; a number, or one for each of a row.
        scale: by which they are divided.
        feature_centre: of the features, (k,).
        feature_scale: of the features, (k,).
    """

    net: Callable[[Any], Any]
    shape: tuple[int, ...]
    centre: np.ndarray
    scale: np.ndarray
    feature_centre: np.ndarray
    feature_scale: np.ndarray

    @classmethod
    def fit(
        cls, net: Any, theta: np.ndarray, x: np.ndarray, validation: int, bounds: Any, *, steps: int | None = None,
        seed: int = 0,
    ) -> Self:  # fmt: skip
        """A network trained on parameters (n, d) and their data (n, *shape), of which the first `validation` check it.

        Args:
            net: a module, a class of one that is made without arguments, or a function of arrays.
            bounds: of the parameters, (low, high) each.
            steps: of training.

        Raises:
            UsageError: no network, or one that cannot take the data.
        """
        made = made_of(net)
        axes = 0 if x.ndim == 2 else None
        centre, scale = np.asarray(x.mean(axes)), np.asarray(x.std(axes))
        scale = np.where(scale > 1e-12, scale, 1.0)
        blank = np.zeros(1)
        raw = cls(made, x.shape[1:], centre, scale, blank, blank + 1)
        width = raw.plain(x[:2]).shape[1]
        if isinstance(made, nn.Module) and any(p.requires_grad for p in made.parameters()):
            _train(raw, width, theta, x, validation, bounds, steps or STEPS, seed)
        found = raw.plain(x[validation:])
        spread = found.std(0)
        spread = np.where(spread > FLAT, spread, 1.0)
        return cls(made, x.shape[1:], centre, scale, found.mean(0), spread)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Features of data (n, *shape), of mean 0 and variance 1 over the simulations: (n, k)."""
        return (self.plain(x) - self.feature_centre) / self.feature_scale

    def plain(self, x: np.ndarray) -> np.ndarray:
        """Features as they come.

        Raises:
            UsageError: the network fails, or returns something else than finite rows.
        """
        parts = []
        try:
            for part in np.array_split(x, max(1, -(-len(x) // AT_ONCE))):
                if isinstance(self.net, nn.Module):
                    self.net.eval()
                    with torch.no_grad():
                        made: Any = self.net(self.tensor(part)).numpy()
                else:
                    made = self.net(part)
                parts.append(np.asarray(made, np.float64).reshape(len(part), -1))
        except Exception as error:  # whatever a network of the user's raises
            name = type(error).__name__
            raise UsageError(
                f"the embedding must take data {('n', *self.shape)} and return (n, features) (got {name}: {error})"
            ) from error
        found = np.concatenate(parts)
        if not 1 <= found.shape[1] <= MOST:
            raise UsageError(f"the embedding must return 1 to {MOST} features (got {found.shape[1]})")
        if not np.isfinite(found).all():
            raise DataError("the embedding returned features that are not finite: mend it first")
        return found

    def tensor(self, x: np.ndarray) -> Tensor:
        """Data as a module sees them."""
        return torch.from_numpy(((x - self.centre) / self.scale).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Write weights and units into a folder; the network's own code stays with the user."""
        arrays = {name: torch.from_numpy(np.atleast_1d(getattr(self, name))) for name in _UNITS}
        arrays["shape"] = torch.tensor(self.shape)
        if isinstance(self.net, nn.Module):
            arrays |= {f"net.{name}": value.contiguous() for name, value in self.net.state_dict().items()}
        write(folder / "embedding.safetensors", lambda aside: save_file(arrays, aside))

    @classmethod
    def load(cls, file: Path, net: Any) -> Self:
        """What `save` wrote, with the network that it was made of.

        Raises:
            UsageError: no network is given, or another one.
        """
        if net is None:
            raise UsageError(
                "this posterior has an embedding, whose code is not stored: pass embedding=, the network or function "
                "that it was learned with (--embedding file.py:name)"
            )
        made = made_of(net)
        try:
            stored = load_file(file)
        except Exception as error:  # of a damaged file, of several kinds
            raise CorruptError(f"{file} cannot be read ({error}): learn the posterior again") from error
        if not {*_UNITS, "shape"} <= set(stored):
            raise CorruptError(f"{file} lacks parts of an embedding: learn the posterior again")
        if isinstance(made, nn.Module):
            try:
                made.load_state_dict({k[4:]: v for k, v in stored.items() if k.startswith("net.")})
            except RuntimeError as error:
                raise UsageError(f"the embedding is another network than that of {file.parent}: {error}") from error
        units = [stored[name].numpy() for name in _UNITS]
        shape = tuple(stored["shape"].tolist())
        if len(shape) != 1:  # of one number
            units[:2] = [one.reshape(()) for one in units[:2]]
        return cls(made, shape, *units)


_UNITS = ("centre", "scale", "feature_centre", "feature_scale")


def made_of(net: Any) -> Callable[[Any], Any]:
    """A copy of a module, or what a class of one makes; another function as it is.

    Raises:
        UsageError: neither.
    """
    if isinstance(net, type):
        try:
            net = net()
        except Exception as error:  # whatever a class of the user's raises
            raise UsageError(
                f"the embedding {net.__name__} cannot be made without arguments ({type(error).__name__}: {error}): "
                "pass a module"
            ) from error
    if isinstance(net, nn.Module):
        return copy.deepcopy(net).float().cpu()
    if not callable(net):
        raise UsageError(f"embedding must be a module of torch or a function of arrays (got {type(net).__name__})")
    return net  # type: ignore[no-any-return]


def _train(
    raw: Embedding, width: int, theta: np.ndarray, x: np.ndarray, validation: int, bounds: Any, steps: int, seed: int
) -> None:
    """Mean and deviation of parameters by a linear head on the features; the best weights on held-out ones stay."""
    net = raw.net
    assert isinstance(net, nn.Module)
    low, high = np.array(bounds, np.float64).T
    free = opened(theta, low, high)[0]
    free = (free - free.mean(0)) / np.maximum(free.std(0), 1e-12)
    target = torch.from_numpy(free.astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(width, 2 * theta.shape[1])
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        parameters = [p for p in (*net.parameters(), *head.parameters()) if p.requires_grad]
        optimiser = torch.optim.Adam(parameters, lr=RATE)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        rng, batch = np.random.default_rng([seed, 17]), min(BATCH, len(x) - validation)

        def loss(rows: np.ndarray) -> Tensor:
            mean, log_variance = head(net(raw.tensor(x[rows])).flatten(1)).chunk(2, 1)
            log_variance = log_variance.clamp(-12, 6)
            return 0.5 * ((target[rows] - mean).square() * (-log_variance).exp() + log_variance).sum(1).mean()  # type: ignore[no-any-return]

        best, kept, vain = np.inf, copy.deepcopy(net.state_dict()), 0
        for step in range(1, steps + 1):
            net.train()
            optimiser.zero_grad(set_to_none=True)
            loss(rng.integers(validation, len(x), batch)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            rate.step()
            if step % CHECKS and step != steps:
                continue
            net.eval()
            with torch.no_grad():
                rows = np.array_split(np.arange(validation), max(1, validation // AT_ONCE))
                now = float(sum(loss(part) * len(part) for part in rows)) / validation
            vain += 1
            if now < best:
                best, kept, vain = now, copy.deepcopy(net.state_dict()), 0
            if vain >= PATIENCE:
                break
        net.load_state_dict(kept)
        net.eval()
