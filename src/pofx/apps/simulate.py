"""Runs of a simulator in parallel; a run that fails is counted, never a reason to lose the others."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

from pofx.apps.observations import names_of, numbers
from pofx.core.errors import DataError, UsageError

NOISE = 3  # of the stream of random numbers of a vectorised simulator
CHUNKS = 8  # of work per worker, so that slow parameters do not leave others idle


def simulate(
    simulator: Callable[..., Any],
    theta: np.ndarray,
    *,
    workers: int = 1,
    vectorised: bool = False,
    seed: int = 0,
    parameters: Sequence[str] = (),
) -> np.ndarray:
    """Data float64 (n, …) of parameters float64 (n, d), see `named_data`."""
    return named_data(simulator, theta, workers=workers, vectorised=vectorised, seed=seed, parameters=parameters)[0]


def named_data(
    simulator: Callable[..., Any],
    theta: np.ndarray,
    *,
    workers: int = 1,
    vectorised: bool = False,
    seed: int = 0,
    parameters: Sequence[str] = (),
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Data float64 (n, …) of parameters float64 (n, d), and the names of their numbers where the simulator returns them
    by name; a failed run is a row of NaN.

    Args:
        simulator: from parameters (d,) to data; it may take a second argument, a numpy Generator of its own run. With
            `vectorised` from (n, d) to (n, …), and one Generator. One that takes tensors of torch alone gets them, and
            torch's generator of random numbers is seeded; one that takes a dict of them by name gets that. Data are an
            array, a tensor, a list, a dict, a Series, a DataFrame or a number; None or NaN is a failed run.
        workers: processes; -1 takes all cores.
        parameters: their names. A simulator whose arguments have these names, two or more, gets each number by itself.

    Raises:
        UsageError: the simulator cannot be called with parameters, or returns data of changing shapes.
        DataError: every run failed; the first error is in the message.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or not (workers == -1 or workers >= 1):
        raise UsageError(f"workers must be a number of processes from 1 up, or -1 for all cores (got {workers!r})")
    if not callable(simulator):
        raise UsageError(f"a simulator must be a function of parameters (got {type(simulator).__name__})")
    seeds = np.random.SeedSequence(seed).spawn(len(theta))
    simulator = by_name(simulator, parameters)
    takes = _takes(simulator)
    if takes == 1 and len(theta):
        simulator, takes = _suited(simulator, theta if vectorised else theta[0], parameters)
    if vectorised:
        # never the stream of `seed` itself, from which the prior drew: noise would be a function of the parameters
        given: list[Any] = [theta.copy(), np.random.default_rng([seed, NOISE])]  # it may write into its parameters
        out = simulator(*given[:takes])
        if isinstance(out, Mapping):
            out = {name: numbers(column).reshape(-1) for name, column in out.items()}
        names = names_of(out)
        found = np.stack(list(out.values()), 1) if isinstance(out, Mapping) else numbers(out)
        if found.ndim == 0 or len(found) != len(theta):
            raise UsageError(f"a vectorised simulator must return {len(theta)} rows (got {found.shape})")
        return found, names
    count = 1 if workers == 1 else CHUNKS * (workers if workers > 0 else 16)
    parts = [p for p in np.array_split(np.arange(len(theta)), count) if len(p)]
    runs = Parallel(n_jobs=workers)(
        delayed(_several)(simulator, theta[part], [seeds[i] for i in part], takes) for part in parts
    )
    rows = [row for _, chunk in runs for row in chunk]
    good = [row for row in rows if isinstance(row, np.ndarray)]
    if not good:
        raise DataError(f"every run of the simulator failed: the first with {rows[0]}")
    shapes = {row.shape for row in good}
    if () in shapes and len(shapes) == 2:  # a single NaN in place of data
        rows = [row if isinstance(row, np.ndarray) and (row.ndim or np.isfinite(row)) else "" for row in rows]
        shapes = {row.shape for row in rows if isinstance(row, np.ndarray)}
    if len(shapes) > 1:
        raise UsageError(f"the simulator must return data of one shape (got {sorted(shapes)[:3]}): summarise it first")
    blank = np.full(shapes.pop(), np.nan)
    return np.stack([row if isinstance(row, np.ndarray) else blank for row in rows]), next(
        (names for names, _ in runs if names), ()
    )


def complete(theta: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The runs whose data are finite, and the share of those that are not, with a warning where some are.

    Raises:
        DataError: fewer than 20 are left.
    """
    good = np.isfinite(x.reshape(len(x), -1)).all(1)
    if good.sum() < 20:
        raise DataError(f"{good.sum()} of {len(x)} runs have finite data: at least 20 are needed, check the simulator")
    failed = 1 - float(good.mean())
    if failed:
        warnings.warn(
            f"{failed:.1%} of the runs failed or are not finite and are left out: the posterior is that of parameters "
            "whose runs succeed",
            stacklevel=3,
        )
    return theta[good], x[good], failed


