"""What the studio does, as plain functions of runs and plain values: the page only shows their results.

A `Desk` holds runs by name. Items come back as a `Sight`: a picture, rows, texts or sound, whatever the kind shows.
"""

import html as markup
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from PIL import Image

from pofx import summary
from pofx.apps.edit import edit, masked_area, pixels
from pofx.apps.latent import LatentSpace
from pofx.artifact import Artifact, load
from pofx.core.config import parse
from pofx.core.errors import PofxError, Unsupported, UsageError, unknown
from pofx.core.items import Items
from pofx.core.model import Completing, Denoising, Density, Encoding, Infilling, Tempered
from pofx.core.options import OneOf, annotated, named_values
from pofx.data.dataset import Dataset
from pofx.data.kind import Kind, kind_of, named, take
from pofx.data.pictures import one_picture
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.provenance import differences, read_alike, trained_on
from pofx.hub import name_of
from pofx.maths.interpolation import spherical
from pofx.train.log import BESIDE, read_log

MOST = 256  # items of one view
SCORED, ESTIMATED = 300, 40  # test items that a score is compared with; of estimates, each of which solves an equation
PIXELS = 480  # of the longer side of a single picture
AXES = 6  # sliders of a walk


@dataclass(frozen=True)
class Sight:
    """What a person sees of items: a picture, rows, a text, or sound at a rate; and a sentence about it."""

    picture: Image.Image | None = None
    rows: pd.DataFrame | None = None
    text: str | None = None
    sound: tuple[int, np.ndarray] | None = None
    note: str = ""


def sight(items: Items, note: str = "", columns: int | None = None) -> Sight:
    """Items as a person sees them."""
    kind = kind_of(items)
    if kind.pictorial:
        return Sight(picture=_opened(kind.content(items, ".png", columns)), note=note)
    if ".wav" in kind.outputs:
        clip = np.concatenate([np.asarray(part, np.float32) for part in items.values])
        return Sight(sound=(int(kind.facts(items).rate), clip), rows=_rows(kind, items), note=note)
    if ".txt" in kind.outputs:
        return Sight(text=kind.content(items, ".txt").decode("utf-8", "replace"), note=note)
    if kind.plane(items.values) is not None:
        return Sight(picture=_opened(kind.content(items, ".png")), rows=_rows(kind, items), note=note)
    return Sight(rows=_rows(kind, items), note=note)


def _rows(kind: Kind, items: Items) -> pd.DataFrame:
    shown = kind.shown(items.values, items.facts)
    return pd.DataFrame(list(shown.lines), columns=[str(c) for c in shown.columns])


def _opened(content: bytes) -> Image.Image:
    found = Image.open(io.BytesIO(content))
    found.load()
    return found


@dataclass
class Bench:
    """One run with what is known of it; data and codes are loaded when they are first needed."""

    name: str
    path: Path
    run: Artifact
    saved: int = 0  # when, in nanoseconds
    latents: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  # in what its data differ from those of training

    @cached_property
    def kind(self) -> Kind:
        return named(self.run.representation.kind)

    @cached_property
    def dataset(self) -> Dataset:
        """The data of the run.

        Raises:
            PofxError: it is not found from here.
        """
        found = trained_on(self.run)
        self.remarks = differences(self.run, found)
        return with_conditions(self.run, found)

    @cached_property
    def test_scores(self) -> np.ndarray:
        """log p of test items, sorted."""
        most = ESTIMATED if self.run.density == Density.ESTIMATE else SCORED
        test = take(self.dataset.test, np.random.default_rng(0).permutation(len(self.dataset.test))[:most])
        return np.sort(self.run.score(test).value)

    @cached_property
    def space(self) -> LatentSpace:
        return LatentSpace(self.run, self.dataset)

    @property
    def conditions(self) -> list[str]:
        """The names of the labels that it is conditioned on; none where the condition is something else."""
        if self.run.conditioning is None:
            return []
        return [str(name) for name in self.run.card.get("label_names") or ()]


