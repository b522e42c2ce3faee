"""A class that two parts share is found without labels, and none where they share nothing."""

import numpy as np

from pofx.apps.shared_code import shared_code


def test_the_class_of_both_parts_is_found():
    g = np.random.default_rng(0)
    which = g.integers(3, size=900)
    a = 3 * np.eye(3)[which] @ g.normal(size=(3, 8)) + g.normal(size=(900, 8))
    b = 3 * np.eye(3)[which] @ g.normal(size=(3, 5)) + g.normal(size=(900, 5))
    table = np.zeros((3, 3))
    np.add.at(table, (shared_code(a, b, 3), which), 1)
    assert table.max(1).sum() > 0.95 * 900


def test_independent_parts_share_nothing():
    g = np.random.default_rng(1)
    assert not shared_code(g.normal(size=(600, 4)), g.normal(size=(600, 3)), 4).any()
