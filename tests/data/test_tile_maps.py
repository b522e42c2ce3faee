"""Maps of editors: layers as a player sees them, every coding, numbers that come back, and what is no map."""

import base64
import json
import zlib

import numpy as np
import pytest

from pofx.core.errors import DataError
from pofx.data.files import contents
from pofx.data.kind import kind_of
from pofx.data.kinds.levels import levels, levels_in, padded
from pofx.data.tile_maps import lettered, read_grids

GROUND, OBJECTS = [7, 7, 7, 7, 9, 7], [0, 0, 12, 0, 0, 0]


def tmj(path, layers, **more):
    made = [{"type": "tilelayer", "width": 3, "height": 2, "visible": True, **layer} for layer in layers]
    path.write_text(json.dumps({"layers": made, "tilesets": [], **more}))
    return path


def packed(numbers):
    return base64.b64encode(zlib.compress(np.array(numbers, "<u4").tobytes())).decode()


def test_layers_lie_above_each_other_and_turned_tiles_are_the_same(tmp_path):
    top = {"type": "group", "layers": [{"type": "tilelayer", "width": 3, "height": 2, "data": OBJECTS}]}
    hidden = {"data": [5] * 6, "visible": False}
    turned = [v | 0x80000000 for v in GROUND]
    path = tmj(tmp_path / "a.tmj", [{"data": turned}, hidden])
    plain = json.loads(path.read_text())
    plain["layers"].append(top)
    path.write_text(json.dumps(plain))
    assert read_grids(path) == [[["7", "7", "12"], ["7", "9", "7"]]]
    zipped = tmj(tmp_path / "b.tmj", [{"data": packed(GROUND), "compression": "zlib", "encoding": "base64"}])
    assert read_grids(zipped) == [[["7", "7", "7"], ["7", "9", "7"]]]
    text = ",".join(map(str, GROUND))
    (tmp_path / "c.tmx").write_text(
        f'<map infinite="0"><layer width="3" height="2"><data encoding="csv">{text}</data></layer></map>'
    )
    assert read_grids(tmp_path / "c.tmx") == read_grids(zipped)
    (tmp_path / "d.csv").write_text("7,7,7\r\n7,9,7\r\n")
    assert read_grids(tmp_path / "d.csv") == read_grids(zipped)


def test_what_is_no_map_is_named(tmp_path):
    for name, text, why in (
        ("a.tmj", "{}", "no layers"),
        ("b.tmj", "[1", "cannot be read"),
        ("c.tmx", '<!DOCTYPE x [<!ENTITY a "b">]><map/>', "document type"),
        ("d.tmx", "<tileset/>", "no map of Tiled"),
        ("e.tmj", '{"layers": [], "infinite": true}', "infinite"),
        ("f.csv", "", "empty"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=why):
            read_grids(tmp_path / name)
    with pytest.raises(DataError, match="zstd"):
        read_grids(tmj(tmp_path / "g.tmj", [{"data": "AAAA", "compression": "zstd"}]))


def test_hidden_groups_are_not_seen_in_either_form(tmp_path):
    (tmp_path / "a.tmx").write_text(
        '<map><layer width="2" height="1"><data encoding="csv">1,2</data></layer><group visible="0">'
        '<layer width="2" height="1"><data encoding="csv">3,3</data></layer></group><group>'
        '<layer width="2" height="1"><data encoding="csv">0,4</data></layer></group></map>'
    )
    assert read_grids(tmp_path / "a.tmx") == [[["1", "4"]]]


@pytest.mark.parametrize("sides", [(2, 1), (1 << 16, 1 << 16)])
def test_a_layer_unpacks_no_more_than_it_has(tmp_path, sides):
    bomb = base64.b64encode(zlib.compress(bytes(1 << 24))).decode()
    layer = {"type": "tilelayer", "width": sides[0], "height": sides[1], "data": bomb, "compression": "zlib"}
    (tmp_path / "a.tmj").write_text(json.dumps({"layers": [layer]}))
    with pytest.raises(DataError, match="layer of 3 tiles for 2 x 1|are the most"):
        read_grids(tmp_path / "a.tmj")


def test_an_encoding_that_hides_entities_is_refused(tmp_path):
    (tmp_path / "a.tmx").write_bytes('<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><map/>'.encode("utf-16"))
    with pytest.raises(DataError, match="document type"):
        read_grids(tmp_path / "a.tmx")


def test_numbers_of_a_map_come_back_and_our_own_maps_are_levels_again(tmp_path):
    one = contents(tmj(tmp_path / "a.tmj", [{"data": GROUND}]))
    assert one.facts["names"] == ["7", "9"] and one.values[0].tolist() == [[0, 0, 0], [0, 1, 0]]
    kind_of(one).write(one, tmp_path / "again.tmj")
    assert json.loads((tmp_path / "again.tmj").read_text())["layers"][0]["data"] == GROUND
    assert (tmp_path / "tiles.png").read_bytes()[:4] == b"\x89PNG"  # which the map names
    rooms = levels(["##\n#.", "#.\n.."])
    kind_of(rooms).write(rooms, tmp_path / "rooms.tmj")
    found = contents(tmp_path / "rooms.tmj")
    assert np.array_equal(found.values, rooms.values) and found.facts["tiles"] == "#."


def test_tiles_of_any_name_have_a_character_each():
    texts, tiles, names = lettered([[["wall", "door"], ["-1", "wall"]]])
    assert texts == ["BA\n.B"] and tiles == ".AB" and names == ["-1", "door", "wall"]
    assert lettered([[["#", "."]]]) == (["#."], "#.", None)


def test_blank_rows_of_a_level_are_no_ends_and_headings_no_rows():
    text = "Title: first\nAuthor: me\n    \n ## \n    \n\nLevel 2\n####\n#  #\n"
    assert levels_in(text) == ["    \n ## \n    ", "####\n#  #"]
    assert padded(["##\n#", "###"], ".") == ["##.\n#..", "###\n..."]
    with pytest.raises(DataError, match="one tile"):
        padded(["#"], "##")