def _takes(simulator: Callable[..., Any]) -> int:
    """Whether a simulator takes a random generator after the parameters."""
    import inspect

    try:
        kinds = [p.kind for p in inspect.signature(simulator).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return 1
    needed = sum(kind in (0, 1) for kind in kinds)
    if needed not in (1, 2):
        raise UsageError(
            f"a simulator must take parameters, or parameters and a numpy Generator (got {needed} arguments)"
        )
    return needed


class OfTensors:
    """A simulator of torch as one of arrays, with random numbers of a numpy Generator's seed."""

    def __init__(self, simulator: Callable[..., Any]) -> None:
        self.simulator = simulator

    def __call__(self, theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(rng.integers(1 << 62)))
            return numbers(self.simulator(torch.as_tensor(theta, dtype=torch.float32)))


class ByName:
    """A simulator with an argument for each parameter as one of all of them, and of a Generator where it takes one."""

    def __init__(self, simulator: Callable[..., Any], places: Sequence[int], random: bool) -> None:
        self.simulator, self.places, self.random = simulator, tuple(places), random

    def __call__(self, theta: np.ndarray, rng: np.random.Generator) -> Any:
        each = [theta[..., place] for place in self.places]
        return self.simulator(*each, rng) if self.random else self.simulator(*each)


def by_name(simulator: Callable[..., Any], parameters: Sequence[str]) -> Callable[..., Any]:
    """A simulator that takes all parameters at once, where its arguments have their names; others as they are."""
    import inspect

    try:
        wanted = [p.name for p in inspect.signature(simulator).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return simulator
    named = wanted[: len(parameters)]
    if len(parameters) < 2 or {*named} != {*parameters} or len(wanted) > len(parameters) + 1:
        return simulator
    return ByName(simulator, [list(parameters).index(name) for name in named], len(wanted) > len(parameters))


class OfNames:
    """A simulator of a dict of parameters as one of all of them."""

    def __init__(self, simulator: Callable[..., Any], parameters: Sequence[str]) -> None:
        self.simulator, self.parameters = simulator, tuple(parameters)

    def __call__(self, theta: np.ndarray, rng: np.random.Generator) -> Any:
        return self.simulator({name: theta[..., i] for i, name in enumerate(self.parameters)})


def _suited(
    simulator: Callable[..., Any], theta: np.ndarray, parameters: Sequence[str]
) -> tuple[Callable[..., Any], int]:
    """A simulator of one argument as one of arrays, and the number of its arguments then: one that fails on an array
    may take a tensor, or a dict."""
    try:
        simulator(theta.copy())
    except (TypeError, AttributeError, IndexError, KeyError):
        others: list[Callable[..., Any]] = [OfTensors(simulator)]
        others += [OfNames(simulator, parameters)] if parameters else []
        for other in others:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    other(theta, np.random.default_rng(0))
            except Exception:  # whatever a simulator raises
                continue
            return other, 2
    except Exception:  # as a run may fail
        pass
    return simulator, 1


def _several(
    simulator: Callable[..., Any], theta: np.ndarray, seeds: list[Any], takes: int
) -> tuple[tuple[str, ...], list[Any]]:
    """The names of the numbers of data, and the data of each run, or why it failed."""
    rows: list[Any] = []
    names: tuple[str, ...] = ()
    for one, seed in zip(theta.copy(), seeds, strict=True):  # a simulator may write into its parameters
        try:
            out = simulator(one, np.random.default_rng(seed)) if takes == 2 else simulator(one)
            if out is None:
                raise ValueError("the simulator returned nothing")
            names = names or names_of(out)
            rows.append(numbers(out, names))
        except Exception as error:  # whatever a simulator raises
            rows.append(f"{type(error).__name__}: {error}")
    return names, rows


def read_observation(path: Path) -> np.ndarray:
    """One observation of a .csv (numbers, with or without a line of names), .npy or .npz (array `x` or the only one).

    Raises:
        DataError: the file cannot be read so.
    """
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return np.asarray(file["x" if "x" in file.files else file.files[0]], np.float64)
        rows = path.read_text(encoding="utf-8-sig").strip().splitlines()
        named = len(rows) > 1 and not _numbers(rows[0])
        return np.squeeze(np.asarray([[float(v) for v in row.split(",")] for row in rows[named:]], np.float64))
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} holds no observation: give a .csv of numbers, .npy or .npz ({error})") from None


def names_in(path: Path) -> tuple[str, ...]:
    """The names above the one row of numbers of a .csv; none where there are none, or more rows."""
    if path.suffix in (".npy", ".npz"):
        return ()
    rows = [row for row in path.read_text(encoding="utf-8-sig").strip().splitlines() if row.strip()]
    if len(rows) != 2 or _numbers(rows[0]):
        return ()
    return tuple(name.strip().strip('"') for name in rows[0].split(","))


def _numbers(row: str) -> bool:
    """Whether a line holds numbers alone."""
    try:
        return bool([float(v) for v in row.split(",")])
    except ValueError:
        return False
