"""Directions in a space of codes: of attributes, of the codes' own spread, and those to which a decoder reacts most.

An attribute's direction leads from the mean code of the items without it to that of those with it (Larsen et al., 2016,
arXiv 1512.09300). Where attributes go together in the data, that path is in part the other's: an attribute's own is its
part in the least squares of codes on all attributes. Principal components: Härkönen et al. (2020, arXiv 2004.02546).
Closed form: the eigenvectors of Jᵀ J, J the decoder's Jacobian (Ramesh, Choi and LeCun, 2019, arXiv 1812.01161; Shen
and Zhou, 2021, arXiv 2007.06600, for a linear first layer).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from pofx.core.errors import UsageError

MOST = 64  # axes along which a decoder is probed


def attribute(codes: Float[np.ndarray, "n d"], has: Bool[np.ndarray, "n"]) -> Float[np.ndarray, "d"]:
    """From the mean code without an attribute to the mean with it.

    Raises:
        UsageError: every item has it, or none.
    """
    if has.all() or not has.any():
        raise UsageError(f"an attribute must be there in some items and absent in others (got {int(has.sum())} with)")
    return np.asarray(codes[has].mean(0) - codes[~has].mean(0))


def jointly(codes: Float[np.ndarray, "n d"], masks: Sequence[Bool[np.ndarray, "n"]]) -> Float[np.ndarray, "k d"]:
    """Of each attribute, given by which items have it, how codes change with it while the others stay: the least
    squares of codes on all attributes, the shortest where these exclude each other (k, d)."""
    has = np.stack(masks, 1).astype(np.float64)
    return np.linalg.lstsq(has - has.mean(0), codes - codes.mean(0), rcond=1e-9)[0]


def components(codes: Float[np.ndarray, "n d"], k: int) -> tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_"]]:
    """At most k principal components of codes, unit vectors, and the deviation of the codes along each."""
    _, sizes, axes = np.linalg.svd(codes - codes.mean(0), full_matrices=False)
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return (axes * signs[:, None])[:k], sizes[:k] / np.sqrt(max(len(codes) - 1, 1))


def sensitive(
    decode: Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, "n m"]],
    codes: Float[np.ndarray, "n d"],
    k: int,
    step: float | np.floating = 0.1,
) -> tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_"]]:
    """The k directions along which decoded vectors move most, by finite differences at some codes; and how far they
    move per unit (root mean square). With more than MOST numbers in a code, within its first principal components."""
    d = codes.shape[1]
    basis = np.eye(d) if d <= MOST else components(codes, MOST)[0]
    moved = codes[:, None] + step * basis  # (n, axes, d)
    here = decode(codes)
    there = decode(moved.reshape(-1, d).astype(codes.dtype)).reshape(len(codes), len(basis), -1)
    jacobian = (there - here[:, None]).astype(np.float64) / step
    gram = np.einsum("nam,nbm->ab", jacobian, jacobian) / len(codes)
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(-values)[:k]
    return (vectors[:, order].T @ basis), np.sqrt(np.maximum(values[order], 0))
