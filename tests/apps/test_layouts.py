"""Solids in two stages: a bound that is one, codes that are certain, and the same draws after saving."""

import numpy as np
import pytest

from pofx.apps.layouts import CLASSES, Solids
from pofx.core.errors import DataError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")
G = np.random.default_rng(0)


def bars(n=40, side=4):
    found = np.zeros((n, side, side, side), np.uint8)
    for solid in found:
        a, b = G.integers(1, side, 2)
        solid[:a, :b, : G.integers(1, side)] = 1
    return found


def test_two_stages_bound_the_density_and_are_kept(tmp_path):
    model = Solids(steps=12, options={"width": 12, "depth": 2, "reach": 1, "far": 1, "validations": 1})
    with pytest.raises(UsageError, match="fit first"):
        model.sample(1)
    with pytest.raises(DataError, match="at least"):
        model.fit(bars(5), bars(2))
    model.fit(bars(), bars(6))
    solids = bars(5)
    codes = model.codes(solids)
    assert codes.min() >= 0 and codes.max() < CLASSES and np.array_equal(codes, model.codes(solids))
    assert np.isfinite(model.log_prob(solids)).all() and (model.log_prob(solids) < 0).all()
    drawn = model.sample(3, seed=1)
    assert drawn.shape == (3, 4, 4, 4) and set(np.unique(drawn)) <= {0, 1}
    again = Solids.load(model.save(tmp_path / "m"))
    assert np.array_equal(again.sample(3, seed=1), drawn)
    assert np.allclose(again.log_prob(solids), model.log_prob(solids), atol=1e-3)