class Desk:
    """Runs by name; one that is still trained is there from its first step, and read anew when it is saved anew.

    Args:
        paths: folders of runs; none: those in the folder `runs`.

    Raises:
        UsageError: there are no runs, or two of one name.
    """

    def __init__(self, paths: Sequence[str | Path] = ()) -> None:
        begun = {p.parent for name in ("artifact.json", "request.json") for p in Path("runs").glob(f"*/{name}")}
        found = [Path(p) for p in paths] or sorted(begun)
        if not found:
            raise UsageError("there are no runs here: train one with `pofx train digits --model vae --out runs/vae`")
        self.paths = {name_of(p): p for p in found}
        if len(self.paths) < len(found):
            raise UsageError("runs need different names: rename a folder")
        self.loaded: dict[str, Bench] = {}

    @property
    def names(self) -> list[str]:
        return list(self.paths)

    def __getitem__(self, name: str) -> Bench:
        if name not in self.paths:
            raise unknown("run", str(name), self.names)
        file = self.paths[name] / "artifact.json"
        saved = file.stat().st_mtime_ns if file.exists() else 0
        if name not in self.loaded or self.loaded[name].saved != saved:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.loaded[name] = Bench(name, self.paths[name], load(self.paths[name]), saved)
        return self.loaded[name]

    def about(self, name: str) -> str:
        """The facts of a run as HTML, without samples."""
        bench = self[name]
        rows = "".join(
            f"<tr><th>{markup.escape(k)}</th><td>{markup.escape(v)}</td></tr>"
            for k, v in summary.facts(bench.run).items()
        )
        return f"<p><b>{markup.escape(summary.line(bench.run))}</b></p><table class='facts'>{rows}</table>"

    def options(self, name: str) -> list[str]:
        """The names of its sampling options."""
        model = self[name].run.model
        return [*(model.tempers if isinstance(model, Tempered) else ()), *model.adjustable]

    def samplers(self, name: str) -> list[str]:
        """The samplers that a run may draw by; empty where there is no choice."""
        model = self[name].run.model
        if "sampler" not in model.adjustable:
            return []
        hint = annotated(type(model).__init__).get("sampler")
        limits = [m for part in (hint, *get_args(hint)) for m in get_args(part) if isinstance(m, OneOf)]
        return list(dict.fromkeys(one for limit in limits for one in limit.names))

    # --- drawing

    def sample(
        self, name: str, n: int = 16, seed: int = 0, condition: str = "", options: str | Mapping[str, Any] = ""
    ) -> Sight:
        """n samples; options as "temperature=0.8 sampler_steps=20"."""
        bench, seed = self[name], int(seed or 0)
        run, tempering = self._under(bench, options or "")
        items = run.draw(_count(n), self._condition(bench, condition, _count(n)), seed=seed, **tempering)
        what = f"{len(items)} samples of {bench.name}, seed {seed}"
        what += ", tempered: they do not follow p(x)" if tempering else ""
        left_out = bench.run.conditioning is None and str(condition or "").strip()
        return sight(items, what + (". This run has no condition: it was left out" if left_out else ""))

    def compare(self, names: Sequence[str], n: int = 16, seed: int = 0, condition: str = "") -> list[tuple[str, Sight]]:
        """Samples of several runs from the same seeds, by name; what one cannot do is its note."""
        found = []
        for name in names:
            try:
                found.append((name, self.sample(name, n, seed, condition if self[name].run.conditioning else "")))
            except PofxError as error:
                found.append((name, Sight(note=str(error))))
        return found

    # --- items of one's own

    def test_item(self, name: str, number: int = 0) -> Items:
        """Test item of this number, in turn."""
        test = self[name].dataset.test
        return take(test, [int(number or 0) % len(test)])

    def own(self, name: str, given: Any) -> Items:
        """An item of one's own, as the data has them: a picture (array), the first item of a file (a path), or a text:
        a text, a row as "age=30, plan=pro", numbers with commas between them.

        Raises:
            PofxError: nothing was given, or it is no such item.
        """
        bench = self[name]
        facts = dict(bench.run.card.get("data", {}).get("facts", {}))
        if isinstance(given, Path) and given.suffix.lower() in bench.kind.members and bench.kind.photographic:
            given = one_picture(given)
        if isinstance(given, np.ndarray):
            if given.size == 0:
                raise UsageError(f"a picture must have pixels (got shape {given.shape}): load another")
            if not bench.kind.photographic:
                raise UsageError(f"{bench.run.name} models {bench.kind.name} items: a picture is none of them")
            return Items(bench.kind.name, pixels(bench.run, given, self._condition(bench, "", 1))[None], facts=facts)
        if isinstance(given, Path):
            stated = bench.run.condition_source if bench.kind.columnar else None  # of other kinds it is written
            found = read_alike(bench.run, given, stated)
            if found.kind != bench.kind.name:
                raise UsageError(
                    f"{bench.run.name} models {bench.kind.name} items: {given.name} holds {found.kind} items"
                )
            return take(found, [0])
        text = str(given or "").strip("\n")
        if not text.strip():
            raise UsageError("there is no item: give one, or choose one of the test items")
        if ".txt" in bench.kind.outputs:
            return Items(bench.kind.name, [text], facts=facts)
        if bench.kind.photographic:
            raise UsageError(
                f"an item of {bench.run.name} is a picture (got {text!r}): load one, or choose a test item"
            )
        if "=" in text and bench.kind.columnar:
            return Items(
                bench.kind.name,
                pd.DataFrame([{k: parse(f"{k}={v}")[1] for k, v in named_values(text, "a row").items()}]),
                facts=facts,
            )
        try:
            numbers = np.array([[float(part) for part in text.replace(",", " ").split()]])
        except ValueError as error:
            raise UsageError(
                f"an item of {bench.kind.name} is written as numbers with commas between them (got {text!r})"
            ) from error
        return Items(bench.kind.name, numbers, facts=facts)

    def reconstruct(self, name: str, items: Items, condition: str = "") -> tuple[Sight, str]:
        """An item beside decode(encode(item)), and its code in words."""
        bench = self[name]
        given = self._given(bench, items, condition)
        code = bench.run.encode(items.values, given)
        back = replace(items, values=bench.run.decode(code, given), condition=None, labels=None)
        flat = code.reshape(len(code), -1)[0]
        shown = ", ".join(f"{v:.3g}" for v in flat[:12]) + (", …" if len(flat) > 12 else "")
        both = replace(items, values=bench.kind.join([items.values, back.values]), condition=None, labels=None)
        return sight(both, "the item, then its reconstruction", 2), f"code of {len(flat)} numbers: {shown}"

    def score(self, name: str, items: Items, condition: str = "") -> tuple[Image.Image | None, str]:
        """log p of an item, and where it lies among test items, where these are found: a histogram and a sentence."""
        bench = self[name]
        found = bench.run.score(items.values, self._given(bench, items, condition))
        value, kind = float(found.value[0]), found.density.name.lower()
        spread = np.nan if found.stderr is None else float(found.stderr[0])
        error = f" ± {spread:.2g}" if np.isfinite(spread) else ""
        note = f"log p = {value:.2f}{error} {found.unit} ({kind}; measure: {found.measure})."
        if 0 in found.reasons:
            note += f" It cannot occur: {found.reasons[0]}."
        try:
            among = bench.test_scores
        except UsageError:  # a run of arrays, or one from elsewhere
            return None, f"{note} Its data are not found from here, so that it is not compared with test items."
        note += f" {float((among < value).mean()):.0%} of {len(among)} test items are less probable."
        if bench.remarks:
            note += f" These are not the data of training: {'; '.join(bench.remarks)}."
        return _histogram(among[np.isfinite(among)], value), note

    def complete(
        self,
        name: str,
        items: Items | None = None,
        mask: np.ndarray | None = None,
        prefix: str = "",
        rows: int = 0,
        n: int = 4,
        seed: int = 0,
        condition: str = "",
    ) -> Sight:
        """n completions: of what a mask leaves of a picture (runs that denoise or fill in), of its first rows, of a
        text, or of a row of a table by known columns ("age=30, plan=pro")."""
        bench, n = self[name], _count(n)
        if "=" in prefix and bench.kind.columns(bench.dataset.test.values) is not None:
            known = named_values(prefix, "the known columns")
            drawn = bench.run.draw(n, self._condition(bench, condition, n), seed=int(seed or 0), given=known)
            return sight(drawn, f"{n} rows given {prefix}")
        if items is not None and mask is not None and mask.any():
            if not isinstance(bench.run.model, Denoising | Infilling):
                raise Unsupported(
                    f"{bench.run.name} draws items from their beginning: clear what is painted and state the known rows"
                )
            same = take(items, np.zeros(n, int))
            area = masked_area(np.asarray(mask, bool), np.asarray(items.values).shape[1:3])
            if not area.any():
                raise UsageError("what is painted covers no pixel of the item by half: paint over a larger part")
            values = edit(bench.run, same.values, mask=area, seed=int(seed or 0), steps=20, repeats=2,
                          condition=self._condition(bench, condition, n))  # fmt: skip
            return sight(replace(items, values=values, condition=None, labels=None), f"{area.mean():.0%} drawn anew")
        if not isinstance(bench.run.model, Completing):
            if isinstance(bench.run.model, Denoising | Infilling) and bench.kind.photographic:
                raise Unsupported(f"{bench.run.name} draws what is painted over: load a picture and paint on it")
            raise Unsupported(
                f"{bench.run.name} cannot complete items: choose a run that draws part by part (pixelcnn, gpt, "
                "circuit) or a diffusion run of images"
            )
        start: Any = prefix
        if items is not None and not prefix:
            if rows < 1:
                raise UsageError("rows must be at least 1: how much of the item is known")
            start = items.values[:, :rows] if isinstance(items.values, np.ndarray) else [v[:rows] for v in items.values]
        drawn = bench.run.draw(n, self._condition(bench, condition, n), seed=int(seed or 0), prefix=start or "" if
                               isinstance(start, str) else start)  # fmt: skip
        return sight(drawn, f"{n} completions")

    # --- codes

    def walk(
        self, name: str, number: int, moves: Sequence[float], along: str = "components", own: Items | None = None
    ) -> Sight:
        """An item of one's own, or test item of this number, its code moved along directions by so many deviations: of
        the principal components, or of the labels; of conditional runs under the condition of the test item."""
        bench = self[name]
        directions, item = self._directions(bench, along), self.test_item(name, number)
        start = self._code(bench, item if own is None else replace(own, condition=item.condition))
        z = start.copy()
        for move, direction in zip(moves, directions, strict=False):
            z += float(move) * direction
        return sight(self._decoded(bench, np.concatenate([start, z]), item), "the item, then the moved one", 2)

    def axes(self, name: str, along: str = "components") -> list[str]:
        """The names of the directions of a walk."""
        bench = self[name]
        if along == "labels":
            return list(bench.space.means)[:AXES]
        return [f"component {k + 1}" for k in range(len(self._directions(bench, along)))]

    def _directions(self, bench: Bench, along: str) -> np.ndarray:
        """Directions whose length is the deviation of the codes along them: (k, d)."""
        if along not in bench.latents:
            space = bench.space
            if along == "labels":
                found = [space.attribute(label) for label in list(space.means)[:AXES]]
                units = np.stack([d / max(float(np.linalg.norm(d)), 1e-12) for d in found])
            else:
                units = space.components(min(AXES, space.codes.shape[1]))[0]
            spread = (space.codes @ units.T).std(0)
            bench.latents[along] = units * spread[:, None]
        return np.asarray(bench.latents[along])

    def interpolate(self, name: str, a: int, b: int, steps: int = 8) -> Sight:
        """The spherical path in code space between two test items, under the condition of the first."""
        bench, steps = self[name], min(max(int(steps), 2), 32)
        first, last = self.test_item(name, a), self.test_item(name, b)
        codes = spherical(self._code(bench, first), self._code(bench, last), steps)[0]
        n = len(bench.dataset.test)
        note = f"from test item {int(a or 0) % n} to {int(b or 0) % n}"
        return sight(self._decoded(bench, codes, first), note, steps)

    def _code(self, bench: Bench, item: Items) -> np.ndarray:
        """The code of one item, flat: (1, d)."""
        return bench.space.encode(item)

    def _decoded(self, bench: Bench, codes: np.ndarray, item: Items) -> Items:
        """The items of flat codes, under the condition of this item."""
        model = bench.run.model
        assert isinstance(model, Encoding) and not isinstance(model.code, dict)
        given = None if item.condition is None else take(item.condition, np.zeros(len(codes), int))
        values = bench.run.decode(np.asarray(codes, np.float32).reshape(len(codes), *model.code.shape), given)
        return replace(item, values=values, condition=None, labels=None)

    # --- trainings and reports

    def curves(self, name: str) -> tuple[Image.Image | None, str]:
        """Losses and validation by step, from the log as it is now."""
        lines = read_log(self.paths[name] / "log.jsonl")
        series: dict[str, tuple[list[float], list[float]]] = {}
        for line in lines:
            for key, value in line.items():
                if key not in BESIDE and isinstance(value, int | float) and np.isfinite(value):
                    xs, ys = series.setdefault(key, ([], []))
                    xs.append(line.get("step", 0))
                    ys.append(value)
        if not series:
            return None, f"{name} has no log: it was not trained in this folder"
        last = lines[-1]
        return _plot(series), f"step {last.get('step', 0):,}, {last.get('seconds', 0):,.0f} s"

    def report(self, path: str) -> str:
        """The report of a comparison, as a frame of its own.

        Raises:
            UsageError: there is none.
        """
        folder = Path(path)
        file = folder if folder.suffix == ".html" else folder / "report.html"
        if not file.is_file():
            raise UsageError(f"there is no report at {file}: make one with `pofx compare DATA --out {folder}`")
        inside = markup.escape(file.read_text(encoding="utf-8"), quote=True)
        return f'<iframe title="report" srcdoc="{inside}" style="width:100%;height:80vh;border:0"></iframe>'

    # --- conditions and options

    def _under(self, bench: Bench, options: str | Mapping[str, Any]) -> tuple[Artifact, dict[str, Any]]:
        given = dict(parse(part) for part in options.split()) if isinstance(options, str) else dict(options)
        adjusted, others = bench.run.sampling_options(given)
        return bench.run.using(**adjusted), others

    def _condition(self, bench: Bench, text: str, n: int) -> Any:
        if bench.run.conditioning is None or not str(text or "").strip():
            return None
        values = bench.run.conditioning.written(str(text))
        return [values[i % len(values)] for i in range(n)]

    def _given(self, bench: Bench, items: Items, text: str) -> Any:
        return items.condition if not str(text or "").strip() else self._condition(bench, text, len(items))


def _count(n: Any) -> int:
    return min(max(int(n or 1), 1), MOST)


def _figure(draw: Callable[[Any], None]) -> Image.Image:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axis = figure.add_subplot()
    draw(axis)
    axis.legend(
        loc="lower left", bbox_to_anchor=(0, 1.01), ncols=3, fontsize=8, frameon=False
    )  # buttons are on its right
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return _opened(stream.getvalue())


def _histogram(among: np.ndarray, value: float) -> Image.Image:
    def draw(axis: Any) -> None:
        axis.hist(among, bins=40, color="#8ab", label="test items")
        if np.isfinite(value):
            axis.axvline(value, color="#c33", label="this item")
        axis.set_xlabel("log p")
        axis.set_ylabel("test items")

    return _figure(draw)


def _plot(series: Mapping[str, tuple[list[float], list[float]]]) -> Image.Image:
    def draw(axis: Any) -> None:
        for key, (xs, ys) in series.items():
            axis.plot(xs, ys, label=key, marker="." if len(xs) < 30 else None)
        axis.set_xlabel("step")

    return _figure(draw)
