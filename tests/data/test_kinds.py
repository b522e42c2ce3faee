"""Laws of every kind of data: selecting, joining, hashing, packing, showing and writing keep the items."""

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pofx.core.errors import DataError, UsageError
from pofx.core.items import Items
from pofx.data.kind import FOLDER, content_hash, digest, joined, kind_of, kinds, named, of_card, take
from pofx.data.kinds.audio import audio
from pofx.data.kinds.image import images
from pofx.data.kinds.levels import levels
from pofx.data.kinds.molecules import molecules
from pofx.data.kinds.points import points
from pofx.data.kinds.proteins import proteins
from pofx.data.kinds.table import _content, table
from pofx.data.kinds.text import texts
from pofx.data.kinds.tokens import tokens
from pofx.data.kinds.video import video
from pofx.data.kinds.voxels import rendered, voxels
from pofx.data.several import Several
from pofx.data.sources import whole
from pofx.data.vectors import Vectors
from pofx.runs.fitting import fit

RNG = np.random.default_rng(0)
WORDS = ["".join(RNG.choice(list("abcdef"), 3 + i % 4)) for i in range(40)]
CASES = {
    "image": images(RNG.integers(0, 17, (40, 5, 4)), levels=17, labels=np.arange(40) % 3),
    "colour": images(RNG.integers(0, 256, (40, 5, 4, 3))),
    "video": video(RNG.integers(0, 5, (40, 3, 5, 4)), levels=5, labels=np.arange(40) % 3),
    "colour video": video(RNG.integers(0, 256, (40, 3, 5, 4, 3))),
    "voxels": voxels(RNG.integers(0, 2, (40, 3, 4, 5))),
    "table": table(pd.DataFrame({"a": RNG.normal(size=40), "b": RNG.integers(0, 90, 40)}), labels=["u", "v"] * 20),
    "points": points(RNG.normal(size=(40, 2))),
    "tokens": tokens(RNG.integers(0, 5, (40, 6)), classes=6),
    "text": texts(WORDS),
    "passages": texts("To be, or not to be, that is the question:\n" * 60),
    "molecules": molecules(["C" * (i % 7 + 1) + "O" for i in range(40)]),
    "proteins": proteins(["".join(RNG.choice(list("ACDEFGHIKLMNPQRSTVWY-"), 12)) for _ in range(40)]),
    "tilemap": levels(RNG.integers(0, 4, (40, 5, 6)), tiles=" #.o"),
    "several": Items(
        "several",
        Several({"words": texts(WORDS), "picture": images(RNG.integers(0, 17, (40, 5, 4)), levels=17)}),
    ),
    "audio": audio([0.5 * np.sin(np.arange(500 + 10 * i) / 9) for i in range(40)], 8000),
}


@pytest.fixture(params=CASES)
def items(request) -> Items:
    return CASES[request.param]


def test_every_kind_has_a_case():
    assert {case.kind for case in CASES.values()} == set(kinds()) - {"label", "signal"}  # those of conditions


def test_digest_sees_values_order_labels_and_condition(items):
    again = take(items, np.arange(len(items)))
    assert digest(items) == digest(again) and len(digest(items)) == 64
    changed = [take(items, np.arange(len(items))[::-1]), take(items, np.arange(len(items) - 1))]
    changed += [replace(items, labels=np.arange(len(items)) % 4), replace(items, condition=items)]
    changed += [replace(items, weight=np.ones(len(items)))]
    assert len({digest(items), *(digest(other) for other in changed)}) == 6


def test_take_and_join_carry_all_that_belongs_to_an_item(items):
    n = len(items)
    whole = replace(items, labels=np.arange(n) % 2, condition=points(np.arange(n)[:, None]), weight=np.arange(n))
    mask = np.arange(n) % 3 == 0
    a, b = take(whole, mask), take(whole, ~mask)
    assert a.condition.values[:, 0].tolist() == a.weight.tolist() == np.flatnonzero(mask).tolist()
    both = joined([a, b])
    back = take(both, np.argsort(np.concatenate([a.weight, b.weight])))
    assert kind_of(items).exact_keys(back.values) == kind_of(items).exact_keys(items.values)
    assert back.labels.tolist() == whole.labels.tolist()


def test_values_survive_packing_and_json(items):
    kind = kind_of(items)
    arrays = kind.pack(items.values)
    assert all(array.dtype != object for array in arrays.values())
    for again in (kind.unpack(arrays), kind.from_json(kind.to_json(items.values), items.facts)):
        assert digest(replace(items, values=again)) == digest(items) and type(again) is type(items.values)


