"""Voices and melodies: a clip survives its code, words and levels are those that were learned, MIDI is exact."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from pofx.apps.music import by_file, continued, in_scale, learn, melody, read_tunes, sound
from pofx.apps.sound_stream import stream_sound
from pofx.apps.voice import Voice, decibels, judged
from pofx.cli.main import app
from pofx.core.errors import DataError, Unsupported, UsageError
from pofx.data.kinds.audio import audio, wav
from pofx.data.midi import CLASSES, midi, notes_of, read_midi, tokens_of, tunes
from pofx.maths.spectrogram import griffin_lim, istft, stft

pytestmark = pytest.mark.filterwarnings("ignore")
RATE = 4000
QUICK = {"steps": 120, "options": {"width": 32, "bins": 4, "dropout": 0.0, "validations": 2}}


def clips(n=120, seed=0):
    """Two words: a tone that rises and one that falls, of different lengths, faint before and after."""
    g = np.random.default_rng(seed)
    made, words = [], []
    for i in range(n):
        rises, t = i % 2 == 0, np.arange(int(g.integers(900, 1500))) / RATE
        low, high = g.uniform(250, 350), g.uniform(900, 1100)
        start, end = (low, high) if rises else (high, low)
        tone = np.sin(2 * np.pi * (start * t + (end - start) * t**2 / (2 * t[-1])))
        noise = 0.004 * g.normal(size=len(t))
        made.append((0.2 * g.uniform(0.5, 1) * tone * np.sin(np.pi * t / t[-1]) + noise).astype(np.float32))
        words.append("up" if rises else "down")
    return made, pd.DataFrame({"word": words})


@pytest.fixture(scope="module")
def voice():
    return Voice(**QUICK).fit(*[clips()[0], RATE, clips()[1]])


def test_a_sound_is_recovered_from_its_spectrum_and_nearly_from_its_magnitudes():
    x = clips(1)[0][0][:1024].astype(float)
    spectrum = stft(x, 128, 32)
    assert np.allclose(istft(spectrum, 128, 32)[: len(x)], x, atol=1e-6)
    again = griffin_lim(np.abs(spectrum), 128, 32)
    error = np.abs(stft(again, 128, 32)) - np.abs(spectrum)
    assert np.linalg.norm(error) < 0.1 * np.linalg.norm(spectrum)


@pytest.mark.slow
def test_a_clip_survives_its_code(voice):
    clip = clips(2, 5)[0][0]
    again = voice.decode(voice.encode(clip))
    assert len(again) == pytest.approx(len(clip), rel=0.01)
    assert decibels([again]) == pytest.approx(decibels([clip]), abs=0.5)


@pytest.mark.slow
def test_drawn_clips_are_the_words_as_loud_and_as_long(voice):
    made, given = clips()
    wanted = pd.DataFrame({"word": ["up", "down"] * 15})
    again = [voice.decode(voice.encode(clip)) for clip in made]  # a judge that knows how decoded clips sound
    found = judged(voice.draw(30, wanted), wanted["word"], audio(again, RATE), given["word"])
    assert found["recognised"] > 0.6  # of two words, after a second of training
    assert abs(found["level off by, dB"]) < 3 and found["lengths W1, share"] < 0.15
    with pytest.raises(UsageError, match="speaker"):
        voice.draw(2, {"speaker": "me"})


@pytest.mark.slow
def test_a_saved_voice_draws_the_same(voice, tmp_path):
    voice.save(tmp_path / "v")
    again = Voice.load(tmp_path / "v")
    pairs = zip(voice.draw(2, {"word": "up"}, seed=3), again.draw(2, {"word": "up"}, seed=3), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "it is empty"), (b"MThd\0\0\0\6\0\1", "it is cut"), (b"RIFFxxxx", "does not begin with MThd"),
     (b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\3\0\x90\x40", "it is cut")],
)  # fmt: skip
def test_a_damaged_score_is_named_with_its_fault_and_the_mend(tmp_path, content, fault):
    (tmp_path / "bad.mid").write_bytes(content)
    with pytest.raises(DataError, match=rf"bad\.mid is no MIDI file .*{fault}.*: write it again, or leave it out"):
        read_midi(tmp_path / "bad.mid")


def test_notes_survive_tokens_and_midi(tmp_path):
    notes = [(0, 4, 60), (4, 2, 62), (8, 8, 72)]
    assert notes_of(tokens_of(notes, 16)) == notes
    assert notes_of([1, 1, 62, 1, 0, 1]) == [(2, 2, 60)]
    (tmp_path / "x.mid").write_bytes(midi(notes))
    assert read_midi(tmp_path / "x.mid") == notes
    (tmp_path / "y.mid").write_bytes(midi(notes)[:30])
    with pytest.raises(DataError, match="MIDI"):
        read_midi(tmp_path / "y.mid")
    for i, grid in enumerate(tunes(12)[0]):
        (tmp_path / f"t{i}.mid").write_bytes(midi(notes_of(grid)))
    assert read_tunes(sorted(tmp_path.glob("t*.mid"))).shape == (12, 64)


def test_files_of_other_programs_are_read(tmp_path):
    head, track = midi([(0, 4, 60), (4, 4, 64)])[:14], midi([(0, 4, 60), (4, 4, 64)])[14:]
    path = tmp_path / "x.mid"
    path.write_bytes(head + b"XFIH\x00\x00\x00\x02ab" + track)  # a chunk of another kind before the track
    assert read_midi(path) == [(0, 4, 60), (4, 4, 64)]
    path.write_bytes(head[:11] + b"\x03" + head[12:] + track)  # fewer tracks than stated
    assert read_midi(path) == [(0, 4, 60), (4, 4, 64)]
    hanging = b"MTrk\x00\x00\x00\x09\x00\x90\x3c\x5a\x83\x60\xff\x2f\x00"  # a note that nothing ends
    path.write_bytes(head + hanging)
    assert read_midi(path) == [(0, 4, 60)]
    path.write_bytes(head + track[:-12])
    with pytest.raises(DataError, match="it is cut"):
        read_midi(path)


def test_tunes_keep_their_rules():
    grids, modes = tunes(50)
    assert in_scale(grids, modes) == 1.0 > in_scale(grids, 1 - modes)
    assert grids.max() < CLASSES and all(notes_of(grid)[-1][2] % 12 == 0 for grid in grids)
    clip = sound(grids[0])
    assert np.abs(clip).max() <= 1 and clip.std() > 0.01


def test_melodies_are_learned_beside_ngrams():
    grids, modes = tunes(200, bars=1)
    run, found = learn(grids, modes, steps=30, options={"width": 32, "layers": 1, "validations": 2})
    assert {"gpt", "1-grams", "3-grams", "5-grams"} == set(found) and found["gpt"] < found["1-grams"] + 1
    assert run.sample(3, [0, 1, 1], with_condition=False).shape == (3, 16)


def test_the_verb(tmp_path, monkeypatch):
    for i, (clip, word) in enumerate(zip(*(part for part in (clips(60)[0], clips(60)[1]["word"])), strict=True)):
        (tmp_path / "sounds" / word).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / word / f"{i}.wav").write_bytes(wav(clip, RATE))
    words = ["audio", str(tmp_path / "sounds"), "--out", str(tmp_path / "v"), "--minutes", "0.03", "-n", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "recognised" in done.output and len(list((tmp_path / "v").glob("*.wav"))) == 4
    wrong = CliRunner().invoke(app, [*words, "--words", "left"])
    assert wrong.exit_code != 0
    assert "words exchanged" in done.output
    again = [*words[:2], "--run", str(tmp_path / "v"), "--words", "up", "-n", "3", "--out", str(tmp_path / "again")]
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 0 and len(list((tmp_path / "again").glob("*.wav"))) == 3, done.output
    sampled = CliRunner().invoke(app, [*words[:2], "--model", "wavenet", "--out", str(tmp_path / "no")])
    assert "pofx train" in str(sampled.exception)
    other = CliRunner().invoke(app, [*again[:-1], str(tmp_path / "no"), "--rate", "2000"])
    assert "--rate 4000" in str(other.exception)


def test_melodies_of_files_are_continued_and_files_are_held_out(tmp_path):
    for i, grid in enumerate(tunes(20, bars=8)[0]):
        (tmp_path / f"{i}.MID").write_bytes(midi(notes_of(grid)))
    words = ["audio", str(tmp_path), "--minutes", "0.02", "-n", "2", "--model", "gpt"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    more = ["--run", str(tmp_path / "out"), "--begin", str(tmp_path / "3.MID"), "-n", "2"]
    done = CliRunner().invoke(app, [*words[:2], *more, "--out", str(tmp_path / "more")])
    assert done.exit_code == 0, done.output
    begun = melody(tmp_path / "3.MID")
    found = melody(tmp_path / "more" / "0.mid")
    assert np.array_equal(found[: len(begun) - 4], begun[:-4])  # its last note may be held on
    items = audio([np.zeros(4) + i / 40 for i in range(30)], RATE)
    for files in (np.arange(30) // 3, np.zeros(30, int)):
        data = by_file(items, files, 0)
        sizes = [len(part) for part in data.splits().values()]
        assert sum(sizes) == 30 and min(sizes) >= 3


def test_a_melody_is_followed_by_half_a_window():
    grids, _ = tunes(30, bars=1)
    run, _ = learn(grids, steps=2, options={"width": 16, "layers": 1, "validations": 0})
    found = continued(run, grids[0], 3)
    assert found.shape == (3, 24) and np.array_equal(found[:, :16], np.repeat(grids[:1], 3, 0))
    assert continued(run, grids[0][:5], 1).shape == (1, 13)


def test_streamed_chunks_are_the_clip_of_the_same_seed():
    import pofx

    sounds = audio([clip[: 60 + i] for i, clip in enumerate(clips(40)[0])], RATE, labels=[i % 2 for i in range(40)])
    run = pofx.fit(sounds, "wavenet", steps=3, width=8, layers=3, condition="label", progress=False)
    whole = run.sample(1, [1], seed=5, with_condition=False)[0]
    chunks = list(stream_sound(run, [1], chunk=16 / RATE, seed=5))
    assert all(len(chunk) == 16 for chunk in chunks[:-1])
    assert np.array_equal(np.concatenate([*chunks, np.zeros(0, np.float32)]), whole)
    begun = whole[:20]
    after = np.concatenate([*stream_sound(run, [1], prefix=begun, seed=6), np.zeros(0, np.float32)])
    assert np.array_equal(after, run.sample(1, [1], seed=6, prefix=[begun], with_condition=False)[0][20:])
    with pytest.raises(UsageError, match="chunk"):
        stream_sound(run, [1], chunk=0)
    with pytest.raises(Unsupported, match="sample by sample"):
        stream_sound(pofx.fit(np.zeros((40, 2)) + np.arange(40)[:, None], "gmm", steps=1))


def test_digits_are_named_by_words_or_figures():
    from pofx.apps.audio import digit

    figures = np.array(["0", "7"])
    assert [digit(word, figures) for word in ("seven", "Zero", "7", "left")] == ["7", "0", "7", "left"]
    assert digit("seven", np.array(["seven", "up"])) == "seven"


def test_melodies_are_drawn_as_piano_rolls(tmp_path):
    from PIL import Image

    from pofx.apps.music import rolls

    rolls([np.array([62, 1, 0, 64] * 4), np.zeros(16, int)], tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as found:
        assert found.width > 500
        assert np.asarray(found.convert("RGB")).std() > 5
