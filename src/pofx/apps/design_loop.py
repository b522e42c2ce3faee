"""Discovery in a loop: a generative model proposes, a test measures, the model learns from what was good.

Candidates come from a density of the best designs so far (the cross-entropy method, Rubinstein, 1999; for sequences
CbAS, see `steered`), so that they are designs like those that work; a surrogate ranks them and a batch is picked one
after the other. The test is a function, a trained oracle, or a person who fills in a column of the record, a .csv
that is the whole state: a loop that was stopped goes on from it. Random search, a Gaussian process with expected
improvement and TPE (Bergstra et al., 2011) are the floors at equal calls.
"""

import io
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pofx.apps.surrogate import Forest, Gaussian, improvement, latin
from pofx.core.errors import DataError, PofxError, UsageError
from pofx.core.options import once
from pofx.data.dialect import dialect_of, text_of
from pofx.data.frames import read_frame
from pofx.data.typed import typed

ROUND, SCORE, ITEM = "round", "score", "item"
FAILED = "failed"  # what a person writes where a test gave nothing
KEEP = 0.25  # share of the designs that the density is fitted to
POOL = 600  # candidates of a batch


class Space(ABC):
    """Designs of one sort: how they are written into a record, proposed and ranked."""

    columns: list[str]

    @abstractmethod
    def first(self, n: int, seed: int) -> list[Any]:
        """n designs before anything is known."""

    @abstractmethod
    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        """n new designs, given scores of others; larger is better, NaN failed."""

    def check(self, designs: list[Any]) -> None:  # noqa: B027  (most spaces have no limits)
        """Warn of designs that a person wrote and this space would not propose."""

    @abstractmethod
    def row(self, design: Any) -> dict[str, Any]:
        """A design as columns."""

    @abstractmethod
    def design(self, row: Mapping[str, Any]) -> Any:
        """The design of a row."""


