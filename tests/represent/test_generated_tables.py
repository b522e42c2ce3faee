"""Forty generated tables: every column type, missing values, heavy values; all views take them and score any row."""

import warnings

import numpy as np
import pytest
import torch

import pofx
from generated_tables import generated
from pofx.core.event import count
from pofx.core.random import Streams
from pofx.data.kinds.table import table
from pofx.represent.table import Table
from pofx.represent.table_bins import Bins
from pofx.represent.table_heads import Heads


@pytest.mark.parametrize("seed", range(40))
def test_a_generated_table_goes_through_all_views(seed):
    x = generated(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        items = table(x.head(len(x) * 3 // 4))
        views = (Table.fit(items), Bins.fit(items), Heads.fit(items))
    for view in views:
        raw = view.tensor(x)
        event, ladj = view.encode(raw, Streams(0, len(x)))
        assert torch.isfinite(ladj).all() and count(event) == len(x)
        back = view.items(view.drawn(event, Streams(1, len(x))))
        assert back.dtypes.astype(str).tolist() == items.values.dtypes.astype(str).tolist()
        impossible, most = view.impossible(x), len(items.values)
        assert all(impossible.values()) and not [row for row in impossible if row < most]
        assert back.head(most).isna().equals(items.values.isna())


@pytest.mark.parametrize("seed", range(0, 40, 20))
def test_a_generated_table_is_fitted_and_scored(seed):
    x = generated(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in ("independent", "copula"):
            run = pofx.fit(x, model, steps=1, progress=False)
            value = run.log_prob(x)
            assert not np.isnan(value).any() and np.isfinite(value).mean() > 0.9
            assert len(run.sample(5)) == 5
