"""Generated or real? A detector that is tried on families it has never seen, with a stated rate of false alarms.

A classifier learns real items against samples of several runs and is applied to the samples of one left out: what is
reported is the AUC per unseen run with its interval, since a detector knows its own makers best. Real and generated
items are compared in one format (levels, types, and for pictures one codec), so that no file format gives them away.
Verdicts are conformal p-values of "real" on held-out real items: at the level 5 % one real item in twenty is
accused, however good the detector is (Vovk et al., 2005); a level that few calibration items cannot hold is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from jaxtyping import Float
from sklearn.ensemble import ExtraTreesClassifier

from pofx.artifact import Artifact
from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.core.printed import aligned, show
from pofx.data.dataset import Dataset, take
from pofx.data.kind import kind_of
from pofx.data.sources import load
from pofx.data.vectors import Vectors
from pofx.declared import Against, Condition, Device, File, Reads, Seed
from pofx.evaluate import conditions
from pofx.evaluate.conditions import with_conditions
from pofx.evaluate.features import main_space
from pofx.evaluate.metrics.membership import attack

PUBLIC = ("Detector", "detect_by_family")
GROUP = "Uses"
EXAMPLE = "pofx detect runs/vae runs/flow runs/gan --items suspects --out verdicts.csv"

MOST = 2000  # items of a side
TREES = 300
LEAST_REAL = 20


def residues(values: Any, items: Items) -> Float[np.ndarray, "n k"]:
    """What pictures betray beside their content: the spectrum by radius, and how neighbours differ."""
    kind = kind_of(items)
    if not kind.photographic:
        return np.zeros((len(values), 0), np.float32)
    pictures = kind.shown(values, items.facts).pictures
    assert pictures is not None
    grey = np.asarray(pictures, np.float32)
    grey = grey.mean(-1) if grey.ndim == 4 else grey
    power = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(grey), axes=(1, 2))))
    y, x = np.indices(grey.shape[1:])
    radius = np.hypot(y - grey.shape[1] // 2, x - grey.shape[2] // 2).astype(int)
    rings = [power[:, radius == r].mean(1) for r in range(int(radius.max()) + 1)]
    gaps = [np.abs(np.diff(grey, axis=axis)) for axis in (1, 2)]
    local = [of(gap.reshape(len(grey), -1), axis=1) for gap in gaps for of in (np.mean, np.std)]
    share = [(grey == level).reshape(len(grey), -1).mean(1) for level in (0, 255)]
    return np.stack([*rings, *local, *share], 1).astype(np.float32)


@dataclass
class Detector:
    """A classifier of generated against real items, calibrated on held-out real ones."""

    items: Items  # whose kind and facts all others have
    vectors: Vectors
    space: Any
    forest: ExtraTreesClassifier
    scores: Float[np.ndarray, "m"]  # of the calibration items, sorted

    @classmethod
    def fit(cls, dataset: Any, generated: Mapping[str, Items], seed: int = 0, *, space: Any = None) -> "Detector":
        """Learn the training items against items of several makers, with equal weights of both sides.

        Args:
            dataset: real items, or what `fit` takes.
            generated: Items by maker.
            space: a fitted feature space; by default the main one is fitted.

        Raises:
            DataError: too few real items to calibrate, or no generated ones.
        """
        dataset = dataset if isinstance(dataset, Dataset) else load(dataset)
        if not generated or not isinstance(generated, Mapping):
            raise DataError("a detector needs generated items: give at least one run, as {'name': run.draw(1000)}")
        other = next((name for name, items in generated.items() if not isinstance(items, Items)), None)
        if other is not None:
            raise DataError(f"{other} must be Items of kind {dataset.train.kind}, such as run.draw(1000): wrap them")
        held = dataset.validation
        if len(held) < LEAST_REAL:
            raise DataError(f"a detector is calibrated on at least {LEAST_REAL} validation items (got {len(held)})")
        real = _some(dataset.train, MOST, seed)
        space = main_space(dataset.train, seed=seed) if space is None else space
        made = cls(real, Vectors.fit(dataset.train), space, ExtraTreesClassifier(), np.zeros(0))
        sides = [made.features(real.values), *(made.features(items.values) for items in generated.values())]
        y = np.concatenate([np.full(len(side), k > 0) for k, side in enumerate(sides)])
        weights = np.concatenate([np.full(len(side), 1 / len(side) / (1 if k == 0 else len(sides) - 1))
                                  for k, side in enumerate(sides)])  # fmt: skip
        made.forest = ExtraTreesClassifier(TREES, min_samples_leaf=3, random_state=seed)
        made.forest.fit(np.concatenate(sides), y, sample_weight=weights * len(y) / 2)
        made.scores = np.sort(made.score(held.values))
        return made

    def features(self, values: Any) -> Float[np.ndarray, "n d"]:
        """Vectors, the features of the main space, and residues."""
        flat = self.vectors(values)
        flat = flat if flat.shape[1] <= 4096 else flat[:, :4096]
        return np.concatenate([flat, self.space(values), residues(values, self.items)], 1).astype(np.float32)

    def score(self, values: Any) -> Float[np.ndarray, "n"]:
        """The estimated probability that each item is generated: higher is more suspect."""
        return np.asarray(self.forest.predict_proba(self.features(values))[:, 1])

    def p_values(self, values: Any) -> Float[np.ndarray, "n"]:
        """For each item the p-value of its being real: valid at any n, if it is exchangeable with the real ones."""
        above = len(self.scores) - np.searchsorted(self.scores, self.score(values), side="left")
        return np.asarray((1 + above) / (1 + len(self.scores)))

    def verdicts(self, values: Any, level: float = 0.05) -> np.ndarray:
        """Whether each item is called generated: of real ones at most the share `level` is.

        Raises:
            UsageError: a level that so few calibration items cannot hold.
        """
        least = 1 / (1 + len(self.scores))
        if not least <= level < 1:
            raise UsageError(
                f"level must be from {least:.3g} ({len(self.scores)} calibration items) and below 1 (got {level})"
            )
        return np.asarray(self.p_values(values) <= level)


def drawn(runs: Mapping[str, Artifact], dataset: Dataset, n: int, seed: int) -> dict[str, Items]:
    """n samples of every run; those of conditional ones under labels as often as in training, or the conditions of
    test items."""
    found = {name: (run, with_conditions(run, dataset).test) for name, run in runs.items()}
    return {name: conditions.drawn(run, items, n, seed=seed) for name, (run, items) in found.items()}


def detect_by_family(
    dataset: Any, generated: Mapping[str, Items], level: float = 0.05, seed: int = 0
) -> list[dict[str, Any]]:
    """For each maker a detector that never saw it: AUC with its 95 % interval, and what the level finds.

    Returns:
        Rows {"maker", "seen" (the others that it learned from), "auc", "low", "high", "found", "false alarms"}.
    """
    dataset = dataset if isinstance(dataset, Dataset) else load(dataset)
    if not isinstance(generated, Mapping) or len(generated) < 2:
        raise UsageError("a maker is left out of those that are learned from: give at least two runs")
    rows, space = [], main_space(dataset.train, seed=seed)
    for name, items in generated.items():
        others = {key: of for key, of in generated.items() if key != name}
        detector = Detector.fit(dataset, others, seed, space=space)
        real, fake = detector.score(dataset.test.values), detector.score(items.values)
        found = attack(fake, real)
        rows.append(
            {
                "maker": name,
                "seen": len(others),
                "auc": found.auc,
                "low": max(found.auc - 1.96 * found.stderr, 0.0),
                "high": min(found.auc + 1.96 * found.stderr, 1.0),
                "found": float(detector.verdicts(items.values, level).mean()),
                "false alarms": float(detector.verdicts(dataset.test.values, level).mean()),
            }
        )
    return rows


def _some(items: Items, n: int, seed: int) -> Items:
    return take(items, np.random.default_rng(seed).permutation(len(items))[:n])


def detect(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of runs whose samples are learned from."), Reads(run=True)
    ],
    against: Against = None,
    items: Annotated[str | None, typer.Option(help="Data to judge, in the format of the real items."), Reads()] = None,
    level: Annotated[
        float | None, typer.Option(help="Of false alarms: the share of real items that are accused (default 0.05).")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="Of `pofx watermark`: are --items marked? At 1e-6 false alarms by default."),
        Reads(),
    ] = None,
    mark: Annotated[str, typer.Option(help="With --key: code or pixel.")] = "code",
    condition: Condition = None,
    n: Annotated[int, typer.Option("-n", min=20, max=100_000, help="Samples of each run.")] = 1000,
    out: Annotated[Path, typer.Option(help="A .csv file of verdicts, with --items."), File(".csv")] = Path(
        "verdicts.csv"
    ),
    seed: Seed = 0,
    device: Device = "auto",
) -> str | None:
    """Generated or real? A detector with a stated rate of false alarms, tried on runs that it has not seen."""
    import pandas as pd

    from pofx.artifact import load
    from pofx.data.arrays import write_frame
    from pofx.evaluate.provenance import check_same_data, read_alike, trained_on
    from pofx.hub import name_of

    level = level if level is not None else 0.05 if key is None else 1e-6
    if not 0 < level < 1:
        raise UsageError(f"level must lie between 0 and 1 (got {level:g}): pass --level 0.05")
    if key is not None:
        return _marked(runs, items, key, mark, condition, level, out, device)
    if condition is not None or mark != "code":
        raise UsageError("--mark and --condition are those of a watermark: pass its --key, too")
    artifacts: dict[str, Artifact] = {name_of(run): load(run).to(device) for run in runs}
    if len(artifacts) < len(runs):
        raise UsageError("runs need different names: rename a folder")
    first = next(iter(artifacts.values()))
    if len(artifacts) < 2 and items is None:
        raise UsageError("one run is tried on nothing: give two runs or more, or --items to judge")
    dataset = trained_on(first, against)
    for artifact in artifacts.values():
        check_same_data(artifact, dataset, force=True)
    generated = drawn(artifacts, dataset, n, seed)
    if len(generated) > 1:
        table = pd.DataFrame(detect_by_family(dataset, generated, level, seed)).set_index("maker")
        show(f"detectors that never saw the run, real items of {dataset.card.name}\n{aligned(table)}")
    if items is None:
        return None
    detector, suspects = Detector.fit(dataset, generated, seed), read_alike(first, items)
    if suspects.kind != dataset.train.kind:
        raise DataError(f"the items to judge must be {dataset.train.kind} items (got {suspects.kind}): see --against")
    size, own = np.shape(suspects.values)[1:], np.shape(dataset.train.values)[1:]
    if kind_of(suspects).photographic and size != own:
        raise DataError(f"the pictures to judge must have the shape {own} of the real ones (got {size}): resize them")
    p = detector.p_values(suspects.values)
    called = detector.verdicts(suspects.values, level)
    write_frame(
        pd.DataFrame({"score": detector.score(suspects.values), "p_real": p, "generated": called.astype(int)}), out
    )
    return f"{int(called.sum())} of {len(p)} called generated at {level:.0%} false alarms"


def _marked(
    runs: list[Path],
    items: str | None,
    key: Path,
    mark: str,
    condition: str | None,
    level: float,
    out: Path,
    device: str,
) -> str:
    """The verdicts of a watermark on items."""
    import pandas as pd

    from pofx.apps.watermark import key_of, p_unmarked
    from pofx.artifact import load
    from pofx.data.arrays import write_frame
    from pofx.evaluate.provenance import read_alike

    if len(runs) != 1 or items is None:
        raise UsageError(f"a watermark is that of one run in --items (got {len(runs)} runs): pass both")
    secret, run = key_of(key), load(runs[0]).to(device)
    suspects = read_alike(run, items)
    given = None
    if condition is not None and run.conditioning is not None:
        values = run.conditioning.written(condition)
        given = [values[i % len(values)] for i in range(len(suspects))]
    p = p_unmarked(run, suspects, secret, mark, given)
    write_frame(pd.DataFrame({"p_unmarked": p, "marked": (p < level).astype(int)}), out)
    return f"{int((p < level).sum())} of {len(p)} marked by this key at {level:g} false alarms"
