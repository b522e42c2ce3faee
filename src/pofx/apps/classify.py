"""Which class an item has, by a run that was trained given labels: p(class | x) by Bayes' rule.

A model of p(x | class) is a generative classifier: p(class | x) is p(x | class) p(class) over its sum (Ng and Jordan,
2001, "On discriminative vs. generative classifiers"). Exact where the density is; where it is a bound or an estimate,
so are the probabilities. Circuits answer by one exact posterior, with missing values too; energies by the classifier
within them (JEM; Grathwohl et al., 2020, arXiv 1912.03263).
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from pofx.artifact import Artifact
from pofx.conditioned import repeated
from pofx.core.errors import Unsupported
from pofx.core.event import count, each, select
from pofx.core.generative import Classifying
from pofx.core.items import Items
from pofx.core.model import Explicit, Marginal
from pofx.core.options import checked
from pofx.represent.image import ImageView, without_gaps
from pofx.represent.labels import Labels

PUBLIC = ("classify",)
AT_ONCE = 500  # items


@checked
def classify(artifact: Any, values: Any, *, even: bool = False) -> pd.DataFrame:
    """p(class | x) of each item, a column for each class.

    Args:
        artifact: a run with a density, or with a classifier within, trained with condition="label".
        values: items in data space, or `Items`; where pixels or cells are missing, the others decide, if the model
            knows the density of any subset.
        even: take all classes as equally frequent, instead of as often as they are in the training items.

    Raises:
        Unsupported: a run without labels as its condition, or without a density.
    """
    labels, model = artifact.conditioning, artifact.model
    if not isinstance(labels, Labels):
        other = "no condition" if labels is None else f"a condition of the kind {labels.kind}"
        raise Unsupported(
            f"{artifact.name} was trained given {other}, not one label: train with the condition label, or with one "
            "column of classes that has no missing cells"
        )
    if not isinstance(model, Explicit):
        raise Unsupported(f"{artifact.name} has no density to compare classes by: choose circuit, ebm or a flow")
    share = np.asarray(labels.counts, np.float64) / max(sum(labels.counts), 1)
    values = values.values if isinstance(values, Items) else values
    if isinstance(model, Classifying) and not _lacking(artifact, values):
        log_p = _posterior(artifact, model, values)
        if even:
            log_p = log_p - np.log(np.maximum(share, 1e-12))
    else:
        given = [artifact.log_prob(values, labels.items(torch.tensor([k]))[0]) for k in range(len(labels.names))]
        log_p = np.stack(given, 1)  # of what is known, where pixels or cells are missing
        if not even:
            with np.errstate(divide="ignore"):
                log_p = log_p + np.log(share)
    most = log_p.max(1, keepdims=True)
    p = np.exp(log_p - np.where(np.isfinite(most), most, 0.0))
    total = p.sum(1, keepdims=True)
    p = np.where(total > 0, p / np.maximum(total, 1e-300), share if not even else 1 / len(share))
    return pd.DataFrame(p, columns=list(labels.items(torch.arange(len(labels.names)))))


def _lacking(artifact: Artifact, values: Any) -> bool:
    """Whether pixels of some items are missing, or they have cells that no training item had."""
    view = artifact.representation
    if isinstance(view, ImageView):
        return without_gaps(values)[1] is not None
    return isinstance(artifact.model, Marginal) and bool(view.impossible(values))


@torch.inference_mode()
def _posterior(artifact: Artifact, model: Classifying, values: Any) -> np.ndarray:
    view, found = artifact.representation, []
    raw = view.tensor(values)
    for i in range(0, count(raw), AT_ONCE):
        part = each(select(raw, slice(i, i + AT_ONCE)), lambda v: v.to(artifact.device))
        found.append(model.log_posterior(view.events(part, next(iter(repeated(part, 1))))).double().cpu())
    return torch.cat(found).numpy()
