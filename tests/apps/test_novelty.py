"""Novel images: plain NLL fails on simpler ones, corrections mend it; p-values hold."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import pofx
from pofx.apps.novelty import Novelty, description_lengths
from pofx.cli.main import app
from pofx.core.errors import DataError, UsageError


def textures(n, smooth, seed):
    """16 x 16 grey images of noise with the same mean and spread; `smooth` sets how fine it is."""
    g = np.random.default_rng(seed)
    x = gaussian_filter(g.normal(size=(n, 16, 16)), (0, smooth, smooth), mode="wrap")
    x = x / x.std((1, 2), keepdims=True) * (40 / (1 + smooth**2)) + 128
    return x.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def run():
    return pofx.fit(pofx.images(textures(600, 0.7, 0)), "gmm", components=1, steps=1, progress=False)


def auroc(judge, usual, odd):
    truth = np.repeat([0, 1], [len(usual), len(odd)])
    return roc_auc_score(truth, np.concatenate([judge.decision_function(x) for x in (usual, odd)]))


def test_simpler_images_are_more_probable_and_corrections_find_them(run):
    """The failure of plain likelihood on images simpler than those of training, and what mends it."""
    usual, simple = textures(100, 0.7, 1), textures(100, 1.4, 2)
    held = textures(200, 0.7, 3)
    plain = Novelty(run, score="density").fit(held)
    assert auroc(plain, usual, simple) < 0.2, "simple images have the higher density"
    for score in ("typicality", "complexity"):
        assert auroc(Novelty(run, score=score).fit(held), usual, simple) > 0.8, score
    background = pofx.fit(pofx.images(textures(300, 1.4, 4)), "gmm", components=1, steps=1, progress=False)
    assert auroc(Novelty(run, score="ratio", background=background).fit(held), usual, simple) > 0.8


def test_more_complex_images_are_found_too(run):
    usual, noisy, held = textures(100, 0.7, 1), textures(100, 0.3, 2), textures(200, 0.7, 3)
    for score in ("typicality", "density"):
        assert auroc(Novelty(run, score=score).fit(held), usual, noisy) > 0.9, score


def test_p_values_flag_usual_images_as_rarely_as_stated(run):
    judge = Novelty(run, score="typicality").fit(textures(400, 0.7, 3))
    p = judge.p_values(textures(400, 0.7, 5))
    for level in (0.05, 0.2):
        assert (p <= level).mean() == pytest.approx(level, abs=0.04)


def test_description_lengths_grow_with_complexity():
    flat, noise = (
        np.zeros((1, 16, 16), np.uint8),
        np.random.default_rng(0).integers(0, 256, (1, 16, 16)).astype(np.uint8),
    )
    assert description_lengths(flat)[0] < 200 < 1300 < description_lengths(noise)[0] < 2000
    assert description_lengths(["a" * 100])[0] < description_lengths(["kq3j9x" * 3 + "zvb71"])[0]


def test_wrong_uses_are_refused(run):
    with pytest.raises(UsageError, match="score must be"):
        Novelty(run, score="other")
    with pytest.raises(UsageError, match="background"):
        Novelty(run, score="ratio")
    with pytest.raises(UsageError, match="reference is missing"):
        Novelty(run).decision_function(textures(2, 1.0, 0))
    with pytest.raises(DataError, match="at least 20"):
        Novelty(run).fit(textures(3, 1.0, 0))


def test_the_verb_reports_plain_density_beside(tmp_path):
    for name, smooth in (("usual", 0.7), ("simple", 2.0)):
        np.save(tmp_path / f"{name}.npy", textures(300, smooth, 0))
    data = str(tmp_path / "usual.npy")
    pofx.fit(data, "gmm", components=1, steps=1, out=tmp_path / "run", progress=False)
    call = ["novelty", str(tmp_path / "run"), str(tmp_path / "simple.npy"), "--out", str(tmp_path / "o.csv")]
    found = CliRunner().invoke(app, [*call, "--against", data])
    assert found.exit_code == 0, found.output
    assert "density alone" in found.output and (tmp_path / "o.csv").read_text().startswith("index,score,p_value")
