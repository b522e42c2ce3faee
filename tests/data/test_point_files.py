"""Clouds in files of other programs are the same points."""

import numpy as np
import pytest

from pofx.core.errors import DataError
from pofx.data.point_files import read_cloud, read_folder

CLOUD = np.random.default_rng(0).normal(size=(9, 3)).round(4)
ROWS = "\n".join(" ".join(f"{v:.4f}" for v in row) for row in CLOUD)


def ply(form, body, more=b""):
    names = b"".join(b"property float %s\n" % c for c in (b"x", b"y", b"z"))
    head = b"ply\nformat %s 1.0\ncomment by hand\nelement vertex %d\n%s" % (form, len(CLOUD), names)
    return head + more + b"element face 0\nproperty list uchar int vertex_indices\nend_header\n" + body


WITH_COLOURS = np.zeros(9, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1")])
for k, c in enumerate("xyz"):
    WITH_COLOURS[c] = CLOUD[:, k]
FILES = {
    "a.xyz": ROWS.encode(),
    "b.txt": ("# x y z\n" + ROWS).encode(),
    "c.csv": ("x,y,z,red\n" + "\n".join(f"{a},{b},{c},7" for a, b, c in CLOUD)).encode(),
    "d.pts": ("9\n" + ROWS).encode(),
    "e.off": ("OFF\n9 1 0\n" + ROWS + "\n3 0 1 2\n").encode(),
    "f.off": ("OFF 9 0 0\n" + ROWS).encode(),
    "g.obj": ("# made\n" + "\n".join("v " + row for row in ROWS.splitlines()) + "\nf 1 2 3\n").encode(),
    "h.ply": ply(b"ascii", ROWS.encode()),
    "i.ply": ply(b"binary_little_endian", CLOUD.astype("<f4").tobytes()),
    "j.ply": ply(b"binary_big_endian", CLOUD.astype(">f4").tobytes()),
    "k.ply": ply(b"binary_little_endian", WITH_COLOURS.tobytes(), b"property uchar red\n"),
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_form_holds_the_same_points(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    assert np.allclose(read_cloud(tmp_path / name), CLOUD, atol=1e-4)


def test_a_folder_is_brought_to_equally_many_points(tmp_path):
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", CLOUD[: 7 + i])
    (tmp_path / "notes.md").write_text("no cloud")
    with pytest.warns(UserWarning, match="7 of each"):
        found = read_folder(tmp_path)
    assert found.shape == (3, 7, 3) and {*map(tuple, found[2])} <= {*map(tuple, CLOUD)}


@pytest.mark.parametrize("content", [b"", b"ply\nformat ascii 1.0\nend_header\n", b"ply", ply(b"ascii", b"1 2\n"),
                                     ply(b"binary_little_endian", b"123"), ply(b"zip", b"")])  # fmt: skip
def test_what_is_damaged_is_named(content, tmp_path):
    (tmp_path / "x.ply").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.ply"):
        read_cloud(tmp_path / "x.ply")
    (tmp_path / "y.xyz").write_text("1 2\n3 4 5\n")
    with pytest.raises(DataError, match=r"y\.xyz"):
        read_cloud(tmp_path / "y.xyz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no clouds"):
        read_folder(tmp_path / "empty")


@pytest.mark.parametrize("name", ["a.xyz", "a.pts", "a.off", "a.obj"])
def test_files_without_a_point_are_named(tmp_path, name):
    for text in ("", "# nothing\n"):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"a\.\w+ holds no points"):
            read_cloud(tmp_path / name)
