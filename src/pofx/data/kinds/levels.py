"""Levels of games: grids of tiles of one size, uint8 (n, H, W); the fact `tiles` holds the character of each class.

Text files hold levels line by line, between blank lines or headings; maps of the editor Tiled are read too
(`data.tile_maps`). They are written as text, as pictures, and as maps of Tiled (.tmj).
"""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pofx.core.errors import DataError
from pofx.core.files import write_bytes
from pofx.core.items import Items
from pofx.data.kind import Facts, Kind, Shown, each_once, lines_of
from pofx.data.labels import with_labels
from pofx.data.text import decoded
from pofx.data.tile_maps import EACH, lettered, read_grids

PUBLIC = ("levels",)

ONE_HOT = 1 << 14  # dimensions up to which vectors are one-hot
TILE = 8  # pixels of a tile in a picture
COLOURS = (  # of tiles in pictures, by their number: unlike one another, also without colour vision
    (236, 236, 232), (60, 64, 72), (213, 94, 0), (0, 114, 178), (240, 228, 66), (0, 158, 115), (204, 121, 167),
    (86, 180, 233), (230, 159, 0), (120, 94, 60), (150, 150, 150), (122, 40, 90), (30, 90, 60), (250, 170, 160),
    (90, 90, 200), (170, 210, 120),
)  # fmt: skip
HEADING = re.compile(r";.*|[A-Za-z][A-Za-z ]*:(\s.*)?|(level|room|map|stage)\s*#?\d+\W*", re.IGNORECASE)  # Title: …
SHEET = "tiles.png"  # the picture of the tiles of a map


def levels(x: Any, tiles: str | None = None, labels: Any = None, name: str = "levels") -> Items:
    """Levels of one size: strings of lines, or an integer array (n, H, W) with the characters of its classes.

    Args:
        tiles: the character of each class, in the order of their numbers; of strings those that occur.

    Raises:
        DataError: empty, of different sizes, or tiles that are not among `tiles`.
    """
    if isinstance(x, str):
        x = levels_in(x)
    if isinstance(x, Sequence) and len(x) and all(isinstance(v, str) for v in x):
        rows = [v.strip("\n").split("\n") for v in x]
        sizes = {(len(r), *sorted({len(line) for line in r})) for r in rows}
        if len(sizes) > 1 or len(next(iter(sizes))) != 2:
            got = sorted({f"{len(r)} x {max(map(len, r))}" for r in rows})
            ragged = next((i for i, r in enumerate(rows) if len({len(line) for line in r}) > 1), None)
            which = f", lines of several lengths in number {ragged}" if ragged is not None else ""
            raise DataError(
                f"{name} must be of one size (got {', '.join(got[:4])}{which}): pad smaller ones with "
                "a tile (pad='#', --pad), or cut windows of wider ones (width=)"
            )
        known = tiles if tiles is not None else "".join(sorted({c for r in rows for line in r for c in line}))
        number = {c: i for i, c in enumerate(known)}
        other = sorted({c for r in rows for line in r for c in line} - set(known))
        if other:
            raise DataError(f"{name} has tiles that are not among {known!r} ({''.join(other[:8])!r}): add them")
        x = np.array([[[number[c] for c in line] for line in r] for r in rows], np.uint8)
        tiles = known
    array = np.asarray(x)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "iu":
        raise DataError(f"{name} must be strings or integers (n, H, W), not empty (got {array.dtype} {array.shape})")
    most = int(array.max())
    tiles = tiles if tiles is not None else "".join(chr(97 + i) for i in range(min(most, 25) + 1))
    if array.min() < 0 or most >= len(tiles) or len(tiles) > 255 or len(set(tiles)) != len(tiles):
        raise DataError(
            f"{name} has classes 0 to {most}, tiles are {tiles!r}: give one character per class, at most 255"
        )
    facts = {"tiles": tiles}
    return Items("tilemap", array.astype(np.uint8), *with_labels(labels, len(array), name, facts))


def levels_in(text: str) -> list[str]:
    """The levels of a text file: blocks of lines between blank lines or headings such as `; 1`, `Title: …`, `Level 2`.

    A line of spaces that is as long as its neighbour is a row of the level.
    """
    lines = [line.rstrip("\r") for line in text.lstrip("\ufeff").split("\n")]
    blocks: list[list[str]] = [[]]
    for i, line in enumerate(lines):
        if HEADING.fullmatch(line.strip()) or not (line.strip() or _is_row(line, blocks[-1], lines, i)):
            blocks.append([])
        else:
            blocks[-1].append(line)
    found = ["\n".join(block) for block in blocks if any(line.strip() for line in block)]
    if not found:
        raise DataError("the text holds no levels: give lines of tiles, with a blank line between levels")
    return found


