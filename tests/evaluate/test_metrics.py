"""Laws of every metric: closed forms, nulls, standard errors that are true, and the planted faults each must see."""

import numpy as np
import pandas as pd
import pytest
import torch

from peers import peer
from pofx.core.representation import Items
from pofx.evaluate.metric import FeatureMetric, ItemMetric, NoveltyMetric, catalogue, metrics
from pofx.evaluate.metrics.authenticity import authenticity, copying
from pofx.evaluate.metrics.clipped import clipped_scores, expected_coverage
from pofx.evaluate.metrics.generalisation import GeneralisationGap
from pofx.evaluate.metrics.inception_score import inception_score
from pofx.evaluate.metrics.kernel import discrepancy, gaussian, permuted, polynomial
from pofx.evaluate.metrics.marginals import Marginals, column_shapes, pair_trends
from pofx.evaluate.metrics.neighbours import neighbour_scores
from pofx.evaluate.metrics.sliced import Mind, sliced_wasserstein
from pofx.evaluate.metrics.spectrum import Spectrum, power
from pofx.evaluate.metrics.text import TextDiversity, distinct, self_bleu
from pofx.evaluate.metrics.vendi import VendiRatio, vendi
from pofx.evaluate.selftest import FAULTS, FEW, MODELESS, blind, self_test, spoil

METRICS = metrics(FeatureMetric)
IDS = [type(metric).__name__ for metric in METRICS]


def normal(n: int, d: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * scale


# what all share


def test_metrics_are_found_and_their_scores_have_one_owner():
    names = [name for metric in metrics(FeatureMetric) + metrics(NoveltyMetric) for name in metric.scores]
    assert len(names) == len(set(names)) >= 15
    assert set(names) <= set(catalogue())
    assert [type(m) for m in metrics(ItemMetric, items="image")] == [Spectrum]
    assert "c2st" not in {n for m in metrics(FeatureMetric, main=False) for n in m.scores}


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_a_metric_is_a_function_of_its_arguments(metric):
    x, y = normal(120, 5, 0), normal(100, 5, 1)
    kept = x.copy(), y.copy()
    assert metric.values(x, y, 3) == metric.values(x, y, 3)
    assert set(metric.values(x, y)) == set(metric.scores)
    assert (x == kept[0]).all() and (y == kept[1]).all()
    assert all(np.isfinite(v) for v in metric.values(x.astype(np.float32), y.astype(np.float32)).values())


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_standard_errors_are_those_of_fresh_draws(metric):
    n, d, draws = 300, 6, 30
    shifted = lambda seed: normal(n, d, seed) * 1.1 + 0.15  # noqa: E731
    values = [metric.values(shifted(s), normal(n, d, 500 + s), s) for s in range(draws)]
    stated = [metric.read([(shifted(s), normal(n, d, 500 + s))], s).extra for s in range(6)]
    for name in metric.scores:
        true = np.std([v[name] for v in values], ddof=1)
        said = np.mean([extra[name]["stderr"] for extra in stated])
        assert 0.6 < said / true < 1.9, (name, said, true)


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_a_constant_feature_and_equal_items_give_finite_numbers(metric):
    x, y = normal(60, 4, 0), normal(60, 4, 1)
    x[:, 2] = y[:, 2] = 1.5
    assert all(np.isfinite(v) for v in metric.values(x, y).values())
    same = np.ones((40, 3))
    assert all(np.isfinite(v) for v in metric.values(same, same).values())


# kernels


def test_discrepancy_equals_the_double_sum():
    x, y = normal(30, 4, 0), normal(20, 4, 1) + 0.3
    k = lambda a, b: (a @ b / 4 + 1) ** 3  # noqa: E731
    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    xy = np.mean([k(a, b) for a in x for b in y])
    assert discrepancy(x, y)[0] == pytest.approx(xx + yy - 2 * xy, rel=1e-10)


def test_discrepancy_matches_the_reference_over_one_subset():
    kid = peer("torch_fidelity.metric_kid").kid_features_to_metric
    x, y = normal(200, 8, 0), normal(200, 8, 1) + 0.2
    theirs = kid(torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=200, verbose=False)
    assert discrepancy(x, y)[0] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-6)


