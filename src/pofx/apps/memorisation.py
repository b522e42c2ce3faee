"""One page about a run and its training data: how near do samples come, which ones, and can members be identified?

Three questions, each with a reference: is a sample nearer to training items than held-out items are (an exact test
of the tail, `near_copy`); does nearness to samples, or log p, distinguish members from held-out items (AUC with
interval); and with `references` the attacks with models trained on halves (`evaluate.reference_models`). The page
shows the nearest samples beside their training items and, as a measure, held-out items as near. Absence of
evidence is stated as that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from scipy.stats import fisher_exact

from pofx import summary
from pofx.artifact import run_of
from pofx.core.items import Items
from pofx.core.options import Count, Seed, checked
from pofx.data.dataset import take
from pofx.data.kind import kind_of
from pofx.data.vectors import Vectors
from pofx.evaluate import conditions
from pofx.evaluate.checks.finding import Finding
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.distances import nearest
from pofx.evaluate.metrics.membership import LossAttack, attack, nearness
from pofx.evaluate.metrics.near_copy import tails
from pofx.evaluate.provenance import held_out_by, trained_on

PUBLIC = ("memorisation",)
DRAWN = 2000
SHOWN = 12
SURE = 0.01


@dataclass(frozen=True)
class Memorisation:
    """What was found: numbers by name, the nearest triples (sample, its training item, a held-out item's)."""

    run: str
    numbers: Mapping[str, float]
    items: tuple[Items, Items]  # samples and their nearest training items, the most suspicious first
    gaps: np.ndarray
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """One sentence."""
        n = self.numbers
        if n["p of as many copies by chance"] < SURE:
            return f"Copies: {n['exact copies']:.2%} of the samples equal a training item."
        if n["p of the nearest samples"] < SURE:
            return "Near copies: samples lie nearer to training items than chance explains."
        if n.get("AUC of log p", 0.5) - 2 * n.get("its standard error", 1.0) > 0.5:
            return "No near copies were found, but log p distinguishes training items from held-out ones."
        return "No copying was found by these tests; they cannot exclude that single items are remembered."

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """The page, self-contained."""
        rows = "".join(f"<tr><td>{escape(k)}</td><td>{v:.4g}</td></tr>" for k, v in self.numbers.items())
        more = "".join(f"<tr><td>{escape(f['check'])}</td><td>{escape(f['seen'])}</td></tr>" for f in self.findings)
        attacks = f"<h2>Attacks with reference models</h2><table>{more}</table>" if more else ""
        return (
            "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
            f"<title>Memorisation: {escape(self.run)}</title><style>body{{font:16px/1.5 system-ui;max-width:60rem;"
            "margin:2rem auto;padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse}td,th{padding:"
            ".2em .8em;border-bottom:1px solid #8884;text-align:left}img{image-rendering:pixelated;max-width:100%}"
            "</style>"
            f"<h1>Memorisation</h1><p>{escape(self.run)}</p><p><b>{escape(self.verdict)}</b></p>"
            f"<h2>Measures</h2><table>{rows}</table>"
            f"<h2>The nearest samples</h2><p>Each sample, then the training item nearest to it.</p>{self._shown()}"
            f"{attacks}"
        )

    def _shown(self) -> str:
        samples, near = self.items
        kind = kind_of(samples)
        sides = [kind.shown(side.values, samples.facts) for side in (samples, near)]
        if sides[0].pictures is not None and sides[1].pictures is not None:
            from pofx.report.figures.pictures import groups

            sheet = groups([s.pictures for s in sides if s.pictures is not None], 6)
            return f"<img alt='samples beside training items' width='720' src='{sheet}'>"
        head = "".join(f"<th>{escape(str(c))}</th>" for c in ("", *sides[0].columns, "distance"))
        lines = []
        for i, gap in enumerate(self.gaps):
            for what, side in zip(("sample", "training"), sides, strict=True):
                cells = "".join(f"<td>{escape(summary.cell(v))}</td>" for v in side.lines[i])
                lines.append(f"<tr><td>{what}</td>{cells}<td>{f'{gap:.3g}' if what == 'sample' else ''}</td></tr>")
        return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def by_chance(copies: int, samples: int, repeats: int, held: int) -> float:
    """p of so many copies among samples where held-out items repeat training items as often (Fisher's exact test)."""
    if copies == 0:
        return 1.0
    return float(fisher_exact([[copies, samples - copies], [repeats, held - repeats]], alternative="greater").pvalue)


@checked
def memorisation(
    run: Any, dataset: Any = None, *, n: Count = DRAWN, seed: Seed = 0, findings: list[Finding] | None = None
) -> Memorisation:
    """Compare n samples of a run with its training items, and both with held-out items.

    Args:
        run: a run, or its folder.
        dataset: that it was trained on, or what `fit` takes; None reads it again.
        findings: of attacks with reference models (`pofx.evaluate.reference_models.exposure`), to be shown too.
    """
    run = run_of(run)
    dataset = held_out_by(run, trained_on(run, dataset))
    vectors = Vectors.fit(dataset.train)
    dataset = with_conditions(run, dataset)
    drawn = conditions.drawn(run, dataset.test, n, seed=seed)
    samples, train, held = (vectors(items.values) for items in (drawn, dataset.train, dataset.test))
    gap, index = nearest(samples, train)
    base, _ = nearest(held, train)
    found = tails(gap, index, base, SHOWN)
    order = np.random.default_rng(seed)
    half = order.permutation(len(held))
    others, known = held[half[: len(held) // 2]], held[half[len(held) // 2 :]]
    members = train[order.permutation(len(train))[: len(others)]]
    by_samples = attack(nearness(members, samples, known), nearness(others, samples, known))
    numbers = {
        "samples": float(n),
        "training items": float(len(train)),
        "exact copies": float((gap == 0).mean()),
        "exact copies among held-out items": float((base == 0).mean()),
        "p of as many copies by chance": by_chance(int((gap == 0).sum()), n, int((base == 0).sum()), len(held)),
        "p of the nearest samples": float(found["p"]),
        "median distance to training items, over that of held-out items": float(found["ratio"]),
        "AUC of nearness to samples": by_samples.auc,
        "standard error of that AUC": by_samples.stderr,
    }
    by_loss = LossAttack().read(run, dataset, seed=seed)
    if "mia_loss" in by_loss.values:
        numbers |= {"AUC of log p": by_loss.values["mia_loss"],
                    "its standard error": float(by_loss.extra["mia_loss"]["stderr"])}  # fmt: skip
    at = np.array([[i, j] for i, j, _ in found["closest"]], int).reshape(-1, 2)
    pairs = (take(drawn, at[:, 0]), take(dataset.train, at[:, 1]))
    return Memorisation(summary.line(run), numbers, pairs, gap[at[:, 0]], findings or [])
