"""log p of single items of the three splits and of the model's own samples."""

import math

import numpy as np

from pofx.report.figures.likelihood import likelihoods
from pofx.report.numbers import written
from pofx.report.results import Results
from pofx.report.section import Section, fill

LABEL = "Histograms of log-likelihood of training, validation and test items, and calibration, per model"
CAPTION = (
    "Above: log p of single items, training (filled), validation (dotted) and test (dashed); “gap” is the mean of "
    "training less that of test items in nats ± s.e. of the stored items: what the model learned of its own "
    "training items alone. Below: the share of the model's own samples that are less probable than a test item; "
    "on the diagonal, within the grey 95 % band, test items are as typical as samples. Above it the model assigns "
    "test items less probability than its own samples (too narrow), below it more (too wide). A calibration of "
    "single coordinates would need conditional cdfs, which no model here has."
)


class Likelihood(Section):
    order, id, title, short = 110, "likelihood", "Likelihood of items", "Likelihood"

    def html(self, results: Results) -> str | None:
        found, gaps = scored(results)
        if not found:
            return None
        svg = likelihoods(found, gaps, results.ink)
        return fill("figure.html.j2", results, svg=svg, label=LABEL, caption=CAPTION)


def scored(results: Results) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """By row log p of the stored items, and the overfit gap in words."""
    found, gaps = {}, {}
    for row in results.models:
        sets = results.stored(row, "likelihood")
        if sets is None:
            continue
        values = {
            key: np.array([v for v in sets.get(key) or () if v is not None], float)
            for key in ("train", "validation", "test", "samples")
        }
        if min(len(values["train"]), len(values["test"])) < 2:
            continue
        found[row.name] = values
        a, b = values["train"], values["test"]
        error = math.hypot(a.std() / math.sqrt(len(a)), b.std() / math.sqrt(len(b)))
        gap, spread = written(a.mean() - b.mean(), error)
        gaps[row.name] = f"gap {gap} ± {spread}" if spread else f"gap {gap}"
    return found, gaps
