"""Solids and clips: distances of clouds, coverage that sees copies and collapse, bits beside floors, files."""

import gzip
import io

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from typer.testing import CliRunner

from pofx.apps import solids, video
from pofx.apps.solids import read_solids
from pofx.cli.main import app
from pofx.core.errors import DataError
from pofx.data.moving import moving
from pofx.maths.point_clouds import chamfer, coverage, distances, earth_movers, jaccard

pytestmark = pytest.mark.filterwarnings("ignore")
G = torch.Generator().manual_seed(0)
QUICK = {"steps": 80, "options": {"width": 16, "skip": 16, "validations": 2, "lr": 0.01}}


def boxes(n=60, side=8, seed=0):
    """Boxes of several sizes on the ground."""
    g = np.random.default_rng(seed)
    found = np.zeros((n, side, side, side), np.uint8)
    for solid in found:
        a, b, c = g.integers(2, side, 3)
        solid[:a, :b, :c] = 1
    return found


def test_distances_of_clouds():
    a, b = torch.rand(30, 3, generator=G), torch.rand(30, 3, generator=G)
    squares = cdist(a, b) ** 2
    assert chamfer(a, b) == pytest.approx(squares.min(0).mean() + squares.min(1).mean(), rel=1e-4)
    assert chamfer(a, a[torch.randperm(30)]) == pytest.approx(0, abs=1e-6)
    assert earth_movers(a, a[torch.randperm(30)]) == pytest.approx(0, abs=1e-3)
    assert earth_movers(a, a + torch.tensor([0.5, 0, 0])) == pytest.approx(0.5, abs=0.01)  # a shift moves all alike
    assert earth_movers(a, b) >= chamfer(a, b) / 2**0.5 - 1


@pytest.mark.slow
def test_coverage_sees_equality_collapse_and_noise():
    x, y = torch.randn(40, 20, 2, generator=G), torch.randn(40, 20, 2, generator=G)

    def of(z):
        return coverage(distances(y, y), distances(y, z), distances(z, z))

    same = of(x)
    assert 0.3 < same["1-NNA"] < 0.7 and same["COV"] > 0.3
    one = of(y.mean(0, keepdim=True).repeat(40, 1, 1) + 1e-4 * torch.randn(40, 20, 2, generator=G))
    assert one["COV"] < 0.1 and one["1-NNA"] > 0.9
    far = of(x + 9)
    assert far["1-NNA"] == 1.0 and far["MMD"] > same["MMD"]
    copies = of(y)
    assert copies["COV"] == 1.0 and copies["1-NNA"] < 0.1


def test_jaccard_is_one_minus_intersection_over_union():
    x = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]])
    assert torch.allclose(jaccard(x, x), torch.tensor([[0.0, 1], [1, 0]]))
    assert solids.intersection_over_union(np.array([[1, 1, 0]]), np.array([[1, 0, 1]])) == pytest.approx(1 / 3)


def test_solids_are_read_each_once_and_others_are_refused(tmp_path):
    every = boxes(20)
    stream = io.BytesIO()
    np.save(stream, np.concatenate((every, every))[:, None])
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(stream.getvalue()))
    found = solids.read_solids(tmp_path / "x.npy.gz")
    assert len(found) == len(np.unique(every.reshape(20, -1), axis=0)) and found.dtype == np.uint8
    for wrong in (np.zeros((3, 4, 4)), np.full((3, 4, 4, 4), 2), np.zeros((3, 4, 4, 5))):
        with pytest.raises(DataError):
            solids.checked(wrong)
    with pytest.raises(DataError, match="got 192 NaN.: leave those solids out"):
        solids.checked(np.full((3, 4, 4, 4), np.nan))
    points = solids.cloud(every[0], 100)
    assert points.shape == (100, 3) and points.min() >= 0 and points.max() <= 1


def test_solids_that_are_all_alike_are_counted(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((9, 4, 4, 4)))
    with pytest.raises(DataError, match=r"x\.npy holds 9 solids, 1 of them different: at least 3 are needed"):
        read_solids(tmp_path / "x.npy")


