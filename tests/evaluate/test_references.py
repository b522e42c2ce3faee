"""Every score of the catalogue against its closed form or another's implementation; a score without one fails.

An oracle gives for each score what ours reads and what it must read, equal within 1e-4 relative; a third number is the
standard error of ours, for which 3 of them bound the gap. A score whose oracle lies in another file names that test.
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.linalg import eigvalsh, sqrtm
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import pairwise_kernels, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from peers import peer
from pofx.core.representation import Items
from pofx.evaluate.metric import of_metrics
from pofx.evaluate.metrics import two_sample
from pofx.evaluate.metrics.authenticity import Authenticity
from pofx.evaluate.metrics.class_balance import ClassBalance
from pofx.evaluate.metrics.clipped import clipped_scores, expected_coverage
from pofx.evaluate.metrics.codes import probes
from pofx.evaluate.metrics.frechet import FrechetDistance
from pofx.evaluate.metrics.generalisation import GeneralisationGap
from pofx.evaluate.metrics.inception_score import InceptionScore
from pofx.evaluate.metrics.kernel import KernelInceptionDistance, MeanDiscrepancy
from pofx.evaluate.metrics.label_agreement import LabelAgreement
from pofx.evaluate.metrics.marginals import Marginals
from pofx.evaluate.metrics.membership import SamplesOnly, attack
from pofx.evaluate.metrics.near_copy import NearCopy
from pofx.evaluate.metrics.neighbours import Neighbours
from pofx.evaluate.metrics.sliced import DIRECTIONS, Mind
from pofx.evaluate.metrics.spectrum import Spectrum
from pofx.evaluate.metrics.text import TextDiversity
from pofx.evaluate.metrics.vendi import VendiRatio

ELSEWHERE = {
    "enough_steps": "evaluate/test_sampler_steps.py::test_the_curve_of_a_sampler_whose_law_is_known",
    "bound_gap": "evaluate/test_bounds.py::test_the_vae_is_bounded_from_both_sides",
    "sandwich": "evaluate/test_bounds.py::test_bounds_hold_the_truth_between_them_and_close_with_more_samples",
    "path_length": "evaluate/test_codes.py::test_path_length_of_a_linear_decoder_is_its_squared_gain",
    "closest_record": "evaluate/test_usefulness.py::test_copies_are_nearer_and_ties_count_half",
    "tstr": "evaluate/test_usefulness.py::test_good_rows_teach_as_much_as_real_ones_and_shuffled_ones_nothing",
    "tstr_gap": "evaluate/test_usefulness.py::test_good_rows_teach_as_much_as_real_ones_and_shuffled_ones_nothing",
    "validity": "data/test_molecules.py::test_one_molecule_has_many_strings_on_both_sides",
    "uniqueness": "data/test_molecules.py::test_one_molecule_has_many_strings_on_both_sides",
    "novelty": "data/test_molecules.py::test_one_molecule_has_many_strings_on_both_sides",
    "internal_diversity": "data/test_molecules.py::test_diversity_of_equal_and_of_unlike_molecules",
    "fingerprint_distance": (
        "data/test_molecules.py::test_the_distance_on_fingerprints_orders_samples_and_says_its_floor"
    ),
    **dict.fromkeys(
        ("tree_c2st", "pair_dependence"),
        "evaluate/test_tables.py::test_independent_columns_pass_shapes_and_fail_trees_and_pairs",
    ),
    **dict.fromkeys(
        ("w1_logp", "w1_qed", "w1_weight", "w1_sa"),
        "apps/test_molecules.py::test_distances_of_properties_are_wasserstein_over_the_spread",
    ),
}
ORACLES = {}


def oracle(*names):
    """Marks a function that gives {score: (ours, truth) or (ours, truth, standard error)}."""

    def keep(function):
        ORACLES.update(dict.fromkeys(names, function))
        return function

    return keep


def normal(n, d, seed, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


X, Y = normal(300, 6, 0, 1.1, 0.2), normal(300, 6, 1)


@pytest.mark.parametrize("name", sorted(of_metrics()))
def test_every_score_has_a_reference(name):
    if name in ELSEWHERE:
        file, test = ELSEWHERE[name].split("::")
        assert f"def {test}(" in (Path(__file__).parents[1] / file).read_text()
        return
    assert name in ORACLES, f"'{name}' has no reference: add an @oracle here, or the test that is one to ELSEWHERE"
    ours, truth, *error = ORACLES[name]()[name]
    assert abs(ours - truth) <= (3 * error[0] if error else 1e-4 * abs(truth)), (ours, truth, error)


def test_references_are_of_scores_that_exist():
    assert set(ORACLES) | set(ELSEWHERE) <= set(of_metrics()) and not set(ORACLES) & set(ELSEWHERE)


# distances


@oracle("frechet_distance")
def frechet():
    (a, b), (m, n) = (np.cov(s, rowvar=False) for s in (X, Y)), (X.mean(0), Y.mean(0))
    truth = np.square(m - n).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    return {"frechet_distance": (FrechetDistance().values(X, Y)["frechet_distance"], truth)}


@pytest.mark.parametrize("module", ["torch_fidelity.metric_fid", "torchmetrics.image.fid"])
def test_frechet_distance_is_that_of_peers(module):
    of = peer(module)
    if "torchmetrics" in module:
        theirs = of._compute_fid(*(torch.from_numpy(v) for s in (X, Y) for v in (s.mean(0), np.cov(s, rowvar=False))))
    else:
        sides = [of.fid_features_to_statistics(torch.from_numpy(s)) for s in (X, Y)]
        theirs = of.fid_statistics_to_metric(*sides, False)["frechet_inception_distance"]
    assert FrechetDistance().values(X, Y)["frechet_distance"] == pytest.approx(float(theirs), rel=1e-4)


@oracle("kid")
def kid():
    of = peer("torch_fidelity.metric_kid").kid_features_to_metric
    found = of(torch.from_numpy(X), torch.from_numpy(Y), kid_subsets=1, kid_subset_size=300, verbose=False)
    return {"kid": (KernelInceptionDistance().values(X, Y)["kid"], found["kernel_inception_distance_mean"])}


def test_tiles_of_kernels_do_not_change_the_kid():
    x, y = (normal(2500, 4, s, 1.1, 0.1 * s) for s in (0, 1))
    k = lambda a, b: pairwise_kernels(a, b, metric="poly", degree=3, gamma=1 / 4, coef0=1)  # noqa: E731
    xx, yy = ((k(s, s).sum() - np.trace(k(s, s))) / (2500 * 2499) for s in (x, y))
    for kind, within in ((np.float64, 1e-9), (np.float32, 1e-4)):
        found = KernelInceptionDistance().values(x.astype(kind), y.astype(kind))["kid"]
        assert found == pytest.approx(xx + yy - 2 * k(x, y).mean(), rel=within)


@oracle("mmd")
def mmd():
    gamma = 1 / np.median(np.square(cdist(Y, Y))[np.triu_indices(300, 1)])
    xx, yy, xy = (pairwise_kernels(a, b, metric="rbf", gamma=gamma) for a, b in ((X, X), (Y, Y), (X, Y)))
    truth = (xx.sum() + yy.sum() - 600) / (300 * 299) - 2 * xy.mean()
    return {"mmd": (MeanDiscrepancy().values(X, Y)["mmd"], truth)}


@oracle("mind")
def mind():
    """In one dimension the best of all assignments; in many, the mean over directions of a shift's squared part."""
    x, y = X[:, :1], Y[:, :1]
    cost = np.square(cdist(x, y))
    truth = 3 * cost[linear_sum_assignment(cost)].mean()
    d, moved = 6, Mind().values(X, X + 0.7)["mind"]
    spread = math.sqrt(2 * (d - 1) / (d * d * (d + 2)) / DIRECTIONS)  # of a squared coordinate on the sphere
    assert abs(moved / (3 * d * 0.49 * d) - 1 / d) < 3 * spread
    return {"mind": (Mind().values(x, y)["mind"], truth)}


