"""Feature spaces are found wherever they are defined; progress of an evaluation is that of every long call."""

import inspect

import numpy as np
import pytest

import pofx
from pofx.core.errors import UsageError
from pofx.core.items import Items
from pofx.core.progress import Progress
from pofx.data.dataset import split
from pofx.data.sources import load
from pofx.evaluate.arrangement import arrange
from pofx.evaluate.audit import audit
from pofx.evaluate.features import check_spaces, fit_spaces, main_of
from pofx.evaluate.space import Space
from pofx.evaluate.suite import compare_samples, controls, evaluate


@pytest.fixture(scope="module")
def digits():
    return load("digits")


class Halves(Space):
    """A space of a program: the ink of the upper and the lower half."""

    name = "halves"
    kinds = ("image",)

    @classmethod
    def fit(cls, train, *, given="", seed=0, folder=None):
        return cls({"dims": 2}, folder=folder)

    def features(self, values):
        return np.stack([half.mean((1, 2)) for half in np.split(np.asarray(values, float), 2, axis=1)], 1)


def test_a_space_of_a_program_or_a_file_is_used_by_its_name(digits, tmp_path):
    file = tmp_path / "mine.py"
    body = inspect.getsource(Halves).replace("Halves", "Mine").replace('"halves"', '"mine"')
    file.write_text(f"import numpy as np\nfrom pofx.evaluate.space import Space\n\n\n{body}")
    first, second = fit_spaces(digits.train, ["halves", f"{file}:Mine"], folder=tmp_path)
    assert np.array_equal(first.of(digits.test), second.of(digits.test)) and first.of(digits.test).shape == (180, 2)
    assert first.hash != second.hash and first.label.startswith("halves-")
    assert main_of(fit_spaces(digits.train, ["halves", "pca"])).name == "pca" and main_of([first]) is first
    plan = arrange(digits, 100)
    found = compare_samples(digits.validation.values, digits, plan, [first])
    assert {"c2st", "closest_record"} & {m.metric for m in found if m.space == first.label} == {"c2st"}
    with pytest.raises(UsageError, match="one of image"):
        fit_spaces(Items("points", np.zeros((9, 2))), ["halves"])
    with pytest.raises(UsageError, match="there is no file"):
        fit_spaces(digits.train, ["none.py:Mine"])
    assert "halves" not in check_spaces(digits.train)  # no default


@pytest.mark.slow
def test_progress_is_reported_like_that_of_fit_or_not_at_all(digits, capsys):
    seen = []
    controls(digits, n=60, spaces=["pca"], progress=seen.append)
    shares = [now.share for now in seen]
    assert all(isinstance(now, Progress) for now in seen) and shares == sorted(shares) and shares[-1] == 1.0
    assert {"feature space pca", "control row memoriser"} <= {now.phase for now in seen}
    with pytest.raises(UsageError, match="progress must be"):
        controls(digits, n=60, spaces=["pca"], progress="yes")
    capsys.readouterr()
    points = np.random.default_rng(0).normal(size=(300, 2))
    data = split(pofx.points(points), "points")
    run = pofx.fit(data, model="gmm", steps=1, progress=False)
    evaluate(run, data, n=40, spaces=["pca"], likelihood_seconds=0.5, progress=False)
    audit(run, data, progress=False)
    assert capsys.readouterr() == ("", "")
    audit(run, data, progress=seen.append)
    assert seen[-1].share == 1.0
