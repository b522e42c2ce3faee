"""Statistics of human judgements: coverage under simulated raters who differ from each other, and closed forms."""

import numpy as np
import pandas as pd
import pytest

from pofx.core.errors import DataError
from pofx.evaluate.human import agreement, bradley_terry, confidence_sequence, rate, sensitivity


def raters_of(rng, people, each, share=0.6, spread=8.0):
    """Answers of people whose own rates are beta-distributed around `share`."""
    own = rng.beta(share * spread, (1 - share) * spread, people)
    return np.concatenate([rng.random(each) < p for p in own]), np.repeat(np.arange(people), each)


def test_intervals_of_rates_cover_and_intervals_over_answers_would_not():
    rng = np.random.default_rng(0)
    covered, naive, rounds = 0, 0, 600
    for _ in range(rounds):
        hits, who = raters_of(rng, 25, 30)
        found = rate(hits, who)
        covered += found.low <= 0.6 <= found.high
        wide = 1.96 * np.sqrt(hits.mean() * (1 - hits.mean()) / len(hits))
        naive += abs(hits.mean() - 0.6) <= wide
    assert 0.93 <= covered / rounds <= 0.97
    assert naive / rounds < 0.75


def test_equal_answers_of_all_still_have_an_interval():
    found = rate([1.0] * 40, np.repeat(np.arange(10), 4))
    assert found.value == 1.0
    assert found.low < 1.0
    with pytest.raises(DataError, match="got 0"):
        rate([], [])


def votes_of(rng, strengths, people, each, side=0.3, spread=0.5):
    names = [f"m{i}" for i in range(len(strengths))]
    rows = []
    for person in range(people):
        own = strengths + spread * rng.standard_normal(len(strengths))
        for _ in range(each):
            a, b = rng.choice(len(strengths), 2, replace=False)
            p = 1 / (1 + np.exp(-(own[a] - own[b] + side)))
            rows.append((person, names[a], names[b], "left" if rng.random() < p else "right"))
    return pd.DataFrame(rows, columns=["rater", "left", "right", "choice"])


@pytest.mark.slow
def test_intervals_of_differences_of_strengths_cover():
    rng = np.random.default_rng(1)
    strengths, rounds, covered, sides = np.array([0.6, 0.0, -0.6]), 150, 0, []
    for _ in range(rounds):
        found = bradley_terry(votes_of(rng, strengths, 25, 24, spread=0.3))
        _, low, high = found.difference("m0", "m1")
        covered += low <= 0.6 * 0.98 <= high  # a spread of 0.3 logits between raters shrinks the average by 2 %
        sides.append(found.side)
    assert 0.9 <= covered / rounds <= 0.99
    assert np.mean(sides) == pytest.approx(0.3, abs=0.03)


def test_a_model_that_always_wins_has_a_finite_strength_and_ranks_follow_certain_differences():
    rng = np.random.default_rng(2)
    votes = votes_of(rng, np.array([20.0, 0.0, 0.0]), 12, 20)
    found = bradley_terry(votes)
    assert np.isfinite(found.values).all()
    assert found.rank("m0") == 1
    assert found.rank("m1") == found.rank("m2") == 2
    assert found.values.sum() == pytest.approx(0, abs=1e-9)


def test_a_narrow_lead_is_fragile_and_a_wide_one_is_not():
    def pair(left_wins, right_wins):
        choices = ["left"] * left_wins + ["right"] * right_wins
        rows = [("a", "b", c) if i % 2 == 0 else ("b", "a", {"left": "right", "right": "left"}[c])
                for i, c in enumerate(choices)]  # fmt: skip
        frame = pd.DataFrame(rows, columns=["left", "right", "choice"])
        return frame.assign(rater=np.arange(len(frame)) % 10)

    assert bradley_terry(pair(102, 98)).fragile <= 5
    assert bradley_terry(pair(180, 20)).fragile is None


def test_models_without_a_common_opponent_are_refused():
    votes = pd.DataFrame({"rater": [0, 0], "left": ["a", "c"], "right": ["b", "d"], "choice": ["left", "tie"]})
    with pytest.raises(DataError, match="connects a with c, d"):
        bradley_terry(votes)


def test_sensitivity_and_bias_are_those_of_the_equal_variance_model():
    rng = np.random.default_rng(3)
    d, c, n = 1.0, 0.4, 200
    frames = []
    for person in range(30):
        generated = np.arange(n) % 2 == 0
        seen = rng.standard_normal(n) + np.where(generated, d / 2, -d / 2)
        frames.append(pd.DataFrame({"rater": person, "generated": generated, "answered": seen > c}))
    found = sensitivity(pd.concat(frames))
    assert found["d_prime"][1] <= d <= found["d_prime"][2]
    assert found["criterion"][1] <= c <= found["criterion"][2]


def test_krippendorffs_alpha_of_his_own_example_and_of_chance():
    # Krippendorff, 2011, "Computing Krippendorff's alpha-reliability", example B: nominal, two observers, 10 units
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    frame = pd.DataFrame({"unit": [*range(10)] * 2, "answer": first + second})
    assert agreement(frame) == pytest.approx(0.095, abs=0.001)
    rng = np.random.default_rng(4)
    chance = pd.DataFrame({"unit": np.repeat(np.arange(2000), 2), "answer": rng.integers(0, 2, 4000)})
    assert agreement(chance) == pytest.approx(0, abs=0.06)
    assert agreement(pd.DataFrame({"unit": [1, 2], "answer": [0, 1]})) is None


def test_the_confidence_sequence_holds_at_every_look():
    rng = np.random.default_rng(5)
    false, rounds = 0, 200
    for _ in range(rounds):
        hits = np.cumsum(rng.random(300) < 0.5)
        looks = (confidence_sequence(int(hits[n - 1]), n) for n in range(10, 301, 10))
        false += any(not low <= 0.5 <= high for low, high in looks)
    assert false / rounds <= 0.06
    assert confidence_sequence(0, 0) == (0.0, 1.0)
    low, high = confidence_sequence(700, 1000)
    assert 0.6 < low < 0.7 < high < 0.8
