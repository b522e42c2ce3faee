"""Distributions of scipy and torch as plain values, by name and numbers, so that a posterior is saved with its prior.

Nothing is pickled: a name must be that of a distribution of `scipy.stats` or `torch.distributions`, and its numbers are
written as lists.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, distributions

from pofx.core.errors import CorruptError

INSTEAD = (  # what one constructor argument is stored as, where several state the same
    ("logits", ("probs",)),
    ("scale_tril", ("covariance_matrix", "precision_matrix")),
)
KEPT_AS = {"base_distribution": "base_dist", "mixture_distribution": "mixture_distribution"}  # attributes by argument


def plain_of(one: Any) -> Any:
    """A distribution as plain values; None of one that has none, such as a user's own class."""
    if isinstance(one, distributions.Distribution):
        return _of_torch(one)
    own = str(getattr(one, "name", None))
    if isinstance(one, stats.rv_continuous) and getattr(stats, own, None) is one:
        return {"scipy": own, "args": [], "kwds": {}}  # as scipy has it without numbers
    name = getattr(getattr(one, "dist", None), "name", None)
    if name is not None and isinstance(getattr(stats, name, None), stats.rv_continuous):
        numbers = [*one.args, *one.kwds.values()]
        if not all(np.ndim(v) == 0 and np.isreal(v) for v in numbers):
            return None
        return {"scipy": name, "args": list(map(float, one.args)), "kwds": {k: float(v) for k, v in one.kwds.items()}}
    if hasattr(one, "cov_object") and hasattr(one, "mean") and hasattr(one, "cov"):
        return {
            "scipy": "multivariate_normal",
            "mean": np.asarray(one.mean).tolist(),
            "cov": np.asarray(one.cov).tolist(),
        }
    return None


def source_of(plain: Any) -> Any:
    """The distribution of plain values.

    Raises:
        CorruptError: no distribution of these libraries.
    """
    try:
        if "torch" in plain:
            return _torch_of(plain)
        if plain["scipy"] == "multivariate_normal":
            return stats.multivariate_normal(plain["mean"], plain["cov"])
        made = getattr(stats, plain["scipy"])
        if not isinstance(made, stats.rv_continuous):
            raise ValueError(plain["scipy"])
        return made(*plain["args"], **plain["kwds"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"a stored prior is damaged ({error}): learn the posterior again") from error


def _of_torch(one: distributions.Distribution) -> Any:
    kind = next((c for c in type(one).__mro__ if getattr(distributions, c.__name__, None) is c), None)
    if kind is None or kind is distributions.Distribution:
        return None
    names = [name for name in signature(kind.__init__).parameters if name not in ("self", "validate_args")]
    names = [name for name in names if not any(chosen in names and name in others for chosen, others in INSTEAD)]
    values = {}
    for name in names:
        value = getattr(one, KEPT_AS.get(name, name), None)
        made = (
            _of_torch(value) if isinstance(value, distributions.Distribution)
            else {"values": value.detach().double().tolist()} if isinstance(value, Tensor)
            else value if isinstance(value, int | float) else None
        )  # fmt: skip
        if made is None:
            return None
        values[name] = made
    return {"torch": kind.__name__, **values}


def _torch_of(plain: Mapping[str, Any]) -> distributions.Distribution:
    kind = getattr(distributions, plain["torch"])
    if not (isinstance(kind, type) and issubclass(kind, distributions.Distribution)):
        raise ValueError(plain["torch"])

    def value(of: Any) -> Any:
        if not isinstance(of, Mapping):
            return of
        return torch.tensor(of["values"], dtype=torch.float32) if "values" in of else _torch_of(of)

    made: distributions.Distribution = kind(**{name: value(of) for name, of in plain.items() if name != "torch"})
    return made
