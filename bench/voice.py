"""Spoken digits drawn as spectrograms: `POFX_DATA=… python bench/voice.py [--model nsf] [--minutes 1]`."""

import argparse

import numpy as np
import pandas as pd

from pofx.apps.voice import Voice, judged
from pofx.data.dataset import joined
from pofx.data.sources import load
from pofx.data.spoken import speakers

if __name__ == "__main__":
    cli = argparse.ArgumentParser(description=__doc__)
    cli.add_argument("--model", default="nsf")
    cli.add_argument("--minutes", type=float, default=1.0)
    cli.add_argument("--out")
    args = cli.parse_args()
    data = load("spoken-digits")
    names = np.array(data.test.facts["label_names"])
    real = joined([data.train, data.validation])
    who = speakers("train") + speakers("validation")
    given = pd.DataFrame({"word": names[real.labels], "speaker": who})
    voice = Voice(args.model, minutes=args.minutes).fit(real.values, real.facts["rate"], given)
    asked = pd.DataFrame({"word": names[data.test.labels], "speaker": speakers("test")})
    clips = voice.draw(len(asked), asked, seed=1)
    again = [voice.decode(voice.encode(clip), i) for i, clip in enumerate(data.test.values)]
    some = list(zip(real.values[::4], given["word"][::4], strict=True))
    flat = {word: np.mean([voice.encode(c) for c, w in some if w == word], axis=0) for word in names}
    mean = [voice.decode(flat[word], i) for i, word in enumerate(asked["word"])]
    rows = {
        "real test clips": data.test.values, "real, through the codec": again, "mean of the word": mean,
        f"{args.model}, {voice.run.card['training']['steps']} steps": clips,
    }  # fmt: skip
    table = {name: judged(c, asked["word"], real, given["word"]) for name, c in rows.items()}
    print(pd.DataFrame(table).T.round(3).to_string())
    by_speaker = judged(clips, asked["speaker"], real, who)
    print("speaker recognised:", round(by_speaker["recognised"], 3))
    if args.out:
        voice.save(args.out)
