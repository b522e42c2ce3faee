"""A description that an artifact of an earlier version holds gives a model for the weights that it holds."""

import json
import warnings

import pytest

import saved_layouts
from pofx.core.config import entries

SAVED = json.loads(saved_layouts.FILE.read_text())


@pytest.mark.parametrize("case", SAVED)
def test_a_saved_description_still_has_its_weights(case):
    """An option that is new needs a value of old (`unstated`) where it changes what is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = saved_layouts.again(case, SAVED[case])
    assert saved_layouts.layout(model) == SAVED[case]["layout"]


def test_every_model_has_a_saved_layout():
    named = {case.split()[0] for case in SAVED}
    assert set(entries()) <= named, f"run python tests/saved_layouts.py ({sorted(set(entries()) - named)})"
