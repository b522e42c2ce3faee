"""Codes: does decoding an encoded item bring it back, and do all parts of the code move?"""

from collections.abc import Iterator

from pofx.artifact import Artifact
from pofx.core.model import Encoding
from pofx.data.dataset import Dataset
from pofx.evaluate.checks.finding import Finding, finding, some

ITEMS = 64
ACTIVE = 0.01  # share of the widest part's spread above which a part of a code moves

REFINED = "inversion_steps=100 finds"  # of models whose codes can be found by optimisation


def _refines(artifact: Artifact) -> bool:
    return "inversion_steps" in artifact.model.adjustable


def _codes(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if not isinstance(artifact.model, Encoding):
        return
    test = some(dataset.test, ITEMS, seed)
    given = test.condition if artifact.model.condition is not None else None
    raw = artifact.representation.tensor(test.values).double().flatten(1)
    back = artifact.representation.tensor(artifact.reconstruct(test.values, given)).double().flatten(1)
    error = float((raw - back).square().mean() / raw.var().clamp(min=1e-12))
    seen = f"decode(encode(x)) misses {error:.2%} of the variance"
    if not artifact.model.lossless:
        mend = (
            f"{REFINED} nearer codes, or longer training" if _refines(artifact) else "larger code, or longer training"
        )
        yield finding("reconstruction", "ok" if error < 0.5 else "warning", seen, mend)
    else:
        mend = "the inverse does not invert: bound the scales, or compute in float64"
        yield finding("invertibility", "ok" if error < 1e-3 else "failed", seen, mend)


def _collapse(artifact: Artifact, dataset: Dataset, seed: int) -> Iterator[Finding]:
    if not isinstance(artifact.model, Encoding):
        return
    test = some(dataset.test, ITEMS, seed)
    given = test.condition if artifact.model.condition is not None else None
    spread = artifact.encode(test.values, given).reshape(len(test), -1).std(0)
    active = int((spread > ACTIVE * max(float(spread.max()), 1e-12)).sum())
    result = "warning" if active < 0.1 * len(spread) or float(spread.max()) < 1e-6 else "ok"
    mend = "most of the code is unused: a smaller code, free bits, or a slower rise of the KL weight"
    if _refines(artifact):
        mend = f"an encoder finds no noise of single cells: {REFINED} all of the code"
    yield finding("active codes", result, f"{active} of {len(spread)} parts of the code move with the item", mend)


CHECKS = (_codes, _collapse)
