"""pofx audio: voices learned from recordings, melodies learned from MIDI files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.core.printed import aligned, show
from pofx.declared import Folder, Overwrite, Reads, Seed

ROLLS = 8  # melodies that are drawn as piano rolls

GROUP = "Uses"
EXAMPLE = "pofx audio spoken-digits --words seven,three --out runs/voice"


def audio(
    source: Annotated[
        str, typer.Argument(help="spoken-digits, recordings in folders by word, tunes, or .mid files."), Reads()
    ],
    out: Annotated[Path, typer.Option(help="A folder: the model and what it draws, as .wav (and .mid)."), Folder()],
    words: Annotated[str | None, typer.Option(help="Words to draw, with commas between; by default all.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Of spoken-digits: who speaks; by default any.")] = None,
    model: Annotated[str | None, typer.Option(help="nsf, edm, flow-matching … of voices; gpt … of melodies.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=10_000, help="Clips of each word, or melodies.")] = 3,
    minutes: Annotated[float, typer.Option(help="Of training.")] = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> str:
    """Learn voices or melodies and draw new ones that are heard, judged beside real ones."""
    import numpy as np

    from pofx.core.config import entry
    from pofx.core.errors import DataError, UsageError

    if model is not None:
        entry(model)
    path = Path(source)
    scores = sorted(path.glob("*.mid")) if path.is_dir() else [path] if path.suffix == ".mid" else []
    if source == "tunes" or scores:
        if words is not None or speaker is not None:
            raise UsageError("melodies have neither words nor speakers: leave --words and --speaker out")
        from pofx.apps.music import learn, read_tunes, rolls, sound
        from pofx.data.kinds.audio import wav
        from pofx.data.midi import midi, notes_of, tunes

        grids = read_tunes(scores) if scores else tunes(3000)[0]
        run, found = learn(grids, model=model or "gpt", minutes=minutes, progress=True, seed=seed)
        show("nats per step: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))
        drawn = run.sample(n, seed=seed)
        rolls(drawn[:ROLLS], out / "melodies.png")
        for i, grid in enumerate(drawn):
            (out / f"{i}.mid").write_bytes(midi(notes_of(grid)))
            (out / f"{i}.wav").write_bytes(wav(sound(np.asarray(grid)), 8000))
        run.save(out / "model")
        return f"{n} melodies"

    import pandas as pd

    from pofx.apps.voice import Voice, judged
    from pofx.data.dataset import joined
    from pofx.data.kinds.audio import wav
    from pofx.data.sources import load

    data = load(source)
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
    voice = Voice(model or "nsf", minutes=minutes, progress=True, seed=seed).fit(
        real.values, int(real.facts["rate"]), given
    )
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
            voice.model: judged(clips, wanted_clips["word"], real, given["word"]),
        }
        show(aligned(pd.DataFrame(rows).T, na_rep="NaN"))
    voice.save(out / "model")
    return f"{len(clips)} clips"


def digit(word: str, names: Any) -> str:
    """A number that is written out, where the recordings are named by figures: seven is 7."""
    from pofx.apps.spoken_pairs import NUMBERS

    return str(NUMBERS.index(word.lower())) if word not in names and word.lower() in NUMBERS else word
