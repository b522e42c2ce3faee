"""Novel items, of any kind: scores by a trained run that are corrected for how simple an item is.

Densities of images are highest on what is simple: a blank page is more probable than any digit, and house numbers than
the photographs a model learned (Nalisnick et al., 2019, arXiv 1810.09136). So -log p alone fails, and there are three
corrections. Complexity: the bits that general compressors need are taken off, S = -log p(x) - L(x) (Serrà et al., 2020,
arXiv 1909.11480). Typicality: |log p(x) - its usual value|, for what is too probable is odd as well (Nalisnick et al.,
2019, arXiv 1906.02994). Ratio: log p of a second run, of the background, is taken off (Ren et al., 2019, arXiv
1906.02845). p-values are conformal, by items that the run has not learned from.
"""

import bz2
import lzma
import math
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float

from pofx.artifact import Artifact
from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.core.printed import show
from pofx.declared import Against, Csv, Device, Reads, Run

PUBLIC = ("Novelty",)
GROUP = "Uses"
EXAMPLE = "pofx novelty runs/digits suspects --out novelty.csv"

SCORES = ("complexity", "typicality", "ratio", "density")
LEAST = 20  # reference items


def description_lengths(values: Any) -> Float[np.ndarray, "n"]:
    """The nats that the best of three general compressors needs for each item, less what it needs for nothing."""
    raw = [np.ascontiguousarray(v).tobytes() if isinstance(v, np.ndarray) else str(v).encode() for v in _each(values)]
    largest = max(map(len, raw), default=0)  # windows no larger than the items: larger ones cost time alone
    lzma2 = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": max(4096, min(largest, 8 << 20))}]
    compressors = (
        lambda b: zlib.compress(b, 9),
        lambda b: bz2.compress(b, min(9, 1 + largest // 100_000)),
        lambda b: lzma.compress(b, format=lzma.FORMAT_RAW, filters=lzma2),
    )
    empty = [len(pack(b"")) for pack in compressors]
    best = [min(len(pack(b)) - none for pack, none in zip(compressors, empty, strict=True)) for b in raw]
    return np.array(best, np.float64) * 8 * math.log(2)


def _each(values: Any) -> list[Any]:
    """Items one by one; images in rows of differences too, as PNG has them, where they are whole numbers."""
    if hasattr(values, "iloc"):
        return [tuple(row) for row in values.itertuples(index=False)]
    if not isinstance(values, np.ndarray):
        return list(values)
    if values.ndim >= 3 and values.dtype == np.uint8:
        left = np.diff(values.astype(np.int16), axis=2, prepend=0)
        up = np.diff(left, axis=1, prepend=0)
        return list((up % 256).astype(np.uint8))
    return list(values)


class Novelty:
    """How unlike the items of a run others are, by one of `SCORES`; higher is more novel."""

    def __init__(self, run: Artifact, *, score: str = "complexity", background: Artifact | None = None) -> None:
        """Args:
        run: a trained run with a density.
        score: "complexity" (the default), "typicality", "ratio" or "density" (-log p alone).
        background: a run of what items have in common with others, for "ratio".
        """
        if score not in SCORES:
            raise UsageError(f"score must be {', '.join(SCORES[:-1])} or {SCORES[-1]} (got {score!r})")
        if (score == "ratio") != (background is not None):
            raise UsageError('score="ratio" takes a second run, of the background, and no other score does')
        self.run, self.score, self.background = run, score, background
        self.reference_: Float[np.ndarray, "m"] | None = None

    def fit(self, items: Any) -> "Novelty":
        """Take items like those of the run that it has not learned from as the reference."""
        values = _values(items)
        if len(values) < LEAST:
            raise DataError(f"the reference must have at least {LEAST} items (got {len(values)}): give more")
        log_p = self.run.log_prob(values)
        self.usual_ = float(np.median(log_p[np.isfinite(log_p)])) if np.isfinite(log_p).any() else 0.0
        self.reference_ = np.sort(self._scores(values, log_p))
        return self

    def _scores(self, values: Any, log_p: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        if self.score == "typicality":
            return np.asarray(np.abs(log_p - self.usual_))
        found = -log_p
        if self.score == "complexity":
            found = found - description_lengths(values)
        elif self.background is not None:
            found = found + np.maximum(self.background.log_prob(values), -1e12)
        return np.asarray(found)

    def decision_function(self, items: Any) -> Float[np.ndarray, "n"]:
        """The score of each item, higher is more novel: (n,)."""
        if self.reference_ is None:
            raise UsageError("the reference is missing: call fit with held-out items of the run's own kind")
        values = _values(items)
        return self._scores(values, self.run.log_prob(values))

    def p_values(self, items: Any) -> Float[np.ndarray, "n"]:
        """The share of reference items that are at least as novel, so that p ≤ α for a share α of items like them."""
        return self._p_values(self.decision_function(items))

    def _p_values(self, scores: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
        assert self.reference_ is not None
        n = len(self.reference_)
        return np.asarray((1 + n - np.searchsorted(self.reference_, scores)) / (n + 1))


def _values(items: Any) -> Any:
    return items.values if isinstance(items, Items) else items


def novelty(
    run: Run,
    items: Annotated[str, typer.Argument(help="Data to score: a built-in name, a file or a folder."), Reads()],
    score: Annotated[str, typer.Option(help="complexity, typicality, ratio or density.")] = "complexity",
    background: Annotated[
        Path | None, typer.Option(help="A run of the background, for ratio."), Reads(run=True)
    ] = None,
    against: Against = None,
    level: Annotated[float, typer.Option(help="Share of usual items that is flagged.")] = 0.05,
    out: Csv = Path("novelty.csv"),
    device: Device = "auto",
) -> str:
    """Score items of any kind by how unlike those of a run they are, corrected for how simple they are.

    The uncorrected density is reported beside.
    """
    from pofx.artifact import load
    from pofx.data.arrays import write_table
    from pofx.evaluate.provenance import check_same_data, read_alike, trained_on

    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1 (got {level:g}): pass --level 0.05")
    trained = load(run).to(device)
    dataset = trained_on(trained, against)
    check_same_data(trained, dataset, force=against is not None, forcible=False)
    new = read_alike(trained, items, trained.condition_source)
    if new.kind != dataset.train.kind:
        raise DataError(f"the items must be {dataset.train.kind} items (got {new.kind}): see --against")
    second = None if background is None else load(background).to(device)
    judge = Novelty(trained, score=score, background=second).fit(dataset.validation)
    plain = Novelty(trained, score="density").fit(dataset.validation)
    scores, usual = judge.decision_function(new), judge.decision_function(dataset.test)
    p = judge._p_values(scores)
    rows = [
        {"index": i, "score": float(s), "p_value": float(q), "novel": int(q <= level)}
        for i, (s, q) in enumerate(zip(scores, p, strict=True))
    ]
    write_table(rows, out)
    both = {score: (usual, scores), "density alone": tuple(map(plain.decision_function, (dataset.test, new)))}
    from sklearn.metrics import roc_auc_score

    truth = np.repeat([0, 1], [len(usual), len(scores)])
    for name, (a, b) in both.items():
        value = roc_auc_score(truth, np.nan_to_num(np.concatenate((a, b)), posinf=1e12, neginf=-1e12))
        show(f"AUROC of these items against held-out ones by {name}: {value:.3f}")
    return f"{int((p <= level).sum())} of {len(p)} flagged at {level:.0%} of usual items"
