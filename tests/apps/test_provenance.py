"""Manifests, watermarks, detectors and the page on memorisation: what they state is true at its stated level."""

import io
import json
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import binom, kstest
from typer.testing import CliRunner

import pofx
from pofx.apps import provenance as pr
from pofx.apps.detect import Detector, detect_by_family
from pofx.apps.memorisation import memorisation
from pofx.apps.robustness import CHANGES, curves, jpeg, picture
from pofx.apps.watermark import CodeMark, PixelMark
from pofx.cli.main import app
from pofx.core.errors import DataError, PofxError, UsageError
from pofx.core.items import Items
from pofx.data.kind import take
from pofx.data.sources import load

QUICK = {"steps": 2, "batch_size": 32, "progress": False}
KEY = b"sixteen bytes and more"


@pytest.fixture(scope="module")
def flow():
    return pofx.fit("digits", model="realnvp", layers=4, width=16, blocks=1, **QUICK)


@pytest.fixture(scope="module")
def points():
    return pofx.fit("moons", model="nsf", width=16, bins=4, blocks=1, **QUICK)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def png(value=7):
    stream = io.BytesIO()
    Image.fromarray(np.full((5, 6), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


# --- manifests


def test_a_manifest_is_read_as_it_was_written_and_changes_no_pixel(flow):
    plain = pr.manifest(flow, {"seed": 3})
    content = pr.stamped(png(), plain)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), np.full((5, 6), 7))
    found = pr.provenance(content)
    assert found.manifest["assertions"] == plain["assertions"]
    assert found.manifest["assertions"][0]["data"]["actions"][0]["digitalSourceType"] == "trainedAlgorithmicMedia"
    assert (found.pixels_match, found.signed, found.signature_valid) == (True, False, None)
    assert "unsigned" in found.manifest["note"]
    assert pr.provenance(png()) is None


def keys():
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = private.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    return [(KEY, KEY, b"another key of sixteen"), (secret, public, keys_of_another())]


def keys_of_another():
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("which", [0, 1])
def test_signatures_hold_for_these_pixels_this_manifest_and_this_key_alone(flow, which):
    pytest.importorskip("cryptography")
    private, public, other = keys()[which]
    content = pr.stamped(png(), pr.manifest(flow, {}), private)
    assert pr.provenance(content, public).signature_valid is True
    assert pr.provenance(content, other).signature_valid is False
    assert pr.provenance(content, KEY if which else other).signature_valid is False
    edited = _with_text(content, lambda m: {**m, "created": "2000-01-01T00:00:00Z"})
    assert pr.provenance(edited, public).signature_valid is False
    moved = _with_text(content, lambda m: m, pixels=png(8))
    found = pr.provenance(moved, public)
    assert (found.pixels_match, found.signature_valid) == (False, False)


def _with_text(content, change, pixels=None):
    """The manifest of a PNG, changed, in another PNG."""
    found = dict(pr.provenance(content).manifest)
    text = json.dumps(change(found)).encode()
    chunk = pr.CHUNK.encode() + b"\0\0\0\0\0" + text
    made = len(chunk).to_bytes(4, "big") + b"iTXt" + chunk + zlib.crc32(b"iTXt" + chunk).to_bytes(4, "big")
    plain = pixels or png()
    return plain[:33] + made + plain[33:]


@pytest.mark.parametrize("content", [b"", b"GIF89a", png()[:40], png()[:33] + b"x" * 30])
def test_what_is_no_picture_is_refused(content, flow):
    with pytest.raises(DataError):
        pr.provenance(content)
        pr.stamped(content, {})


def test_short_and_foreign_keys_are_refused(flow):
    with pytest.raises(UsageError, match="at least 16 bytes"):
        pr.stamped(png(), {}, b"short")
    with pytest.raises(UsageError, match="key"):
        pr.stamped(png(), {}, b"-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----")


def test_pictures_of_the_command_line_carry_manifests(flow, tmp_path):
    run, key = flow.save(tmp_path / "run"), tmp_path / "key"
    key.write_bytes(KEY)
    done = CliRunner().invoke(
        app, ["sample", str(run), "-n", "3", "--out", str(tmp_path / "x.png"), "--sign", str(key)]
    )
    assert done.exit_code == 0, done.output
    found = pofx.provenance(tmp_path / "x.png", KEY)
    assert (found.pixels_match, found.signature_valid) == (True, True)
    assert found.manifest["assertions"][1]["data"]["model"] == "realnvp"


# --- watermarks


def test_marks_in_codes_of_an_exact_flow_are_found_in_every_sample():
    x = np.random.default_rng(0).normal(size=(64, 48))
    run = pofx.fit(pofx.points(x), model="realnvp", layers=2, width=16, blocks=1, **QUICK)
    found = CodeMark(run, KEY).detect(CodeMark(run, KEY).sample(50))
    assert (found.p < 1e-9).all()
    assert (found.matches == 48).mean() > 0.9