def test_kid_null_and_its_interval():
    found = [discrepancy(normal(1000, 64, s), normal(1000, 64, 90 + s)) for s in range(5)]
    assert all(abs(value) < 0.003 for value, _ in found)
    hits = []
    for s in range(200):  # under the null the second-order part is all there is
        value, error = discrepancy(normal(100, 4, s), normal(100, 4, 1000 + s))
        hits.append(abs(value) < 1.96 * error)
    assert 0.90 <= np.mean(hits) <= 0.99
    truth = discrepancy(normal(6000, 4, 1) + 0.3, normal(6000, 4, 2))[0]
    hits = []
    for s in range(200):
        value, error = discrepancy(normal(100, 4, s) + 0.3, normal(100, 4, 1000 + s))
        hits.append(abs(value - truth) < 1.96 * error)
    assert 0.90 <= np.mean(hits) <= 0.98


def test_gaussian_permutation_test_equals_refitting_and_is_uniform():
    x, y = normal(40, 3, 0), normal(40, 3, 1) + 0.8
    assert permuted(x, y, gaussian(y), 0) <= 0.01
    p = [permuted(normal(30, 3, s), normal(30, 3, 300 + s), gaussian(normal(30, 3, 300 + s)), s) for s in range(100)]
    assert 0.35 < np.mean(p) < 0.65 and np.mean(np.array(p) < 0.1) < 0.2


# sliced


def test_sliced_wasserstein_of_a_shift_and_of_a_scale():
    x = normal(400, 7, 0)
    assert sliced_wasserstein(x, x + 2, 2000) == pytest.approx(4.0, rel=0.1)  # |shift|² / d
    assert Mind().values(x, x + 2)["mind"] == pytest.approx(3 * 7 * 4.0, rel=0.2)
    one = normal(5000, 1, 1)
    assert sliced_wasserstein(one, 3 * one) == pytest.approx(4 * np.square(one).mean(), rel=1e-9)
    assert sliced_wasserstein(one, one[:3000]) < 0.01


# Vendi


def test_vendi_counts_modes():
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.ones((9, 9))) == pytest.approx(1)
    blocks = np.kron(np.eye(4), np.ones((5, 5)))
    for order in (0, 0.5, 1, 2, np.inf):
        assert vendi(blocks, order) == pytest.approx(4)


def test_vendi_sees_contraction_and_collapse():
    y = normal(600, 16, 1)
    assert VendiRatio().values(normal(600, 16, 0), y)["vendi"] == pytest.approx(1, abs=0.05)
    assert VendiRatio().values(normal(600, 16, 0, 0.5), y)["vendi"] < 0.5
    assert VendiRatio().values(np.repeat(normal(6, 16, 0), 100, 0), y)["vendi"] < 0.1


# clipped


def test_expected_coverage_is_what_equal_draws_read():
    found = []
    for s in range(40):
        x, y = normal(60, 2, s), normal(100, 2, 100 + s)
        from pofx.evaluate.distances import radii, squared

        hits = (squared(y, x) < radii(y, 5)[:, None]).sum(1)
        found.append(np.minimum(hits / 5, 1).mean())
    assert np.mean(found) == pytest.approx(expected_coverage(60, 100, 5), abs=4 * np.std(found) / 40**0.5)


@pytest.mark.parametrize("d", [2, 64])
def test_clipped_scores_read_the_share_of_good_samples(d):
    y = normal(1000, d, 0)
    equal = clipped_scores(normal(1000, d, 1), y)
    assert min(equal) >= 0.88
    few = clipped_scores(normal(250, d, 2), y)
    assert min(few) >= 0.85
    junk = np.concatenate((normal(500, d, 3), normal(500, d, 4) + 100))
    assert all(0.42 < score < 0.60 for score in clipped_scores(junk, y))
    if d == 2:  # one far real item does not vouch for the junk around it
        outlier = np.concatenate((y, np.full((1, d), 100.0)))
        assert clipped_scores(junk, outlier)[0] == pytest.approx(clipped_scores(junk, y)[0], abs=0.02)
        assert neighbour_scores(junk, outlier)["precision"] > 0.9


