"""Which weights are the best where the losses are not informative: those whose samples are nearest to the data.

The quality of a GAN fluctuates while its losses stay level. Samples are compared with validation items by the Fréchet
distance of their 32 principal components; the held-out reference shows by how much a model is off. In few dimensions
means and covariances show little (eight modes have them as soon as a ring does): there it is exp KL(data ‖ samples), by
nearest neighbours (Wang, Kulkarni and Verdú, 2009, "Divergence estimation for multidimensional densities"). The samples
show a collapse too: how many of them are near copies of one another, and over how many classes they spread. Under a
class as the condition the class is a part of what is compared: samples of other classes than those requested are far.
"""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from pofx.core.event import Continuous, Discrete, Event, count, dims
from pofx.core.model import Model, X
from pofx.core.random import Streams
from pofx.maths.frechet import frechet_distance
from pofx.train.feed import Feed
from pofx.train.selection import Judge

JUDGED = 512  # samples drawn each time
COMPONENTS = 32
FEW, MANY, NEIGHBOUR = 8, 2000, 5  # dimensions, samples and neighbours of the estimated divergence
MOST_CLASSES = 64  # of a condition that is compared beside the samples
LEAST = 16  # samples that show a collapse
CLUSTERS = 10  # that take the place of classes where there are no labels
RARE = 0.01  # the share of validation items that lie as near to another one as near copies do


def judge_by_samples(validation: Feed, labels: Any = None) -> Judge:
    """A judge of models by samples, with numbers by name: "validation" is the distance from validation items, lower is
    better; "near-duplicate share", "class entropy" and "class entropy of data" in nats show a collapse.

    Args:
        labels: of the validation items, one class each; clusters take their place where there are none.
    """
    event = validation.representation.event
    few = isinstance(event, Continuous) and dims(event) <= FEW
    judged = MANY if few else JUDGED
    real = validation.take(judged)
    flat = _flat(real.x, event)
    mean = flat.mean(0)
    axes = np.linalg.svd(flat - mean, full_matrices=False)[2][:COMPONENTS].T
    reference = (flat - mean) @ axes
    apart = cdist(reference, reference)
    nearest = np.sort(apart, axis=1)[:, 1] if len(reference) > 1 else np.zeros(1)
    close = float(np.quantile(nearest, RARE))
    classes = None if labels is None or np.ndim(labels) != 1 else np.asarray(labels)[validation.taken(judged).cpu()]
    if classes is None or len(set(classes.tolist())) < 2:
        classes = _clusters(reference)
    given = _class_condition(real.condition)
    beside = np.zeros((len(flat), 0))
    if given is not None and not few:  # with as much variance as all beside it
        beside = np.eye(int(given.max()) + 1)[given] * np.sqrt(reference.var(0).sum())
    np.fill_diagonal(apart, np.inf)
    known = 0.0 if given is None else float((given[apart.argmin(1)] == given).mean())

    @torch.inference_mode()
    def judge(model: Model) -> dict[str, float]:
        n = count(real.x)
        drawn = model.sample(n, real.condition, generator=Streams(7, n, device=validation.device))
        samples = (_flat(drawn, event) - mean) @ axes
        sides = [np.concatenate((x, beside), 1) for x in (samples, reference)]
        found = {"validation": divergence(reference, samples) if few else frechet_distance(*sides)}
        found = {name: float(value) for name, value in found.items()}
        if n >= LEAST and np.isfinite(samples).all():
            apart = np.sort(cdist(samples, samples), axis=1)[:, 1]
            found["near-duplicate share"] = float((apart < close).mean())
            alike = cdist(samples, reference).argmin(1)
            found |= {"class entropy": _entropy(classes[alike]), "class entropy of data": _entropy(classes)}
            if given is not None:
                found |= {"condition right": float((given[alike] == given).mean()), "condition right of data": known}
        return found

    return judge


def divergence(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """exp KL(p ‖ q), estimated from points x of p and y of q by the distances to their k-th neighbours."""
    if not np.isfinite(y).all():
        return float("nan")
    if min(len(x) - 1, len(y)) < NEIGHBOUR:
        return float(frechet_distance(x, y))
    own = cKDTree(x).query(x, NEIGHBOUR + 1)[0][:, -1]
    other = cKDTree(y).query(x, NEIGHBOUR)[0][:, -1]
    ratio = np.log(np.maximum(other, 1e-12) / np.maximum(own, 1e-12)).mean()
    return float(np.exp(np.clip(x.shape[1] * ratio + np.log(len(y) / (len(x) - 1)), -50, 50)))


def _clusters(x: Float[np.ndarray, "n d"]) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct items than clusters
        return np.asarray(KMeans(min(CLUSTERS, len(x)), n_init=1, random_state=0).fit(x).labels_)


def _class_condition(condition: Any) -> np.ndarray | None:
    """The classes that are the condition of the items; None for other conditions, and for too many classes."""
    if not isinstance(condition, Tensor) or condition.ndim != 1 or condition.is_floating_point():
        return None
    classes = condition.cpu().numpy()
    return classes if len(classes) and classes.max() < MOST_CLASSES else None


def _entropy(classes: np.ndarray) -> float:
    """Of the shares of classes, in nats."""
    shares = np.unique(classes, return_counts=True)[1] / len(classes)
    return float(-(shares * np.log(shares)).sum())


def _flat(x: X, event: Event) -> np.ndarray:
    """Events as float64 (n, d): numbers as they are, the classes of a product's parts one-hot."""
    if isinstance(event, dict):
        return np.concatenate([_one_hot(x[key], part) for key, part in event.items()], 1)
    return np.asarray(x.detach().float().flatten(1).cpu().numpy(), dtype=np.float64)


def _one_hot(x: X, event: Event) -> np.ndarray:
    if not isinstance(event, Discrete):
        return _flat(x, event)
    flat: Tensor = x.detach().flatten(1).cpu()
    columns = [torch.nn.functional.one_hot(flat[:, i], k) for i, k in enumerate(event.counts)]
    return np.asarray(torch.cat(columns, 1).double().numpy())
