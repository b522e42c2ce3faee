"""Sound: the mu-law, reading files and folders, clips of any length, the built-in set, wav files out, whole runs."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import pofx
from pofx.core.errors import DataError, UsageError
from pofx.core.random import Streams
from pofx.data import recordings
from pofx.data.dataset import content_hash, split, take
from pofx.data.kind import digest, named
from pofx.data.overlap import overlaps
from pofx.data.recordings import read_recording
from pofx.data.sources import load, whole
from pofx.data.vectors import Vectors
from pofx.represent.audio import MuLaw, linear, mu_law

RATE = 8000
TINY = {"width": 8, "skip": 8, "layers": 3, "taps": 4, "crop": 64}


def tone(pitch, samples, loudness=0.5):
    return (loudness * np.sin(2 * np.pi * pitch * np.arange(samples) / RATE)).astype(np.float32)


def tones(n, seed=0, low=80, high=200):
    """Clips of two pitches and many lengths, with their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    clips = [tone((400, 1000)[k], int(rng.integers(low, high)), rng.uniform(0.3, 0.9)) for k in labels]
    return clips, labels


def wav(samples, rate=RATE):
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def pcm(clip):
    return np.round(clip * 32767).astype(np.int16)


def test_the_mu_law_is_monotone_and_its_levels_come_back():
    levels = np.arange(256)
    assert np.array_equal(mu_law(linear(levels)), levels)
    assert np.all(np.diff(linear(levels)) > 0) and linear(levels)[[0, 255]].tolist() == [-1.0, 1.0]
    x = np.linspace(-1, 1, 10_001)
    back = linear(mu_law(x))
    slope = np.log(256) * (1 + 255 * np.abs(x)) / 255  # of the inverse: dx / df
    assert np.all(np.abs(back - x) <= slope / 255 * 1.05 + 1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32"])
def test_every_coding_of_a_wav_reads_as_the_same_sound(dtype):
    clip = tone(440, 500)
    if dtype == "float32":
        coded = clip
    elif dtype == "uint8":
        coded = np.round(clip * 128 + 128).astype(np.uint8)
    else:
        coded = np.round(clip * -float(np.iinfo(dtype).min)).astype(dtype)
    read, rate = recordings.read_recording(wav(coded), "a.wav")
    assert rate == RATE and read.dtype == np.float32
    assert np.abs(read - clip).max() < (0.005 if dtype == "uint8" else 1e-4)
    stereo, _ = recordings.read_recording(wav(np.stack((coded, coded), 1)), "a.wav")
    assert np.allclose(stereo, read, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("code", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "ULAW", "G721_32", "NMS_ADPCM_16"])
def test_no_sound_is_cut_and_no_filler_added_where_codings_have_blocks(code, channels):
    """A header states samples of all channels, or of one: half of a stereo recording was lost."""
    soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
    wave = (0.5 * np.sin(np.arange(1000) / 3)).astype(np.float32)
    file = io.BytesIO()
    try:
        soundfile.write(file, np.stack([wave] * channels, 1), RATE, format="WAV", subtype=code)
    except soundfile.LibsndfileError:
        pytest.skip("the coding has one channel")
    content = file.getvalue()
    filler = 10 if code == "IMA_ADPCM" else 0  # which its writer states as sound
    place = content.index(b"fact") + 8
    for stated in (None, 0, 1000, 10**6):
        given = content if stated is None else content[:place] + stated.to_bytes(4, "little") + content[place + 4 :]
        found, _ = read_recording(given, "a.wav")
        assert len(found) >= 1000 and np.abs(found[:1000] - wave).mean() < 0.06
        assert stated != 1000 or len(found) == 1000
        assert stated is not None or len(found) == 1000 + filler


def test_other_formats_read_through_soundfile():
    soundfile = pytest.importorskip("soundfile", reason="the extra audio is not installed")
    clip = tone(440, 3000)
    for name, form, code, error in (("a.flac", "FLAC", None, 1e-4), ("a.wav", "WAV", "PCM_24", 1e-5),
                                    ("a.wav", "WAV", "ULAW", 0.03), ("a.ogg", "OGG", "VORBIS", 0.1)):  # fmt: skip
        file = io.BytesIO()
        soundfile.write(file, clip, RATE, format=form, subtype=code)
        read, rate = recordings.read_recording(file.getvalue(), name)
        assert rate == RATE and np.abs(read[: len(clip)] - clip).max() < error, (name, code)


def test_folders_and_zips_hold_clips_with_the_labels_that_their_names_state(tmp_path):
    clips, labels = tones(12)
    for i, (clip, k) in enumerate(zip(clips, labels, strict=True)):
        for path in (tmp_path / "names" / f"{'ab'[k]}_x_{i:02d}.wav", tmp_path / "folders" / "ab"[k] / f"{i:02d}.wav"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wav(pcm(clip)))
    (tmp_path / "names" / "cover.png").write_bytes(b"a picture beside the sound is left alone")
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as file:
        for path in sorted((tmp_path / "names").iterdir()):
            file.write(path, path.name)
    for source in ("names", "folders", "names.zip"):
        items = whole(tmp_path / source)
        assert items.kind == "audio" and items.facts["rate"] == RATE
        assert items.facts["label_names"] == ["a", "b"] and len(items) == 12
        sizes = {len(c) for c in items.values}
        assert sizes == {len(c) for c in clips}
        assert np.bincount(items.labels).tolist() == np.bincount(labels).tolist()
    data = load(tmp_path / "names.zip")
    assert data.card.kind == "audio" and sum(data.card.sizes.values()) == 12
    assert recordings.labels_of(["a_1.wav", "b_2.wav", "c_3.wav", "d_4.wav"]) is None  # every name its own label
    assert recordings.labels_of(["a_1.wav", "a_2.wav", "b_1.wav", "other.wav"]) is None


def test_pictures_stay_pictures(tmp_path):
    from PIL import Image

    for i in range(3):
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(tmp_path / f"{i}.png")
    assert whole(tmp_path).kind == "image"


def test_one_long_recording_is_cut_into_pieces_that_leave_nothing_out(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "PIECE", 100)
    clip = tone(300, 1234)
    (tmp_path / "long.wav").write_bytes(wav(pcm(clip)))
    items = whole(tmp_path / "long.wav")
    assert [len(c) for c in items.values] == [100] * 12 + [34]
    assert np.abs(np.concatenate(items.values) - clip).max() < 1e-4


def test_what_cannot_be_read_is_named(tmp_path):
    good = wav(pcm(tone(440, 300)))
    for name, content, said in (("a.wav", b"RIFFnothing", "not a whole"), ("a.wav", good[:30], "not a whole")):
        with pytest.raises(DataError, match=said):
            recordings.read_recording(content, name)
    (tmp_path / "a.wav").write_bytes(good)
    (tmp_path / "b.wav").write_bytes(wav(pcm(tone(440, 300)), 16000))
    with pytest.raises(DataError, match=r"a.wav has 8000|b.wav has 16000"):
        whole(tmp_path)
    with pytest.raises(DataError, match="no recordings"):
        recordings.read_recordings(_empty(tmp_path), (".wav",))
    x = tone(440, 100)
    bad = {"finite": [np.append(x, np.nan)], "lie in": [3 * x], "no clips": [], "empty": [x[:0]],
           "channels last": [np.zeros((2, 50), np.float32)], "signed integers": [np.zeros(5, bool)]}  # fmt: skip
    for said, values in bad.items():
        with pytest.raises(DataError, match=said):
            pofx.audio(values, RATE)
    for rate in (0, 8000.5, True):
        with pytest.raises(UsageError, match="rate=16000"):
            pofx.audio([x], rate)
    with pytest.raises(DataError, match="one per clip"):
        pofx.audio([x], RATE, labels=np.zeros((2, 1, 4)))


def _empty(path):
    (path / "nothing").mkdir()
    return path / "nothing"


def test_clips_of_any_length_are_one_event_and_come_back():
    clips, labels = tones(9)
    view = MuLaw.fit(pofx.audio(clips, RATE, labels))
    assert view.length == 1024 and view.event.largest == 257 and view.event.end == 256
    assert view.dims == round(np.mean([len(c) for c in clips]))
    raw = view.tensor(clips)
    assert raw.shape == (9, 1024) and raw.dtype == torch.int16
    x, ladj = view.encode(raw, Streams(0, 9))
    assert torch.all(ladj == 0)
    back = view.items(view.decode(x))
    assert all(np.array_equal(mu_law(a), mu_law(b)) for a, b in zip(clips, back, strict=True))
    with pytest.raises(DataError, match="length=1025"):
        view.tensor([np.zeros(1025, np.float32)])
    known = view.prefix(clips[0][:50])
    assert known.shape == (1, 1024) and torch.all(known[0, 50:] == -1) and torch.equal(known[0, :50], x[0, :50])
    alike = MuLaw.fit(pofx.audio([tone(300, 128)] * 3, RATE))
    assert alike.event.largest == 256 and alike.event.end is None and alike.length == 128
    with pytest.raises(DataError, match="clips here have 128"):
        alike.tensor([tone(300, 100)])
    longer = MuLaw.fit(pofx.audio([tone(300, 128)] * 3, RATE), length=200)
    assert longer.ends and longer.tensor([tone(300, 128), tone(300, 200)]).shape == (2, 200)


def test_clips_that_differ_in_their_middle_are_different_data():
    a = tone(300, 5000)
    b = a.copy()
    b[2500] = 0.123
    one, two = (pofx.audio([x, x, x], RATE) for x in (a, b))
    assert content_hash({"train": one}) != content_hash({"train": two}) and digest(one) != digest(two)
    exact, _, _ = overlaps({"train": one, "validation": two, "test": one})
    assert exact == {"train-validation": 0, "train-test": 3, "validation-test": 0}


def test_feature_vectors_tell_pitches_apart_and_bear_silence():
    clips, labels = tones(40, low=300, high=900)
    vectors = Vectors.fit(pofx.audio(clips, RATE, labels))
    x = vectors(clips)
    assert x.shape == (40, 32 * 16 + 1) and np.isfinite(x).all()
    centres = np.stack([x[labels == k].mean(0) for k in range(2)])
    assert np.array_equal(((x[:, None] - centres) ** 2).sum(-1).argmin(1), labels)
    assert np.isfinite(vectors([np.zeros(0, np.float32), np.zeros(3, np.float32)])).all()


def test_clips_are_written_as_wav_files(tmp_path):
    clips, _ = tones(3)
    kind, items = named("audio"), pofx.audio(clips, RATE)
    kind.write(items, tmp_path / "out")
    for i, clip in enumerate(clips):
        rate, read = wavfile.read(tmp_path / "out" / f"{i}.wav")
        assert rate == RATE and read.dtype == np.int16 and np.abs(read / 32767 - clip).max() < 1e-4
    kind.write(items, tmp_path / "all.wav")
    assert len(wavfile.read(tmp_path / "all.wav")[1]) == sum(map(len, clips)) + 2 * RATE // 4
    with pytest.raises(UsageError, match="folder"):
        kind.write(items, tmp_path / "a.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    clips, labels = tones(60)
    folder = tmp_path_factory.mktemp("run") / "tones"
    items = pofx.audio(clips, RATE, [("low", "high")[k] for k in labels])
    pofx.fit(items, "wavenet", steps=20, condition="label", progress=False, out=folder, validations=1, **TINY)
    return folder


def test_a_run_draws_scores_completes_and_reloads_clips(run):
    artifact = pofx.load(run)
    drawn = artifact.sample(4, "low", seed=1, temperature=0.9)
    assert all(c.dtype == np.float32 and c.ndim == 1 and np.abs(c).max(initial=0) <= 1 for c in drawn)
    again = pofx.load(run).sample(2, "low", seed=1, temperature=0.9)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=False))
    clips, labels = tones(5, seed=9)
    score = artifact.score(clips, [("low", "high")[k] for k in labels])
    assert score.density.name == "EXACT" and "256-level" in score.measure and np.isfinite(score.value).all()
    alone = artifact.score(clips[3:4], [("low", "high")[labels[3]]])
    assert alone.value[0] == pytest.approx(score.value[3], rel=1e-5)
    begun = artifact.sample(2, "high", prefix=clips[0][:40])
    assert all(np.array_equal(mu_law(c[:40]), mu_law(clips[0][:40])) for c in begun)


