"""pofx infer."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show
from pofx.declared import Folder, Reads

GROUP = "Uses"
EXAMPLE = 'pofx infer lab.py:simulate -p "rate=uniform(0, 1)" --observation seen.csv --out runs/lab'


def infer(
    simulator: Annotated[
        str,
        typer.Argument(
            help="file.py:function, from parameters (d,) to data, a second argument being a numpy Generator; an .npz "
            "of simulations with arrays theta and x; or the folder of a posterior."
        ),
        Reads(),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the posterior."), Folder()],
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior",
            "-p",
            help="NAME=DISTRIBUTION, one per parameter, in order: "
            "uniform(low, high), normal(mean, sd), loguniform, halfnormal, truncnormal, lognormal, gamma, beta, …",
        ),
    ] = None,
    observation: Annotated[Path | None, typer.Option(help=".csv, .npy or .npz of one observation."), Reads()] = None,
    simulations: Annotated[int, typer.Option(min=60, max=100_000_000)] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Later ones simulate where the posterior lies.")] = 1,
    method: Annotated[
        str, typer.Option(help="auto, posterior (npe), likelihood (nle), ratio (nre) or both (npe and nle).")
    ] = "auto",
    model: Annotated[str, typer.Option(help="Any conditional model with a density.")] = "nsf",
    members: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Averaged models (default: 3 of few simulations, else 1)."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, help="Of training (default: 100 passes).")
    ] = None,
    embedding: Annotated[
        str | None,
        typer.Option(help="file.py:Class of a torch network, or file.py:function: features of data for the posterior."),
        Reads(),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that simulate; -1: all cores.")] = 1,
    vectorised: Annotated[
        bool, typer.Option("--vectorised", help="The simulator takes all parameters (n, d) at once.")
    ] = False,
    n: Annotated[
        int, typer.Option("-n", min=1, max=10_000_000, help="Draws of the posterior of the observation.")
    ] = 2_000,
    seed: arguments.Seed = 0,
    options: arguments.Options = None,
    as_json: arguments.Json = False,
    overwrite: arguments.Overwrite = False,
) -> str | None:
    """Learn the posterior of a simulator's parameters, with checks of its calibration.

    The folder of a posterior instead of a simulator is that posterior, for another observation: nothing is trained.
    """
    import numpy as np

    from pofx.apps.infer import infer as learn
    from pofx.apps.parameter_posterior import LEAST_CHECKED, Posterior
    from pofx.apps.simulate import names_in, read_observation
    from pofx.core.config import function_in_file
    from pofx.core.errors import UsageError

    seen: Any = None if observation is None else read_observation(observation)
    named = () if observation is None else names_in(observation)
    if seen is not None and len({*named}) == seen.size:
        seen = dict(zip(named, seen.reshape(-1).tolist(), strict=True))
    run, net = None, None if embedding is None else function_in_file(embedding, "an embedding")
    if Path(simulator).is_dir():
        if prior or options or seen is None:
            raise UsageError("the folder of a posterior needs --observation, and takes no prior and no options")
        posterior = Posterior.load(simulator, embedding=net).at(seen)
    else:
        each = [part for text in prior or () for part in re.split(r",\s*(?=\w+\s*=)", text)]  # a=…,b=… are two
        written = dict(part.split("=", 1) for part in each if "=" in part)
        if not each or len(written) < len(each):
            raise UsageError("--prior must be NAME=DISTRIBUTION for every parameter, each with its own name")
        data = _simulations(Path(simulator)) if simulator.lower().endswith(".npz") else None
        run = function_in_file(simulator, "a simulator") if data is None else None
        posterior = learn(
            run, written, simulations=simulations, observation=seen, rounds=rounds, method=method, model=model,
            data=data, embedding=net, members=members, steps=steps, workers=workers, vectorised=vectorised, seed=seed,
            options=arguments.options(options),
        )  # fmt: skip
    posterior.save(out)
    held = len(posterior.held_out[0])
    check = posterior.check(seed=seed) if held >= LEAST_CHECKED else None
    found: dict[str, Any] = {"failed": posterior.failed, "calibration": None if check is None else check.to_json()}
    if seen is not None:
        draws = posterior.sample(n, seed=seed)
        posterior.pairs(out / "pairs.png", seed=seed)
        if run is not None:
            posterior.predictive_picture(out / "predictive.png", run, vectorised=vectorised, seed=seed)
        np.savetxt(out / "samples.csv", draws, delimiter=",", header=",".join(posterior.prior.names), comments="")
        low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=0)
        found["parameters"] = {
            name: {"median": float(m), "interval_90": [float(a), float(b)]}
            for name, m, a, b in zip(posterior.prior.names, middle, low, high, strict=True)
        }
    if as_json:
        output.as_json(found)
        return None
    for name, row in found.get("parameters", {}).items():
        show(f"{name}: {row['median']:.4g}  [{row['interval_90'][0]:.4g}, {row['interval_90'][1]:.4g}]")
    if check is None:
        show(f"calibration is not checked: {held} simulations are held out, at least {LEAST_CHECKED} are needed")
        return "posterior"
    level, low_end, high_end = check.coverage[0.9]
    show(f"90 % regions hold {level:.0%} of held-out truths [{low_end:.0%}, {high_end:.0%}]")
    show(f"ranks: least p {min(check.sbc):.3f}; random regions: error {check.tarp:.3f}")
    show("calibrated" if check.sound else "NOT calibrated: simulate more, train longer, or use --members 3")
    return "posterior"


def _simulations(path: Path) -> tuple[Any, Any]:
    """Parameters and data of an .npz."""
    import numpy as np

    from pofx.core.errors import DataError
    from pofx.data.bounded import reading

    with (
        reading(path, "simulation", "give an .npz with arrays theta and x"),
        np.load(path, allow_pickle=False) as file,
    ):
        lacking = [name for name in ("theta", "x") if name not in file.files]
        if lacking:
            raise DataError(f"{path} has no array {lacking[0]} (it has {', '.join(file.files) or 'none'}): add it")
        return file["theta"], file["x"]
