"""Generalisation gap of samples: how much better they explain the training items than held-out ones, in feature space.

A mixture of equal Gaussians sits on the samples, each with a width of its own that is fitted to the training items; its
mean log-likelihood of training less that of held-out items is the gap, its negative log-likelihood of held-out items
less that of a mixture on real items the loss. After the idea of the feature likelihood divergence (Jiralerspong et al.,
2023, arXiv 2302.04440): widths shrink onto copied training items, so that a memoriser shows a large gap.
"""

import math
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp
from scipy.stats import norm

from pofx.evaluate.distances import squared
from pofx.evaluate.metric import NoveltyMetric, Reading, ScoreInfo

STEPS, MOST = 20, 1000


def _fit(gap: np.ndarray, dims: int) -> np.ndarray:
    """Log-variances (n,) of the mixture that fit items at squared distances (items, n): expectation-maximisation.

    A sample's variance is the mean squared distance per dimension of the items, each by the sample's share in it.
    """
    log_variance = np.log(np.maximum(gap.min(0), 1e-6) / dims)
    least = np.float32(np.median(log_variance) - 8)  # a copy would have width 0
    for _ in range(STEPS):
        weight = _terms(gap, log_variance, dims)
        weight -= weight.max(1, keepdims=True)
        np.exp(weight, out=weight)
        weight /= weight.sum(1, keepdims=True)
        total = weight.sum(0)
        found = np.log(np.maximum(np.einsum("ij,ij->j", weight, gap) / (dims * np.maximum(total, 1e-12)), 1e-30))
        log_variance = np.maximum(np.where(total > 1e-9, found, log_variance), least)  # no share: the width stays
    return log_variance


def _terms(gap: np.ndarray, log_variance: np.ndarray, dims: int) -> np.ndarray:
    terms = gap * (-0.5 * np.exp(-log_variance))
    terms -= (dims / 2 * (log_variance + np.log(2 * np.pi))).astype(gap.dtype)
    return np.asarray(terms)


def _log_likelihood(gap: np.ndarray, log_variance: np.ndarray, dims: int) -> np.ndarray:
    return np.asarray(logsumexp(_terms(gap, log_variance, dims), axis=1) - np.log(gap.shape[1]))


def feature_likelihood(
    samples: Float[np.ndarray, "n d"], train: Float[np.ndarray, "t d"], held: Float[np.ndarray, "m d"]
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "m"]]:
    """Log-likelihoods in nats of training (t,) and held-out items (m,) under the mixture on samples (n, d).

    Widths are fitted to one half of the training items and judged on the other, and vice versa: fresh samples
    show no gap.
    """
    d, scale = samples.shape[1], max(float(train.std()), 1e-12)
    a, b = (squared(items / scale, samples / scale).astype(np.float32) for items in (train, held))
    of_train, of_held = np.empty(len(train)), np.zeros(len(held))
    for start in (0, 1):
        widths = _fit(a[start::2], d)
        of_train[1 - start :: 2] = _log_likelihood(a[1 - start :: 2], widths, d)
        of_held += _log_likelihood(b, widths, d) / 2
    shift = d * np.log(scale)
    return of_train - shift, of_held - shift


class GeneralisationGap(NoveltyMetric):
    """`feature_gap` in nats per dimension, with a one-sided p-value, and `feature_nll` of held-out items."""

    scores: ClassVar = {
        "feature_gap": ScoreInfo(
            "none",
            "Feature gap",
            "nats per dimension by which a mixture on the samples fits training items better than held-out ones",
            "novelty",
            suspect="high",
        ),
        "feature_nll": ScoreInfo(
            "lower",
            "Feature NLL",
            "negative log-likelihood of held-out items under a mixture on the samples, nats per dimension",
            "samples",
        ),
    }
    source: ClassVar = "Jiralerspong et al., 2023, arXiv 2302.04440"

    def read(
        self,
        samples: Float[np.ndarray, "n d"],
        held: Float[np.ndarray, "m d"],
        train: Float[np.ndarray, "t d"],
        seed: int = 0,
    ) -> Reading:
        generator = np.random.default_rng(seed)
        samples, held, train = (side[generator.permutation(len(side))[:MOST]] for side in (samples, held, train))
        of_train, of_held = feature_likelihood(samples, train, held)
        d = samples.shape[1]
        errors = [float(side.std(ddof=1) / np.sqrt(len(side)) / d) for side in (of_train, of_held)]
        gap, error = float(of_train.mean() - of_held.mean()) / d, math.hypot(*errors)
        p = float(norm.sf(gap / error)) if error > 0 else 1.0
        return Reading(
            {"feature_gap": gap, "feature_nll": -float(of_held.mean()) / d},
            {"feature_gap": {"stderr": error, "p": p}, "feature_nll": {"stderr": errors[1]}},
        )
