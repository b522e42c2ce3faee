"""From a simulator back to its parameters: p(θ | x) learned from simulations (Cranmer et al., 2020, arXiv 1911.01429).

Neural posterior estimation fits q(θ | x) by maximum likelihood on pairs from prior and simulator (Papamakarios and
Murray, 2016, arXiv 1605.06376), any conditional model of this library being q. Neural likelihood estimation fits
q(x | θ) (Papamakarios et al., 2019, arXiv 1805.07226) and draws from prior × likelihood by tempered particles; neural
ratio estimation does so with p(x | θ) / p(x) from a classifier (see `ratio`). Further rounds simulate where the
posterior of one observation lies: by truncated priors (Deistler et al., 2022, arXiv 2210.04815), which need no
correction, or by the posterior itself for likelihoods and ratios, which need none either. Bounds of the prior are
opened (see `coordinates`), so nothing leaks outside. Held-out simulations check the calibration of every answer.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from pofx.apps.coordinates import Coordinates, continuous
from pofx.apps.observations import checked, in_rows, warn_beyond
from pofx.apps.pooled import COORDINATES, Likelihood, averaged, truncated
from pofx.apps.prior import Prior
from pofx.apps.ratio import Ratio
from pofx.apps.simulate import complete, simulate
from pofx.apps.simulated import budget_of, conditioned_splits, held_out_of
from pofx.artifact import Artifact, load
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.files import read_json, whole, write_json
from pofx.core.model import Explicit
from pofx.core.options import Count
from pofx.core.options import checked as check_arguments_of
from pofx.core.progress import Sink
from pofx.data.dataset import dataset
from pofx.data.kinds.points import points
from pofx.evaluate.calibration import Calibration, calibration
from pofx.maths.particles import systematic, tempered
from pofx.runs.fitting import fit
from pofx.runs.models import model_entry

PUBLIC = ("Posterior", "infer")

METHODS = ("auto", "posterior", "likelihood", "ratio", "both")
SHORT = {s + p: m for p, m in (("npe", "posterior"), ("nle", "likelihood"), ("nre", "ratio")) for s in ("", "s", "ts")}
PARTICLES, CHECKED, CHECKED_BY_PARTICLES = 1_000, 300, 100  # of draws; held-out simulations of a check
MANY = 5_000  # simulations from which one model is enough
TAIL = 1e-4  # share of the posterior outside of the truncated prior of the next round
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a likelihood beside a posterior
CHOSEN_BY, CONSTANT_CHOICE, CONSTANT = 200, 200, 2_000  # simulations that choose, draws behind a constant
MOST_OF_BOTH = 2_500  # steps of each
MORE, LEAST_DRAWN = 4, 400  # times as many draws are weighted; draws at least
SMALL = {"layers": 3, "bins": 8, "width": 64, "blocks": 2, "octaves": 0}  # of the default model


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
        if isinstance(n, Sequence):
            return self.sample(math.prod(n), x, seed=seed).reshape(*n, len(self.prior))
        if n < 1:
            raise UsageError(f"n must be at least 1 (got {n})")
        n, x = int(n), self._observation(x)
        return self._many(x[None], n, seed)[0] if self.amortised else self._tempered(n, x, seed, PARTICLES)

    def _tempered(self, n: int, x: np.ndarray, seed: int, particles: int) -> np.ndarray:
        """Draws (n, d) of prior and likelihood by at least so many particles."""
        return tempered(
            lambda count, s: self.prior.sample(count, s), self.prior.log_prob,
            lambda theta: self._likelihood(theta, x), n, particles=particles, seed=seed,
        )  # fmt: skip

    def log_prob(self, theta: Any, x: Any = None) -> np.ndarray:
        """Log-density float64 (n,) of parameters (n, d); without its constant by "likelihood" and "ratio"."""
        theta, x = np.atleast_2d(np.asarray(theta, np.float64)), self._observation(x)
        inside = np.isfinite(self.prior.log_prob(theta))
        value = np.full(len(theta), -np.inf)
        if not inside.any():
            return value
        if not self.amortised:
            value[inside] = self.prior.log_prob(theta[inside]) + self._likelihood(theta[inside], x)
            return value
        value[inside] = self._pooled(theta[inside], x) - self._constant(x)
        return value

    def _pooled(self, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
        """log q(θ | x) of parameters inside the bounds, weighted by the likelihood without its constant: (n,)."""
        value = self._density(theta, np.repeat(x[None], len(theta), 0))
        return value + self._log_weights(theta, x, value) if self._weighted else value

    def _constant(self, x: np.ndarray) -> float:
        """The logarithm of the mean weight of draws under an observation."""
        if not self._weighted:
            return 0.0
        key = x.tobytes()
        if key not in self._constants:
            drawn = self._proposed(x[None], CONSTANT, 0)[0]
            self._constants[key] = float(logsumexp(self._log_weights(drawn, x)) - math.log(len(drawn)))
        return self._constants[key]

    @property
    def _weighted(self) -> bool:
        return self.likelihood is not None and self.likelihood.share > 0

    def map(self, x: Any = None, *, seed: int = 0) -> np.ndarray:
        """The parameters (d,) of highest posterior density: the best of 1,000 draws, refined."""
        x = self._observation(x)
        start = self.sample(1_000, x, seed=seed)
        best = start[np.argmax(self.log_prob(start, x))]
        scale = start.std(0) + 1e-12
        bounds = [(low, high) for low, high in zip(*self._box(best, scale), strict=True)]
        found = minimize(
            lambda u: -min(float(self.log_prob(best + u * scale, x)[0]), 1e300),
            np.zeros(len(best)), method="Nelder-Mead", bounds=bounds, options={"maxiter": 200 * len(best)},
        )  # fmt: skip
        return np.asarray(best + found.x * scale)

    def check(self, n: int | None = None, *, draws: int = 200, seed: int = 0) -> Calibration:
        """Calibration on n held-out simulations (300, or 100 where draws need particles): ranks, random regions,
        expected coverage.

        After several rounds it holds for the region that the last round simulated.
        """
        n = n or (CHECKED if self.amortised else CHECKED_BY_PARTICLES)
        theta, x = (part[:n] for part in self.held_out)
        if len(theta) < 20:
            raise DataError(f"a check needs at least 20 held-out simulations (got {len(theta)}): simulate more")
        if not self.amortised:
            drawn = np.stack([self._tempered(draws, one, seed + i, draws) for i, one in enumerate(x)])
        else:
            drawn = self._many(x, draws, seed)
        if not self.amortised:
            return calibration(theta, drawn, lambda values, i: self.log_prob(values, x[i]), seed=seed)

        def ordered(values: np.ndarray, i: int) -> np.ndarray:  # without constants, which no rank depends on
            inside = np.isfinite(self.prior.log_prob(values))
            found = np.full(len(values), -np.inf)
            found[inside] = self._pooled(values[inside], x[i]) if inside.any() else found[inside]
            return found

        return calibration(theta, drawn, ordered, seed=seed)

    def predictive(
        self, simulator: Callable[..., Any], n: int = 100, x: Any = None, *, vectorised: bool = False, seed: int = 0
    ) -> np.ndarray:
        """Data (n, …) simulated from parameters of the posterior: they should look like the observation."""
        return simulate(simulator, self.sample(n, x, seed=seed), vectorised=vectorised, seed=seed)

    def predictive_picture(
        self, path: str | Path, simulator: Callable[..., Any], n: int = 100, x: Any = None, *, vectorised: bool = False,
        seed: int = 0,
    ) -> Path:  # fmt: skip
        """Draw data simulated from the posterior as bands, and the observation on them, into a picture."""
        from pofx.apps.pair_plot import predictive_plot

        return predictive_plot(
            Path(path), self.predictive(simulator, n, x, vectorised=vectorised, seed=seed), self._observation(x)
        )

    def pairs(self, path: str | Path, x: Any = None, *, n: int = 2_000, truth: Any = None, seed: int = 0) -> Path:
        """Draw the marginals and pairs of the posterior, with true parameters where they are known, into a picture."""
        from pofx.apps.pair_plot import pair_plot

        return pair_plot(Path(path), self.sample(n, x, seed=seed), self.prior.names, truth)

    def save(self, folder: str | Path) -> Path:
        """Write the posterior to a folder, from which `Posterior.load` reads it.

        Raises:
            UsageError: the prior was not given as texts, such as "uniform(0, 1)", so that it cannot be written.
        """
        folder = Path(folder)
        if self.prior.written is None:
            raise UsageError('only priors given as texts can be saved: pass {"name": "uniform(0, 1)", …}')
        theta, x = self.held_out
        plain = {
            "prior": self.prior.written,
            "method": self.method,
            "runs": len(self.runs),
            "held_out": {"theta": theta.tolist(), "x": x.tolist()},
            "x": None if self.x is None else self.x.tolist(),
            "failed": self.failed,
            "rounds": self.rounds,
            "coordinates": self.coordinates is not None,
            "share": None if self.likelihood is None else self.likelihood.share,
        }
        with whole(folder) as aside:
            for i, run in enumerate(self.runs):
                run.save(aside / (f"run-{i}.npz" if isinstance(run, Ratio) else f"run-{i}"))
            if self.coordinates is not None:
                self.coordinates.save(aside / COORDINATES)
            if self.likelihood is not None:
                self.likelihood.save(aside / "likelihood")
            write_json(aside / "posterior.json", plain)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Posterior":
        """A posterior that `save` wrote."""
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
            None if plain.get("share") is None else Likelihood.load(folder / "likelihood", plain["share"]),
        )

    def __repr__(self) -> str:
        failed = f", {self.failed:.1%} of the simulations failed" if self.failed else ""
        models = f"{len(self.runs)} model{'s' if len(self.runs) > 1 else ''}{failed}"
        return f"<Posterior: {', '.join(self.prior.names)} given data, by {self.method} with {models}>"

    def at(self, x: Any) -> "Posterior":
        """The same with another observation as the default."""
        return replace(self, x=self._observation(x))

    def _observation(self, x: Any) -> np.ndarray:
        if x is None:
            if self.x is None:
                raise UsageError("an observation is missing: pass x")
            return self.x
        found = checked(x, self.held_out[1].shape[1:])
        warn_beyond(found, self.held_out[1])
        return found

    def _box(self, best: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = np.array(self.prior.bounds).T
        inner = 1e-9 * np.where(np.isfinite(high - low), high - low, 1.0)
        return (low + inner - best) / scale, (high - inner - best) / scale

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

    def _log_weights(self, theta: np.ndarray, x: np.ndarray, value: np.ndarray | None = None) -> np.ndarray:
        """By how much the learned likelihood changes log q(θ | x), `value`, to its share: (n,)."""
        assert self.likelihood is not None
        given = np.repeat(x[None], len(theta), 0)
        other = self.prior.log_prob(theta) + self.likelihood.log_prob(theta, given)
        return np.asarray(self.likelihood.share * (other - (self._density(theta, given) if value is None else value)))

    def _many(self, x: np.ndarray, draws: int, seed: int) -> np.ndarray:
        """Draws (n, draws, d) for several observations; weighted and drawn again where a likelihood is learned."""
        if not self._weighted:
            return self._proposed(x, draws, seed)
        some = self._proposed(x, max(MORE * draws, LEAST_DRAWN), seed)
        rng, found = np.random.default_rng([seed, 13]), []
        for theta, one in zip(some, x, strict=True):
            weights = truncated(self._log_weights(theta, one))
            found.append(theta[rng.permutation(systematic(weights / weights.sum(), rng))[:draws]])
        return np.stack(found)

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


@check_arguments_of
def infer(
    simulator: Any,
    prior: Any,
    *,
    simulations: Count = 10_000,
    observation: Any = None,
    rounds: Count = 1,
    method: str = "auto",
    model: str = "nsf",
    members: Count | None = None,
    steps: Count | None = None,
    data: Any = None,
    workers: int = 1,
    vectorised: bool = False,
    seed: int = 0,
    progress: bool | Sink = True,
    options: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Posterior:
    """Learn the posterior of a simulator's parameters.

    Args:
        simulator: from parameters (d,) to data, see `pofx.apps.simulate`; None with `data`.
        prior: a dict of scipy distributions or texts by parameter, or a torch Distribution over vectors.
        simulations: in all rounds together.
        observation: data of the question at hand; needed for several rounds, else the posterior is for any data.
        rounds: of simulation; later ones simulate only where the posterior of the observation lies, of any method.
        method: "posterior" (npe) fits q(θ | x); "likelihood" (nle) fits q(x | θ), "ratio" (nre) a classifier of pairs,
            and these two draw by particles. "both" fits q(θ | x) and q(x | θ), and weights draws of the first by a
            power of the second that held-out simulations choose. "auto" is "both" of nsf where data are rows of real
            numbers, "posterior" elsewhere.
        model: of q, any conditional model with a density; not used by "ratio".
        members: models with different seeds and validation parts, averaged; by default 3 of fewer than 5,000
            simulations, else 1; of "both" 2 of each kind, else 1.
        steps: of training per round; by default 100 passes, between 800 and 4,000, of "both" at most 2,500 of each.
        data: parameters (n, d) from the prior and their data (n, …), where they are simulated already.
        workers: processes that simulate; -1 takes all cores.
        vectorised: the simulator takes all parameters at once.
        progress: as in `fit`.
        options: of the model, as in `fit`.
        trainer: of its training, as in `fit`.

    Raises:
        UsageError: an unknown method, a simulator or an observation of the wrong shape.
        DataError: too few simulations with finite data.
    """
    prior = Prior.of(prior)
    method = SHORT.get(method.lower(), method)
    if method not in METHODS:
        raise unknown("method", method, (*METHODS, *SHORT))
    if rounds < 1 or (rounds > 1 and (observation is None or simulator is None)):
        raise UsageError(f"{rounds} rounds need an observation and a simulator: rounds must be 1 without them")
    if simulations < 20:
        raise UsageError(f"simulations must be at least 20 (got {simulations})")
    if method != "ratio" and not issubclass(model_entry(model).model, Explicit):
        raise UsageError(f"{model} has no density: choose nsf, maf, flow-matching or another model with one")
    if not 1 <= (members or 1) <= 100:
        raise UsageError(f"members must be 1 to 100 (got {members})")
    if (simulator is None) == (data is None):
        raise UsageError("pass a simulator, or the simulations as data=(theta, x), and not both")
    if data is not None:
        theta, x = (np.asarray(part, np.float64) for part in data)
        if theta.ndim != 2 or theta.shape[1] != len(prior) or len(theta) != len(x):
            raise DataError(f"data must be parameters (n, {len(prior)}) and n data (got {theta.shape} and {x.shape})")
        outside = ~np.isfinite(prior.log_prob(theta))
        if outside.any():
            raise DataError(f"data must have parameters that the prior allows (got {theta[outside][0].tolist()})")
    else:
        theta, x = np.empty((0, len(prior))), np.empty(0)
    posterior, failed = None, 0.0
    for turn in range(rounds):
        if simulator is not None:
            count = simulations // rounds + (turn < simulations % rounds)
            fresh, kept = _proposed(prior, posterior, count, seed + 7919 * turn, theta)
            made = simulate(simulator, fresh, workers=workers, vectorised=vectorised, seed=seed + turn)
            theta, x = (fresh, made) if turn == 0 else (np.concatenate([theta[kept], fresh]),
                                                        np.concatenate([x[kept], made]))  # fmt: skip
        theta, x, failed = complete(theta, in_rows(x))
        given = None if observation is None else checked(observation, x.shape[1:])
        if method == "auto":
            method = "both" if model == "nsf" and x.ndim == 2 and continuous(x) else "posterior"
        posterior = _learned(prior, theta, x, method, model, members, steps, seed, progress, options, trainer)
        posterior = replace(posterior, x=given, failed=failed, rounds=turn + 1)
    assert posterior is not None
    return posterior


def _proposed(
    prior: Prior, posterior: Posterior | None, n: int, seed: int, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters for the next round: of the prior inside the region that the posterior leaves, and which former ones
    lie inside; of the posterior, and all, where likelihoods are learned (Papamakarios et al., 2019)."""
    if posterior is None:
        return prior.sample(n, seed), np.zeros(len(before), bool)
    if not posterior.amortised:  # p(x | θ) is the same wherever parameters are drawn
        return posterior.sample(n, seed=seed), np.ones(len(before), bool)
    reach = np.quantile(posterior.log_prob(posterior.sample(2_000, seed=seed)), TAIL)
    found: list[np.ndarray] = []
    tried = 0
    while sum(len(part) for part in found) < n:
        drawn = prior.sample(max(4 * n, 10_000), seed + 1 + tried)
        found.append(drawn[posterior.log_prob(drawn) >= reach])
        tried += 1
        if tried == 50 and sum(len(part) for part in found) < n / 10:
            warnings.warn("the posterior is much narrower than the prior: the rest of this round is drawn from it",
                          stacklevel=3)  # fmt: skip
            more = posterior.sample(n, seed=seed)
            found.append(more[np.isfinite(prior.log_prob(more))])
    return np.concatenate(found)[:n], posterior.log_prob(before) >= reach