def test_the_command_line_writes_wav_files(run, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from pofx.cli.main import app

    monkeypatch.chdir(tmp_path)
    for out, found in ((["--out", "x.wav"], "x.wav"), (["--out", "clips"], "clips/0.wav"), ([], "samples/0.wav")):
        done = CliRunner().invoke(app, ["sample", str(run), "-n", "2", "-c", "low", *out])
        assert done.exit_code == 0, done.output
        assert wavfile.read(tmp_path / found)[0] == RATE


@pytest.mark.slow
def test_evaluation_audit_and_report_can_read_sound(run, tmp_path):
    from pofx.comparison.job import keep
    from pofx.core.files import read_json
    from pofx.evaluate.audit import audit
    from pofx.evaluate.suite import evaluate

    clips, labels = tones(240)
    data = split(pofx.audio(clips, RATE, [("low", "high")[k] for k in labels]), "tones")
    found = {(m["metric"]): m["value"] for m in evaluate(pofx.load(run), data, seed=0, force=True)["measurements"]}
    assert 0 < found["bits_per_dim"] < 9 and "frechet" in " ".join(found)
    findings = {f["check"]: f["result"] for f in audit(pofx.load(run), data, force=True)}
    assert findings["seeds"] == "ok" and findings["finite density"] == "ok", findings
    plain = read_json(tmp_path / keep(clips[:4], data.train, tmp_path, "samples"))
    assert plain["columns"][0] == "seconds" and plain["samples"][0][0] == pytest.approx(len(clips[0]) / RATE, abs=1e-3)


def test_a_signal_per_clip_leads_the_model_through_fit():
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((12, 2, 6)).astype(np.float32)
    clips = [np.repeat(s[0], 16).clip(-3, 3) / 3 for s in signals]
    data = split(pofx.audio(clips, RATE, signals), "led")
    assert data.train.labels.shape[1:] == (2, 6) and data.card.hash
    artifact = pofx.fit(data, "wavenet", steps=3, condition="label", progress=False, validations=1, **TINY)
    assert artifact.model.condition.shape == (2, 6) and artifact.model.frames is not None
    drawn = artifact.sample(2, signals[:2], seed=0)
    other = artifact.sample(2, signals[2:4], seed=0)
    assert len(drawn[0]) == 96 and not np.array_equal(drawn[0], other[0])
    with pytest.raises(pofx.PofxError, match="give one per item"):
        artifact.sample(2)


@pytest.mark.skipif("POFX_DATA" not in os.environ, reason="spoken_digits.zip lies in $POFX_DATA")
def test_spoken_digits_keep_their_official_test_split():
    data = load("spoken-digits")
    assert data.card.sizes == {"train": 2400, "validation": 300, "test": 300} and data.train.facts["rate"] == 8000
    for items, each in ((data.train, 240), (data.validation, 30), (data.test, 30)):
        assert np.bincount(items.labels).tolist() == [each] * 10
    assert data.train.facts["label_names"] == list("0123456789")
    assert sum(len(c) for c in data.test.values) == 1_034_030
    view = MuLaw.fit(take(data.train, np.arange(2400)))
    levels = np.concatenate([mu_law(c) for c in data.test.values])
    shares = np.bincount(np.concatenate([mu_law(c) for c in data.train.values]), minlength=256) + 0.5
    bits = -np.log2(shares / shares.sum())[levels].mean()
    assert bits == pytest.approx(7.18, abs=0.02)  # their order-0 entropy
    assert view.tensor(data.test.values).shape == (300, view.length)


def test_without_the_file_spoken_digits_say_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("POFX_DATA", str(tmp_path))
    with pytest.raises(DataError, match="Free Spoken Digit"):
        load("spoken-digits")


def test_channels_are_averaged_with_one_note_for_all_recordings(tmp_path):
    for i in range(3):
        (tmp_path / f"{i}.wav").write_bytes(wav(np.stack((tone(440, 300), tone(220, 300)), 1)))
    with pytest.warns(UserWarning) as seen:
        whole(tmp_path)
    assert [str(one.message).split("/")[-1] for one in seen] == [
        "0.wav has 2 channels, which are averaged (2 more are such)"
    ]