class Vectors(Space):
    """Real numbers by name, each within its bounds: {"temperature": (20, 90)}."""

    def __init__(self, bounds: Mapping[str, tuple[float, float]], model: str = "kde") -> None:
        """Args:
        model: the density of good designs, a name of `pofx models`.
        """
        self.columns = list(bounds)
        self.low, self.high = (np.array([float(b[i]) for b in bounds.values()]) for i in (0, 1))
        self.model = model
        if own := [name for name in self.columns if name in (ROUND, SCORE)]:
            raise UsageError(f"{own[0]} is a column of the record itself: give the parameter another name")
        if not bounds or not (self.low < self.high).all() or not np.isfinite([self.low, self.high]).all():
            raise UsageError(f"bounds must be low..high with low below high (got {dict(bounds)}): -p x=0..1")

    def first(self, n: int, seed: int) -> list[Any]:
        return list(self._real(latin(n, len(self.columns), seed)))

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        x, there = self._unit(np.stack(designs)), np.isfinite(scores)
        if there.sum() < 2:
            return self.first(n, seed)
        x, y = x[there], scores[there]
        generator = np.random.default_rng(seed)
        d = x.shape[1]
        elite = x[np.argsort(-y)[: max(d + 2, round(KEEP * len(y)))]]
        near = np.clip(
            elite[generator.integers(len(elite), size=POOL // 3)] + 0.05 * generator.normal(size=(POOL // 3, d)), 0, 1
        )
        pool = np.concatenate((self._drawn(elite, POOL // 3, seed), near, latin(POOL // 3, d, seed + 1)))
        pool = np.unique(pool[~(pool[:, None] == x[None]).all(-1).any(1)], axis=0)
        chosen = improvement(Gaussian(seed), x, y, pool, n)
        return list(self._real(chosen))

    def check(self, designs: list[Any]) -> None:
        x = np.stack(designs)
        for name, values, low, high in zip(self.columns, x.T, self.low, self.high, strict=True):
            beyond = (values < low) | (values > high)
            if beyond.any():
                row = int(beyond.argmax())
                warnings.warn(
                    f"{name} of {int(beyond.sum())} of {len(x)} designs lies outside of {low:g}..{high:g} (row {row}: "
                    f"{values[row]:g}): they are learned from, new ones lie within",
                    stacklevel=3,
                )

    def _drawn(self, elite: np.ndarray, n: int, seed: int) -> np.ndarray:
        """Draws of the density of the elite, within the bounds."""
        from pofx.sklearn import DensityEstimator

        if len(elite) < 5 or (np.ptp(elite, axis=0) < 1e-9).any():
            return latin(n, elite.shape[1], seed + 2)
        density = DensityEstimator(self.model, random_state=seed % (1 << 31), minutes=0.1).fit(elite)
        return np.clip(np.asarray(density.sample(n), float), 0, 1)

    def row(self, design: Any) -> dict[str, Any]:
        return dict(zip(self.columns, np.asarray(design, float).tolist(), strict=True))

    def design(self, row: Mapping[str, Any]) -> Any:
        values = np.array([float(row[c]) for c in self.columns])
        if not np.isfinite(values).all():
            raise ValueError("no finite number")
        return values

    def _real(self, unit: np.ndarray) -> np.ndarray:
        """In units of the parameters, to a ten-thousandth of their ranges: what a person can set."""
        width = self.high - self.low
        tens = 10.0 ** (4 - np.floor(np.log10(width)))
        return np.asarray(np.clip(np.round((self.low + unit * width) * tens) / tens, self.low, self.high))

    def _unit(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((x - self.low) / (self.high - self.low))


class Sequences(Space):
    """Strings of a run: molecules, proteins, texts.

    `clean` brings items into one form (None: not valid), `features` makes vectors of them, `group` states what at most
    a fifth of a batch may share.
    """

    columns = [ITEM]

    def __init__(
        self,
        run: Any,
        *,
        features: Callable[[Sequence[str]], np.ndarray],
        clean: Callable[[Sequence[str]], Sequence[str | None]] | None = None,
        group: Callable[[str], Hashable] | None = None,
        steps: int = 60,
    ) -> None:
        self.run, self.features, self.group, self.steps = run, features, group, steps
        self.clean = clean or (lambda items: items)

    def first(self, n: int, seed: int) -> list[Any]:
        from pofx.apps.steered import new_items

        return new_items(self.run, n, set(), self.clean, seed)

    def pick(self, designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        from pofx.apps.steered import cbas_step, new_items

        found = pd.DataFrame({"item": designs, "score": scores, "round": 0})
        run, _ = cbas_step(self.run, self.run, found, -np.inf, KEEP, self.steps, self.group, max(2, n // 5), seed)
        pool = new_items(run, max(20 * n, 200), set(designs), self.clean, seed)
        pool += [x for x in new_items(self.run, max(10 * n, 100), {*designs, *pool}, self.clean, seed + 1)]
        return self.ranked(pool, designs, scores, n, seed)

    def ranked(self, pool: list[Any], designs: list[Any], scores: np.ndarray, n: int, seed: int) -> list[Any]:
        """The n candidates of which a forest expects most, its uncertainty counted in, at most a fifth of one group."""
        there = np.isfinite(scores)
        if there.sum() < 5 or not pool:
            return pool[:n]
        forest = Forest(seed).fit(self.features([d for d, t in zip(designs, there, strict=True) if t]), scores[there])
        mean, spread = forest.predict(self.features(pool))
        order = np.argsort(-(mean + spread), kind="stable")
        chosen: list[str] = []
        groups: dict[Hashable, int] = {}
        for i in order:
            of = self.group(pool[i]) if self.group is not None else i
            if groups.get(of, 0) < max(1, n // 5):
                groups[of] = groups.get(of, 0) + 1
                chosen.append(pool[i])
            if len(chosen) == n:
                break
        return chosen

    def row(self, design: Any) -> dict[str, Any]:
        return {ITEM: design}

    def design(self, row: Mapping[str, Any]) -> Any:
        return str(row[ITEM])


class Design:
    """The loop; `trials` has a row per design: round, its columns, and its score, empty while it is not known."""

    def __init__(
        self,
        space: Space,
        *,
        batch: int = 10,
        budget: int | None = None,
        minimise: bool = False,
        record: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        """Args:
        batch: designs of a round.
        budget: designs in all; None: as many as are requested.
        minimise: small scores are good.
        record: a .csv that is continued if it exists.
        """
        if batch < 1 or (budget is not None and budget < 1):
            raise UsageError(f"batch and budget must be at least 1 (got {batch} and {budget})")
        self.space, self.batch, self.budget, self.sign = space, batch, budget, -1.0 if minimise else 1.0
        self.record, self.seed = None if record is None else Path(record), seed
        self.trials = pd.DataFrame(columns=[ROUND, *space.columns, SCORE])
        self.separator, self.decimal = ",", "."  # as the record is written
        if self.record is not None and self.record.exists() and self.record.stat().st_size:
            self.trials, self.separator, self.decimal = read_record(self.record, space.columns)

    def scores(self) -> np.ndarray:
        """The score of every trial; NaN where it is missing or failed."""
        values = self.trials[SCORE].map(lambda v: np.nan if str(v).strip().lower() in ("", FAILED) else v)
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
        wrong = values.notna().to_numpy() & ~np.isfinite(numbers)
        if wrong.any():
            commas = pd.to_numeric(values.astype(str).str.replace(",", "."), errors="coerce").notna().to_numpy()
            words = wrong & ~commas  # rather than a number with a decimal comma
            row = int(np.flatnonzero(words if words.any() else wrong)[0])
            raise DataError(f"score of row {row} must be a number or '{FAILED}' (got {self.trials[SCORE].iloc[row]!r})")
        return numbers

    def pending(self) -> pd.DataFrame:
        """The trials that wait for their scores."""
        return self.trials[self.trials[SCORE].map(lambda v: pd.isna(v) or str(v).strip() == "")]

    def propose(self) -> pd.DataFrame:
        """The designs to be tested next, with their row numbers: those that wait, or a new batch.

        Raises:
            UsageError: the budget is spent.
        """
        waiting = self.pending()
        if len(waiting):
            return waiting
        n = self.batch if self.budget is None else min(self.batch, self.budget - len(self.trials))
        if n < 1:
            raise UsageError(f"the budget of {self.budget} designs is spent: raise it, or read the best of them")
        number = 0 if self.trials.empty else int(self.trials[ROUND].max()) + 1
        seed = self.seed + 1000 * number
        designs = self._designs(self.trials)
        if designs:
            self.space.check(designs)
        known = self.sign * self.scores()
        new = self.space.first(n, seed) if not np.isfinite(known).any() else self.space.pick(designs, known, n, seed)
        if not new:
            raise DataError("no new designs were found: the space is exhausted, or the run draws nothing valid")
        if len(new) < n:
            warnings.warn(
                f"{len(new)} of {n} designs were found: others of the space were proposed before, or are not valid",
                stacklevel=2,
            )
        rows = [{ROUND: number, **self.space.row(design), SCORE: np.nan} for design in new]
        more = pd.DataFrame(rows)
        self.trials = (
            more.reindex(columns=self.trials.columns)
            if self.trials.empty
            else pd.concat((self.trials, more), ignore_index=True)
        )
        self.trials[SCORE] = self.trials[SCORE].astype(object)
        self._write()
        return self.pending()

    def _designs(self, trials: pd.DataFrame) -> list[Any]:
        rows = trials.to_dict("records")
        try:
            return [self.space.design({str(k): v for k, v in row.items()}) for row in rows]
        except (TypeError, ValueError):
            for number, row in enumerate(rows):
                for column in self.space.columns:
                    if not _is_number(row[column]):
                        raise DataError(
                            f"{column} of row {number} must be a number (got {row[column]!r}): mend the record"
                        ) from None
            raise

    def update(self, scores: Sequence[float]) -> None:
        """The scores of the trials that wait, in their order; NaN for a test that failed."""
        waiting = self.pending()
        if len(scores) != len(waiting):
            raise UsageError(f"scores must be one for each of {len(waiting)} designs that wait (got {len(scores)})")
        self._note(waiting.index, scores)

    def _note(self, rows: Any, scores: Sequence[float]) -> None:
        for row, score in zip(rows, scores, strict=True):
            self.trials.loc[row, SCORE] = float(score) if np.isfinite(score) else FAILED
        self._write()

    def run(self, test: Callable[[list[Any]], Any], rounds: int) -> "Design":
        """Rounds of proposing, testing and learning; `test` maps designs to scores, or, with arguments called as the
        columns, one design to its score, which is in the record before the next one is tested."""
        for _ in range(rounds):
            if not len(self.pending()) and self.budget is not None and len(self.trials) >= self.budget:
                break
            waiting = self.propose()
            designs, columns = self._designs(waiting), self.space.columns
            if _of_one(test, columns):
                for row, design in zip(waiting.index, designs, strict=True):
                    self._note([row], _tested(test, [design], columns))
            else:
                self.update(_tested(test, designs, columns))
        return self

    def best(self, n: int = 5) -> pd.DataFrame:
        """The n best trials, the best first."""
        order = np.argsort(-self.sign * self.scores(), kind="stable")
        known = np.isfinite(self.scores())
        return self.trials.iloc[[i for i in order if known[i]][:n]]

    def progress(self) -> pd.DataFrame:
        """By round: tests, the mean score, the best of the round and so far."""
        frame = self.trials.assign(**{SCORE: self.scores()})
        side = "max" if self.sign > 0 else "min"
        found = frame.groupby(ROUND)[SCORE].agg(tests="size", mean="mean", best=side)
        found["so far"] = found["best"].cummax() if self.sign > 0 else found["best"].cummin()
        return pd.DataFrame(found)

    def picture(self, path: str | Path) -> Path:
        """Every score by its number, the best so far as a line, rounds apart."""
        from matplotlib.figure import Figure

        from pofx.core.files import write_bytes

        scores = self.sign * self.scores()
        best = np.fmax.accumulate(scores)
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        ax = figure.subplots()
        ax.scatter(np.arange(1, len(scores) + 1), self.sign * scores, s=14, c=self.trials[ROUND], cmap="viridis")
        ax.step(
            np.arange(1, len(scores) + 1), self.sign * best, where="post", color="#c2410c", lw=1.5, label="best so far"
        )
        for edge in np.flatnonzero(np.diff(self.trials[ROUND].to_numpy(float))):
            ax.axvline(edge + 1.5, color="0.85", lw=0.8, zorder=0)
        ax.set_xlabel("tests")
        ax.set_ylabel("score")
        ax.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
        write_bytes(Path(path), buffer.getvalue())
        return Path(path)

    def _write(self) -> None:
        if self.record is not None:
            from pofx.core.files import write_bytes

            buffer = io.StringIO()
            shown = self.trials.assign(**{SCORE: self.trials[SCORE].map(self._written)})
            shown.to_csv(buffer, index=False, sep=self.separator, decimal=self.decimal)
            write_bytes(self.record, buffer.getvalue().encode())

    def _written(self, score: Any) -> Any:
        return str(score).replace(".", self.decimal) if isinstance(score, float) and np.isfinite(score) else score


def read_record(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, str, str]:
    """The trials of a record, and the separator and the decimal sign that it is written with.

    Raises:
        DataError: a column of the designs, or that of the scores, is missing.
    """
    trials = read_frame(path)
    if ROUND not in trials.columns:  # measured before there was a loop
        trials.insert(0, ROUND, 0)
    there = [str(c) for c in trials.columns if c != ROUND]
    if lacking := [c for c in (*columns, SCORE) if c not in there]:
        mend = "it is the record of another loop" if lacking != [SCORE] else "add it, empty where nothing is measured"
        raise DataError(f"{path} lacks {', '.join(lacking)} (its columns are {', '.join(there)}): {mend}")
    before = there[: there.index(SCORE)]
    if free := [c for c in before if c not in columns and pd.api.types.is_numeric_dtype(trials[c])]:
        warnings.warn(
            f"{', '.join(free)} of {path} {'is no parameter' if len(free) == 1 else 'are no parameters'} of this loop: "
            "new designs leave it empty; where it is to be proposed too, give its bounds",
            stacklevel=2,
        )
    trials[SCORE] = _scores(trials[SCORE])
    rounds = pd.to_numeric(trials[ROUND], errors="coerce")  # rows of a person's own may have none
    trials[ROUND] = rounds.where(np.isfinite(rounds), 0).astype(int)
    text = text_of(path)
    separator = dialect_of(text, path.name, {}).separator
    return trials, separator, "," if separator != "," and re.search(r"\d,\d", text) else "."


def _tested(test: Callable[..., Any], designs: list[Any], columns: Sequence[str]) -> list[float]:
    """The scores of a test, or what it raised in one line: the designs still wait in the record. A test whose arguments
    are called as the columns, two or more, is given one design at a time.

    Raises:
        UsageError: the test failed, or returned no numbers.
    """
    try:
        if _of_one(test, columns):
            at = zip(columns, np.asarray(designs[0]), strict=True)
            of = f"one design ({', '.join(f'{k}={v:g}' for k, v in at)})"
            gets = "its values by name and must return a number"
            scores = [test(**dict(zip(columns, np.asarray(one).tolist(), strict=True))) for one in designs]
        else:
            of = f"{len(designs)} designs"
            gets = f"a list of designs ({', '.join(columns)}) and must return a number for each"
            scores = test(designs)
        found = np.asarray(scores, float).reshape(-1)
    except PofxError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise UsageError(
            f"the test of {of} failed ({type(error).__name__}: {error}): it is given {gets}, NaN where it gives nothing"
        ) from error
    return [float(score) for score in found]


def _of_one(test: Callable[..., Any], columns: Sequence[str]) -> bool:
    """Whether a test has an argument for each column, two or more: it is given one design at a time."""
    return len(columns) > 1 and {*_arguments(test)} == {*columns}


def _arguments(test: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments that a function needs."""
    import inspect

    try:
        return tuple(p.name for p in inspect.signature(test).parameters.values() if p.default is p.empty)
    except (TypeError, ValueError):
        return ()


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False


def _scores(column: pd.Series) -> pd.Series:
    """Scores as a person wrote them, a decimal comma too, as numbers; what failed and what is unknown stay."""
    words = column.astype(object).where(column.notna(), "").astype(str)
    known = typed(words.where(words.str.strip().str.lower() != FAILED, ""))
    if not pd.api.types.is_numeric_dtype(known.dtype):
        return words.astype(object)
    return known.astype(object).where(known.notna(), words.astype(object)).where(words.str.strip() != "", np.nan)


def space_of(run: Any, steps: int = 60, kind: type[Sequences] = Sequences) -> Sequences:
    """The space of the sequences of a run: molecules, aligned proteins, or texts."""
    names = kind_names(run)
    if "molecules" in names:
        from pofx.data import chemistry

        options = {"features": chemistry.fingerprints, "clean": chemistry.canonical, "group": chemistry.scaffold_of}
        return kind(run, steps=steps, **options)  # type: ignore[arg-type]
    if "text" not in names:
        raise UsageError(f"a run of {names[0]} has no sequences: give bounds of numbers instead, -p x=0..1")
    from pofx.data.kinds.text import ngrams

    return kind(run, features=lambda items: ngrams(list(items), words=False), steps=steps)


def kind_names(run: Any) -> tuple[str, ...]:
    from pofx.data.kind import named

    return named(run.representation.kind).names


def bounds_of(written: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Bounds from NAME=LOW..HIGH."""
    found: dict[str, tuple[float, float]] = {}
    for text in written:
        name, _, rest = text.partition("=")
        low, dots, high = rest.partition("..")
        try:
            found = once([*found.items(), (name, (float(low), float(high)))], "-p")
        except ValueError as error:
            raise UsageError(f"-p must be NAME=LOW..HIGH (got {text!r}): such as temperature=20..90") from error
        if not name or not dots:
            raise UsageError(f"-p must be NAME=LOW..HIGH (got {text!r}): such as temperature=20..90")
    return found