def _learned(
    prior: Prior, theta: np.ndarray, x: np.ndarray, method: str, model: str, members: int | None, steps: int | None,
    seed: int, progress: bool | Sink, options: Mapping[str, Any] | None, trainer: Mapping[str, Any] | None,
) -> Posterior:  # fmt: skip
    """A posterior by one method, or by both with the power that held-out simulations choose."""
    if method != "both":
        return _fitted(prior, theta, x, method, model, members, steps, seed, progress, options, trainer)
    members = members or (2 if len(theta) < MANY else 1)
    steps = steps or min(budget_of(len(theta) - 2 * held_out_of(len(theta)))[1], MOST_OF_BOTH)
    shared = (model, members, steps, seed, progress, options, trainer)
    first = _fitted(prior, theta, x, "posterior", *shared)
    second = _fitted(prior, theta, x, "likelihood", *shared)
    whole = Likelihood(second._models, second.coordinates, 1.0)
    both = replace(first, method="both", likelihood=whole)
    parts = [part[:CHOSEN_BY] for part in first.held_out]
    value = [both._density(*parts), prior.log_prob(parts[0]) + whole.log_prob(*parts)]
    drawn = first._proposed(parts[1], CONSTANT_CHOICE, seed)
    gaps = np.stack([both._log_weights(some, one) for some, one in zip(drawn, parts[1], strict=True)])
    own = value[1] - value[0]
    gaps = np.concatenate([gaps, own[:, None]], 1)  # the truth is one of the draws: no share wins by a lost constant

    def score(share: float) -> float:
        constant = logsumexp(share * gaps, axis=1) - math.log(gaps.shape[1])
        return float(np.mean(value[0] + share * own - constant))

    return replace(both, likelihood=replace(whole, share=max(SHARES, key=score)))


