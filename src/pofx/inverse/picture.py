"""One row for each measurement: truth, measurement, mean, three draws, spread."""

import io
from typing import Any

import numpy as np

SHOWN = 3  # draws


def picture(found: Any, truth: np.ndarray | None, most: int) -> bytes:
    """A PNG of a `Restoration`: images side by side, other items as lines with a band of 90 %."""
    from matplotlib.figure import Figure

    rows = min(len(found.samples), most)
    mean, std = found.mean, found.std
    if mean.ndim != 4:
        return _lines(found, truth, rows)
    columns: list[tuple[str, Any]] = [] if truth is None else [("truth", np.asarray(truth).reshape(mean.shape))]
    if found.measurement.shape[1:] == mean.shape[1:] or found.measurement.ndim == 4:
        columns.append(("measurement", found.measurement))
    columns.append(("mean", mean))
    columns += [(f"draw {k + 1}", found.samples[:, k]) for k in range(min(SHOWN, found.samples.shape[1]))]
    columns.append(("spread", std))
    figure = Figure(figsize=(1.3 * len(columns), 1.4 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for i in range(rows):
        for j, (name, values) in enumerate(columns):
            ax = axes[i, j]
            image = np.moveaxis(values[i], 0, -1)
            image = image[..., 0] if image.shape[-1] != 3 else image.clip(0, 1)
            if name == "spread":
                ax.imshow(
                    image if image.ndim == 2 else image.mean(-1), cmap="magma", vmin=0, vmax=max(std[i].max(), 1e-3)
                )
            elif name == "measurement":
                ax.imshow(image, cmap="gray")
            else:
                ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            ax.set_axis_off()
            if i == 0:
                ax.set_title(name, fontsize=9)
    return _png(figure)


def _lines(found: Any, truth: np.ndarray | None, rows: int) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 1.6 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    flat = found.samples.reshape(*found.samples.shape[:2], -1)
    low, high = np.quantile(flat, (0.05, 0.95), axis=1)
    at = np.arange(flat.shape[2])
    for i, ax in enumerate(axes):
        ax.fill_between(at, low[i], high[i], color="#9ec5f0", step="mid")
        ax.plot(at, flat[i].mean(0), color="#1d4e89", lw=1.2, drawstyle="steps-mid")
        if truth is not None:
            ax.plot(at, np.asarray(truth)[i].reshape(-1), color="#c2410c", lw=1, ls="--", drawstyle="steps-mid")
        ax.tick_params(labelsize=7)
    return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
