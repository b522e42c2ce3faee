"""Laws of the artifact: what a condition means; given items are never read under a condition drawn at random."""

import numpy as np
import pytest

import pofx
from pofx.artifact import Artifact
from pofx.cli.main import _labels
from pofx.core import config
from pofx.core.errors import Unsupported
from pofx.core.event import Discrete
from pofx.represent.choose import choose

POINTS = np.random.default_rng(0).normal(size=(12, 2))
NAMES = ["-1", "0", "1"]


def conditional(name: str) -> Artifact:
    row = config.entry(name)
    view = choose(pofx.points(POINTS), row.model)
    model = config.build(name, view.event, Discrete((), len(NAMES)), **row.model.small).eval()
    return Artifact(view, model, name, {"label_names": NAMES, "label_frequencies": [1, 1, 1]})


def test_integers_are_class_numbers_and_strings_are_names():
    artifact = conditional("gmm")
    assert artifact.conditions([0, 1, 2], 3, 0).tolist() == [0, 1, 2]
    assert artifact.conditions(np.array([2, 0]), 2, 0).tolist() == [2, 0]
    assert artifact.conditions(["-1", "0", "1"], 3, 0).tolist() == [0, 1, 2]
    assert artifact.conditions("1", 2, 0).tolist() == [2, 2]


def test_labels_of_another_file_are_read_by_name():
    other = pofx.points(POINTS, labels=np.resize([1, -1], 12))  # its classes are numbered 0 and 1
    assert conditional("gmm").conditions(_labels(other), 12, 0).tolist() == [2, 0] * 6


@pytest.mark.parametrize("verb", ["score", "encode", "reconstruct"])
def test_items_without_their_condition_are_refused(verb):
    with pytest.raises(Unsupported, match="condition"):
        getattr(conditional("vae"), verb)(POINTS)


def test_codes_without_their_condition_are_refused():
    artifact = conditional("vae")
    codes = artifact.encode(POINTS, ["0"] * len(POINTS))
    with pytest.raises(Unsupported, match="condition"):
        artifact.decode(codes)
    assert artifact.decode(codes, "0").shape == POINTS.shape