def test_solids_of_other_sides_are_filled_up_and_255_is_full(tmp_path):
    solids = np.zeros((4, 5, 3, 2), np.uint8)
    for i, solid in enumerate(solids):
        solid[: i + 1] = 255
    np.save(tmp_path / "x.npy", solids)
    with pytest.warns(UserWarning, match="cubes of 5"):
        found = read_solids(tmp_path / "x.npy")
    assert found.shape == (4, 5, 5, 5) and found.max() == 1 and found.sum() == (solids > 0).sum()


def test_a_mesh_is_closed():
    pytest.importorskip("skimage")
    lines = solids.mesh(boxes(1)[0]).splitlines()
    corners = [line for line in lines if line.startswith("v ")]
    faces = [tuple(map(int, line.split()[1:])) for line in lines if line.startswith("f ")]
    edges = [tuple(sorted(pair)) for a, b, c in faces for pair in ((a, b), (b, c), (c, a))]
    assert len(corners) - len(set(edges)) + len(faces) == 2  # Euler's formula of a sphere
    assert all(edges.count(edge) == 2 for edge in set(edges))


def test_voxels_are_learned_beside_floors():
    every = solids.checked(boxes(120, 6))
    run, found, parts = solids.learn(every, **QUICK)
    assert run.model.receptive_field >= 2 * 36
    assert 0 < found["wavenet"] < 1.2 * found["independent voxels"]
    assert 0 < found["neighbours table"] < 0.5 * found["independent voxels"]
    assert solids.codes_of(run, parts) == {}  # it has no codes
    assert solids.principal_codes(parts["train"], parts["test"], 40) > 0.8
    flat = np.asarray(run.sample(12))
    close = solids.likeness(flat, parts["test"], parts["train"])
    assert {"MMD", "COV", "1-NNA", "1-NNA, real", "copies"} == set(close)
    assert solids.likeness(parts["train"], parts["test"], parts["train"])["copies"] == 1.0


def test_codes_of_solids_are_held_against_principal_components():
    options = {"width": 16, "latent": 4, "validations": 1, "importance": 2}
    run, _, parts = solids.learn(boxes(60, 5), model="vae", steps=30, options=options)
    close = solids.codes_of(run, parts)
    assert list(close) == ["vae, 4 numbers", "4 principal components"] and all(0 < v <= 1 for v in close.values())


def test_a_table_of_neighbours_knows_flat_walls():
    flat = np.zeros((6, 64), np.int64)
    flat[:, :32] = 1  # half of a cube: a voxel equals the one below it but at the wall
    assert solids.neighbours(flat, flat, 4) < 0.4 < solids.independent(flat[:1], 1 - flat[:1])


@pytest.mark.slow
def test_clips_move_as_they_were_drawn_and_are_continued():
    clips, shape = moving(60)
    assert clips.shape == (60, 10, 16, 16) and set(shape) == {0, 1, 2}
    assert np.array_equal(clips, moving(60)[0]) and clips.sum((2, 3)).min() > 3
    centre = (clips * np.arange(16)[:, None]).sum((2, 3)) / clips.sum((2, 3))
    assert np.abs(np.diff(centre, axis=1)).max() < 3  # nothing jumps
    run, found = video.learn(clips, steps=20, options={"validations": 2})
    assert set(found) == {"made", "independent pixels", "frame before"}
    longer = video.continued(run, clips[:2], 3)
    assert longer.shape == (2, 5, 16, 16) and np.array_equal(longer[:, :2], clips[:2, :2])
    with pytest.raises(DataError, match="frames"):
        video.pairs(clips[:, :2])
    ink, bits = video.learn(clips > 0, steps=1)  # truth values are two levels
    assert set(bits) == set(found) and video.continued(ink, (clips[:1] > 0).astype(np.uint8), 1).shape == (1, 3, 16, 16)


def test_the_verb(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", boxes(80, 5))
    words = ["shapes", str(tmp_path / "x.npy"), "--out", str(tmp_path / "out"), "--minutes", "0.02", "-n", "3"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "independent voxels" in done.output and (tmp_path / "out" / "solids.png").is_file()
    np.save(tmp_path / "y.npy", moving(60)[0])
    words = ["shapes", str(tmp_path / "y.npy"), "--clips", "--out", str(tmp_path / "c"), "--minutes", "0.02", "-n", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "c" / "clips.gif").read_bytes()[:3] == b"GIF"
