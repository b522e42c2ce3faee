"""Disentanglement: does each number of a code follow one factor of variation? Four scores, for data with known factors.

`mig`: the gap between the two codes that know most about a factor, over its entropy (Chen et al., 2018, arXiv
1802.04942), with quantile bins: equal-width ones are ruined by one outlier. `sap`: the gap between the two codes that
predict it best alone (Kumar et al., 2018, arXiv 1711.00848). `dci`: how concentrated the importance of codes is when
trees predict the factors (Eastwood and Williams, 2018). `factor_vote`: how well the code of least variance, among items
that share a factor, names that factor (Kim and Mnih, 2018, arXiv 1802.05983), codes that never move left out.
"""

import numpy as np
from jaxtyping import Float, Int

from pofx.core.errors import UsageError

BINS = 20


def _binned(codes: Float[np.ndarray, "n d"], bins: int) -> Int[np.ndarray, "n d"]:
    """Each column cut at its own quantiles."""
    at = np.linspace(0, 1, bins + 1)[1:-1]
    return np.stack([np.searchsorted(np.unique(np.quantile(c, at)), c, side="right") for c in codes.T], 1)


def _information(a: Int[np.ndarray, "n"], b: Int[np.ndarray, "n"]) -> float:
    """The mutual information of two discrete columns in nats."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1 / len(a))
    product = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    seen = table > 0
    return float((table[seen] * np.log(table[seen] / product[seen])).sum())


def _checked(codes: np.ndarray, factors: np.ndarray) -> None:
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise UsageError(f"codes (n, d) and factors (n, k) must have equal n (got {codes.shape} and {factors.shape})")
    if codes.shape[1] < 2:
        raise UsageError(f"disentanglement needs at least 2 codes (got {codes.shape[1]})")


def mig(codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "m k"], bins: int = BINS) -> float:
    """The mutual information gap, the mean over factors: 1 best, 0 none.

    Raises:
        UsageError: shapes that do not fit, or a single code.
    """
    _checked(codes, factors)
    cut = _binned(codes, bins)
    gaps = []
    for factor in factors.T:
        known = sorted(_information(column, factor) for column in cut.T)
        entropy = _information(factor, factor)
        gaps.append((known[-1] - known[-2]) / entropy if entropy > 0 else 0.0)
    return float(np.mean(gaps))


def sap(codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], seed: int = 0) -> float:
    """The separated attribute predictability: the mean gap in held-out accuracy of the two best single codes."""
    from sklearn.linear_model import LogisticRegression

    _checked(codes, factors)
    order = np.random.default_rng(seed).permutation(len(codes))
    a, b = order[: len(order) // 2], order[len(order) // 2 :]
    z = (codes - codes.mean(0)) / np.where(codes.std(0) > 1e-9, codes.std(0), 1)
    gaps = []
    for factor in factors.T:
        if len(set(factor[a])) < 2:
            continue
        right = []
        for column in z.T:
            features = np.stack((column, column**2), 1)
            right.append(LogisticRegression(max_iter=200).fit(features[a], factor[a]).score(features[b], factor[b]))
        best = sorted(right)
        gaps.append(best[-1] - best[-2])
    return float(np.mean(gaps)) if gaps else 0.0


def dci(codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], seed: int = 0) -> dict[str, float]:
    """Disentanglement, completeness and informativeness (held-out accuracy) by the importances of random forests."""
    from sklearn.ensemble import RandomForestClassifier

    _checked(codes, factors)
    order = np.random.default_rng(seed).permutation(len(codes))
    a, b = order[: len(order) // 2], order[len(order) // 2 :]
    importance, right = [], []
    for factor in factors.T:
        forest = RandomForestClassifier(30, min_samples_leaf=5, max_features=None, random_state=seed).fit(
            codes[a], factor[a]
        )
        importance.append(forest.feature_importances_)
        right.append(forest.score(codes[b], factor[b]))
    r = np.stack(importance, 1) + 1e-12  # (codes, factors)
    by_code, by_factor = r / r.sum(1, keepdims=True), r / r.sum(0, keepdims=True)
    k, d = max(r.shape[1], 2), r.shape[0]
    one = 1 + (by_code * np.log(by_code)).sum(1) / np.log(k)
    whole = 1 + (by_factor * np.log(by_factor)).sum(0) / np.log(d)
    weight = r.sum(1) / r.sum()
    return {
        "disentanglement": float((weight * one).sum()) if r.shape[1] > 1 else float("nan"),
        "completeness": float(whole.mean()),
        "informativeness": float(np.mean(right)),
    }


def factor_vote(
    codes: Float[np.ndarray, "n d"], factors: Int[np.ndarray, "n k"], votes: int = 400, batch: int = 32, seed: int = 0
) -> float:
    """The FactorVAE score: accuracy of the majority vote from the least varying code to the factor held fixed.

    Raises:
        UsageError: no code moves.
    """
    _checked(codes, factors)
    generator = np.random.default_rng(seed)
    scale = codes.std(0)
    moving = np.flatnonzero(scale > 0.05 * scale.max())
    if not len(moving) or scale.max() == 0:
        raise UsageError("no code moves: the encoder has collapsed")
    table = np.zeros((2, len(moving), factors.shape[1]))
    for vote in range(votes):
        which = int(generator.integers(factors.shape[1]))
        value = factors[generator.integers(len(factors)), which]
        same = np.flatnonzero(factors[:, which] == value)
        chosen = codes[generator.choice(same, batch)][:, moving] / scale[moving]
        table[vote % 2, chosen.var(0).argmin(), which] += 1
    winner = table[0].argmax(1)  # one half of the votes decides, the other judges
    return float(table[1][np.arange(len(moving)), winner].sum() / table[1].sum())