@oracle("precision", "recall", "density", "coverage")
def neighbours():
    theirs = peer("prdc").compute_prdc(real_features=Y, fake_features=X, nearest_k=5)
    ours = Neighbours().values(X, Y)
    return {name: (ours[name], float(theirs[name])) for name in ours}


@oracle("clipped_density", "clipped_coverage")
def clipped():
    """By full matrices of distances; the expectation that turns coverage into a share, from simulated Beta masses."""
    x = np.where(np.arange(300)[:, None] < 150, X, X + 50)
    own, gap, k = np.sort(cdist(Y, Y), 1), cdist(Y, x), 5
    reach = own[:, k]
    ball = np.minimum(reach, np.median(reach))[:, None]
    density = np.minimum((gap < ball).sum(0) / k, 1).mean()
    real = np.minimum(((cdist(Y, Y) < ball) & ~np.eye(300, dtype=bool)).sum(0) / k, 1).mean()
    ours = clipped_scores(x, Y)
    covered, share = np.minimum((gap < reach[:, None]).sum(1) / k, 1).mean(), ours[1] * 300
    low = math.floor(share)
    draws = np.random.default_rng(0)
    for good in (low, low + 1):
        hits = np.minimum(draws.binomial(good, draws.beta(k, 300 - k, size=400_000)), k) / k
        assert abs(hits.mean() - expected_coverage(good, 300, k)) < 3 * hits.std() / 400_000**0.5
    a, b = (expected_coverage(good, 300, k) for good in (low, low + 1))
    return {
        "clipped_density": (ours[0], density / real),
        "clipped_coverage": (a + (share - low) * (b - a), covered),
    }


