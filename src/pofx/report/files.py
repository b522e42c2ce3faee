"""Items → files a person or a program can open: .npz, .npy, .csv, .txt, .png grids, .wav clips or folders of them.

Files are written aside, then renamed.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pofx.core.errors import DataError, UsageError
from pofx.core.files import write

PAUSE = 0.25  # seconds of silence between the clips of one .wav


def write_items(
    values: Any, path: Path, *, columns: int | None = None, levels: int | None = None, rate: int | None = None
) -> None:
    """Write items in data space by the suffix of `path`.

    Args:
        values: an array (n, …) of numbers, a DataFrame, or a list of strings.
        columns: of the grid of a .png.
        levels: of the images, so that the brightest level is white; 256 if None.
        rate: of clips of sound, in samples per second; they go one after the other into a .wav, or one by one into a
            folder (a path without a suffix).

    Raises:
        UsageError: a suffix that does not fit the items; the ones that do are named.
    """
    suffix = path.suffix.lower()
    if rate is not None:
        _write_clips(values, path, rate)
        return
    frame, strings = hasattr(values, "to_csv"), isinstance(values, list)
    if suffix == ".png" and not (frame or strings):
        write(path, lambda aside: picture(np.asarray(values), columns, levels).save(aside, format="PNG"))
    elif suffix == ".csv" and frame:
        write(path, lambda aside: values.to_csv(aside, index=False))
    elif suffix == ".csv":
        flat = [[v] for v in values] if strings else np.asarray(values).reshape(len(values), -1).tolist()
        write_table([{f"x{i}": v for i, v in enumerate(row)} for row in flat], path)
    elif suffix == ".txt" and strings:
        write(path, lambda aside: _text(aside, "".join(f"{v}\n" for v in values)))
    elif suffix in (".npz", ".npy"):
        array = values.to_numpy() if frame else np.asarray(values)
        if suffix == ".npz":
            write_arrays({"x": array} | ({"levels": levels} if levels else {}), path)
        else:
            write(path, lambda aside: _save(aside, array))
    else:
        fits = ".csv, .npz" if frame else ".txt, .csv, .npz" if strings else ".npz, .npy, .png, .csv"
        raise UsageError(f"these items cannot be written to '{path.name}': choose a name that ends in {fits}")


def _write_clips(clips: Sequence[np.ndarray], path: Path, rate: int) -> None:
    """Clips of float samples in [-1, 1] → 16-bit .wav."""
    from scipy.io import wavfile

    def save(clip: np.ndarray, to: Path) -> None:
        whole = np.round(np.asarray(clip, np.float64) * 32767).clip(-32768, 32767).astype(np.int16)
        write(to, lambda aside: wavfile.write(aside, rate, whole))

    if path.suffix.lower() == ".wav":
        pause = np.zeros(round(PAUSE * rate), np.float32)
        parts = [part for clip in clips for part in (clip, pause)][:-1]
        save(np.concatenate(parts), path)
    elif path.suffix == "":
        path.mkdir(parents=True, exist_ok=True)
        for i, clip in enumerate(clips):
            save(clip, path / f"{i:0{len(str(len(clips) - 1))}d}.wav")
    else:
        raise UsageError(f"clips of sound cannot be written to '{path.name}': name a .wav file, or a folder")


def write_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    """Named arrays → .npz."""
    if path.suffix.lower() != ".npz":
        raise UsageError(f"arrays are written to a .npz file (got '{path.name}')")

    def fill(aside: Path) -> None:
        with aside.open("wb") as file:
            plain: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items()}
            np.savez_compressed(file, **plain)

    write(path, fill)


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Rows with equal keys → .csv."""
    if path.suffix.lower() != ".csv":
        raise UsageError(f"a table is written to a .csv file (got '{path.name}')")

    def fill(aside: Path) -> None:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
            writer.writeheader()
            writer.writerows(rows)

    write(path, fill)


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy file, or the first one of a .npz file.

    Raises:
        DataError: no such file, or it is damaged or of another type.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}: check the path")
    try:
        loaded = np.load(path, allow_pickle=False)
        return np.asarray(loaded[loaded.files[0]] if hasattr(loaded, "files") else loaded)
    except (ValueError, OSError, EOFError, KeyError, IndexError) as error:
        raise DataError(f"{path} cannot be read as .npy or .npz ({error}): save it with numpy.savez") from error


def picture(values: np.ndarray, columns: int | None = None, levels: int | None = None, side: int = 640) -> Any:
    """A grid of images (n, H, W[, C]), or a scatter plot of points (n, 2), as a Pillow image."""
    from PIL import Image

    if values.ndim == 2 and values.shape[1] == 2:
        return _scatter(values)
    if values.ndim not in (3, 4):
        raise UsageError(f"items of shape {values.shape[1:]} make no picture: write a .npz or .csv")
    n, height, width = values.shape[:3]
    columns = columns or math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    pixels = (values.astype(np.float64) * (255 / ((levels or 256) - 1))).clip(0, 255).astype(np.uint8)
    pixels = pixels if pixels.ndim == 4 else pixels[..., None]
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, pixels.shape[3]), 96, dtype=np.uint8)
    for i, image in enumerate(pixels):
        y, x = divmod(i, columns)
        sheet[y * (height + 1) + 1 :, x * (width + 1) + 1 :][:height, :width] = image
    drawn = Image.fromarray(sheet[..., 0] if sheet.shape[2] == 1 else sheet)
    scale = max(1, side // max(sheet.shape[:2]))
    return drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.NEAREST)


def _scatter(points: np.ndarray) -> Any:
    import io

    import matplotlib
    from PIL import Image

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6))
    axes = figure.add_subplot()
    axes.scatter(points[:, 0], points[:, 1], s=4, alpha=0.6, linewidths=0)
    axes.set_aspect("equal")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return Image.open(io.BytesIO(stream.getvalue()))


def _text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