def test_marked_codes_are_gaussian_and_their_marks_are_found(points, flow):
    mark = CodeMark(flow, KEY)
    z = mark.codes(400, seed=1)
    assert kstest(z.flatten()[::7], "norm").pvalue > 1e-3
    assert abs(np.corrcoef(z[:, :20].T) - np.eye(20)).max() < 0.25  # many patterns: dimensions are not bound together
    assert np.array_equal(mark.codes(5, seed=1), z[:5])
    values = mark.sample(40, seed=1)
    assert (mark.detect(values).p < 1e-3).mean() >= 0.9  # 64 numbers, rounded to 17 levels
    other = CodeMark(flow, b"another key of sixteen").detect(values)
    assert (other.p < 0.01).mean() < 0.1


def test_false_alarms_occur_at_the_nominal_rate_over_keys(flow, digits):
    """For fixed real items; each key's patterns are a fresh draw."""
    values = take(digits.test, np.arange(25)).values
    p = np.concatenate([CodeMark(flow, f"key number {k:06d}", 4).detect(values).p for k in range(40)])
    assert (p <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    q = np.concatenate([PixelMark(f"key number {k:06d}").detect(_large(values)).p for k in range(40)])
    assert (q <= 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(q))


def _large(values):
    """Digits as pictures of 32 x 32."""
    return (np.asarray(values, np.uint16) * 255 // 16).astype(np.uint8).repeat(4, 1).repeat(4, 2)


def test_pixel_marks_withstand_jpeg_and_change_little(digits):
    pictures, mark = _large(digits.test.values[:60]), PixelMark(KEY)
    marked = mark.embed(pictures)
    assert (mark.detect(marked).p < 1e-6).mean() >= 0.95
    assert (mark.detect(jpeg(marked, 75)).p < 1e-6).mean() >= 0.95
    assert (mark.detect(pictures).p < 1e-3).mean() <= 0.05
    error = np.square(marked.astype(float) - pictures).mean()
    assert 10 * np.log10(255**2 / error) > 25
    colour = mark.embed(np.repeat(pictures[..., None], 3, -1))
    assert (mark.detect(colour).p < 1e-6).mean() >= 0.95


def test_p_values_are_those_of_the_binomial_test():
    mark = PixelMark(KEY)
    found = mark.detect(np.zeros((1, 16, 16), np.uint8))
    assert np.isclose(found.p[0], binom.sf(found.matches[0] - 1, found.of, 0.5))


@pytest.mark.slow
def test_what_marks_withstand_is_a_picture(digits):
    items = Items("image", PixelMark(KEY).embed(_large(digits.test.values[:12])), facts={"levels": 256})
    found = curves(PixelMark(KEY), items)
    assert set(CHANGES) < set(found)
    assert found["unchanged"][0] >= found["JPEG quality"]["20"][0]
    assert picture(found).lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: CodeMark(r, b"short"), "at least 8 bytes"),
        (lambda r: CodeMark(r, KEY, 0), "patterns"),
        (lambda r: PixelMark(KEY, 0.5), "strength"),
        (lambda r: PixelMark(KEY).embed(np.zeros((2, 4, 4), np.uint8)), "8 x 8"),
        (lambda r: PixelMark(KEY).detect(np.zeros((2, 9, 9))), "uint8"),
        (lambda r: CodeMark(pofx.fit("digits", model="made", width=16, blocks=1, **QUICK), KEY), "no Gaussian codes"),
    ],
)
def test_marks_that_cannot_be_are_refused(make, message, flow):
    with pytest.raises(PofxError, match=message):
        make(flow)


@pytest.mark.slow
def test_the_verb_writes_samples_and_what_they_withstand(flow, tmp_path):
    run, key = flow.save(tmp_path / "run"), tmp_path / "key"
    key.write_bytes(KEY)
    call = ["watermark", str(run), "--key", str(key), "-n", "6", "--out", str(tmp_path / "marked")]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    assert "6 marked samples" in done.output
    assert {"robustness.svg", "robustness.json", "0.png"} <= {p.name for p in (tmp_path / "marked").iterdir()}
    plain = flow.sample(6, seed=1)
    np.savez(tmp_path / "plain.npz", x=plain, levels=17)
    for items, least, most in (("marked", 4, 6), ("plain.npz", 0, 0)):
        out = tmp_path / "p.csv"
        call = ["detect", str(run), "--items", str(tmp_path / items), "--key", str(key), "--out", str(out)]
        done = CliRunner().invoke(app, [*call, "--level", "0.001"])
        assert done.exit_code == 0 and "marked by this key at 0.001" in done.output, done.output
        assert list(pd.read_csv(out).columns) == ["p_unmarked", "marked"] and len(pd.read_csv(out)) == 6
        assert least <= pd.read_csv(out)["marked"].sum() <= most
    given = ["--items", str(tmp_path / "plain.npz")]
    for wrong in (
        ["--key", str(key)],
        [*given, "--key", str(key), "--mark", "x"],
        [*given, "--mark", "pixel"],
        ["--key", str(tmp_path / "no")],
    ):
        assert isinstance(CliRunner().invoke(app, ["detect", str(run), *wrong]).exception, PofxError), wrong