@oracle("vendi")
def vendi():
    gamma = 4 / np.median(np.square(cdist(Y, Y))[np.triu_indices(300, 1)])
    shares = [np.clip(eigvalsh(pairwise_kernels(s, s, metric="rbf", gamma=gamma) / 300), 0, None) for s in (X, Y)]
    truth = math.exp(stats.entropy(shares[0]) - stats.entropy(shares[1]))
    return {"vendi": (VendiRatio().values(X, Y)["vendi"], truth)}


@oracle("c2st")
def c2st():
    """The same folds and kernel, refitted by scikit-learn's kernel ridge and judged by its area under the curve."""
    x, y, generator = X[:120], Y[:120] + 0.3, np.random.default_rng(0)
    fold = np.concatenate([generator.permutation(np.arange(120) % 5) for _ in range(2)])
    z = np.concatenate((x[generator.permutation(120)], y[generator.permutation(120)]))
    z = (z - z.mean(0)) / z.std(0)
    gap = np.square(cdist(z, z))  # fewer items than landmarks: the kernel is exact
    middle = np.median(gap[np.triu_indices(240, 1)])
    k = np.exp(-gap / middle) + np.exp(-4 * gap / middle) + z @ z.T / np.square(z).sum(1).mean()
    labels, areas = np.repeat((1.0, 0.0), 120), []
    for f in range(5):
        a, b = fold == f, fold != f
        ridge = KernelRidge(alpha=0.02 * 120, kernel="precomputed").fit(k[np.ix_(b, b)], labels[b] - labels[b].mean())
        areas.append(roc_auc_score(labels[a], ridge.predict(k[np.ix_(a, b)])))
    return {"c2st": (two_sample.c2st(x, y, permutations=0)[0], np.mean(areas))}


# novelty


@oracle("authentic", "copying")
def authenticity():
    train, held = normal(400, 6, 2), normal(250, 6, 3)
    found = Authenticity().read(X, held, train).values
    index = NearestNeighbors(n_neighbors=2).fit(train)
    own, (gap, at) = index.kneighbors(train)[0][:, 1], index.kneighbors(X, 1)
    base = index.kneighbors(held, 1)[0][:, 0]
    u = stats.mannwhitneyu(gap[:, 0], base, use_continuity=False, method="asymptotic")
    z = math.copysign(stats.norm.isf(u.pvalue / 2), u.statistic - len(X) * len(held) / 2)
    return {"authentic": (found["authentic"], (gap[:, 0] > own[at[:, 0]]).mean()), "copying": (found["copying"], z)}


@oracle("near_copy", "exact_copies", "distance_ratio")
def near_copy():
    """Fisher's exact test of each tail, times their number."""
    train, held = normal(400, 6, 2), normal(250, 6, 3)
    x = np.concatenate((X[:290], train[:10] + 1e-3 * X[290:]))
    gap, base = (cdist(side, train).min(1) for side in (x, held))
    pool = np.sort(np.concatenate((gap, base)))
    ps = []
    for share in (0.005, 0.01, 0.02, 0.05):
        near = pool[math.ceil(share * 550) - 1]
        table = [[(gap <= near).sum(), (gap > near).sum()], [(base <= near).sum(), (base > near).sum()]]
        ps.append(stats.fisher_exact(table, alternative="greater").pvalue)
    found = NearCopy().read(np.concatenate((x, train[:60])), held, train).values
    return {
        "near_copy": (NearCopy().read(x, held, train).values["near_copy"], 4 * min(ps)),
        "exact_copies": (found["exact_copies"], 60 / 360),
        "distance_ratio": (found["distance_ratio"], np.median(np.append(gap, np.zeros(60))) / np.median(base)),
    }


