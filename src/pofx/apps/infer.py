"""From a simulator back to its parameters: p(θ | x) learned from simulations (Cranmer et al., 2020, arXiv 1911.01429).

Neural posterior estimation fits q(θ | x) by maximum likelihood on pairs from prior and simulator (Papamakarios and
Murray, 2016, arXiv 1605.06376), any conditional model of this library being q. Neural likelihood estimation fits
q(x | θ) (Papamakarios et al., 2019, arXiv 1805.07226) and draws from prior × likelihood by tempered particles; neural
ratio estimation does so with p(x | θ) / p(x) from a classifier (see `ratio`). Further rounds simulate where the
posterior of one observation lies: by truncated priors (Deistler et al., 2022, arXiv 2210.04815), which need no
correction, or by the posterior itself for likelihoods and ratios, which need none either. Bounds of the prior are
opened (see `coordinates`), so nothing leaks outside. Held-out simulations check the calibration of every answer.
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pofx.apps.coordinates import Coordinates, continuous
from pofx.apps.embedding import Embedding
from pofx.apps.observations import checked, in_columns, in_rows, names_of, numbers
from pofx.apps.parameter_posterior import Posterior
from pofx.apps.pooled import CHOSEN_BY, Evidence, Likelihood
from pofx.apps.prior import Prior
from pofx.apps.ratio import Ratio
from pofx.apps.simulate import complete, named_data
from pofx.apps.simulated import budget_of, conditioned_splits, held_out_of
from pofx.core.errors import DataError, UsageError, unknown
from pofx.core.event import Continuous
from pofx.core.model import Explicit
from pofx.core.options import Count, check_options
from pofx.core.options import checked as check_arguments_of
from pofx.core.progress import Sink
from pofx.data.dataset import dataset
from pofx.data.kinds.points import points
from pofx.runs.fitting import fit
from pofx.runs.models import model_entry
from pofx.runs.options import sort_options

PUBLIC = ("infer",)

METHODS = ("auto", "posterior", "likelihood", "ratio", "both")
SHORT = {s + p: m for p, m in (("npe", "posterior"), ("nle", "likelihood"), ("nre", "ratio")) for s in ("", "s", "ts")}
MANY = 5_000  # simulations from which one model is enough
TAIL = 1e-4  # share of the posterior outside of the truncated prior of the next round
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a likelihood beside a posterior
CONSTANT_CHOICE = 64  # draws of each simulation that chooses
PATIENCE = 8  # rounds of validation in vain, of 24, after which a training ends
MOST_OF_BOTH = 2_500  # steps of each
SMALL = {"layers": 3, "bins": 8, "width": 64, "blocks": 2, "octaves": 0}  # of the default model


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
    embedding: Any = None,
    workers: int = 1,
    vectorised: bool = False,
    seed: int = 0,
    progress: bool | Sink = True,
    options: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> Posterior:
    """Learn the posterior of a simulator's parameters.

    Args:
        simulator: from parameters (d,) to data, see `pofx.apps.simulate.named_data`; None with `data`.
        prior: a dict of scipy distributions or texts by parameter, or a torch Distribution over vectors.
        simulations: in all rounds together.
        observation: data of the question at hand; needed for several rounds, else the posterior is for any data.
        rounds: of simulation; later ones simulate only where the posterior of the observation lies, of any method.
        method: "posterior" (npe) fits q(θ | x); "likelihood" (nle) fits q(x | θ), "ratio" (nre) a classifier of pairs,
            and these two draw by particles; "fmpe" is the first with flow matching. "both" fits q(θ | x) and q(x | θ),
            and weights draws of the first by powers of both that held-out simulations choose. "auto" is "both" of nsf
            where data are rows of real numbers, "posterior" elsewhere.
        model: of q, any conditional model with a density; not used by "ratio".
        members: models with different seeds and validation parts, averaged; by default 3 of fewer than 5,000
            simulations, else 1; of "both" 2 of each kind, else 1.
        steps: of training per round; by default 100 passes, between 800 and 4,000, of "both" at most 2,500 of each. An
            embedding takes up to four times as many.
        data: parameters (n, d) from the prior and their data (n, …), where they are simulated already.
        embedding: a network of torch (or a class of one) from data (n, …) to features (n, k), which are all that the
            posterior is given; it is trained on the simulations first. A function of arrays is taken as it is.
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
    if method.lower() == "fmpe":
        method, model = "posterior", "flow-matching" if model == "nsf" else model
    method = SHORT.get(method.lower(), method)
    if method not in METHODS:
        raise unknown("method", method, (*METHODS, *SHORT))
    if rounds < 1 or (rounds > 1 and (observation is None or simulator is None)):
        raise UsageError(f"{rounds} rounds need an observation and a simulator: rounds must be 1 without them")
    if simulations < 20:
        raise UsageError(f"simulations must be at least 20 (got {simulations})")
    if method != "ratio" and not issubclass(model_entry(model).model, Explicit):
        raise UsageError(f"{model} has no density: choose nsf, maf, flow-matching or another model with one")
    if method != "ratio" and Continuous not in model_entry(model).model.conditions:
        raise UsageError(f"{model} takes no numbers as its condition: choose nsf, maf or flow-matching")
    if not 1 <= (members or 1) <= 100:
        raise UsageError(f"members must be 1 to 100 (got {members})")
    _check_training(model, method, options, trainer)
    if (simulator is None) == (data is None):
        raise UsageError("pass a simulator, or the simulations as data=(theta, x), and not both")
    if data is not None:
        given_theta, given_x = (in_columns(part) for part in data)
        names = names_of(given_x)
        theta, x = numbers(given_theta, prior.names if names_of(given_theta) else ()), numbers(given_x)
        if theta.ndim != 2 or theta.shape[1] != len(prior) or len(theta) != len(x):
            raise DataError(f"data must be parameters (n, {len(prior)}) and n data (got {theta.shape} and {x.shape})")
        outside = ~(prior.log_prob(theta) > -np.inf)
        if outside.any():
            raise DataError(f"data must have parameters that the prior allows (got {theta[outside][0].tolist()})")
    else:
        theta, x, names = np.empty((0, len(prior))), np.empty(0), ()
    posterior, failed = None, 0.0
    for turn in range(rounds):
        if simulator is not None:
            count = simulations // rounds + (turn < simulations % rounds)
            fresh, kept = _proposed(prior, posterior, count, seed + 7919 * turn, theta)
            how: dict[str, Any] = {"workers": workers, "vectorised": vectorised, "parameters": prior.names}
            made, names = named_data(simulator, fresh, seed=seed + turn, **how)
            theta, x = (fresh, made) if turn == 0 else (np.concatenate([theta[kept], fresh]),
                                                        np.concatenate([x[kept], made]))  # fmt: skip
        theta, x, failed = complete(theta, x if embedding is not None else in_rows(x))
        given = None if observation is None else checked(observation, x.shape[1:], names)
        net, seen = None, x
        if embedding is not None:
            test, validation, train = _parts(len(x), seed)
            both = np.concatenate([validation, train])
            held, most = len(validation), None if steps is None else 4 * steps
            net = Embedding.fit(embedding, theta[both], x[both], held, prior.bounds, steps=most, seed=seed)
            seen = net(x)
        by = method
        if by == "auto":
            by = "both" if model == "nsf" and seen.ndim == 2 and continuous(seen) else "posterior"
        posterior = _learned(prior, theta, seen, by, model, members, steps, seed, progress, options, trainer)
        if net is not None:
            posterior = replace(posterior, embedding=net, held_out=(theta[test], x[test]))
        posterior = replace(posterior, x=given, failed=failed, rounds=turn + 1, data_names=names)
    assert posterior is not None
    return posterior


