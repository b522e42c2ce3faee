"""Diversity of texts: how many n-grams are different, how much texts repeat one another, how long they are.

`distinct` is the share of different n-grams (n = 1 to 4, mean; Li et al., 2016, arXiv 1510.03055) and `self_bleu` the
mean BLEU of each text against the others (Zhu et al., 2018, arXiv 1802.01886). Both depend on the number and length of
texts: they are given over what as many real texts score, so that 1 is as diverse as the data. Characters are the
tokens of texts that have few spaces, words of the others.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pofx.core.representation import Items
from pofx.data.kind import kind_of
from pofx.evaluate.metric import ItemMetric, Reading, ScoreInfo

ORDERS = (1, 2, 3, 4)
MOST = 200  # texts a side for BLEU, which costs the square of them


def parts(values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Each text as a tuple of words or characters, each sequence of numbers as it is."""
    if not isinstance(values[0], str):
        return [tuple(np.asarray(v).ravel().tolist()) for v in values]
    spaced = np.mean([" " in v.strip() for v in values]) > 0.5
    return [tuple(v.split()) if spaced else tuple(v) for v in values]


def grams(text: tuple[Any, ...], n: int) -> Counter[tuple[Any, ...]]:
    """The n-grams of a text with their counts."""
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def distinct(texts: Sequence[tuple[Any, ...]]) -> float:
    """The share of different n-grams among all, the mean over n = 1 to 4."""
    shares = []
    for n in ORDERS:
        counts: Counter[tuple[Any, ...]] = Counter()
        for text in texts:
            counts.update(grams(text, n))
        if counts:
            shares.append(len(counts) / sum(counts.values()))
    return float(np.mean(shares)) if shares else 0.0


def self_bleu(texts: Sequence[tuple[Any, ...]]) -> float:
    """The mean BLEU-4 of each text against the others: brevity penalty, add-one smoothing from 2-grams on."""
    texts = [t for t in texts if t]
    if len(texts) < 2:
        return 0.0
    counts = [[grams(text, n) for text in texts] for n in ORDERS]
    two: list[dict[Any, tuple[int, int, int]]] = []  # per order and gram: the highest count, whose, the second highest
    for of in counts:
        best: dict[Any, tuple[int, int, int]] = {}
        for i, counter in enumerate(of):
            for gram, count in counter.items():
                first, who, second = best.get(gram, (0, -1, 0))
                best[gram] = (count, i, first) if count > first else (first, who, max(second, count))
        two.append(best)
    lengths = np.array([len(text) for text in texts])
    scores = []
    for i, text in enumerate(texts):
        logs = []
        for of, best, n in zip(counts, two, ORDERS, strict=True):
            total = max(len(text) - n + 1, 0)
            hits = sum(min(c, best[g][2] if best[g][1] == i else best[g][0]) for g, c in of[i].items())
            smooth = 0 if n == 1 else 1
            logs.append(np.log(max(hits + smooth, 1e-9) / max(total + smooth, 1)))
        others = np.delete(lengths, i)
        near = others[np.abs(others - len(text)).argmin()]
        logs_mean = float(np.mean(logs))
        scores.append(np.exp(logs_mean + min(0.0, 1 - near / len(text))))
    return float(np.mean(scores))


class TextDiversity(ItemMetric):
    """`distinct`, `self_bleu` and `length_ratio`, each over what as many real texts score."""

    scores: ClassVar = {
        "distinct": ScoreInfo(
            "none", "Distinct", "share of distinct n-grams, over that of as many real texts; best 1", "texts"
        ),
        "self_bleu": ScoreInfo(
            "none", "Self-BLEU", "similarity of samples to one another, over that of real texts; best 1", "texts"
        ),
        "length_ratio": ScoreInfo("none", "Length", "mean length over that of real texts; best 1", "texts"),
    }
    source: ClassVar = "Li et al., 2016, arXiv 1510.03055; Zhu et al., 2018, arXiv 1802.01886"
    kinds: ClassVar = ("text",)

    def read(self, samples: Items, real: Items, train: Items, seed: int = 0) -> Reading:
        generator = np.random.default_rng(seed)
        n = min(len(samples), len(real))
        a, b = (parts([s.values[i] for i in generator.permutation(len(s))[:n]]) for s in (samples, real))
        some = generator.permutation(n)
        pairs = {
            "distinct": distinct,
            "self_bleu": self_bleu,
            "length_ratio": lambda t: float(np.mean([len(x) for x in t])),
        }
        values, extra = {}, {}
        if kind_of(train).sequential(train.values):
            del pairs["length_ratio"]  # passages of running text have no length of their own
        for name, of in pairs.items():
            most = min(n, MOST) if name == "self_bleu" else n
            left, right = ([side[i] for i in some[:most]] for side in (a, b))
            own, base = of(left), of(right)
            values[name] = own / base if base > 0 else float("nan")
            thirds = [of(left[i::3]) / max(of(right[i::3]), 1e-12) for i in range(3)]
            extra[name] = {"samples": own, "real": base, "stderr": float(np.std(thirds, ddof=1) / np.sqrt(3))}
        return Reading(values, extra)