@oracle("feature_gap", "feature_nll")
def feature_gap():
    """One sample: the best width is the mean squared distance per dimension, and all else is Gaussian."""
    train, held, d = normal(400, 5, 2, 1.5), normal(300, 5, 3, 1.5), 5
    found = GeneralisationGap().read(np.zeros((1, d)), held, train).values
    order = np.random.default_rng(0)
    order.permutation(1), order.permutation(300)
    both = train[order.permutation(400)]
    halves = both[::2], both[1::2]
    width = [math.sqrt(np.square(half).mean()) for half in halves]
    log_p = lambda x, s: stats.multivariate_normal(np.zeros(d), s * s * np.eye(d)).logpdf(x).mean() / d  # noqa: E731
    of_train = (log_p(halves[1], width[0]) + log_p(halves[0], width[1])) / 2
    of_held = (log_p(held, width[0]) + log_p(held, width[1])) / 2
    # the gap is a small difference of the two: it is held as exactly as they are
    gap = found["feature_gap"] + of_held
    return {"feature_nll": (found["feature_nll"], -of_held), "feature_gap": (gap, of_train)}


@oracle("mia_samples", "mia_samples_tpr")
def mia_samples():
    train, held = normal(400, 6, 2), normal(300, 6, 3)
    x = train[:100] + 0.05 * X[:100]
    order = np.random.default_rng(0)
    half = order.permutation(300)
    others, known, members = held[half[:150]], held[half[150:]], train[order.permutation(400)[:150]]
    both = np.concatenate((members, others))
    scores = np.log(cdist(both, known).min(1)) - np.log(cdist(both, x).min(1))
    truth = roc_auc_score(np.repeat((1, 0), 150), scores)
    found = SamplesOnly().read(x, held, train).values
    rate = (scores[:150] > np.sort(scores[150:])[148]).mean()  # one false positive in 150
    return {"mia_samples": (found["mia_samples"], truth), "mia_samples_tpr": (found["mia_samples_tpr"], rate)}


@oracle("mia_loss", "mia_loss_tpr")
def mia_loss():
    """Of log-probabilities of a known Gaussian shift: the area of scikit-learn on the same scores."""
    a, b = normal(500, 1, 0, shift=0.4)[:, 0], normal(400, 1, 1)[:, 0]
    truth = roc_auc_score(np.repeat((1, 0), (500, 400)), np.concatenate((a, b)))
    return {
        "mia_loss": (attack(a, b).auc, truth),
        "mia_loss_tpr": (attack(a, b).tpr, (a > np.sort(b)[-5]).mean()),
    }


# classes and codes


def softmax(n, classes, seed):
    logits = 3 * normal(n, classes, seed)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), logits


@oracle("inception_score")
def inception_score():
    of = peer("torch_fidelity.metric_isc").isc_features_to_metric
    p, logits = softmax(500, 7, 0)
    ours = InceptionScore().read(p, p, p.argmax(1), np.full(7, 1 / 7)).values["inception_score"]
    return {"inception_score": (ours, of(torch.from_numpy(logits), splits=1)["inception_score_mean"])}


@oracle("class_tv")
def class_tv():
    p, _ = softmax(500, 7, 0)
    shares = np.arange(1, 8) / 28
    ours = ClassBalance().read(p, p, p.argmax(1), shares).values["class_tv"]
    found = np.bincount(p.argmax(1), minlength=7) / 500
    return {"class_tv": (ours, np.maximum(found - shares, 0).sum())}


@oracle("label_agreement")
def label_agreement():
    """The share of right answers, and Fisher's exact test by scipy of the class where they are fewest."""
    p, _ = softmax(400, 4, 0)
    labels = np.random.default_rng(1).permutation(p[:200].argmax(1))
    labels[:150] = p[:150].argmax(1)
    asked = np.where(p[200:].argmax(1) == 2, 3, p[200:].argmax(1))
    found = LabelAgreement().read(p[200:], p[:200], labels, np.full(4, 1 / 4), asked)
    ps = []
    for c in range(4):
        sides = (p[200:].argmax(1)[asked == c] == c, p[:200].argmax(1)[labels == c] == c)
        table = [[(~right).sum(), right.sum()] for right in sides]
        ps.append(stats.fisher_exact(table, alternative="greater").pvalue if len(sides[0]) else 1.0)
    assert found.extra["label_agreement"]["p"] == pytest.approx(min(min(ps) * len(set(asked)), 1))
    return {"label_agreement": (found.values["label_agreement"], (p[200:].argmax(1) == asked).mean())}


