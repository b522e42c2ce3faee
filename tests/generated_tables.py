"""Generated tables of every type of column, missing values and heavy values among them."""

import numpy as np
import pandas as pd

MAKERS = {
    "normal": lambda r, n: r.normal(size=n) * 10.0 ** r.integers(-3, 6),
    "skewed": lambda r, n: r.lognormal(0, 2, n),
    "float32": lambda r, n: r.normal(size=n).astype(np.float32),
    "heavy": lambda r, n: np.where(r.random(n) < 0.5, 0.0, r.normal(size=n)),
    "whole": lambda r, n: r.integers(-5, 10 ** r.integers(1, 6), n),
    "uint8": lambda r, n: r.integers(0, 200, n).astype(np.uint8),
    "decimal": lambda r, n: np.round(r.normal(size=n), 2),
    "lattice": lambda r, n: r.integers(0, 30, n) / 7 + 0.1,
    "logs": lambda r, n: np.log(0.1 + r.integers(0, 9, n)),
    "constant": lambda r, n: np.full(n, 3.5),
    "bool": lambda r, n: r.random(n) < 0.3,
    "words": lambda r, n: r.choice(["a", "b", "ü x", ""], n),
    "mixed objects": lambda r, n: np.array([(1, "1x", True)[i] for i in r.integers(0, 3, n)], dtype=object),
    "ordered": lambda r, n: pd.Categorical(r.choice(["lo", "hi"], n), categories=["lo", "mid", "hi"], ordered=True),
    "Int64": lambda r, n: pd.array(r.integers(0, 9, n), dtype="Int64"),
    "boolean": lambda r, n: pd.array(r.random(n) < 0.5, dtype="boolean"),
    "dates": lambda r, n: pd.Timestamp("2001-03-04") + pd.to_timedelta(r.integers(0, 10**7, n), unit="s"),
    "zoned": lambda r, n: pd.date_range("2020-01-01", periods=n, freq="h", tz="Europe/Oslo"),
    "written": lambda r, n: pd.date_range("2020-01-01", periods=n, freq="D").strftime("%Y-%m-%d"),
}
ABLE = (
    "normal",
    "heavy",
    "whole",
    "decimal",
    "lattice",
    "words",
    "Int64",
    "boolean",
    "dates",
    "written",
    "zoned",
    "ordered",
)


def generated(seed: int) -> pd.DataFrame:
    r = np.random.default_rng(seed)
    n = int(r.integers(30, 200))
    names = ["normal", *r.choice(list(MAKERS), int(r.integers(1, 6)))]
    frame = pd.DataFrame({f"{name} {i}": pd.Series(MAKERS[name](r, n)) for i, name in enumerate(names)})
    for column in frame.columns:
        if column.rsplit(" ", 1)[0] in ABLE and r.random() < 0.4:
            kind = frame[column].dtype
            frame[column] = (
                frame[column]
                .astype(float if kind.kind in "iu" and isinstance(kind, np.dtype) else kind)
                .mask(pd.Series(r.random(n) < 0.2))
            )
    return frame
