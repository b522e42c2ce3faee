"""Grids of tiles in files of editors and spreadsheets: maps of Tiled (.tmj, .tmx, .json) and grids in .csv.

A map of Tiled is what a player sees, its visible layers one above the other, except one that this library wrote: there
each layer is a level. Tiles of these files are numbers or words; each becomes a character, those that are one already
stay, and the fact `names` of the levels holds what they were.
"""

import base64
import gzip
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from pofx.core.errors import DataError
from pofx.data.bounded import read_bytes, reading
from pofx.data.text import decoded

MAPS, GRIDS = (".tmj", ".tmx", ".json"), (".csv",)  # the last ending of maps is that of much else
ENDINGS = (*MAPS, *GRIDS)
EACH = "a level each"  # property "layers" of maps whose layers are levels
TURNED = 0xF0000000  # bits of a number that mirror or turn a tile
EMPTY = ("0", "-1", "")  # of maps and of exported grids: no tile
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789#$%&*+=~^!<>/|@"
MORE = 0x100  # the first further character
MOST = 1 << 22  # tiles of a layer

Grid = list[list[str]]  # lines of tiles


def read_grids(path: Path) -> list[Grid]:
    """The levels of a file, lines of tiles each.

    Raises:
        DataError: damaged, empty, no map, or of a kind that is not read.
    """
    ending = path.suffix.lower()
    with reading(path, "level", "give a map of Tiled (.tmj, .tmx), a .csv of tiles, or a .txt"):
        if ending in GRIDS:
            return [_of_csv(decoded(path, None), path)]
        content = read_bytes(path)
        if ending == ".tmx":
            return _of_layers(*_of_xml(content, path), path)
        return _of_layers(*_of_json(json.loads(content.decode("utf-8-sig")), path), path)


def lettered(grids: Sequence[Grid]) -> tuple[list[str], str, list[str] | None]:
    """Levels as lines of characters, the characters of the tiles, and what these were; None: the same.

    Tiles of one character stay; of others none does, and no tile is a full stop.
    """
    found = {tile for grid in grids for line in grid for tile in line}
    if all(len(tile) == 1 and tile.isprintable() for tile in found) and not all(t.isdigit() for t in found):
        tiles = "".join(sorted(found))
        return ["\n".join("".join(line) for line in grid) for grid in grids], tiles, None
    empty = [tile for tile in EMPTY if tile in found][:1]
    order = [*empty, *sorted(found - set(empty), key=_number)]
    letters = ["."] * len(empty) + [*LETTERS, *(chr(MORE + i) for i in range(256))]
    if len(order) > 255:
        raise DataError(f"levels have {len(order)} different tiles, 255 are the most: use fewer")
    letter = dict(zip(order, letters, strict=False))
    texts = ["\n".join("".join(letter[tile] for tile in line) for line in grid) for grid in grids]
    return texts, "".join(letter[tile] for tile in order), order


def in_letters(source: Any, name: str) -> tuple[list[str], str, dict[str, str] | None]:
    """Levels given as strings, as lists of lines, or as whole numbers (n, H, W), as `texts_of`.

    Raises:
        DataError: something else.
    """
    found = list(source)
    if found and all(isinstance(one, str) for one in found):
        return found, name, None
    if found and all(isinstance(one, list | tuple) and one and all(isinstance(v, str) for v in one) for one in found):
        return ["\n".join(one) for one in found], name, None
    try:
        grids = [np.asarray(one) for one in found]
    except ValueError:
        grids = []
    if not grids or any(one.ndim != 2 or one.dtype.kind not in "iub" or not one.size for one in grids):
        raise DataError(f"{name} must be strings, lists of lines, or whole numbers (n, H, W), and not empty")
    texts, tiles, names = lettered([one.astype(int).astype(str).tolist() for one in grids])
    return texts, name, None if names is None else dict(zip(tiles, names, strict=True))


def _number(tile: str) -> tuple[int, str]:
    return (int(tile), "") if tile.lstrip("-").isdigit() else (1 << 62, tile)