# --- detection


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr("pofx.apps.detect.TREES", 40)


@pytest.fixture(scope="module")
def makers(digits):
    n, random = 150, np.random.default_rng(0)
    pixels = np.asarray(digits.train.values)
    noisy = np.clip(pixels[:n] + random.integers(-3, 4, (n, 8, 8)), 0, 16).astype(np.uint8)
    shuffled = random.permuted(pixels[n : 2 * n], axis=0)
    copies = pixels[random.permutation(len(pixels))[:n]]
    made = {"noise": noisy, "shuffled": shuffled, "copies": copies}
    return {name: Items("image", v, facts=digits.train.facts) for name, v in made.items()}


@pytest.mark.slow
def test_auc_is_stated_per_unseen_maker_and_false_alarms_hold(digits, makers):
    rows = {row["maker"]: row for row in detect_by_family(digits, makers, level=0.1)}
    assert rows["shuffled"]["auc"] > 0.65
    assert rows["copies"]["low"] <= 0.55  # training items themselves: nothing is to be found
    for row in rows.values():
        assert row["low"] <= row["auc"] <= row["high"]
        assert row["false alarms"] <= 0.1 + 3 * np.sqrt(0.09 / len(digits.test.values))


@pytest.mark.slow
def test_verdicts_refuse_levels_that_cannot_hold(digits, makers):
    detector = Detector.fit(digits, makers)
    p = detector.p_values(digits.test.values)
    assert p.min() >= 1 / (1 + len(digits.validation.values))
    with pytest.raises(UsageError, match="level"):
        detector.verdicts(digits.test.values, 1e-4)


# --- memorisation


def test_copies_are_found_and_stated(digits, flow):
    found = memorisation(flow, digits, n=200)
    assert found.numbers["exact copies"] == 0
    assert found.html().count("<img") == 1

    class Copier(type(flow)):
        def draw(self, n, *args, **options):
            return take(digits.train, np.arange(n))

    copier = Copier(flow.representation, flow.model, flow.name, flow.card)
    assert "Copies" in memorisation(copier, digits, n=200).verdict


@pytest.mark.slow
def test_the_page_of_rows_has_a_table(points):
    found = memorisation(points, load("moons"), n=100)
    assert "<td>training</td>" in found.html()


# --- model card


def test_a_card_states_data_licence_sizes_energy_and_limits(flow, tmp_path):
    import yaml

    text = flow.model_card({"measurements": [{"metric": "fd", "value": 1.5, "stderr": 0.1}]})
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "pofx"
    assert header["license"] == "cc-by-4.0"
    for part in (
        "1,437 train",
        "CC BY 4.0",
        "Wh",
        "not metered",
        "Intended use",
        "Limits",
        "| fd |  | 1.5 ± 0.1 |",
        "bibtex",
    ):
        assert part in text, part
    run = flow.save(tmp_path / "run")
    done = CliRunner().invoke(app, ["card", str(run), "--out", str(tmp_path / "README.md")])
    assert done.exit_code == 0, done.output
    assert "None are stored" in (tmp_path / "README.md").read_text()


def test_runs_that_need_conditions_are_tried_under_those_of_held_out_rows(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=200)
    frame = pd.DataFrame({"x": x.round(3), "y": (2 * x + random.normal(0, 0.1, 200)).round(3)})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    for seed in (0, 1):
        how = {"condition": ["x"], "width": 8, "layers": 1, "steps": 3, "seed": seed, "progress": False}
        run = pofx.fit(tmp_path / "rows.csv", "nsf", out=tmp_path / f"r{seed}", **how)
    assert memorisation(run, n=50).numbers["samples"] == 50
    done = CliRunner().invoke(app, ["detect", str(tmp_path / "r0"), str(tmp_path / "r1"), "-n", "40"])
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_pictures_of_another_size_are_refused(flow, tmp_path):
    run = flow.save(tmp_path / "run")
    Image.fromarray(np.zeros((20, 10), np.uint8)).save(tmp_path / "large.png")
    done = CliRunner().invoke(app, ["detect", str(run), "--items", str(tmp_path / "large.png"), "-n", "30"])
    assert isinstance(done.exception, DataError) and "shape (8, 8)" in str(done.exception)
