"""Potts models of an alignment: residues prefer columns, and pairs of residues pairs of columns.

log p(x) = sum_i h_i(x_i) + sum_{i<j} J_ij(x_i, x_j) - log Z; scores are differences, so that Z is not needed. Two fits:
the mean field, J = - the inverse covariance (Morcos et al., 2011), and symmetric pseudo-likelihood, every residue given
all others by logistic regression, the two estimates of a pair being one parameter (Ekeberg et al., 2013, arXiv
1211.1281; Hopf et al., 2017), with the ridge that these use: 0.01 times the columns and residues that a residue sees.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float
from scipy.linalg.lapack import dpotrf, dpotri

from pofx.core.errors import DataError
from pofx.core.options import Count, NonNegative, Positive, Range, Real, checked, short
from pofx.data.alignments import LETTERS, RESIDUES, Alignment, codes

CLASSES, Q = len(LETTERS), len(RESIDUES)  # with and without the gap, which is the reference

MOST = 700  # columns: four matrices of (20 · 700)² numbers


class Potts:
    """Fields (columns · 20,) and couplings (columns · 20, columns · 20), symmetric and zero within a column."""

    def __init__(self, fields: Float[np.ndarray, "k"], couplings: Float[np.ndarray, "k k"]) -> None:
        self.fields, self.couplings = fields, couplings

    def __call__(self, sequences: Sequence[str]) -> Float[np.ndarray, "n"]:
        columns = len(self.fields) // Q
        wrong = next((s for s in sequences if len(s) != columns), None) if len(sequences) else ""
        if isinstance(sequences, str) or wrong is not None:
            raise DataError(
                f"sequences must be a list of texts of {columns} columns each (got {short(wrong or sequences)})"
            )
        x = codes(sequences)
        first = one_hot(sequences[:1])[0].astype(np.float64)
        slope = self.fields + self.couplings @ first
        found = np.full(len(x), float(first @ self.fields + 0.5 * first @ self.couplings @ first))
        for i in range(1, len(x)):  # by what differs from the first: mutants differ in few places
            at = np.flatnonzero(x[i] != x[0])
            new, old = x[i, at], x[0, at]
            changed = np.concatenate((at[new > 0] * Q + new[new > 0] - 1, at[old > 0] * Q + old[old > 0] - 1))
            sign = np.repeat((1.0, -1.0), ((new > 0).sum(), (old > 0).sum()))
            found[i] += sign @ slope[changed] + 0.5 * sign @ self.couplings[np.ix_(changed, changed)] @ sign
        return found


def one_hot(sequences: Sequence[str]) -> Float[np.ndarray, "n k"]:
    """Residues of every column, column by column; a gap is none of them."""
    x = codes(sequences)
    return np.asarray((x[..., None] == np.arange(1, CLASSES)).reshape(len(x), -1).astype(np.float32))


@checked
def mean_field(alignment: Alignment, pseudo: Annotated[Real, Range(0, 1, above=True)] = 0.5) -> Potts:
    """Couplings by the inverse covariance; `pseudo` is the weight of the uniform distribution."""
    hot = one_hot(alignment.sequences)
    columns = hot.shape[1] // Q
    weight = (alignment.weights / alignment.weights.sum()).astype(np.float32)
    single = hot.T @ weight
    pairs = (hot * weight[:, None]).T @ hot
    f = (1 - pseudo) * single + pseudo / CLASSES
    both = (1 - pseudo) * pairs + pseudo / CLASSES**2
    for i in range(columns):  # within a column residues exclude one another
        at = slice(i * Q, (i + 1) * Q)
        both[at, at] = np.diag(f[at])
    factor, failed = dpotrf((both - np.outer(f, f)).astype(np.float64), lower=1, overwrite_a=1)
    if failed:
        raise DataError("the residues of the alignment have no covariance that can be inverted: raise pseudo")
    half = np.tril(dpotri(factor, lower=1, overwrite_c=1)[0])
    couplings = -(half + np.tril(half, -1).T)
    for i in range(columns):
        at = slice(i * Q, (i + 1) * Q)
        couplings[at, at] = 0
    rest = 1 - f.reshape(columns, Q).sum(1)
    fields = np.log(f.reshape(columns, -1) / np.maximum(rest, 1e-9)[:, None]).reshape(-1) - couplings @ f
    return Potts(fields, couplings)


@checked
def pseudo_likelihood(
    alignment: Alignment,
    *,
    steps: Count = 200,
    batch: Count = 256,
    rate: Positive = 0.01,
    ridge: NonNegative = 0.01,
    seed: Annotated[int, Range(0, 1 << 62)] = 0,
) -> Potts:
    """Couplings by the likelihood of every residue given the others, by Adam on sequences drawn by their weights.

    Args:
        steps, batch, rate: of Adam; the rate falls to 0 along a cosine.
        ridge: weight of the squared couplings, for each column and residue that a residue sees, against the weighted
            sum over sequences; of the squared fields as it is.

    Raises:
        DataError: an alignment of more than 700 columns.
    """
    import torch
    from torch.nn.functional import log_softmax

    if len(alignment.focus) > MOST:
        raise DataError(
            f"the alignment has {len(alignment.focus)} columns, too many for couplings (at most {MOST}): "
            "cut it to a domain, or leave them out (--potts-steps 0)"
        )
    hot = torch.from_numpy(one_hot(alignment.sequences))
    columns, effective = hot.shape[1] // Q, alignment.effective
    p = alignment.weights / alignment.weights.sum()
    counts = (hot * torch.from_numpy(p).float()[:, None]).sum(0).reshape(columns, Q) * effective + 0.5
    fields = (counts / counts.sum(1, keepdim=True)).log()
    fields = (fields - fields.mean(1, keepdim=True)).reshape(-1)
    couplings = torch.zeros(columns * Q, columns * Q)
    strength = ridge * (columns - 1) * (Q - 1) / effective
    within = torch.block_diag(*[torch.ones(Q, Q, dtype=torch.bool)] * columns)
    generator, size = np.random.default_rng(seed), min(batch, len(hot))
    moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in (fields, couplings)]
    for step in range(steps):
        x = hot[torch.from_numpy(generator.choice(len(hot), size, p=p))]
        logits = (x @ couplings + fields).reshape(size, columns, Q)
        there = x.reshape(size, columns, Q).sum(2, keepdim=True)  # a gap is no residue to be predicted
        error = (log_softmax(logits, 2).exp() * there).reshape(size, -1) - x
        slope = x.T @ error
        slope = (slope + slope.T).masked_fill_(within, 0.0).div_(size).add_(couplings, alpha=2 * strength)
        slopes = (error.mean(0) + 2 * ridge / effective * fields, slope)
        now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        for value, one, (first, second) in zip((fields, couplings), slopes, moments, strict=True):
            first.lerp_(one, 0.1)
            second.mul_(0.98).addcmul_(one, one, value=0.02)
            scale = (second / (1 - 0.98 ** (step + 1))).sqrt_().add_(1e-8)
            value.addcdiv_(first, scale, value=-now / (1 - 0.9 ** (step + 1)))
    return Potts(fields.double().numpy(), couplings.double().numpy())
