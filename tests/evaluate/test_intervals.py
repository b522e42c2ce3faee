"""Laws of standard errors: what halves can tell and what they cannot, items left out, and how often intervals hold."""

import numpy as np
import pytest

from pofx.evaluate.distances import squared
from pofx.evaluate.measurement import half_sampling, halved, vanishing
from pofx.evaluate.metric import FeatureMetric, metrics
from pofx.evaluate.metrics.vendi import left_out, vendi


def normal(n, d, seed, scale=1.0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale + shift


def test_the_halves_of_a_split_share_no_item_and_blocks_are_split_once():
    seen = []

    def statistics(a, b):
        seen.append((set(a[:, 0]), set(b[:, 0])))
        return {"value": 0.0}

    x, y = np.arange(9.0)[:, None], np.arange(20.0, 30)[:, None]
    halved(statistics, [(x, y), (x, y + 100)], 3)
    for first, again, second, last in zip(*(seen[i::4] for i in range(4)), strict=True):
        assert first[0] == again[0] and second[0] == last[0] and not first[0] & second[0]
        assert len(first[0]) == len(second[0]) == 4 and not first[1] & second[1]


def test_a_squared_mean_difference_has_its_true_error_at_equality_and_away():
    """|mean x - mean y|² of d = 40: its variance is 8 d / n² at equality, and 8 |shift|² / n more with a shift."""
    n, d = 200, 40
    statistic = lambda a, b: {"value": float(np.square(a.mean(0) - b.mean(0)).sum())}  # noqa: E731
    for shift in (0.0, 0.5):
        pairs = [(normal(n, d, s, shift=shift), normal(n, d, 100 + s)) for s in range(8)]
        truth = np.sqrt(8 * d / n**2 + 8 * d * shift**2 / n)
        stated = np.mean([vanishing(statistic, x, y, 40, s)["value"] for s, (x, y) in enumerate(pairs)])
        assert 0.8 < stated / truth < 1.25
        halves = np.mean([halved(statistic, [pair], 40, s)["value"] for s, pair in enumerate(pairs)])
        assert 0.85 < halves / truth < (1.8 if shift == 0 else 1.2)


def test_half_sampling_of_a_mean():
    x, y = normal(400, 1, 0), normal(400, 1, 1)
    assert half_sampling(lambda a, b: float(a.mean()), x, y, 300) == pytest.approx(x.std() / 20, rel=0.12)


def test_entropies_with_an_item_left_out_equal_those_computed_anew():
    x = normal(40, 3, 0)
    kernel = np.exp(-squared(x, x))
    anew = [np.log(vendi(np.delete(np.delete(kernel, i, 0), i, 1))) for i in range(40)]
    assert np.allclose(left_out(kernel), anew, atol=1e-6)
    assert np.allclose(left_out(np.ones((9, 9))), 0, atol=1e-6)
    assert np.allclose(left_out(np.eye(9)), np.log(8), atol=1e-6)


CUT = {("clipped_density", "equal"), ("clipped_coverage", "equal")}  # at 1, where most draws stand: never left out


@pytest.mark.slow
@pytest.mark.parametrize("metric", metrics(FeatureMetric), ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("setting", ["equal", "wider and shifted"])
def test_intervals_of_95_per_cent_hold_the_truth_in_90_to_98(metric, setting):
    from peers import bench

    trust = bench("interval_coverage")
    for row in trust.covered(metric, setting, 200):
        if (row["score"], setting) in CUT:
            assert row["covered"] >= 0.9
        else:  # 200 draws of a true 0.95 err by 0.015
            assert 0.90 <= row["covered"] <= 0.995, row