# novelty


def test_copies_show_in_authenticity_copying_and_feature_gap():
    train, held, fresh = normal(800, 6, 0), normal(500, 6, 1), normal(500, 6, 2)
    near, index = np.full(500, 1.0), np.arange(500)
    assert authenticity(fresh, train) == pytest.approx(authenticity(held, train), abs=0.08)
    copies = train[index] + 0.01 * normal(500, 6, 3)
    assert authenticity(copies, train) < 0.05
    assert copying(near * 0.01, near) < -10
    gap = GeneralisationGap()
    assert gap.read(fresh, held, train).extra["feature_gap"]["p"] > 0.001
    assert gap.read(copies, held, train).extra["feature_gap"]["p"] < 1e-6
    assert gap.read(copies, held, train).values["feature_gap"] > 0.1


def test_the_null_of_copying_is_standard_normal():
    z = [copying(np.random.default_rng(s).random(80), np.random.default_rng(900 + s).random(60)) for s in range(300)]
    assert np.std(z) == pytest.approx(1, abs=0.12) and abs(np.mean(z)) < 0.2


# classes


def test_inception_score_of_sure_and_of_unsure_classifiers():
    assert inception_score(np.eye(5)) == pytest.approx(5)
    assert inception_score(np.full((10, 4), 0.25)) == pytest.approx(1)
    assert inception_score(np.eye(5)[[0, 0, 0]]) == pytest.approx(1)  # collapsed


# tables


def table(n: int, seed: int, correlation: float = 0.8) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    a = generator.normal(size=n)
    b = correlation * a + np.sqrt(1 - correlation**2) * generator.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "c": np.where(a + generator.normal(size=n) > 0, "yes", "no")})


def test_marginals_see_columns_and_pairs_apart():
    real, same = table(2000, 0), table(2000, 1)
    assert min(column_shapes(same, real).values()) > 0.95 and min(pair_trends(same, real).values()) > 0.93
    broken = pd.DataFrame({n: same[n].sample(frac=1, random_state=i).to_numpy() for i, n in enumerate(same)})
    assert min(column_shapes(broken, real).values()) > 0.95  # columns are right
    assert pair_trends(broken, real)["a, b"] == pytest.approx(1 - 0.8 / 2, abs=0.05)  # pairs are not
    moved = same.assign(a=same["a"] + 1)
    assert column_shapes(moved, real)["a"] == pytest.approx(1 - 0.383, abs=0.04)  # Φ(½) - Φ(-½)
    assert column_shapes(same.assign(c="yes"), real)["c"] == pytest.approx(0.5, abs=0.05)
    read = Marginals().read(Items("table", broken), Items("table", real), Items("table", table(3000, 4)))
    assert read.values["pair_trends"] < read.extra["pair_trends"]["train"] - 3 * read.extra["pair_trends"]["stderr"]


# spectra


def test_spectrum_sees_blur_and_a_checkerboard():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(200, 16, 16))
    assert np.allclose(power(images[:, None].astype(float)).mean(0), 16 * 16 * images.var(), rtol=0.15)  # white
    real, other = (Items("image", images[i::2].astype(np.uint8), None, {"levels": 256}) for i in (0, 1))
    base = Spectrum().read(other, real, real).values["spectrum"]
    blurred = (images[1::2] + np.roll(images[1::2], 1, 2)) // 2
    board = np.clip(images[1::2] + 80 * (np.indices((16, 16)).sum(0) % 2), 0, 255)
    for fault in (blurred, board):
        assert Spectrum().read(Items("image", fault.astype(np.uint8)), real, real).values["spectrum"] > 3 * base + 0.3


# texts


