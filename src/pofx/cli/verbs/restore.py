"""pofx restore."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pofx.cli import arguments, output
from pofx.core.printed import show
from pofx.declared import File, Reads

GROUP = "Uses"
EXAMPLE = "pofx restore runs/digits y.npz --operator blur -o sigma=1.5 --noise 0.05 --out restored.png"


def restore(
    run: arguments.Run,
    measurements: Annotated[
        Path | None,
        typer.Argument(help=".npz (array `y`, perhaps `mask`) or .npy of measurements.", metavar="Y"),
        Reads(),
    ] = None,
    operator: Annotated[
        str,
        typer.Option(help="denoise, inpaint, superres, grey, blur, motion, sensing, mri, tomography or phase."),
    ] = "denoise",
    noise: Annotated[str, typer.Option(help="A deviation, unknown, or poisson(gain).")] = "0.05",
    simulate: Annotated[
        str | None, typer.Option(help="Measure items of this data instead, and check."), Reads()
    ] = None,
    items: Annotated[int, typer.Option(min=1, max=1_000_000, help="Items that --simulate measures.")] = 16,
    split: arguments.Split = None,
    method: Annotated[str, typer.Option(help="auto: by what the model can do.")] = "auto",
    n: Annotated[int, typer.Option("-n", min=1, max=100_000, help="Draws for each measurement.")] = 39,
    out: Annotated[Path, typer.Option(help="A picture .png, or .npz of the draws."), File(".png", ".npz")] = Path(
        "restored.png"
    ),
    condition: arguments.Condition = None,
    seed: arguments.Seed = 0,
    device: arguments.Device = "auto",
    options: arguments.Options = None,
    method_options: Annotated[
        list[str] | None, typer.Option("--method-option", help="KEY=VALUE of the method, repeatable.")
    ] = None,
    as_json: arguments.Json = False,
) -> str | None:
    """Find the items behind measurements, with a trained run as the prior; -o sets options of the operator."""
    import numpy as np

    from pofx.artifact import load
    from pofx.core.errors import UsageError
    from pofx.data.kind import take
    from pofx.inverse import posterior as inverse
    from pofx.inverse.restoration import checked

    if (measurements is None) == (simulate is None):
        raise UsageError("give measurements, or --simulate DATA, and not both")
    artifact = load(run).to(device)
    settings: dict[str, Any] = arguments.options(options)
    truth = None
    if simulate is not None:
        held = arguments.items(artifact, simulate, split or "test")
        y, truth = inverse.measure(
            artifact, take(held, range(min(items, len(held)))), operator, noise, operator_options=settings, seed=seed
        )
    else:
        assert measurements is not None
        y, found = _read(measurements)
        if found is not None and operator == "inpaint":
            settings = {"mask": found, **settings}
    stated = arguments.conditions(artifact, condition, len(np.atleast_1d(y)))
    made = inverse.posterior(
        artifact, y, operator, noise, method=method, condition=stated, operator_options=settings,
        options=arguments.options(method_options),
    )  # fmt: skip
    with output.waiting(f"restoring by {made.method} with {artifact.name}"):
        restored = made.sample(n, seed=seed)
    if out.suffix == ".png":
        restored.picture(out, truth)
    else:
        restored.save(out)
    report: dict[str, Any] = {
        "method": restored.method,
        "draws": restored.draws,
        "measurements": len(restored.samples),
        "residual": float(restored.residual.mean()),
    }
    if restored.level is not None:
        report["noise"] = [float(v) for v in restored.level]
    if truth is not None and n >= 19:
        report |= checked(restored, truth).to_json()
    if as_json:
        output.as_json(report)
        return None
    show(output.pairs({k: v for k, v in report.items() if not isinstance(v, dict)}))
    for level, (value, low, high) in report.get("coverage", {}).items():
        show(f"{float(level):.0%} intervals hold {value:.1%} [{low:.1%}, {high:.1%}]")
    return f"{n} draws for {len(restored.samples)} measurements"


def _read(path: Path) -> tuple[Any, Any]:
    """Measurements and a mask, if there is one."""
    import numpy as np

    from pofx.core.errors import DataError
    from pofx.data.bounded import reading

    if path.suffix.lower() not in (".npy", ".npz"):
        raise DataError(f"measurements are numbers: give an .npz with an array y, or an .npy (got '{path.name}')")
    with reading(path, "measurement", "give an .npz with an array y, or an .npy"):
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found, None
        with found:
            if not found.files:
                raise DataError(f"{path} holds no arrays: give an .npz with an array y, or an .npy")
            name = "y" if "y" in found.files else found.files[0]
            return found[name], found["mask"] if "mask" in found.files else None