@oracle("code_linear", "code_neighbours")
def code_probe():
    """Readers of scikit-learn fitted anew, the strength chosen on validation items."""
    generator = np.random.default_rng(0)
    labels = {s: generator.integers(4, size=n) for s, n in (("train", 400), ("validation", 200), ("test", 300))}
    codes = {s: 2 * np.eye(4, 6)[at] + normal(len(at), 6, i) for i, (s, at) in enumerate(labels.items())}
    found = probes({"codes": codes}, labels)["codes"]
    middle, scale = codes["train"].mean(0), codes["train"].std(0)
    z = {s: (c - middle) / scale for s, c in codes.items()}
    fits = [LogisticRegression(C=c, max_iter=300).fit(z["train"], labels["train"]) for c in (0.01, 0.1, 1.0, 10.0)]
    right = [(f.score(z["validation"], labels["validation"]), f.score(z["test"], labels["test"])) for f in fits]
    linear = max(right, key=lambda pair: pair[0])[1]
    vote = KNeighborsClassifier(10).fit(codes["train"], labels["train"]).score(codes["test"], labels["test"])
    return {"code_linear": (found["linear"], linear), "code_neighbours": (found["neighbours"], vote)}


# items


@oracle("column_shapes", "pair_trends")
def marginals():
    def frame(seed):
        z = normal(400, 3, seed, 1 + seed / 10) @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]])
        return pd.DataFrame({"a": z[:, 0], "b": z[:, 1], "c": np.where(z[:, 2] > 0.3 * seed, "yes", "no")})

    x, y = frame(1), frame(0)
    found = Marginals().read(*(Items("table", side) for side in (x, y, y))).values
    apart = [stats.ks_2samp(x[name], y[name]).statistic for name in "ab"]
    yes = [(side["c"] == "yes").mean() for side in (x, y)]
    shapes = 1 - np.mean([*apart, abs(yes[0] - yes[1])])
    trends = [1 - abs(stats.spearmanr(x["a"], x["b"])[0] - stats.spearmanr(y["a"], y["b"])[0]) / 2]
    for name in "ab":
        edges = [-np.inf, *np.quantile(y[name], np.linspace(0.1, 0.9, 9)), np.inf]
        joint = [np.histogram2d(s[name], s["c"] == "yes", bins=[edges, [0, 0.5, 1]])[0] / 400 for s in (x, y)]
        trends.append(1 - np.abs(joint[0] - joint[1]).sum() / 2)
    return {"column_shapes": (found["column_shapes"], shapes), "pair_trends": (found["pair_trends"], np.mean(trends))}


@oracle("spectrum")
def spectrum():
    """Twice the amplitude everywhere is 20 log10 2 decibels at every frequency."""
    image = np.random.default_rng(0).integers(0, 120, size=(50, 12, 12)).astype(np.uint8)
    sides = [Items("image", values, None, {"levels": 256}) for values in (2 * image, image)]
    return {"spectrum": (Spectrum().read(*sides, sides[1]).values["spectrum"], 20 * math.log10(2))}


@oracle("distinct", "self_bleu", "length_ratio")
def texts():
    """Three texts a side, counted by hand."""
    samples, real = Items("text", ["abab"] * 3), Items("text", ["abcd", "abce", "abcf"])
    found = TextDiversity().read(samples, real, real).values
    # samples: a b | ab ba | aba bab | abab, of 12, 9, 6, 3; real: 6 letters, ab bc cd ce cf, abc bcd bce bcf, all
    distinct = np.mean([2 / 12, 2 / 9, 2 / 6, 1 / 3]) / np.mean([6 / 12, 5 / 9, 4 / 6, 3 / 3])
    # a real text shares 3 of 4, 2 of 3, 1 of 2 and 0 of 1 with the others, one added from pairs on
    real_bleu = (3 / 4 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    longer = TextDiversity().read(Items("text", ["abcabc", "abcabcab", "abca"]), real, real).values["length_ratio"]
    return {
        "distinct": (found["distinct"], distinct),
        "self_bleu": (found["self_bleu"], 1 / real_bleu),
        "length_ratio": (longer, 6 / 4),
    }
