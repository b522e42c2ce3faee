"""Measurements as users have them in files: pictures, folders, arrays with what belongs to the operator, functions."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import pofx
from pofx.cli.main import app
from pofx.data.sources import load
from pofx.inverse.operators.projection import smooth_coils

DIGITS = load("digits").test.values[:3] / 16
MASK = np.ones((8, 8), bool)
MASK[2:6, 2:6] = False
OPERATORS = """
import torch
def half(x):
    return x[:, :, ::2]
class Physics:
    noise_model = type("N", (), {"sigma": 0.01})()
    def A(self, x): return x[..., ::2]
    def A_adjoint(self, y): return torch.stack((y, torch.zeros_like(y)), -1).flatten(-2)
class Needing:
    def __init__(self, more): pass
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of digits and files of all kinds."""
    there = tmp_path_factory.mktemp("measured")
    options = {"components": 2, "covariance": "full", "ridge": 0.01}
    pofx.fit("digits", "gmm", view={"represent": "unit"}, options=options, progress=False).save(there / "run")
    (there / "two photos ü").mkdir()
    for i in range(2):
        Image.fromarray((DIGITS[i] * 255).astype(np.uint8)).convert("RGB").save(there / f"two photos ü/{i}.png")
    Image.fromarray((MASK * 255).astype(np.uint8)).save(there / "mask.png")
    (there / "masks").mkdir()
    for i, mask in enumerate((MASK, MASK | (np.arange(8) < 4))):
        Image.fromarray((mask * 255).astype(np.uint8)).save(there / f"masks/{i}.png")
    Image.fromarray(np.tile(DIGITS[0] * 255, (2, 2)).astype(np.uint8)).save(there / "large.png")
    coils = smooth_coils((8, 8), 2).numpy()
    spectrum = np.fft.fftshift(np.fft.fft2(DIGITS[:, None] * coils, norm="ortho"), (-2, -1)) * (np.arange(8) % 3 > 0)
    arrays = {"holes": np.where(MASK, DIGITS, np.nan), "coils": coils, "half": DIGITS[:, ::2], "kernel": np.eye(3) / 3,
              "differing": np.where(np.arange(192).reshape(3, 8, 8) % 5, DIGITS, np.nan), "ragged": np.ones((3, 3)),
              "columns": DIGITS[..., ::2], "k": spectrum}  # fmt: skip
    for name, array in arrays.items():
        np.save(there / f"{name}.npy", array)
    np.savez(there / "k.npz", y=spectrum, coils=coils)
    np.savez(there / "masked.npz", y=DIGITS, mask=MASK)
    np.savez(there / "unnamed.npz", a=DIGITS, b=DIGITS)
    matrix = np.random.default_rng(0).normal(size=(20, 64))
    np.savez(there / "sums.npz", y=DIGITS.reshape(3, 64) @ matrix.T, matrix=matrix)
    matrices = np.stack([matrix, 2 * matrix, matrix[::-1]])
    np.savez(there / "each.npz", y=np.einsum("nij,nj->ni", matrices, DIGITS.reshape(3, 64)), matrix=matrices)
    (there / "op.py").write_text(OPERATORS)
    (there / "empty").mkdir()
    return there


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (["two photos ü"], 2), (["two photos ü/0.png", "--mask", "mask.png"], 1), (["holes.npy"], 3),
        (["masked.npz"], 3), (["differing.npy"], 3), (["two photos ü", "--mask", "masks"], 2),
        (["k.npz"], 3), (["k.npy", "-o", "coils=coils.npy"], 3), (["sums.npz"], 3), (["each.npz"], 3),
        (["half.npy", "--operator", "op.py:half"], 3), (["columns.npy", "--operator", "op.py:Physics"], 3),
        (["two photos ü/0.png", "--operator", "blur", "-o", "kernel=kernel.npy"], 1),
    ],
)  # fmt: skip
def test_what_the_measurements_state_is_taken(folder, monkeypatch, call, count):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["restore", "run", *call, "-n", "3", "--noise", "0.02", "--out", "out.npz"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "exact" in done.output
    with np.load("out.npz") as file:
        assert file["samples"].shape == (count, 3, 1, 8, 8)
        if "kernel.npy" not in str(call):
            assert np.abs(file["mean"][:, 0] - DIGITS[:count])[:, MASK].mean() < 0.12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["k.npy"], "of 1 coils"), (["large.png"], "pass --patches"),
        (["empty"], "holds no pictures"), (["op.py"], "measurements are numbers"),
        (["unnamed.npz"], "name the measurements"),
        (["half.npy", "--operator", "op.py:Needing"], "without arguments"), (["none.png"], "there is no file"),
        (["half.npy", "-o", "kernel=mask.png"], "must be an array of numbers"),
        (["half.npy", "-o", "mask=no.npy"], "no file"),
        (["half.npy", "--operator", "inpanit"], "did you mean inpaint"), (["ragged.npy"], "must have shape"),
        (["masked.npz", "--mask", "mask.png", "-o", "mask=mask.png"], "same option"),
    ],
)  # fmt: skip
def test_what_cannot_be_measurements_is_refused(folder, monkeypatch, call, message):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["restore", "run", *call, "-n", "3", "--out", "out.npz"])
    assert done.exit_code != 0 and message in f"{done.exception}{done.output}", (done.output, done.exception)


def test_larger_pictures_are_restored_by_patches(folder, monkeypatch):
    monkeypatch.chdir(folder)
    call = ["restore", "run", "large.png", "--patches", "-n", "2", "--method-option", "steps=3", "--out", "out.npz"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, (done.output, done.exception)
    with np.load("out.npz") as file:
        assert file["samples"].shape == (1, 2, 1, 16, 16)
    call = ["restore", "run", "large.png", "--operator", "superres", "-o", "factor=2", "--patches", "-n", "1"]
    done = CliRunner().invoke(app, [*call, "--method-option", "steps=2", "--out", "out.npz"])
    assert done.exit_code == 0, (done.output, done.exception)
    with np.load("out.npz") as file:
        assert file["samples"].shape == (1, 1, 1, 32, 32)


def test_exact_values_are_named_where_only_they_are_completed():
    codes = pofx.fit("digits", "gpt", steps=1, width=8, layers=1, heads=1, progress=False)
    with pytest.raises(pofx.core.errors.Unsupported, match="pass noise=0"):
        pofx.posterior(codes, None, "inpaint", operator_options={"mask": MASK})