def test_noise_and_shuffling_make_items_of_the_same_sort(items):
    kind = kind_of(items)
    none = kind.noised(items.values, items.values, 0.0, np.random.default_rng(0))
    assert kind.same(none, items.values).all()
    much = kind.noised(items.values, items.values, 0.5, np.random.default_rng(0))
    assert len(much) == len(items) and not kind.same(much, items.values).all()
    mixed = kind.shuffled(items.values, 30, np.random.default_rng(0))
    for values in (much, mixed):
        assert Vectors.fit(items)(values).shape == (len(values), Vectors.fit(items)(items.values).shape[1])
    assert len(mixed) == 30 and kind.exact_keys(mixed) == kind.exact_keys(
        kind.shuffled(items.values, 30, np.random.default_rng(0))
    )


def test_vectors_are_scaled_by_the_training_items_and_survive_their_state(items):
    vectors = Vectors.fit(items)
    x = vectors(items.values)
    assert x.dtype == np.float32 and np.isfinite(x).all()
    assert np.array_equal(Vectors(vectors.plan, vectors.arrays)(items.values), x)
    if vectors.plan["scaling"] == "standard":
        assert np.allclose(x.mean(0), 0, atol=1e-3) and np.allclose(x.std(0)[x.std(0) > 1e-3], 1, atol=1e-3)


def test_items_are_shown_as_pictures_or_lines(items):
    kind = kind_of(items)
    shown = kind.shown(take(items, range(3)).values, items.facts)
    assert (shown.pictures is not None) == kind.pictorial
    if shown.pictures is not None:
        assert shown.pictures.dtype == np.uint8 and len(shown.pictures) == 3
    else:
        assert len(shown.lines) == 3 and all(len(line) == len(shown.columns) for line in shown.lines)
    assert kind.describe(items) and all(len(line) <= 80 for line in kind.preview(items).splitlines())


def test_every_output_is_written_and_others_are_refused(items, tmp_path):
    kind = kind_of(items)
    for ending in kind.outputs:
        path = tmp_path / ("folder" if ending == FOLDER else f"x{ending}")
        assert kind.check_output(path) == ending
        kind.write(items, path)
        if ending == FOLDER:
            assert sum(not p.name.startswith(".") for p in path.iterdir()) == len(items)
        else:
            stream = io.BytesIO()
            kind.write(items, stream, ending=ending)
            assert len(stream.getvalue()) == path.stat().st_size > 0
    with pytest.raises(UsageError, match=r"choose a name ending in .*npz"):
        kind.write(items, tmp_path / "x.xyz")
    assert not list(tmp_path.rglob("*.part"))


def test_brightest_level_is_white(tmp_path):
    from PIL import Image

    items = images(np.array([[[0, 16]]]), levels=17)
    kind_of(items).write(items, tmp_path / "x.png")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "x.png")))) == {0, 96, 255}


def test_texts_with_line_breaks_are_kept_apart():
    kind, stream = named("text"), io.BytesIO()
    kind.write(texts(["a\nb", "c"]), stream, ending=".txt")
    assert stream.getvalue() == b"=== 1 ===\na\nb\n=== 2 ===\nc\n"