def test_distinct_and_self_bleu_know_repetition():
    assert distinct([tuple("aaaaaaaa")]) < 0.25 < distinct([tuple("abcdefgh")])
    assert self_bleu([tuple("the same text")] * 5) == pytest.approx(1.0)
    assert self_bleu([tuple("abcd"), tuple("efgh"), tuple("ijkl")]) < 0.2
    words = ["anna", "bertha", "clara", "dora", "emma", "frieda", "greta", "hanna", "ida", "johanna"]
    real = Items("text", words)
    read = TextDiversity().read(Items("text", ["anna"] * 10), real, real)
    assert read.values["distinct"] < 0.5 and read.values["self_bleu"] > 1
    assert TextDiversity().read(real, real, real).values["length_ratio"] == pytest.approx(1)


def test_self_bleu_matches_nltk_without_smoothing_effects():
    bleu = pytest.importorskip("nltk.translate.bleu_score", reason="nltk is not installed")
    texts = [tuple("abcabcabd"), tuple("abcabdabd"), tuple("abcabcabc")]
    smoothing = bleu.SmoothingFunction().method2
    theirs = [
        bleu.sentence_bleu([t for t in texts if t is not text], text, smoothing_function=smoothing) for text in texts
    ]
    assert self_bleu(texts) == pytest.approx(np.mean(theirs), rel=1e-6)


def test_polynomial_kernel_is_the_definition():
    a, b = normal(3, 5, 0), normal(4, 5, 1)
    assert np.allclose(polynomial(a, b), (a @ b.T / 5 + 1) ** 3)


# self-test


@pytest.fixture(scope="module")
def rows():
    centres = np.repeat(10 * np.eye(5, 8), 120, 0)
    real, reference = centres + normal(600, 8, 0), centres + normal(600, 8, 1)
    return self_test(real, reference, np.tile(centres, (2, 1)) + normal(1200, 8, 2), space="pca")


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_seen_by_some_metric(rows, fault):
    assert [row["metric"] for row in rows if row["faults"][fault]["sees"]]


def test_what_sees_moments_alone_is_known_as_blind_to_modes():
    def rings(seed):
        angle = 2 * np.pi * np.random.default_rng(seed).integers(8, size=300) / 8
        return 3 * np.stack((np.cos(angle), np.sin(angle)), 1) + 0.1 * normal(300, 2, seed + 10)

    real = rings(0)
    filled = spoil(MODELESS, real, real)
    assert np.allclose(filled.mean(0), real.mean(0)) and np.allclose(np.cov(filled.T), np.cov(real.T))
    missed = blind(self_test(real, rings(1), rings(2), space="pca"))
    assert MODELESS in missed["frechet_distance"]
    assert MODELESS not in missed["c2st"] + missed["coverage"] + missed["mmd"]
    one = normal(200, FEW + 1, 0)
    assert all(list(row["faults"]) == list(FAULTS) for row in self_test(one, one[::-1], one, space="pca"))


def test_modes_are_filled_in_where_a_column_is_constant_too():
    real = np.c_[normal(50, 2, 0), np.ones(50)]
    assert np.allclose(np.cov(spoil(MODELESS, real, real).T), np.cov(real.T))


@pytest.mark.slow
def test_the_self_test_knows_what_metrics_are_blind_to(rows):
    missed = blind(rows)
    assert "memoriser" in missed["frechet_distance"] and "memoriser" in missed["precision"]
    assert "memoriser" not in missed["near_copy"] and "memoriser" not in missed["authentic"]
    one = blind(self_test(normal(600, 16, 0), normal(600, 16, 1), normal(1200, 16, 2), space="pca"))
    assert "contracted" not in one["vendi"] + one["recall"] + one["c2st"]
    assert "contracted" in one["precision"] and "contracted" in one["clipped_density"]
    assert "mode dropped" not in missed["coverage"] and "half junk" not in missed["clipped_density"]


def test_honest_items_raise_no_alarm_beyond_the_nominal_rate():
    alarms = []
    for s in range(12):
        real, reference = normal(200, 4, s), normal(200, 4, 100 + s)
        for metric in METRICS:
            for extra in metric.tests(real, reference, s).values():
                alarms += [extra["p"] < 0.05] if "p" in extra else []
    assert np.mean(alarms) < 0.25