def _of_csv(text: str, path: Path) -> Grid:
    import csv

    lines = [line for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty: give lines of tiles")
    mark = max(",;\t", key=lines[0].count)
    grid = [[field.strip() for field in row] for row in csv.reader(io.StringIO("\n".join(lines)), delimiter=mark)]
    if all(row[-1] == "" for row in grid) and len(grid[0]) > 1:  # a separator at the end of every line
        grid = [row[:-1] for row in grid]
    return grid


Layers = tuple[bool, list[tuple[int, int, list[int]]], dict[int, str]]


def _of_layers(each: bool, layers: list[tuple[int, int, list[int]]], letters: dict[int, str], path: Path) -> list[Grid]:
    if not layers:
        raise DataError(f"{path} has no visible layer of tiles: draw one, or give another map")
    for width, height, data in layers:
        if len(data) != width * height:
            raise DataError(f"{path} has a layer of {len(data)} tiles for {width} x {height}: save it again")
    arrays = [np.array(data, np.int64).reshape(height, width) & ~TURNED for width, height, data in layers]
    if not each:
        seen = arrays[0].copy()
        for array in arrays[1:]:
            if array.shape != seen.shape:
                raise DataError(f"{path} has layers of different sizes: give them as maps of their own")
            seen = np.where(array > 0, array, seen)
        arrays = [seen]
    return [[[letters.get(int(v), str(int(v))) for v in row] for row in array] for array in arrays]


def _of_json(plain: Any, path: Path) -> Layers:
    if not isinstance(plain, Mapping) or "layers" not in plain:
        raise DataError(f"{path} is no map of Tiled (it has no layers): export one as .tmj")
    if plain.get("infinite"):
        raise DataError(f"{path} is an infinite map: unset that in its properties, and save it again")
    each = any(p.get("name") == "layers" and p.get("value") == EACH for p in plain.get("properties", ()))
    letters = {}
    for tileset in plain.get("tilesets", ()):
        for tile in tileset.get("tiles", ()):
            named = [p["value"] for p in tile.get("properties", ()) if p.get("name") == "character"]
            if named:
                letters[int(tileset["firstgid"]) + int(tile["id"])] = str(named[0])
    layers = []
    for layer in _flat(plain["layers"]):
        if layer.get("type") == "tilelayer" and (each or layer.get("visible", True)):
            data = layer["data"]
            if isinstance(data, str):
                sides = int(layer["width"]), int(layer["height"])
                data = _unpacked(data, layer.get("compression", ""), sides, path)
            layers.append((int(layer["width"]), int(layer["height"]), [int(v) for v in data]))
    return each, layers, letters


def _flat(layers: Sequence[Any]) -> list[Any]:
    """Layers, and those in visible groups."""
    found = []
    for layer in layers:
        if layer.get("type") == "group":
            found += _flat(layer.get("layers", ())) if layer.get("visible", True) else []
        else:
            found.append(layer)
    return found


def _of_xml(content: bytes, path: Path) -> Layers:
    if b"\0" in content or b"<!ENTITY" in content or b"<!DOCTYPE" in content:  # zeros: of UTF-16, which would hide them
        raise DataError(
            f"{path} has a document type, or another encoding than UTF-8, which maps have not: save it again by Tiled"
        )
    root = ElementTree.fromstring(content)
    if root.tag != "map":
        raise DataError(f"{path} is no map of Tiled (it holds <{root.tag}>): give the map, not its tiles")
    if root.get("infinite", "0") != "0":
        raise DataError(f"{path} is an infinite map: unset that in its properties, and save it again")
    letters = {
        int(tileset.get("firstgid", 1)) + int(tile.get("id", 0)): str(p.get("value"))
        for tileset in root.iter("tileset")
        for tile in tileset.iter("tile")
        for p in tile.iter("property")
        if p.get("name") == "character"
    }
    layers = []
    for layer in _shown(root):
        data, sides = layer.find("data"), (int(layer.get("width", 0)), int(layer.get("height", 0)))
        if data is None:
            continue
        coding, text = data.get("encoding"), data.text or ""
        if coding == "csv":
            numbers = [int(v) for v in text.replace("\n", "").split(",") if v.strip()]
        elif coding == "base64":
            numbers = _unpacked(text, data.get("compression", ""), sides, path)
        else:
            numbers = [int(tile.get("gid", 0)) for tile in data.iter("tile")]
        layers.append((*sides, numbers))
    return False, layers, letters


def _shown(node: ElementTree.Element) -> list[ElementTree.Element]:
    """Visible layers, and those in visible groups."""
    found = []
    for one in node:
        if one.tag in ("layer", "group") and one.get("visible", "1") != "0":
            found += [one] if one.tag == "layer" else _shown(one)
    return found


def _unpacked(text: str, compression: str, sides: tuple[int, int], path: Path) -> list[int]:
    """Numbers of the tiles of a layer in base64, perhaps compressed; no more than it has are unpacked."""
    count = sides[0] * sides[1]
    if not 0 < count <= MOST:
        raise DataError(f"{path} has a layer of {sides[0]} x {sides[1]} tiles, {MOST:,} are the most: cut it")
    content, most = base64.b64decode(text.strip()), 4 * count + 4  # one more than there are, which is refused
    if compression == "zlib":
        content = zlib.decompressobj().decompress(content, most)
    elif compression == "gzip":
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            content = file.read(most)
    elif compression:
        raise DataError(f"{path} is compressed by {compression}: choose CSV or zlib as its tile layer format")
    return [int(v) for v in np.frombuffer(content, "<u4")]