def _fitted(
    prior: Prior, theta: np.ndarray, x: np.ndarray, method: str, model: str, members: int | None, steps: int | None,
    seed: int, progress: bool | Sink, options: Mapping[str, Any] | None, trainer: Mapping[str, Any] | None,
) -> Posterior:  # fmt: skip
    order = np.random.default_rng([seed, 5]).permutation(len(theta))
    held = held_out_of(len(theta))
    test, validation, train = np.split(order, [held, 2 * held])
    members = members or (3 if len(theta) < MANY else 1)
    if method == "ratio":
        both = np.concatenate([validation, train])  # the classifier holds out pairs of its own
        ratios = tuple(
            Ratio.fit(theta[both], x[both], seed=seed + i, steps=steps, **dict(options or {})) for i in range(members)
        )
        return Posterior(prior, ratios, method, (theta[test], x[test]))
    events, given = (theta, x) if method == "posterior" else (x, theta)
    if events.ndim != 2:
        raise UsageError(f"the method 'likelihood' needs data in rows (got shape {x.shape[1:]}): summarise them")
    support, coordinates = prior.support if method == "posterior" else None, None
    if given.ndim == 2 and (method == "posterior" or continuous(events)):
        bounds, support = prior.bounds if method == "posterior" else None, None
        coordinates = Coordinates.fit(events[train], given[train], bounds)
        given = coordinates.features(given)
        events = coordinates.forward(events, given)[0]
    values = {**(SMALL if model == "nsf" else {}), **(options or {})}
    batch, usual = budget_of(len(train))
    count = usual if steps is None else steps
    training = {"batch_size": batch, **(trainer or {})}
    runs = []
    for i in range(members):
        learned, checking, held_out = (points(events[rows], support=support) for rows in (train, validation, test))
        whole = dataset(learned, checking, held_out, "simulations", source="", licence="", count_overlaps=False)
        whole = conditioned_splits(whole, np.concatenate([given[train], given[validation], given[test]]))
        runs.append(fit(whole, model, steps=count, seed=seed + i, progress=progress, options=values, trainer=training))
        rest = np.concatenate([train, validation])  # every member is validated on other simulations
        validation, train = rest[: len(validation)], rest[len(validation) :]
    return Posterior(prior, tuple(runs), method, (theta[test], x[test]), coordinates=coordinates)