def test_the_condition_of_a_table_is_written_beside_it(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    items = Items("table", frame, None, {}, Items("table", pd.DataFrame({"plan": ["x", "y"]})))
    named("table").write(items, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "a,plan\n1.0,x\n2.0,y\n"


def test_cards_of_older_runs_name_their_kind():
    assert of_card({"kind": "tokens", "facts": {"molecules": "SMILES"}}).name == "molecules"
    assert of_card({"kind": "tokens", "facts": {}}).name == "text"
    assert of_card({"kind": "tokens", "facts": {"classes": 3}}).name == "tokens"
    assert of_card({"kind": "image", "facts": {"levels": 17}}).name == "image"


def test_hashes_do_not_change_between_versions():
    """The card of a saved run holds the hash of its data: these are those of pofx 0.1."""
    assert content_hash({"train": texts(["ab", "c"])}).startswith(TEXTS)
    frame = pd.DataFrame({"a": [1.5, 2.0], "b": [1, 2], "c": [True, False]})
    assert content_hash({"train": table(frame, labels=["u", "v"])}).startswith(TABLE)
    assert content_hash({"train": images(np.arange(8).reshape(2, 2, 2), levels=8)}).startswith(IMAGES)
    assert content_hash({"train": audio([np.zeros(3), np.ones(2)], 8000)}).startswith(AUDIO)


def test_hashes_of_categories_are_those_of_their_words():
    """Read at a category's number, not value by value: a tenth of the time at a million rows."""
    for missing in (None, pd.NA):
        words = pd.Series(["a", missing, "b", "a"], dtype=object)
        for column in (words.astype("string"), words.where(words.notna(), None).astype("str")):
            written = "\x1e".join(repr(v) for v in column.astype(object).to_numpy()).encode()
            assert _content(column) == _content(column.astype("category")) == written


TEXTS, TABLE, IMAGES, AUDIO = "ebc079305f55", "8b3b459915e6", "6984d958eacd", "5b4a16e79467"


def test_kinds_load_no_torch():
    code = "import sys; from pofx.data.kind import kinds; kinds(); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_clips_move_and_keep_their_frames():
    from PIL import Image

    x = RNG.integers(0, 2, (4, 5, 6, 7)).astype(np.uint8)
    kind = named("video")
    with Image.open(io.BytesIO(kind.content(video(x, levels=2), ".gif", 2))) as moving:
        assert moving.n_frames == 5
        scale = moving.size[0] // 17
        for t in range(5):
            moving.seek(t)
            frame = np.asarray(moving.convert("L"))[::scale, ::scale]
            assert np.array_equal(frame[1:7, 1:8] > 200, x[0, t] == 1)
            assert np.array_equal(frame[8:14, 9:16] > 200, x[3, t] == 1)
    assert kind.shown(x, {"levels": 2}).pictures.shape == (4, 6, 5 * 8)


def test_a_solid_is_seen_from_above_a_corner():
    x = np.zeros((3, 8, 8, 8), np.uint8)
    x[1], x[2, :, :, :2] = 1, 1
    none, full, floor = rendered(x)
    assert not none.any() and 0.4 < (full > 0).mean() < 0.9
    assert len(np.unique(full // 40)) >= 3  # three faces of unlike shade
    low = np.flatnonzero(floor.any(1))
    assert low.min() > np.flatnonzero(full.any(1)).min() and low.max() == np.flatnonzero(full.any(1)).max()


def test_arrays_of_clips_and_solids_are_read_as_stated(tmp_path):
    from pofx.core.errors import DataError
    from pofx.data.sources import load

    clips, solids = RNG.integers(0, 3, (30, 6, 8, 7)).astype(np.uint8), RNG.integers(0, 2, (30, 1, 6, 6, 6)) * 1.0
    np.save(tmp_path / "clips.npy", clips)
    np.save(tmp_path / "solids.npy", solids)
    assert load(tmp_path / "clips.npy", reading={"kind": "video"}).train.values.shape[1:] == (6, 8, 7)
    with pytest.raises(DataError, match="kind=video"):
        load(tmp_path / "clips.npy")
    np.save(tmp_path / "twice.npy", np.concatenate((solids, solids[:7])))
    for name in ("solids", "twice"):  # copies are no draws
        card = load(tmp_path / f"{name}.npy").card
        assert card.kind == "voxels" and sum(card.sizes.values()) == 30
    for few in (solids[:, 0, :4] > 0, solids[:, 0, :4].astype(np.uint8)):  # four layers, frames or channels
        np.save(tmp_path / "few.npy", few)
        with pytest.raises(DataError, match="4 layers: state kind=image, kind=video or kind=voxels"):
            load(tmp_path / "few.npy")
        for kind, shape in (("image", (6, 6, 4)), ("video", (4, 6, 6)), ("voxels", (4, 6, 6))):
            assert load(tmp_path / "few.npy", reading={"kind": kind}).train.values.shape[1:] == shape
    for wrong in (solids * 2, solids[:, 0, 0], np.zeros((0, 4, 4, 4))):
        with pytest.raises(DataError):
            voxels(wrong)
    for wrong in (clips - 5.5, clips[0], np.zeros((2, 3, 4, 5, 6))):
        with pytest.raises(DataError):
            video(wrong)


def test_pictures_of_more_than_four_channels(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 9, 10, 5)).astype(np.uint8)
    assert images(x).values.shape == x.shape
    assert images(torch.from_numpy(x).movedim(-1, 1)).values.shape == x.shape
    np.savez(tmp_path / "x.npz", images=x)
    with pytest.raises(DataError, match="kind=image"):
        whole(str(tmp_path / "x.npz"))
    items = whole(str(tmp_path / "x.npz"), reading={"kind": "image"})
    assert items.values.shape == x.shape
    run = fit(items, "flow-matching", steps=2, width=8, depth=1, progress=False)
    drawn = run.sample(2, sampler_steps=2)
    assert drawn.shape == (2, 9, 10, 5)
    named("image").write(images(drawn), tmp_path / "x.png")
    for clips in (np.zeros((4, 5, 12, 13), np.uint8), np.zeros((4, 12, 9, 13), np.uint8)):
        with pytest.raises(DataError, match="kind=video"):
            images(clips)