def _check_training(
    model: str, method: str, options: Mapping[str, Any] | None, trainer: Mapping[str, Any] | None
) -> None:
    """Refuse options that nobody knows before anything is simulated.

    Raises:
        UsageError: naming the option.
    """
    if method == "ratio":
        for name in options or {}:
            if name != "units":
                raise unknown("option of the method ratio", name, ("units",))
        return
    row = model_entry(model)
    check_options(row.model, sort_options(row, {}, options=options, trainer=trainer).options)


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
            found.append(more[prior.log_prob(more) > -np.inf])
    return np.concatenate(found)[:n], posterior.log_prob(before) >= reach


def _learned(
    prior: Prior, theta: np.ndarray, x: np.ndarray, method: str, model: str, members: int | None, steps: int | None,
    seed: int, progress: bool | Sink, options: Mapping[str, Any] | None, trainer: Mapping[str, Any] | None,
) -> Posterior:  # fmt: skip
    """A posterior by one method, or by both with the share and the power that held-out simulations choose."""
    if method != "both":
        return _fitted(prior, theta, x, method, model, members, steps, seed, progress, options, trainer)
    members = members or (2 if len(theta) < MANY else 1)
    steps = steps or min(budget_of(len(theta) - 2 * held_out_of(len(theta)))[1], MOST_OF_BOTH)
    shared = (model, members, steps, seed, progress, options, trainer)
    first = _fitted(prior, theta, x, "posterior", *shared)
    second = _fitted(prior, theta, x, "likelihood", *shared)
    likelihood = Likelihood(second._models, second.coordinates, 1.0)
    truth, seen = (part[:CHOSEN_BY] for part in first.held_out)
    drawn = first._proposed(seen, CONSTANT_CHOICE, seed)
    rows, size = np.repeat(seen, drawn.shape[1], 0), drawn.shape[:2]
    flat = drawn.reshape(len(rows), -1)
    found = Evidence(
        (prior.log_prob(truth), prior.log_prob(flat).reshape(size)),
        (first._density(truth, seen), first._density(flat, rows).reshape(size)),
        (likelihood.log_prob(truth, seen), likelihood.log_prob(flat, rows).reshape(size)),
    )
    share = max(SHARES, key=found.score)
    chosen = replace(likelihood, share=share, power=found.power(share))
    return replace(first, method="both", likelihood=chosen)


def _parts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which simulations check, validate and train."""
    held = held_out_of(n)
    test, validation, train = np.split(np.random.default_rng([seed, 5]).permutation(n), [held, 2 * held])
    return test, validation, train


def _fitted(
    prior: Prior, theta: np.ndarray, x: np.ndarray, method: str, model: str, members: int | None, steps: int | None,
    seed: int, progress: bool | Sink, options: Mapping[str, Any] | None, trainer: Mapping[str, Any] | None,
) -> Posterior:  # fmt: skip
    test, validation, train = _parts(len(theta), seed)
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
    training = {"batch_size": batch, "patience": PATIENCE, **(trainer or {})}
    runs = []
    for i in range(members):
        learned, checking, held_out = (points(events[rows], support=support) for rows in (train, validation, test))
        whole = dataset(learned, checking, held_out, "simulations", source="", licence="", count_overlaps=False)
        whole = conditioned_splits(whole, np.concatenate([given[train], given[validation], given[test]]))
        runs.append(fit(whole, model, steps=count, seed=seed + i, progress=progress, options=values, trainer=training))
        rest = np.concatenate([train, validation])  # every member is validated on other simulations
        validation, train = rest[: len(validation)], rest[len(validation) :]
    return Posterior(prior, tuple(runs), method, (theta[test], x[test]), coordinates=coordinates)
