"""pofx audio: voices learned from recordings, melodies learned from MIDI files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import aligned, number_of, show
from pofx.declared import Folder, Overwrite, Reads, Seed

ROLLS = 8  # melodies that are drawn as piano rolls
MIDI = (".mid", ".midi")

GROUP = "Uses"
EXAMPLE = "pofx audio spoken-digits --words seven,three --out runs/voice"


def audio(
    source: Annotated[
        str, typer.Argument(help="spoken-digits, recordings in folders by word, tunes, or .mid files."), Reads()
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model and what it draws, as .wav (and .mid)."), Folder()],
    run: Annotated[
        Path | None, typer.Option(help="The folder of such a model, instead of training one."), Reads(run=True)
    ] = None,
    words: Annotated[str | None, typer.Option(help="Words to draw, with commas between; by default all.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Of spoken-digits: who speaks; by default any.")] = None,
    begin: Annotated[Path | None, typer.Option(help="Of melodies: a .mid that is continued."), Reads()] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Of recordings: samples per second to resample to.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="nsf, edm, flow-matching … of voices; gpt … of melodies.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Clips of each word, or melodies.")] = 3,
    minutes: Annotated[float | None, typer.Option(help="Of training (default: 1).")] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn voices or melodies and draw new ones that are heard, judged beside real ones."""
    from pofx.core.config import entry
    from pofx.core.errors import UsageError

    if model is not None:
        entry(model)
    if run is not None and (model is not None or minutes is not None):
        raise UsageError("--run is trained already: leave --model and --minutes out")
    how: dict[str, Any] = {"model": model, "minutes": 1.0 if minutes is None else minutes, "n": n, "seed": seed}
    path = Path(source)
    scores = sorted(f for f in (path.iterdir() if path.is_dir() else [path]) if f.suffix.lower() in MIDI)
    if source == "tunes" or scores:
        if words is not None or speaker is not None or rate is not None:
            raise UsageError("melodies have no words, speakers or rates: leave --words, --speaker and --rate out")
        return _melodies(scores, out, run, begin, **how)
    if begin is not None:
        raise UsageError("--begin continues melodies: give .mid files, or tunes, as the source")
    return _voices(source, out, run, words, speaker, rate, **how)


def _melodies(
    scores: list[Path], out: Path, trained: Path | None, begin: Path | None, *, model: str | None, minutes: float,
    n: int, seed: int,
) -> str:  # fmt: skip
    import numpy as np

    from pofx.apps.music import continued, learn, melody, rolls, sound, windows_of
    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.data.kinds.audio import wav
    from pofx.data.midi import CLASSES, midi, notes_of, tunes
    from pofx.represent.tokens import Tokens

    begun = None if begin is None else melody(begin)
    if trained is not None:
        run = load(trained)
        if not isinstance(run.representation, Tokens) or run.representation.classes != CLASSES:
            raise UsageError(f"{trained} models {run.representation.kind} items, not melodies: give a run of melodies")
    else:
        grids, files = windows_of(scores) if scores else (tunes(3000)[0], None)
        run, found = learn(grids, files=files, model=model or "gpt", minutes=minutes, progress=True, seed=seed)
        show("nats per step: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
        run.save(out / "model")
    drawn = run.sample(n, seed=seed, with_condition=False) if begun is None else continued(run, begun, n, seed=seed)
    rolls(drawn[:ROLLS], out / "melodies.png")
    for i, grid in enumerate(drawn):
        (out / f"{i}.mid").write_bytes(midi(notes_of(grid)))
        (out / f"{i}.wav").write_bytes(wav(sound(np.asarray(grid)), 8000))
    return number_of(n, "melody", "melodies")


def _voices(
    source: str, out: Path, trained: Path | None, words: str | None, speaker: str | None, rate: int | None, *,
    model: str | None, minutes: float, n: int, seed: int,
) -> str:  # fmt: skip
    import numpy as np
    import pandas as pd

    from pofx.apps.voice import Voice, judged
    from pofx.core.errors import DataError, UsageError
    from pofx.core.event import Continuous
    from pofx.data.dataset import joined
    from pofx.data.kinds.audio import wav
    from pofx.data.sources import load
    from pofx.runs.models import model_entry

    if model is not None and not any(issubclass(event, Continuous) for event in model_entry(model).model.events):
        raise UsageError(
            f"{model} draws sound sample by sample: train it by `pofx train {source} -m {model} --condition label`; "
            "here spectrograms are drawn, by nsf, edm, flow-matching …"
        )
    data = load(source, reading={"rate": rate})
    if "rate" not in data.train.facts:
        raise DataError(f"{source} holds {data.card.kind} items, not recordings: give a folder of .wav files by word")
    names = np.array(data.train.facts.get("label_names") or ["sound"]).astype(str)
    real = joined([data.train, data.validation])
    labels = [np.zeros(len(part), int) if part.labels is None else part.labels for part in (real, data.test)]
    given = pd.DataFrame({"word": names[labels[0]]})
    if source == "spoken-digits":
        from pofx.data.spoken import speakers

        given["speaker"] = speakers("train") + speakers("validation")
    elif speaker is not None:
        raise UsageError("only spoken-digits states who speaks: leave --speaker out")
    wanted = [digit(word.strip(), names) for word in words.split(",")] if words else list(names)
    for word in wanted:
        if word not in names:
            raise UsageError(f"--words must be one of {', '.join(names)} (got '{word}')")
    if speaker is not None and speaker not in set(given["speaker"]):
        raise UsageError(f"--speaker must be one of {', '.join(sorted(set(given['speaker'])))} (got '{speaker}')")
    if trained is not None:
        voice = Voice.load(trained)
        if voice.rate != int(real.facts["rate"]):
            raise UsageError(
                f"the voice of {trained} has {voice.rate} samples per second, {source} has {real.facts['rate']}: pass "
                f"--rate {voice.rate}"
            )
    else:
        voice = Voice(model or "nsf", minutes=minutes, progress=True, seed=seed)
        voice.fit(real.values, int(real.facts["rate"]), given).save(out / "model")
    wanted_clips = pd.DataFrame({"word": [word for word in wanted for _ in range(n)]})
    if "speaker" in given:
        drawn = np.random.default_rng(seed).choice(given["speaker"], len(wanted_clips))
        wanted_clips["speaker"] = drawn if speaker is None else speaker
    clips = voice.draw(len(wanted_clips), wanted_clips, seed=seed)
    for i, clip in enumerate(clips):
        name = "-".join([str(i), *map(str, wanted_clips.iloc[i])])
        (out / f"{name}.wav").write_bytes(wav(clip, voice.rate))
    if len(names) > 1:
        rows = {
            "real": judged(data.test.values, names[labels[1]], real, given["word"]),
            "real, words exchanged": judged(
                data.test.values, np.random.default_rng(seed).permutation(names[labels[1]]), real, given["word"]
            ),
            voice.model: judged(clips, wanted_clips["word"], real, given["word"]),
        }
        show(aligned(pd.DataFrame(rows).T, na_rep="NaN"))
    return number_of(len(clips), "clip")


def digit(word: str, names: Any) -> str:
    """A number that is written out, where the recordings are named by figures: seven is 7."""
    from pofx.apps.spoken_pairs import NUMBERS

    return str(NUMBERS.index(word.lower())) if word not in names and word.lower() in NUMBERS else word
