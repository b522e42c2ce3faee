"""The posterior of a simulator's parameters, as learned by `infer`: draws, densities, checks, pictures, files."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from scipy.special import logsumexp

from pofx.apps.coordinates import Coordinates
from pofx.apps.embedding import Embedding
from pofx.apps.observations import checked, in_columns, in_rows, names_of, numbers, warn_beyond
from pofx.apps.pooled import CHOSEN_BY, COORDINATES, Likelihood, averaged, pooled, truncated
from pofx.apps.prior import Prior
from pofx.apps.ratio import Ratio
from pofx.apps.simulate import complete, simulate
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError
from pofx.core.files import read_json, whole, write_json
from pofx.core.options import Range, check_value
from pofx.evaluate.calibration import Calibration, calibration
from pofx.maths.climbing import climbed
from pofx.maths.particles import systematic, tempered

PUBLIC = ("Posterior",)

PARTICLES, CHECKED, CHECKED_BY_PARTICLES = 1_000, 300, 100  # of draws; held-out simulations of a check
LEAST_CHECKED = 20  # held-out simulations
CONSTANT = 2_000  # draws behind a constant
MORE, LEAST_DRAWN, TURNS = 4, 400, 3  # times as many draws are weighted; draws at least; doublings where few count
EMBEDDING = "embedding.safetensors"
Draws = Annotated[int, Range(1, 1_000_000_000)]


@dataclass(frozen=True, eq=False)
class Posterior:
    """p(θ | x) of a simulator, for any x; made by `infer`.

    Attributes:
        prior: of the parameters.
        runs: trained models, averaged as a mixture.
        method: "posterior" (the runs are q(θ | x)), "likelihood" (they are q(x | θ)), "ratio" (p(x | θ) / p(x)), or
            "both" (they are q(θ | x), and `likelihood` weights their draws).
        held_out: parameters and data that no run has seen.
        x: the observation that is meant where none is given.
        failed: share of simulations that failed.
        rounds: of simulation.
        coordinates: in which the runs model parameters (or data); None: as they are.
        likelihood: of method "both".
        embedding: makes features of data, which are all that the runs see; None: the data themselves.
        data_names: of the numbers of data, where they have names; observations by name come in any order then.
    """

    prior: Prior
    runs: tuple[Artifact | Ratio, ...]
    method: str
    held_out: tuple[np.ndarray, np.ndarray]
    x: np.ndarray | None = None
    failed: float = 0.0
    rounds: int = 1
    coordinates: Coordinates | None = None
    likelihood: Likelihood | None = None
    embedding: Embedding | None = None
    data_names: tuple[str, ...] = ()
    _constants: dict[bytes, float] = field(default_factory=dict, init=False, repr=False)  # by observation

    @property
    def amortised(self) -> bool:
        """Whether the runs are densities of parameters, from which draws come at once."""
        return self.method in ("posterior", "both")

    def sample(self, n: int | Sequence[int], x: Any = None, *, seed: int = 0) -> np.ndarray:
        """Parameters float64 (n, d) of the posterior of one observation.

        Args:
            n: how many; a tuple is a shape, as in torch.
            x: the observation; by default that of `infer`.
        """
        shape = tuple(n) if isinstance(n, Sequence) and not isinstance(n, str) else None
        for k in (n,) if shape is None else shape:
            check_value("n", k, Draws)
        if shape is not None:
            return self.sample(math.prod(shape), x, seed=seed).reshape(*shape, len(self.prior))
        n, x = int(n), self._observation(x)  # type: ignore[arg-type]
        return self._many(x[None], n, seed)[0] if self.amortised else self._tempered(n, x, seed, PARTICLES)

    def sample_batched(self, n: int | Sequence[int], x: Any, *, seed: int = 0) -> np.ndarray:
        """Parameters float64 (n, m, d) of the posteriors of m observations (m, …), as sbi has them.

        Args:
            n: of each; a tuple is a shape.
            x: several observations, of the simulator's shape each.
        """
        shape: tuple[Any, ...] = tuple(n) if isinstance(n, Sequence) and not isinstance(n, str) else (n,)
        for k in shape:
            check_value("n", k, Draws)
        given = in_columns(x)
        several = numbers(given, self.data_names) if names_of(given) else numbers(x)
        wanted = self.held_out[1].shape[1:]
        several = several[:, None] if several.ndim == 1 and wanted == (1,) else several
        if several.ndim == 0 or len(several) == 0:
            raise DataError("several observations are needed: use `posterior.sample` for one")
        each = np.stack([checked(one, wanted) for one in several])
        warn_beyond(each, self.held_out[1])
        count, seen = math.prod(shape), self._features(each)
        if self.amortised:
            found = self._many(seen, count, seed)
        else:
            found = np.stack([self._tempered(count, one, seed, PARTICLES) for one in seen])
        return np.moveaxis(found, 0, 1).reshape(*shape, len(each), -1)

    def _tempered(self, n: int, x: np.ndarray, seed: int, particles: int) -> np.ndarray:
        """Draws (n, d) of prior and likelihood by at least so many particles."""
        return tempered(
            lambda count, s: self.prior.sample(count, s), self.prior.log_prob,
            lambda theta: self._likelihood(theta, x), n, particles=particles, seed=seed,
        )  # fmt: skip

    def log_prob(self, theta: Any, x: Any = None) -> np.ndarray:
        """Log-density float64 (n,) of parameters (n, d); without its constant by "likelihood" and "ratio"."""
        theta, x = self._parameters(theta), self._observation(x)
        inside = self.prior.log_prob(theta) > -np.inf
        theta = self._off_ends(theta)
        value = np.full(len(theta), -np.inf)
        if not inside.any():
            return value
        if not self.amortised:
            value[inside] = self.prior.log_prob(theta[inside]) + self._likelihood(theta[inside], x)
            return value
        value[inside] = self._pooled(theta[inside], x) - self._constant(x)
        return value

    def _parameters(self, theta: Any) -> np.ndarray:
        """Parameters (n, d) of a user, by name where they have names.

        Raises:
            DataError: values that are not numbers, or others than the prior has.
        """
        found = np.atleast_2d(numbers(theta, self.prior.names))
        if found.ndim != 2 or found.shape[1] != len(self.prior) or np.isnan(found).any():
            raise DataError(
                f"parameters must be numbers (n, {len(self.prior)}), {', '.join(self.prior.names)} (got the shape "
                f"{found.shape}{' with NaN' if np.isnan(found).any() else ''})"
            )
        return found

    def _off_ends(self, theta: np.ndarray) -> np.ndarray:
        """Parameters (n, d), those at an end of the prior moved by the least step inside: its density may be infinite
        there."""
        low, high = np.array(self.prior.bounds).T
        theta = np.where(theta == low, np.nextafter(low, np.inf), theta)
        return np.where(theta == high, np.nextafter(high, -np.inf), theta)

    def _pooled(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """log q(θ | x) of parameters inside the bounds, weighted by the likelihood without its constant: (n,)."""
        given = np.repeat(x[None], len(theta), 0)
        value = self._density(theta, given)
        return value + self._log_weights(theta, given, value) if self._weighted else value

    def _constant(self, x: np.ndarray) -> float:
        """The logarithm of the mean weight of draws under an observation."""
        if not self._weighted:
            return 0.0
        key = x.tobytes()
        if key not in self._constants:
            drawn = self._proposed(x[None], CONSTANT, 0)[0]
            logs = self._log_weights(drawn, np.repeat(x[None], len(drawn), 0))
            self._constants[key] = float(logsumexp(logs) - math.log(len(logs)))
        return self._constants[key]

    @property
    def _weighted(self) -> bool:
        return self.likelihood is not None and (self.likelihood.share > 0 or self.likelihood.power != 1)

    def map(self, x: Any = None, *, seed: int = 0) -> np.ndarray:
        """The parameters (d,) of highest posterior density: the best of 1,000 draws, refined by populations around it
        (`maths.climbing`)."""
        seen = self._seen(x)
        low, high = self._box()
        return climbed(lambda theta: self.log_prob(theta, seen), self.sample(1_000, seen, seed=seed), low, high, seed)

    def check(self, n: int | None = None, *, data: Any = None, draws: int = 200, seed: int = 0) -> Calibration:
        """Calibration on n held-out simulations (300, or 100 where draws need particles): ranks, random regions,
        expected coverage.

        After several rounds it holds for the region that the last round simulated.

        Args:
            n: at most a tenth of the simulations, or 1,000, were held out; random regions have a noise of 1.4 / √n.
            data: other simulations, parameters (n, d) from the prior and their data (n, …), in place of those.
            draws: of each posterior.

        Raises:
            DataError: fewer than 20 simulations, or of another shape.

        Warns:
            UserWarning: simulations check that also chose the weights of method "both".
        """
        check_value("n", n, Draws | None, None)
        check_value("draws", draws, Annotated[int, Range(20, 100_000)])
        n = n or (len(data[0]) if data is not None else CHECKED if self.amortised else CHECKED_BY_PARTICLES)
        theta, x = (part[-n:] for part in (self.held_out if data is None else self._pairs(data)))
        again = CHOSEN_BY - (len(self.held_out[0]) - len(theta))  # the first ones chose share and power
        if data is None and self.likelihood is not None and again > 0:
            warnings.warn(
                f"{min(again, len(theta))} of the {len(theta)} held-out simulations that check also chose how the two "
                "densities are weighted: pass data=(theta, x) of new ones for a check of its own",
                stacklevel=2,
            )
        x = self._features(x)
        if len(theta) < LEAST_CHECKED:
            raise DataError(
                f"a check needs at least {LEAST_CHECKED} held-out simulations (got {len(theta)}): simulate more"
            )
        if not self.amortised:
            drawn = np.stack([self._tempered(draws, one, seed + i, draws) for i, one in enumerate(x)])
        else:
            drawn = self._many(x, draws, seed)
        if not self.amortised:
            return calibration(theta, drawn, lambda values, i: self.log_prob(values, x[i]), seed=seed)

        def ordered(values: np.ndarray, i: int) -> np.ndarray:  # without constants, which no rank depends on
            inside, values = self.prior.log_prob(values) > -np.inf, self._off_ends(values)
            found = np.full(len(values), -np.inf)
            found[inside] = self._pooled(values[inside], x[i]) if inside.any() else found[inside]
            return found

        return calibration(theta, drawn, ordered, seed=seed)

    def _pairs(self, data: Any) -> tuple[np.ndarray, np.ndarray]:
        """Simulations of a user as arrays, those that failed left out."""
        given, seen = (in_columns(part) for part in data)
        theta, x = numbers(given, self.prior.names if names_of(given) else ()), numbers(seen, self.data_names)
        x = in_rows(x) if self.embedding is None else x
        wanted = self.held_out[1].shape[1:]
        if theta.ndim != 2 or theta.shape[1] != len(self.prior) or x.shape != (len(theta), *wanted):
            raise DataError(
                f"data must be parameters (n, {len(self.prior)}) and data (n, {', '.join(map(str, wanted))}) (got "
                f"{theta.shape} and {x.shape})"
            )
        return complete(theta, x)[:2]

    def predictive(
        self, simulator: Callable[..., Any], n: int = 100, x: Any = None, *, vectorised: bool = False, seed: int = 0
    ) -> np.ndarray:
        """Data (n, …) simulated from parameters of the posterior: they should look like the observation."""
        theta = self.sample(n, x, seed=seed)
        return simulate(simulator, theta, vectorised=vectorised, seed=seed, parameters=self.prior.names)

    def predictive_picture(
        self, path: str | Path, simulator: Callable[..., Any], n: int = 100, x: Any = None, *, vectorised: bool = False,
        seed: int = 0,
    ) -> Path:  # fmt: skip
        """Draw data simulated from the posterior as bands, and the observation on them, into a picture."""
        from pofx.apps.pair_plot import predictive_plot

        return predictive_plot(
            Path(path),
            self.predictive(simulator, n, x, vectorised=vectorised, seed=seed),
            self._seen(x),
            self.data_names,
        )

    def pairs(self, path: str | Path, x: Any = None, *, n: int = 2_000, truth: Any = None, seed: int = 0) -> Path:
        """Draw the marginals and pairs of the posterior, with true parameters where they are known, into a picture."""
        from pofx.apps.pair_plot import pair_plot

        truth = truth if truth is None else numbers(truth, self.prior.names)
        return pair_plot(Path(path), self.sample(n, x, seed=seed), self.prior.names, truth)

    def save(self, folder: str | Path) -> Path:
        """Write the posterior to a folder, from which `Posterior.load` reads it.

        Raises:
            UsageError: the prior is of a class that is neither scipy's nor torch's, so that it cannot be written.
        """
        folder = Path(folder)
        if self.prior.written is None:
            raise UsageError(
                "this prior has no plain values to be saved by: give it as texts, {'name': 'uniform(0, 1)', …}, or as "
                "distributions of scipy.stats or torch.distributions"
            )
        theta, x = self.held_out
        plain = {
            "prior": self.prior.written,
            "method": self.method,
            "runs": len(self.runs),
            "held_out": {"theta": theta.tolist(), "x": x.tolist()},
            "x": None if self.x is None else self.x.tolist(),
            "failed": self.failed,
            "rounds": self.rounds,
            "data_names": list(self.data_names),
            "coordinates": self.coordinates is not None,
            "share": None if self.likelihood is None else self.likelihood.share,
            "power": None if self.likelihood is None else self.likelihood.power,
        }
        with whole(folder) as aside:
            for i, run in enumerate(self.runs):
                run.save(aside / (f"run-{i}.npz" if isinstance(run, Ratio) else f"run-{i}"))
            if self.coordinates is not None:
                self.coordinates.save(aside / COORDINATES)
            if self.likelihood is not None:
                self.likelihood.save(aside / "likelihood")
            if self.embedding is not None:
                self.embedding.save(aside)
            write_json(aside / "posterior.json", plain)
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, embedding: Any = None) -> "Posterior":
        """A posterior that `save` wrote.

        Args:
            embedding: the network or function that it was learned with, where there was one: its code is not stored.
        """
        folder = Path(folder)
        if not (folder / "posterior.json").is_file():
            raise UsageError(f"there is no posterior in {folder}: make one with `pofx infer … --out {folder}`")
        plain = read_json(folder / "posterior.json")
        held = tuple(np.asarray(plain["held_out"][name], np.float64) for name in ("theta", "x"))
        names = [folder / f"run-{i}" for i in range(plain["runs"])]
        of_ratio = plain["method"] == "ratio"
        return cls(
            Prior.of(plain["prior"]),
            tuple(Ratio.load(n.with_suffix(".npz")) for n in names) if of_ratio else tuple(load(n) for n in names),
            plain["method"],
            (held[0], held[1]),
            None if plain["x"] is None else np.asarray(plain["x"], np.float64),
            plain["failed"],
            plain["rounds"],
            Coordinates.load(folder / COORDINATES) if plain.get("coordinates") else None,
            None
            if plain.get("share") is None
            else Likelihood.load(folder / "likelihood", plain["share"], plain.get("power", 1.0)),
            Embedding.load(folder / EMBEDDING, embedding) if (folder / EMBEDDING).exists() else None,
            tuple(plain.get("data_names", ())),
        )

    def __repr__(self) -> str:
        failed = f", {self.failed:.1%} of the simulations failed" if self.failed else ""
        models = f"{len(self.runs)} model{'s' if len(self.runs) > 1 else ''}{failed}"
        return f"<Posterior: {', '.join(self.prior.names)} given data, by {self.method} with {models}>"

    def at(self, x: Any) -> "Posterior":
        """The same with another observation as the default."""
        return replace(self, x=self._seen(x))

    def _seen(self, x: Any) -> np.ndarray:
        """An observation as the simulator's data are; None: that of `infer`."""
        if x is None:
            if self.x is None:
                raise UsageError("an observation is missing: pass x")
            return self.x
        found = checked(x, self.held_out[1].shape[1:], self.data_names)
        warn_beyond(found, self.held_out[1])
        return found

    def _observation(self, x: Any) -> np.ndarray:
        """An observation as the runs see it."""
        return np.asarray(self._features(self._seen(x)[None])[0])

    def _features(self, x: np.ndarray) -> np.ndarray:
        """Data (n, …) as the runs see them."""
        return x if self.embedding is None else self.embedding(x)

    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array(self.prior.bounds).T
        inner = 1e-9 * np.where(np.isfinite(high - low), high - low, 1.0)
        return low + inner, high - inner

    @property
    def _models(self) -> tuple[Artifact, ...]:
        return tuple(run for run in self.runs if isinstance(run, Artifact))

    def _likelihood(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        if self.method == "likelihood":
            return self._density(np.repeat(x[None], len(theta), 0), theta)
        logs = [run.log_ratio(theta, x) for run in self.runs if isinstance(run, Ratio)]
        return np.asarray(logsumexp(np.stack(logs), axis=0) - math.log(len(logs)))

    def _density(self, events: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Log-density (n,) of what the runs model, averaged over them."""
        return averaged(self._models, self.coordinates, events, given)

    def _log_weights(self, theta: np.ndarray, given: np.ndarray, value: np.ndarray | None = None) -> np.ndarray:
        """By how much the learned likelihood changes log q(θ | x), `value`, to its share: (n,), x being a row each."""
        assert self.likelihood is not None
        share, own = self.likelihood.share, self._density(theta, given) if value is None else value
        other = self.likelihood.log_prob(theta, given) if share > 0 else np.zeros(len(theta))
        return pooled(self.prior.log_prob(theta), own, other, share, self.likelihood.power) - own

    def _many(self, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
        """Draws (n, draws, d) for several observations; weighted and drawn again where a likelihood is learned."""
        if not self._weighted:
            return self._proposed(x, draws, seed)
        some = self._proposed(x, max(MORE * draws, LEAST_DRAWN), seed)
        theta, logs = list(some), list(self._logs(some, x))
        for turn in range(TURNS):  # more of those where fewer count than are drawn
            weights = [truncated(own) for own in logs]
            rows = [i for i, own in enumerate(weights) if own.sum() ** 2 / (own**2).sum() < draws]
            if not rows:
                break
            more = self._proposed(x[rows], len(theta[rows[0]]), seed + 31 * (turn + 1))
            for i, fresh, own in zip(rows, more, self._logs(more, x[rows]), strict=True):
                theta[i], logs[i] = np.concatenate([theta[i], fresh]), np.concatenate([logs[i], own])
        weights = [truncated(own) for own in logs]
        rng, found = np.random.default_rng([seed, 13]), []
        for one, own in zip(theta, weights, strict=True):
            found.append(one[rng.permutation(systematic(own / own.sum(), rng))[:draws]])
        return np.stack(found)

    def _logs(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Logarithms of the weights of draws (n, k, d) of q(θ | x) for several observations: (n, k)."""
        flat = theta.reshape(-1, theta.shape[2])
        return self._log_weights(flat, np.repeat(x, theta.shape[1], 0)).reshape(theta.shape[:2])

    def _proposed(self, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
        """Draws (n, draws, d) of the runs for several observations, in one call of each."""
        parts = [len(p) for p in np.array_split(np.arange(draws), len(self.runs))]
        found = []
        for i, (run, k) in enumerate(zip(self._models, parts, strict=True)):
            if k:
                given = np.repeat(x if self.coordinates is None else self.coordinates.features(x), k, 0)
                drawn = np.asarray(run.sample(len(given), condition=given, seed=seed + i), np.float64)
                drawn = drawn if self.coordinates is None else self.coordinates.back(drawn, given)
                found.append(drawn.reshape(len(x), k, -1))
        return np.concatenate(found, 1)
