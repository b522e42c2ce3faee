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
        typer.Argument(
            help=".npz (array `y`, perhaps `mask`, `coils`, `kernel`, `matrix`, `angles`), .npy, a picture, or a "
            "folder of pictures.",
            metavar="Y",
        ),
        Reads(),
    ] = None,
    operator: Annotated[
        str | None,
        typer.Option(
            help="denoise, inpaint, superres, grey, blur, motion, sensing, mri, tomography, phase, a matrix .npy, or "
            "FILE.py:function (default: what the measurements state, else denoise)."
        ),
        Reads(),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(help="A deviation, unknown, or poisson(gain) (default: 0.05, or that of a physics object)."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Where items are measured: a picture, white there, or an array; of inpaint and mri."),
        Reads(),
    ] = None,
    patches: Annotated[
        bool, typer.Option("--patches", help="Pictures may be larger than the run's items: restore by patches of it.")
    ] = False,
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
    """Find the items behind measurements, with a trained run as the prior; -o sets options of the operator.

    Options that are arrays are given as files: -o coils=coils.npy, -o kernel=psf.npy. Missing values (NaN) of
    measurements and coefficients of a whole k-space that are zero are taken as not measured.
    """
    import numpy as np

    from pofx.artifact import load
    from pofx.core.errors import DataError, UsageError
    from pofx.data.kind import take
    from pofx.inverse import measurement_files as files
    from pofx.inverse import posterior as inverse
    from pofx.inverse.item_posterior import item_shape
    from pofx.inverse.restoration import checked

    if (measurements is None) == (simulate is None):
        raise UsageError("give measurements, or --simulate DATA, and not both")
    artifact = load(run).to(device)
    settings: dict[str, Any] = files.with_arrays(arguments.options(options))
    if mask is not None:
        if "mask" in settings:
            raise UsageError("--mask and -o mask= are the same option: pass one")
        settings["mask"] = files.with_arrays({"mask": str(mask)})["mask"]
    given: Any = None if operator is None else files.read_operator(operator)
    truth, shape = None, None
    if simulate is not None:
        given = given if given is not None else "inpaint" if mask is not None else "denoise"
        held = arguments.items(artifact, simulate, split or "test")
        y, truth = inverse.measure(
            artifact, take(held, range(min(items, len(held)))), given, noise, operator_options=settings, seed=seed
        )
    else:
        assert measurements is not None
        own = item_shape(artifact)
        found = files.read_measurements(measurements, own[0] if len(own) == 3 else None)
        if mask is not None and given is None:
            given = "mri" if np.iscomplexobj(found.y) else "inpaint"
        given, settings = files.settled(given, settings, found)
        y = found.y
        if found.pictures:
            shape = files.picture_shape(given, settings, y, own)
            if shape != own and not patches:
                raise DataError(
                    f"the picture is of items of {shape[1]} x {shape[2]}, those of {artifact.name} are {own[1]} x "
                    f"{own[2]}: resize it, or pass --patches, which restores it by patches of the run"
                )
    stated = arguments.conditions(artifact, condition, len(np.atleast_1d(y)))
    made = inverse.posterior(
        artifact, y, given, noise, method=method, condition=stated, operator_options=settings,
        options=arguments.options(method_options), shape=shape,
    )  # fmt: skip
    with output.waiting(f"restoring by {made.method} with {artifact.name}"):
        restored = made.sample(n, seed=seed)
    if out.suffix.lower() == ".png":
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
    if not report.get("coverage", True):
        show("intervals are narrower than the values of items are apart: their coverage cannot be tested")
    count = len(restored.samples)
    return f"{n} draws for {count} measurement{'' if count == 1 else 's'}"