def _is_row(line: str, block: Sequence[str], lines: Sequence[str], at: int) -> bool:
    """Whether a line of spaces is as long as the row before it, or at the top of a level as the one below."""
    if len(line) < 2:
        return False
    beside = block[-1] if block else next((lines[k] for k in range(at + 1, len(lines)) if lines[k].strip()), "")
    return len(line) == len(beside)


def padded(texts: Sequence[str], tile: str) -> list[str]:
    """Levels of one size: lines and levels that are shorter get this tile, on the right and below.

    Raises:
        DataError: no single character.
    """
    if len(tile) != 1:
        raise DataError(f"pad must be one tile (got {tile!r}): such as pad='#'")
    rows = [text.split("\n") for text in texts]
    height, width = max(map(len, rows)), max(len(line) for level in rows for line in level)
    return ["\n".join(line.ljust(width, tile) for line in [*level, *[""] * (height - len(level))]) for level in rows]


@dataclass(frozen=True)
class LevelFacts(Facts):
    tiles: str = field(default="")  # the character of each class
    names: Sequence[str] | None = None  # what the tiles were in a map: numbers, or words


class Levels(Kind):
    name = "tilemap"
    summary = "levels of games: grids of tiles"
    reads = (".lvl", ".sok", ".xsb", ".tmj", ".tmx")
    outputs = (".txt", ".png", ".tmj", ".npz", ".npy")
    facts_type: ClassVar = LevelFacts

    def read(self, path: Path, **options: Any) -> Items:
        if path.suffix.lower() not in (".tmj", ".tmx"):
            return levels(levels_in(decoded(path, options.get("encoding"))), name=path.name)
        texts, tiles, names = lettered(read_grids(path))
        items = levels(texts, tiles, name=path.name)
        return items if names is None else Items("tilemap", items.values, None, {**items.facts, "names": names})

    def of_values(self, array: np.ndarray, labels: Any, name: str, facts: Mapping[str, Any]) -> Items | None:
        tiles = facts.get("tiles")
        return levels(array, tiles, labels, name) if array.ndim == 3 and array.dtype.kind in "iu" else None

    def distinct(self, items: Items) -> tuple[Items, dict[str, Any]]:
        """Each level once: a copy in the test split flatters every model."""
        return each_once(items)

    def noised(self, values: Any, known: Any, level: float, generator: np.random.Generator) -> Any:
        drawn = known[generator.integers(len(known), size=len(values))]
        return np.where(generator.random(values.shape) < level, drawn, values).astype(values.dtype)

    def plan(self, items: Items) -> dict[str, Any]:
        """One-hot where this is small, else the tiles' numbers."""
        return {"scaling": "standard", "classes": max(len(self.facts(items).tiles), int(items.values.max()) + 1)}

    def raw(self, values: Any, plan: Mapping[str, Any]) -> np.ndarray:
        array = np.asarray(values)
        if plan["classes"] * array[0].size <= ONE_HOT:
            hot = array[..., None] == np.arange(plan["classes"])
            return np.asarray(hot.reshape(len(array), -1), np.float32)
        return np.asarray(array.reshape(len(array), -1), np.float32)

    def shown(self, values: Any, facts: Mapping[str, Any]) -> Shown:
        return Shown(columns=[self.name], lines=[[text] for text in as_text(values, self.facts(facts).tiles)])

    def preview(self, items: Items, width: int = 80, n: int = 5) -> str:
        texts = [text.split("\n") for text in as_text(items.values[:n], self.facts(items).tiles)]
        across = max(1, (width + 2) // (items.values.shape[2] + 2))
        blocks = []
        for i in range(0, len(texts), across):
            blocks.append("\n".join("  ".join(lines)[:width] for lines in zip(*texts[i : i + across], strict=True)))
        return "\n\n".join(blocks) + "\n"

    def describe(self, items: Items) -> str:
        n, height, width = items.values.shape
        return f"{n:,} levels of {height} x {width}, {len(self.facts(items).tiles)} tiles"

    def content(self, items: Items, ending: str, columns: int | None = None) -> bytes:
        tiles = self.facts(items).tiles
        if ending == ".txt":
            return "\n".join(f"; {i}\n{text}\n" for i, text in enumerate(as_text(items.values, tiles))).encode()
        if ending == ".json":
            return lines_of([{"level": text} for text in as_text(items.values, tiles)], ending)
        if ending == ".png":
            return picture(items.values, columns)
        if ending == ".tmj":
            return tiled(items.values, tiles, self.facts(items).names)
        return super().content(items, ending, columns)

    def write(self, items: Items, to: Any, **options: Any) -> None:
        """As of every kind; beside a map its tiles as a picture, which the map names."""
        super().write(items, to, **options)
        if isinstance(to, Path) and (options.get("ending") or to.suffix.lower()) == ".tmj":
            facts = self.facts(items)
            write_bytes(to.with_name(SHEET), sheet(numbers_of(facts.tiles, facts.names)))

    def from_json(self, plain: Any, facts: Mapping[str, Any]) -> Any:
        return np.asarray(plain, np.uint8)


def as_text(values: np.ndarray, tiles: str) -> list[str]:
    """Each level as lines of characters."""
    letters = np.array(list(tiles) or [chr(97 + i) for i in range(26)])
    return ["\n".join("".join(row) for row in letters[level]) for level in np.asarray(values)]


def picture(values: np.ndarray, columns: int | None = None) -> bytes:
    """Levels in a grid, a colour for each tile, as the content of a PNG."""
    from PIL import Image

    n, height, width = values.shape
    across = columns or max(1, min(n, round((n * height / width) ** 0.5) or 1))
    down = -(-n // across)
    sheet = np.full((down * (height + 1) + 1, across * (width + 1) + 1, 3), 255, np.uint8)
    palette = np.array(COLOURS, np.uint8)
    for i, level in enumerate(values):
        y, x = i // across * (height + 1) + 1, i % across * (width + 1) + 1
        sheet[y : y + height, x : x + width] = palette[np.asarray(level) % len(palette)]
    buffer = io.BytesIO()
    Image.fromarray(sheet.repeat(TILE, 0).repeat(TILE, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def numbers_of(tiles: str, names: Sequence[str] | None) -> list[int]:
    """The number of each tile in a map: those of the map that was read, else 1, 2, …; 0 is no tile."""
    if names is None or not all(name.lstrip("-").isdigit() for name in names):
        return [k + 1 for k in range(len(tiles))]
    return [int(name) + ("-1" in names) for name in names]  # exported grids have -1 for no tile


def sheet(numbers: Sequence[int]) -> bytes:
    """The tiles of a map in a row, tile k in place k - 1, a colour each, as the content of a PNG."""
    from PIL import Image

    row = np.full((1, max(*numbers, 1), 3), 255, np.uint8)
    for k, number in enumerate(numbers):
        if number > 0:
            row[0, number - 1] = COLOURS[k % len(COLOURS)]
    buffer = io.BytesIO()
    Image.fromarray(row.repeat(TILE, 0).repeat(TILE, 1)).save(buffer, "PNG")
    return buffer.getvalue()


def tiled(values: np.ndarray, tiles: str, names: Sequence[str] | None = None) -> bytes:
    """Levels as layers of one map of the editor Tiled, JSON; the set "tiles" has a picture, SHEET.

    Tiles have the numbers of the map from which they were read (`names`), so that its own set can take the place of
    ours; else tile k is number k + 1.
    """
    n, height, width = values.shape
    numbers = numbers_of(tiles, names)
    of, count = np.array(numbers), max(*numbers, 1)
    layers = [
        {"type": "tilelayer", "id": i + 1, "name": f"level {i}", "visible": i == 0, "opacity": 1, "x": 0, "y": 0,
         "width": width, "height": height, "data": of[np.asarray(level, int)].flatten().tolist()}
        for i, level in enumerate(values)
    ]  # fmt: skip
    named = [
        {"id": number - 1, "properties": [{"name": "character", "type": "string", "value": c}]}
        for number, c in zip(numbers, tiles if names is None else names, strict=True) if number > 0 and c != str(number)
    ]  # fmt: skip
    tileset = {"firstgid": 1, "name": "tiles", "tilewidth": TILE, "tileheight": TILE, "tilecount": count,
               "columns": count, "image": SHEET, "imagewidth": TILE * count, "imageheight": TILE,
               "tiles": named}  # fmt: skip
    whole = {"type": "map", "version": "1.10", "orientation": "orthogonal", "renderorder": "right-down",
             "infinite": False, "width": width, "height": height, "tilewidth": TILE, "tileheight": TILE,
             "nextlayerid": n + 1, "nextobjectid": 1, "layers": layers, "tilesets": [tileset],
             "properties": [{"name": "layers", "type": "string", "value": EACH}]}  # fmt: skip
    return (json.dumps(whole) + "\n").encode()
